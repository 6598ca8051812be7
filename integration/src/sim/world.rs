//! Devices, a network with two lanes, and the daemon's loop around each engine.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use syncd_core::engine::{Cause, Event, FolderHello, Scope};
use syncd_core::flow::detect::Look;
use syncd_core::flow::index::MemIndex;
use syncd_core::flow::index::fingerprint::Fingerprint;
use syncd_core::flow::index::{Brake, Index};
use syncd_core::flow::offer::Offer;
use syncd_core::model::{DeviceId, Record, RelPath, Role, StoreId, Tick};

use super::device::{Device, Intent, is_synced};
use super::states::{self, Mixer, Part, Sink};

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
    part: OnceCell<Part>,
}

/// One direction of one lane: sender, receiver, whether it is the bulk lane.
type Wire = (usize, usize, bool);

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

/// Devices joined by a network.
#[derive(Debug, Clone)]
pub struct World {
    /// The devices, `a` first.
    pub devices: Vec<Rc<Device>>,
    /// Messages under way.
    wires: BTreeMap<Wire, VecDeque<Rc<Packet>>>,
    /// What the event under way has said so far.
    pub(super) saying: BTreeMap<Wire, Vec<Message>>,
    pub(super) links: BTreeSet<(usize, usize)>,
    /// Devices whose sessions are cut.
    pub(super) apart: BTreeSet<usize>,
    now: Tick,
    /// Which frames take the bulk lane whatever their size, if not all take one lane.
    pub(super) bulk: Option<Bulk>,
    /// Whether duties are done at a moment of their own, not at once.
    pub(super) late: bool,
    /// What becomes of offers on their way, see [`World::with_mangled_offers`].
    pub(super) mangle: Option<fn(&MemIndex, &mut Offer)>,
    /// What a device did that a lawful one never does.
    pub(super) broken: Option<String>,
    /// Every version that ever was in an index, with what it looked like.
    ever: Rc<BTreeMap<u64, u64>>,
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

impl World {
    /// Makes `count` devices, all joined (a mesh), or all joined to the first alone (a hub).
    /// With `bulk`, some frames take the bulk lane, so that lanes overtake.
    #[must_use]
    pub fn new(count: usize, hub: bool, bulk: Option<Bulk>) -> Self {
        let mut links = BTreeSet::new();
        for a in 0..count {
            for b in 0..count {
                if a != b && (!hub || a == 0 || b == 0) {
                    links.insert((a, b));
                }
            }
        }
        let devices = (0..count).map(|at| Rc::new(Device::new(at, &links))).collect();
        let mut world = Self {
            devices,
            wires: BTreeMap::new(),
            saying: BTreeMap::new(),
            links: links.clone(),
            apart: BTreeSet::new(),
            now: Tick(0),
            bulk,
            late: false,
            mangle: None,
            broken: None,
            ever: Rc::default(),
        };
        for at in 0..count {
            world.begin_look(at, Cause::Scanned, vec![Look::Tree(RelPath::root())]);
            let device = world.device(at);
            device.durable = Rc::new(device.index.clone());
        }
        for (a, b) in links.iter().filter(|(a, b)| a < b) {
            world.connect(*a, *b);
        }
        world
    }

    /// Lets every duty wait for a moment of its own from now on, as threads make it wait.
    #[must_use]
    pub fn with_late_hands(mut self) -> Self {
        self.late = true;
        self
    }

    /// Lets `mangle` change every offer on its way, given its sender's index: a way to break a rule
    /// and see that it is found.
    #[must_use]
    pub fn with_mangled_offers(mut self, mangle: fn(&MemIndex, &mut Offer)) -> Self {
        self.mangle = Some(mangle);
        self
    }

    /// Lets every device wait for a person's word on what peers delete, when it is more than half
    /// of all: with `without`, that one excepted.
    #[must_use]
    pub fn with_brakes(mut self, without: Option<usize>) -> Self {
        for at in (0..self.devices.len()).filter(|at| Some(*at) != without) {
            self.device(at).brake_files = Some(0);
            self.crash(at, false);
        }
        self
    }

    /// Returns a device to change.
    pub(super) fn device(&mut self, at: usize) -> &mut Device {
        let device = Rc::make_mut(&mut self.devices[at]);
        device.part.take();
        device
    }

