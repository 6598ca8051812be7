//! What syncd moved out of the way, and getting it back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::PathText;

/// Something that was displaced or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trashed {
    /// Names it for [`RestoreRequest`].
    pub id: String,
    /// The folder's id.
    pub folder: String,
    /// Where it lay, inside the folder.
    #[serde(flatten)]
    pub path: PathText,
    /// Its bytes.
    pub size: u64,
    /// When it was moved out of the way.
    pub time: Timestamp,
    /// Why.
    pub reason: TrashReason,
    /// The name of the device whose change did it; null when it is not known any more.
    pub device: Option<String>,
}

/// Why something was moved out of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrashReason {
    /// Another version took its place.
    Replaced,
    /// Another device deleted it.
    Deleted,
    /// It lost when a folder was joined.
    Joined,
    /// It lost when a conflict was resolved.
    Resolved,
}

/// Brings something back. Either `id` or a path must be given; of a path, the newest comes back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// Which one.
    #[serde(default)]
    pub id: Option<String>,
    /// The absolute path at which it lay.
    #[serde(default)]
    pub from: Option<PathText>,
    /// Where to put it, absolute; where it lay, if not given. What lies there is not replaced.
    #[serde(default)]
    pub to: Option<PathText>,
}

/// Something that is back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Which one it was.
    pub id: String,
    /// Where it lies now, absolute.
    #[serde(flatten)]
    pub path: PathText,
    /// Its bytes.
    pub size: u64,
}

/// Deletes what was moved out of the way, for good.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmptyRequest {
    /// The folder's id; all folders, if not given.
    #[serde(default)]
    pub folder: Option<String>,
    /// Only what was moved away at least this many milliseconds ago; all, if not given.
    #[serde(default)]
    pub older_than_ms: Option<u64>,
}

/// What is gone for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emptied {
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}
