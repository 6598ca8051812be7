//! Two versions of one file, and which to keep.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::PathText;

/// A conflict copy and the file it is a version of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The folder's id.
    pub folder: String,
    /// The file, inside the folder.
    #[serde(flatten)]
    pub path: PathText,
    /// The conflict copy beside it.
    pub copy: PathText,
    /// The name of the device that wrote the copy; null when it is not known any more.
    pub device: Option<String>,
    /// When the copy was last modified.
    pub time: Timestamp,
    /// The copy's bytes.
    pub size: u64,
}

/// Both versions and, if it is still in the history, what both came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictView {
    /// The folder's id.
    pub folder: String,
    /// The file, inside the folder.
    #[serde(flatten)]
    pub path: PathText,
    /// The conflict copy beside it.
    pub copy: PathText,
    /// What both sides began with; null when it is not known any more.
    pub base: Option<Side>,
    /// This device's version.
    pub mine: Side,
    /// The other device's version.
    pub theirs: Side,
}

/// One version of a file in conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Where it lies on this device, absolute; null when it is in the history only.
    pub file: Option<PathText>,
    /// The name of the device that wrote it; null when it is not known any more.
    pub device: Option<String>,
    /// When it was last modified.
    pub time: Timestamp,
    /// Its bytes.
    pub size: u64,
    /// What it holds: 64 hexadecimal digits of BLAKE3; null when nothing lies there.
    #[serde(default)]
    pub content: Option<String>,
    /// Its text; null when it is no UTF-8 text or too long to be compared.
    pub text: Option<String>,
}

/// Which version to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// This device's version, under the file's name; the other goes to the history.
    Mine,
    /// The other device's version, under the file's name; this one goes to the history.
    Theirs,
    /// Both, each under a name of its own that is no conflict copy's.
    Both,
    /// A merged file that was handed in; both versions go to the history.
    Merged,
}

/// Ends a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveRequest {
    /// The absolute path of the file or of its conflict copy.
    #[serde(flatten)]
    pub path: PathText,
    /// Which version to keep.
    pub keep: Keep,
    /// The merged file, absolute; exactly with [`Keep::Merged`].
    #[serde(default)]
    pub with: Option<PathText>,
}

/// A conflict that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The folder's id.
    pub folder: String,
    /// The file, inside the folder.
    #[serde(flatten)]
    pub path: PathText,
    /// What was kept.
    pub kept: Keep,
    /// How many conflict copies of this file are left.
    pub left: u64,
}
