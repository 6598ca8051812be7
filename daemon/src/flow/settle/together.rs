//! Taking many jobs together: what a program wrote in one go is seen in part for as short a time
//! as can be.
//!
//! Of jobs of one plain step each, all that can be done before a name changes (reaching the
//! directory, taking hold of what lies there, inheriting, writing down the displacement) is done
//! for all of them before the first name changes. Then nothing happens but that each is asked
//! about once more and changed. What came out is looked at and filed when all have changed. The
//! steps and their order are for each path those of a job that is taken by itself.
//!
//! A crash in between leaves some displaced versions in staging, each written down: a restart
//! finds them one by one ([`super::restart`]), as it finds a single one.
//!
//! # Invariants
//! - What cannot be prepared is taken by itself after the others, as if it had come alone.
//! - No more than an eighth of all descriptors is held three times: no more jobs are taken
//!   together. The rest of them follows.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use syncd_core::flow::settle::{Expect, Job, SettleError, Step};
use syncd_core::model::{Kind, RelPath};

use super::check::Held;
use super::journal::Moved;
use super::ready::Readied;
use super::replace::Known;
use super::take::Run;
use super::{Hands, Moment, Spot, locked};

/// Most jobs taken together: as many as a burst has records at most.
const TOGETHER_MAX: usize = syncd_core::flow::offer::BURST_RECORDS_MAX;

type Answer = Result<(), SettleError>;

/// When names changed.
#[derive(Debug, Default)]
pub(super) struct Swaps(Option<(Instant, Instant)>);

impl Swaps {
    /// Takes note that names change while `act` runs.
    pub(super) fn during<T>(&mut self, act: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = act();
        let first = self.0.map_or(began, |(first, _)| first);
        self.0 = Some((first, Instant::now()));
        done
    }

    /// Returns how long it was from the first change to the last.
    pub(super) fn span(&self) -> Duration {
        self.0.map_or(Duration::ZERO, |(first, last)| last.duration_since(first))
    }
}

/// Directories that were reached, by their paths: the one that was reached is the one used,
/// whatever its name means by then.
type Ways = BTreeMap<RelPath, Arc<OwnedFd>>;

/// A job about to be taken, with all that its change of a name needs.
struct Aimed {
    run: Run,
    spot: Spot,
    change: Change,
}

enum Change {
    Come { readied: Readied },
    Exchange { readied: Readied, known: Known, held: Held, moved: Moved },
    Trash { known: Known, held: Held, moved: Moved },
}

/// What came of preparing a job.
enum Prepared {
    Aimed(Box<Aimed>, Answer),
    /// It is over, with nothing changed.
    Failed(Run, SettleError),
    /// To be taken by itself.
    Alone,
}

impl Hands {
    /// Returns how many of the first jobs can be taken together: plain ones, each at another path.
    pub(super) fn count_together(&self, jobs: &[Job], is_refused: impl Fn(&Job) -> bool) -> usize {
        let abilities = self.root().abilities();
        let tells_names = abilities.tells_names_apart() && abilities.keeps_names;
        if jobs.len() < 2 || !tells_names || !abilities.exchange {
            return 0;
        }
        let mut paths = BTreeSet::new();
        for job in jobs.iter().take(jobs_max()) {
            match self.plain_path(job).filter(|_| !is_refused(job)) {
                Some(path) if paths.insert(path) => {}
                Some(_) | None => break,
            }
        }
        paths.len()
    }

