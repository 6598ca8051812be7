//! Replacing: a readied inode takes a name, new or another's.
//!
//! Every displacement is written into the trash's journal before it is made. What comes out is
//! looked at where nobody else reaches it; only then is it decided whether it was expected.

use rustix::fs::{self, RenameFlags};
use rustix::io::{self, Errno};
use syncd_core::flow::settle::{Expect, SettleError};
use syncd_core::model::{ContentId, Kind, RelPath, StatKey};

use super::check::Held;
use super::journal::Moved;
use super::ready::Readied;
use super::take::Run;
use super::trash::Why;
use super::{Hands, Moment, Spot};
use crate::world::disk::system;

/// What the index knew of the version that is displaced.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) kind: Kind,
    pub(super) stat: StatKey,
    pub(super) content: ContentId,
}

impl Hands {
    /// Places a readied inode at a path.
    pub(super) fn place(
        &self,
        run: &mut Run,
        nth: usize,
        path: &RelPath,
        expect: &Expect,
    ) -> Result<(), SettleError> {
        let readied = self.readied(run.ticket(), nth);
        let readied = readied.ok_or_else(|| SettleError::NotStaged { path: path.clone() })?;
        let placed = self.place_readied(run, &readied, path, expect);
        self.is_used(&readied, path, placed.is_ok());
        placed
    }

    /// Takes note of what became of a readied inode: `placed`, or it is staged again.
    pub(super) fn is_used(&self, readied: &Readied, path: &RelPath, placed: bool) {
        match placed {
            true if readied.kind == Kind::Symlink => self.discard(readied.content),
            true => self.is_placed(path),
            false => self.give_back(readied),
        }
    }

    fn place_readied(
        &self,
        run: &mut Run,
        readied: &Readied,
        path: &RelPath,
        expect: &Expect,
    ) -> Result<(), SettleError> {
        let spot = self.spot(path)?;
        match run.expected(path, expect) {
            Expect::Nothing => self.place_new(&spot, readied)?,
            Expect::Known { kind: Kind::Directory, .. } => {
                self.remove_directory(run, path)?;
                self.place_new(&spot, readied)?;
            }
            Expect::Known { kind, stat, content } => {
                let known = Known { kind, stat, content };
                run.will_touch(path);
                let are_files = (kind, readied.kind) == (Kind::File, Kind::File);
                if are_files
                    && self.is_in_place(path)
                    && let Some(left) = self.rewrite(&spot, readied, &known)?
                {
                    run.left(path, Kind::File, Some(left));
                    return Ok(());
                }
                if self.root().abilities().exchange {
                    self.exchange(run, &spot, readied, &known)?;
                } else {
                    self.replace_aside(run, &spot, readied, &known)?;
                }
            }
        }
        self.has_placed(run, &spot, readied)
    }

    /// Notes what was placed.
    pub(super) fn has_placed(
        &self,
        run: &mut Run,
        spot: &Spot,
        readied: &Readied,
    ) -> Result<(), SettleError> {
        // RACE: a user who saw it may have written or replaced it already. It was placed all the
        // same, and what he made of it came after it: the next look finds that it differs.
        let now = spot.stat().map_err(|errno| self.said(&spot.path, 0, errno))?;
        let ours = readied.key;
        let is_ours = |key: &StatKey| {
            (key.inode, key.size, key.mtime_ns) == (ours.inode, ours.size, ours.mtime_ns)
        };
        let key = now.as_ref().map(system::key_of).filter(is_ours).unwrap_or(ours);
        run.left(&spot.path, readied.kind, Some(key));
        Ok(())
    }

    fn place_new(&self, spot: &Spot, readied: &Readied) -> Result<(), SettleError> {
        self.may_come(spot)?;
        self.come(spot, readied)
    }

    /// Makes sure that a new file may take its name.
    pub(super) fn may_come(&self, spot: &Spot) -> Result<(), SettleError> {
        self.is_free(spot)?;
        self.keeps_name(spot)?;
        self.pass(Moment::Checked);
        Ok(())
    }

    /// Gives a new file its name.
    pub(super) fn come(&self, spot: &Spot, readied: &Readied) -> Result<(), SettleError> {
        match self.install(self.staging(), &readied.name, spot.way(), spot.name()) {
            Ok(()) => {
                self.pass(Moment::Installed);
                Ok(())
            }
            Err(Errno::EXIST) => Err(spot.overtaken()),
            Err(errno) => Err(self.said(&spot.path, readied.key.size, errno)),
        }
    }

