//! What a device remembers of itself, and how it is lost, set back or copied: the store, the
//! ledger, the tokens of sessions, membership.

use std::collections::BTreeSet;
use std::rc::Rc;

use syncd_core::engine::Event;
use syncd_core::flow::index::{Index, MemIndex};
use syncd_core::model::{Entry, Record, RelPath};
use syncd_core::protocol::tokens::{Shown, Tokens};

use super::World;
use super::device::Device;
use super::faults::Fault;

impl Device {
    /// Begins another incarnation, one that never was, whatever was set back.
    pub(super) fn reincarnate(&mut self) {
        self.lives += 1;
        self.incarnation = self.lives;
    }

    /// Takes note that the ledger knows the store to be durable up to where it is.
    pub(super) fn mark(&mut self) {
        self.watermark = self.durable.last_seq().expect("the index in memory works");
    }
}

impl World {
    /// Lets two devices show each other their tokens; `false` when one turns out to be behind, and
    /// has begun anew.
    pub(super) fn greet(&mut self, a: usize, b: usize) -> bool {
        self.sent += 2;
        let random = [self.sent, self.sent + 1].map(u64::to_be_bytes);
        let (mut of_a, mut of_b) = (self.tokens(a, b), self.tokens(b, a));
        let (a_shows, b_shows) = (of_a.theirs, of_b.theirs);
        let (mint_a, mint_b) = (self.devices[a].mint(), self.devices[b].mint());
        let (id_a, id_b) = (self.devices[a].id, self.devices[b].id);
        let a_gives = of_a.hand_out(&mint_a, id_b, random[0]);
        let b_gives = of_b.hand_out(&mint_b, id_a, random[1]);
        let at_a = of_a.greeted(&mint_a, id_b, b_shows, b_gives);
        let at_b = of_b.greeted(&mint_b, id_a, a_shows, a_gives);
        for (at, peer, verdict, tokens) in [(a, b, at_a, of_a), (b, a, at_b, of_b)] {
            if verdict == Shown::WeAreBehind || self.has_forgotten(at, peer) {
                self.begin_another_life(at);
                return false;
            }
            self.device(at).tokens.insert(peer, tokens);
        }
        true
    }

    /// Notes that a peer has sent something after it had read our greeting.
    pub(super) fn greeting_arrived(&mut self, at: usize, peer: usize) {
        if self.devices[at].tokens.get(&peer).is_some_and(|tokens| tokens.handed.is_some()) {
            let mut tokens = self.tokens(at, peer);
            tokens.arrived();
            self.device(at).tokens.insert(peer, tokens);
        }
    }

    fn tokens(&self, at: usize, peer: usize) -> Tokens {
        self.devices[at].tokens.get(&peer).copied().unwrap_or_default()
    }

    /// Tells whether a peer has seen counters of this life of a device that it did not hand out.
    fn has_forgotten(&self, at: usize, peer: usize) -> bool {
        let (device, peer) = (&self.devices[at], &self.devices[peer]);
        let marks = peer.index.marks().expect("the index in memory works");
        marks.covered.seen(device.writer()) > device.engine.last_counter()
    }

    fn begin_another_life(&mut self, at: usize) {
        self.fired.note(Fault::FoundBehind);
        self.disconnect(at);
        let device = self.device(at);
        device.reincarnate();
        device.tokens.clear();
        self.start_again(at, false);
    }

    fn start_again(&mut self, at: usize, new_store: bool) {
        let links = self.links.clone();
        self.device(at).start(new_store, &links, at);
        self.settings(at);
        self.restart(at);
    }

    /// Loses the ledger; the store is kept, and is another writer's from now on.
    pub(super) fn lose_ledger(&mut self, at: usize) {
        self.fired.note(Fault::LedgerLost);
        self.disconnect(at);
        let device = self.device(at);
        device.reincarnate();
        device.tokens.clear();
        device.intents.clear();
        device.ranges = (device.index.last_seq().unwrap_or(0) >> 20) + 1;
        self.start_again(at, false);
    }

    /// Loses store and ledger.
    pub(super) fn lose_both(&mut self, at: usize) {
        self.fired.note(Fault::BothLost);
        let device = self.device(at);
        device.ranges = 0;
        device.tokens.clear();
        self.lose_store(at);
    }

