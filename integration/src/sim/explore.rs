//! Trying orders: all of them, or many.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use super::oracle;
use super::script::Op;
use super::states::Mixer;
use super::world::{Delivery, World};

/// A history must come to rest within this many deliveries and timers.
const STEPS_MAX: usize = 3000;

/// Once users and fate have done all, it must come to rest within this many more. A mesh of five
/// has taken 4,000.
const REST_STEPS_MAX: usize = 20_000;

/// Timers that may fire in a row with nothing under way.
const TIMERS_MAX: usize = 50;

/// Steps of a trace that are shown.
const TRACE_MAX: usize = 200;

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

impl Tally {
    /// Takes in another exploration's count.
    pub fn add(&mut self, other: Self) {
        self.states += other.states;
        self.rests += other.rests;
        self.cut_short |= other.cut_short;
    }
}

/// Tries every order in which the acts of `ops` and the deliveries can follow each other; each
/// device's acts stay in order. Stops after `states_max` states, and says so in the tally.
///
/// Steps of different devices commute: each changes its own device, takes the first message of
/// wires to it and adds to the end of wires from it. So when nobody else can put anything on a
/// wire to device d that is empty now before d itself moves, whatever else happens leaves d the
/// same choice, and only d's steps need be tried next (a persistent set, Godefroid 1996). What
/// is checked at rest is not changed by the order of steps that commute; that one version is one
/// record is checked over the whole of each history for the same reason. Acts of fate touch
/// several devices at once: histories with such are tried without this.
///
/// A state that comes again within one history is an exchange that can go on for ever.
///
/// # Errors
/// The trace and what does not hold.
pub fn every_order(
    world: &World,
    ops: &[(usize, Op)],
    states_max: usize,
    check: &dyn Fn(&World) -> Result<(), String>,
) -> Result<Tally, String> {
    let plain = ops.iter().all(|(_, op)| op.is_plain());
    let walk = Walk { ops, states_max, check, plain };
    let mut progress = Progress::default();
    walk.from(world, &vec![false; ops.len()], &mut progress)?;
    Ok(progress.tally)
}

struct Walk<'a> {
    ops: &'a [(usize, Op)],
    states_max: usize,
    check: &'a dyn Fn(&World) -> Result<(), String>,
    /// Whether all acts are users'.
    plain: bool,
}

#[derive(Default)]
struct Progress {
    /// States that were visited, and whether they belong to the history being tried.
    seen: HashMap<u64, bool, BuildHasherDefault<Passed>>,
    tally: Tally,
    trace: Vec<Move>,
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Deliver(Delivery),
    Play(usize),
}

impl Walk<'_> {
    fn from(&self, world: &World, played: &[bool], so_far: &mut Progress) -> Result<(), String> {
        let fingerprint = fingerprint(world, played);
        match so_far.seen.insert(fingerprint, true) {
            None => {}
            Some(false) => {
                so_far.seen.insert(fingerprint, false);
                return Ok(());
            }
            Some(true) => return Err(self.tell("it goes round and round".to_owned(), so_far)),
        }
        so_far.tally.states += 1;
        oracle::always(world).map_err(|what| self.tell(what, so_far))?;
        if so_far.trace.len() > STEPS_MAX {
            return Err(self.tell("it does not end".to_owned(), so_far));
        }
        let moves = self.moves(world, played);
        for step in &moves {
            if so_far.tally.states >= self.states_max {
                so_far.tally.cut_short = true;
                break;
            }
            let mut next = world.clone();
            so_far.trace.push(*step);
            match step {
                Move::Deliver(delivery) => {
                    next.deliver(*delivery);
                    self.from(&next, played, so_far)?;
                }
                Move::Play(at) => {
                    next.play(self.ops[*at].0, &self.ops[*at].1);
                    let mut played = played.to_vec();
                    played[*at] = true;
                    self.from(&next, &played, so_far)?;
                }
            }
            so_far.trace.pop();
        }
        if moves.is_empty() {
            let mut rest = world.clone();
            so_far.tally.rests += 1;
            come_to_rest(&mut rest)
                .and_then(|()| oracle::at_rest(&rest))
                .and_then(|()| (self.check)(&rest))
                .map_err(|what| self.tell(what, so_far))?;
        }
        so_far.seen.insert(fingerprint, false);
        Ok(())
    }

    /// Lists the steps to try next.
    fn moves(&self, world: &World, played: &[bool]) -> Vec<Move> {
        let mut moves: Vec<(usize, Move)> =
            world.deliveries().into_iter().map(|d| (d.to, Move::Deliver(d))).collect();
        let acts = playable(played, self.ops);
        moves.extend(acts.iter().map(|at| (self.ops[*at].0, Move::Play(*at))));
        if self.plain && moves.len() > 1 {
            let mut idle = vec![true; world.devices.len()];
            for at in acts {
                idle[self.ops[at].0] = false;
            }
            if let Some(first) = world.first_mover(&idle) {
                moves.retain(|(device, _)| *device == first);
            }
        }
        moves.into_iter().map(|(_, step)| step).collect()
    }

    fn tell(&self, what: String, so_far: &Progress) -> String {
        let shown = |step: &Move| match step {
            Move::Deliver(delivery) => shown(delivery),
            Move::Play(at) => format!("{:?}", self.ops[*at]),
        };
        let trace: Vec<String> = so_far.trace.iter().take(TRACE_MAX).map(shown).collect();
        format!("{what}\nops: {:?}\nafter: {}", self.ops, trace.join(", "))
    }
}

