//! What peers are told, and what their acknowledgements allow.

use std::collections::{BTreeSet, VecDeque};

use super::draft::Draft;
use super::incoming::Pending;
use super::{Action, Engine, FolderHello, Peer, PeerState, Problem};
use crate::flow::detect::Stir;
use crate::flow::index::{Cursor, Index, IndexError};
use crate::flow::offer::{
    BURST_RECORDS_MAX, Change, INTERACTIVE_RECORDS_MAX, Lane, More, Outgoing, lane_of,
};
use crate::flow::pull::Incoming;
use crate::model::{DeviceId, Dot, Entry, Local, RelPath, Seq, Version};
use crate::mutant::{self, Mutant};

/// Tombstones looked at for dropping after one event.
const SWEEP_MAX: usize = 1000;

impl Engine {
    pub(super) fn peer_up(
        &mut self,
        peer: DeviceId,
        hello: &FolderHello,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        self.peer_down(peer, draft)?;
        let mut outgoing = Outgoing::begin(hello.cursor, self.store, self.committed);
        let before = draft.marks().cursors.get(&peer).map(|cursor| cursor.store);
        if before != Some(hello.store) {
            let cursor = Cursor { store: hello.store, seq: 0 };
            draft.marks_mut().cursors.insert(peer, cursor);
        }
        // A peer that wants to hear all from the beginning may have forgotten the folder in a
        // store that lives on.
        let begins = outgoing.told() == 0 && self.committed > 0;
        if before.is_some_and(|store| store != hello.store || begins) {
            forget_source(peer, draft)?;
        }
        let acked = outgoing.acked();
        if outgoing.told() == 0 {
            let mut rules = Vec::new();
            for path in &self.rule_files {
                if let Some(entry) = draft.get(path)?.filter(|e| is_told(e, peer)) {
                    rules.push((entry.seq, path.clone(), entry.record));
                }
            }
            rules.retain(|(seq, ..)| *seq <= self.durable);
            if let Some(offer) = outgoing.rules_frame(rules) {
                self.actions.push_back(Action::Offer { peer, lane: Lane::Interactive, offer });
            }
        }
        let state = Peer {
            store: hello.store,
            outgoing,
            incoming: Incoming::default(),
            acks: VecDeque::new(),
            dropable: acked,
            covers: Version::NEW,
            blocked: 0,
            bustle: super::brake::Bustle::default(),
            words: super::words::Words::new(),
        };
        self.peers.insert(peer, state);
        self.gate_moved = true;
        Ok(())
    }

    pub(super) fn peer_down(
        &mut self,
        peer: DeviceId,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        if self.peers.remove(&peer).is_some() {
            self.overruling.remove(&peer);
            // What it had not told yet is not missed any more.
            self.gate_moved = true;
            self.gathers.remove(&peer);
            if let Some(word) = &mut self.word {
                word.heard.remove(&peer);
            }
            // What is staged of its burst goes on; the rest comes in the next session.
            let jobs = self.burst.let_go();
            self.hand_out(jobs);
            self.forget_news(peer);
            self.ask_others(peer, draft)?;
            self.consider_stranded(draft)?;
        }
        Ok(())
    }

    /// Takes note of whom the folder is shared with from now on.
    pub(super) fn shared_with(
        &mut self,
        devices: BTreeSet<DeviceId>,
        draft: &mut Draft<'_, impl Index>,
    ) {
        if draft.marks().brakes.keys().any(|peer| !devices.contains(peer)) {
            draft.marks_mut().brakes.retain(|peer, _| devices.contains(peer));
        }
        self.shared = devices;
        self.forget_the_absent(draft);
    }

