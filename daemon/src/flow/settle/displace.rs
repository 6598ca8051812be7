//! Displacing: what left its name goes to the trash if it was expected, else back to the user.

use std::os::fd::BorrowedFd;

use rustix::fs::{self, AtFlags, RenameFlags};
use rustix::io::{self, Errno};
use syncd_core::flow::plan::conflict;
use syncd_core::flow::settle::{Expect, SettleError};
use syncd_core::model::{Kind, RelPath};

use super::check::Held;
use super::journal::Moved;
use super::late::WATCH_MS;
use super::ready::Readied;
use super::replace::Known;
use super::take::Run;
use super::trash::Why;
use super::{Hands, Moment, Spot};
use crate::world::disk::system;

/// Most names tried for a conflict copy before giving up.
const COPY_NAMES_MAX: u32 = 1000;

impl Hands {
    /// Moves a file or symlink into the trash and verifies it there.
    pub(super) fn trash_path(
        &self,
        run: &mut Run,
        path: &RelPath,
        expect: &Expect,
    ) -> Result<(), SettleError> {
        let spot = self.spot(path)?;
        let known = match run.expected(path, expect) {
            Expect::Nothing => {
                match self.is_free(&spot) {
                    // Its twin is another path's.
                    Ok(()) | Err(SettleError::Collides { .. }) => {}
                    Err(error) => return Err(error),
                }
                run.left(path, Kind::Tombstone, None);
                return Ok(());
            }
            Expect::Known { kind: Kind::Directory, .. } => return self.remove_directory(run, path),
            Expect::Known { kind, stat, content } => Known { kind, stat, content },
        };
        let held = self.hold_whole(&spot, known.kind, &known.stat)?;
        self.pass(Moment::Checked);
        let moved = self.note_trashing(&spot, &known, &held)?;
        run.will_touch(path);
        self.move_to_trash(&spot, &held, &moved)?;
        self.look_at_trashed(&spot, &known, held, &moved)?;
        run.left(path, Kind::Tombstone, None);
        Ok(())
    }

    /// Writes down that a version will go to the trash.
    pub(super) fn note_trashing(
        &self,
        spot: &Spot,
        known: &Known,
        held: &Held,
    ) -> Result<Moved, SettleError> {
        let mut moved = Moved::new(&spot.path, known.content, known.kind, Why::Deleted);
        self.describe(&mut moved, held);
        let moved = self.journal().begin(moved);
        let moved = moved.map_err(|errno| self.said(&spot.path, 0, errno))?;
        self.pass(Moment::Noted);
        Ok(moved)
    }

    /// Moves what was taken hold of into the trash if it is unchanged.
    pub(super) fn move_to_trash(
        &self,
        spot: &Spot,
        held: &Held,
        moved: &Moved,
    ) -> Result<(), SettleError> {
        let said = |errno| self.said(&spot.path, 0, errno);
        let name = moved.name();
        let rename = || fs::renameat(spot.way(), spot.name(), self.trash(), name.as_str());
        self.change_name(spot, held, moved, (&said, Moment::Trashed), rename)
    }

    /// Takes its name from what was taken hold of, by `rename`, if it is unchanged: that is asked
    /// of the held descriptor, as late as can be, since a rename sets the change time. If nothing
    /// comes of it, nothing is written down of it any more, and `said` tells why.
    pub(super) fn change_name(
        &self,
        spot: &Spot,
        held: &Held,
        moved: &Moved,
        (said, done): (&dyn Fn(Errno) -> SettleError, Moment),
        rename: impl FnOnce() -> rustix::io::Result<()>,
    ) -> Result<(), SettleError> {
        if !held.is_unchanged().map_err(said)? {
            return self.give_up(moved, spot.overtaken());
        }
        self.pass(Moment::Asked);
        match rename() {
            Ok(()) => {
                self.pass(done);
                Ok(())
            }
            Err(Errno::NOENT) => self.give_up(moved, spot.overtaken()),
            Err(errno) => self.give_up(moved, said(errno)),
        }
    }

