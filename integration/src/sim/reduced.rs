//! Trying every order of what users do, in less time than one whole world after the other takes.
//!
//! A step of a world is an act of a device's users or a message that arrives at it. It changes
//! this device, takes the first message off a wire to it, and adds messages to the ends of wires
//! from it; what it does depends on nothing but the device and the message (bytes are fetched from
//! whoever told of them, and he keeps what he once had). Four things follow, and each spares work
//! without sparing an outcome:
//!
//! - **Devices are known by number.** A state is a number for what each device is, and one for each
//!   message under way (collapse compression: Holzmann, "State compression in SPIN", 1997). What
//!   a device does on an input is worked out once, by the engine, and then known for every state
//!   in which the device is the same. Two states of a device count as one when their fingerprints
//!   are equal, counters and frame numbers included, so that nothing is renamed here.
//! - **Some steps can go first.** Steps of different devices commute. When nobody else can put
//!   anything on a wire to device d that is empty now before d itself moves, whatever else
//!   happens leaves d the same choice, and only d's steps need be tried next (a persistent set:
//!   Godefroid, "Partial-order methods for the verification of concurrent systems", 1996).
//! - **Most acknowledgements arrive at once.** All that they ever do is to make room in windows,
//!   which a few acts do not fill, and to let tombstones be dropped that were told before. At a
//!   device that has none, an acknowledgement therefore commutes with every step that can come
//!   before it: what becomes a tombstone later has a later sequence than the acknowledged ones.
//! - **Nothing repeats.** Each step uses up an act or a frame, and the numbers of both only grow.
//!   An exchange without end is found by its length.
//!
//! What is checked at rest is not changed by the order of steps that commute. That one version is
//! one record is checked along each history that is tried; of two ways that lead to one state, what
//! lay behind the second is not compared with what lies before it.
//!
//! Histories in which fate acts are not for this: losing a store or a session touches several
//! devices at once. Tests compare the ends that this finds with those of [`super::orders`].

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

use syncd_core::model::Kind;

use super::device::Device;
use super::explore::STEPS_MAX;
use super::orders::{Acts, Check, Done, Move, Passed, Tally, rests_well};
use super::script::Op;
use super::states::{DEVICES_MAX, Mixer};
use super::wires::{Delivery, Packet};
use super::world::{World, stands_for};

/// What is known of devices is forgotten between scripts when it is more than this. One takes
/// some 15 KB.
const DEVICES_KEPT_MAX: usize = 50_000;

type Table<K, V> = HashMap<K, V, BuildHasherDefault<Mixer>>;

/// A state: which of the known states each device is in, and what is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    devices: [u32; DEVICES_MAX],
    done: Done,
    /// By wire, and on each in the order of sending.
    mail: Vec<Mail>,
}

/// A packet under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Mail {
    wire: u16,
    packet: u32,
}

/// What makes a device take a step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Input {
    Mail(Mail),
    Act(Op),
}

/// What one device does on one input, in one state.
#[derive(Debug)]
struct Step {
    device: u32,
    said: Vec<Mail>,
    /// Versions that came into its index, with what they looked like.
    versions: Vec<(u64, u64)>,
    broken: Option<String>,
}

/// Tries orders of one kind of world; what it has learned of single devices serves all.
pub struct Explorer {
    /// The world at rest before anything happens, with nothing under way.
    base: World,
    wires: Vec<Delivery>,
    devices: Vec<Rc<Device>>,
    device_ids: Table<(usize, u64), u32>,
    packets: Vec<Rc<Packet>>,
    packet_ids: Table<(u16, u64), u32>,
    steps: Table<(u32, Input), Rc<Step>>,
}

struct Walk<'a> {
    acts: &'a Acts,
    states_max: usize,
    check: Check<'a>,
    seen: HashSet<u64, BuildHasherDefault<Passed>>,
    tally: Tally,
    trace: Vec<Move>,
    /// Versions of the history being tried, with what they looked like.
    versions: HashMap<u64, u64, BuildHasherDefault<Passed>>,
}

impl Explorer {
    /// Makes one for a world that has come to rest.
    #[must_use]
    pub fn new(base: World) -> Self {
        let wires = base.wires();
        Self {
            base,
            wires,
            devices: Vec::new(),
            device_ids: Table::default(),
            packets: Vec::new(),
            packet_ids: Table::default(),
            steps: Table::default(),
        }
    }

    /// Tells whether any frame of the latest histories was on a bulk lane.
    #[must_use]
    pub fn has_used_bulk(&self) -> bool {
        self.packet_ids.keys().any(|(wire, _)| self.wires[usize::from(*wire)].bulk)
    }