    /// Forgets how far devices that do not share the folder any more have come. Whoever shares it
    /// again hears all and tells all: what was deleted while it was away may be forgotten by then.
    /// Its store stays known, as in `revert`.
    pub(super) fn forget_the_absent(&self, draft: &mut Draft<'_, impl Index>) {
        let is_away = |peer: &DeviceId| !self.shared.contains(peer);
        let marks = draft.marks();
        if marks.cursors.iter().any(|(peer, cursor)| is_away(peer) && cursor.seq > 0)
            || marks.acked.keys().any(is_away)
        {
            let marks = draft.marks_mut();
            let away = marks.cursors.iter_mut().filter(|(peer, _)| is_away(peer));
            away.for_each(|(_, cursor)| cursor.seq = 0);
            marks.acked.retain(|peer, _| !is_away(peer));
        }
    }

    pub(super) fn acked(
        &mut self,
        peer: DeviceId,
        frames: &[(u64, u64)],
        aside: &[(u64, u64)],
        sent: u64,
    ) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        for (first, last) in aside {
            state.outgoing.take_aside(*first, *last);
        }
        let mut moved = false;
        for (first, last) in frames {
            moved |= state.outgoing.take_ack(*first, *last);
        }
        if moved {
            state.acks.push_back((state.outgoing.acked(), sent));
        }
    }

    /// Returns all that is reflected here: what was adopted, and our own writes.
    pub(super) fn covered(&self, draft: &Draft<'_, impl Index>) -> Version {
        self.covered_with(&draft.marks().covered)
    }

    fn covered_with(&self, adopted: &Version) -> Version {
        let mut covered = adopted.clone();
        covered.raise(Dot { writer: self.me, counter: self.written });
        covered
    }

    /// Moves cursors over frames that became settled, and adopts what they cover.
    pub(super) fn advance_frames(
        &mut self,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let seq = draft.last_seq();
        let mut adopted = false;
        let mut told_all = Vec::new();
        for (peer, state) in &mut self.peers {
            let before = state.incoming.settled();
            let progress = state.incoming.advance(seq);
            self.gate_moved |= state.incoming.passed_rules(before);
            if let Some(seq) = progress.seq {
                draft.marks_mut().cursors.insert(*peer, Cursor { store: state.store, seq });
            }
            if let Some(covered) = progress.covered {
                told_all.push(*peer);
                state.covers.join(&covered);
                if !draft.marks().covered.covers(&covered) {
                    draft.marks_mut().covered.join(&covered);
                    adopted = true;
                }
            }
            while let Some((acked, sent)) = state.acks.front().copied() {
                if state.incoming.settled() < sent {
                    break;
                }
                state.acks.pop_front();
                state.dropable = state.dropable.max(acked);
                draft.marks_mut().acked.insert(*peer, state.dropable);
            }
        }
        if adopted {
            for state in self.peers.values_mut() {
                let covered = &draft.marks().covered;
                state.outgoing.covered_changed(covered, &state.covers, self.me);
            }
        }
        self.brakes_are_off(&told_all, draft);
        self.heard_all(&told_all, draft)
    }

    /// Drops tombstones that every device the folder is shared with holds durably. Time alone
    /// never drops one, nor does anything while news is under way.
    pub(super) fn sweep(&mut self, draft: &mut Draft<'_, impl Index>) -> Result<(), IndexError> {
        if !self.pending.is_empty() || !self.looks.is_empty() {
            return Ok(());
        }
        let acked = |device: &DeviceId| draft.marks().acked.get(device).copied().unwrap_or(0);
        let all = self.shared.iter().map(acked).min().unwrap_or(self.durable).min(self.durable);
        let all = if mutant::on(Mutant::ForgetDeletes) { self.durable } else { all };
        if all <= self.swept {
            return Ok(());
        }
        // Who does not share the folder any more may come again, and tell what was deleted: it must
        // be known then that all of it was seen. It is looked at again at the next start.
        let somebody_left = draft.marks().cursors.keys().any(|peer| !self.shared.contains(peer));
        let covered = somebody_left.then(|| self.covered(draft));
        let changes = draft.index().changes(self.swept, SWEEP_MAX)?;
        let whole = changes.len() < SWEEP_MAX;
        for (seq, path) in changes {
            if seq > all {
                break;
            }
            self.swept = seq;
            let droppable = draft.get(&path)?.is_some_and(|e| {
                let is_known = covered.as_ref().is_none_or(|all| all.covers(&e.record.version));
                !e.record.is_live()
                    && e.seq == seq
                    && e.local.standing == Default::default()
                    && is_known
            });
            if droppable {
                draft.drop_tombstone(path);
            }
        }
        if whole {
            self.swept = self.swept.max(all);
        }
        Ok(())
    }

    /// Sends every connected peer what is durable and fits its window.
    pub(super) fn tell_peers(&mut self, index: &impl Index) -> Result<(), IndexError> {
        let peers: Vec<DeviceId> = self.peers.keys().copied().collect();
        let marks = index.marks()?;
        let (adopted, surveyed) = (marks.covered, marks.surveyed);
        // What is being looked at, or is not durable yet, belongs to what is told now.
        let goes_on =
            self.stir > Stir::Calm || !self.looks.is_empty() || self.durable < self.committed;
        // What our own work touches is no rush of somebody's.
        let is_rush = self.stir == Stir::Rush && self.flights.is_empty();
        for peer in peers {
            let covered = self.covered_with(&adopted);
            let (durable, committed) = (self.durable, self.committed);
            let Some(state) = self.peers.get_mut(&peer) else { continue };
            let (frames, aside) = (state.incoming.acks(durable), state.incoming.asides());
            while state.outgoing.has_news(durable) && state.outgoing.room() > 0 {
                let limit = state.outgoing.room();
                let told = state.outgoing.told();
                if told >= durable && durable < committed {
                    // Only the covered vector is left to tell, and that goes with the log's end.
                    break;
                }
                let changes = changes_for(peer, index, told, durable, limit)?;
                let at_end = changes.len() < limit;
                let upto = match changes.last() {
                    Some(last) if !at_end => last.seq,
                    _ => durable.max(told),
                };
                // Our covered vector reflects all that is committed: it may be told only with
                // the last of that.
                let covers = (at_end && durable == committed).then(|| covered.clone());
                let says_something = changes.iter().any(|c| c.record.is_some());
                if covers.is_none() && !says_something {
                    // How far the log has been told is told with the next thing to say.
                    state.outgoing.skip(upto);
                    if at_end {
                        break;
                    }
                    continue;
                }
                state.covers.join(covers.as_ref().unwrap_or(&Version::NEW));
                let mut offer = state.outgoing.next(changes, upto, covers);
                if goes_on || !at_end {
                    let left = committed.saturating_sub(upto);
                    let is_burst = surveyed && left <= BURST_RECORDS_MAX as u64;
                    let more = if is_burst { More::Burst } else { More::Backlog };
                    offer = state.outgoing.goes_on(offer, more, is_rush);
                }
                let lane = lane_of(&offer.records);
                self.actions.push_back(Action::Offer { peer, lane, offer });
                if at_end {
                    break;
                }
            }
            if !goes_on
                && !state.outgoing.has_news(durable)
                && let Some(offer) = state.outgoing.close()
            {
                self.actions.push_back(Action::Offer { peer, lane: Lane::Interactive, offer });
            }
            if !frames.is_empty() || !aside.is_empty() {
                let sent = state.outgoing.frames_sent();
                self.actions.push_back(Action::Ack { peer, frames, aside, sent });
            }
        }
        Ok(())
    }

    /// Sends the newest changes ahead to peers whose window the bulk fills.
    ///
    /// # Errors
    /// [`IndexError`] when the index fails.
    pub(super) fn overtake(&mut self, since: Seq, index: &impl Index) -> Result<(), IndexError> {
        for (peer, state) in &mut self.peers {
            if state.outgoing.told() >= since {
                continue;
            }
            let changes =
                changes_for(*peer, index, since, self.durable, INTERACTIVE_RECORDS_MAX + 1)?;
            let records: Vec<_> =
                changes.iter().filter_map(|c| Some((c.path.clone(), c.record.clone()?))).collect();
            if records.is_empty() || lane_of(&records) != Lane::Interactive {
                continue;
            }
            if let Some(offer) = state.outgoing.overtake(changes) {
                let peer = *peer;
                self.actions.push_back(Action::Offer { peer, lane: Lane::Interactive, offer });
            }
        }
        Ok(())
    }

    /// Returns how far `peer` and we are apart.
    ///
    /// # Errors
    /// [`IndexError`] when the index cannot be read.
    pub fn peer_state(&self, peer: DeviceId, index: &impl Index) -> Result<PeerState, IndexError> {
        Ok(match self.peers.get(&peer) {
            Some(state) => PeerState {
                connected: true,
                acked: state.outgoing.acked(),
                settled: !state.incoming.is_busy(),
                aside: state.outgoing.aside(),
            },
            None => PeerState {
                connected: false,
                acked: index.marks()?.acked.get(&peer).copied().unwrap_or(0),
                settled: true,
                aside: 0,
            },
        })
    }

    /// Returns up to where the store is durable.
    #[must_use]
    pub fn durable_seq(&self) -> Seq {
        self.durable
    }

    /// Returns the last sequence of our log.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        self.committed
    }

    /// Returns how many files are wanted, and their bytes.
    #[must_use]
    pub fn need(&self) -> (u64, u64) {
        let taken = |pending: &&Pending| !pending.stage.is_a_persons();
        self.pending
            .values()
            .filter(taken)
            .filter_map(Pending::wanted)
            .fold((0, 0), |(files, bytes), size| (files + 1, bytes + size))
    }

    /// Lists what stands in the way of paths, by path.
    pub fn problems(&self) -> impl Iterator<Item = (&RelPath, &Problem)> {
        self.problems.iter()
    }

    /// Says what `path` waits for, if it does.
    #[must_use]
    pub fn waits_for(&self, path: &RelPath) -> Option<String> {
        self.pending.get(path).map(Pending::reason)
    }

    /// Lists the deletes that a person must approve.
    #[must_use]
    pub fn held(&self) -> &BTreeSet<RelPath> {
        &self.held
    }

    /// Tells whether anything is under way: looks, jobs, fetches, news.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending.values().all(|pending| pending.stage.is_a_persons())
            && self.flights.is_empty()
            && self.looks.is_empty()
            && self.durable >= self.committed
    }
}

