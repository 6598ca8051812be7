//! What an observation of the disk means for the index.
//!
//! # Invariants
//! - A write gets a dot of its own and sees all that the path's entry had seen; where the entry
//!   is gone (a dropped tombstone), it sees its own dot alone.
//! - What looks as the index says is no write, whatever the clock says.
//! - Absence of what was never settled here means nothing.

use crate::flow::detect::Found;
use crate::model::{Actor, ContentId, Dot, Entry, Kind, Record, Standing, Version};

/// What an observation means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing new.
    Nothing,
    /// The same as before, but `stat` changed: only local columns follow.
    Restat,
    /// A user wrote: this is the record of it.
    Written(Box<Record>),
    /// Something that the index knows from peers but never placed here lies here now with other
    /// bytes: a write that has seen nothing of the entry, to be reconciled with it.
    Apart(Box<Record>),
}

/// Decides what it means that `found` lies at a path whose entry is `entry`. A write gets `dot`.
#[must_use]
pub fn found(entry: Option<&Entry>, found: &Found, dot: Dot) -> Meaning {
    let Some(entry) = entry else { return Meaning::Written(Box::new(write(None, found, dot))) };
    let looks = write(None, found, dot).looks_like(&entry.record);
    match (entry.local.standing, entry.record.is_live()) {
        // A directory that only ignored content keeps alive stays deleted (MERGING, M14).
        (Standing::Ignored, false) if found.kind == Kind::Directory => Meaning::Nothing,
        (Standing::Settled, _) | (_, false) if looks => Meaning::Restat,
        (Standing::Settled, _) | (_, false) => {
            Meaning::Written(Box::new(write(Some(&entry.record), found, dot)))
        }
        (_, true) if looks => Meaning::Restat,
        (_, true) => Meaning::Apart(Box::new(write(None, found, dot))),
    }
}

/// Decides what it means that nothing lies at a path whose entry is `entry`: the tombstone to
/// write with `dot`, or nothing.
#[must_use]
pub fn gone(entry: Option<&Entry>, dot: Dot) -> Option<Record> {
    let entry = entry?;
    let was_here = entry.local.standing == Standing::Settled && entry.record.is_live();
    was_here.then(|| tombstone(&entry.record, dot))
}

/// Returns the record of deleting `record` by `dot`.
#[must_use]
pub fn tombstone(record: &Record, dot: Dot) -> Record {
    Record {
        kind: Kind::Tombstone,
        size: 0,
        mtime_ns: 0,
        mode: 0,
        content: ContentId::NONE,
        ancestors: record.heritage(),
        dot,
        version: seen_with(&record.version, dot),
        author: dot.writer.device,
        actor: Actor::Unknown,
    }
}

/// Returns the record of a directory that must be where `before` is: the same one if that is a
/// directory, else one with `mode`. The writer's counter is not in it yet.
#[must_use]
pub fn directory_over(before: &Record, mode: u32) -> Record {
    let mode = if before.kind == Kind::Directory { before.mode } else { mode };
    Record {
        kind: Kind::Directory,
        size: 0,
        mtime_ns: 0,
        mode,
        content: ContentId::NONE,
        ancestors: before.heritage(),
        actor: Actor::Unknown,
        ..before.clone()
    }
}

fn write(before: Option<&Record>, found: &Found, dot: Dot) -> Record {
    let bytes = matches!(found.kind, Kind::File | Kind::Symlink);
    let dressed = matches!(found.kind, Kind::File | Kind::Directory);
    Record {
        kind: found.kind,
        size: if bytes { found.stat.size } else { 0 },
        mtime_ns: if bytes { found.stat.mtime_ns } else { 0 },
        mode: if dressed { found.stat.mode & 0o777 } else { 0 },
        content: if bytes { found.content } else { ContentId::NONE },
        ancestors: before.map(|record| heritage_of(record, found.content)).unwrap_or_default(),
        dot,
        version: before.map_or_else(|| Version::of(dot), |r| seen_with(&r.version, dot)),
        author: dot.writer.device,
        actor: Actor::Unknown,
    }
}

/// Returns the heritage of a write over `record`, without the new content itself.
fn heritage_of(record: &Record, content: ContentId) -> Vec<crate::model::AncestorId> {
    record.heritage().into_iter().filter(|id| *id != content.ancestor()).collect()
}

fn seen_with(version: &Version, dot: Dot) -> Version {
    let mut version = version.clone();
    version.raise(dot);
    version
}