    /// Tries every order in which `acts` and the deliveries can follow each other; each device's
    /// acts stay in order. Stops after `states_max` states, and says so in the tally.
    ///
    /// # Errors
    /// The trace and what does not hold.
    ///
    /// # Panics
    /// When an act is fate's, or a step is not what the module says a step is.
    pub fn every_order(
        &mut self,
        acts: &Acts,
        states_max: usize,
        check: Check<'_>,
    ) -> Result<Tally, String> {
        assert!(acts.are_plain(), "acts of fate touch several devices at once");
        if self.devices.len() > DEVICES_KEPT_MAX {
            *self = Self::new(self.base.clone());
        }
        let mut devices = [0; DEVICES_MAX];
        for (at, device) in self.base.devices.clone().into_iter().enumerate() {
            devices[at] = self.device_id(at, device);
        }
        let state = State { devices, done: Done::default(), mail: Vec::new() };
        let mut walk = Walk {
            acts,
            states_max,
            check,
            seen: HashSet::default(),
            tally: Tally::default(),
            trace: Vec::new(),
            versions: HashMap::default(),
        };
        self.from(&state, &mut walk)?;
        Ok(walk.tally)
    }

    fn from(&mut self, state: &State, walk: &mut Walk<'_>) -> Result<(), String> {
        let mut mixer = Mixer::default();
        state.hash(&mut mixer);
        if !walk.seen.insert(mixer.finish()) {
            return Ok(());
        }
        walk.tally.states += 1;
        if walk.trace.len() > STEPS_MAX {
            return Err(walk.acts.tell("it does not end", &walk.trace));
        }
        let moves = self.moves(state, walk.acts);
        for step in &moves {
            if walk.tally.states >= walk.states_max {
                walk.tally.cut_short = true;
                break;
            }
            walk.trace.push(*step);
            let mut next = state.clone();
            let mut noted = Vec::new();
            self.take(&mut next, *step, &mut noted, walk)?;
            self.take_acks(&mut next, &mut noted, walk)?;
            self.from(&next, walk)?;
            for version in noted {
                walk.versions.remove(&version);
            }
            walk.trace.pop();
        }
        if moves.is_empty() {
            walk.tally.rests += 1;
            rests_well(self.world(state), walk.check)
                .map_err(|what| walk.acts.tell(&what, &walk.trace))?;
        }
        Ok(())
    }

    fn moves(&self, state: &State, acts: &Acts) -> Vec<Move> {
        let count = self.base.devices.len();
        let mut full = [false; 2 * DEVICES_MAX * DEVICES_MAX];
        let mut can = [false; DEVICES_MAX];
        for mail in &state.mail {
            full[usize::from(mail.wire)] = true;
            can[self.wires[usize::from(mail.wire)].to] = true;
        }
        for (at, can) in can.iter_mut().enumerate().take(count) {
            *can |= acts.next(at, &state.done).is_some();
        }
        let only = (0..count).find(|me| can[*me] && self.is_first(*me, &can, &full));
        let may = |at: usize| only.is_none_or(|only| only == at);
        let mut moves = Vec::new();
        for (at, wire) in self.wires.iter().enumerate() {
            if full[at] && may(wire.to) {
                moves.push(Move::Deliver(*wire));
            }
        }
        let acting = |at: &usize| may(*at) && acts.next(*at, &state.done).is_some();
        moves.extend((0..count).filter(acting).map(Move::Play));
        moves
    }

    /// Tells whether nobody can send anything to `me`, before it moves, on a wire that is empty.
    fn is_first(&self, me: usize, can: &[bool; DEVICES_MAX], full: &[bool]) -> bool {
        let mut moves = *can;
        moves[me] = false;
        loop {
            let before = moves;
            for wire in self.wires.iter().filter(|wire| wire.to != me) {
                moves[wire.to] |= moves[wire.from];
            }
            if moves == before {
                break;
            }
        }
        let mut wires = self.wires.iter().enumerate();
        wires.all(|(at, wire)| wire.to != me || !moves[wire.from] || full[at])
    }

