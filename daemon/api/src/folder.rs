//! Sharing folders.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{FolderState, LeftOut, PathText};

/// What a device does in a folder.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sends its changes and takes others'.
    #[default]
    SendReceive,
    /// Sends its changes, takes none.
    SendOnly,
    /// Takes others' changes, sends none.
    ReceiveOnly,
}

/// What to do with files that differ when an offered folder meets files that are already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefer {
    /// What lies here wins; the other goes to the history.
    Here,
    /// What lies there wins; what lies here goes to the history.
    There,
    /// The later modification time wins; the other goes to the history.
    Newer,
    /// Each loser becomes a conflict copy.
    Copies,
}

/// Shares a directory or one single file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FolderAdd {
    /// Its absolute path on this device.
    #[serde(flatten)]
    pub path: PathText,
    /// The id under which all devices know it; made from the last name of the path, if not given.
    #[serde(default)]
    pub id: Option<String>,
    /// What people call it.
    #[serde(default)]
    pub label: Option<String>,
    /// The devices to share it with: name, id, PeerId or a prefix of at least 7 characters.
    #[serde(default)]
    pub with: Vec<String>,
    /// What this device does in it.
    #[serde(default)]
    pub role: Role,
    /// Patterns for its `.stignore`, in this order, before what is there.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Whether to write the suggested patterns into its `.stignore`.
    #[serde(default)]
    pub starter_ignores: bool,
}

/// A folder that was just shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderAdded {
    /// The folder.
    #[serde(flatten)]
    pub folder: Folder,
    /// Patterns that would suit what lies in it; empty when it has an ignore file.
    pub suggested_ignores: Vec<String>,
}

/// A folder of this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// The id under which all devices know it.
    pub id: String,
    /// Its root on this device, absolute; of a single-file folder, the file.
    #[serde(flatten)]
    pub path: PathText,
    /// What people call it; the id, if nothing was said.
    pub label: String,
    /// What this device does in it.
    pub role: Role,
    /// Whether it is one single file.
    pub single_file: bool,
    /// What it is doing.
    pub state: FolderState,
    /// The devices it is shared with, by name.
    pub devices: Vec<FolderDevice>,
}

/// A device with which a folder is shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderDevice {
    /// The device's name.
    pub name: String,
    /// Its full id.
    pub device_id: String,
    /// Whether it has taken the folder.
    pub accepted: bool,
    /// Whether it durably holds all that this device has, as far as it has told.
    #[serde(default)]
    pub in_sync: bool,
    /// What it leaves out, as far as it has told while it is connected.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
}

/// A folder that other devices share with this one and that it has not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedFolder {
    /// The id under which all devices know it.
    pub id: String,
    /// What the offering device calls it.
    pub label: String,
    /// Whether it is one single file.
    pub single_file: bool,
    /// How many files it has; null when nobody has told yet.
    #[serde(default)]
    pub files: Option<u64>,
    /// Their bytes; null when nobody has told yet.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Who offers it, by name.
    pub devices: Vec<FolderDevice>,
}

/// Takes an offered folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AcceptRequest {
    /// Where to put it, absolute. Made if missing.
    #[serde(flatten)]
    pub path: PathText,
    /// What to do with files that differ.
    #[serde(default)]
    pub prefer: Option<Prefer>,
    /// Whether to count only and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What an offered folder met where it was put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptReport {
    /// The folder's id.
    pub id: String,
    /// Where it was put, absolute.
    #[serde(flatten)]
    pub path: PathText,
    /// Whether it was taken; false after a dry run.
    pub accepted: bool,
    /// Files that are the same on both sides.
    pub equal: u64,
    /// Files that lie only here.
    pub only_here: u64,
    /// Files that lie only there.
    pub only_there: u64,
    /// Files that differ.
    pub different: u64,
    /// The first thousand of those that differ, by path.
    pub examples: Vec<PathText>,
    /// The first thousand of those that lie only here.
    #[serde(default)]
    pub examples_here: Vec<PathText>,
    /// The first thousand of those that lie only there.
    #[serde(default)]
    pub examples_there: Vec<PathText>,
}

/// Names the devices to share a folder with, or to share it with no longer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareRequest {
    /// The devices: name, id, PeerId or a prefix of at least 7 characters. At least one.
    pub with: Vec<String>,
}

/// Changes what is given and leaves the rest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderChange {
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What this device does in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether it rests until resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Seconds between two scans of the whole, 1 to 31 536 000; null is the usual time.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub rescan_s: Option<Option<u32>>,
    /// Days after which every file is read again, to find what the disk has damaged, 1 to 3650;
    /// null is never.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub verify_days: Option<Option<u32>>,
    /// Patterns for files that are rewritten where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place: Option<Vec<String>>,
    /// Days that replaced and deleted files are kept; null, as with the next ones, is what holds
    /// for all folders.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub history_days: Option<Option<u32>>,
    /// Earlier versions of one path that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub history_versions: Option<Option<u32>>,
    /// Percent of the disk that these may fill.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub history_percent: Option<Option<u32>>,
    /// Mebibytes to leave free on its disk.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub free_mib: Option<Option<u64>>,
    /// Patterns to write into its `.stignore`, before what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<Vec<String>>,
    /// Whether to write the suggested patterns into its `.stignore` too.
    #[serde(default)]
    pub starter_ignores: bool,
}

/// Reads a value that may be null, which is not the same as none at all.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// What a person's word on who wins comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The folder's id.
    pub id: String,
    /// How many files, directories and deletes it is about, as far as known now.
    pub items: u64,
}

/// Tells where a folder's root is to lie from now on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FolderMove {
    /// Its new absolute path on this device.
    #[serde(flatten)]
    pub path: PathText,
}

/// A folder that is no longer shared by this device. Its files stay where they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderRemoved {
    /// The folder's id.
    pub id: String,
    /// Where its files are.
    #[serde(flatten)]
    pub path: PathText,
}
