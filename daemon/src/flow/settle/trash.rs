//! The trash: every version that was replaced or deleted here, until age, count or room end it.
//!
//! `.syncd/trash/CONTENT-NUMBER` is the displaced inode itself; the journal beside it says
//! whence it came. This is the only place where a user's bytes ever end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use rustix::fs::{self, AtFlags};
use rustix::io::{self, Errno};
use serde::{Deserialize, Serialize};
use syncd_core::flow::settle::{SettleError, Trouble};
use syncd_core::model::{ContentId, Kind, RelPath};

use super::journal::{Moved, parse_trash_name, trash_name};
use super::{Hands, locked};
use crate::world::disk::{self, system};

/// A day, in milliseconds.
pub(super) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Why a version is in the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// A newer version took its name.
    Replaced,
    /// It was deleted on another device.
    Deleted,
    /// A restart found it where only our own should lie.
    Found,
}

/// One displaced version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashEntry {
    /// Names it; later displacements have greater ones.
    pub id: u64,
    /// Where it lay; `None` when the journal was damaged.
    pub path: Option<RelPath>,
    /// What it held when it was displaced.
    pub content: ContentId,
    /// A file or a symlink.
    pub kind: Kind,
    /// The count of bytes.
    pub size: u64,
    /// Its modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// When it was displaced, milliseconds since 1970; 0 when the journal was damaged.
    pub displaced_at_ms: u64,
    /// Why.
    pub why: Why,
}

/// What was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// How many versions.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Why the trash did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrashError {
    /// No version has this id. It may have been pruned.
    #[error("the trash holds no version {id}")]
    NoSuch {
        /// The id.
        id: u64,
    },
    /// The journal does not know where it lay; name a target.
    #[error("where version {id} lay is not known; say where it should go")]
    Whence {
        /// The id.
        id: u64,
    },
    /// Something lies where it should go. Name another target.
    #[error("{path} exists; say where it should go")]
    Taken {
        /// Where.
        path: RelPath,
    },
    /// The directory it should go to is not there.
    #[error("the directory of {path} is not there; make it first")]
    NoWay {
        /// Where.
        path: RelPath,
    },
    /// The target cannot be used.
    #[error("{path}: {trouble}")]
    Target {
        /// Where.
        path: RelPath,
        /// What the system said.
        trouble: Trouble,
    },
    /// The trash cannot be read or written.
    #[error("the trash cannot be used")]
    Unreadable(#[source] Errno),
}

impl Hands {
    /// Lists what is in the trash, oldest first.
    ///
    /// # Errors
    /// [`TrashError::Unreadable`].
    pub fn trash_list(&self) -> Result<Vec<TrashEntry>, TrashError> {
        let noted = self.journal().read().map_err(TrashError::Unreadable)?;
        let names = system::names_in(self.trash()).map_err(TrashError::Unreadable)?;
        let named = names.iter().filter_map(|(name, _)| parse_trash_name(name));
        let mut entries: Vec<TrashEntry> = named
            .map(|(content, id)| match noted.get(&id) {
                Some((moved, _)) => entry_of(moved),
                None => self.unnoted(content, id),
            })
            .collect();
        entries.sort_unstable_by_key(|entry| entry.id);
        Ok(entries)
    }

    /// Returns the newest version of a path in the trash.
    ///
    /// # Errors
    /// [`TrashError::Unreadable`].
    pub fn trash_newest(&self, path: &RelPath) -> Result<Option<TrashEntry>, TrashError> {
        let entries = self.trash_list()?;
        Ok(entries.into_iter().rev().find(|entry| entry.path.as_ref() == Some(path)))
    }

