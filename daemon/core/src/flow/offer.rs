//! Offering: who must hear what, in which frame, on which lane.
//!
//! [`Outgoing`] walks our log for one peer. Frames are numbered through both lanes, so that
//! `upto` in frame n can say: frames 1 to n hold every change up to this sequence.
//!
//! # Invariants
//! - A change is offered only when its sequence is durable here.
//! - Frames with `upto` appear in the order of the log; a frame sent ahead has none.
//! - At most [`OFFERED_IN_FLIGHT_MAX`] records wait for an acknowledgement.

use std::collections::{BTreeMap, BTreeSet};

use crate::flow::index::Cursor;
use crate::flow::index::fingerprint::Fingerprint;
use crate::model::limits::{INLINE_BYTES_MAX, OFFER_RECORDS_MAX, OFFERED_IN_FLIGHT_MAX};
use crate::model::{DeviceId, Record, RelPath, Seq, StoreId, Version, Writer};

/// Which of a peer's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Short and quick: control, small edits with their bytes.
    Interactive,
    /// Everything else.
    Bulk,
}

/// One frame of news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Counts the frames of this session through both lanes, from 1.
    pub number: u64,
    /// The frame that must be settled before this one is planned (it holds the rule files); 0
    /// for none.
    pub after: u64,
    /// The records, by sequence.
    pub records: Vec<(RelPath, Record)>,
    /// Frames 1 to this one hold every change of the sender's log up to here.
    pub upto: Option<Upto>,
    /// Whether what these records are part of goes on.
    pub more: More,
}

/// What follows of that which a frame's records are part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum More {
    /// Nothing that the sender knows of.
    #[default]
    Nothing,
    /// The rest of a burst: the sender is still reading it, or making it durable.
    Burst,
    /// A backlog: more than a burst holds, or a folder that the sender sees for the first time.
    Backlog,
}

/// How far the sender's log has been told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upto {
    /// The last sequence told.
    pub seq: Seq,
    /// The sender's covered vector, given only when the log's end was reached: all of it is
    /// reflected in what was told.
    pub covered: Option<Version>,
}

/// What one peer has been told.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Every change up to here has been told or needs no telling.
    told: Seq,
    /// Changes above `told` that were sent ahead.
    ahead: BTreeSet<Seq>,
    /// Whether the end of the log was told together with our covered vector.
    covered_told: bool,
    /// Whether the peer waits to hear the end of a burst.
    more_told: bool,
    number: u64,
    rules_frame: u64,
    /// Frames not yet acknowledged, with their record count.
    waiting: BTreeMap<u64, Waiting>,
    in_flight: usize,
    /// The peer durably holds every change up to here.
    acked: Seq,
    /// `upto` of frames acknowledged while an earlier one was not.
    reached: Seq,
}

#[derive(Debug, Clone)]
struct Waiting {
    records: usize,
    acked: bool,
    /// Whether the peer has put it aside.
    aside: bool,
    upto: Option<Seq>,
}

/// What the walk over the log needs to know of one change.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its place in our log.
    pub seq: Seq,
    /// Where.
    pub path: RelPath,
    /// What; `None` when the peer itself told us this very version.
    pub record: Option<Record>,
}

impl Offer {
    /// Gives it to `into`, as sent by `from` with `store` to `to`.
    pub fn fingerprint(
        &self,
        (from, store): (DeviceId, StoreId),
        to: DeviceId,
        into: &mut impl Fingerprint,
    ) {
        into.frame(from, to, self.number);
        into.value((self.after > 0, self.records.len(), self.upto.is_some(), self.more));
        if self.after > 0 {
            into.frame(from, to, self.after);
        }
        for (path, record) in &self.records {
            into.value(path);
            into.record(record);
        }
        if let Some(upto) = &self.upto {
            upto.fingerprint((from, store), into);
        }
    }
}

impl Upto {
    /// Gives it to `into`, as sent by `from` with `store`.
    pub fn fingerprint(&self, (from, store): (DeviceId, StoreId), into: &mut impl Fingerprint) {
        into.seq(from, store, self.seq);
        into.value(self.covered.is_some());
        if let Some(covered) = &self.covered {
            into.version(covered);
        }
    }
}

