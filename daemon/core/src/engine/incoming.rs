//! What peers tell: from an offered record to the job that makes it true.

use std::collections::VecDeque;

use super::draft::Draft;
use super::observing::DIRECTORY_MODE;
use super::settling::{Flight, Put, Stamp};
use super::{Action, Engine, Notice, Problem, PullError};
use crate::flow::detect::Look;
use crate::flow::index::fingerprint::Fingerprint;
use crate::flow::index::observe;
use crate::flow::index::{Index, IndexError};
use crate::flow::offer::Offer;
use crate::flow::plan::{Resolution, Side, Verdict, conflict, order, reconcile};
use crate::flow::settle::{Expect, Job, Step, Ticket};
use crate::model::{
    ContentId, DeviceId, Entry, Kind, Local, Record, RelPath, Standing, Tick,
};

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
}

/// What waits for one path.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    news: VecDeque<News>,
    stage: Stage,
    /// The content that a fetch has brought into staging for the first news.
    staged: Option<ContentId>,
}

/// What the first news of a path waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Fresh,
    Fetching(Ticket),
    Looking,
    Retrying,
    /// Another path's job or arrival.
    After(RelPath),
    /// Rule files that come first.
    Gate,
    /// A removal of a directory: everything told before it.
    Removal,
}

/// What considering the first news came to.
enum Next {
    /// It says nothing more: the next one, if any.
    Done,
    /// It waits.
    Wait(Stage),
    /// A job for it is under way.
    Working,
}

/// How the directories above a path stand.
enum Parents {
    /// All there, after these steps and puts.
    Ready(Vec<Step>, Vec<(RelPath, Put)>),
    Wait(Stage),
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
        into.value((self.news.len(), self.staged));
        for news in &self.news {
            news.from.fingerprint(me, into);
            into.record(&news.record);
        }
        // Which fetch it is says nothing: a ticket is only ever repeated.
        match &self.stage {
            Stage::After(path) => into.value((6, path)),
            stage => into.value(std::mem::discriminant(stage)),
        }
    }

    pub(super) fn waits_for_look(&self) -> bool {
        self.stage == Stage::Looking
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
            Stage::Removal => "a removal, waiting for what was told before it".to_owned(),
        }
    }
}

impl Engine {
    pub(super) fn offered(
        &mut self,
        peer: DeviceId,
        offer: Offer,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let Some(state) = self.peers.get_mut(&peer) else { return Ok(()) };
        let lawful = offer.records.iter().all(|(path, record)| {
            !path.is_root()
                && !path.is_reserved()
                && record.version.contains(record.dot)
                && record.version.seen(self.me) < self.counters.start
        });
        let (number, after) = (offer.number, offer.after);
        if !lawful || !state.incoming.open(number, offer.records.len(), offer.upto) {
            let why = "it offered what no peer may offer";
            self.actions.push_back(Action::Cut { peer, why });
            return Ok(());
        }
        let from = From::Peer { peer, frame: number, after };
        let mut paths = Vec::with_capacity(offer.records.len());
        for (path, record) in offer.records {
            if self.is_overtaken(&path, &record) {
                if let Some(state) = self.peers.get_mut(&peer) {
                    state.incoming.settle_one(number, false);
                }
            } else {
                self.queue(&path, News { from, record });
                paths.push(path);
            }
        }
        for path in paths {
            self.consider(&path, draft)?;
        }
        Ok(())
    }

    /// Tells whether news that has seen `record` waits already: a later frame came first.
    fn is_overtaken(&self, path: &RelPath, record: &Record) -> bool {
        self.pending
            .get(path)
            .is_some_and(|p| p.news.iter().any(|n| n.record.version.covers(&record.version)))
    }

