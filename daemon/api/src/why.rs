//! Why a file is as it is.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::PathText;

/// All that can be said of one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The folder's id; null when the path lies in none.
    pub folder: Option<String>,
    /// The path inside the folder, or as it was asked when it lies in none.
    #[serde(flatten)]
    pub path: PathText,
    /// The reasons, the one that counts most first; at least one.
    pub reasons: Vec<Reason>,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Which kind.
    pub kind: ReasonKind,
    /// The reason, in one sentence.
    pub what: String,
    /// What to do about it, in one sentence; null when there is nothing to do.
    #[serde(rename = "do")]
    pub remedy: Option<String>,
    /// The rule file, inside the folder, of [`ReasonKind::Ignored`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in that file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The name of the device that is waited for, or that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// When it happened, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
}

/// The kinds of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReasonKind {
    /// It is in sync with every device.
    Synced,
    /// A rule ignores it.
    Ignored,
    /// A device has not sent or taken it yet.
    Waiting,
    /// A person must approve it first.
    Held,
    /// It is a conflict copy or has one.
    Conflict,
    /// A program has it open for writing.
    OpenForWriting,
    /// The disk is too full to take it.
    NoRoom,
    /// It changed a moment ago; syncd waits until it rests.
    Quiet,
    /// This file system, or syncd, cannot hold such a thing.
    Unsupported,
    /// It cannot be read.
    Unreadable,
    /// The disk has damaged it.
    Damaged,
    /// It was deleted.
    Deleted,
    /// There is and was nothing.
    Missing,
    /// It lies in no folder.
    NotInFolder,
    /// It was changed here, and no device is told, since its folder only receives.
    LocalChange,
    /// Its folder does nothing now: paused, halted or in error.
    FolderStopped,
}
