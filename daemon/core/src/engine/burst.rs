//! Bursts: what a program writes in one go on another device is staged whole here before the
//! first of it is swapped in, so that nobody sees half a checkout for long.
//!
//! A frame of more than a few records belongs to a burst, and one of few that says so. What is
//! longer than a burst, or comes of a folder that its sender sees for the first time, is a backlog,
//! which goes on as it comes. A single edit never waits.
//!
//! # Invariants
//! - No job is held longer than [`HOLD_MS_MAX`] after the burst's first frame.
//! - A job that others wait for (one that makes a directory) is not held.

use std::collections::BTreeSet;

use super::Engine;
use super::incoming::News;
use crate::flow::offer::{BURST_RECORDS_MAX, BURST_RECORDS_MIN, More};
use crate::flow::settle::{Job, Step, Ticket};
use crate::model::Tick;

/// A burst is over when its end was told and none of its frames came for so long: its sender may
/// have heard of the rest only now.
const QUIET_MS: u64 = 50;

/// Nothing is held longer.
const HOLD_MS_MAX: u64 = 10_000;

/// What has come of a burst and is not swapped in yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Burst {
    /// When its first and its latest frame came.
    came: Option<(Tick, Tick)>,
    /// Its latest frame by its number, and what it says is coming.
    more: (u64, More),
    records: usize,
    held: Vec<Job>,
    /// Fetches that bring its bytes.
    awaited: BTreeSet<Ticket>,
}

impl Burst {
    /// Takes note of a frame; tells whether the jobs for its records are to be held.
    pub(super) fn heard(&mut self, now: Tick, number: u64, records: usize, more: More) -> bool {
        let is_end = records == 0 && self.more.1 != More::Nothing && more == More::Nothing;
        let is_first = records > 0 && more == More::Burst;
        if records < BURST_RECORDS_MIN && !is_first && !is_end {
            return false;
        }
        let quiet = |(_, latest): (Tick, Tick)| now.since(latest) > QUIET_MS;
        if self.held.is_empty() && self.came.is_none_or(quiet) {
            *self = Self::default();
        }
        // The lanes may overtake each other.
        if number > self.more.0 || self.came.is_none() {
            self.more = (number, more);
        }
        let first = self.came.map_or(now, |(first, _)| first);
        self.came = Some((first, now));
        self.records += if more == More::Backlog { BURST_RECORDS_MAX + 1 } else { records };
        self.records <= BURST_RECORDS_MAX
    }

    /// Holds a job back.
    pub(super) fn hold(&mut self, job: Job) {
        self.held.push(job);
    }

    /// Notes that a fetch brings bytes of the burst.
    pub(super) fn awaits(&mut self, ticket: Ticket) {
        self.awaited.insert(ticket);
    }

    /// Notes that a fetch is over.
    pub(super) fn fetched(&mut self, ticket: Ticket) {
        self.awaited.remove(&ticket);
    }

    /// Returns when what is held is let go if nothing else happens.
    pub(super) fn deadline(&self) -> Option<Tick> {
        let (first, latest) = self.came.filter(|_| !self.held.is_empty())?;
        let last = first.after(HOLD_MS_MAX);
        let is_whole = self.awaited.is_empty() && self.more.1 == More::Nothing;
        let is_backlog = self.records > BURST_RECORDS_MAX;
        Some(match (is_backlog, is_whole) {
            (true, _) => first,
            (false, true) => latest.after(QUIET_MS).min(last),
            (false, false) => last,
        })
    }

    /// Lets go of what is held if its time has come.
    pub(super) fn due(&mut self, now: Tick) -> Vec<Job> {
        match self.deadline() {
            Some(deadline) if deadline <= now => self.let_go(),
            Some(_) | None => Vec::new(),
        }
    }

    /// Lets go of what is held, whole or not: the rest may never come.
    pub(super) fn let_go(&mut self) -> Vec<Job> {
        self.awaited.clear();
        let (first, records) = (self.came.map(|(_, latest)| latest), self.records);
        let held = std::mem::take(&mut self.held);
        // A burst that goes on begins anew, a backlog stays one until it is quiet.
        self.came = first.map(|latest| (latest, latest));
        self.records = if records > BURST_RECORDS_MAX { records } else { 0 };
        held
    }
}

