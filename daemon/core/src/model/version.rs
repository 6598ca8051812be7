//! Version vectors: who wrote how often.
//!
//! Counters are pure: no clock feeds them, so a clock set back or forward decides nothing.

use std::fmt;

use super::DeviceId;

/// One life of a device's store and ledger: random, new whenever either is new, behind, rolled
/// back or cloned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// Counts all changes of one device, over all its folders. 0 is before the first.
pub type Counter = u64;

/// The place of a change in one store's log. Drawn from the same reserved ranges as [`Counter`],
/// so that it never restarts.
pub type Seq = u64;

/// Whose counter it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Writer {
    /// The device; [`DeviceId::NIL`] for derived conflict copies.
    pub device: DeviceId,
    /// The life of that device's store.
    pub incarnation: Incarnation,
}

impl Writer {
    /// Returns the writer of what `device` writes and tells nobody. No peer ever hears of it, and
    /// what is told at last is written again by a writer of its own.
    #[must_use]
    pub fn untold(device: DeviceId) -> Self {
        Self { device, incarnation: Incarnation(u64::MAX) }
    }

    /// Tells whether nobody hears of what it writes.
    #[must_use]
    pub fn is_untold(self) -> bool {
        self.incarnation == Incarnation(u64::MAX)
    }
}

/// Names one write of a user, for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Who wrote.
    pub writer: Writer,
    /// The writer's count at that write, from 1.
    pub counter: Counter,
}

/// What has been seen of every writer: a sorted list without zeros.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Version(Vec<(Writer, Counter)>);

/// How two versions stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Causality {
    /// The same vector.
    Equal,
    /// The left one has seen less.
    Before,
    /// The left one has seen more.
    After,
    /// Each has seen something the other has not.
    Concurrent,
}

impl Version {
    /// The version that has seen nothing.
    pub const NEW: Self = Self(Vec::new());

    /// Returns the version that has seen everything up to `dot` of its writer, and nothing else.
    #[must_use]
    pub fn of(dot: Dot) -> Self {
        let mut version = Self::NEW;
        version.raise(dot);
        version
    }

    /// Builds a version from counters in any order; the greatest of each writer counts.
    pub fn from_counters(counters: impl IntoIterator<Item = (Writer, Counter)>) -> Self {
        let mut version = Self::NEW;
        for (writer, counter) in counters {
            version.raise(Dot { writer, counter });
        }
        version
    }

    /// Returns how far `writer` has been seen, 0 for not at all.
    #[must_use]
    pub fn seen(&self, writer: Writer) -> Counter {
        match self.0.binary_search_by_key(&writer, |(w, _)| *w) {
            Ok(at) => self.0[at].1,
            Err(_) => 0,
        }
    }

