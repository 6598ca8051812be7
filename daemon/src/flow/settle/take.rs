//! Taking jobs: each job's steps in order, then the names made durable for all of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use rustix::fs;
use rustix::io;
use syncd_core::flow::settle::{Expect, Job, Placed, SettleError, Step, Ticket};
use syncd_core::model::{ContentId, Kind, RelPath, StatKey};

use super::durable::is_synced_at_once;
use super::together::Swaps;
use super::{Hands, Moment};
use crate::world::disk::{DiskError, system};

/// What one job has done so far.
pub(super) struct Run {
    ticket: Ticket,
    /// What the job left at each path it touched.
    left: BTreeMap<RelPath, (Kind, Option<StatKey>)>,
    /// Paths whose names changed.
    touched: BTreeSet<RelPath>,
    /// Files whose bytes or attributes must still be made durable.
    unsynced: BTreeSet<RelPath>,
}

impl Run {
    pub(super) fn new(ticket: Ticket) -> Self {
        Self { ticket, left: BTreeMap::new(), touched: BTreeSet::new(), unsynced: BTreeSet::new() }
    }

    /// Returns the job's ticket.
    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Returns what must lie at a path: what an earlier step of the job left there, else what
    /// the plan saw.
    pub(super) fn expected(&self, path: &RelPath, expect: &Expect) -> Expect {
        match (self.left.get(path), expect) {
            (None, _) => *expect,
            (Some((_, None)), _) => Expect::Nothing,
            (Some((kind, Some(stat))), Expect::Known { content, .. }) => {
                Expect::Known { kind: *kind, stat: *stat, content: *content }
            }
            (Some((kind, Some(stat))), Expect::Nothing) => {
                Expect::Known { kind: *kind, stat: *stat, content: ContentId::NONE }
            }
        }
    }

    /// Notes that the name is about to change, be the step completed or not.
    pub(super) fn will_touch(&mut self, path: &RelPath) {
        self.touched.insert(path.clone());
    }

    /// Notes that the bytes or attributes at a path need syncing.
    pub(super) fn will_sync(&mut self, path: &RelPath) {
        self.unsynced.insert(path.clone());
    }

    /// Notes what a completed step left at a path.
    pub(super) fn left(&mut self, path: &RelPath, kind: Kind, stat: Option<StatKey>) {
        self.touched.insert(path.clone());
        self.left.insert(path.clone(), (kind, stat));
    }
}

impl Hands {
    /// Takes the steps of the jobs, one job after the other, then makes the changed directories
    /// durable: each by itself up to 8, else the disk at once. A job stops at its first failure;
    /// the others go on. Jobs that were not [`Hands::ready`] are made so first.
    ///
    /// The answers come in the order of the jobs, what was placed sorted by path. A stat that
    /// changed again since is reported as it was left, so that a look finds the difference.
    #[must_use]
    pub fn take(&self, jobs: &[Job]) -> Vec<(Ticket, Result<Vec<Placed>, SettleError>)> {
        if self.root().is_in_place().is_err() {
            return jobs.iter().map(|job| (job.ticket, Err(SettleError::RootLost))).collect();
        }
        let unready: Vec<Job> = jobs.iter().filter(|job| !self.is_ready(job)).cloned().collect();
        let refused: BTreeMap<Ticket, SettleError> = self
            .ready(&unready)
            .into_iter()
            .filter_map(|(ticket, answer)| answer.err().map(|error| (ticket, error)))
            .collect();
        let mut runs = Vec::with_capacity(jobs.len());
        let (began, mut swaps) = (Instant::now(), Swaps::default());
        let mut rest = jobs;
        while let Some((job, after)) = rest.split_first() {
            let is_refused = |job: &Job| refused.contains_key(&job.ticket);
            let count = self.count_together(rest, is_refused);
            if count > 1 {
                let (together, after) = rest.split_at(count);
                runs.extend(self.take_together(together, &mut swaps));
                rest = after;
                continue;
            }
            let mut run = Run::new(job.ticket);
            let answer = match refused.get(&job.ticket) {
                Some(error) => Err(error.clone()),
                None => swaps.during(|| self.take_steps(job, &mut run)),
            };
            runs.push((run, answer));
            rest = after;
        }
        // What an early failure did not come to is staged for the next try.
        jobs.iter().for_each(|job| self.unready(job.ticket));
        let take_us = began.elapsed().as_micros();
        let durable = self.sync_names(&runs).is_ok();
        let sync_us = began.elapsed().as_micros() - take_us;
        let swap_us = swaps.span().as_micros();
        // How long a burst is seen in part, and how long its sender waits for it to be durable.
        tracing::debug!(jobs = jobs.len(), take_us, swap_us, sync_us, "a batch has its names");
        let answer = |(run, answer): (Run, Result<(), SettleError>)| {
            (run.ticket, answer.map(|()| self.placed(&run, durable)))
        };
        runs.into_iter().map(answer).collect()
    }

