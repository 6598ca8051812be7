//! Running histories: one, or as many as a machine can, each a function of its seed alone.
//!
//! A thread for each core runs every so many-th seed and shares nothing with the others but the
//! lowest seed that has failed, so that a run names the same failure however many threads it has.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use syncd_core::mutant::Mutant;

use super::breeds::{Breeds, History, Nursery};
use super::diary::Diary;
use super::faults::{Fault, Fired};
use super::states::Mixer;
use super::{explore, oracle};

/// Fewer seeds of a breed than this say nothing about which faults can fire.
pub const SEEDS_JUDGED_MIN: u64 = 1_000;

/// One history in one order.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it is drawn from.
    pub breeds: Breeds,
    /// Its seed.
    pub seed: u64,
    /// Which of its acts are played, by their place; `None` for all.
    pub keep: Option<Vec<usize>>,
    /// What its order is drawn from, if not its seed.
    pub order: Option<u64>,
}

/// How a case ended.
#[derive(Debug)]
pub struct Ran {
    /// What does not hold, if anything.
    pub outcome: Result<(), String>,
    /// How many deliveries, duties and acts there were until all was done.
    pub steps: usize,
    /// What went wrong in it.
    pub fired: Fired,
    /// The hash of its story, if that was kept.
    pub hash: u64,
    /// What each device holds at the end; empty unless the story is printed.
    pub end: String,
}

impl Case {
    /// A history as it was drawn.
    #[must_use]
    pub fn new(breeds: Breeds, seed: u64) -> Self {
        Self { breeds, seed, keep: None, order: None }
    }

    /// Draws the history, and leaves out what is not kept.
    pub fn history(&self, nursery: &mut Nursery) -> History {
        let mut history = nursery.draw(self.seed, self.breeds);
        if let Some(keep) = &self.keep {
            let mut at = 0..;
            history.ops.retain(|_| at.next().is_some_and(|at| keep.contains(&at)));
        }
        history
    }

    /// Runs it.
    pub fn run(&self, nursery: &mut Nursery, diary: Diary) -> Ran {
        let History { mut world, ops, .. } = self.history(nursery);
        world.diary = diary;
        let order = self.order.unwrap_or(self.seed);
        let ended = catch_unwind(AssertUnwindSafe(|| explore::random(&mut world, &ops, order)));
        let outcome = ended.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("it panicked: {}", text.unwrap_or("with no words")))
        });
        let is_printed = matches!(diary, Diary::Printed);
        Ran {
            steps: *outcome.as_ref().unwrap_or(&0),
            outcome: outcome.map(|_| ()),
            fired: *world.fired(),
            hash: world.diary.hash(),
            end: if is_printed { oracle::indexes(&world) } else { String::new() },
        }
    }

    /// Runs it twice, and fails too when it does not go the same way both times.
    pub fn run_twice(&self, nursery: &mut Nursery) -> Ran {
        let mut first = self.run(nursery, Diary::Hashed(Mixer::default()));
        let second = self.run(&mut Nursery::default(), Diary::Hashed(Mixer::default()));
        if first.hash != second.hash && first.outcome.is_ok() {
            first.outcome = Err("it went another way the second time".to_owned());
        }
        first
    }

    /// Returns the arguments with which `sim` replays it.
    #[must_use]
    pub fn arguments(&self) -> String {
        let mut text = format!("--breeds {} --seed {}", self.breeds.name, self.seed);
        if let Some(keep) = &self.keep {
            let keep: Vec<String> = keep.iter().map(ToString::to_string).collect();
            text += &format!(" --keep {}", keep.join(","));
        }
        if let Some(order) = self.order {
            text += &format!(" --order {order}");
        }
        text
    }
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What histories are drawn from; each seed has its turn in one of them.
    pub breeds: Vec<Breeds>,
    /// The seeds.
    pub seeds: Range<u64>,
    /// How many threads; 0 counts as 1.
    pub threads: usize,
    /// Whether each is run twice, to compare.
    pub twice: bool,
    /// Seeds that are left out: it is known that they fail.
    pub skip: Vec<u64>,
    /// In which way it behaves wrongly, if it does.
    pub mutant: Option<Mutant>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// How many histories were run.
    pub histories: u64,
    /// Of how many steps.
    pub steps: u64,
    /// What went wrong in them.
    pub fired: Fired,
    /// How long processors worked on them.
    pub busy: Duration,
    /// The failure of the lowest seed, with what does not hold.
    pub failed: Option<(Case, String)>,
}