    /// Moves a version out of the trash to `target`, else to where it lay, never replacing
    /// anything. The next look sees it as a user's new file. Returns where it is.
    ///
    /// # Errors
    /// [`TrashError`] saying what to do.
    pub fn trash_restore(&self, id: u64, target: Option<&RelPath>) -> Result<RelPath, TrashError> {
        let entries = self.trash_list()?;
        let entry = entries.into_iter().find(|entry| entry.id == id);
        let entry = entry.ok_or(TrashError::NoSuch { id })?;
        let path = target.cloned().or(entry.path).ok_or(TrashError::Whence { id })?;
        let spot = self.spot(&path).map_err(|error| match error {
            SettleError::Trouble { path, trouble } => TrashError::Target { path, trouble },
            SettleError::NoWay { path } => TrashError::NoWay { path },
            SettleError::Overtaken { .. }
            | SettleError::Displaced { .. }
            | SettleError::Collides { .. }
            | SettleError::Busy { .. }
            | SettleError::NotStaged { .. }
            | SettleError::NotEmpty { .. }
            | SettleError::NoRoom { .. }
            | SettleError::RootLost => TrashError::NoWay { path: path.clone() },
        })?;
        let name = trash_name(entry.content, id);
        match self.install(self.trash(), &name, spot.way(), spot.name()) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(TrashError::Taken { path }),
            Err(errno) => {
                return Err(TrashError::Target { path, trouble: disk::trouble_of(errno) });
            }
        }
        locked(&self.inner.watched).remove(&id);
        self.journal().drop_entry(entry.content, id).map_err(TrashError::Unreadable)?;
        Ok(path)
    }

    /// Ends all versions displaced before `before_ms` (milliseconds since 1970), or all.
    ///
    /// # Errors
    /// [`TrashError::Unreadable`]; what was ended until then is gone.
    pub fn empty(&self, before_ms: Option<u64>) -> Result<Pruned, TrashError> {
        let mut entries = self.trash_list()?;
        entries.retain(|entry| before_ms.is_none_or(|before| entry.displaced_at_ms < before));
        self.end(&entries)
    }

    /// Counts what went to the trash towards the next pruning.
    pub(super) fn count_displaced(&self, moved: &Moved) {
        self.inner.displaced_bytes.fetch_add(moved.size, Ordering::Relaxed);
    }

    /// Tells whether so much went to the trash since it was last pruned, 1 % of the disk or 1 GiB,
    /// that the room it may take is to be looked at now: a large file that changes all the time
    /// must not fill the disk until the next usual time.
    #[must_use]
    pub fn is_pruning_due(&self) -> bool {
        let displaced = self.inner.displaced_bytes.load(Ordering::Relaxed);
        displaced > 0 && self.disk_bytes().is_ok_and(|disk| is_much(displaced, disk))
    }

    /// Ends what the limits no longer allow, oldest first: by age, then by versions of a path,
    /// then by room. A version not yet verified stays.
    ///
    /// # Errors
    /// [`TrashError::Unreadable`]; what was ended until then is gone.
    pub fn prune(&self, now_ms: u64) -> Result<Pruned, TrashError> {
        let limits = self.limits();
        let disk = self.disk_bytes().map_err(TrashError::Unreadable)?;
        self.inner.displaced_bytes.store(0, Ordering::Relaxed);
        let bytes_max = disk / 100 * u64::from(limits.history_percent);
        let noted = self.journal().read().map_err(TrashError::Unreadable)?;
        let is_verified = |id| noted.get(&id).is_none_or(|(_, kept)| *kept);
        let mut entries = self.trash_list()?;
        entries.retain(|entry| is_verified(entry.id));
        let oldest_ms = now_ms.saturating_sub(u64::from(limits.history_days) * DAY_MS);
        let mut versions: BTreeMap<RelPath, u32> = BTreeMap::new();
        let mut bytes = 0_u64;
        let mut ended = Vec::new();
        for entry in entries.into_iter().rev() {
            let count = entry.path.clone().map_or(1, |path| {
                let count = versions.entry(path).or_default();
                *count += 1;
                *count
            });
            bytes = bytes.saturating_add(entry.size);
            // A damaged entry has no time and stays until room is needed.
            let is_old = entry.displaced_at_ms != 0 && entry.displaced_at_ms < oldest_ms;
            if is_old || count > limits.history_versions || bytes > bytes_max {
                bytes -= entry.size;
                ended.push(entry);
            }
        }
        ended.reverse();
        self.keep_open(&mut ended);
        let pruned = self.end(&ended)?;
        let bases = self.prune_bases(bytes)?;
        Ok(Pruned { files: pruned.files + bases.files, bytes: pruned.bytes + bases.bytes })
    }

    /// Leaves out what a program may still write to: those bytes would end unseen.
    fn keep_open(&self, ended: &mut Vec<TrashEntry>) {
        let ids: BTreeSet<u64> = ended.iter().map(|entry| entry.id).collect();
        let watched: BTreeMap<String, u64> = locked(&self.inner.watched)
            .iter()
            .filter(|(id, _)| ids.contains(id))
            .map(|(_, watched)| watched.file())
            .collect();
        let open = self.open_in_trash(&watched);
        ended.retain(|entry| !open.contains(&trash_name(entry.content, entry.id)));
    }

    fn end(&self, entries: &[TrashEntry]) -> Result<Pruned, TrashError> {
        let mut pruned = Pruned::default();
        for entry in entries {
            // They belong to nobody's old version: the next look brings them back.
            if self.is_written_late(entry.id) {
                continue;
            }
            let name = trash_name(entry.content, entry.id);
            match fs::unlinkat(self.trash(), name.as_str(), AtFlags::empty()) {
                // A directory that was filed as it was found.
                Err(Errno::ISDIR | Errno::PERM) => continue,
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(TrashError::Unreadable(errno)),
            }
            let dropped = self.journal().drop_entry(entry.content, entry.id);
            dropped.map_err(TrashError::Unreadable)?;
            pruned.files += 1;
            pruned.bytes += entry.size;
        }
        if pruned.files > 0 {
            self.journal().compact().map_err(TrashError::Unreadable)?;
        }
        Ok(pruned)
    }

    fn unnoted(&self, content: ContentId, id: u64) -> TrashEntry {
        let stat = system::stat_at(self.trash(), trash_name(content, id).as_bytes());
        let stat = stat.ok().flatten();
        let key = stat.as_ref().map(system::key_of);
        TrashEntry {
            id,
            path: None,
            content,
            kind: stat.as_ref().and_then(system::kind_of).unwrap_or(Kind::File),
            size: key.map_or(0, |key| key.size),
            mtime_ns: key.map_or(0, |key| key.mtime_ns),
            displaced_at_ms: 0,
            why: Why::Found,
        }
    }

    /// Files something found in staging, under what it holds. Returns its id.
    pub(super) fn file_found(
        &self,
        from: std::os::fd::BorrowedFd<'_>,
        name: &str,
        path: Option<&RelPath>,
    ) -> io::Result<u64> {
        let content = super::fill::hash_at(from, name.as_bytes())?.unwrap_or(ContentId::NONE);
        let stat = system::stat_at(from, name.as_bytes())?.ok_or(Errno::NOENT)?;
        let kind = system::kind_of(&stat).unwrap_or(Kind::File);
        let mut moved = Moved::new(path.unwrap_or(&RelPath::root()), content, kind, Why::Found);
        let key = system::key_of(&stat);
        (moved.size, moved.mtime_ns, moved.inode) = (key.size, key.mtime_ns, key.inode);
        let moved = self.journal().begin(moved)?;
        fs::renameat(from, name, self.trash(), moved.name().as_str())?;
        self.journal().keep(&moved)?;
        Ok(moved.seq)
    }
}

