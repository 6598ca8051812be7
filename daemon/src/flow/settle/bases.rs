//! Bases: copies of small texts as they were when two devices held the same, kept for the day
//! when both have changed them.
//!
//! A user's write leaves nothing of what it replaces, so a base must be kept before. It lies in
//! `.syncd/history/` under `PATH-SEQ-CONTENT`: a hash of the path, the place of that version in
//! the folder's log, and what it holds. Nothing depends on a base: one that is lost or damaged is
//! one that a person does not see.
//!
//! # Invariants
//! - What is handed out hashes to its name.
//! - Of one path at most [`VERSIONS_MAX`] are kept; all together stay, with the trash, within the
//!   history's limits.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::AsFd;

use rustix::fs::{self, AtFlags, OFlags};
use rustix::io::Errno;
use syncd_core::model::{AncestorId, ContentId, RelPath, Seq};

use super::trash::{DAY_MS, Pruned, TrashError};
use super::{Hands, now_ms};
use crate::world::disk::system;

/// The longest text of which a base is kept, in bytes.
pub const BASE_BYTES_MAX: u64 = 1 << 20;

/// Up to where the log was followed.
const UPTO: &[u8] = b"upto";

/// Bases of one path; a record remembers no more ancestors either.
const VERSIONS_MAX: usize = syncd_core::model::limits::ANCESTORS_MAX;

/// One base.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Base {
    /// A hash of the path.
    path: AncestorId,
    /// Where that version stands in the folder's log.
    pub seq: Seq,
    /// What it holds.
    pub content: ContentId,
}

impl Base {
    fn of(path: &RelPath, seq: Seq, content: ContentId) -> Self {
        Self { path: hash(path), seq, content }
    }

    pub(super) fn name(&self) -> String {
        let path = u64::from_be_bytes(self.path.0);
        format!("{path:016x}-{:016x}-{}", self.seq, self.content.hex())
    }

    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(name).ok()?.split('-');
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let (path, seq) = (AncestorId(number()?.to_be_bytes()), number()?);
        Some(Self { path, seq, content: ContentId::from_hex(parts.next()?)? })
    }
}

fn hash(path: &RelPath) -> AncestorId {
    ContentId::of(path.as_bytes()).ancestor()
}

/// Tells whether bytes are a text that can be compared line by line.
#[must_use]
pub fn is_text(bytes: &[u8]) -> bool {
    bytes.len() as u64 <= BASE_BYTES_MAX
        && !bytes.contains(&0)
        && std::str::from_utf8(bytes).is_ok()
}

impl Hands {
    /// Keeps what lies at `path` as a base if it is a small text and holds `content`, the version
    /// at `seq` of the log; whether it is kept.
    ///
    /// # Errors
    /// What the system said of the history.
    pub fn keep_base(&self, path: &RelPath, seq: Seq, content: ContentId) -> Result<bool, Errno> {
        let limits = self.limits();
        if limits.history_percent == 0 || limits.history_days == 0 || limits.history_versions == 0 {
            return Ok(false);
        }
        // A file that is gone or cannot be read now is one of which no base is kept.
        let Ok(file) = self.root().open_file(path) else { return Ok(false) };
        let mut bytes = Vec::new();
        let read = std::fs::File::from(file).take(BASE_BYTES_MAX + 1).read_to_end(&mut bytes);
        if read.is_err() || !is_text(&bytes) || ContentId::of(&bytes) != content {
            return Ok(false);
        }
        let (free, floor) = self.free_and_floor()?;
        if free.saturating_sub(floor) < bytes.len() as u64 {
            return Ok(false);
        }
        let (dir, name) = (self.history(), Base::of(path, seq, content).name());
        if system::stat_at(dir, name.as_bytes())?.is_some() {
            return Ok(true);
        }
        self.write_whole(&name, &bytes)?;
        self.drop_old_bases(path)?;
        Ok(true)
    }