    /// Exchanges the names of the new and the old version: there is no instant without either.
    fn exchange(
        &self,
        run: &mut Run,
        spot: &Spot,
        readied: &Readied,
        known: &Known,
    ) -> Result<(), SettleError> {
        let held = self.hold_whole(spot, known.kind, &known.stat)?;
        self.pass(Moment::Checked);
        let moved = self.note_exchange(run, spot, readied, known, &held)?;
        self.swap(spot, readied, &held, &moved)?;
        self.look_at_swapped(spot, readied, known, held, &moved)
    }

    /// Lets the new version inherit from the old one, and writes down that it will displace it.
    pub(super) fn note_exchange(
        &self,
        run: &mut Run,
        spot: &Spot,
        readied: &Readied,
        known: &Known,
        held: &Held,
    ) -> Result<Moved, SettleError> {
        self.note_displaced(run, spot, (readied, &readied.name), known, held)
    }

    /// The same, the old version going to a name in staging.
    fn note_displaced(
        &self,
        run: &mut Run,
        spot: &Spot,
        (readied, name): (&Readied, &str),
        known: &Known,
        held: &Held,
    ) -> Result<Moved, SettleError> {
        if self.inherit(readied, held) {
            run.will_sync(&spot.path);
        }
        let moved = self.note(&spot.path, known, Why::Replaced, held, readied, name);
        let moved = moved.map_err(|errno| self.said(&spot.path, readied.key.size, errno))?;
        self.pass(Moment::Noted);
        Ok(moved)
    }

    /// Exchanges the names if what was taken hold of is unchanged.
    pub(super) fn swap(
        &self,
        spot: &Spot,
        readied: &Readied,
        held: &Held,
        moved: &Moved,
    ) -> Result<(), SettleError> {
        let said = |errno| self.said(&spot.path, readied.key.size, errno);
        let swap = RenameFlags::EXCHANGE;
        let name = readied.name.as_str();
        // From the user's name to ours: whoever watches the directory is told of the two halves in
        // this order, and so last that something has come.
        let rename = || fs::renameat_with(spot.way(), spot.name(), self.staging(), name, swap);
        self.change_name(spot, held, moved, (&said, Moment::Swapped), rename)
    }

    /// Looks at what an exchange displaced, and files it or gives it back to the user.
    pub(super) fn look_at_swapped(
        &self,
        spot: &Spot,
        readied: &Readied,
        known: &Known,
        held: Held,
        moved: &Moved,
    ) -> Result<(), SettleError> {
        let said = |errno| self.said(&spot.path, readied.key.size, errno);
        let name = readied.name.as_str();
        if self.is_expected(self.staging(), name, &held, known.content) {
            return self.file(moved, held, self.staging(), name).map_err(said);
        }
        self.swap_back(spot, readied, moved)
    }

    /// Where names cannot be exchanged: the old version moves aside, the new one takes the name.
    /// In between nothing has the name; nothing is lost if it ends there, a restart puts it back.
    fn replace_aside(
        &self,
        run: &mut Run,
        spot: &Spot,
        readied: &Readied,
        known: &Known,
    ) -> Result<(), SettleError> {
        let said = |errno| self.said(&spot.path, readied.key.size, errno);
        let abilities = self.root().abilities();
        if !abilities.no_replace && !abilities.hard_links {
            // Nothing here can place a file without risking to replace one nobody has seen.
            return Err(said(Errno::OPNOTSUPP));
        }
        let held = self.hold_whole(spot, known.kind, &known.stat)?;
        self.pass(Moment::Checked);
        let aside = format!("{}.aside", readied.name);
        let moved = self.note_displaced(run, spot, (readied, &aside), known, &held)?;
        let rename = || fs::renameat(spot.way(), spot.name(), self.staging(), aside.as_str());
        self.change_name(spot, &held, &moved, (&said, Moment::Aside), rename)?;
        if !self.is_expected(self.staging(), &aside, &held, known.content) {
            return self.put_back(&moved, spot, self.staging(), &aside, spot.overtaken());
        }
        match self.install(self.staging(), &readied.name, spot.way(), spot.name()) {
            Ok(()) => {
                self.pass(Moment::Installed);
                self.file(&moved, held, self.staging(), &aside).map_err(said)
            }
            Err(Errno::EXIST) => {
                // The user wrote a new file in the gap. It was not based on what we hold.
                self.file(&moved, held, self.staging(), &aside).map_err(said)?;
                Err(spot.overtaken())
            }
            Err(errno) => self.put_back(&moved, spot, self.staging(), &aside, said(errno)),
        }
    }

