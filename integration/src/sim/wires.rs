//! The network: two lanes in each direction, in which nothing overtakes.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::rc::Rc;

use syncd_core::engine::{Event, FolderHello};
use syncd_core::flow::index::fingerprint::Fingerprint;
use syncd_core::flow::offer::Offer;
use syncd_core::model::{DeviceId, StoreId};

use super::World;
use super::diary::letter;
use super::faults::Fault;
use super::states::{Part, Sink};

/// What travels from one device to another.
#[derive(Debug, Clone)]
pub enum Message {
    /// The first word of a session.
    Hello(FolderHello),
    /// News.
    Offer(Offer),
    /// Acknowledged frames, and those that are put aside.
    Ack(Vec<(u64, u64)>, Vec<(u64, u64)>, u64),
}

/// What one event made a device say on one lane: it travels together.
#[derive(Debug)]
pub(super) struct Packet {
    messages: Vec<Message>,
    /// How many were sent before it, by anybody.
    number: u64,
    part: OnceCell<Part>,
}

/// One direction of one lane: sender, receiver, whether it is the bulk lane.
pub(super) type Wire = (usize, usize, bool);

/// Names what two devices have in common, whoever asks.
pub(super) fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

/// Which frames of news take the bulk lane, so that lanes overtake each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bulk {
    /// Those whose number has this parity.
    Parity(u64),
    /// A single one: the frame with this number from one device to another (their places). It
    /// comes at any time before or after the others.
    One(usize, usize, u64),
}

impl Bulk {
    /// Tells whether a frame takes the bulk lane.
    pub(super) fn takes(self, from: usize, to: usize, number: u64) -> bool {
        match self {
            Self::Parity(parity) => number % 2 == parity,
            Self::One(one, other, at) => (from, to, number) == (one, other, at),
        }
    }

    /// Tells whether any frame from one device to another takes the bulk lane.
    pub(super) fn is_on(self, from: usize, to: usize) -> bool {
        match self {
            Self::Parity(_) => true,
            Self::One(one, other, _) => (from, to) == (one, other),
        }
    }

    /// Tells apart what frames after `newest` will do.
    pub(super) fn phase(self, newest: u64) -> u64 {
        match self {
            Self::Parity(_) => newest % 2,
            Self::One(_, _, at) => newest.min(at),
        }
    }
}

/// What can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivery {
    /// Who sent it.
    pub from: usize,
    /// Who gets it.
    pub to: usize,
    /// Whether it is on the bulk lane.
    pub bulk: bool,
}

/// Sender, lane and receiver: `a->b`, or `a=>b` on the bulk lane.
impl std::fmt::Display for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lane = if self.bulk { "=" } else { "-" };
        write!(f, "{}{lane}>{}", letter(self.from), letter(self.to))
    }
}

