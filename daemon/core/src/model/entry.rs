//! What this device keeps about one path: the synced record and the local columns beside it.

use super::{DeviceId, Kind, Record, Seq};

/// What `stat` said when the content was last known to be the record's. While it still says so,
/// the file need not be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatKey {
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Status change time, nanoseconds since 1970. No program can set it back.
    pub ctime_ns: i64,
    /// Permission bits masked to `0o777`.
    pub mode: u32,
}

/// How a path stands on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Standing {
    /// The disk holds the record.
    #[default]
    Settled,
    /// The disk holds the record, and no peer is told: a change made in a folder that only
    /// receives, or a file that was there before the folder was joined.
    Withheld,
    /// The rules ignore it here: known, forwarded, not on the disk by our doing.
    Ignored,
    /// This file system cannot hold it beside another name.
    Unsupported,
    /// The peer may not send it here.
    Refused,
    /// Left out on purpose to save room.
    Evicted,
}

/// Columns that are never sent and never compared between devices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Local {
    /// What the disk looked like when it held the record; `None` when nothing of ours is there.
    pub seen: Option<StatKey>,
    /// Who told us this very version; `None` for our own writes and merges. It needs no telling.
    pub source: Option<DeviceId>,
    /// Whether the bytes are known to survive a power loss.
    pub data_durable: bool,
    /// How the path stands here.
    pub standing: Standing,
}

impl Local {
    /// Tells whether no peer is told of it.
    #[must_use]
    pub fn is_withheld(&self) -> bool {
        self.standing == Standing::Withheld
    }

    /// Tells whether the disk is meant to hold the record.
    #[must_use]
    pub fn is_here(&self) -> bool {
        matches!(self.standing, Standing::Settled | Standing::Withheld)
    }
}

/// All this device keeps about one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The synced part.
    pub record: Record,
    /// Where in this store's log the last change of it stands.
    pub seq: Seq,
    /// The part of this device alone.
    pub local: Local,
}

impl Entry {
    /// Tells whether a power loss has emptied the file that the record is of.
    #[must_use]
    pub fn is_emptied(&self) -> bool {
        let seen = self.local.seen.is_some_and(|seen| seen.size == 0);
        self.record.kind == Kind::File && self.record.size > 0 && self.local.is_here() && seen
    }
}