    /// Opens a session between two devices.
    fn connect(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let hello = self.devices[from].hello(self.devices[to].id);
            self.send_packet((from, to, false), vec![Message::Hello(hello)]);
        }
    }

    /// Ends the sessions of a device: what was under way is lost.
    pub(super) fn disconnect(&mut self, at: usize) {
        for (a, b) in self.links.clone() {
            if a == at {
                let peer = self.devices[b].id;
                self.tell(at, Event::PeerDown { peer });
                let peer = self.devices[at].id;
                self.tell(b, Event::PeerDown { peer });
            }
        }
        self.wires.retain(|(from, to, _), _| *from != at && *to != at);
        self.saying.retain(|(from, to, _), _| *from != at && *to != at);
    }

    pub(super) fn reconnect(&mut self, at: usize) {
        for (a, b) in self.links.clone() {
            if a == at && !self.apart.contains(&a) && !self.apart.contains(&b) {
                self.connect(a, b);
            }
        }
    }

    /// Opens every session that is cut; `false` if there is none.
    pub fn reconnect_all(&mut self) -> bool {
        let apart = std::mem::take(&mut self.apart);
        for at in &apart {
            let with: Vec<usize> =
                self.links.iter().filter(|(a, _)| a == at).map(|(_, b)| *b).collect();
            for other in with {
                if !apart.contains(&other) || other > *at {
                    self.connect(*at, other);
                }
            }
        }
        !apart.is_empty()
    }

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
        if queue.is_empty() {
            self.wires.remove(&key);
        }
        let peer = self.devices[which.from].id;
        let messages = match Rc::try_unwrap(packet) {
            Ok(packet) => packet.messages,
            Err(shared) => shared.messages.clone(),
        };
        for message in messages {
            let event = match message {
                Message::Hello(hello) => Event::PeerUp { peer, hello },
                Message::Offer(offer) => Event::Offered { peer, offer },
                Message::Ack(frames, aside, sent) => Event::Acked { peer, frames, aside, sent },
            };
            self.tell(which.to, event);
        }
        self.say();
    }

    /// Puts what was said on the wires.
    pub(super) fn say(&mut self) {
        for (key, said) in std::mem::take(&mut self.saying) {
            self.send_packet(key, said);
        }
    }

    fn send_packet(&mut self, wire: Wire, messages: Vec<Message>) {
        let packet = Packet { messages, part: OnceCell::new() };
        self.wires.entry(wire).or_default().push_back(Rc::new(packet));
    }

    /// Lets the next timer of any device fire; `false` if there is none.
    pub fn next_timer(&mut self) -> bool {
        let due = self.devices.iter().filter_map(|d| d.engine.next_deadline()).min();
        let Some(due) = due else { return false };
        self.now = self.now.max(due);
        for at in 0..self.devices.len() {
            let now = self.now;
            let device = self.device(at);
            let woken = device.engine.wake(now, &mut device.index);
            self.note_error(at, woken);
            self.act(at);
        }
        self.say();
        true
    }

    pub(super) fn anybody_ignores(&self) -> bool {
        self.devices.iter().any(|device| device.ignored.is_some())
    }

    /// Lets the users of every device approve what waits for it; `false` if nothing does.
    pub(super) fn approve_held(&mut self) -> bool {
        let held = |at: &usize| !self.devices[*at].engine.held().is_empty();
        let all: Vec<usize> = (0..self.devices.len()).filter(held).collect();
        for at in &all {
            self.tell(*at, Event::Approved);
        }
        let decided = (0..self.devices.len()).any(|at| self.decide(at, true));
        self.say();
        decided || !all.is_empty()
    }

    /// Lets the user of a device decide on what its peers delete; `false` if nothing waits.
    pub(super) fn decide(&mut self, at: usize, approved: bool) -> bool {
        let marks = self.devices[at].index.marks().expect("the index in memory works");
        let is_held = |brake: &Brake| matches!(brake, Brake::Held { .. });
        let held = marks.brakes.into_iter().filter(|(_, brake)| is_held(brake));
        let peers: Vec<DeviceId> = held.map(|(peer, _)| peer).collect();
        for peer in &peers {
            self.tell(at, Event::Decided { peer: *peer, approved });
        }
        !peers.is_empty()
    }

    /// Lets every device send and receive again; `false` if all do.
    pub(super) fn restore_roles(&mut self) -> bool {
        let other = |at: &usize| self.devices[*at].role != Role::SendReceive;
        let all: Vec<usize> = (0..self.devices.len()).filter(other).collect();
        for at in &all {
            self.take_role(*at, Role::SendReceive);
        }
        self.say();
        !all.is_empty()
    }

    pub(super) fn read_rules(&mut self, at: usize) {
        let ignored = self.devices[at].ignored.clone();
        let synced = move |path: &RelPath, _: bool| is_synced(path, ignored.as_ref());
        let scope = Scope::new(synced);
        self.tell(at, Event::RulesChanged { scope, rule_files: BTreeSet::new() });
    }

    pub(super) fn tell(&mut self, at: usize, event: Event) {
        let now = self.now;
        if is_told() {
            eprintln!("{at} hears {event:?}");
        }
        let device = self.device(at);
        if let Event::Settled { outcomes } = &event {
            let settled = |intent: &Intent| outcomes.iter().any(|(t, _)| *t == intent.ticket);
            for intent in device.intents.iter_mut().filter(|i| settled(i)) {
                intent.indexed = true;
            }
        }
        let handled = device.engine.handle(now, event, &mut device.index);
        let Device { deeds, index, id, .. } = device;
        if deeds.has_open() {
            Rc::make_mut(deeds).close(*id, index);
        }
        self.note_error(at, handled);
        self.act(at);
    }

    fn note_error(&mut self, at: usize, outcome: Result<(), syncd_core::flow::index::IndexError>) {
        if let Err(error) = outcome {
            self.broken.get_or_insert(format!("device {at}: {error}"));
        }
        self.note_versions(at);
    }

    /// Checks that no version in the index of a device ever stood for another record, on any
    /// device: a law of the whole history, whatever has been overwritten since.
    fn note_versions(&mut self, at: usize) {
        let mut news = Vec::new();
        let mut second = None;
        for (path, entry) in self.devices[at].index.entries() {
            let (version, looks) = stands_for(path, &entry.record);
            match self.ever.get(&version) {
                None => news.push((version, looks)),
                Some(before) if *before == looks => {}
                Some(_) => {
                    let version = &entry.record.version;
                    second = Some(format!("{version:?} of {path} is two records"));
                }
            }
        }
        if !news.is_empty() {
            Rc::make_mut(&mut self.ever).extend(news);
        }
        if let Some(second) = second {
            self.broken.get_or_insert(second);
        }
    }

    /// Computes what tells this state from others, see [`states`].
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut shape = Sink::default();
        shape.value(self.now);
        let mut parts: Vec<&Part> = self.devices.iter().map(|d| d.part()).collect();
        for ((from, to, bulk), queue) in &self.wires {
            shape.value((from, to, bulk, queue.len()));
            let store = self.devices[*from].store;
            let ids = (self.devices[*from].id, self.devices[*to].id);
            parts.extend(queue.iter().map(|p| p.part.get_or_init(|| p.fingerprint(ids, store))));
        }
        let shape = shape.part();
        parts.push(&shape);
        states::fingerprint(parts.iter().copied(), self.bulk)
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

    /// Lists, by hash, every version that was in an index since this was last asked, and what it
    /// stood for.
    pub(super) fn take_versions(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(Rc::make_mut(&mut self.ever)).into_iter().collect()
    }
}

/// Returns, by hash, a version of a path and what it stands for.
pub(super) fn stands_for(path: &RelPath, record: &Record) -> (u64, u64) {
    let mut version = Mixer::default();
    (path, &record.version).hash(&mut version);
    let mut looks = Mixer::default();
    (record.kind, record.content, record.mode, record.mtime_ns, record.dot, record.found)
        .hash(&mut looks);
    (version.finish(), looks.finish())
}

impl Packet {
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

/// Whether to print what happens, to understand a failure.
pub fn is_told() -> bool {
    std::env::var_os("SYNCD_TRACE").is_some()
}
