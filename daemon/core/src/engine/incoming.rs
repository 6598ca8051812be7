//! What peers tell: from an offered record to the job that makes it true.

use std::collections::{BTreeMap, VecDeque};

use super::draft::Draft;
use super::{Action, Engine};
use crate::flow::index::fingerprint::Fingerprint;
use crate::flow::index::{Index, IndexError};
use crate::flow::offer::Offer;
use crate::flow::settle::Ticket;
use crate::model::{Causality, ContentId, DeviceId, Kind, Record, RelPath, Tick};

/// Where a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// A frame of a session, with the frame that must be settled first.
    Peer { peer: DeviceId, frame: u64, after: u64 },
    /// Our own index: it is reconciled with what was found on disk.
    Index,
}

/// A record that waits to be reconciled.
#[derive(Debug, Clone)]
pub(super) struct News {
    pub(super) from: From,
    pub(super) record: Record,
    /// Other frames of the same session whose record for the path this one has seen: they are
    /// settled with it, not before, since until then nothing here reflects what they told.
    pub(super) also: Vec<u64>,
    /// Whether its frames count it among the removals of directories.
    waits: bool,
    /// Whether it came with much else at once.
    pub(super) of_burst: bool,
    /// Whether it is put aside: it waits for a person, and its frames count it so.
    pub(super) is_aside: bool,
    /// Whether it was gathered with other deletes and they were found to be few.
    pub(super) is_weighed: bool,
}

/// What waits for one path.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) news: VecDeque<News>,
    pub(super) stage: Stage,
    /// The content that a fetch has brought into staging for the first news.
    pub(super) staged: Option<ContentId>,
    /// How many of the news could not be fetched in a row.
    pub(super) failed: usize,
}

/// What the first news of a path waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    Fresh,
    Fetching(Ticket),
    Looking,
    Retrying,
    /// Another path's job or arrival.
    After(RelPath),
    /// Rule files that come first.
    Gate,
    /// What was told before it on the other lane, and has not come.
    Overtook,
    /// A removal of a directory: everything told before it.
    Removal,
    /// Another role, or a person's word: the folder only sends.
    Role,
    /// A person's word on what a peer deletes, or to know how much that is.
    Held,
}

impl Stage {
    /// Tells whether it waits for a person.
    pub(super) fn is_a_persons(&self) -> bool {
        matches!(self, Self::Role | Self::Held)
    }
}

/// What considering the first news came to.
pub(super) enum Next {
    /// It says nothing more: the next one, if any.
    Done,
    /// It waits.
    Wait(Stage),
    /// A job for it is under way.
    Working,
}

impl News {
    /// Makes news of what our own index holds.
    pub(super) fn ours(record: Record) -> Self {
        let (also, waits, of_burst) = (Vec::new(), false, false);
        let (is_aside, is_weighed) = (false, false);
        Self { from: From::Index, record, also, waits, of_burst, is_aside, is_weighed }
    }
}

impl From {
    /// Gives it to `into`, as known by `me`.
    pub(super) fn fingerprint(self, me: DeviceId, into: &mut impl Fingerprint) {
        into.value(matches!(self, Self::Index));
        if let Self::Peer { peer, frame, after } = self {
            into.value((peer, after > 0));
            into.frame(peer, me, frame);
            if after > 0 {
                into.frame(peer, me, after);
            }
        }
    }
}

impl Pending {
    /// Gives it to `into`, as waiting at `me`.
    pub(super) fn fingerprint(&self, me: DeviceId, into: &mut impl Fingerprint) {
        into.value((self.news.len(), self.staged, self.failed));
        for news in &self.news {
            news.from.fingerprint(me, into);
            into.record(&news.record);
            for frame in &news.also {
                if let From::Peer { peer, .. } = news.from {
                    into.frame(peer, me, *frame);
                }
            }
            into.value((news.also.len(), news.waits, news.of_burst));
            into.value((news.is_aside, news.is_weighed));
        }
        // Which fetch it is says nothing: a ticket is only ever repeated.
        into.value(std::mem::discriminant(&self.stage));
        if let Stage::After(path) = &self.stage {
            into.value(path);
        }
    }