    /// Returns up to where the folder's log was followed; 0 when that is not known.
    #[must_use]
    pub fn bases_upto(&self) -> Seq {
        let Ok(fd) = system::open_at(self.history(), UPTO, system::READ, 0) else { return 0 };
        let mut text = String::new();
        match std::fs::File::from(fd).take(32).read_to_string(&mut text) {
            Ok(_) => u64::from_str_radix(text.trim(), 16).unwrap_or(0),
            Err(_) => 0,
        }
    }

    /// Notes up to where the folder's log was followed. When that is lost, what came since is
    /// looked at again.
    ///
    /// # Errors
    /// What the system said of the history.
    pub fn set_bases_upto(&self, seq: Seq) -> Result<(), Errno> {
        self.write_whole("upto", format!("{seq:x}\n").as_bytes())
    }

    fn write_whole(&self, name: &str, bytes: &[u8]) -> Result<(), Errno> {
        let dir = self.history();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let fd = system::open_at(dir, b"new", flags | OFlags::NOFOLLOW, 0o600)?;
        let written = std::fs::File::from(fd).write_all(bytes);
        written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        fs::renameat(dir, "new", dir, name)
    }

    /// Lists the bases of `path`, the newest first.
    ///
    /// # Errors
    /// What the system said of the history.
    pub fn bases_of(&self, path: &RelPath) -> Result<Vec<Base>, Errno> {
        let mut bases = self.bases()?;
        let path = hash(path);
        bases.retain(|base| base.path == path);
        bases.sort_unstable_by(|a, b| b.cmp(a));
        Ok(bases)
    }

