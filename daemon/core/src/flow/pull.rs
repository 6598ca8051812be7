//! Pulling: what a peer has offered, and how much of it is settled.
//!
//! [`Incoming`] counts one session's frames. A frame is settled when each of its records is; the
//! cursor moves to the `upto` of a frame when it and all before it, of either lane, are settled.
//!
//! What waits for a person is *put aside*: the peer hears of it and goes on telling, but its frame
//! is not settled, no cursor passes it, and it is told again in the next session.

use std::collections::BTreeMap;

use crate::flow::index::fingerprint::Fingerprint;
use crate::flow::offer::Upto;
use crate::model::{DeviceId, Seq, StoreId, Version};

/// Frames that may be kept open at once; a peer that sends more without waiting for
/// acknowledgements breaks the protocol.
pub const FRAMES_OPEN_MAX: usize = 16_384;

/// Records put aside of one peer; what comes beyond them fills the peer's window until a person
/// has decided. Some tens of MB.
pub const ASIDE_RECORDS_MAX: usize = 65_536;

/// What has come from one peer in this session.
#[derive(Debug, Clone, Default)]
pub struct Incoming {
    frames: BTreeMap<u64, Frame>,
    /// Every frame up to here is settled and forgotten.
    settled: u64,
    /// Frames whose last record was settled since they were last counted.
    finished: Vec<u64>,
    /// The last frame that another must wait for (it holds rule files).
    rules: u64,
    /// Settled frames that wait for our store to be durable: number and the sequence needed.
    unsaid: Vec<(u64, Seq)>,
    /// Frames of which all that is left was put aside, and the peer does not know yet.
    set_aside: Vec<u64>,
    /// Records that are put aside now.
    aside: usize,
}

#[derive(Debug, Clone)]
struct Frame {
    /// Records not yet settled.
    left: usize,
    /// Of these, removals of directories that wait for everything else.
    removals: usize,
    /// Of these, what waits for a person.
    aside: usize,
    /// Whether the peer was told that the rest was put aside.
    is_said: bool,
    /// The first of the frames that this one stands for: those before it that are settled without
    /// a gap, up to this one.
    first: u64,
    upto: Option<Upto>,
}

/// What settling moved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// The peer's changes up to here are settled.
    pub seq: Option<Seq>,
    /// The peer's covered vector, to be adopted.
    pub covered: Option<Version>,
}

impl Incoming {
    /// Notes that frames wait for frame `number`; 0 for none.
    pub fn rules_in(&mut self, number: u64) {
        self.rules = self.rules.max(number);
    }

    /// Takes note of a frame. Returns `false` for one that came before (or too many open ones):
    /// the peer breaks the protocol.
    pub fn open(&mut self, number: u64, records: usize, upto: Option<Upto>) -> bool {
        let next = self.frames.range(number..).next();
        let is_known = number <= self.settled || next.is_some_and(|(_, f)| f.first <= number);
        let fresh = !is_known && self.frames.len() < FRAMES_OPEN_MAX;
        if fresh {
            let (removals, aside, is_said) = (0, 0, false);
            let frame = Frame { left: records, removals, aside, is_said, first: number, upto };
            self.frames.insert(number, frame);
            if records == 0 {
                self.finished.push(number);
            }
        }
        fresh
    }

    /// Tells whether frame `number` and all before it are settled. Frame 0 always is.
    #[must_use]
    pub fn is_settled(&self, number: u64) -> bool {
        let mut next = self.settled + 1;
        for (last, frame) in &self.frames {
            if number < next || frame.first > next || frame.left > 0 {
                break;
            }
            next = last + 1;
        }
        number < next
    }

    /// Tells whether a frame has come before another that was told before it.
    #[must_use]
    pub fn has_gap(&self) -> bool {
        let mut next = self.settled + 1;
        self.frames.iter().any(|(last, frame)| {
            let is_next = frame.first <= next;
            next = last + 1;
            !is_next
        })
    }

    /// Tells whether a later frame than `number` came before it.
    #[must_use]
    pub fn was_overtaken(&self, number: u64) -> bool {
        self.frames.range(number + 1..).next().is_some()
    }

    /// Notes that a record of frame `number` is the removal of a directory that waits, or is not
    /// any more.
    pub fn count_removal(&mut self, number: u64, is_removal: bool) {
        if let Some(frame) = self.frames.get_mut(&number) {
            frame.removals = match is_removal {
                true => frame.removals + 1,
                false => frame.removals.saturating_sub(1),
            };
        }
    }

    /// Returns the first frame, come or not, that holds back removals told after it or with it:
    /// more than removals is left of it.
    #[must_use]
    pub fn blocked(&self) -> u64 {
        let mut next = self.settled + 1;
        for (number, frame) in &self.frames {
            if frame.first > next || frame.left > frame.removals + frame.aside {
                break;
            }
            next = number + 1;
        }
        next
    }

    /// Notes that a record of frame `number` is put aside, or is not any more.
    pub fn count_aside(&mut self, number: u64, is_aside: bool) {
        let Some(frame) = self.frames.get_mut(&number) else { return };
        if is_aside {
            (frame.aside, self.aside) = (frame.aside + 1, self.aside + 1);
        } else {
            frame.aside = frame.aside.saturating_sub(1);
            self.aside = self.aside.saturating_sub(1);
        }
        self.say_aside(number);
    }

    /// Lets the peer hear, once, that all that is left of a frame is put aside.
    fn say_aside(&mut self, number: u64) {
        let is_full = self.aside > ASIDE_RECORDS_MAX;
        let Some(frame) = self.frames.get_mut(&number).filter(|frame| frame.left > 0) else {
            return;
        };
        if frame.left == frame.aside && !is_full && !std::mem::replace(&mut frame.is_said, true) {
            self.set_aside.push(number);
        }
    }

