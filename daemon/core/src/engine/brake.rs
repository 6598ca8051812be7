//! The brake on what a peer deletes: when that is much of the folder at once, it waits for a
//! person on this device too.
//!
//! What waits is put aside ([`crate::flow::pull`]): the peer goes on telling other things, but the
//! frame is not settled and no cursor passes it. So nothing is kept of it but that it waits: it
//! is told again after a restart of either side, nothing is dropped that a device still needs,
//! and all rules of merging hold as for any news that was not considered yet.
//!
//! # Invariants
//! - Of what waits here, nothing is deleted before a person has said so, whatever restarts.
//! - A decision holds until the peer has told all it has and that is settled.
//! - Nobody waits for what only makes room for a move, or goes with a directory that programs
//!   make and remove whole.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::Draft;
use super::incoming::{From, News, Next, Pending, Stage};
use super::settling::Put;
use super::{Action, Engine, Notice};
use crate::flow::index::{Brake, Index, IndexError};
use crate::flow::offer::{BURST_RECORDS_MIN, More, Offer};
use crate::flow::plan::{Resolution, Side, favour};
use crate::flow::pull::ASIDE_RECORDS_MAX;
use crate::flow::settle::Stamp;
use crate::model::{ContentId, DeviceId, Entry, Kind, RelPath, Seq, Tick};

/// How long deletes are gathered before it is known that they are few.
const GATHER_MS_MAX: u64 = 10_000;

/// A burst that began less than this before a delete may hold what was moved away by it.
const MOVE_MS_MAX: u64 = 10_000;

/// Directories that programs make and remove whole, and that nobody edits.
const HEAVY: [&[u8]; 16] = [
    b"node_modules",
    b"target",
    b"dist",
    b"build",
    b"__pycache__",
    b".venv",
    b"venv",
    b".tox",
    b".gradle",
    b".next",
    b".nuxt",
    b".turbo",
    b".cache",
    b".parcel-cache",
    b".pytest_cache",
    b".mypy_cache",
];

/// What a peer deletes while more of it is on its way.
#[derive(Debug, Clone)]
pub(super) struct Gather {
    /// When it is looked at, come what may.
    until: Tick,
    /// The latest frame by its number, and what it says is coming.
    more: (u64, More),
    /// Where our log ended when the burst began.
    since: Seq,
}

/// When the peer last told many things at once, and where our log ended when it began to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bustle {
    latest: Tick,
    since: Seq,
}

impl Engine {
    /// Returns with how many files the brake stops what `peer` deletes; `None` for a peer that may
    /// delete as it likes: the one that the folder was taken from, where nobody else shares it.
    fn brake_on(&self, peer: DeviceId) -> Option<usize> {
        let is_its_hub = self.taken_from == Some(peer) && self.shared.len() <= 1;
        self.brake_files.filter(|_| !is_its_hub)
    }

    /// Hears a frame before its records are considered: whether its deletes are to be gathered.
    pub(super) fn gather(&mut self, now: Tick, peer: DeviceId, offer: &Offer) {
        let Some(most) = self.brake_on(peer) else { return };
        let committed = self.committed;
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let is_much = offer.records.len() >= BURST_RECORDS_MIN;
        if is_much {
            let bustle = &mut state.bustle;
            if *bustle == Bustle::default() || now.since(bustle.latest) > MOVE_MS_MAX {
                bustle.since = committed;
            }
            bustle.latest = now;
        }
        let since = state.bustle.since;
        let deletes = offer.records.iter().filter(|(_, record)| !record.is_live()).count();
        match self.gathers.get_mut(&peer) {
            Some(gather)
                if (is_much || offer.records.is_empty()) && offer.number > gather.more.0 =>
            {
                gather.more = (offer.number, offer.more);
            }
            Some(_) => {}
            None if deletes > most || deletes > 0 && offer.more != More::Nothing => {
                let more = (offer.number, offer.more);
                self.gathers.insert(peer, Gather { until: now.after(GATHER_MS_MAX), more, since });
            }
            None => {}
        }
    }

    /// Returns when what is gathered is looked at if nothing else happens.
    pub(super) fn weighing(&self) -> Option<Tick> {
        self.gathers.values().map(|gather| gather.until).min()
    }