/// Tells whether `peer` hears of an entry: not of what it told us itself, nor of what is withheld.
fn is_told(entry: &Entry, peer: DeviceId) -> bool {
    entry.local.source != Some(peer) && !entry.local.is_withheld() && !entry.record.is_void()
}

/// Forgets what `peer` told us, since it has lost it: a new store must hear all of it again.
fn forget_source(peer: DeviceId, draft: &mut Draft<'_, impl Index>) -> Result<(), IndexError> {
    let mut after = 0;
    loop {
        let changes = draft.index().changes(after, SWEEP_MAX)?;
        let Some((last, _)) = changes.last() else { return Ok(()) };
        after = *last;
        for (_, path) in changes {
            if let Some(entry) = draft.get(&path)?.filter(|e| e.local.source == Some(peer)) {
                draft.put_local(&path, Local { source: None, ..entry.local });
            }
        }
    }
}

/// Lists the changes of our log after `told` up to `durable`, at most `limit`, as `peer` needs
/// them.
fn changes_for(
    peer: DeviceId,
    index: &impl Index,
    told: Seq,
    durable: Seq,
    limit: usize,
) -> Result<Vec<Change>, IndexError> {
    let mut changes = Vec::new();
    for (seq, path) in index.changes(told, limit)? {
        if seq > durable {
            break;
        }
        let entry = index.get(&path)?;
        let record = entry.filter(|e| is_told(e, peer)).map(|e| e.record);
        changes.push(Change { seq, path, record });
    }
    Ok(changes)
}