    pub(super) fn take_steps(&self, job: &Job, run: &mut Run) -> Result<(), SettleError> {
        for (nth, step) in job.steps.iter().enumerate() {
            match step {
                Step::KeepAs { path, expect, copy } => self.keep_as(run, path, expect, copy)?,
                Step::Place { path, expect, .. } => self.place(run, nth, path, expect)?,
                Step::KeepForOthers { path, content, size } => {
                    self.keep_for_others(path, *content, *size)?;
                }
                Step::Dress { path, expect, mtime_ns, mode } => {
                    self.dress(run, path, expect, *mtime_ns, *mode)?;
                }
                Step::MakeDirectory { path, mode } => self.make_directory(run, path, *mode)?,
                Step::Trash { path, expect } => self.trash_path(run, path, expect)?,
                Step::RemoveDirectory { path } => self.remove_directory(run, path)?,
            }
        }
        self.pass(Moment::Taken);
        Ok(())
    }

    fn sync_names(&self, runs: &[(Run, Result<(), SettleError>)]) -> io::Result<()> {
        let mut dirs = BTreeSet::new();
        let mut files = BTreeSet::new();
        for (run, _) in runs {
            dirs.extend(run.touched.iter().filter_map(RelPath::parent));
            let made = run.left.iter().filter(|(_, (kind, _))| *kind == Kind::Directory);
            dirs.extend(made.map(|(path, _)| path.clone()));
            files.extend(run.unsynced.iter());
        }
        if dirs.is_empty() && files.is_empty() {
            return Ok(());
        }
        let root = self.root().fd();
        if is_synced_at_once(dirs.len() + files.len()) {
            return system::sync_file_system(root);
        }
        for path in files {
            match self.root().open_file(path) {
                Ok(fd) => io::retry_on_intr(|| fs::fsync(&fd))?,
                // Moved away, or no file: its directory is synced.
                Err(DiskError::Missing { .. } | DiskError::OtherKind { .. }) => {}
                // Not readable, so not to be synced by itself.
                Err(_) => return system::sync_file_system(root),
            }
        }
        // What was displaced first: a name that is gone must not be gone with its bytes.
        self.journal().sync()?;
        for dir in &dirs {
            match self.root().open_dir(dir) {
                Ok(fd) => system::sync_directory(std::os::fd::AsFd::as_fd(&fd))?,
                Err(DiskError::Missing { .. } | DiskError::NoWay { .. }) => {}
                Err(_) => return system::sync_file_system(root),
            }
        }
        Ok(())
    }

    /// Tells what lies at each touched path now, as far as it is still what the job left.
    fn placed(&self, run: &Run, durable: bool) -> Vec<Placed> {
        let placed = run.left.iter().map(|(path, (_, left))| {
            let stat = left.map(|left| match self.root().stat(path) {
                // Only the change time may have moved, by our own later steps.
                Ok(Some(now)) if StatKey { ctime_ns: left.ctime_ns, ..now.key } == left => now.key,
                Ok(_) | Err(_) => left,
            });
            Placed { path: path.clone(), stat, durable }
        });
        placed.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::super::testing::{Folder, MTIME_NS, job, path};
    use super::*;

    /// What is done to the path after the plan has seen it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Meanwhile {
        Nothing,
        Write,
        SameSizeSameTime,
        Chmod,
        Remove,
        Directory,
        Symlink,
    }