/// Tells whether bytes that went to the trash of a disk of `disk_bytes` are many.
fn is_much(displaced_bytes: u64, disk_bytes: u64) -> bool {
    displaced_bytes > (disk_bytes / 100).min(1 << 30)
}

fn entry_of(moved: &Moved) -> TrashEntry {
    TrashEntry {
        id: moved.seq,
        path: moved.path(),
        content: moved.content(),
        kind: moved.kind(),
        size: moved.size,
        mtime_ns: moved.mtime_ns,
        displaced_at_ms: moved.at_ms,
        why: moved.why,
    }
}

#[cfg(test)]
mod tests {
    use syncd_core::flow::settle::{Expect, Step};

    use syncd_home::Limits;

    use super::super::now_ms;
    use super::super::testing::{Folder, path};
    use super::*;

    /// Replaces `name` again and again, from `v0` on; its last version lies in the folder.
    fn versions(folder: &Folder, name: &str, count: usize) {
        for n in 0..count {
            let expect = if n == 0 { Expect::Nothing } else { folder.known(name) };
            folder.take(vec![folder.place(name, expect, &format!("v{n}"))]).unwrap();
        }
    }

    fn left(folder: &Folder) -> Vec<String> {
        folder.trashed().into_iter().map(|(path, bytes)| format!("{path} {bytes}")).collect()
    }

