//! What others say of our own writes that is not so.
//!
//! A counter of this device that it has never given out comes from a peer that lies, or this device
//! was set back to an older state and has forgotten; which of the two it is cannot be told. Taken
//! as it stands, everybody would have seen our next writes before they are made. So this device
//! writes under another incarnation first ([`Event::LifeBegun`](super::Event::LifeBegun)), and
//! what was claimed is a word on a writer that is no more.

use super::Engine;
use crate::flow::offer::Offer;
use crate::model::{Counter, Incarnation, Version, Writer};

impl Engine {
    /// Tells whether `offer` speaks of counters of ours that we have never given out, in what a
    /// record has seen or in what its sender covers.
    #[must_use]
    pub fn disowns(&self, offer: &Offer) -> bool {
        let covered = offer.upto.iter().filter_map(|upto| upto.covered.as_ref());
        let mut versions = offer.records.iter().map(|(_, record)| &record.version).chain(covered);
        versions.any(|version: &Version| version.seen(self.me) > self.last_counter())
    }

    /// Tells whether a peer that says it has `seen` these counters of this device speaks of such
    /// as we have never given out.
    #[must_use]
    pub fn disowns_seen(&self, seen: &[(Incarnation, Counter)]) -> bool {
        let is_later = |(of, counter): &(Incarnation, Counter)| {
            *of == self.me.incarnation && *counter > self.last_counter()
        };
        seen.iter().any(is_later)
    }

    /// Writes as `me` from now on. What this device wrote before is like another's.
    pub(super) fn life_begun(&mut self, me: Writer) {
        self.me = me;
    }
}