/// Lists the acts that can come next: the first unplayed one of each device.
fn playable(played: &[bool], ops: &[(usize, Op)]) -> Vec<usize> {
    let mut devices = BTreeSet::new();
    let first = |at: &usize| !played[*at] && devices.insert(ops[*at].0);
    (0..ops.len()).filter(first).collect()
}

/// Delivers and waits until nothing is under way and no fault is left: all are joined, deletes
/// that wait for approval are approved, and all send and receive.
///
/// # Errors
/// When it does not end.
pub fn come_to_rest(world: &mut World) -> Result<(), String> {
    let mut timers = 0;
    world.reconnect_all();
    for _ in 0..REST_STEPS_MAX {
        oracle::always(world)?;
        if let Some(delivery) = world.deliveries().first() {
            world.deliver(*delivery);
        } else if let Some((at, _)) = world.duties().first() {
            world.do_duty(*at, 0);
        } else if world.approve_held() || world.restore_roles() {
            timers = 0;
        } else if timers < TIMERS_MAX && world.next_timer() {
            timers += 1;
        } else if timers < TIMERS_MAX || world.anybody_ignores() {
            // What only a device that ignores it knows of may have no bytes anywhere.
            return Ok(());
        } else {
            return Err(format!("something waits for ever\n{}", oracle::indexes(world)));
        }
    }
    Err("it does not end".to_owned())
}

fn shown(delivery: &Delivery) -> String {
    let lane = if delivery.bulk { "=" } else { "-" };
    format!("{}{lane}>{}", name(delivery.from), name(delivery.to))
}

fn name(at: usize) -> char {
    char::from(b'a' + u8::try_from(at).unwrap_or(25))
}

fn fingerprint(world: &World, played: &[bool]) -> u64 {
    let played = played.iter().fold(1_u64, |bits, played| bits << 1 | u64::from(*played));
    let mut mixer = Mixer(world.fingerprint());
    mixer.write_u64(played);
    mixer.finish()
}

/// Passes a fingerprint on: it is a hash already.
#[derive(Debug, Clone, Copy, Default)]
struct Passed(u64);

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

/// Plays `ops`, deliveries and duties in an order drawn from `seed`.
///
/// # Errors
/// The seed and what does not hold.
pub fn random(
    mut world: World,
    ops: &[(usize, Op)],
    seed: u64,
    check: &dyn Fn(&World) -> Result<(), String>,
) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let mut played = vec![false; ops.len()];
    let mut trace = Vec::new();
    let mut outcome = Ok(());
    // Some schedules are hasty: users act oftener than anything else happens.
    let haste = 1 + dice.below(4);
    while outcome.is_ok() && trace.len() < STEPS_MAX {
        let deliveries = world.deliveries();
        let acts = playable(&played, ops);
        let duties = world.duties();
        let all = deliveries.len() + duties.len() + acts.len() * haste;
        if all == 0 {
            break;
        }
        let pick = dice.below(all);
        if let Some(delivery) = deliveries.get(pick) {
            trace.push(shown(delivery));
            world.deliver(*delivery);
        } else if let Some((at, count)) = duties.get(pick - deliveries.len()) {
            let which = dice.below(*count);
            trace.push(format!("{}.{which}", name(*at)));
            world.do_duty(*at, which);
        } else {
            let at = acts[(pick - deliveries.len() - duties.len()) / haste];
            trace.push(format!("{:?}", ops[at]));
            world.play(ops[at].0, &ops[at].1);
            played[at] = true;
        }
        outcome = oracle::always(&world);
    }
    outcome
        .and_then(|()| come_to_rest(&mut world))
        .and_then(|()| oracle::at_rest(&world))
        .and_then(|()| check(&world))
        .map_err(|what| format!("seed {seed}: {what}\nops: {ops:?}\nafter: {}", trace.join(", ")))
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Makes dice that always fall the same way for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Draws a number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Draws a number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % (end.max(1) as u64)).unwrap_or(0)
    }
}
