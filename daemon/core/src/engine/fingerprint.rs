//! What the engine's future depends on, for a simulator that tells states apart.

use super::{Engine, Peer};
use crate::flow::index::fingerprint::Fingerprint;
use crate::model::DeviceId;

impl Engine {
    /// Gives all that the future of this engine depends on to `into`, but for the rules, which
    /// are a function. Left out are tickets and names of looks, which are only ever repeated,
    /// and the clock of looks while none is under way.
    pub fn fingerprint(&self, into: &mut impl Fingerprint) {
        let (me, store) = (self.me.device, self.store);
        into.value((self.me, store, &self.shared, &self.rule_files));
        into.counter(self.me, self.last_counter());
        into.counter(self.me, self.written);
        for (peer, state) in &self.peers {
            into.value(peer);
            self.peer(*peer, state, into);
        }
        for (path, pending) in &self.pending {
            into.value(path);
            pending.fingerprint(me, into);
        }
        into.value((self.pending.len(), &self.waiting, &self.removals, &self.gated));
        for flight in self.flights.values() {
            into.value((&flight.path, flight.orphan, &flight.conflict, flight.puts.len()));
            flight.from.fingerprint(me, into);
            for (path, put) in &flight.puts {
                into.value((path, put.source, put.standing, put.stamp as u8));
                into.record(&put.record);
            }
        }
        if !self.looks.is_empty() {
            into.value((self.clock, self.worked.values().collect::<Vec<_>>(), self.looks.len()));
        }
        into.value((self.batches, self.ready.len(), &self.retries, &self.held));
        into.value((self.burst.deadline(), self.stir));
        into.value((self.brake_files, self.weighing()));
        // Errors are seldom, and have no order of their own.
        if !self.problems.is_empty() {
            into.value(format!("{:?}", self.problems));
        }
        if !self.rotten.is_empty() {
            into.value(format!("{:?}", self.rotten));
        }
        if !self.unsupported.is_empty() {
            into.value((&self.unsupported, &self.roomy, format!("{:?}", self.refused)));
        }
        into.value((self.reading_rules, self.halted, self.paused, self.persisting, self.walked));
        into.value((self.shaken, self.steadying));
        into.value((self.role, &self.overruling, self.word.is_some()));
        if let Some(word) = &self.word {
            word.fingerprint((me, store), into);
        }
        for seq in [self.committed, self.durable, self.swept] {
            into.seq(me, store, seq);
        }
    }

    fn peer(&self, peer: DeviceId, state: &Peer, into: &mut impl Fingerprint) {
        let (us, them) = ((self.me.device, self.store), (peer, state.store));
        state.outgoing.fingerprint(us, peer, into);
        state.incoming.fingerprint(them, us, into);
        into.value(state.acks.len());
        for (seq, frames) in &state.acks {
            into.seq(us.0, us.1, *seq);
            into.frame(peer, us.0, *frames);
        }
        into.seq(us.0, us.1, state.dropable);
        into.version(&state.covers);
        into.value(state.words.len());
        for (path, frame) in &state.words {
            into.value(path);
            into.frame(peer, us.0, *frame);
        }
    }
}