    /// Returns the files that are wanted, with their sizes.
    pub(super) fn wanted(&self) -> Option<u64> {
        let file = |news: &&News| news.record.kind == Kind::File;
        self.news.iter().rev().find(file).map(|news| news.record.size)
    }

    /// Says in a word what the path waits for.
    pub(super) fn reason(&self) -> String {
        match &self.stage {
            Stage::Fresh => "being settled".to_owned(),
            Stage::Fetching(_) => "its bytes are being fetched".to_owned(),
            Stage::Looking => "being looked at".to_owned(),
            Stage::Retrying => "tried again soon".to_owned(),
            Stage::After(path) => format!("waiting for {path}"),
            Stage::Gate => "waiting for the ignore file".to_owned(),
            Stage::Overtook => "waiting for what was told before it".to_owned(),
            Stage::Removal => "a removal, waiting for what was told before it".to_owned(),
            Stage::Role => "not taken, since the folder only sends".to_owned(),
            Stage::Held => {
                "a delete among many at once, waiting for a decision; see: syncctl held ls"
                    .to_owned()
            }
        }
    }
}

impl Engine {
    pub(super) fn offered(
        &mut self,
        now: Tick,
        peer: DeviceId,
        offer: Offer,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let is_ours = !self.disowns(&offer);
        let Some(state) = self.peers.get_mut(&peer) else { return Ok(()) };
        let lawful = offer.records.iter().all(|(path, record)| {
            !path.is_root() && !path.is_reserved() && record.version.contains(record.dot)
        });
        let (number, after) = (offer.number, offer.after);
        let upto = offer.upto.clone();
        if !lawful || !is_ours || !state.incoming.open(number, offer.records.len(), upto) {
            let why = match is_ours {
                true => "it offered what no peer may offer",
                false => "it told of changes of this device that it never made",
            };
            self.actions.push_back(Action::Cut { peer, why });
            return Ok(());
        }
        state.incoming.rules_in(after);
        self.gate_moved |= state.incoming.was_overtaken(number);
        self.gather(now, peer, &offer);
        let from = From::Peer { peer, frame: number, after };
        let of_burst = self.burst.heard(now, number, offer.records.len(), offer.more);
        self.note_words(peer, &offer);
        let mut paths = Vec::with_capacity(offer.records.len());
        for (path, record) in offer.records {
            if !self.folded(&path, from, &record, of_burst)
                && !self.has_said_more(peer, &path, number)
            {
                self.queue(&path, News { from, of_burst, ..News::ours(record) });
            }
            paths.push(path);
        }
        if self.overruling.contains(&peer) {
            // What lies in a directory before the directory.
            paths.sort_by(|a, b| b.cmp(a));
        }
        for path in paths {
            self.consider(&path, draft)?;
        }
        self.weigh_due(now, draft)
    }

    /// Folds a record into news of the same peer that waits, when one of the two has seen the
    /// other, or else is the peer's last word on the path; `false` when there is none. News of
    /// another peer does not count: that session may end before it is settled.
    fn folded(&mut self, path: &RelPath, from: From, record: &Record, of_burst: bool) -> bool {
        let From::Peer { peer, frame, after } = from else { return false };
        let busy = self.busy.contains_key(path);
        let Some(pending) = self.pending.get(path) else { return false };
        let found = pending.news.iter().enumerate().find_map(|(at, news)| {
            let From::Peer { peer: by, frame: told, .. } = news.from else { return None };
            let (seen, sees) = match news.record.version.compare(&record.version) {
                Causality::Equal | Causality::After => (true, false),
                Causality::Before => (false, true),
                Causality::Concurrent => (told > frame, told < frame),
            };
            let sees = sees && !(at == 0 && busy);
            (by == peer && (seen || sees)).then_some((at, seen))
        });
        let Some((at, seen)) = found else { return false };
        self.mark_removal(path, false);
        let was_aside = self.mark_aside(path, at, false);
        let Some(pending) = self.pending.get_mut(path) else { return false };
        let news = &mut pending.news[at];
        if seen {
            news.also.push(frame);
        } else if let From::Peer { frame: before, .. } = news.from {
            news.also.push(frame.min(before));
            news.from = From::Peer { peer, frame: frame.max(before), after };
            news.record = record.clone();
            news.of_burst = of_burst;
            news.is_weighed = false;
            if at == 0 {
                pending.stage = Stage::Fresh;
                pending.staged = None;
            }
        }
        if at == 0 && !seen {
            self.removals.remove(path);
        }
        self.mark_removal(path, self.removals.contains(path));
        if seen && was_aside {
            // With the frame that it stands for now.
            self.mark_aside(path, at, true);
        }
        true
    }