    /// Verifies what was moved into the trash, and puts it back if it was not what was expected.
    pub(super) fn look_at_trashed(
        &self,
        spot: &Spot,
        known: &Known,
        held: Held,
        moved: &Moved,
    ) -> Result<(), SettleError> {
        let name = moved.name();
        if !self.is_expected(self.trash(), &name, &held, known.content) {
            return self.put_back(moved, spot, self.trash(), &name, spot.overtaken());
        }
        let filed = self.file(moved, held, self.trash(), &name);
        filed.map_err(|errno| self.said(&spot.path, 0, errno))
    }

    /// Gives a name of ours to the user, never replacing anything: `EEXIST` then.
    pub(super) fn install(
        &self,
        from: BorrowedFd<'_>,
        name: &str,
        way: BorrowedFd<'_>,
        target: &[u8],
    ) -> io::Result<()> {
        let abilities = self.root().abilities();
        if abilities.no_replace {
            return fs::renameat_with(from, name, way, target, RenameFlags::NOREPLACE);
        }
        if !abilities.hard_links {
            return Err(Errno::OPNOTSUPP);
        }
        match fs::linkat(from, name, way, target, AtFlags::empty()) {
            Ok(()) => fs::unlinkat(from, name, AtFlags::empty()),
            // A directory has one name only. Renaming it can replace an empty directory at most.
            Err(Errno::PERM) => match system::stat_at(way, target)? {
                None => fs::renameat(from, name, way, target),
                Some(_) => Err(Errno::EXIST),
            },
            Err(errno) => Err(errno),
        }
    }