    const ALL: [Meanwhile; 7] = [
        Meanwhile::Nothing,
        Meanwhile::Write,
        Meanwhile::SameSizeSameTime,
        Meanwhile::Chmod,
        Meanwhile::Remove,
        Meanwhile::Directory,
        Meanwhile::Symlink,
    ];

    fn change(folder: &Folder, name: &str, what: Meanwhile) {
        let at = folder.root().join(name);
        match what {
            Meanwhile::Nothing => {}
            Meanwhile::Write => std::fs::write(&at, "unseen").unwrap(),
            Meanwhile::SameSizeSameTime => {
                let time = std::fs::metadata(&at).unwrap().modified().unwrap();
                std::fs::write(&at, "OLD").unwrap();
                let file = std::fs::File::options().write(true).open(&at).unwrap();
                file.set_modified(time).unwrap();
            }
            Meanwhile::Chmod => {
                std::fs::set_permissions(&at, PermissionsExt::from_mode(0o600)).unwrap();
            }
            Meanwhile::Remove => std::fs::remove_file(&at).unwrap(),
            Meanwhile::Directory => {
                std::fs::remove_file(&at).unwrap();
                std::fs::create_dir(&at).unwrap();
                std::fs::write(at.join("child"), "unseen").unwrap();
            }
            Meanwhile::Symlink => {
                std::fs::remove_file(&at).unwrap();
                std::os::unix::fs::symlink("elsewhere", &at).unwrap();
            }
        }
    }

    type MakeStep = fn(&Folder, Expect) -> Step;

    const STEPS: [(&str, MakeStep); 4] = [
        ("place", |folder, expect| folder.place("a", expect, "new")),
        ("trash", |_, expect| Step::Trash { path: path("a"), expect }),
        ("dress", |_, expect| Step::Dress {
            path: path("a"),
            expect,
            mtime_ns: MTIME_NS,
            mode: 0o751,
        }),
        ("keep", |_, expect| Step::KeepAs { path: path("a"), expect, copy: path("a.loser") }),
    ];

    #[test]
    fn a_step_is_taken_exactly_when_it_finds_what_it_expects() {
        for (what, step) in STEPS {
            for meanwhile in ALL {
                let folder = Folder::new();
                folder.write("a", "old");
                let expect = folder.known("a");
                change(&folder, "a", meanwhile);
                let before = folder.hands.root().stat(&path("a"));
                let answer = folder.take(vec![step(&folder, expect)]);
                let because = format!("{what} after {meanwhile:?}: {answer:?}");
                if meanwhile == Meanwhile::Nothing {
                    assert!(
                        answer.is_ok_and(|placed| placed.iter().all(|p| p.durable)),
                        "{because}"
                    );
                    continue;
                }
                assert_eq!(answer, Err(SettleError::Overtaken { path: path("a") }), "{because}");
                assert_eq!(folder.hands.root().stat(&path("a")), before, "untouched: {because}");
                assert_eq!(folder.trashed(), [], "{because}");
            }
        }
    }

    #[test]
    fn where_nothing_is_expected_nothing_is_replaced() {
        for (what, step) in STEPS {
            let folder = Folder::new();
            folder.write("a", "the user's");
            let answer = folder.take(vec![step(&folder, Expect::Nothing)]);
            assert_eq!(answer, Err(SettleError::Overtaken { path: path("a") }), "{what}");
            assert_eq!(folder.read("a").as_deref(), Some("the user's"), "{what}");
        }
    }

    #[test]
    fn a_taken_step_leaves_this() {
        for (what, step, left, trashed) in [
            ("place", STEPS[0].1, "new", vec![("a".to_owned(), "old".to_owned())]),
            ("trash", STEPS[1].1, "", vec![("a".to_owned(), "old".to_owned())]),
            ("dress", STEPS[2].1, "old", vec![]),
            ("keep", STEPS[3].1, "old", vec![]),
        ] {
            let folder = Folder::new();
            folder.write("a", "old");
            let placed = folder.take(vec![step(&folder, folder.known("a"))]).unwrap();
            assert_eq!(folder.read("a").unwrap_or_default(), left, "{what}");
            assert_eq!(folder.trashed(), trashed, "{what}");
            assert_eq!(folder.staging_names(), [""; 0], "{what}");
            for placed in placed {
                let now = folder.hands.root().stat(&placed.path).unwrap();
                assert_eq!(placed.stat, now.map(|now| now.key), "{what}");
            }
            if what == "keep" {
                assert_eq!(folder.read("a.loser").as_deref(), Some("old"));
            }
        }
    }