    /// Puts an older copy of the store in its place: the ledger knows that more was durable, and
    /// the store is lost then.
    pub(super) fn roll_back(&mut self, at: usize) {
        let Some(kept) = self.devices[at].kept.clone() else { return };
        let device = &self.devices[at];
        let last = |index: &MemIndex| index.last_seq().expect("the index in memory works");
        if device.store != kept.store || device.watermark > last(&kept.durable) {
            self.fired.note(Fault::StoreRolledBack);
            return self.lose_store(at);
        }
        self.device(at).index = (*kept.durable).clone();
        self.crash(at, false);
    }

    /// Sets the whole machine back to its copy, files too, and copies what it was until now: a
    /// backup that is restored, or a clone that runs in its turn.
    pub(super) fn set_back_all(&mut self, at: usize) {
        let Some(kept) = self.devices[at].kept.clone() else { return };
        self.fired.note(Fault::SetBack);
        self.disconnect(at);
        let others: Vec<_> = self.others(at);
        let now = self.devices[at].clone();
        let mut then = (*kept).clone();
        then.lives = now.lives.max(then.lives);
        then.index = (*then.durable).clone();
        then.deeds = now.deeds.clone();
        let heard = |path: &RelPath, record: &Record| {
            let knows = |entry: &Entry| entry.record.version.contains(record.dot);
            others.iter().any(|other| other.index.entry(path).is_some_and(knows))
        };
        Rc::make_mut(&mut then.deeds).set_back(&kept.deeds, &heard);
        self.back_up(at);
        then.kept = self.devices[at].kept.clone();
        then.part.take();
        self.devices[at] = Rc::new(then);
        self.crash(at, false);
    }

    /// Keeps a copy of the whole machine, as it would be after a stop.
    pub(super) fn back_up(&mut self, at: usize) {
        let mut copy = Device { kept: None, ..(*self.devices[at]).clone() };
        if !self.late {
            // Prompt hands have made all durable.
            copy.durable = Rc::new(copy.index.clone());
        }
        self.device(at).kept = Some(Rc::new(copy));
    }

    fn others(&self, at: usize) -> Vec<Rc<Device>> {
        let all = self.devices.iter().enumerate();
        all.filter(|(other, _)| *other != at).map(|(_, device)| device.clone()).collect()
    }

    /// Takes a device out of the folder, on both sides.
    pub(super) fn leave(&mut self, at: usize) {
        let of_it: BTreeSet<(usize, usize)> =
            self.links.iter().filter(|(a, b)| *a == at || *b == at).copied().collect();
        if of_it.is_empty() {
            return;
        }
        self.fired.note(Fault::MemberRemoved);
        self.disconnect(at);
        self.links.retain(|link| !of_it.contains(link));
        self.left.extend(&of_it);
        self.share_anew(&of_it);
    }

    /// Puts a device that was taken out of the folder into it again, with what it remembers.
    pub(super) fn come_back(&mut self, at: usize) {
        let of_it: BTreeSet<(usize, usize)> =
            self.left.iter().filter(|(a, b)| *a == at || *b == at).copied().collect();
        if of_it.is_empty() {
            return;
        }
        self.left.retain(|link| !of_it.contains(link));
        self.links.extend(&of_it);
        self.share_anew(&of_it);
        self.reconnect(at);
    }

    fn share_anew(&mut self, links: &BTreeSet<(usize, usize)>) {
        let touched: BTreeSet<usize> = links.iter().map(|(a, _)| *a).collect();
        for at in touched {
            self.share(at);
        }
    }

    /// Puts all devices that were taken out into the folder again.
    pub(super) fn all_come_back(&mut self) {
        for at in 0..self.devices.len() {
            self.come_back(at);
        }
        self.say();
    }

    /// Ends the sessions of a device without a word: its peers go on sending into nothing, until
    /// it comes again.
    pub(super) fn half_open(&mut self, at: usize) {
        if !self.apart.insert(at) {
            return;
        }
        self.fired.note(Fault::HalfOpen);
        self.half.insert(at);
        for (_, b) in self.links.clone().into_iter().filter(|(a, _)| *a == at) {
            let peer = self.devices[b].id;
            self.tell(at, Event::PeerDown { peer });
        }
        self.wires.retain(|(from, to, _), _| *from != at && *to != at);
        self.saying.retain(|(from, to, _), _| *from != at && *to != at);
        self.sessions.retain(|(a, b)| *a != at && *b != at);
    }

    /// Lets the peers of a device notice that their sessions with it are long over.
    pub(super) fn notice_the_dead(&mut self, at: usize) {
        if self.half.remove(&at) {
            for (_, b) in self.links.clone().into_iter().filter(|(a, _)| *a == at) {
                let peer = self.devices[at].id;
                self.tell(b, Event::PeerDown { peer });
            }
        }
    }
}