    /// Keeps a version that nobody had seen as a conflict copy beside its path and returns the
    /// copy's name. Where its directory is gone it goes to the trash, under its own path.
    pub(super) fn keep_unseen(
        &self,
        moved: &Moved,
        spot: &Spot,
        from: BorrowedFd<'_>,
        name: &str,
    ) -> Result<RelPath, SettleError> {
        let said = |errno| self.said(&spot.path, 0, errno);
        let stat = system::stat_at(from, name.as_bytes()).map_err(said)?;
        let mtime_ns = stat.map_or(0, |stat| system::key_of(&stat).mtime_ns);
        let first = (self.inner.name_copy)(&spot.path, mtime_ns);
        for nth in 1..=COPY_NAMES_MAX {
            let copy = if nth == 1 { first.clone() } else { conflict::numbered(&first, nth) };
            let target = self.name_of(&copy)?;
            match self.install(from, name, spot.way(), &target) {
                Ok(()) => {
                    self.journal().drop_entry(moved.content(), moved.seq).map_err(said)?;
                    return Ok(copy);
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(said(errno)),
            }
        }
        Err(said(Errno::EXIST))
    }

    /// Gives a version that nobody had seen its name back: a program wrote it between the last look
    /// and the exchange, and may still be writing. The next look takes it for the write that it is.
    pub(super) fn swap_back(
        &self,
        spot: &Spot,
        readied: &Readied,
        moved: &Moved,
    ) -> Result<(), SettleError> {
        let name = readied.name.as_str();
        let swap = RenameFlags::EXCHANGE;
        let back = fs::renameat_with(spot.way(), spot.name(), self.staging(), name, swap);
        let there = system::stat_at(self.staging(), name.as_bytes()).ok().flatten();
        let is_ours = there.is_some_and(|there| there.st_ino == readied.key.inode);
        if back.is_ok() && is_ours {
            let shown = self.file_shown(spot, readied);
            shown.map_err(|errno| self.said(&spot.path, readied.key.size, errno))?;
            return self.give_up(moved, spot.overtaken());
        }
        // Whatever lies in staging by now is a user's, and its name is taken or gone: if it was
        // swapped, by another version of which as little is known.
        let kept = self.keep_unseen(moved, spot, self.staging(), name)?;
        if back.is_ok() { Err(spot.overtaken()) } else { self.displaced(spot, kept) }
    }

    /// Files a new version that had its name for a moment and lies in staging again: somebody may
    /// have opened it, and what is written to it then must not be lost.
    fn file_shown(&self, spot: &Spot, readied: &Readied) -> io::Result<()> {
        let mut shown = Moved::new(&spot.path, readied.content, readied.kind, Why::Replaced);
        let key = &readied.key;
        (shown.size, shown.mtime_ns, shown.inode) = (key.size, key.mtime_ns, key.inode);
        let shown = self.journal().begin(shown)?;
        fs::renameat(self.staging(), readied.name.as_str(), self.trash(), shown.name().as_str())?;
        self.journal().keep(&shown)?;
        self.count_displaced(&shown);
        if readied.kind == Kind::File {
            self.watch_for(shown, WATCH_MS);
        }
        Ok(())
    }

    /// Puts something back that should not have been taken; beside its path if that has a new
    /// owner by now.
    pub(super) fn put_back(
        &self,
        moved: &Moved,
        spot: &Spot,
        from: BorrowedFd<'_>,
        name: &str,
        error: SettleError,
    ) -> Result<(), SettleError> {
        match self.install(from, name, spot.way(), spot.name()) {
            Ok(()) => self.give_up(moved, error),
            Err(_) => {
                let kept = self.keep_unseen(moved, spot, from, name)?;
                self.displaced(spot, kept)
            }
        }
    }

    /// Tells that an unseen version was kept as a copy.
    pub(super) fn displaced(&self, spot: &Spot, kept: RelPath) -> Result<(), SettleError> {
        let now = spot.stat().map_err(|errno| self.said(&spot.path, 0, errno))?;
        let path = spot.path.clone();
        let stat = now.as_ref().map(system::key_of).ok_or_else(|| spot.overtaken())?;
        Err(SettleError::Displaced { path, kept, stat })
    }

    /// Files an expected version in the trash.
    pub(super) fn file(
        &self,
        moved: &Moved,
        held: Held,
        from: BorrowedFd<'_>,
        name: &str,
    ) -> io::Result<()> {
        let filed = moved.name();
        if name != filed {
            fs::renameat(from, name, self.trash(), filed.as_str())?;
        }
        self.journal().keep(moved)?;
        self.pass(Moment::Filed);
        self.count_displaced(moved);
        self.watch(moved, &held);
        Ok(())
    }

    /// Writes down a displacement that was not made after all.
    pub(super) fn give_up(&self, moved: &Moved, error: SettleError) -> Result<(), SettleError> {
        let _ = self.journal().drop_entry(moved.content(), moved.seq);
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::testing::{Folder, path};
    use super::*;

    #[test]
    fn an_unseen_version_keeps_its_name() {
        let folder = Folder::new();
        folder.write("a", "old");
        let expect = folder.known("a");
        let user = folder.root().join("a");
        folder.at(Moment::Asked, move || std::fs::write(&user, "unseen").unwrap());
        let answer = folder.take(vec![folder.place("a", expect, "new")]);
        assert_eq!(answer, Err(SettleError::Overtaken { path: path("a") }));
        assert_eq!(folder.read("a").as_deref(), Some("unseen"), "a look takes it for a write");
        assert_eq!(folder.names(), ["a"], "and no copy is made of what nobody has compared yet");
        // Somebody may have opened the new version while it had the name.
        assert_eq!(folder.trashed(), [("a".to_owned(), "new".to_owned())]);
        assert_eq!(folder.staging_names(), [""; 0]);
    }

    #[test]
    fn of_two_unseen_versions_one_keeps_the_name_and_the_other_lies_beside_it() {
        let folder = Folder::new();
        folder.write("a", "old");
        folder.write("a.copy", "a name that is taken");
        let expect = folder.known("a");
        let user = folder.root().join("a");
        let replace = move |bytes: &str| {
            std::fs::write(user.with_extension("tmp"), bytes).unwrap();
            std::fs::rename(user.with_extension("tmp"), &user).unwrap();
        };
        folder.at_each(move |moment| {
            if moment == Moment::Asked {
                replace("unseen");
            } else if moment == Moment::Swapped {
                replace("unseen too");
            }
        });
        let answer = folder.take(vec![folder.place("a", expect, "new")]);
        assert_eq!(answer, Err(SettleError::Overtaken { path: path("a") }));
        assert_eq!(folder.read("a").as_deref(), Some("unseen"));
        assert_eq!(folder.read("a-2.copy").as_deref(), Some("unseen too"));
        assert_eq!(folder.read("a.copy").as_deref(), Some("a name that is taken"));
        assert_eq!((folder.trashed(), folder.staging_names()), (vec![], vec![]));
    }

    /// Writes as many bytes and sets the modification time back.
    fn write_in_disguise(at: &std::path::Path) {
        let time = std::fs::metadata(at).unwrap().modified().unwrap();
        std::fs::write(at, "OLD").unwrap();
        let file = std::fs::File::options().write(true).open(at).unwrap();
        file.set_modified(time).unwrap();
    }

    #[test]
    fn a_write_in_disguise_is_seen_by_its_change_time_or_its_bytes() {
        for moment in [Moment::Checked, Moment::Noted, Moment::Asked] {
            for delete in [true, false] {
                let folder = Folder::new();
                folder.write("a", "old");
                let expect = folder.known("a");
                let user = folder.root().join("a");
                folder.at(moment, move || write_in_disguise(&user));
                let step = if delete {
                    syncd_core::flow::settle::Step::Trash { path: path("a"), expect }
                } else {
                    folder.place("a", expect, "new")
                };
                let answer = folder.take(vec![step]);
                let because = format!("at {moment:?}, delete: {delete}: {answer:?}");
                assert!(answer.is_err(), "{because}");
                assert_eq!(folder.read("a").as_deref(), Some("OLD"), "{because}");
                // The new version had the name for a moment.
                let was_shown = moment == Moment::Asked && !delete;
                assert_eq!(folder.trashed().len(), usize::from(was_shown), "{because}");
            }
        }
    }

    #[test]
    fn a_program_that_still_has_the_old_file_open_loses_nothing() {
        let folder = Folder::new();
        folder.write("a", "old");
        let mut open = std::fs::File::options().append(true).open(folder.root().join("a")).unwrap();
        folder.take(vec![folder.place("a", folder.known("a"), "new")]).unwrap();
        assert_eq!(folder.hands.late_writes(), []);
        open.write_all(b" and more").unwrap();
        folder.hands.hurry_late_looks();
        let late = folder.hands.late_writes();
        let expected = super::super::LateWrite { path: path("a"), kept: path("a.copy") };
        assert_eq!(late, [Ok(expected)]);
        assert_eq!(folder.read("a.copy").as_deref(), Some("old and more"));
        open.write_all(b" still").unwrap();
        assert_eq!(folder.read("a.copy").as_deref(), Some("old and more still"));
        assert_eq!(folder.hands.late_writes(), []);
    }

    #[test]
    fn a_late_write_is_found_after_a_restart_too() {
        let folder = Folder::new();
        folder.write("a", "old");
        folder.take(vec![folder.place("a", folder.known("a"), "new")]).unwrap();
        let displaced = std::fs::read_dir(folder.root().join(".syncd/trash")).unwrap();
        let displaced = displaced.map(|e| e.unwrap().path()).find(|p| !p.ends_with("journal"));
        std::fs::write(displaced.unwrap(), "late").unwrap();
        let hands = folder.restarted();
        hands.recover(super::super::now_ms()).unwrap();
        assert_eq!(hands.late_writes().len(), 1);
        assert_eq!(folder.read("a.copy").as_deref(), Some("late"));
    }
}