    /// Looks at what is gathered of those peers from which no more is coming, or for which the
    /// time is over.
    pub(super) fn weigh_due(
        &mut self,
        now: Tick,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        let is_due = |(peer, gather): &(&DeviceId, &Gather)| {
            let is_full = self.peers.get(*peer).is_none_or(|p| p.incoming.is_aside_full());
            gather.more.1 == More::Nothing || gather.until <= now || is_full
        };
        let due: Vec<DeviceId> = self.gathers.iter().filter(is_due).map(|(p, _)| *p).collect();
        for peer in due {
            if let Some(gather) = self.gathers.remove(&peer) {
                self.weigh(peer, gather.since, draft)?;
            }
        }
        Ok(())
    }

    /// Decides what becomes of the deletes that were gathered of a peer.
    fn weigh(
        &mut self,
        peer: DeviceId,
        since: Seq,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        // What waits for something else too, such as a pause, is weighed with the rest.
        let deletes = |news: &News| news.is_of(peer) && !news.record.is_live();
        let is_meant = |(path, pending): &(&RelPath, &Pending)| {
            !is_heavy(path) && pending.news.iter().any(deletes)
        };
        let paths: Vec<RelPath> =
            self.pending.iter().filter(is_meant).map(|(path, _)| path.clone()).collect();
        let files = self.lost(peer, &paths, since, draft)?;
        let most = self.brake_on(peer).unwrap_or(usize::MAX);
        let is_much = files * 2 > draft.index().live_files()? || files >= ASIDE_RECORDS_MAX / 2;
        // What a person has decided on is not asked again.
        let is_decided = draft.marks().brakes.contains_key(&peer);
        if files > most && is_much && !is_decided {
            let files = files as u64;
            draft.marks_mut().brakes.insert(peer, Brake::Held { files });
            self.actions.push_back(Action::Tell(Notice::HeldOf { peer, files }));
            return Ok(());
        }
        for path in &paths {
            let Some(pending) = self.pending.get_mut(path) else { continue };
            for news in pending.news.iter_mut().filter(|news| news.is_of(peer)) {
                news.is_weighed = true;
            }
        }
        self.consider_held(&paths, draft)
    }

    /// Counts the files of which nothing would be left in the folder, moved or copied by the same
    /// burst.
    fn lost(
        &self,
        peer: DeviceId,
        paths: &[RelPath],
        since: Seq,
        draft: &Draft<'_, impl Index>,
    ) -> Result<usize, IndexError> {
        let mut lost: BTreeMap<ContentId, usize> = BTreeMap::new();
        for path in paths {
            let here = |e: &Entry| e.record.kind == Kind::File && e.local.is_here();
            let entry = draft.get(path)?.filter(here);
            if let Some(entry) = entry {
                *lost.entry(entry.record.content).or_default() += 1;
            }
        }
        let coming = self.pending.values().flat_map(|pending| &pending.news);
        for news in coming.filter(|news| news.is_of(peer) && news.record.kind == Kind::File) {
            if let Some(count) = lost.get_mut(&news.record.content) {
                *count = count.saturating_sub(1);
            }
        }
        let leaving: BTreeSet<&RelPath> = paths.iter().collect();
        let mut files = 0;
        for (content, count) in lost {
            let holders = draft.index().holders(content, count.saturating_mul(2))?;
            let mut moved = 0;
            for path in holders.iter().filter(|path| !leaving.contains(path)) {
                let came = |e: Entry| e.seq > since && e.local.source == Some(peer);
                moved += usize::from(draft.get(path)?.is_some_and(came));
            }
            files += count.saturating_sub(moved);
        }
        Ok(files)
    }

    /// Decides whether the brake stops what `news` would do; `None` when it does not.
    pub(super) fn brake(
        &mut self,
        path: &RelPath,
        news: &News,
        entry: Option<&Entry>,
        resolution: &Resolution,
        draft: &mut Draft<'_, impl Index>,
    ) -> Option<Next> {
        let From::Peer { peer, .. } = news.from else { return None };
        let ours = entry.filter(|e| e.local.is_here() && e.record.is_live())?;
        let deletes = resolution.winner == Side::Theirs && !resolution.record.is_live();
        if self.brake_on(peer).is_none() || !deletes || is_heavy(path) {
            return None;
        }
        match draft.marks().brakes.get(&peer) {
            Some(Brake::Held { .. }) => Some(Next::Wait(Stage::Held)),
            Some(Brake::Approved) => None,
            Some(Brake::Rejected) => {
                let above = favour::above(&ours.record, &news.record);
                let (seen, standing) = (ours.local.seen, self.standing_of_own(entry));
                let put = Put { seen, standing, ..Put::new(above, Stamp::Write) };
                self.put_stamped(path.clone(), put, None, draft);
                Some(Next::Done)
            }
            None if news.is_weighed || !self.gathers.contains_key(&peer) => None,
            None => Some(Next::Wait(Stage::Held)),
        }
    }

