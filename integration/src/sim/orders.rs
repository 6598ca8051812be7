//! Trying every order, one whole world after the other: for histories in which fate acts too, and
//! to compare [`super::reduced`] with.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::explore::{STEPS_MAX, come_to_rest};
use super::oracle;
use super::script::Op;
use super::states::{DEVICES_MAX, Mixer};
use super::wires::Delivery;
use super::world::World;

/// Steps of a trace that are shown.
const TRACE_MAX: usize = 200;

/// What happens: for each device its acts, in their order.
#[derive(Debug, Clone)]
pub struct Acts(Vec<Vec<Op>>);

/// How many acts of each device are done.
pub(super) type Done = [u8; DEVICES_MAX];

/// What can happen next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Move {
    /// The first message of a wire arrives.
    Deliver(Delivery),
    /// A device's users do their next act.
    Play(usize),
}

/// What an exploration came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Different states visited.
    pub states: usize,
    /// Of these, at rest.
    pub rests: usize,
    /// Whether the cap on states ended it early.
    pub cut_short: bool,
}

/// What must hold at rest, beside the laws.
pub type Check<'a> = &'a dyn Fn(&World) -> Result<(), String>;

impl Tally {
    /// Takes in another exploration's count.
    pub fn add(&mut self, other: Self) {
        self.states += other.states;
        self.rests += other.rests;
        self.cut_short |= other.cut_short;
    }
}

impl Acts {
    /// Makes it of a script among `devices` devices.
    #[must_use]
    pub fn new(devices: usize, ops: &[(usize, Op)]) -> Self {
        let of = |device: usize| {
            ops.iter().filter(|(at, _)| *at == device).map(|(_, op)| op.clone()).collect()
        };
        Self((0..devices).map(of).collect())
    }

    /// Tells whether all acts are users'.
    #[must_use]
    pub fn are_plain(&self) -> bool {
        self.0.iter().flatten().all(Op::is_plain)
    }

    /// Returns the next act of a device, if there is one.
    pub(super) fn next(&self, at: usize, done: &Done) -> Option<&Op> {
        self.0.get(at).and_then(|acts| acts.get(usize::from(done[at])))
    }

    /// Says `what` does not hold, and after which moves.
    pub(super) fn tell(&self, what: &str, trace: &[Move]) -> String {
        let mut done = Done::default();
        let mut shown_all = Vec::new();
        for step in trace.iter().take(TRACE_MAX) {
            match *step {
                Move::Deliver(delivery) => shown_all.push(delivery.to_string()),
                Move::Play(at) => {
                    shown_all.push(format!("{:?}", (at, self.next(at, &done))));
                    done[at] += 1;
                }
            }
        }
        format!("{what}\nafter: {}", shown_all.join(", "))
    }
}

/// Tries every order in which `acts` and the deliveries can follow each other; each device's acts
/// stay in order. Stops after `states_max` states, and says so in the tally.
///
/// A state that comes again within one history is an exchange that can go on for ever.
///
/// # Errors
/// The trace and what does not hold.
pub fn every_order(
    world: &World,
    acts: &Acts,
    states_max: usize,
    check: Check<'_>,
) -> Result<Tally, String> {
    let walk = Walk { acts, states_max, check };
    let mut progress = Progress::default();
    walk.from(world, Done::default(), &mut progress)?;
    Ok(progress.tally)
}

struct Walk<'a> {
    acts: &'a Acts,
    states_max: usize,
    check: Check<'a>,
}

#[derive(Default)]
struct Progress {
    /// States that were visited, and whether they belong to the history being tried.
    seen: HashMap<u64, bool, BuildHasherDefault<Passed>>,
    tally: Tally,
    trace: Vec<Move>,
}

impl Walk<'_> {
    fn from(&self, world: &World, done: Done, so_far: &mut Progress) -> Result<(), String> {
        let fingerprint = fingerprint(world, &done);
        match so_far.seen.insert(fingerprint, true) {
            None => {}
            Some(false) => {
                so_far.seen.insert(fingerprint, false);
                return Ok(());
            }
            Some(true) => return Err(self.tell("it goes round and round", so_far)),
        }
        so_far.tally.states += 1;
        oracle::always(world).map_err(|what| self.tell(&what, so_far))?;
        if so_far.trace.len() > STEPS_MAX {
            return Err(self.tell("it does not end", so_far));
        }
        let mut moves: Vec<Move> = world.deliveries().into_iter().map(Move::Deliver).collect();
        let acting = (0..world.devices.len()).filter(|at| self.acts.next(*at, &done).is_some());
        moves.extend(acting.map(Move::Play));
        for step in &moves {
            if so_far.tally.states >= self.states_max {
                so_far.tally.cut_short = true;
                break;
            }
            so_far.trace.push(*step);
            let (mut next, mut done) = (world.clone(), done);
            match *step {
                Move::Deliver(delivery) => next.deliver(delivery),
                Move::Play(at) => {
                    if let Some(op) = self.acts.next(at, &done) {
                        next.play(at, op);
                    }
                    done[at] += 1;
                }
            }
            self.from(&next, done, so_far)?;
            so_far.trace.pop();
        }
        if moves.is_empty() {
            so_far.tally.rests += 1;
            rests_well(world.clone(), self.check).map_err(|what| self.tell(&what, so_far))?;
        }
        so_far.seen.insert(fingerprint, false);
        Ok(())
    }

    fn tell(&self, what: &str, so_far: &Progress) -> String {
        self.acts.tell(what, &so_far.trace)
    }
}

/// Lets a world in which nothing is under way come to rest, and checks all that must hold then.
pub(super) fn rests_well(mut world: World, check: Check<'_>) -> Result<(), String> {
    come_to_rest(&mut world)?;
    oracle::at_rest(&world)?;
    check(&world)
}

fn fingerprint(world: &World, done: &Done) -> u64 {
    let mut mixer = Mixer(world.fingerprint());
    done.hash(&mut mixer);
    mixer.finish()
}

/// Passes a fingerprint on: it is a hash already.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Passed(u64);

impl Hasher for Passed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |all, byte| all << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}