    fn take(
        &mut self,
        state: &mut State,
        step: Move,
        noted: &mut Vec<u64>,
        walk: &mut Walk<'_>,
    ) -> Result<(), String> {
        let (at, input) = match step {
            Move::Deliver(wire) => {
                let number = self.wires.iter().position(|w| *w == wire).unwrap_or_default();
                let first = state.mail.iter().position(|m| usize::from(m.wire) == number);
                (wire.to, Input::Mail(state.mail.remove(first.unwrap_or_default())))
            }
            Move::Play(at) => {
                let Some(op) = walk.acts.next(at, &state.done) else { return Ok(()) };
                let act = Input::Act(op.clone());
                state.done[at] += 1;
                (at, act)
            }
        };
        let step = self.step(state, at, input);
        state.devices[at] = step.device;
        for mail in &step.said {
            let after = state.mail.partition_point(|m| m.wire <= mail.wire);
            state.mail.insert(after, *mail);
        }
        if let Some(what) = &step.broken {
            return Err(walk.acts.tell(what, &walk.trace));
        }
        for (version, looks) in &step.versions {
            match walk.versions.insert(*version, *looks) {
                None => noted.push(*version),
                Some(before) if before == *looks => {}
                Some(_) => return Err(walk.acts.tell("a version is two records", &walk.trace)),
            }
        }
        Ok(())
    }

    /// Lets acknowledgements arrive that change nothing but what was acknowledged.
    fn take_acks(
        &mut self,
        state: &mut State,
        noted: &mut Vec<u64>,
        walk: &mut Walk<'_>,
    ) -> Result<(), String> {
        loop {
            let mut before = None;
            let first = state.mail.iter().find(|mail| {
                let is_first = before.replace(mail.wire) != Some(mail.wire);
                let to = state.devices[self.wires[usize::from(mail.wire)].to];
                is_first
                    && self.packets[mail.packet as usize].is_ack()
                    && has_no_tombstone(&self.devices[to as usize])
            });
            let Some(mail) = first else { return Ok(()) };
            let wire = self.wires[usize::from(mail.wire)];
            let count = state.mail.len();
            self.take(state, Move::Deliver(wire), noted, walk)?;
            assert!(state.mail.len() < count, "an acknowledgement was answered");
        }
    }

    /// Returns what a device does on an input.
    fn step(&mut self, state: &State, at: usize, input: Input) -> Rc<Step> {
        let key = (state.devices[at], input);
        if let Some(step) = self.steps.get(&key) {
            return step.clone();
        }
        let mut world = self.world(state);
        let before = world.devices.clone();
        match &key.1 {
            Input::Mail(mail) => {
                let wire = self.wires[usize::from(mail.wire)];
                world.put_packet(wire, self.packets[mail.packet as usize].clone());
                world.deliver(wire);
            }
            Input::Act(op) => world.play(at, op),
        }
        for (other, device) in before.iter().enumerate() {
            assert!(other == at || Rc::ptr_eq(device, &world.devices[other]), "a step of two");
        }
        let said: Vec<_> = world.take_packets().collect();
        let said = said.into_iter().map(|(wire, packet)| self.mail(wire, packet)).collect();
        let known: Vec<_> =
            before[at].index.entries().map(|(p, e)| stands_for(p, &e.record)).collect();
        let mut versions = world.take_versions();
        versions.retain(|version| !known.contains(version));
        let broken = world.broken.clone();
        let device = self.device_id(at, world.devices[at].clone());
        let step = Rc::new(Step { device, said, versions, broken });
        self.steps.insert(key, step.clone());
        step
    }

    /// Makes the world of a state, with nothing under way.
    fn world(&self, state: &State) -> World {
        let mut world = self.base.clone();
        for (device, id) in world.devices.iter_mut().zip(state.devices) {
            *device = self.devices[id as usize].clone();
        }
        world.take_versions();
        world
    }

    fn device_id(&mut self, at: usize, device: Rc<Device>) -> u32 {
        let next = number(self.devices.len());
        let id = *self.device_ids.entry((at, device.make_part().concrete())).or_insert(next);
        if id == next {
            self.devices.push(device);
        }
        id
    }

    fn mail(&mut self, on: Delivery, packet: Rc<Packet>) -> Mail {
        let at = self.wires.iter().position(|wire| *wire == on).expect("a wire");
        let wire = u16::try_from(at).expect("few wires");
        let next = number(self.packets.len());
        let [from, to] = [on.from, on.to].map(|at| &self.base.devices[at]);
        let part = packet.fingerprint((from.id, to.id), from.store);
        let id = *self.packet_ids.entry((wire, part.concrete())).or_insert(next);
        if id == next {
            self.packets.push(packet);
        }
        Mail { wire, packet: id }
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("fewer states than would fit in memory")
}

fn has_no_tombstone(device: &Device) -> bool {
    device.index.entries().all(|(_, entry)| entry.record.kind != Kind::Tombstone)
}