    /// Reads a base; `None` when it is not, or not whole, there any more.
    #[must_use]
    pub fn read_base(&self, base: &Base) -> Option<Vec<u8>> {
        let fd = system::open_at(self.history(), base.name().as_bytes(), system::READ, 0).ok()?;
        let mut bytes = Vec::new();
        std::fs::File::from(fd).take(BASE_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
        (ContentId::of(&bytes) == base.content).then_some(bytes)
    }

    /// Returns when a base was kept, in milliseconds since 1970; 0 when it is gone.
    #[must_use]
    pub fn base_kept_ms(&self, base: &Base) -> u64 {
        let stat = system::stat_at(self.history(), base.name().as_bytes()).ok().flatten();
        let ns = stat.map_or(0, |stat| system::key_of(&stat).mtime_ns);
        u64::try_from(ns / 1_000_000).unwrap_or_default()
    }

    /// Ends the bases that the history's limits no longer allow, the oldest first; `trash_bytes`
    /// are taken by the trash. The newest of a path has no age: it may be what lies there now.
    ///
    /// # Errors
    /// [`TrashError::Unreadable`]; what was ended until then is gone.
    pub fn prune_bases(&self, trash_bytes: u64) -> Result<Pruned, TrashError> {
        let limits = self.limits();
        let disk = self.disk_bytes().map_err(TrashError::Unreadable)?;
        let mut room = (disk / 100 * u64::from(limits.history_percent)).saturating_sub(trash_bytes);
        let oldest_ms = now_ms().saturating_sub(u64::from(limits.history_days) * DAY_MS);
        let mut bases = self.bases().map_err(TrashError::Unreadable)?;
        bases.sort_unstable_by_key(|base| std::cmp::Reverse(base.seq));
        let mut newer: BTreeMap<AncestorId, usize> = BTreeMap::new();
        let mut pruned = Pruned::default();
        for base in bases {
            let rank = newer.entry(base.path).or_default();
            *rank += 1;
            let name = base.name();
            let stat = system::stat_at(self.history(), name.as_bytes()).ok().flatten();
            let bytes = stat.map_or(0, |stat| system::key_of(&stat).size);
            let is_old = *rank > 1 && self.base_kept_ms(&base) <= oldest_ms;
            if *rank > VERSIONS_MAX || is_old || bytes > room {
                self.drop_base(&name).map_err(TrashError::Unreadable)?;
                pruned.files += 1;
                pruned.bytes += bytes;
            } else {
                room -= bytes;
            }
        }
        Ok(pruned)
    }

    fn drop_old_bases(&self, path: &RelPath) -> Result<(), Errno> {
        let known = hash(path);
        let mut kept = super::locked(&self.inner.bases);
        let count = kept.entry(known).or_insert(0);
        *count += 1;
        // Counted since the start; only a path that changes often is worth a listing.
        if *count <= VERSIONS_MAX {
            return Ok(());
        }
        *count = VERSIONS_MAX / 2;
        drop(kept);
        for base in self.bases_of(path)?.iter().skip(VERSIONS_MAX / 2) {
            self.drop_base(&base.name())?;
        }
        Ok(())
    }

    fn drop_base(&self, name: &str) -> Result<(), Errno> {
        match fs::unlinkat(self.history(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn bases(&self) -> Result<Vec<Base>, Errno> {
        let names = system::names_in(self.history().as_fd())?;
        Ok(names.iter().filter_map(|(name, _)| Base::parse(name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use syncd_home::Limits;

    use super::super::testing::{Folder, path};
    use super::*;

    fn keep(folder: &Folder, name: &str, seq: Seq, text: &str) -> bool {
        folder.write(name, text);
        folder.hands.keep_base(&path(name), seq, ContentId::of(text.as_bytes())).unwrap()
    }

    fn texts(folder: &Folder, name: &str) -> Vec<String> {
        let bases = folder.hands.bases_of(&path(name)).unwrap();
        let read = |base| String::from_utf8(folder.hands.read_base(base).unwrap()).unwrap();
        bases.iter().map(read).collect()
    }

    #[test]
    fn a_base_outlives_what_replaces_it() {
        let folder = Folder::new();
        assert!(keep(&folder, "a", 1, "one"));
        assert!(keep(&folder, "a", 2, "two"));
        assert!(keep(&folder, "b", 3, "other"));
        folder.write("a", "by hand");
        assert_eq!(texts(&folder, "a"), ["two", "one"], "the newest first");
        assert_eq!(folder.hands.bases_of(&path("c")).unwrap(), [], "none was kept");
        let moved = ContentId::of(b"another");
        assert_eq!(folder.hands.keep_base(&path("a"), 4, moved), Ok(false), "it changed since");
        for (name, text, because) in [("bin", "a\0b", "no text"), ("none", "", "an empty file")] {
            assert_eq!(keep(&folder, name, 5, text), text.is_empty(), "{because}");
        }
        let base = folder.hands.bases_of(&path("b")).unwrap().remove(0);
        assert!(folder.hands.base_kept_ms(&base) > 0);
        let damaged = folder.root().join(".syncd/history").join(base.name());
        std::fs::write(damaged, "0ther").unwrap();
        assert_eq!(folder.hands.read_base(&base), None, "damaged is as good as lost");
    }

    #[test]
    fn the_limits_hold_for_bases_too() {
        for (limits, left, because) in [
            (Limits::default(), VERSIONS_MAX / 2, "a path that changes often keeps a few"),
            (Limits { history_days: 0, ..Limits::default() }, 1, "the newest has no age"),
            (Limits { history_percent: 0, ..Limits::default() }, 0, "no room at all"),
        ] {
            let folder = Folder::in_memory(|_| {});
            for seq in 1..=VERSIONS_MAX as u64 + 1 {
                assert!(keep(&folder, "a", seq, &format!("version {seq}")));
            }
            folder.hands.set_limits(limits);
            folder.hands.prune_bases(0).unwrap();
            assert_eq!(texts(&folder, "a").len(), left, "{because}");
            let none = limits != Limits::default();
            assert_ne!(keep(&folder, "b", 99, "more"), none, "{because}");
        }
    }
}