    pub(super) fn queue(&mut self, path: &RelPath, news: News) {
        let fresh =
            || Pending { news: VecDeque::new(), stage: Stage::Fresh, staged: None };
        self.pending.entry(path.clone()).or_insert_with(fresh).news.push_back(news);
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
        self.fetching.retain(|ticket, path| {
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

    /// Reconsiders what waits at the gate.
    pub(super) fn consider_gated(
        &mut self,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        for path in std::mem::take(&mut self.gated) {
            if self.pending.get(&path).is_some_and(|p| p.stage == Stage::Gate) {
                self.unwait(&path);
                self.consider(&path, draft)?;
            }
        }
        Ok(())
    }

    /// Reconsiders the removals of directories, deepest first, for which everything told before
    /// is settled.
    pub(super) fn consider_removals(
        &mut self,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let deepest_first: Vec<RelPath> = self.removals.iter().rev().cloned().collect();
        for path in deepest_first {
            let Some(pending) = self.pending.get(&path) else {
                self.removals.remove(&path);
                continue;
            };
            if pending.stage == Stage::Removal {
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
            match self.next_for(path, &news, draft)? {
                Next::Working => return Ok(()),
                Next::Done => self.first_is_done(path, draft)?,
                Next::Wait(stage) => {
                    if let Stage::After(other) = &stage {
                        self.waiting.entry(other.clone()).or_default().insert(path.clone());
                    } else if stage == Stage::Gate {
                        self.gated.insert(path.clone());
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
        let Some(pending) = self.pending.get_mut(path) else { return Ok(()) };
        pending.stage = Stage::Fresh;
        pending.staged = None;
        let done = pending.news.pop_front();
        if pending.news.is_empty() {
            self.pending.remove(path);
        }
        let was_removal = self.removals.remove(path);
        self.gate_moved |= !self.removals.is_empty() || self.rule_files.contains(path);
        if let Some(News { from: From::Peer { peer, frame, .. }, .. }) = done
            && let Some(state) = self.peers.get_mut(&peer)
        {
            state.incoming.settle_one(frame, was_removal);
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

    fn next_for(
        &mut self,
        path: &RelPath,
        news: &News,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<Next, IndexError> {
        if self.paused || self.halted || self.peers.is_empty() || !self.gate_is_open(path, news) {
            return Ok(Next::Wait(Stage::Gate));
        }
        let entry = draft.get(path)?;
        let theirs = &news.record;
        let Some(ours) = &entry else {
            return self.unknown_path(path, news, draft);
        };
        let kept_off = ours.local.standing == Standing::Ignored && ours.record == *theirs;
        match reconcile(&ours.record, theirs) {
            Verdict::Keep if kept_off && news.from == From::Index && theirs.is_live() => {
                let all = Resolution { winner: Side::Theirs, record: theirs.clone(), copy: false };
                self.become_(path, news, entry.as_ref(), all, draft)
            }
            Verdict::Keep => Ok(Next::Done),
            Verdict::Join(record) => {
                let seq = self.next_dot().counter;
                let local = Local { source: None, ..ours.local.clone() };
                draft.put(path.clone(), Entry { record, seq, local });
                Ok(Next::Done)
            }
            Verdict::Take => {
                let all = Resolution { winner: Side::Theirs, record: theirs.clone(), copy: false };
                self.become_(path, news, entry.as_ref(), all, draft)
            }
            Verdict::Resolve(resolution) => {
                self.become_(path, news, entry.as_ref(), resolution, draft)
            }
        }
    }

    /// Decides for a path that has no entry here.
    fn unknown_path(
        &mut self,
        path: &RelPath,
        news: &News,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<Next, IndexError> {
        let theirs = &news.record;
        if self.covered(draft).covers(&theirs.version) {
            if theirs.is_live() {
                // A forgotten delete (DESIGN, covered): answered by a tombstone that has seen
                // all that we have, so that no later old record stands beside it.
                let mut version = self.covered(draft);
                let dot = self.next_dot();
                version.raise(dot);
                let record = Record { version, ..observe::tombstone(theirs, dot) };
                let entry = Entry { record, seq: dot.counter, local: Local::default() };
                draft.put(path.clone(), entry);
            }
            return Ok(Next::Done);
        }
        let all = Resolution { winner: Side::Theirs, record: theirs.clone(), copy: false };
        self.become_(path, news, None, all, draft)
    }

    fn gate_is_open(&self, path: &RelPath, news: &News) -> bool {
        if self.rule_files.contains(path) {
            return true;
        }
        let after_settled = match news.from {
            From::Peer { peer, after, .. } => {
                self.peers.get(&peer).is_none_or(|p| p.incoming.is_settled(after))
            }
            From::Index => true,
        };
        after_settled && !self.reading_rules && !self.rule_files.iter().any(|file| self.pending.contains_key(file))
    }

    /// Works towards `resolution` at `path`: puts it into the index, or makes the job for it.
    fn become_(
        &mut self,
        path: &RelPath,
        news: &News,
        entry: Option<&Entry>,
        resolution: Resolution,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<Next, IndexError> {
        let is_dir = news.record.kind == Kind::Directory
            || entry.is_some_and(|e| e.record.kind == Kind::Directory);
        if !self.rules.synced(path, is_dir) {
            self.put_unplaced(path, news, entry, resolution, draft);
            return Ok(Next::Done);
        }
        let (resolution, revived) =
            match self.mind_children(path, news, entry, resolution, draft)? {
                Ok(minded) => minded,
                Err(stage) => return Ok(Next::Wait(stage)),
            };
        let (mut steps, mut puts) = if resolution.record.is_live() {
            match self.mind_parents(path, draft)? {
                Parents::Ready(steps, puts) => (steps, puts),
                Parents::Wait(stage) => return Ok(Next::Wait(stage)),
            }
        } else {
            (Vec::new(), Vec::new())
        };
        let mut conflict = None;
        if resolution.copy {
            match self.copy_for(path, news, entry, &resolution, draft)? {
                Ok(Some((copy, step, put))) => {
                    steps.push(step);
                    conflict = Some(copy.clone());
                    puts.push((copy, put));
                }
                Ok(None) => {}
                Err(stage) => return Ok(Next::Wait(stage)),
            }
        }
        if resolution.winner == Side::Theirs {
            match order::steps(path, entry, &resolution.record) {
                Some(more) => steps.extend(more),
                None => {
                    self.order_look(vec![Look::Path(path.clone())]);
                    return Ok(Next::Wait(Stage::Looking));
                }
            }
        }
        let unchanged = resolution.record == news.record;
        let mut put = put_for(news, entry, resolution, unchanged);
        if revived {
            put.stamp = Stamp::Write;
        }
        puts.push((path.clone(), put));
        self.set_to_work(path, news, steps, puts, conflict, draft)
    }

    /// Puts a record into the index that the rules keep off this disk.
    fn put_unplaced(
        &mut self,
        path: &RelPath,
        news: &News,
        entry: Option<&Entry>,
        resolution: Resolution,
        draft: &mut Draft<'_, impl Index>,
    ) {
        let unchanged = resolution.record == news.record;
        let put = put_for(news, entry, resolution, unchanged);
        self.put_stamped(path.clone(), Put { standing: Standing::Ignored, seen: None, ..put }, None, draft);
    }

    /// Keeps a directory in which something lives: what would replace or remove it gives way, and
    /// the directory is announced again (`true`).
    fn mind_children(
        &mut self,
        path: &RelPath,
        news: &News,
        entry: Option<&Entry>,
        resolution: Resolution,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<Result<(Resolution, bool), Stage>, IndexError> {
        let Some(ours) = entry.filter(|e| e.record.kind == Kind::Directory && e.local.is_here())
        else {
            return Ok(Ok((resolution, false)));
        };
        if resolution.record.kind == Kind::Directory {
            return Ok(Ok((resolution, false)));
        }
        if let From::Peer { peer, frame, .. } = news.from
            && let Some(state) = self.peers.get_mut(&peer)
        {
            if self.removals.insert(path.clone()) {
                state.incoming.removal_waits(frame);
            }
            if !state.incoming.only_removals_left(frame) {
                return Ok(Err(Stage::Removal));
            }
        }
        let children = draft.live_children(path)?;
        let working = |child: &&RelPath| {
            self.busy.contains_key(*child) || self.pending.contains_key(*child)
        };
        if let Some(child) = children.iter().find(working) {
            return Ok(Err(Stage::After(child.clone())));
        }
        if children.is_empty() {
            return Ok(Ok((resolution, false)));
        }
        let version = ours.record.version.joined(&news.record.version);
        let record = Record { version, ..ours.record.clone() };
        let copy = news.record.has_bytes();
        Ok(Ok((Resolution { winner: Side::Ours, record, copy }, true)))
    }

    /// Sees to it that the directories above a live path are there.
    fn mind_parents(
        &mut self,
        path: &RelPath,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<Parents, IndexError> {
        let (mut steps, mut puts) = (Vec::new(), Vec::new());
        let above: Vec<RelPath> = path.ancestors().collect();
        for parent in above.into_iter().rev() {
            if let Some(ticket) = self.busy.get(&parent) {
                let comes = self.flights.get(ticket).is_some_and(|f| f.makes_directory(&parent));
                if comes {
                    continue;
                }
                return Ok(Parents::Wait(Stage::After(parent)));
            }
            let entry = draft.get(&parent)?;
            let Some(entry) = entry else { return Ok(Parents::Wait(Stage::After(parent))) };
            if entry.record.kind == Kind::Directory && entry.local.is_here() {
                continue;
            }
            if self.pending.contains_key(&parent) {
                return Ok(Parents::Wait(Stage::After(parent)));
            }
            if entry.record.has_bytes() && entry.local.is_here() {
                let Some(expect) = order::expected(Some(&entry)) else {
                    self.order_look(vec![Look::Path(parent)]);
                    return Ok(Parents::Wait(Stage::Looking));
                };
                let copy = conflict::copy_path(&parent, &entry.record);
                let record = conflict::copy_record(&copy, &entry.record);
                let from = parent.clone();
                steps.push(Step::KeepAs { path: from.clone(), expect, copy: copy.clone() });
                steps.push(Step::Trash { path: from, expect });
                puts.push((copy, Put::new(record, Stamp::AsIs)));
            }
            let record = observe::directory_over(&entry.record, DIRECTORY_MODE);
            steps.push(Step::MakeDirectory { path: parent.clone(), mode: record.mode });
            puts.push((parent, Put::new(record, Stamp::Write)));
        }
        Ok(Parents::Ready(steps, puts))
    }

    /// Plans the conflict copy of the loser, unless one is there or was there.
    #[expect(clippy::type_complexity, reason = "one caller, and the parts have no name of their own")]
    fn copy_for(
        &mut self,
        path: &RelPath,
        news: &News,
        entry: Option<&Entry>,
        resolution: &Resolution,
        draft: &Draft<'_, impl Index>,
    ) -> Result<Result<Option<(RelPath, Step, Put)>, Stage>, IndexError> {
        let loser = match (resolution.winner, entry) {
            (Side::Ours, _) | (Side::Theirs, None) => &news.record,
            (Side::Theirs, Some(entry)) => &entry.record,
        };
        let plain = if loser.is_derived() && conflict::is_copy_name(path.name()) {
            conflict::tell_apart(path, loser.content, 4)
        } else {
            conflict::copy_path(path, loser)
        };
        let names = std::iter::once(plain.clone())
            .chain([4, 8, 16, 64].map(|digits| conflict::tell_apart(&plain, loser.content, digits)));
        for copy in names {
            if copy == *path {
                return Ok(Ok(None));
            }
            if self.busy.contains_key(&copy) {
                return Ok(Err(Stage::After(copy)));
            }
            let dot = conflict::copy_dot(&copy, loser.content);
            match draft.get(&copy)? {
                Some(there) if there.record.version.contains(dot) => return Ok(Ok(None)),
                Some(there) if there.record.same_content(loser) => return Ok(Ok(None)),
                Some(_) => {}
                None => {
                    let record = conflict::copy_record(&copy, loser);
                    let step = match resolution.winner {
                        Side::Ours => place_copy(&copy, &record),
                        Side::Theirs => match order::expected(entry) {
                            Some(expect) => {
                                Step::KeepAs { path: path.clone(), expect, copy: copy.clone() }
                            }
                            None => {
                                self.order_look(vec![Look::Path(path.clone())]);
                                return Ok(Err(Stage::Looking));
                            }
                        },
                    };
                    return Ok(Ok(Some((copy, step, Put::new(record, Stamp::AsIs)))));
                }
            }
        }
        Ok(Ok(None))
    }

    /// Hands out the job, after the fetch of what it needs; without steps the index alone
    /// changes.
    fn set_to_work(
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
        let needs = steps.iter().any(|s| matches!(s, Step::Place { .. }));
        let staged = self.pending.get(path).and_then(|p| p.staged);
        if needs && staged != Some(wanted.content) {
            return Ok(self.fetch(path, news));
        }
        let ticket = self.next_ticket();
        for (path, _) in &puts {
            self.busy.insert(path.clone(), ticket);
            self.touch(path);
        }
        let becomes =
            puts.iter().map(|(path, put)| (path.clone(), put.record.clone())).collect();
        let flight = Flight { path: path.clone(), from: news.from, puts, conflict, orphan: false };
        self.flights.insert(ticket, flight);
        self.ready.push_back(Job { ticket, steps, becomes });
        Ok(Next::Working)
    }

    fn fetch(&mut self, path: &RelPath, news: &News) -> Next {
        let peer = match news.from {
            From::Peer { peer, .. } => peer,
            From::Index => match self.peers.keys().next() {
                Some(peer) => *peer,
                None => return Next::Wait(Stage::Gate),
            },
        };
        let ticket = self.next_ticket();
        self.fetching.insert(ticket, path.clone());
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

    pub(super) fn fetched(
        &mut self,
        now: Tick,
        ticket: Ticket,
        outcome: Result<(), PullError>,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let Some(path) = self.fetching.remove(&ticket) else { return Ok(()) };
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
                self.problems.insert(path.clone(), Problem::Pull(error));
                self.retry(&path, now, RETRY_MS);
                Ok(())
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
        }
        self.order_look(what);
    }

    /// Forgets that the bytes for `path` are staged.
    pub(super) fn unstage(&mut self, path: &RelPath) {
        if let Some(pending) = self.pending.get_mut(path) {
            pending.staged = None;
        }
    }

    pub(super) fn tell_conflict(&mut self, path: RelPath, copy: RelPath) {
        self.actions.push_back(Action::Tell(Notice::Conflict { path, copy }));
    }
}

/// Returns how a resolved record is put into the index: as it is when the peer's own record
/// stands unchanged, else with the resolver's counter in its vector.
fn put_for(news: &News, entry: Option<&Entry>, resolution: Resolution, unchanged: bool) -> Put {
    let record = resolution.record;
    let (source, stamp) = match news.from {
        From::Peer { peer, .. } if unchanged => (Some(peer), Stamp::AsIs),
        From::Index if unchanged => (None, Stamp::AsIs),
        From::Peer { .. } | From::Index => (None, Stamp::Resolution),
    };
    let seen = entry.and_then(|e| e.local.seen).filter(|_| record.is_live());
    Put { record, source, standing: Standing::Settled, seen, stamp }
}

/// The step that makes a copy of bytes that a peer sent.
fn place_copy(copy: &RelPath, record: &Record) -> Step {
    Step::Place {
        path: copy.clone(),
        expect: Expect::Nothing,
        kind: record.kind,
        content: record.content,
        size: record.size,
        mtime_ns: record.mtime_ns,
        mode: record.mode,
    }
}

/// A failed step or fetch is tried again after this long.
pub(super) const RETRY_MS: u64 = 1000;