impl Plan {
    /// Returns the case of a seed: each has its turn in one of the breeds.
    #[must_use]
    pub fn case(&self, seed: u64) -> Case {
        let turn = seed % self.breeds.len().max(1) as u64;
        let breeds = usize::try_from(turn).ok().and_then(|turn| self.breeds.get(turn));
        Case::new(breeds.copied().expect("something to draw from"), seed)
    }

    /// Runs it all; ends early when a seed fails, with the lowest that does.
    #[must_use]
    pub fn run(&self) -> Report {
        let lowest = AtomicU64::new(u64::MAX);
        let threads = self.threads.max(1);
        let parts: Vec<Report> = std::thread::scope(|scope| {
            let begin = |at| {
                scope.spawn({
                    let lowest = &lowest;
                    move || self.part(at, threads, lowest)
                })
            };
            let running: Vec<_> = (0..threads).map(begin).collect();
            running.into_iter().map(|thread| thread.join().expect("panics are caught")).collect()
        });
        let mut all = Report::default();
        for part in parts {
            all.histories += part.histories;
            all.steps += part.steps;
            all.fired.merge(&part.fired);
            all.busy += part.busy;
            let is_lower = |other: &(Case, String)| {
                all.failed.as_ref().is_none_or(|(case, _)| other.0.seed < case.seed)
            };
            if part.failed.as_ref().is_some_and(is_lower) {
                all.failed = part.failed;
            }
        }
        all
    }

    fn part(&self, at: usize, threads: usize, lowest: &AtomicU64) -> Report {
        let (mut report, mut nursery) = (Report::default(), Nursery::default());
        let began = cpu_time();
        behave(self.mutant);
        for seed in self.seeds.clone().skip(at).step_by(threads) {
            if seed > lowest.load(Ordering::Relaxed) {
                break;
            }
            if self.skip.contains(&seed) {
                continue;
            }
            let case = self.case(seed);
            let ran = match self.twice {
                true => case.run_twice(&mut nursery),
                false => case.run(&mut nursery, Diary::Closed),
            };
            report.histories += 1;
            report.steps += ran.steps as u64;
            report.fired.merge(&ran.fired);
            if let Err(what) = ran.outcome {
                lowest.fetch_min(seed, Ordering::Relaxed);
                report.failed = Some((case, what));
                break;
            }
        }
        report.busy = cpu_time().saturating_sub(began);
        report
    }

    /// Lists the kinds of faults that could have fired and never did; none where too few seeds
    /// were run to say so.
    #[must_use]
    pub fn never_fired(&self, report: &Report) -> Vec<Fault> {
        let count = self.seeds.end.saturating_sub(self.seeds.start);
        if report.failed.is_some() || count / (self.breeds.len().max(1) as u64) < SEEDS_JUDGED_MIN {
            return Vec::new();
        }
        let could = |fault: &Fault| self.breeds.iter().any(|breeds| breeds.draw(*fault));
        let all = Fault::ALL.into_iter();
        all.filter(|fault| could(fault) && report.fired.of(*fault) == 0).collect()
    }
}

/// Returns how long this thread has worked.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

/// Lets this thread behave wrongly from now on, or rightly.
#[cfg(feature = "mutants")]
pub fn behave(mutant: Option<Mutant>) {
    syncd_core::mutant::switch(mutant);
}

/// Does nothing: this build cannot behave wrongly.
#[cfg(not(feature = "mutants"))]
pub fn behave(_: Option<Mutant>) {}
