//! A peer's last word on a path, where lanes overtake each other.
//!
//! A peer has one record of a path, and what it tells later has seen what it told before: but for
//! what it has found in the place of bytes that it lost to a power loss. What it told first is
//! then nothing that it holds, and nobody should wait for it, whichever of the two comes first.

use std::collections::BTreeMap;

use super::Engine;
use crate::flow::offer::Offer;
use crate::model::limits::OFFERED_IN_FLIGHT_MAX;
use crate::model::{DeviceId, RelPath};

/// The frame of a peer's last word on each path, while an earlier frame is still to come.
pub(super) type Words = BTreeMap<RelPath, u64>;

impl Engine {
    /// Takes note of what came before something that was told before it.
    pub(super) fn note_words(&mut self, peer: DeviceId, offer: &Offer) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if !state.incoming.has_gap() && !state.incoming.was_overtaken(offer.number) {
            return state.words.clear();
        }
        for (path, _) in &offer.records {
            // A peer that leaves a gap open for long is not remembered without end.
            if state.words.len() < OFFERED_IN_FLIGHT_MAX {
                let last = state.words.entry(path.clone()).or_default();
                *last = offer.number.max(*last);
            }
        }
    }

    /// Tells whether `peer` has had more to say of `path` after its frame `number`, of which
    /// nothing waits any more: then the record of that frame is settled.
    pub(super) fn has_said_more(&mut self, peer: DeviceId, path: &RelPath, number: u64) -> bool {
        let Some(state) = self.peers.get_mut(&peer) else { return false };
        let is_past = state.words.get(path).is_some_and(|last| *last > number);
        if is_past {
            state.incoming.settle_one(number);
        }
        is_past
    }
}
