//! Random schedules of random histories, beyond what can be tried in every order.
//!
//! `SYNCD_SEED=n` replays one; `SYNCD_SEEDS=n` tries so many, from `SYNCD_FROM=n` on;
//! `SYNCD_LONG=1` tries a million.

use syncd_core::model::{Favour, RelPath, Role};
use syncd_integration::sim::explore::{self, Dice};
use syncd_integration::sim::{self, Bulk, Op, World};

/// Seeds that are tried unless told otherwise.
const SEEDS: u64 = 20_000;

/// Seeds of a long run.
const SEEDS_LONG: u64 = 1_000_000;

/// What a history may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breed {
    /// Users alone.
    Users,
    /// And sessions that end, processes that are killed, scans.
    Faults,
    /// And rules that change, stores that are lost.
    Fate,
    /// And roles that change, joins and persons' words on who wins.
    Roles,
    /// Faults, and power that is lost.
    Power,
    /// Faults, and a brake on what peers delete.
    Brakes,
}

/// What happens to devices that send and receive.
const ORDINARY: &[Breed] = &[Breed::Users, Breed::Faults, Breed::Fate];

/// What happens where roles change.
const ROLES: &[Breed] = &[Breed::Roles];

/// What happens where power is lost.
const POWER: &[Breed] = &[Breed::Power];

fn path(text: &str) -> RelPath {
    RelPath::parse(text).expect("a path")
}

fn draw(dice: &mut Dice, breeds: &[Breed]) -> (World, Vec<(usize, Op)>, Breed) {
    let breed = breeds[dice.below(breeds.len())];
    let devices = [2, 2, 3, 3, 4, 5][dice.below(6)];
    let hub = dice.below(2) == 0;
    let parity = [None, Some(0), Some(1)][dice.below(3)];
    let mut world = World::new(devices, hub, parity.map(Bulk::Parity));
    explore::come_to_rest(&mut world).expect("an empty folder comes to rest");
    if breed == Breed::Brakes {
        let without = [None, Some(0), Some(1)][dice.below(3)];
        world = world.with_brakes(without);
        explore::come_to_rest(&mut world).expect("an empty folder comes to rest");
    }
    if dice.below(3) > 0 {
        world = world.with_late_hands();
    }
    let count = if devices == 2 { 2 + dice.below(11) } else { 2 + dice.below(5) };
    let mut ops: Vec<_> =
        (0..count).map(|at| (dice.below(devices), act(dice, at, breed))).collect();
    // A hub that ignores a path cannot hand on its bytes: who wants them waits, and says so.
    ops.retain(|(at, op)| !(hub && devices > 2 && *at == 0 && matches!(op, Op::Ignore(_))));
    // A file cannot take the place of a directory that ignored content keeps: it waits, and the
    // device says so. That is no rest the oracle knows.
    let d = path("d");
    let keeps = |op: &Op| matches!(op, Op::Ignore(Some(at)) if at.is_below(&d));
    if ops.iter().any(|(_, op)| keeps(op)) {
        ops.retain(|(_, op)| !matches!(op, Op::Write(at, ..) | Op::Rename(_, at) if *at == d));
    }
    (world, ops, breed)
}

fn act(dice: &mut Dice, at: usize, breed: Breed) -> Op {
    let paths = ["p", "q", "d", "d/f", "d/g", "d/e/f"];
    let mut some = || path(paths[dice.below(paths.len())]);
    let (one, other) = (some(), some());
    let mtime = i64::try_from(1 + dice.below(3)).expect("small");
    let name = if dice.below(4) == 0 { "same".to_owned() } else { format!("w{at}") };
    if breed == Breed::Power && dice.below(6) == 0 {
        return Op::PowerLoss(one, Some(format!("w{}", dice.below(at + 1))), mtime);
    }
    if breed == Breed::Brakes && dice.below(5) == 0 {
        return Op::Decide(dice.below(2) == 0);
    }
    let kinds = match breed {
        Breed::Users => 10,
        Breed::Faults | Breed::Power | Breed::Brakes => 16,
        Breed::Fate => 19,
        Breed::Roles => 29,
    };
    match dice.below(kinds) {
        0..4 => Op::Write(one, name, mtime),
        4 => Op::Touch(one, mtime),
        5 | 6 => Op::Delete(one),
        7 => Op::Rename(one, other),
        8 => Op::MakeDir(if dice.below(2) == 0 { path("d") } else { path("d/e") }),
        9 => Op::DeleteCopy,
        10 => Op::Cut,
        11 | 12 => Op::Join,
        13 => Op::Scan,
        14 => Op::CrashAfterSettle,
        15 => Op::Crash,
        16 => Op::LoseStore,
        17 => Op::Ignore([None, Some(path("d/e")), Some(path("q"))][dice.below(3)].clone()),
        18 => Op::Reject,
        19..24 => Op::Role([Role::SendReceive, Role::SendOnly, Role::ReceiveOnly][dice.below(3)]),
        24 | 25 => Op::Overrule,
        26 | 27 => Op::GiveUp,
        _ => Op::Rejoin([Favour::Here, Favour::There, Favour::Newer][dice.below(3)]),
    }
}

fn holds(seed: u64, breeds: &[Breed]) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let (world, ops, breed) = draw(&mut dice, breeds);
    explore::random(world, &ops, seed, &|_| Ok(())).map_err(|what| format!("{breed:?} {what}"))
}

#[test]
fn schedules_that_once_failed_keep_the_laws() {
    let lines = include_str!("../seeds/schedules.txt").lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().expect("breeds, a seed and its reason");
        let breeds = match word() {
            "ordinary" => ORDINARY,
            "roles" => ROLES,
            "power" => POWER,
            other => panic!("no such breeds: {other}"),
        };
        let (seed, because) = (word().parse().expect("a seed"), word());
        holds(seed, breeds).unwrap_or_else(|what| panic!("{because}: {what}"));
    }
}

#[test]
fn random_schedules_keep_the_laws() {
    all_hold(ORDINARY);
}

/// Whatever roles devices had and whoever was preferred: once all send and receive again, all is
/// as it must be.
#[test]
fn roles_that_changed_leave_nothing_behind() {
    all_hold(ROLES);
}

#[test]
fn what_a_power_loss_leaves_keeps_the_laws() {
    all_hold(POWER);
}

/// Whatever peers delete, whoever is asked, and whoever restarts before somebody answers.
#[test]
fn what_waits_for_a_person_keeps_the_laws() {
    all_hold(&[Breed::Brakes]);
}

fn all_hold(breeds: &[Breed]) {
    let given = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match given("SYNCD_SEED") {
        Some(seed) => seed..seed + 1,
        None if given("SYNCD_LONG").is_some() => 0..SEEDS_LONG,
        None => {
            let first = given("SYNCD_FROM").unwrap_or(0);
            first..first + given("SYNCD_SEEDS").unwrap_or(SEEDS)
        }
    };
    let mut failed = Vec::new();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        if sim::world::is_told() {
            eprintln!("seed {seed}");
        }
        let outcome = std::panic::catch_unwind(|| holds(seed, breeds));
        let outcome = outcome.unwrap_or_else(|_| Err(format!("seed {seed} panicked")));
        failed.extend(outcome.err());
        if failed.len() >= 20 {
            break;
        }
    }
    // The shortest is the easiest to understand.
    failed.sort_by_key(|what| what.len());
    for what in &failed {
        println!("{}", what.lines().next().unwrap_or_default());
    }
    assert!(failed.is_empty(), "{} of {count} failed, e.g.\n{}", failed.len(), failed[0]);
}
