//! Devices, a network with two lanes, and the daemon's loop around each engine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use syncd_core::engine::{Cause, Event, Scope};
use syncd_core::flow::detect::Look;
use syncd_core::flow::index::MemIndex;
use syncd_core::flow::index::fingerprint::Fingerprint;
use syncd_core::flow::index::{Brake, Index};
use syncd_core::flow::offer::Offer;
use syncd_core::model::{DeviceId, Record, RelPath, Role, Tick};

use super::device::{Device, Intent, is_synced};
use super::diary::Diary;
use super::faults::{Fault, Fired};
use super::states::{self, Mixer, Part, Sink};
use super::wires::{Bulk, Message, Packet, Wire, pair};

/// Devices joined by a network.
#[derive(Debug, Clone)]
pub struct World {
    /// The devices, `a` first.
    pub devices: Vec<Rc<Device>>,
    /// Messages under way.
    pub(super) wires: BTreeMap<Wire, VecDeque<Rc<Packet>>>,
    /// What the event under way has said so far.
    pub(super) saying: BTreeMap<Wire, Vec<Message>>,
    pub(super) links: BTreeSet<(usize, usize)>,
    /// Devices whose sessions are cut.
    pub(super) apart: BTreeSet<usize>,
    /// Of these, those whose peers have not noticed.
    pub(super) half: BTreeSet<usize>,
    /// Links of devices that were taken out of the folder.
    pub(super) left: BTreeSet<(usize, usize)>,
    /// Whose sessions are open, by pair.
    pub(super) sessions: BTreeSet<(usize, usize)>,
    /// Whether what arrives now has arrived before.
    pub(super) repeating: bool,
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
    /// What went wrong so far.
    pub(super) fired: Fired,
    /// How many packets were sent: each has its number, to tell which overtook.
    pub(super) sent: u64,
    /// What is noted of all this.
    pub diary: Diary,
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
            half: BTreeSet::new(),
            left: BTreeSet::new(),
            sessions: BTreeSet::new(),
            repeating: false,
            now: Tick(0),
            bulk,
            late: false,
            mangle: None,
            broken: None,
            ever: Rc::default(),
            fired: Fired::default(),
            sent: 0,
            diary: Diary::Closed,
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

    /// Says how many devices there are, and how they are joined.
    #[must_use]
    pub fn shape(&self) -> String {
        let count = self.devices.len();
        let is_mesh = self.links.len() == count * (count - 1);
        let joined = if is_mesh { "in a mesh" } else { "around a hub" };
        let hands = if self.late { "late" } else { "prompt" };
        format!("{count} devices {joined}, {hands} hands, lanes {:?}", self.bulk)
    }

    /// Tells how often each kind of fault fired.
    #[must_use]
    pub fn fired(&self) -> &Fired {
        &self.fired
    }

    /// Counts faults from here on; what is known by now has long been flushed.
    pub fn begin_anew(&mut self) {
        self.fired = Fired::default();
        for at in 0..self.devices.len() {
            let device = self.device(at);
            device.durable = Rc::new(device.index.clone());
        }
    }

    /// Returns a device to change.
    pub(super) fn device(&mut self, at: usize) -> &mut Device {
        let device = Rc::make_mut(&mut self.devices[at]);
        device.part.take();
        device
    }

    /// Opens a session between two devices.
    pub(super) fn connect(&mut self, a: usize, b: usize) {
        // Whoever is behind begins anew, and greets everybody again.
        if self.sessions.contains(&pair(a, b)) || !self.greet(a, b) {
            return;
        }
        self.sessions.insert(pair(a, b));
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
        self.half.remove(&at);
        self.sessions.retain(|(a, b)| *a != at && *b != at);
        let before = self.wires.len();
        self.wires.retain(|(from, to, _), _| *from != at && *to != at);
        self.fired.add(Fault::MessagesLost, before - self.wires.len());
        self.saying.retain(|(from, to, _), _| *from != at && *to != at);
    }

    pub(super) fn reconnect(&mut self, at: usize) {
        if !self.apart.contains(&at) {
            self.notice_the_dead(at);
        }
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
            self.notice_the_dead(*at);
        }
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

    /// Lets the next timer of any device fire; `false` if there is none.
    pub fn next_timer(&mut self) -> bool {
        let due = self.devices.iter().filter_map(|d| d.engine.next_deadline()).min();
        let Some(due) = due else { return false };
        self.now = self.now.max(due);
        self.diary.step(format_args!("time passes: {:?}", self.now));
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
        let peers = self.braked_peers(at);
        for peer in &peers {
            self.tell(at, Event::Decided { peer: *peer, approved });
        }
        !peers.is_empty()
    }

    /// Lists the peers whose deletes wait at a device.
    pub(super) fn braked_peers(&self, at: usize) -> Vec<DeviceId> {
        let marks = self.devices[at].index.marks().expect("the index in memory works");
        let is_held = |brake: &Brake| matches!(brake, Brake::Held { .. });
        let held = marks.brakes.into_iter().filter(|(_, brake)| is_held(brake));
        held.map(|(peer, _)| peer).collect()
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
        self.diary.hears(at, &event);
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
            parts.extend(queue.iter().map(|packet| packet.part(ids, store)));
        }
        let shape = shape.part();
        parts.push(&shape);
        states::fingerprint(parts.iter().copied(), self.bulk)
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