    /// Returns the path that a job of one plain step changes.
    fn plain_path<'a>(&self, job: &'a Job) -> Option<&'a RelPath> {
        let known = |expect: &Expect| match expect {
            Expect::Nothing => false,
            Expect::Known { kind, .. } => *kind != Kind::Directory,
        };
        match job.steps.as_slice() {
            [Step::Place { path, expect, .. }] => {
                let is_plain = known(expect) && !self.is_in_place(path);
                (is_plain || *expect == Expect::Nothing).then_some(path)
            }
            [Step::Trash { path, expect }] => known(expect).then_some(path),
            _ => None,
        }
    }

    /// Takes plain jobs, whose names change all at once as far as can be. The answers come in the
    /// order of the jobs.
    pub(super) fn take_together(&self, jobs: &[Job], swaps: &mut Swaps) -> Vec<(Run, Answer)> {
        let mut ways = Ways::new();
        let mut prepared: Vec<Prepared> =
            jobs.iter().map(|job| self.prepare(job, &mut ways)).collect();
        swaps.during(|| {
            for prepared in &mut prepared {
                if let Prepared::Aimed(aimed, answer) = prepared {
                    *answer = self.change(aimed);
                }
            }
        });
        let done: Vec<Option<(Run, Answer)>> = prepared
            .into_iter()
            .map(|prepared| match prepared {
                Prepared::Aimed(aimed, answer) => Some(self.look_after(*aimed, answer)),
                Prepared::Failed(run, error) => Some((run, Err(error))),
                Prepared::Alone => None,
            })
            .collect();
        // With them go the descriptors, of which there may be none left.
        drop(ways);
        let mut by_itself = |job: &Job| {
            let mut run = Run::new(job.ticket);
            let answer = swaps.during(|| self.take_steps(job, &mut run));
            (run, answer)
        };
        let done = done.into_iter().zip(jobs);
        done.map(|(done, job)| done.unwrap_or_else(|| by_itself(job))).collect()
    }

    fn prepare(&self, job: &Job, ways: &mut Ways) -> Prepared {
        let mut run = Run::new(job.ticket);
        let (path, expect, readied) = match job.steps.as_slice() {
            [Step::Place { path, expect, .. }] => match self.readied(job.ticket, 0) {
                Some(readied) => (path, expect, Some(readied)),
                None => return Prepared::Alone,
            },
            [Step::Trash { path, expect }] => (path, expect, None),
            _ => return Prepared::Alone,
        };
        // Nothing is changed by any of this.
        let held = self.spot_by(path, ways).and_then(|spot| {
            let held = match expect {
                Expect::Nothing => self.may_come(&spot).map(|()| None),
                Expect::Known { kind, stat, content } => {
                    let known = Known { kind: *kind, stat: *stat, content: *content };
                    let held = self.hold_whole(&spot, *kind, stat);
                    held.inspect(|_| self.pass(Moment::Checked)).map(|held| Some((known, held)))
                }
            };
            held.map(|held| (spot, held))
        });
        let Ok((spot, held)) = held else {
            self.ready_again(job, readied);
            return Prepared::Alone;
        };
        let change = match (readied, held) {
            (Some(readied), None) => Ok(Change::Come { readied }),
            (Some(readied), Some((known, held))) => {
                match self.note_exchange(&mut run, &spot, &readied, &known, &held) {
                    Ok(moved) => Ok(Change::Exchange { readied, known, held, moved }),
                    Err(error) => {
                        self.is_used(&readied, path, false);
                        Err(error)
                    }
                }
            }
            (None, Some((known, held))) => {
                let moved = self.note_trashing(&spot, &known, &held);
                moved.map(|moved| Change::Trash { known, held, moved })
            }
            (None, None) => return Prepared::Alone,
        };
        match change {
            Ok(change) => {
                run.will_touch(path);
                Prepared::Aimed(Box::new(Aimed { run, spot, change }), Ok(()))
            }
            Err(error) => Prepared::Failed(run, error),
        }
    }

    /// Reaches the directory of `path`, unless one before it was in the same.
    fn spot_by(&self, path: &RelPath, ways: &mut Ways) -> Result<Spot, SettleError> {
        let parent = path.parent().unwrap_or_else(RelPath::root);
        let way = match ways.get(&parent) {
            Some(way) => Arc::clone(way),
            None => {
                let way = Arc::new(self.way_to(path)?);
                ways.insert(parent, Arc::clone(&way));
                way
            }
        };
        self.spot_in(path, way)
    }

    fn ready_again(&self, job: &Job, readied: Option<Readied>) {
        if let Some(readied) = readied {
            locked(&self.inner.readied).insert((job.ticket, 0), readied);
        }
    }

    /// Changes the name: all that is done between the first and the last of many.
    fn change(&self, aimed: &Aimed) -> Answer {
        let spot = &aimed.spot;
        match &aimed.change {
            Change::Come { readied } => self.come(spot, readied),
            Change::Exchange { readied, held, moved, .. } => self.swap(spot, readied, held, moved),
            Change::Trash { held, moved, .. } => self.move_to_trash(spot, held, moved),
        }
    }

    /// Looks at what was displaced, and notes what was left.
    fn look_after(&self, aimed: Aimed, changed: Answer) -> (Run, Answer) {
        let Aimed { mut run, spot, change } = aimed;
        let (readied, looked_at) = match change {
            Change::Come { readied } => (Some(readied), changed),
            Change::Exchange { readied, known, held, moved } => {
                let look = || self.look_at_swapped(&spot, &readied, &known, held, &moved);
                let answer = changed.and_then(|()| look());
                (Some(readied), answer)
            }
            Change::Trash { known, held, moved } => {
                let look = || self.look_at_trashed(&spot, &known, held, &moved);
                (None, changed.and_then(|()| look()))
            }
        };
        let answer = match &readied {
            Some(readied) => {
                let answer = looked_at.and_then(|()| self.has_placed(&mut run, &spot, readied));
                self.is_used(readied, &spot.path, answer.is_ok());
                answer
            }
            None => looked_at.inspect(|()| run.left(&spot.path, Kind::Tombstone, None)),
        };
        if answer.is_ok() {
            self.pass(Moment::Taken);
        }
        (run, answer)
    }
}

