//! Changes that wait for a person.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::PathText;

/// Changes that a brake stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Names them for approval or rejection.
    pub id: String,
    /// The folder's id.
    pub folder: String,
    /// Which brake.
    pub kind: HeldKind,
    /// The name of the device whose changes they are; null for this device's own.
    pub device: Option<String>,
    /// How many files they concern.
    pub files: u64,
    /// How many files the folder has.
    pub of_files: u64,
    /// Since when they wait.
    pub since: Timestamp,
    /// What would happen, in one sentence.
    pub what: String,
    /// How to decide, in one sentence.
    #[serde(rename = "do")]
    pub remedy: String,
    /// Some of the files, by path.
    pub examples: Vec<PathText>,
    /// The lines of rule files that come (`+`) and go (`-`).
    #[serde(default)]
    pub lines: Vec<String>,
}

/// Which brake stopped the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeldKind {
    /// Many files are gone at once.
    Deletes,
    /// Another device's rules would have this one send or take more than before.
    Rules,
}

/// What became of held changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldAnswer {
    /// Which they were.
    pub id: String,
    /// The folder's id.
    pub folder: String,
    /// Whether they go on (true) or are undone (false).
    pub approved: bool,
    /// How many files they concern.
    pub files: u64,
}
