//! How much a folder holds, counted as batches go by and never by a walk.

use syncd_core::model::{Entry, Kind, Standing};

/// How much one folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Files and symlinks on this disk.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Directories on this disk.
    pub directories: u64,
    /// Paths of which it is known that nothing lies there any more.
    pub tombstones: u64,
    /// How many of the files are conflict copies, told by their names.
    pub conflicts: u64,
    /// Files and symlinks that are known and that the rules keep off this disk. Like the next
    /// ones, they are counted nowhere else.
    pub ignored: u64,
    /// Files and symlinks that are known and that this disk cannot hold.
    pub unsupported: u64,
    /// Of all these, the paths of which no peer is told.
    pub withheld: u64,
}

impl Summary {
    /// Counts an entry named `name` in.
    pub(super) fn add(&mut self, name: &[u8], entry: &Entry) {
        self.count(name, entry, u64::saturating_add);
    }

    /// Counts an entry named `name` out.
    pub(super) fn remove(&mut self, name: &[u8], entry: &Entry) {
        self.count(name, entry, u64::saturating_sub);
    }

    fn count(&mut self, name: &[u8], entry: &Entry, by: fn(u64, u64) -> u64) {
        if entry.local.is_withheld() {
            self.withheld = by(self.withheld, 1);
        }
        if entry.record.is_live() && !entry.local.is_here() {
            if entry.record.has_bytes() {
                match entry.local.standing {
                    Standing::Ignored => self.ignored = by(self.ignored, 1),
                    Standing::Unsupported => self.unsupported = by(self.unsupported, 1),
                    Standing::Settled
                    | Standing::Withheld
                    | Standing::Refused
                    | Standing::Evicted => {}
                }
            }
            return;
        }
        match entry.record.kind {
            Kind::File | Kind::Symlink => {
                self.files = by(self.files, 1);
                self.bytes = by(self.bytes, entry.record.size);
                if is_conflict_copy(name) {
                    self.conflicts = by(self.conflicts, 1);
                }
            }
            Kind::Directory => self.directories = by(self.directories, 1),
            Kind::Tombstone => self.tombstones = by(self.tombstones, 1),
        }
    }
}

/// Tells a name like `notes.sync-conflict-20260131-235959-ABCDEFG.txt`.
fn is_conflict_copy(name: &[u8]) -> bool {
    const MARK: &[u8] = b".sync-conflict-";
    name.windows(MARK.len()).enumerate().any(|(at, window)| {
        let stamp = &name[at + window.len()..];
        window == MARK
            && stamp.len() >= 23
            && stamp[..8].iter().all(u8::is_ascii_digit)
            && stamp[8] == b'-'
            && stamp[9..15].iter().all(u8::is_ascii_digit)
            && stamp[15] == b'-'
            && stamp[16..23].iter().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_mark_makes_a_conflict_copy() {
        for (name, is, because) in [
            ("a.sync-conflict-20260131-235959-ABCDEF2.txt", true, "as it is made"),
            ("a.sync-conflict-20260131-235959-ABCDEF2-1f2e.txt", true, "told apart by content"),
            (".sync-conflict-20260131-235959-ABCDEF2", true, "of a name that is all extension"),
            ("a.sync-conflict-20260131-235959-abcdef2.txt", false, "groups are upper case"),
            ("a.sync-conflict-20260131-ABCDEF2.txt", false, "no time"),
            ("a.sync-conflict-", false, "no stamp"),
            ("about .sync-conflict files", false, "a word in a name"),
            (
                "a.sync-conflict-x.sync-conflict-20260131-235959-ABCDEF2",
                true,
                "after a false start",
            ),
        ] {
            assert_eq!(is_conflict_copy(name.as_bytes()), is, "{because}");
        }
    }
}
