//! Restarting: what a crash left in staging and in the trash finds its place.
//!
//! A file in staging is ours only if it is the inode we put there or hashes to its name. All
//! else may be a user's version that was about to be displaced: it goes back to its path,
//! beside it, or to the trash, never away.

use std::collections::BTreeSet;

use rustix::fs::{self, AtFlags};
use rustix::io;
use syncd_core::model::{ContentId, Kind, RelPath};

use super::Hands;
use super::fill::hash_at;
use super::journal::Moved;
use super::late::WATCH_MS;
use super::ready::clear;
use super::trash::Why;
use crate::world::disk::{DiskError, system};

/// How long what was staged is kept for a transfer that goes on, in milliseconds.
const STAGED_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// What a restart found and did. All lists are sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Contents that are staged whole.
    pub staged: Vec<ContentId>,
    /// Contents staged in part.
    pub partial: Vec<ContentId>,
    /// Paths whose version had been moved aside and was put back: look at them.
    pub restored: Vec<RelPath>,
    /// Paths of which a version nobody had seen was kept, and where: look at both.
    pub copies: Vec<(RelPath, RelPath)>,
    /// Ids of versions that went to the trash.
    pub trashed: Vec<u64>,
    /// Names in staging or the trash that could not be dealt with, and are left as they are.
    pub stuck: Vec<String>,
}

/// What a name in staging says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Staged {
    /// `HEX.part`: the beginning of a content.
    Part(ContentId),
    /// `HEX.NUMBER.part`: a copy of a file that is still in its place.
    Copy,
    /// `HEX`: a whole content.
    Whole(ContentId),
    /// `HEX.NUMBER`: readied for a step, or what a step displaced.
    Readied(ContentId),
    /// Anything else.
    Unknown,
}

impl Hands {
    /// Brings staging and trash in order after a crash. To be called on an attested root before
    /// anything is staged or taken. `now_ms` is the wall clock, milliseconds since 1970.
    ///
    /// # Errors
    /// [`DiskError`] when staging or trash cannot be read at all; single names that cannot be
    /// dealt with are listed as stuck.
    pub fn recover(&self, now_ms: u64) -> Result<Recovered, DiskError> {
        let failed = |errno| DiskError::of(self.root().own(), errno);
        let mut found = Recovered::default();
        let noted = self.journal().read().map_err(failed)?;
        for (moved, kept) in noted.into_values() {
            let done = if kept {
                self.watch_again(&moved, now_ms);
                Ok(())
            } else {
                self.recover_moved(&moved, &mut found)
            };
            if done.is_err() {
                found.stuck.push(moved.name());
            }
        }
        for (name, _) in system::names_in(self.staging()).map_err(failed)? {
            let name = String::from_utf8_lossy(&name).into_owned();
            if self.recover_staged(&name, now_ms, &mut found).is_err() {
                found.stuck.push(name);
            }
        }
        self.journal().compact().map_err(failed)?;
        found.staged = sorted(found.staged);
        found.partial = sorted(found.partial);
        found.restored = sorted(found.restored);
        found.copies = sorted(found.copies);
        found.trashed = sorted(found.trashed);
        found.stuck = sorted(found.stuck);
        Ok(found)
    }

    /// Finds a version whose displacement was written down but not its end.
    fn recover_moved(&self, moved: &Moved, found: &mut Recovered) -> io::Result<()> {
        if let Some(staged) = &moved.rewrite {
            return self.recover_rewrite(moved, staged, found);
        }
        let name = moved.name();
        if system::stat_at(self.trash(), name.as_bytes())?.is_some() {
            if hash_at(self.trash(), name.as_bytes())? == Some(moved.content()) {
                self.journal().keep(moved)?;
                found.trashed.push(moved.seq);
                return Ok(());
            }
            return self.recover_unseen(moved, self.trash(), &name, found);
        }
        let Some(via) = &moved.via else {
            return self.journal().drop_entry(moved.content(), moved.seq);
        };
        match system::stat_at(self.staging(), via.as_bytes())? {
            Some(stat) if stat.st_ino != moved.ours => {}
            // Never swapped: the name is still our own file's.
            Some(_) | None => return self.journal().drop_entry(moved.content(), moved.seq),
        }
        let is_aside = via.ends_with(".aside");
        if is_aside && self.is_put_back(moved, via)? {
            found.restored.extend(moved.path());
            return Ok(());
        }
        if hash_at(self.staging(), via.as_bytes())? == Some(moved.content()) {
            fs::renameat(self.staging(), via.as_str(), self.trash(), name.as_str())?;
            self.journal().keep(moved)?;
            found.trashed.push(moved.seq);
            return Ok(());
        }
        self.recover_unseen(moved, self.staging(), via, found)
    }

