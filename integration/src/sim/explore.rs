//! Trying many orders, and coming to rest. All of them: [`super::orders`].

use std::collections::BTreeSet;

use super::diary::letter;
use super::oracle;
use super::script::Op;
use super::wires::Delivery;
use super::world::World;

/// A history must come to rest within this many deliveries and timers.
pub(super) const STEPS_MAX: usize = 3000;

/// Once users and fate have done all, it must come to rest within this many more. A mesh of five
/// has taken 4,000.
const REST_STEPS_MAX: usize = 20_000;

/// Timers that may fire in a row with nothing under way.
const TIMERS_MAX: usize = 50;

/// Delivers and waits until nothing is under way and no fault is left: all are joined, deletes
/// that wait for approval are approved, and all send and receive.
///
/// # Errors
/// When it does not end.
pub fn come_to_rest(world: &mut World) -> Result<(), String> {
    let mut timers = 0;
    world.mend();
    world.all_come_back();
    world.reconnect_all();
    for _ in 0..REST_STEPS_MAX {
        oracle::always(world)?;
        if let Some(delivery) = world.deliveries().first() {
            world.deliver(*delivery);
        } else if let Some((at, _)) = world.duties().first() {
            world.do_duty(*at, 0);
        } else if world.scan_the_missed() || world.approve_held() || world.restore_roles() {
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
    Err(format!("it does not end\n{}", oracle::indexes(world)))
}

/// Lists the acts that can come next: the first unplayed one of each device.
fn playable(played: &[bool], ops: &[(usize, Op)]) -> Vec<usize> {
    let mut devices = BTreeSet::new();
    let first = |at: &usize| !played[*at] && devices.insert(ops[*at].0);
    (0..ops.len()).filter(first).collect()
}

/// What happened next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Delivered(Delivery),
    /// A device did one of its duties, by its place.
    Did(usize, usize),
    /// An act was played, by its place.
    Played(usize),
}

/// Plays `ops`, deliveries and duties in an order drawn from `order`, lets the world come to rest
/// and checks all that must hold. Returns how many steps there were before all was done.
///
/// # Errors
/// What does not hold, and after which steps.
pub fn random(world: &mut World, ops: &[(usize, Op)], order: u64) -> Result<usize, String> {
    let mut trace = Vec::new();
    let outcome = schedule(world, ops, order, &mut trace)
        .and_then(|()| {
            world.diary.step(format_args!("nothing more is done; all faults are lifted"));
            come_to_rest(world)
        })
        .and_then(|()| oracle::at_rest(world));
    let told = |step: &Step| match *step {
        Step::Delivered(delivery) => delivery.to_string(),
        Step::Did(at, which) => format!("{}.{which}", letter(at)),
        Step::Played(at) => format!("{}:{}", letter(ops[at].0), ops[at].1),
    };
    outcome.map(|()| trace.len()).map_err(|what| {
        let trace: Vec<String> = trace.iter().map(told).collect();
        format!("{what}\nafter: {}", trace.join(", "))
    })
}

fn schedule(
    world: &mut World,
    ops: &[(usize, Op)],
    order: u64,
    trace: &mut Vec<Step>,
) -> Result<(), String> {
    let mut dice = Dice::new(order);
    let mut played = vec![false; ops.len()];
    // Some schedules are hasty: users act oftener than anything else happens.
    let haste = 1 + dice.below(4);
    while trace.len() < STEPS_MAX {
        let deliveries = world.deliveries();
        let acts = playable(&played, ops);
        let duties = world.duties();
        let all = deliveries.len() + duties.len() + acts.len() * haste;
        if all == 0 {
            break;
        }
        let pick = dice.below(all);
        if let Some(delivery) = deliveries.get(pick) {
            trace.push(Step::Delivered(*delivery));
            world.deliver(*delivery);
        } else if let Some((at, count)) = duties.get(pick - deliveries.len()) {
            let which = dice.below(*count);
            trace.push(Step::Did(*at, which));
            world.do_duty(*at, which);
        } else {
            let at = acts[(pick - deliveries.len() - duties.len()) / haste];
            trace.push(Step::Played(at));
            world.play(ops[at].0, &ops[at].1);
            played[at] = true;
        }
        oracle::always(world)?;
    }
    Ok(())
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
