//! What an observation of the disk means for the index.
//!
//! # Invariants
//! - A write gets a dot of its own and sees all that the path's entry had seen; where the entry
//!   is gone (a dropped tombstone), it sees its own dot alone.
//! - What looks as the index says is no write, whatever the clock says.
//! - Absence of what was never settled here means nothing.

use crate::flow::detect::Found;
use crate::model::{Actor, ContentId, Dot, Entry, Kind, Record, Standing, Version};
use crate::mutant::{self, Mutant};

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
    /// What a power loss has left of a file whose bytes were not durable: nobody's write, found,
    /// that has seen nothing, so that whoever holds what was told of the file gives it back.
    Suspect(Box<Record>),
    /// All that a power loss has left is the name: nobody is told.
    Emptied,
}

/// What this device can know of what lay in the folder before it looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The store knows all that ever lay there.
    Whole,
    /// The store has not seen the whole of the folder yet: what it does not know was there before.
    New,
    /// The machine has stopped without warning, and the folder was not looked at since: bytes that
    /// are not known to be durable may be older ones, or gone.
    Shaken,
}

/// Decides what it means that `found` lies at a path whose entry is `entry`. A write gets `dot`.
#[must_use]
pub fn found(entry: Option<&Entry>, found: &Found, dot: Dot, memory: Memory) -> Meaning {
    let surveyed = memory != Memory::New || mutant::on(Mutant::FoundIsWritten);
    let alone = || Record { found: !surveyed, ..write(None, found, dot) };
    let Some(entry) = entry else { return Meaning::Written(Box::new(alone())) };
    let looks = alone().looks_like(&entry.record);
    match (entry.local.standing, entry.record.is_live()) {
        // A peer told us of the delete before we came to look. Unless we made the path in this
        // life, or placed it, nobody here has written after that delete.
        (Standing::Settled, false) if !surveyed && entry.record.version.seen(dot.writer) == 0 => {
            Meaning::Apart(Box::new(alone()))
        }
        (Standing::Settled, true) if entry.is_emptied() && is_empty(found) => Meaning::Emptied,
        (Standing::Settled, true) if memory == Memory::Shaken && is_suspect(entry, found) => {
            match is_empty(found) {
                true => Meaning::Emptied,
                false => Meaning::Suspect(Box::new(Record { found: true, ..alone() })),
            }
        }
        // A directory that only ignored content keeps alive stays deleted (MERGING, M14).
        (Standing::Ignored, false) if found.kind == Kind::Directory => Meaning::Nothing,
        (Standing::Settled | Standing::Withheld, _) | (_, false) if looks => Meaning::Restat,
        (Standing::Settled | Standing::Withheld, _) | (_, false) => {
            Meaning::Written(Box::new(write(Some(&entry.record), found, dot)))
        }
        (_, true) if looks => Meaning::Restat,
        (_, true) => Meaning::Apart(Box::new(alone())),
    }
}

fn is_empty(found: &Found) -> bool {
    found.kind == Kind::File && found.stat.size == 0
}

/// Tells whether a file holds other bytes than its record says, which nobody has made durable.
fn is_suspect(entry: &Entry, found: &Found) -> bool {
    let files = entry.record.kind == Kind::File && found.kind == Kind::File;
    let is_edit = mutant::on(Mutant::LossIsEdit);
    files && !is_edit && !entry.local.data_durable && found.content != entry.record.content
}