/// Returns how many jobs may hold descriptors at once: three each, of an eighth of all there are.
fn jobs_max() -> usize {
    let all = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(all / 8).unwrap_or(usize::MAX).min(TOGETHER_MAX)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::now_ms;
    use super::super::testing::{Folder, job, path};
    use super::*;

    const MOMENTS: [Moment; 9] = [
        Moment::Checked,
        Moment::Noted,
        Moment::Asked,
        Moment::Swapped,
        Moment::Trashed,
        Moment::Installed,
        Moment::Filed,
        Moment::Taken,
        Moment::Aside,
    ];

    /// Two files to replace, one to delete, one to come, in two directories.
    const PATHS: [&str; 4] = ["a", "d/b", "c", "d/e"];

    fn folder() -> Folder {
        let folder = Folder::in_memory(|_| {});
        std::fs::create_dir(folder.root().join("d")).unwrap();
        for name in ["a", "d/b", "c"] {
            folder.write(name, &format!("old {name}"));
        }
        folder
    }

    fn jobs(folder: &Folder) -> Vec<Job> {
        let replace = |name: &str| folder.place(name, folder.known(name), &format!("new {name}"));
        let steps = [
            replace("a"),
            replace("d/b"),
            Step::Trash { path: path("c"), expect: folder.known("c") },
            folder.place("d/e", Expect::Nothing, "new d/e"),
        ];
        let numbered = (1..).zip(steps);
        let jobs: Vec<Job> = numbered.map(|(ticket, step)| job(ticket, vec![step])).collect();
        assert_eq!(folder.hands.count_together(&jobs, |_| false), jobs.len());
        jobs
    }

    fn is_done(folder: &Folder, name: &str) -> bool {
        let expected = (name != "c").then(|| format!("new {name}"));
        folder.read(name) == expected
    }

    #[test]
    fn all_is_prepared_before_the_first_name_changes() {
        let folder = folder();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let see = Arc::clone(&seen);
        let hook = move |moment| see.lock().unwrap().push(moment);
        *locked(&folder.hands.inner.hook) = Some(Arc::new(hook));
        let answers = folder.hands.take(&jobs(&folder));
        assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
        assert!(PATHS.iter().all(|name| is_done(&folder, name)));
        assert_eq!(folder.staging_names(), [""; 0]);
        let seen = seen.lock().unwrap();
        let at = |of: &[Moment]| -> Vec<usize> {
            (0..seen.len()).filter(|at| of.contains(&seen[*at])).collect()
        };
        let before = at(&[Moment::Checked, Moment::Noted]);
        let changes = at(&[Moment::Swapped, Moment::Trashed, Moment::Installed]);
        let after = at(&[Moment::Filed, Moment::Taken]);
        assert_eq!((before.len(), changes.len(), after.len()), (7, 4, 7), "{seen:?}");
        assert!(before.last() < changes.first() && changes.last() < after.first(), "{seen:?}");
    }

    #[test]
    fn what_a_user_does_to_one_of_many_costs_no_bytes_and_no_other() {
        let mut fired_count = 0;
        for moment in MOMENTS {
            for nth in 1..=PATHS.len() {
                for name in PATHS {
                    for replaces in [false, true] {
                        fired_count += usize::from(one_race(moment, nth, name, replaces));
                    }
                }
            }
        }
        assert!(fired_count > 150, "the races took place: {fired_count}");
    }

    /// Lets a user write to one path at a moment; tells whether the moment came.
    fn one_race(moment: Moment, nth: usize, name: &'static str, replaces: bool) -> bool {
        let because = format!("{name} at the {nth}. {moment:?}, replaces: {replaces}");
        let folder = folder();
        let jobs = jobs(&folder);
        let fired = Arc::new(AtomicBool::new(false));
        let (fire, at) = (Arc::clone(&fired), folder.root().join(name));
        folder.at_nth(moment, nth, move || {
            fire.store(true, Ordering::SeqCst);
            if replaces {
                std::fs::write(at.with_extension("tmp"), "unseen").unwrap();
                std::fs::rename(at.with_extension("tmp"), &at).unwrap();
            } else {
                std::fs::write(&at, "unseen").unwrap();
            }
        });
        let answers = folder.hands.take(&jobs);
        let late = folder.hands.late_writes();
        assert!(late.iter().all(Result::is_ok), "{because}: {late:?}");
        let tickets: Vec<u64> = answers.iter().map(|(ticket, _)| ticket.0).collect();
        assert_eq!(tickets, [1, 2, 3, 4], "{because}: in the order of the jobs");
        for other in PATHS.iter().filter(|other| **other != name) {
            assert!(is_done(&folder, other), "{because}: {other} is as wanted");
        }
        let fired = fired.load(Ordering::SeqCst);
        let all = folder.all_bytes();
        for other in PATHS.iter().filter(|other| **other != name && **other != "d/e") {
            assert!(all.contains(&format!("old {other}")), "{because}: {all:?}");
        }
        assert!(!fired || folder.visible_bytes().contains(&"unseen".into()), "{because}: {all:?}");
        assert!(fired || is_done(&folder, name), "{because}");
        fired
    }

    #[test]
    fn a_crash_amid_many_loses_nothing_and_can_be_gone_on_from() {
        let mut crashes = 0;
        for moment in MOMENTS {
            for nth in 1..=PATHS.len() {
                let because = format!("crashed at the {nth}. {moment:?}");
                let folder = folder();
                let crashing = jobs(&folder);
                folder.at_nth(moment, nth, || std::panic::panic_any("the crash"));
                let taken = catch_unwind(AssertUnwindSafe(|| folder.hands.take(&crashing)));
                crashes += usize::from(taken.is_err());
                let hands = folder.restarted();
                let found = hands.recover(now_ms()).unwrap();
                assert_eq!(found.stuck, [""; 0], "{because}");
                assert_eq!((&found.copies, &found.restored), (&vec![], &vec![]), "{because}");
                let all = folder.all_bytes();
                let lost = ["a", "d/b", "c"].map(|name| format!("old {name}"));
                let lost: Vec<_> = lost.iter().filter(|bytes| !all.contains(bytes)).collect();
                assert_eq!(lost, [""; 0], "{because}: {all:?}");
                assert!(["a", "d/b"].iter().all(|name| folder.read(name).is_some()), "{because}");
                // The rest is planned again, from what lies there now.
                let folder = Folder { hands, ..folder };
                for name in PATHS.iter().filter(|name| !is_done(&folder, name)) {
                    let step = match *name {
                        "c" => Step::Trash { path: path("c"), expect: folder.known("c") },
                        "d/e" => folder.place("d/e", Expect::Nothing, "new d/e"),
                        _ => folder.place(name, folder.known(name), &format!("new {name}")),
                    };
                    folder.take(vec![step]).unwrap();
                }
                let kept: BTreeSet<String> =
                    folder.trashed().into_iter().map(|(_, bytes)| bytes).collect();
                let expected = ["old a", "old c", "old d/b"].map(String::from);
                assert_eq!(kept, BTreeSet::from(expected), "{because}");
            }
        }
        assert!(crashes > 20, "the crashes took place: {crashes}");
    }

    #[test]
    fn only_plain_jobs_at_different_paths_are_taken_together() {
        let folder = folder();
        folder.write("x.live", "in place");
        let new = |name: &str| folder.place(name, Expect::Nothing, "new");
        let make = || Step::MakeDirectory { path: path("m"), mode: 0o755 };
        let whole = path("d");
        let dir = Expect::Known {
            kind: Kind::Directory,
            stat: folder.hands.root().stat(&whole).unwrap().unwrap().key,
            content: syncd_core::model::ContentId::NONE,
        };
        for (jobs, count, because) in [
            (vec![vec![new("n")], vec![new("o")]], 2, "plain"),
            (vec![vec![new("n")]], 0, "one alone has nothing to wait for"),
            (vec![vec![new("n")], vec![make()], vec![new("m/o")]], 1, "a place for the next"),
            (vec![vec![new("n")], vec![new("n")]], 1, "the same path"),
            (vec![vec![new("n"), new("o")], vec![new("p")]], 0, "two steps"),
            (
                vec![vec![new("n")], vec![folder.place("x.live", folder.known("x.live"), "new")]],
                1,
                "rewritten in place",
            ),
            (vec![vec![new("n")], vec![folder.place("d", dir, "new")]], 1, "a directory's name"),
            (
                vec![
                    vec![new("n")],
                    vec![Step::Trash { path: path("o"), expect: Expect::Nothing }],
                ],
                1,
                "nothing to change",
            ),
        ] {
            let jobs: Vec<Job> =
                (1..).zip(jobs).map(|(ticket, steps)| job(ticket, steps)).collect();
            assert_eq!(folder.hands.count_together(&jobs, |_| false), count, "{because}");
        }
        let two = [job(1, vec![new("n")]), job(2, vec![new("o")])];
        assert_eq!(folder.hands.count_together(&two, |job| job.ticket.0 == 2), 1, "refused");
        for (lessen, because) in [
            ((|a| a.exchange = false) as fn(&mut crate::world::disk::Abilities), "no exchange"),
            (|a| a.keeps_names = false, "names are tried out"),
        ] {
            let folder = Folder::in_memory(lessen);
            assert_eq!(folder.hands.count_together(&two, |_| false), 0, "{because}");
        }
    }
}