    #[test]
    fn a_placed_file_has_its_time_and_mode_at_once() {
        let folder = Folder::new();
        let placed = folder.take(vec![folder.place("a", Expect::Nothing, "new")]).unwrap();
        let stat = placed[0].stat.unwrap();
        assert_eq!((stat.mtime_ns, stat.mode, stat.size), (MTIME_NS, 0o640, 3));
        assert!(placed[0].durable);
    }

    #[test]
    fn our_own_place_is_never_settled() {
        let folder = Folder::new();
        let denied = |name: &str| {
            let trouble = syncd_core::flow::settle::Trouble::Denied;
            Err(SettleError::Trouble { path: path(name), trouble })
        };
        for name in [".syncd/id", ".SYNCD/x", ".syncd"] {
            let place = folder.place(name, Expect::Nothing, "evil");
            assert_eq!(folder.take(vec![place]), denied(name), "{name}");
            let remove = Step::RemoveDirectory { path: path(name) };
            assert_eq!(folder.take(vec![remove]), denied(name), "{name}");
        }
    }

    #[test]
    fn a_job_goes_step_by_step_and_later_steps_know_the_earlier() {
        let folder = Folder::new();
        folder.write("a", "mine");
        let expect = folder.known("a");
        let steps = vec![
            Step::KeepAs { path: path("a"), expect, copy: path("a.loser") },
            folder.place("a", expect, "theirs"),
        ];
        folder.take(steps).unwrap();
        assert_eq!(folder.read("a").as_deref(), Some("theirs"));
        assert_eq!(folder.read("a.loser").as_deref(), Some("mine"));

        let expect = folder.known("a");
        let steps = vec![
            Step::Trash { path: path("a"), expect },
            Step::MakeDirectory { path: path("a"), mode: 0o755 },
            folder.place("a/b", Expect::Nothing, "child"),
        ];
        folder.take(steps).unwrap();
        assert_eq!(folder.read("a/b").as_deref(), Some("child"));

        let steps = vec![
            Step::Trash { path: path("a/b"), expect: folder.known("a/b") },
            Step::RemoveDirectory { path: path("a") },
            folder.place("a", Expect::Nothing, "file again"),
        ];
        let placed = folder.take(steps).unwrap();
        assert_eq!(folder.read("a").as_deref(), Some("file again"));
        let paths: Vec<String> = placed.iter().map(|p| p.path.to_string()).collect();
        assert_eq!(paths, ["a", "a/b"], "sorted, each once");
    }