    /// Tells whether something that was told before what has come has not come yet.
    pub(super) fn misses_something(&self) -> bool {
        self.peers.values().any(|state| state.incoming.has_gap())
    }

    /// Notes that the first news of `path` is the removal of a directory; `false` while anything
    /// else that was told before it is not settled.
    pub(super) fn removal_may_go(&mut self, path: &RelPath, news: &News) -> bool {
        if self.removals.insert(path.clone()) {
            self.mark_removal(path, true);
        }
        let From::Peer { peer, frame, .. } = news.from else { return true };
        let Some(state) = self.peers.get_mut(&peer) else { return true };
        let may_go = frame < state.incoming.blocked();
        if !may_go {
            // Considered again as soon as that is so, even if it had been so before.
            state.blocked = 0;
        }
        may_go
    }

    /// Lets all news of `path` count as removals in their frames, or not: where several peers
    /// tell of several directories, each in an order of its own, no removal waits for another.
    fn mark_removal(&mut self, path: &RelPath, is_removal: bool) {
        let Some(pending) = self.pending.get_mut(path) else { return };
        for news in pending.news.iter_mut().filter(|news| news.waits != is_removal) {
            news.waits = is_removal;
            let From::Peer { peer, frame, .. } = news.from else { continue };
            let Some(state) = self.peers.get_mut(&peer) else { continue };
            for frame in news.also.iter().chain([&frame]) {
                state.incoming.count_removal(*frame, is_removal);
            }
        }
    }

    pub(super) fn queue(&mut self, path: &RelPath, news: News) {
        let fresh =
            || Pending { news: VecDeque::new(), stage: Stage::Fresh, staged: None, failed: 0 };
        let pending = self.pending.entry(path.clone()).or_insert_with(fresh);
        pending.news.push_back(news);
        if pending.stage == Stage::Held {
            // It may have something to say of what waits.
            pending.stage = Stage::Fresh;
        }
        if self.removals.contains(path) {
            self.mark_removal(path, true);
        }
    }

    /// Forgets what a peer offered in a session that is over.
    pub(super) fn forget_news(&mut self, peer: DeviceId) {
        let of_peer = |from: &From| matches!(from, From::Peer { peer: p, .. } if *p == peer);
        self.pending.retain(|_, pending| {
            let first_goes = pending.news.front().is_some_and(|n| of_peer(&n.from));
            pending.news.retain(|n| !of_peer(&n.from));
            if first_goes {
                pending.stage = Stage::Fresh;
                pending.staged = None;
            }
            !pending.news.is_empty()
        });
        let pending = &self.pending;
        self.removals.retain(|path| pending.contains_key(path));
        self.gated.retain(|path| pending.contains_key(path));
        self.fetching.retain(|ticket, (path, _)| {
            pending.get(path).is_some_and(|p| p.stage == Stage::Fetching(*ticket))
        });
        for flight in self.flights.values_mut().filter(|f| of_peer(&f.from)) {
            flight.orphan = true;
        }
    }

    /// Makes the first news of `path` be considered again, whatever it waited for.
    pub(super) fn unwait(&mut self, path: &RelPath) {
        if let Some(pending) = self.pending.get_mut(path)
            && !matches!(pending.stage, Stage::Fetching(_))
        {
            pending.stage = Stage::Fresh;
        }
    }

    /// Reconsiders what waited for paths for which nothing waits any more.
    pub(super) fn consider_stranded(
        &mut self,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let gone =
            |path: &&RelPath| !self.pending.contains_key(*path) && !self.busy.contains_key(*path);
        let stranded: Vec<RelPath> = self.waiting.keys().filter(gone).cloned().collect();
        for path in stranded {
            self.wake_waiting(&path, draft)?;
        }
        Ok(())
    }