    /// Takes the frames of which the peer is to hear that they are put aside, as sorted ranges.
    pub fn asides(&mut self) -> Vec<(u64, u64)> {
        let mut said = std::mem::take(&mut self.set_aside);
        // What was considered again meanwhile is on its way.
        said.retain(|number| {
            let frame = self.frames.get_mut(number);
            frame.is_some_and(|frame| {
                frame.is_said = frame.left > 0 && frame.left == frame.aside;
                frame.is_said
            })
        });
        ranges(said)
    }

    /// Tells whether no more is put aside: the peer's window fills from here on.
    #[must_use]
    pub fn is_aside_full(&self) -> bool {
        self.aside >= ASIDE_RECORDS_MAX
    }

    /// Tells whether a frame that others wait for became settled since `before` were.
    #[must_use]
    pub fn passed_rules(&self, before: u64) -> bool {
        before < self.rules && self.rules <= self.settled
    }

    /// Notes that one record of frame `number` is settled.
    pub fn settle_one(&mut self, number: u64) {
        if let Some(frame) = self.frames.get_mut(&number).filter(|f| f.left > 0) {
            frame.left -= 1;
            if frame.left == 0 {
                self.finished.push(number);
            }
            self.say_aside(number);
        }
    }

    /// Lets settled frames without a gap between them stand as one, so that what waits for days
    /// before them costs nothing.
    fn close_ranks(&mut self) {
        for number in &self.finished {
            let Some(frame) = self.frames.get(number).filter(|frame| frame.left == 0) else {
                continue;
            };
            let first = frame.first;
            let before = first.checked_sub(1).and_then(|before| {
                let is_settled = self.frames.get(&before).is_some_and(|f| f.left == 0);
                is_settled.then(|| self.frames.remove(&before)).flatten()
            });
            if let (Some(before), Some(frame)) = (before, self.frames.get_mut(number)) {
                frame.first = before.first;
                frame.upto = join(before.upto, frame.upto.take());
            }
            let after = self.frames.range(number + 1..).next();
            let follows = after.filter(|(_, f)| f.first == number + 1 && f.left == 0);
            if let Some(last) = follows.map(|(last, _)| *last)
                && let Some(frame) = self.frames.remove(number)
                && let Some(after) = self.frames.get_mut(&last)
            {
                after.first = frame.first;
                after.upto = join(frame.upto, after.upto.take());
            }
        }
    }

    /// Closes what is settled: returns how far the cursor moves and what to adopt. Frames that
    /// became settled are acknowledged once our store is durable up to `seq`.
    pub fn advance(&mut self, seq: Seq) -> Progress {
        let mut progress = Progress::default();
        self.close_ranks();
        self.unsaid.extend(self.finished.drain(..).map(|number| (number, seq)));
        while let Some(front) = self.frames.first_entry() {
            if front.get().first != self.settled + 1 || front.get().left > 0 {
                break;
            }
            self.settled = *front.key();
            let before = progress.seq.take();
            let before = before.map(|seq| Upto { seq, covered: progress.covered.take() });
            if let Some(upto) = join(before, front.remove().upto) {
                (progress.seq, progress.covered) = (Some(upto.seq), upto.covered);
            }
        }
        progress
    }

    /// Takes the frames to acknowledge now that our store is durable up to `durable`, as sorted
    /// ranges.
    pub fn acks(&mut self, durable: Seq) -> Vec<(u64, u64)> {
        let numbers = self.unsaid.iter().filter(|(_, seq)| *seq <= durable).map(|(n, _)| *n);
        let said = ranges(numbers.collect());
        self.unsaid.retain(|(_, seq)| *seq > durable);
        said
    }

    /// Returns how many frames, from the first, are settled without a gap.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Tells whether a frame is still open.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.frames.is_empty()
    }

    /// Gives what it knows to `into`, as told by `from` to `to`, each with its store.
    pub fn fingerprint(
        &self,
        from: (DeviceId, StoreId),
        to: (DeviceId, StoreId),
        into: &mut impl Fingerprint,
    ) {
        into.frame(from.0, to.0, self.settled);
        into.value((self.frames.len(), self.unsaid.len(), &self.set_aside));
        for (number, frame) in &self.frames {
            into.frame(from.0, to.0, *number);
            into.frame(from.0, to.0, frame.first);
            into.value((frame.left, frame.removals, frame.upto.is_some()));
            into.value((frame.aside, frame.is_said));
            if let Some(upto) = &frame.upto {
                upto.fingerprint(from, into);
            }
        }
        for (number, seq) in &self.unsaid {
            into.frame(from.0, to.0, *number);
            into.seq(to.0, to.1, *seq);
        }
    }
}

/// Returns what two frames say together of how far the log has been told; the later one comes
/// second.
fn join(before: Option<Upto>, after: Option<Upto>) -> Option<Upto> {
    let (before, mut after) = match (before, after) {
        (Some(before), Some(after)) => (before, after),
        (before, after) => return after.or(before),
    };
    after.covered = match (before.covered, after.covered) {
        (Some(mut all), Some(covered)) => {
            all.join(&covered);
            Some(all)
        }
        (before, after) => after.or(before),
    };
    Some(after)
}

/// Writes numbers as sorted ranges, both ends included.
fn ranges(mut numbers: Vec<u64>) -> Vec<(u64, u64)> {
    numbers.sort_unstable();
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}
