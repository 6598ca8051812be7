//! Pulling: what a peer has offered, and how much of it is settled.
//!
//! [`Incoming`] counts one session's frames. A frame is settled when each of its records is; the
//! cursor moves to the `upto` of a frame when it and all before it, of either lane, are settled.

use std::collections::BTreeMap;

use crate::flow::index::fingerprint::Fingerprint;
use crate::flow::offer::Upto;
use crate::model::{DeviceId, Seq, StoreId, Version};

/// Frames that may be kept open at once; a peer that sends more without waiting for
/// acknowledgements breaks the protocol.
pub const FRAMES_OPEN_MAX: usize = 16_384;

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
}

#[derive(Debug, Clone)]
struct Frame {
    /// Records not yet settled.
    left: usize,
    /// Of these, removals of directories that wait for everything else.
    removals: usize,
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
        let fresh = number > self.settled
            && !self.frames.contains_key(&number)
            && self.frames.len() < FRAMES_OPEN_MAX;
        if fresh {
            self.frames.insert(number, Frame { left: records, removals: 0, upto });
            if records == 0 {
                self.finished.push(number);
            }
        }
        fresh
    }

    /// Tells whether frame `number` and all before it are settled. Frame 0 always is.
    #[must_use]
    pub fn is_settled(&self, number: u64) -> bool {
        number <= self.settled
            || self.frames.get(&number).is_some_and(|f| f.left == 0)
                && (self.settled + 1..number)
                    .all(|n| self.frames.get(&n).is_some_and(|f| f.left == 0))
    }

    /// Tells whether every frame before `number` has come.
    #[must_use]
    pub fn all_came_before(&self, number: u64) -> bool {
        let open = self.frames.range(..number).count();
        u64::try_from(open).is_ok_and(|open| self.settled + open + 1 >= number)
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
            if *number > next || frame.left > frame.removals {
                break;
            }
            next = number + 1;
        }
        next
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
        }
    }

    /// Closes what is settled: returns how far the cursor moves and what to adopt. Frames that
    /// became settled are acknowledged once our store is durable up to `seq`.
    pub fn advance(&mut self, seq: Seq) -> Progress {
        let mut progress = Progress::default();
        self.unsaid.extend(self.finished.drain(..).map(|number| (number, seq)));
        while let Some(front) = self.frames.first_entry() {
            if *front.key() != self.settled + 1 || front.get().left > 0 {
                break;
            }
            let frame = front.remove();
            self.settled += 1;
            if let Some(upto) = frame.upto {
                progress.seq = Some(upto.seq);
                if let Some(covered) = upto.covered {
                    match &mut progress.covered {
                        Some(all) => all.join(&covered),
                        none => *none = Some(covered),
                    }
                }
            }
        }
        progress
    }

    /// Takes the frames to acknowledge now that our store is durable up to `durable`, as sorted
    /// ranges.
    pub fn acks(&mut self, durable: Seq) -> Vec<(u64, u64)> {
        let mut numbers: Vec<u64> =
            self.unsaid.iter().filter(|(_, seq)| *seq <= durable).map(|(n, _)| *n).collect();
        self.unsaid.retain(|(_, seq)| *seq > durable);
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
        into.value((self.frames.len(), self.unsaid.len()));
        for (number, frame) in &self.frames {
            into.frame(from.0, to.0, *number);
            into.value((frame.left, frame.removals, frame.upto.is_some()));
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