    fn note(
        &self,
        path: &RelPath,
        known: &Known,
        why: Why,
        held: &Held,
        readied: &Readied,
        via: &str,
    ) -> io::Result<Moved> {
        let mut moved = Moved::new(path, known.content, known.kind, why);
        self.describe(&mut moved, held);
        moved.via = Some(via.to_owned());
        moved.ours = readied.key.inode;
        self.journal().begin(moved)
    }

    pub(super) fn describe(&self, moved: &mut Moved, held: &Held) {
        let key = system::key_of(&held.stat);
        (moved.size, moved.mtime_ns, moved.inode) = (key.size, key.mtime_ns, key.inode);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::testing::{Folder, path};
    use super::*;
    use crate::world::disk::Abilities;
    use syncd_core::flow::settle::Step;

    type Lessen = fn(&mut Abilities);
    type Race = fn(&std::path::Path);

    const WORLDS: [(&str, Lessen); 3] = [
        ("with exchange", |_| {}),
        ("without exchange", |a| a.exchange = false),
        ("with links only", |a| (a.exchange, a.no_replace) = (false, false)),
    ];

    /// What a user does between two of our calls.
    const RACES: [(&str, Race); 7] = [
        ("writes in place", |at| std::fs::write(at, "unseen").unwrap()),
        ("writes as many bytes", |at| std::fs::write(at, "OLD").unwrap()),
        ("replaces it", |at| {
            std::fs::write(at.with_extension("tmp"), "unseen").unwrap();
            std::fs::rename(at.with_extension("tmp"), at).unwrap();
        }),
        ("deletes it", |at| match std::fs::remove_file(at) {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
        }),
        ("makes it a directory", |at| {
            let _ = std::fs::remove_file(at);
            std::fs::create_dir(at).unwrap();
            std::fs::write(at.join("child"), "unseen").unwrap();
        }),
        ("makes it a symlink", |at| {
            let _ = std::fs::remove_file(at);
            std::os::unix::fs::symlink("unseen", at).unwrap();
        }),
        ("moves it away", |at| {
            let _ = std::fs::rename(at, at.with_extension("moved"));
        }),
    ];

    const MOMENTS: [Moment; 8] = [
        Moment::Checked,
        Moment::Noted,
        Moment::Asked,
        Moment::Swapped,
        Moment::Aside,
        Moment::Trashed,
        Moment::Installed,
        Moment::Filed,
    ];

    #[test]
    fn whatever_a_user_does_in_between_no_bytes_are_lost() {
        let mut fired_count = 0;
        for (world, lessen) in WORLDS {
            for (act, race) in RACES {
                for moment in MOMENTS {
                    for trash in [false, true] {
                        let because = format!("{act} at {moment:?} {world}, trash: {trash}");
                        let fired = one_race(&because, lessen, race, moment, trash);
                        fired_count += usize::from(fired);
                    }
                }
            }
        }
        assert!(fired_count > 200, "the races took place: {fired_count}");
    }

    /// Plays one race and tells whether its moment came.
    fn one_race(because: &str, lessen: Lessen, race: Race, at: Moment, trash: bool) -> bool {
        let folder = Folder::in_memory(lessen);
        folder.write("a", "old");
        let expect = folder.known("a");
        let user = folder.root().join("a");
        let fired = Arc::new(AtomicBool::new(false));
        let fire = Arc::clone(&fired);
        folder.at(at, move || {
            race(&user);
            fire.store(true, Ordering::SeqCst);
        });
        let step = match trash {
            true => Step::Trash { path: path("a"), expect },
            false => folder.place("a", expect, "new"),
        };
        let answer = folder.take(vec![step]);
        let late = folder.hands.late_writes();
        assert!(late.iter().all(Result::is_ok), "{because}: {late:?}");
        let fired = fired.load(Ordering::SeqCst);
        let (all, visible) = (folder.all_bytes(), folder.visible_bytes());
        let has = |list: &[String], what: &str| list.iter().any(|found| found == what);
        // The user's own act may have ended the old bytes only while the path still held them.
        let was_ours = !matches!(at, Moment::Checked | Moment::Noted | Moment::Asked);
        let keeps = because.starts_with("moves it away");
        if !fired || was_ours || keeps {
            assert!(has(&all, "old"), "{because}, {answer:?}: {all:?}");
        }
        if fired && !keeps && !because.starts_with("deletes") {
            let seen = has(&visible, "unseen") || has(&visible, "OLD");
            assert!(seen, "{because}, {answer:?}: {visible:?} of {all:?}");
        }
        if let Err(SettleError::Displaced { kept, .. }) = &answer {
            let kept = folder.root().join(kept.to_string());
            assert!(kept.symlink_metadata().is_ok(), "{because}");
        }
        if !fired {
            assert!(answer.is_ok(), "{because}: {answer:?}");
        }
        fired
    }

    #[test]
    fn an_update_never_leaves_the_name_empty_where_names_can_be_exchanged() {
        for moment in [Moment::Checked, Moment::Noted, Moment::Swapped, Moment::Filed] {
            let folder = Folder::new();
            folder.write("a", "old");
            let seen = std::sync::Arc::new(std::sync::Mutex::new(None));
            let (user, see) = (folder.root().join("a"), seen.clone());
            folder.at(moment, move || *see.lock().unwrap() = std::fs::read_to_string(&user).ok());
            folder.take(vec![folder.place("a", folder.known("a"), "new")]).unwrap();
            let seen = seen.lock().unwrap().clone();
            assert!(matches!(seen.as_deref(), Some("old" | "new")), "{moment:?}: {seen:?}");
        }
    }

    #[test]
    fn a_parent_that_becomes_a_symlink_in_between_leads_nowhere() {
        for moment in [Moment::Checked, Moment::Asked, Moment::Swapped] {
            let folder = Folder::new();
            let outside = folder.dir.path().join("outside");
            std::fs::create_dir(&outside).unwrap();
            std::fs::write(outside.join("a"), "sentinel").unwrap();
            std::fs::create_dir(folder.root().join("d")).unwrap();
            folder.write("d/a", "old");
            let expect = folder.known("d/a");
            let (d, target) = (folder.root().join("d"), outside.clone());
            folder.at(moment, move || {
                std::fs::rename(&d, d.with_extension("moved")).unwrap();
                std::os::unix::fs::symlink(&target, &d).unwrap();
            });
            // Whether it counts as taken or not: the directory that was reached is the one used.
            let _ = folder.take(vec![folder.place("d/a", expect, "new")]);
            assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "{moment:?}");
            let sentinel = std::fs::read_to_string(outside.join("a")).unwrap();
            assert_eq!(sentinel, "sentinel", "{moment:?}");
            assert!(folder.all_bytes().iter().any(|bytes| bytes == "old"), "{moment:?}");
        }
    }