    /// Reconsiders what waits at the gate.
    pub(super) fn consider_gated(
        &mut self,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        for path in std::mem::take(&mut self.gated) {
            let waits =
                |p: &Pending| matches!(p.stage, Stage::Gate | Stage::Overtook | Stage::Role);
            if self.pending.get(&path).is_some_and(waits) {
                self.unwait(&path);
                self.consider(&path, draft)?;
            }
        }
        Ok(())
    }

    /// Reconsiders the removals of directories, deepest first, for which everything told before
    /// is settled now and was not before.
    pub(super) fn consider_removals(
        &mut self,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let mut freed: BTreeMap<DeviceId, u64> = BTreeMap::new();
        for (peer, state) in &mut self.peers {
            let blocked = state.incoming.blocked();
            if std::mem::replace(&mut state.blocked, blocked) != blocked {
                freed.insert(*peer, blocked);
            }
        }
        if freed.is_empty() {
            return Ok(());
        }
        let may_go = |path: &&RelPath| {
            let first = self.pending.get(*path).and_then(|p| p.news.front());
            first.is_some_and(|news| match news.from {
                From::Peer { peer, frame, .. } => freed.get(&peer).is_some_and(|b| frame < *b),
                From::Index => true,
            })
        };
        let deepest_first: Vec<RelPath> =
            self.removals.iter().rev().filter(may_go).cloned().collect();
        for path in deepest_first {
            if self.pending.get(&path).is_some_and(|p| p.stage == Stage::Removal) {
                self.unwait(&path);
                self.consider(&path, draft)?;
            }
        }
        Ok(())
    }

    /// Goes on with what waits for `path`, as far as it can.
    pub(super) fn consider(
        &mut self,
        path: &RelPath,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        loop {
            let Some(pending) = self.pending.get(path) else { return Ok(()) };
            if pending.stage != Stage::Fresh || self.busy.contains_key(path) {
                return Ok(());
            }
            let Some(news) = pending.news.front().cloned() else {
                self.pending.remove(path);
                return Ok(());
            };
            self.mark_aside(path, 0, false);
            match self.next_for(path, &news, draft)? {
                Next::Working => return Ok(()),
                Next::Done => {
                    self.first_is_done(path, draft)?;
                    self.show_unsupported(path, draft)?;
                }
                Next::Wait(stage) => {
                    if stage == Stage::Held {
                        self.mark_aside(path, 0, true);
                        if self.others_first(path) {
                            continue;
                        }
                    }
                    if let Stage::After(other) = &stage {
                        self.waiting.entry(other.clone()).or_default().insert(path.clone());
                    } else if matches!(stage, Stage::Gate | Stage::Overtook | Stage::Role) {
                        self.gated.insert(path.clone());
                    } else if stage == Stage::Looking {
                        self.lookers.insert(path.clone());
                    }
                    if let Some(pending) = self.pending.get_mut(path) {
                        pending.stage = stage;
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Drops the first news of `path`: it is settled.
    pub(super) fn first_is_done(
        &mut self,
        path: &RelPath,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        self.problems.remove(path);
        self.rotten.remove(path);
        if self.removals.remove(path) {
            self.mark_removal(path, false);
        }
        let Some(pending) = self.pending.get_mut(path) else { return Ok(()) };
        pending.stage = Stage::Fresh;
        pending.staged = None;
        pending.failed = 0;
        let done = pending.news.pop_front();
        if pending.news.is_empty() {
            self.pending.remove(path);
        }
        self.gate_moved |= self.rule_files.contains(path);
        if let Some(News { from: From::Peer { peer, frame, .. }, also, .. }) = done
            && let Some(state) = self.peers.get_mut(&peer)
        {
            for frame in also.into_iter().chain([frame]) {
                state.incoming.settle_one(frame);
            }
        }
        self.wake_waiting(path, draft)
    }

    /// Reconsiders what waited for `path`.
    pub(super) fn wake_waiting(
        &mut self,
        path: &RelPath,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        for other in self.waiting.remove(path).unwrap_or_default() {
            let waits = |p: &Pending| p.stage == Stage::After(path.clone());
            if self.pending.get(&other).is_some_and(waits) {
                self.unwait(&other);
                self.consider(&other, draft)?;
            }
        }
        Ok(())
    }
}