    /// Tells whether `dot` has been seen.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        self.seen(dot.writer) >= dot.counter
    }

    /// Sees everything up to `dot` of its writer. A counter of 0 changes nothing.
    pub fn raise(&mut self, dot: Dot) {
        match self.0.binary_search_by_key(&dot.writer, |(w, _)| *w) {
            Ok(at) => self.0[at].1 = self.0[at].1.max(dot.counter),
            Err(at) if dot.counter > 0 => self.0.insert(at, (dot.writer, dot.counter)),
            Err(_) => {}
        }
    }

    /// Sees everything that `other` has seen.
    pub fn join(&mut self, other: &Self) {
        if other.0.len() == 1 {
            let (writer, counter) = other.0[0];
            return self.raise(Dot { writer, counter });
        }
        let mut merged = Vec::with_capacity(self.0.len().max(other.0.len()));
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        loop {
            match (ours.peek(), theirs.peek()) {
                (Some(a), Some(b)) if a.0 == b.0 => {
                    merged.push((a.0, a.1.max(b.1)));
                    ours.next();
                    theirs.next();
                }
                (Some(a), Some(b)) if a.0 < b.0 => merged.extend(ours.next()),
                (_, Some(_)) => merged.extend(theirs.next()),
                (Some(_), None) => merged.extend(ours.next()),
                (None, None) => break,
            }
        }
        self.0 = merged;
    }

    /// Returns the version that has seen what both have.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.join(other);
        both
    }

    /// Returns the same without what stands for no write that a peer has told of: untold writes
    /// and conflict copies.
    #[must_use]
    pub fn of_others(&self) -> Self {
        let counts = |writer: Writer| !writer.is_untold() && writer.device != DeviceId::NIL;
        Self(self.0.iter().filter(|(writer, _)| counts(*writer)).copied().collect())
    }

    /// Returns the same without what nobody hears of.
    #[must_use]
    pub fn as_told(&self) -> Self {
        Self(self.0.iter().filter(|(writer, _)| !writer.is_untold()).copied().collect())
    }

    /// Tells whether everything `other` has seen has been seen here.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(writer, counter)| self.seen(*writer) >= *counter)
    }

    /// Compares two versions.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Causality {
        match (self.covers(other), other.covers(self)) {
            (true, true) => Causality::Equal,
            (true, false) => Causality::After,
            (false, true) => Causality::Before,
            (false, false) => Causality::Concurrent,
        }
    }

    /// Lists the counters, sorted by writer.
    pub fn counters(&self) -> impl ExactSizeIterator<Item = (Writer, Counter)> + '_ {
        self.0.iter().copied()
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:04x}", self.device.short(), self.incarnation.0 & 0xffff)
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.writer, self.counter)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(w, c)| (w, c))).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn writer(name: u8) -> Writer {
        Writer { device: DeviceId([name; 32]), incarnation: Incarnation(1) }
    }

    fn version(text: &str) -> Version {
        Version::from_counters(
            text.as_bytes().chunks(2).map(|pair| (writer(pair[0]), u64::from(pair[1] - b'0'))),
        )
    }

    fn versions() -> impl Strategy<Value = Version> {
        prop::collection::vec((0u8..4, 0u64..4), 0..5).prop_map(|counters| {
            Version::from_counters(counters.into_iter().map(|(name, n)| (writer(name), n)))
        })
    }

    #[test]
    fn two_versions_stand_one_way() {
        for (ours, theirs, stands, mirrored, because) in [
            ("", "", Causality::Equal, Causality::Equal, "nothing is nothing"),
            ("a1", "", Causality::After, Causality::Before, "something beats nothing"),
            ("a1b1", "b1a1", Causality::Equal, Causality::Equal, "order of naming is nothing"),
            ("a2", "a1", Causality::After, Causality::Before, "the longer count"),
            ("a1", "b1", Causality::Concurrent, Causality::Concurrent, "strangers"),
            ("a2b1", "a1b2", Causality::Concurrent, Causality::Concurrent, "both went on"),
        ] {
            assert_eq!(version(ours).compare(&version(theirs)), stands, "{because}");
            assert_eq!(version(theirs).compare(&version(ours)), mirrored, "{because}");
        }
    }

    #[test]
    fn a_counter_of_zero_is_not_kept() {
        assert_eq!(version("a0"), Version::NEW);
        assert_eq!(Version::of(Dot { writer: writer(1), counter: 0 }), Version::NEW);
    }

    proptest! {
        #[test]
        fn joining_is_the_least_upper_bound(a in versions(), b in versions(), c in versions()) {
            let both = a.joined(&b);
            prop_assert!(both.covers(&a) && both.covers(&b));
            prop_assert_eq!(&both, &b.joined(&a));
            prop_assert_eq!(a.joined(&b).joined(&c), a.joined(&b.joined(&c)));
            prop_assert_eq!(a.joined(&a), a.clone());
            if c.covers(&a) && c.covers(&b) {
                prop_assert!(c.covers(&both));
            }
            prop_assert!(both.counters().zip(both.counters().skip(1)).all(|(x, y)| x.0 < y.0));
        }
    }
}