    #[test]
    fn the_trash_tells_what_was_displaced_and_gives_it_back() {
        let folder = Folder::new();
        versions(&folder, "a", 3);
        folder.write("b", "gone");
        let trash = Step::Trash { path: path("b"), expect: folder.known("b") };
        folder.take(vec![trash]).unwrap();
        let list = folder.hands.trash_list().unwrap();
        let shown: Vec<_> = list.iter().map(|e| (e.id, e.path.clone().unwrap(), e.why)).collect();
        assert_eq!(
            shown,
            [
                (1, path("a"), Why::Replaced),
                (2, path("a"), Why::Replaced),
                (3, path("b"), Why::Deleted)
            ]
        );
        assert!(now_ms() - list[2].displaced_at_ms < 60_000);
        assert_eq!((list[2].content, list[2].size), (ContentId::of(b"gone"), 4));

        let hands = folder.restarted();
        assert_eq!(hands.trash_list().unwrap(), list, "the same after a restart");
        assert_eq!(hands.trash_newest(&path("a")).unwrap().unwrap().id, 2);
        assert_eq!(hands.trash_restore(3, None), Ok(path("b")));
        assert_eq!(folder.read("b").as_deref(), Some("gone"));
        assert_eq!(hands.trash_restore(2, None), Err(TrashError::Taken { path: path("a") }));
        assert_eq!(
            hands.trash_restore(2, Some(&path("x/y"))),
            Err(TrashError::NoWay { path: path("x/y") })
        );
        assert_eq!(hands.trash_restore(2, Some(&path("a.old"))), Ok(path("a.old")));
        assert_eq!(folder.read("a.old").as_deref(), Some("v1"));
        assert_eq!(hands.trash_restore(2, None), Err(TrashError::NoSuch { id: 2 }));
        let evil = hands.trash_restore(1, Some(&path(".syncd/id")));
        assert!(matches!(evil, Err(TrashError::Target { .. })), "{evil:?}");
        assert_eq!(hands.trash_list().unwrap().len(), 1);
    }

    #[test]
    fn names_that_are_no_text_come_back_too() {
        let folder = Folder::new();
        let odd = RelPath::parse(b"od\xffd\n\"").unwrap();
        let at = folder
            .root()
            .join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(odd.as_bytes()));
        std::fs::write(&at, "odd").unwrap();
        let stat = folder.hands.root().stat(&odd).unwrap().unwrap().key;
        let expect = Expect::Known { kind: Kind::File, stat, content: ContentId::of(b"odd") };
        folder.take(vec![Step::Trash { path: odd.clone(), expect }]).unwrap();
        let hands = folder.restarted();
        assert_eq!(hands.trash_restore(1, None), Ok(odd));
        assert_eq!(std::fs::read_to_string(at).unwrap(), "odd");
    }

    #[test]
    fn the_limits_end_the_oldest_first() {
        let limits = Limits::default();
        let month = u64::from(limits.history_days) * DAY_MS;
        for (limits, later_ms, expected, because) in [
            (limits, 0, vec!["a v0", "a v1", "a v2", "b v0", "b v1"], "nothing is due"),
            (limits, month + 60_000, vec![], "all too old"),
            (
                Limits { history_versions: 2, ..limits },
                0,
                vec!["a v1", "a v2", "b v0", "b v1"],
                "two of each path",
            ),
            (Limits { history_versions: 1, ..limits }, 0, vec!["a v2", "b v1"], "one of each"),
            (Limits { history_percent: 0, ..limits }, 0, vec![], "no room at all"),
        ] {
            let folder = Folder::in_memory(|_| {});
            versions(&folder, "a", 4);
            versions(&folder, "b", 3);
            folder.hands.set_limits(limits);
            let pruned = folder.hands.prune(now_ms() + later_ms).unwrap();
            assert_eq!(left(&folder), expected, "{because}");
            assert_eq!(pruned.files, 5 - expected.len(), "{because}");
            assert_eq!(pruned.bytes, 2 * pruned.files as u64, "{because}");
        }
    }

    #[test]
    fn what_is_displaced_counts_towards_the_next_pruning() {
        let folder = Folder::in_memory(|_| {});
        let counted = || folder.hands.inner.displaced_bytes.load(Ordering::Relaxed);
        versions(&folder, "a", 4);
        assert_eq!(counted(), 6, "three versions of two bytes");
        assert!(!folder.hands.is_pruning_due(), "six bytes are not much");
        folder.hands.prune(now_ms()).unwrap();
        assert_eq!(counted(), 0, "counted anew");
        for (displaced, disk, much, because) in [
            (1 << 20, 100 << 20, false, "one percent"),
            (2 << 20, 100 << 20, true, "two percent"),
            (1 << 30, 1 << 50, false, "a GiB"),
            ((1 << 30) + 1, 1 << 50, true, "more than that, on whatever disk"),
        ] {
            assert_eq!(is_much(displaced, disk), much, "{because}");
        }
    }

    #[test]
    fn emptying_ends_all_or_what_is_older() {
        let folder = Folder::in_memory(|_| {});
        versions(&folder, "a", 3);
        assert_eq!(folder.hands.empty(Some(1)).unwrap(), Pruned::default());
        assert_eq!(folder.hands.empty(None).unwrap(), Pruned { files: 2, bytes: 4 });
        assert_eq!(left(&folder), [""; 0]);
        assert_eq!(folder.read("a").as_deref(), Some("v2"));
        versions(&folder, "b", 2);
        assert_eq!(folder.hands.trash_list().unwrap()[0].id, 3, "ids are never used twice");
    }
}
