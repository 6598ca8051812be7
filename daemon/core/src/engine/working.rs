//! Work under way for a path: fetches, jobs, looks, and trying again.

use std::collections::BTreeSet;

use super::draft::Draft;
use super::incoming::{From, News, Next, Stage};
use super::settling::{Flight, Put};
use super::{Action, Engine, Problem, PullError};
use crate::flow::detect::Look;
use crate::flow::index::{Index, IndexError};
use crate::flow::settle::{Becoming, Job, Step, Ticket};
use crate::model::{DeviceId, RelPath, Tick};

impl Engine {
    /// Hands out the job, after the fetch of what it needs; without steps the index alone
    /// changes.
    pub(super) fn set_to_work(
        &mut self,
        path: &RelPath,
        news: &News,
        steps: Vec<Step>,
        puts: Vec<(RelPath, Put)>,
        conflict: Option<RelPath>,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<Next, IndexError> {
        if steps.is_empty() {
            for (path, put) in puts {
                self.put_stamped(path, put, None, draft);
            }
            return Ok(Next::Done);
        }
        let wanted = &news.record;
        let needs =
            steps.iter().any(|s| matches!(s, Step::Place { .. } | Step::KeepForOthers { .. }));
        let staged = self.pending.get(path).and_then(|p| p.staged);
        if needs && staged != Some(wanted.content) {
            return Ok(self.fetch(path, news));
        }
        let ticket = self.next_ticket();
        for (path, _) in &puts {
            self.busy.insert(path.clone(), ticket);
            self.touch(path);
        }
        let becoming = |(path, put): &(RelPath, Put)| Becoming {
            path: path.clone(),
            record: put.record.clone(),
            stamp: put.stamp,
        };
        let becomes = puts.iter().map(becoming).collect();
        let flight = Flight {
            path: path.clone(),
            from: news.from,
            puts,
            conflict,
            begun: self.clock,
            overlooked: BTreeSet::new(),
            orphan: false,
        };
        self.flights.insert(ticket, flight);
        self.take_job(news, Job { ticket, steps, becomes });
        Ok(Next::Working)
    }

    fn fetch(&mut self, path: &RelPath, news: &News) -> Next {
        let peer = match news.from {
            From::Peer { peer, .. } => peer,
            // Any of them may hold it; whoever did not have it is asked last.
            From::Index => {
                let failed = self.pending.get(path).map_or(0, |p| p.failed);
                match self.peers.keys().nth(failed % self.peers.len().max(1)) {
                    Some(peer) => *peer,
                    None => return Next::Wait(Stage::Gate),
                }
            }
        };
        let ticket = self.next_ticket();
        self.fetching.insert(ticket, (path.clone(), peer));
        if news.of_burst {
            self.burst.awaits(ticket);
        }
        let record = &news.record;
        self.actions.push_back(Action::Fetch {
            ticket,
            peer,
            path: path.clone(),
            kind: record.kind,
            content: record.content,
            size: record.size,
        });
        Next::Wait(Stage::Fetching(ticket))
    }

    /// Forgets the fetches that `peer` will not answer any more. What they were for and what is
    /// still to come is fetched from others.
    pub(super) fn ask_others(
        &mut self,
        peer: DeviceId,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let of_peer = self.fetching.iter().filter(|(_, (_, asked))| *asked == peer);
        let lost: Vec<_> = of_peer.map(|(ticket, (path, _))| (*ticket, path.clone())).collect();
        for (ticket, path) in lost {
            self.fetching.remove(&ticket);
            if let Some(pending) = self.pending.get_mut(&path) {
                pending.stage = Stage::Fresh;
            }
            self.consider(&path, draft)?;
        }
        Ok(())
    }

    pub(super) fn fetched(
        &mut self,
        now: Tick,
        ticket: Ticket,
        outcome: Result<(), PullError>,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        self.burst.fetched(ticket);
        let Some((path, _)) = self.fetching.remove(&ticket) else { return Ok(()) };
        let Some(pending) = self.pending.get_mut(&path) else { return Ok(()) };
        if pending.stage != Stage::Fetching(ticket) {
            return Ok(());
        }
        match outcome {
            Ok(()) => {
                pending.staged = pending.news.front().map(|news| news.record.content);
                pending.stage = Stage::Fresh;
                self.consider(&path, draft)
            }
            Err(error) => {
                pending.failed += 1;
                let others = match pending.news.front().map(|news| news.from) {
                    Some(From::Index) => self.peers.len(),
                    Some(From::Peer { .. }) | None => 0,
                };
                let all_failed = pending.failed >= pending.news.len().max(others);
                self.problems.insert(path.clone(), Problem::Pull(error));
                if all_failed {
                    pending.failed = 0;
                    self.retry(&path, now, RETRY_MS);
                    return Ok(());
                }
                // Another peer has news of the path, and perhaps the bytes.
                pending.news.rotate_left(1);
                pending.stage = Stage::Fresh;
                self.consider(&path, draft)
            }
        }
    }

    /// Considers `path` again after `wait_ms`.
    pub(super) fn retry(&mut self, path: &RelPath, now: Tick, wait_ms: u64) {
        if let Some(pending) = self.pending.get_mut(path) {
            pending.stage = Stage::Retrying;
        }
        self.retries.entry(now.after(wait_ms)).or_default().insert(path.clone());
    }

    /// Waits for a look at `path`.
    pub(super) fn wait_for_look(&mut self, path: &RelPath, what: Vec<Look>) {
        if let Some(pending) = self.pending.get_mut(path) {
            pending.stage = Stage::Looking;
            self.lookers.insert(path.clone());
        }
        self.order_look(what);
    }

    /// Forgets that the bytes for `path` are staged.
    pub(super) fn unstage(&mut self, path: &RelPath) {
        if let Some(pending) = self.pending.get_mut(path) {
            pending.staged = None;
        }
    }

    /// Tells whether a job is under way for `path` or for a directory above it: when it is done,
    /// the path is looked at.
    pub(super) fn looked_at_after(&mut self, path: &RelPath) -> bool {
        let mut over = std::iter::once(path.clone()).chain(path.ancestors());
        let ticket = over.find_map(|at| self.busy.get(&at).copied());
        match ticket.and_then(|ticket| self.flights.get_mut(&ticket)) {
            Some(flight) => {
                flight.overlooked.insert(path.clone());
                true
            }
            None => false,
        }
    }

    /// Tells whether a job is under way for something below `dir`: when it is done, `dir` is
    /// looked at.
    pub(super) fn looked_at_after_jobs_below(&mut self, dir: &RelPath) -> bool {
        let below = self.busy.range(dir.clone()..).find(|(path, _)| *path != dir);
        let ticket = below.filter(|(path, _)| path.is_below(dir)).map(|(_, ticket)| *ticket);
        match ticket.and_then(|ticket| self.flights.get_mut(&ticket)) {
            Some(flight) => {
                flight.overlooked.insert(dir.clone());
                true
            }
            None => false,
        }
    }
}

/// A failed step or fetch is tried again after this long.
pub(super) const RETRY_MS: u64 = 1000;

/// A file that another program has open for writing is asked for again after this long: most are
/// closed within moments.
pub(super) const OPEN_RETRY_MS: u64 = 250;