impl Outgoing {
    /// Begins a session with a peer that says it holds our changes up to `cursor`. A cursor into
    /// another store than `store`, or beyond `last_seq`, means from the beginning.
    #[must_use]
    pub fn begin(cursor: Option<Cursor>, store: StoreId, last_seq: Seq) -> Self {
        let known = cursor.filter(|c| c.store == store && c.seq <= last_seq).map_or(0, |c| c.seq);
        Self {
            told: known,
            ahead: BTreeSet::new(),
            covered_told: false,
            more_told: false,
            number: 0,
            rules_frame: 0,
            waiting: BTreeMap::new(),
            in_flight: 0,
            acked: known,
            reached: known,
        }
    }

    /// Returns how far our log has been walked.
    #[must_use]
    pub fn told(&self) -> Seq {
        self.told
    }

    /// Returns up to where the peer durably holds our changes.
    #[must_use]
    pub fn acked(&self) -> Seq {
        self.acked
    }

    /// Returns how many frames have been sent.
    #[must_use]
    pub fn frames_sent(&self) -> u64 {
        self.number
    }

    /// Tells whether there is something to say: news up to `durable`, or a covered vector that
    /// has not gone out since the last change.
    #[must_use]
    pub fn has_news(&self, durable: Seq) -> bool {
        self.told < durable || !self.covered_told
    }

    /// Returns how many changes the next walk may fetch, 0 while the window is full.
    #[must_use]
    pub fn room(&self) -> usize {
        OFFERED_IN_FLIGHT_MAX.saturating_sub(self.in_flight).min(OFFER_RECORDS_MAX)
    }

    /// Notes that our covered vector may have grown: it is told with the next frame at the log's
    /// end, unless the peer has told us as much itself. Our own counters go without saying: they
    /// are told with the changes they count.
    pub fn covered_changed(&mut self, covered: &Version, peer_covers: &Version, me: Writer) {
        let news = |(writer, counter)| writer != me && peer_covers.seen(writer) < counter;
        self.covered_told &= !covered.counters().any(news);
    }

    /// Makes the frame that holds the rule files, to be settled before any other is planned.
    pub fn rules_frame(&mut self, rules: Vec<(Seq, RelPath, Record)>) -> Option<Offer> {
        if rules.is_empty() {
            return None;
        }
        self.ahead.extend(rules.iter().map(|(seq, ..)| *seq));
        let records = rules.into_iter().map(|(_, path, record)| (path, record)).collect();
        let offer = self.frame(records, None);
        self.rules_frame = offer.number;
        Some(offer)
    }

    /// Makes a frame of changes that overtake what is still to be told.
    pub fn overtake(&mut self, changes: Vec<Change>) -> Option<Offer> {
        let fresh: Vec<Change> = changes
            .into_iter()
            .filter(|c| c.seq > self.told && !self.ahead.contains(&c.seq))
            .collect();
        self.ahead.extend(fresh.iter().map(|c| c.seq));
        let records: Vec<_> = fresh.into_iter().filter_map(|c| Some((c.path, c.record?))).collect();
        if records.is_empty() { None } else { Some(self.frame(records, None)) }
    }

    /// Says of a frame of many records that `more` of the same is on its way; in a rush also of
    /// one of few, which are the first of a burst.
    pub fn goes_on(&mut self, mut offer: Offer, more: More, is_rush: bool) -> Offer {
        let is_first = is_rush && more == More::Burst && !offer.records.is_empty();
        if offer.records.len() >= BURST_RECORDS_MIN || is_first {
            offer.more = more;
        }
        self.more_told |= offer.more != More::Nothing;
        offer
    }

    /// Makes the frame that ends what [`Outgoing::goes_on`] was said of; `None` when nothing was.
    pub fn close(&mut self) -> Option<Offer> {
        std::mem::take(&mut self.more_told).then(|| self.frame(Vec::new(), None))
    }

    /// Notes that the peer needs none of the changes up to `upto`.
    pub fn skip(&mut self, upto: Seq) {
        self.told = self.told.max(upto);
        self.ahead = self.ahead.split_off(&(upto + 1));
        self.covered_told = false;
    }