impl Engine {
    /// Takes a new job: it is handed out with the next batch, or held for its burst.
    pub(super) fn take_job(&mut self, news: &News, job: Job) {
        let is_plain = job.becomes.len() == 1
            && job.steps.iter().all(|step| match step {
                Step::Place { .. } | Step::Trash { .. } | Step::Dress { .. } => true,
                Step::KeepAs { .. }
                | Step::KeepForOthers { .. }
                | Step::MakeDirectory { .. }
                | Step::RemoveDirectory { .. } => false,
            });
        if news.of_burst && is_plain {
            self.burst.hold(job);
        } else {
            self.ready.push_back(job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(ticket: u64) -> Job {
        Job { ticket: Ticket(ticket), steps: Vec::new(), becomes: Vec::new() }
    }

    /// What happens to a burst at a time.
    enum Act {
        Frame(usize),
        More(usize),
        Backlog(usize),
        Job,
        Awaits(u64),
        Fetched(u64),
    }

    #[test]
    fn what_is_held_is_let_go_when_it_is_whole_and_quiet() {
        use Act::{Awaits, Backlog, Fetched, Frame, Job};
        type Acts<'a> = &'a [(u64, Act)];
        let cases: [(Acts<'_>, Option<u64>, &str); 16] = [
            (&[(0, Frame(20))], None, "nothing is held yet"),
            (&[(0, Frame(20)), (5, Job)], Some(50), "quiet"),
            (&[(0, Frame(20)), (5, Job), (40, Frame(20))], Some(90), "more of it came"),
            (&[(0, Frame(20)), (1, Awaits(1)), (5, Job)], Some(10_000), "not whole"),
            (
                &[(0, Frame(20)), (1, Awaits(1)), (5, Job), (9, Fetched(1))],
                Some(50),
                "whole by now",
            ),
            (
                &[(0, Frame(9)), (1, Job), (9_980, Frame(9)), (9_981, Job)],
                Some(10_000),
                "a burst without end is let go in parts",
            ),
            (&[(0, Frame(20)), (5, Job), (40, Frame(3))], Some(50), "an edit prolongs nothing"),
            (&[(0, Act::More(20)), (5, Job)], Some(10_000), "more is on its way"),
            (&[(0, Act::More(20)), (5, Job), (7, Frame(0))], Some(57), "it came to its end"),
            (&[(0, Act::More(1)), (1, Job)], Some(10_000), "the first of many, as its sender says"),
            (&[(0, Act::More(1)), (1, Job), (9, Frame(0))], Some(59), "there were few after all"),
            (&[(0, Act::More(20)), (5, Job), (7, Frame(1))], Some(10_000), "an edit ends nothing"),
            (&[(0, Frame(20)), (5, Job), (7, Frame(0))], Some(50), "an end that nobody awaits"),
            (&[(0, Backlog(20)), (1, Job)], Some(0), "a backlog by its sender's word"),
            (&[(0, Frame(1000)), (1, Job)], Some(50), "a full frame may be all there is"),
            (
                &[
                    (0, Frame(20)),
                    (1, Job),
                    (2, Frame(999)),
                    (3, Frame(999)),
                    (4, Frame(999)),
                    (5, Frame(999)),
                    (6, Frame(999)),
                ],
                Some(0),
                "so many are a backlog: at once",
            ),
        ];
        for (acts, expected, because) in cases {
            let mut burst = Burst::default();
            for (at, act) in acts {
                match act {
                    Frame(records) => {
                        burst.heard(Tick(*at), *at + 1, *records, More::Nothing);
                    }
                    Act::More(records) => {
                        burst.heard(Tick(*at), *at + 1, *records, More::Burst);
                    }
                    Backlog(records) => {
                        burst.heard(Tick(*at), *at + 1, *records, More::Backlog);
                    }
                    Job => burst.hold(job(*at)),
                    Awaits(ticket) => burst.awaits(Ticket(*ticket)),
                    Fetched(ticket) => burst.fetched(Ticket(*ticket)),
                }
            }
            let deadline = burst.deadline().map(|tick| tick.0);
            assert_eq!(deadline, expected, "{because}");
        }
    }

    #[test]
    fn all_that_is_held_comes_out_once_and_in_its_order() {
        let mut burst = Burst::default();
        assert!(burst.heard(Tick(0), 1, 100, More::Nothing), "a burst is held");
        assert!(!burst.heard(Tick(0), 2, 2, More::Nothing), "an edit is not");
        burst.hold(job(2));
        burst.hold(job(1));
        assert_eq!(burst.due(Tick(49)), [], "not yet");
        assert_eq!(burst.due(Tick(50)), [job(2), job(1)]);
        assert_eq!(burst.due(Tick(9_999)), [], "once");
        burst.awaits(Ticket(1));
        burst.hold(job(3));
        assert_eq!(burst.let_go(), [job(3)], "whole or not");
    }
}