    /// Takes a person's word on the deletes of a peer that wait, connected or not.
    pub(super) fn decide(
        &mut self,
        peer: DeviceId,
        approved: bool,
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        if !matches!(draft.marks().brakes.get(&peer), Some(Brake::Held { .. })) {
            return Ok(());
        }
        let brake = if approved { Brake::Approved } else { Brake::Rejected };
        draft.marks_mut().brakes.insert(peer, brake);
        let mut paths: Vec<RelPath> = self.held_of(peer).cloned().collect();
        if approved {
            // What lies in a directory before the directory.
            paths.reverse();
        }
        self.consider_held(&paths, draft)
    }

    fn consider_held(
        &mut self,
        paths: &[RelPath],
        draft: &mut Draft<'_, impl Index>,
    ) -> Result<(), IndexError> {
        for path in paths {
            if self.pending.get(path).is_some_and(|pending| pending.stage == Stage::Held) {
                self.unwait(path);
                self.consider(path, draft)?;
            }
        }
        Ok(())
    }

    /// Lets the news of `path` at a place in its queue count as put aside in its frames, or not;
    /// tells whether it was not so before.
    pub(super) fn mark_aside(&mut self, path: &RelPath, at: usize, is_aside: bool) -> bool {
        let news = self.pending.get_mut(path).and_then(|pending| pending.news.get_mut(at));
        let Some(news) = news.filter(|news| news.is_aside != is_aside) else { return false };
        news.is_aside = is_aside;
        if let From::Peer { peer, frame, .. } = news.from
            && let Some(state) = self.peers.get_mut(&peer)
        {
            for frame in news.also.iter().chain([&frame]) {
                state.incoming.count_aside(*frame, is_aside);
            }
        }
        true
    }

    /// Lets news of `path` that does not wait for a person go before the first, which does; `false`
    /// when there is none.
    pub(super) fn others_first(&mut self, path: &RelPath) -> bool {
        let Some(pending) = self.pending.get_mut(path) else { return false };
        let other = pending.news.iter().position(|news| !news.is_aside);
        other.is_some_and(|at| {
            pending.news.rotate_left(at);
            true
        })
    }

    /// Forgets what was decided of peers that have told all they have, if all of it is settled:
    /// the end of their log may have overtaken what they told before it.
    pub(super) fn brakes_are_off(&mut self, told: &[DeviceId], draft: &mut Draft<'_, impl Index>) {
        let is_settled = |peer: &DeviceId| {
            let state = self.peers.get(peer);
            told.contains(peer) && state.is_some_and(|state| !state.incoming.is_busy())
        };
        if draft.marks().brakes.keys().any(is_settled) {
            draft.marks_mut().brakes.retain(|peer, _| !is_settled(peer));
        }
    }

    /// Lists the paths that `peer` deletes and that wait here, as far as it has told of them in
    /// this session; sorted.
    pub fn held_of(&self, peer: DeviceId) -> impl Iterator<Item = &RelPath> {
        let waits = move |news: &News| news.is_aside && news.is_of(peer) && !news.record.is_live();
        let pending = self.pending.iter();
        pending.filter(move |(_, pending)| pending.news.iter().any(waits)).map(|(path, _)| path)
    }
}

impl News {
    /// Tells whether `peer` told it.
    fn is_of(&self, peer: DeviceId) -> bool {
        matches!(self.from, From::Peer { peer: from, .. } if from == peer)
    }
}

/// Tells whether a path lies in a directory that programs make and remove whole, or is one.
fn is_heavy(path: &RelPath) -> bool {
    path.parts().any(|part| HEAVY.contains(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_make_is_told_by_the_names_above() {
        for (path, heavy, because) in [
            ("node_modules", true, "the directory"),
            ("web/node_modules/left-pad/index.js", true, "anything in it, anywhere"),
            ("src/target.rs", false, "a file of a name that is like it"),
            ("my_node_modules/x", false, "another name"),
            ("src/main.rs", false, "somebody's work"),
        ] {
            assert_eq!(is_heavy(&RelPath::parse(path).unwrap()), heavy, "{because}");
        }
    }
}