    #[test]
    fn symlinks_are_placed_replaced_and_trashed_but_never_followed() {
        let folder = Folder::new();
        let outside = folder.dir.path().join("outside");
        std::fs::write(&outside, "sentinel").unwrap();
        let target = outside.to_str().unwrap();
        folder.take(vec![folder.place_as("l", Expect::Nothing, Kind::Symlink, target)]).unwrap();
        assert_eq!(std::fs::read_link(folder.root().join("l")).unwrap(), outside);
        let stat = folder.hands.root().stat(&path("l")).unwrap().unwrap();
        assert_eq!(stat.key.mtime_ns, MTIME_NS);
        let copy =
            Step::KeepAs { path: path("l"), expect: folder.known("l"), copy: path("l.loser") };
        let steps = vec![copy, folder.place("l", folder.known("l"), "a file now")];
        folder.take(steps).unwrap();
        assert_eq!(folder.read("l").as_deref(), Some("a file now"));
        assert_eq!(std::fs::read_link(folder.root().join("l.loser")).unwrap(), outside);
        let loser = folder.known("l.loser");
        let dress = Step::Dress { path: path("l.loser"), expect: loser, mtime_ns: 5, mode: 0 };
        folder.take(vec![dress]).unwrap();
        let trash = Step::Trash { path: path("l.loser"), expect: folder.known("l.loser") };
        folder.take(vec![trash]).unwrap();
        assert_eq!(folder.names(), ["l"]);
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "sentinel");
        assert_eq!(folder.staging_names(), [""; 0]);
    }

    #[test]
    fn a_symlink_on_the_way_is_never_followed() {
        for openat2 in [true, false] {
            let folder = Folder::limited(|abilities| abilities.openat2 = openat2);
            let outside = folder.dir.path().join("outside");
            std::fs::create_dir(&outside).unwrap();
            std::fs::write(outside.join("f"), "sentinel").unwrap();
            std::fs::create_dir(folder.root().join("d")).unwrap();
            folder.write("d/f", "sentinel");
            let expect = folder.known("d/f");
            std::fs::rename(folder.root().join("d"), folder.root().join("was")).unwrap();
            std::os::unix::fs::symlink(&outside, folder.root().join("d")).unwrap();
            let f = || path("d/f");
            let steps = [
                folder.place("d/f", expect, "evil"),
                folder.place("d/new", Expect::Nothing, "evil"),
                Step::Trash { path: f(), expect },
                Step::Dress { path: f(), expect, mtime_ns: 1, mode: 0 },
                Step::KeepAs { path: f(), expect, copy: path("d/copy") },
                Step::MakeDirectory { path: path("d/dir"), mode: 0o755 },
            ];
            for step in steps {
                let answer = folder.take(vec![step.clone()]);
                assert!(matches!(answer, Err(SettleError::NoWay { .. })), "{step:?}: {answer:?}");
            }
            let names: Vec<_> = std::fs::read_dir(&outside).unwrap().collect();
            assert_eq!(names.len(), 1);
            assert_eq!(std::fs::read_to_string(outside.join("f")).unwrap(), "sentinel");
        }
    }

    #[test]
    fn a_lost_root_stops_everything() {
        let folder = Folder::new();
        folder.write("a", "old");
        let step = folder.place("a", folder.known("a"), "new");
        let old = folder.root().with_extension("old");
        std::fs::rename(folder.root(), &old).unwrap();
        assert_eq!(folder.take(vec![step.clone()]), Err(SettleError::RootLost));
        std::fs::create_dir(folder.root()).unwrap();
        assert_eq!(folder.take(vec![step]), Err(SettleError::RootLost));
        assert_eq!(std::fs::read_to_string(old.join("a")).unwrap(), "old");
    }

    #[test]
    fn a_batch_of_many_is_durable_too_and_one_failure_stops_no_other() {
        let folder = Folder::new();
        folder.write("n7", "the user's");
        let jobs: Vec<Job> = (0..40)
            .map(|n| job(n, vec![folder.place(&format!("n{n}"), Expect::Nothing, "same")]))
            .collect();
        let ready = folder.hands.ready(&jobs);
        assert!(ready.iter().all(|(_, answer)| answer.is_ok()), "{ready:?}");
        let answers = folder.hands.take(&jobs);
        for (nth, (ticket, answer)) in answers.into_iter().enumerate() {
            assert_eq!(ticket, Ticket(nth as u64), "in the order of the jobs");
            match nth {
                7 => assert_eq!(answer, Err(SettleError::Overtaken { path: path("n7") })),
                _ => assert!(answer.unwrap()[0].durable),
            }
        }
        let inodes: BTreeSet<u64> = folder
            .names()
            .iter()
            .map(|name| std::fs::metadata(folder.root().join(name)).unwrap().ino())
            .collect();
        assert_eq!(inodes.len(), 40, "each path has an inode of its own");
        assert!(folder.hands.has(ContentId::of(b"same")), "what was not placed is staged still");
        assert_eq!(folder.staging_names().len(), 1);
    }

    #[test]
    fn a_job_whose_bytes_are_not_there_changes_nothing() {
        let folder = Folder::new();
        folder.write("a", "old");
        let expect = folder.known("a");
        let place = folder.place("a", expect, "new");
        folder.hands.discard(ContentId::of(b"new"));
        let keep = Step::KeepAs { path: path("a"), expect, copy: path("a.loser") };
        let answer = folder.take(vec![keep, place]);
        assert_eq!(answer, Err(SettleError::NotStaged { path: path("a") }));
        assert_eq!(folder.names(), ["a"]);
    }
}
