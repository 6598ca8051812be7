//! Doing something now: scans, checks and flushes.

use serde::{Deserialize, Serialize};

use crate::PathText;

/// Limits an answer to one folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderQuery {
    /// The folder's id; all folders, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}

/// Scans now. Answered when done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanRequest {
    /// The folder's id; all folders, if not given.
    #[serde(default)]
    pub folder: Option<String>,
}

/// What a scan saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanReport {
    /// Each scanned folder, by id.
    pub folders: Vec<ScannedFolder>,
    /// How long it all took, in milliseconds.
    pub took_ms: u64,
}

/// What a scan saw in one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScannedFolder {
    /// The folder's id.
    pub id: String,
    /// How many files lie in it.
    pub files: u64,
    /// How many paths differed from what was known.
    pub changed: u64,
}

/// Reads every file again and compares it with what was written. Answered when done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// The folder's id; all folders, if not given.
    #[serde(default)]
    pub folder: Option<String>,
    /// Whether to ask the other devices for the bytes that the disk has lost.
    #[serde(default)]
    pub repair: bool,
}

/// What reading everything again found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Each folder, by id.
    pub folders: Vec<VerifiedFolder>,
    /// How long it all took, in milliseconds.
    pub took_ms: u64,
}

/// What was found in one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedFolder {
    /// The folder's id.
    pub id: String,
    /// How many files hold what was written.
    pub whole: u64,
    /// How many bytes were read.
    pub bytes: u64,
    /// How many files changed meanwhile: the next scan's business.
    pub changed: u64,
    /// Files that hold other bytes than were written though nobody wrote them.
    pub rotten: Vec<PathText>,
    /// Files that could not be read.
    pub unread: Vec<PathText>,
}

/// How long a flush waits that does not say how long, in milliseconds.
const FLUSH_TIMEOUT_MS_DEFAULT: u64 = 30_000;

/// Waits until what lies here now is durable on other devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlushRequest {
    /// The folder's id; all folders, if not given.
    #[serde(default)]
    pub folder: Option<String>,
    /// The devices to wait for; those connected, if none is given.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Whether to wait for devices that are not connected, too.
    #[serde(default)]
    pub all: bool,
    /// After how many milliseconds to give up with exit 4; 30,000 if not given.
    #[serde(default = "flush_timeout_ms")]
    pub timeout_ms: u64,
}

fn flush_timeout_ms() -> u64 {
    FLUSH_TIMEOUT_MS_DEFAULT
}

/// What is durable elsewhere now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushReport {
    /// Each flushed folder, by id.
    pub folders: Vec<FlushedFolder>,
    /// How long it all took, in milliseconds.
    pub took_ms: u64,
}

/// Where one folder is durable now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushedFolder {
    /// The folder's id.
    pub id: String,
    /// How many files it has.
    pub files: u64,
    /// The devices that hold it, by name.
    pub devices: Vec<FlushedDevice>,
}

/// A device that has said that it durably holds all of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushedDevice {
    /// The device's name.
    pub name: String,
    /// Its full id.
    pub device_id: String,
}