impl World {
    /// Lists the messages that can arrive next: the first of each wire. What is on the bulk lane
    /// waits for the session's first word, as the daemon makes it wait.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        let first = |(from, to, bulk): &Wire| {
            let is_hello = |m: &Message| matches!(m, Message::Hello(_));
            let greets = |q: &VecDeque<Rc<Packet>>| {
                q.iter().any(|packet| packet.messages.first().is_some_and(is_hello))
            };
            let greeted = !*bulk || !self.wires.get(&(*from, *to, false)).is_some_and(greets);
            greeted.then_some(Delivery { from: *from, to: *to, bulk: *bulk })
        };
        self.wires.keys().filter_map(first).collect()
    }

    /// Lets the first message of a wire arrive.
    pub fn deliver(&mut self, which: Delivery) {
        let key = (which.from, which.to, which.bulk);
        let Some(queue) = self.wires.get_mut(&key) else { return };
        let Some(packet) = queue.pop_front() else { return };
        self.diary.step(format_args!("{which}"));
        if queue.is_empty() {
            self.wires.remove(&key);
        }
        let other = self.wires.get(&(which.from, which.to, !which.bulk));
        if other.and_then(VecDeque::front).is_some_and(|first| first.number < packet.number) {
            self.fired.note(Fault::Overtaken);
        }
        if !self.sessions.contains(&pair(which.from, which.to)) {
            return;
        }
        self.greeting_arrived(which.to, which.from);
        if self.devices[which.to].repeats && packet.brings_news() {
            self.device(which.to).repeats = false;
            self.fired.note(Fault::Repeated);
            self.hear(which, packet.messages.clone());
            self.repeating = true;
        }
        let messages = match Rc::try_unwrap(packet) {
            Ok(packet) => packet.messages,
            Err(shared) => shared.messages.clone(),
        };
        self.hear(which, messages);
        self.repeating = false;
        self.say();
    }

    fn hear(&mut self, which: Delivery, messages: Vec<Message>) {
        let peer = self.devices[which.from].id;
        for message in messages {
            let event = match message {
                Message::Hello(hello) => Event::PeerUp { peer, hello },
                Message::Offer(offer) => Event::Offered { peer, offer },
                Message::Ack(frames, aside, sent) => Event::Acked { peer, frames, aside, sent },
            };
            self.tell(which.to, event);
        }
    }

    /// Ends a session that one side cut, and begins another.
    pub(super) fn begin_session_anew(&mut self, a: usize, b: usize) {
        self.wires.retain(|(from, to, _), _| pair(*from, *to) != pair(a, b));
        self.saying.retain(|(from, to, _), _| pair(*from, *to) != pair(a, b));
        self.sessions.remove(&pair(a, b));
        for (at, other) in [(a, b), (b, a)] {
            let peer = self.devices[other].id;
            self.tell(at, Event::PeerDown { peer });
        }
        self.connect(a, b);
    }

    /// Puts what was said on the wires.
    pub(super) fn say(&mut self) {
        for (key, said) in std::mem::take(&mut self.saying) {
            self.send_packet(key, said);
        }
    }

    pub(super) fn send_packet(&mut self, wire: Wire, messages: Vec<Message>) {
        if self.half.contains(&wire.0) || self.half.contains(&wire.1) {
            return;
        }
        self.sent += 1;
        let packet = Packet { messages, number: self.sent, part: OnceCell::new() };
        self.wires.entry(wire).or_default().push_back(Rc::new(packet));
    }

    /// Lists all wires, empty or not.
    pub(super) fn wires(&self) -> Vec<Delivery> {
        let both = |(from, to): &(usize, usize)| {
            let (from, to) = (*from, *to);
            let lanes = match self.bulk {
                Some(bulk) if bulk.is_on(from, to) => &[false, true][..],
                Some(_) | None => &[false],
            };
            lanes.iter().map(move |bulk| Delivery { from, to, bulk: *bulk })
        };
        self.links.iter().flat_map(both).collect()
    }

    /// Takes everything off the wires.
    pub(super) fn take_packets(&mut self) -> impl Iterator<Item = (Delivery, Rc<Packet>)> + use<> {
        let wires = std::mem::take(&mut self.wires);
        wires.into_iter().flat_map(|((from, to, bulk), queue)| {
            queue.into_iter().map(move |packet| (Delivery { from, to, bulk }, packet))
        })
    }

    /// Puts a packet on a wire.
    pub(super) fn put_packet(&mut self, on: Delivery, packet: Rc<Packet>) {
        self.wires.entry((on.from, on.to, on.bulk)).or_default().push_back(packet);
    }
}

impl Packet {
    /// Returns its part of the state's fingerprint.
    pub(super) fn part(&self, ids: (DeviceId, DeviceId), store: StoreId) -> &Part {
        self.part.get_or_init(|| self.fingerprint(ids, store))
    }

    /// Tells whether it holds news.
    fn brings_news(&self) -> bool {
        self.messages.iter().any(|message| matches!(message, Message::Offer(_)))
    }

    /// Tells whether it only acknowledges.
    pub(super) fn is_ack(&self) -> bool {
        self.messages.iter().all(|message| matches!(message, Message::Ack(..)))
    }

    pub(super) fn fingerprint(&self, (from, to): (DeviceId, DeviceId), store: StoreId) -> Part {
        let mut sink = Sink::default();
        sink.value(self.messages.len());
        for message in &self.messages {
            match message {
                Message::Hello(hello) => {
                    sink.value((0, hello.store, hello.cursor.map(|c| c.store)));
                    if let Some(cursor) = hello.cursor {
                        sink.seq(to, cursor.store, cursor.seq);
                    }
                }
                Message::Offer(offer) => offer.fingerprint((from, store), to, &mut sink),
                Message::Ack(frames, aside, sent) => {
                    sink.value((1, frames.len(), aside.len()));
                    for number in frames.iter().chain(aside).flat_map(|(first, last)| [first, last])
                    {
                        sink.frame(to, from, *number);
                    }
                    sink.frame(from, to, *sent);
                }
            }
        }
        sink.part()
    }
}