    /// Gives a version that nobody had seen back to the user: a deleted one its path, else a
    /// name beside it, else a place in the trash.
    fn recover_unseen(
        &self,
        moved: &Moved,
        from: std::os::fd::BorrowedFd<'_>,
        name: &str,
        found: &mut Recovered,
    ) -> io::Result<()> {
        let path = moved.path();
        let spot = path.as_ref().and_then(|path| self.spot(path).ok());
        if let Some(spot) = &spot {
            if moved.why == Why::Deleted
                && self.install(from, name, spot.way(), spot.name()).is_ok()
            {
                self.journal().drop_entry(moved.content(), moved.seq)?;
                found.restored.push(spot.path.clone());
                return Ok(());
            }
            if let Ok(kept) = self.keep_unseen(moved, spot, from, name) {
                found.copies.push((spot.path.clone(), kept));
                return Ok(());
            }
        }
        let id = self.file_found(from, name, path.as_ref())?;
        self.journal().drop_entry(moved.content(), moved.seq)?;
        found.trashed.push(id);
        Ok(())
    }

    /// Puts a version that was moved aside back, if nothing took its name.
    fn is_put_back(&self, moved: &Moved, via: &str) -> io::Result<bool> {
        let Some(Ok(spot)) = moved.path().map(|path| self.spot(&path)) else { return Ok(false) };
        match self.install(self.staging(), via, spot.way(), spot.name()) {
            Ok(()) => {
                self.journal().drop_entry(moved.content(), moved.seq)?;
                Ok(true)
            }
            Err(io::Errno::EXIST) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn recover_staged(&self, name: &str, now_ms: u64, found: &mut Recovered) -> io::Result<()> {
        let Some(stat) = system::stat_at(self.staging(), name.as_bytes())? else { return Ok(()) };
        let mtime_ms = u64::try_from(system::key_of(&stat).mtime_ns / 1_000_000).unwrap_or(0);
        let is_old = now_ms.saturating_sub(mtime_ms) > STAGED_MS_MAX;
        let unlink = || clear(self.staging(), name);
        let holds = || hash_at(self.staging(), name.as_bytes());
        match parse_staged(name) {
            Staged::Part(_) if is_old => unlink(),
            Staged::Part(content) => {
                found.partial.push(content);
                Ok(())
            }
            Staged::Copy => unlink(),
            Staged::Whole(content) if holds()? == Some(content) => {
                if is_old {
                    return unlink();
                }
                found.staged.push(content);
                Ok(())
            }
            Staged::Readied(content) if holds()? == Some(content) => {
                // With a second name it is already placed, or a user's: not ours to hand on.
                let is_file = system::kind_of(&stat) == Some(Kind::File);
                if !is_file || system::links_of(&stat) > 1 || self.has(content) {
                    return unlink();
                }
                fs::chmodat(self.staging(), name, system::mode(0o600), AtFlags::empty())?;
                fs::renameat(self.staging(), name, self.staging(), content.hex().as_str())?;
                found.staged.push(content);
                Ok(())
            }
            Staged::Whole(_) | Staged::Readied(_) | Staged::Unknown => {
                let id = self.file_found(self.staging(), name, None)?;
                found.trashed.push(id);
                Ok(())
            }
        }
    }

    fn watch_again(&self, moved: &Moved, now_ms: u64) {
        let age_ms = now_ms.saturating_sub(moved.at_ms);
        if age_ms < WATCH_MS && moved.kind() == Kind::File {
            self.watch_for(moved.clone(), WATCH_MS - age_ms);
        }
    }
}

fn parse_staged(name: &str) -> Staged {
    let parts: Vec<&str> = name.split('.').collect();
    let Some(content) = ContentId::from_hex(parts[0]) else { return Staged::Unknown };
    match parts[1..] {
        [] => Staged::Whole(content),
        ["part"] => Staged::Part(content),
        [number] if is_hex(number) => Staged::Readied(content),
        [number, "part"] if is_hex(number) => Staged::Copy,
        _ => Staged::Unknown,
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn sorted<T: Ord>(list: Vec<T>) -> Vec<T> {
    list.into_iter().collect::<BTreeSet<T>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use syncd_core::flow::settle::{Expect, Step};

    use super::super::testing::{Folder, MTIME_NS, path, take};
    use super::super::{Moment, now_ms};
    use super::*;
    use crate::world::disk::Abilities;

    type Lessen = fn(&mut Abilities);

    const WORLDS: [(&str, Lessen); 3] = [
        ("with exchange", |_| {}),
        ("without exchange", |a| a.exchange = false),
        ("with links only", |a| (a.exchange, a.no_replace) = (false, false)),
    ];

    const MOMENTS: [Moment; 10] = [
        Moment::Checked,
        Moment::Noted,
        Moment::Asked,
        Moment::Swapped,
        Moment::Aside,
        Moment::Trashed,
        Moment::Installed,
        Moment::Copied,
        Moment::Filed,
        Moment::Taken,
    ];

    /// The jobs that are crashed: their steps for `a`, which holds "old" and is known as given.
    type MakeSteps = fn(&Folder, Expect) -> Vec<Step>;

    const JOBS: [(&str, MakeSteps); 4] = [
        ("replace", |folder, expect| vec![folder.place("a", expect, "new")]),
        ("new", |folder, _| vec![folder.place("b", Expect::Nothing, "new")]),
        ("delete", |_, expect| vec![Step::Trash { path: path("a"), expect }]),
        ("conflict", |folder, expect| {
            let keep = Step::KeepAs { path: path("a"), expect, copy: path("a.loser") };
            vec![keep, folder.place("a", expect, "new")]
        }),
    ];

    /// Takes a job that crashes at a moment; tells whether the moment came.
    fn crash(folder: &Folder, steps: Vec<Step>, moment: Moment, and: Option<fn(&Folder)>) -> bool {
        folder.at(moment, move || std::panic::panic_any("the crash"));
        let crashed = catch_unwind(AssertUnwindSafe(|| folder.take(steps))).is_err();
        if let (true, Some(and)) = (crashed, and) {
            and(folder);
        }
        crashed
    }

    fn has(list: &[String], what: &str) -> bool {
        list.iter().any(|found| found == what)
    }

    #[test]
    fn a_crash_at_any_moment_loses_nothing_and_can_be_gone_on_from() {
        let mut crashes = 0;
        for (world, lessen) in WORLDS {
            for (what, steps) in JOBS {
                for moment in MOMENTS {
                    let because = format!("{what} crashed at {moment:?} {world}");
                    let folder = Folder::in_memory(lessen);
                    folder.write("a", "old");
                    let steps_now = steps(&folder, folder.known("a"));
                    if !crash(&folder, steps_now, moment, None) {
                        continue;
                    }
                    crashes += 1;
                    let hands = folder.restarted();
                    let found = hands.recover(now_ms()).unwrap();
                    assert_eq!(found.stuck, [""; 0], "{because}");
                    assert_eq!(found.copies, [], "nobody wrote: {because}");
                    let all = folder.all_bytes();
                    assert!(has(&all, "old"), "{because}: {found:?}, {all:?}");
                    if what != "delete" {
                        assert!(has(&all, "new"), "{because}: {found:?}, {all:?}");
                        assert!(folder.read("a").is_some(), "the name is there: {because}");
                    }
                    let twice = hands.recover(now_ms()).unwrap();
                    assert_eq!((twice.restored, twice.trashed), (vec![], vec![]), "{because}");
                    go_on(&folder, &hands, what, steps, &because);
                }
            }
        }
        assert!(crashes > 40, "the crashes took place: {crashes}");
    }

    /// Plays the same job again from what the disk holds now, as the next plan would.
    fn go_on(folder: &Folder, hands: &Hands, what: &str, steps: MakeSteps, because: &str) {
        let name = if what == "new" { "b" } else { "a" };
        let done = match what {
            "delete" => folder.read(name).is_none(),
            _ => folder.read(name).as_deref() == Some("new"),
        };
        if !done {
            let steps = steps(folder, folder.known("a"));
            take(hands, steps).unwrap_or_else(|error| panic!("{because}: {error}"));
        }
        match what {
            "delete" => assert_eq!(folder.read("a"), None, "{because}"),
            _ => assert_eq!(folder.read(name).as_deref(), Some("new"), "{because}"),
        }
        if what == "conflict" {
            assert_eq!(folder.read("a.loser").as_deref(), Some("old"), "{because}");
        }
        let kept = hands.trash_list().unwrap();
        assert!(kept.iter().all(|entry| entry.path == Some(path("a"))), "{because}: {kept:?}");
    }

    #[test]
    fn what_a_user_wrote_before_or_after_a_crash_is_visible_again() {
        /// Finds the displaced file, or the one still at its path, and writes to it.
        fn write_unseen(folder: &Folder) {
            let own = folder.root().join(".syncd");
            let displaced = ["staging", "trash"].iter().flat_map(|dir| {
                std::fs::read_dir(own.join(dir)).unwrap().map(|entry| entry.unwrap().path())
            });
            let holds_old = |at: &std::path::PathBuf| {
                std::fs::read_to_string(at).is_ok_and(|bytes| bytes == "old")
            };
            let at = displaced.into_iter().find(holds_old);
            std::fs::write(at.unwrap_or_else(|| folder.root().join("a")), "unseen").unwrap();
        }
        let mut crashes = 0;
        for (world, lessen) in WORLDS {
            for (what, steps) in JOBS {
                for moment in MOMENTS {
                    let because = format!("{what} crashed at {moment:?} {world}");
                    let folder = Folder::in_memory(lessen);
                    folder.write("a", "old");
                    let steps = steps(&folder, folder.known("a"));
                    if !crash(&folder, steps, moment, Some(write_unseen)) {
                        continue;
                    }
                    crashes += 1;
                    let hands = folder.restarted();
                    let found = hands.recover(now_ms()).unwrap();
                    let late = hands.late_writes();
                    let visible = folder.visible_bytes();
                    assert!(has(&visible, "unseen"), "{because}: {found:?} {late:?} {visible:?}");
                }
            }
        }
        assert!(crashes > 40, "the crashes took place: {crashes}");
    }

    #[test]
    fn each_name_in_staging_has_its_fate() {
        let new = ContentId::of(b"new").hex();
        let old_s = i64::try_from(now_ms() / 1000).unwrap() - 25 * 60 * 60;
        for (name, bytes, old, left, trashed, because) in [
            (format!("{new}.part"), "ne", false, true, false, "goes on"),
            (format!("{new}.part"), "ne", true, false, false, "nobody goes on after a day"),
            (new.clone(), "new", false, true, false, "whole"),
            (new.clone(), "new", true, false, false, "whole, and unwanted for a day"),
            (new.clone(), "torn", false, false, true, "does not hash to its name"),
            (format!("{new}.7f"), "new", false, false, false, "handed back as whole"),
            (format!("{new}.7f"), "user's", false, false, true, "displaced, its line lost"),
            (format!("{new}.7f.aside"), "user's", true, false, true, "aside, its line lost"),
            (format!("{new}.7f.part"), "us", false, false, false, "a copy of what is in place"),
            ("unknown".to_owned(), "user's", true, false, true, "not ours to judge"),
        ] {
            let folder = Folder::in_memory(|_| {});
            let at = folder.root().join(".syncd/staging").join(&name);
            std::fs::write(&at, bytes).unwrap();
            if old {
                let file = std::fs::File::options().write(true).open(&at).unwrap();
                let time = std::time::UNIX_EPOCH
                    + std::time::Duration::from_secs(u64::try_from(old_s).unwrap());
                file.set_modified(time).unwrap();
            }
            let found = folder.hands.recover(now_ms()).unwrap();
            assert_eq!(at.exists(), left, "{because}: {name}");
            assert_eq!(found.trashed.len(), usize::from(trashed), "{because}: {name}");
            let kept = folder.trashed();
            assert_eq!(kept.iter().any(|(_, b)| b == bytes), trashed, "{because}: {name}");
            let whole = !old && bytes == "new";
            assert_eq!(folder.hands.has(ContentId::of(b"new")), whole, "{because}: {name}");
        }
    }

    #[test]
    fn without_its_journal_nothing_displaced_is_lost() {
        for moment in [Moment::Swapped, Moment::Filed, Moment::Trashed] {
            let folder = Folder::in_memory(|_| {});
            folder.write("a", "old");
            let steps = if moment == Moment::Trashed {
                vec![Step::Trash { path: path("a"), expect: folder.known("a") }]
            } else {
                vec![folder.place("a", folder.known("a"), "new")]
            };
            assert!(crash(&folder, steps, moment, None), "{moment:?}");
            std::fs::write(folder.root().join(".syncd/trash/journal"), "{\"seq\":1,\"pa").unwrap();
            let hands = folder.restarted();
            hands.recover(now_ms()).unwrap();
            let list = hands.trash_list().unwrap();
            assert_eq!(list.len(), 1, "{moment:?}");
            assert_eq!(list[0].content, ContentId::of(b"old"), "{moment:?}");
            assert!(hands.trash_restore(list[0].id, None).is_err(), "whence is lost: {moment:?}");
            hands.trash_restore(list[0].id, Some(&path("back"))).unwrap();
            assert_eq!(folder.read("back").as_deref(), Some("old"), "{moment:?}");
        }
    }

    #[test]
    fn a_placed_file_keeps_its_time_through_a_crash() {
        let folder = Folder::in_memory(|_| {});
        let steps = vec![folder.place("a", Expect::Nothing, "new")];
        assert!(crash(&folder, steps, Moment::Installed, None));
        let stat = folder.restarted().root().stat(&path("a")).unwrap().unwrap();
        assert_eq!((stat.key.mtime_ns, stat.key.mode), (MTIME_NS, 0o640));
    }
}