    #[test]
    fn a_users_inode_is_never_written() {
        for (world, lessen) in WORLDS {
            let folder = Folder::limited(lessen);
            folder.write("a", "old");
            std::fs::hard_link(folder.root().join("a"), folder.root().join("b")).unwrap();
            let before = std::fs::metadata(folder.root().join("b")).unwrap();
            folder.take(vec![folder.place("a", folder.known("a"), "new")]).unwrap();
            let after = std::fs::metadata(folder.root().join("b")).unwrap();
            assert_eq!(folder.read("b").as_deref(), Some("old"), "{world}");
            assert_eq!((before.ino(), before.mode()), (after.ino(), after.mode()), "{world}");
        }
    }

    #[test]
    fn where_nothing_can_be_placed_without_risk_nothing_is() {
        let folder = Folder::limited(|a| *a = Abilities::default());
        folder.write("a", "old");
        for step in
            [folder.place("a", folder.known("a"), "new"), folder.place("b", Expect::Nothing, "new")]
        {
            let answer = folder.take(vec![step]);
            assert!(matches!(answer, Err(SettleError::Trouble { .. })), "{answer:?}");
        }
        assert_eq!(
            (folder.names(), folder.read("a").as_deref()),
            (vec!["a".to_owned()], Some("old"))
        );
    }
}