    /// Makes the next frame in the order of the log.
    ///
    /// `changes` are those after [`Outgoing::told`], by sequence; `upto` is where the walk over
    /// the log stopped; `covered` is our covered vector if that is the log's end.
    pub fn next(&mut self, changes: Vec<Change>, upto: Seq, covered: Option<Version>) -> Offer {
        let skip = std::mem::take(&mut self.ahead);
        let records = changes
            .into_iter()
            .filter(|c| !skip.contains(&c.seq))
            .filter_map(|c| Some((c.path, c.record?)))
            .collect();
        self.ahead = skip.into_iter().filter(|seq| *seq > upto).collect();
        self.told = self.told.max(upto);
        self.covered_told = covered.is_some();
        self.frame(records, Some(Upto { seq: upto, covered }))
    }

    /// Gives what it knows to `into`, as told by `from` with `store` to `to`.
    pub fn fingerprint(
        &self,
        (from, store): (DeviceId, StoreId),
        to: DeviceId,
        into: &mut impl Fingerprint,
    ) {
        for seq in [self.told, self.acked, self.reached].iter().chain(&self.ahead) {
            into.seq(from, store, *seq);
        }
        let told = (self.covered_told, self.more_told);
        into.value((self.ahead.len(), told, self.rules_frame > 0));
        let rules = Some(&self.rules_frame).filter(|number| **number > 0);
        for number in rules.into_iter().chain([&self.number]).chain(self.waiting.keys()) {
            into.frame(from, to, *number);
        }
        for frame in self.waiting.values() {
            into.value((frame.records, frame.acked, frame.aside, frame.upto.is_some()));
            into.seq(from, store, frame.upto.unwrap_or(0));
        }
    }

    fn frame(&mut self, records: Vec<(RelPath, Record)>, upto: Option<Upto>) -> Offer {
        self.number += 1;
        let waiting = Waiting {
            records: records.len(),
            acked: false,
            aside: false,
            upto: upto.as_ref().map(|u| u.seq),
        };
        self.in_flight += records.len();
        self.waiting.insert(self.number, waiting);
        Offer { number: self.number, after: self.rules_frame, records, upto, more: More::Nothing }
    }

    /// Hears that the peer has put frames `first..=last` aside, until a person has decided there:
    /// they are not acknowledged, and the window is free of them.
    pub fn take_aside(&mut self, first: u64, last: u64) {
        for (_, frame) in self.waiting.range_mut(first..=last.max(first)) {
            if !frame.acked && !std::mem::replace(&mut frame.aside, true) {
                self.in_flight -= frame.records;
            }
        }
    }

    /// Returns how many records are in frames that the peer has put aside and not acknowledged.
    #[must_use]
    pub fn aside(&self) -> usize {
        self.waiting.values().filter(|f| f.aside && !f.acked).map(|f| f.records).sum()
    }

    /// Takes an acknowledgement of frames `first..=last`; returns whether [`Outgoing::acked`]
    /// moved. Numbers that were never sent are nothing.
    pub fn take_ack(&mut self, first: u64, last: u64) -> bool {
        for (_, frame) in self.waiting.range_mut(first..=last.max(first)) {
            if !std::mem::replace(&mut frame.acked, true) && !frame.aside {
                self.in_flight -= frame.records;
            }
        }
        let before = self.acked;
        while let Some(front) = self.waiting.first_entry().filter(|e| e.get().acked) {
            let frame = front.remove();
            self.reached = self.reached.max(frame.upto.unwrap_or(0));
        }
        self.acked = self.reached;
        self.acked > before
    }
}

/// Chooses the lane of a frame: few records whose bytes fit inline go ahead of the bulk. Removing
/// a directory never overtakes, since what lay in it must be gone first.
#[must_use]
pub fn lane_of(records: &[(RelPath, Record)]) -> Lane {
    let small = |record: &Record| !record.has_bytes() || record.size <= INLINE_BYTES_MAX;
    let few = records.len() <= INTERACTIVE_RECORDS_MAX;
    if few && records.iter().all(|(_, record)| small(record)) {
        Lane::Interactive
    } else {
        Lane::Bulk
    }
}

/// Frames of fewer records are somebody's edits and no part of a burst, unless they say so.
pub const BURST_RECORDS_MIN: usize = 8;

/// More records than this in a row are a backlog: held, they would only keep the disk waiting.
pub const BURST_RECORDS_MAX: usize = 4_096;

/// A commit of at most this many changes is somebody typing, not a program writing a tree.
pub const INTERACTIVE_RECORDS_MAX: usize = 16;
