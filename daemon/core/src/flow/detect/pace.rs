//! How often one path is looked at: a share of the time, not a number of times.
//!
//! Each path has a bucket of credit. A look takes out of it what it cost, ten times over, and the
//! bucket fills as time goes by: so looking at one path never takes more than a tenth of the
//! time in the long run. A small file that a person or an agent saves again and again is looked
//! at at once; one that a program rewrites hundreds of times a second, or a large one that changes
//! all the time, is looked at when there is credit again.

use std::collections::BTreeMap;

use crate::model::{RelPath, Tick};

/// What a look takes out of the bucket whatever it reads: ten times a `stat`, a small read and
/// a record made durable. A path that changes without end is looked at 25 times a second.
pub const LOOK_MS: u64 = 40;

/// Credit of a full bucket: ten looks in a row.
pub const CREDIT_MS_MAX: u64 = 400;

/// Bytes for which a millisecond is taken: ten times what reading and hashing them takes.
pub const BYTES_PER_MS: u64 = 100_000;

/// No look takes more than this, so that a file of any size is looked at now and then.
pub const COST_MS_MAX: u64 = 120_000;

/// How many paths are remembered before those with a full bucket are dropped.
const PATHS_MAX: usize = 1_024;

/// The buckets of paths that were worked at lately.
#[derive(Debug, Clone)]
pub struct Pace {
    /// When each bucket will be full again.
    full: BTreeMap<RelPath, Tick>,
    /// How much may be taken out ahead of time, in milliseconds.
    ahead_ms: u64,
}

impl Default for Pace {
    /// Makes the buckets for looks.
    fn default() -> Self {
        Self::with_credit(CREDIT_MS_MAX - LOOK_MS)
    }
}

impl Pace {
    /// Makes full buckets, out of which `ahead_ms` milliseconds may be taken ahead of time.
    #[must_use]
    pub fn with_credit(ahead_ms: u64) -> Self {
        Self { full: BTreeMap::new(), ahead_ms }
    }

    /// Returns from when on `path` may be worked at again; `now` or later.
    #[must_use]
    pub fn from(&self, path: &RelPath, now: Tick) -> Tick {
        match self.full.get(path) {
            Some(full) => now.max(Tick(full.0.saturating_sub(self.ahead_ms))),
            None => now,
        }
    }

    /// Takes note of a look at `path`.
    pub(super) fn looked(&mut self, path: &RelPath, now: Tick) {
        self.take(path, LOOK_MS, now);
    }

    /// Takes note that `bytes` of `path` were read.
    pub(super) fn read(&mut self, path: &RelPath, bytes: u64, now: Tick) {
        let cost_ms = (bytes / BYTES_PER_MS).min(COST_MS_MAX);
        if cost_ms > 0 {
            self.take(path, cost_ms, now);
        }
    }

    /// Takes `cost_ms` milliseconds out of the bucket of `path`.
    pub fn take(&mut self, path: &RelPath, cost_ms: u64, now: Tick) {
        if self.full.len() >= PATHS_MAX {
            self.full.retain(|_, full| *full > now);
        }
        if self.full.len() >= 4 * PATHS_MAX {
            // So many at once are a storm, of which each is looked at once.
            self.full.clear();
        }
        let full = self.full.entry(path.clone()).or_insert(now);
        *full = (*full).max(now).after(cost_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets `path` be touched every `every_ms` for `for_ms`, each look reading `bytes`. Returns
    /// how many looks there were, and the longest wait of a touch for its look.
    fn played(every_ms: u64, for_ms: u64, bytes: u64) -> (u64, u64) {
        let path = RelPath::parse("p").unwrap();
        let (mut pace, mut looks, mut longest_ms) = (Pace::default(), 0, 0);
        let mut touched: Option<Tick> = None;
        for ms in 0..for_ms {
            let now = Tick(ms);
            if ms % every_ms == 0 {
                touched.get_or_insert(now);
            }
            if let Some(since) = touched.filter(|_| pace.from(&path, now) <= now) {
                touched = None;
                looks += 1;
                longest_ms = longest_ms.max(now.since(since));
                pace.looked(&path, now);
                pace.read(&path, bytes, now);
            }
        }
        (looks, longest_ms)
    }

    #[test]
    fn saves_are_looked_at_at_once_and_storms_take_their_share() {
        for (every_ms, for_ms, bytes, looks, longest_ms, because) in [
            (200, 10_000, 2_000, 50..51, 0, "a person saves"),
            (50, 10_000, 2_000, 200..201, 0, "an agent saves"),
            (20, 200, 2_000, 10..11, 0, "a program saves ten times in a row"),
            (20, 10_000, 2_000, 240..270, 40, "and goes on: 25 a second"),
            (3, 10_000, 2_000, 240..270, 40, "a log is closed 300 times a second: no more"),
            (3, 10_000, 1_000_000, 190..220, 50, "a log of a megabyte"),
            (100, 10_000, 10_000_000, 65..85, 140, "10 MB: 7 a second, each 10 ms of reading"),
            (1_000, 600_000, 5_000_000_000, 10..14, 51_000, "5 GB: every 50 s"),
            (1_000, 900_000, 1_000_000_000_000, 6..10, 121_000, "1 TB: now and then"),
        ] {
            let (looked, waited_ms) = played(every_ms, for_ms, bytes);
            assert!(looks.contains(&looked), "{because}: {looked} looks");
            assert!(waited_ms <= longest_ms, "{because}: one waited {waited_ms} ms");
        }
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let mut pace = Pace::default();
        for n in 0..10_000 {
            pace.looked(&RelPath::parse(format!("p{n}")).unwrap(), Tick(7));
        }
        assert!(pace.full.len() <= 4 * PATHS_MAX, "{}", pace.full.len());
        pace.looked(&RelPath::parse("p").unwrap(), Tick(10_000));
        assert_eq!(pace.full.len(), 1, "full buckets are not worth remembering");
    }
}
