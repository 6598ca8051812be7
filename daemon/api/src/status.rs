//! How it stands.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{PathText, Role};

/// Whether the daemon is there, and which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The daemon's version, such as `0.1.0`.
    pub version: String,
    /// The version of this API, [`crate::VERSION`].
    pub api: u32,
    /// This device's id.
    pub device_id: String,
    /// This device's name.
    pub name: String,
    /// The daemon's process id.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// The addresses it listens on, as multiaddresses.
    pub listening: Vec<String>,
    /// How many inotify watches it uses.
    pub watches_used: u64,
}

/// All folders of this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// This device's id.
    pub device_id: String,
    /// This device's name.
    pub name: String,
    /// The folders, by id.
    pub folders: Vec<FolderStatus>,
    /// What is wrong with this device as a whole; their paths are empty.
    #[serde(default)]
    pub problems: Vec<Problem>,
}

/// How one folder stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderStatus {
    /// The folder's id.
    pub id: String,
    /// Its root on this device, absolute; of a single-file folder, the file.
    #[serde(flatten)]
    pub path: PathText,
    /// What people call it; the id, if nothing was said.
    #[serde(default)]
    pub label: String,
    /// What this device does in it.
    pub role: Role,
    /// What it is doing.
    pub state: FolderState,
    /// Files it is to hold here, symlinks too, directories not.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that are not yet here.
    pub need_files: u64,
    /// Their bytes.
    pub need_bytes: u64,
    /// Files, directories and deletes of others that this device does not take, since the folder
    /// only sends here.
    #[serde(default)]
    pub out_of_sync: u64,
    /// Files, directories and deletes of this device that are told nobody, since the folder only
    /// receives here.
    #[serde(default)]
    pub local_changes: u64,
    /// Conflict copies in it.
    pub conflicts: u64,
    /// Changes in it that wait for a person.
    #[serde(default)]
    pub held: u64,
    /// The devices it is shared with, by name.
    pub devices: Vec<DeviceSync>,
    /// What keeps it from being in sync, by path. Empty path: the folder as a whole.
    pub problems: Vec<Problem>,
}

/// What a folder is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FolderState {
    /// Nothing to do.
    Idle,
    /// Looking through its tree.
    Scanning,
    /// Sending or taking changes.
    Syncing,
    /// Changes wait for a person: see [`crate::Held`].
    Held,
    /// Its root is gone or another one; nothing is done until it is back or adopted.
    Halted,
    /// It cannot go on; the problems say why.
    Error,
    /// A person stopped it.
    Paused,
}

/// How far one device is with a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSync {
    /// The device's name.
    pub name: String,
    /// Its full id.
    pub device_id: String,
    /// Whether there is a connection right now.
    pub connected: bool,
    /// Whether it durably holds all that this device has, as far as it has told.
    pub in_sync: bool,
    /// Files it does not hold yet.
    pub need_files: u64,
    /// What it leaves out, as far as it has told while it is connected. It is in sync all the
    /// same, but for what it does not take.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
}

/// Files that a device knows of and does not hold, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Why.
    pub why: LeftOutWhy,
    /// How many; at least one.
    pub files: u64,
}

/// Why a device does not hold files that it knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftOutWhy {
    /// Its rules ignore them. A file that lay there before they did is counted from when it has
    /// changed elsewhere: until then its disk holds it.
    Ignored,
    /// Its disk cannot hold them: two names are one to it, or it takes no such name.
    Unsupported,
    /// Its folder only sends: what others change is not taken there.
    NotTaken,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// Where, inside the folder; empty for the folder as a whole.
    #[serde(flatten)]
    pub path: PathText,
    /// What is wrong, in one sentence.
    pub what: String,
    /// How to mend it, in one sentence.
    #[serde(rename = "do")]
    pub remedy: String,
}