/// Decides what it means that nothing lies at a path whose entry is `entry`: the tombstone to
/// write with `dot`, or nothing.
#[must_use]
pub fn gone(entry: Option<&Entry>, dot: Dot) -> Option<Record> {
    let entry = entry?;
    let was_here = entry.local.is_here() && entry.record.is_live();
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
        found: false,
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
        found: false,
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
        found: false,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeviceId, Incarnation, Local, RelPath, StatKey, Writer};

    fn dot(name: u8, counter: u64) -> Dot {
        let writer = Writer { device: DeviceId([name; 32]), incarnation: Incarnation(1) };
        Dot { writer, counter }
    }

    fn file(content: &str) -> Found {
        Found {
            path: RelPath::parse("p").unwrap(),
            kind: Kind::File,
            stat: StatKey { inode: 1, size: 1, mtime_ns: 1, ctime_ns: 1, mode: 0o644 },
            content: ContentId::of(content.as_bytes()),
        }
    }

    #[test]
    fn what_a_new_store_meets_was_found_and_not_written() {
        let (ours, theirs) = (dot(1, 9), dot(2, 5));
        let deleted_by = |dots: &[Dot], dot: Dot| {
            let before = write(None, &file("x"), dots[0]);
            let record = tombstone(&before, dot);
            Entry { record, seq: 1, local: Local::default() }
        };
        let theirs_deleted = deleted_by(&[dot(2, 4)], theirs);
        let ours_deleted = deleted_by(&[dot(2, 4)], dot(1, 8));
        let placed_and_deleted = deleted_by(&[dot(1, 3)], theirs);
        for (entry, memory, found_apart, because) in [
            (None, Memory::New, (true, true), "nobody has told us of it"),
            (None, Memory::Whole, (false, true), "it was not there when we looked at the whole"),
            (None, Memory::Shaken, (false, true), "a file is new, however the machine stopped"),
            (
                Some(&theirs_deleted),
                Memory::New,
                (true, true),
                "told of the delete before the look",
            ),
            (
                Some(&theirs_deleted),
                Memory::Whole,
                (false, false),
                "written after the delete was made true",
            ),
            (
                Some(&ours_deleted),
                Memory::New,
                (false, false),
                "a user here deleted it, and wrote again",
            ),
            (
                Some(&placed_and_deleted),
                Memory::New,
                (false, false),
                "it was gone, and is written again",
            ),
        ] {
            let meaning = found(entry, &file("x"), ours, memory);
            let (Meaning::Written(record) | Meaning::Apart(record)) = meaning else {
                panic!("{because}: {meaning:?}");
            };
            assert_eq!(
                (record.found, record.version == Version::of(ours)),
                found_apart,
                "{because}"
            );
        }
    }

    #[test]
    fn what_a_power_loss_left_is_told_apart_from_an_edit() {
        let entry = |data_durable| {
            let record = write(None, &file("new"), dot(1, 3));
            let seen = Some(file("new").stat);
            Entry { record, seq: 3, local: Local { seen, data_durable, ..Local::default() } }
        };
        let empty = Found { stat: StatKey { size: 0, ..file("").stat }, ..file("") };
        let (edited, kept) = (file("old"), file("new"));
        for (durable, memory, there, means, because) in [
            (false, Memory::Shaken, &edited, "suspect", "an older version, or half a new one"),
            (false, Memory::Shaken, &empty, "emptied", "the name alone was written"),
            (false, Memory::Shaken, &kept, "nothing new", "nothing was lost"),
            (true, Memory::Shaken, &edited, "written", "it was durable: a user wrote since"),
            (true, Memory::Shaken, &empty, "written", "and a user may empty a file"),
            (false, Memory::Whole, &edited, "written", "the machine never stopped"),
            (false, Memory::Whole, &empty, "written", "nor here"),
        ] {
            let meaning = found(Some(&entry(durable)), there, dot(1, 9), memory);
            let shown = match meaning {
                Meaning::Suspect(record) => {
                    assert_eq!(record.version, Version::of(dot(1, 9)), "{because}: it saw nothing");
                    assert!(record.found, "{because}: it is nobody's write");
                    "suspect"
                }
                Meaning::Emptied => "emptied",
                Meaning::Written(_) => "written",
                Meaning::Restat => "nothing new",
                Meaning::Nothing | Meaning::Apart(_) => "something else",
            };
            assert_eq!(shown, means, "{because}");
        }
    }
}
