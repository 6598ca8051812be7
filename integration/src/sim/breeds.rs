//! Histories drawn from a seed: how many devices, who is joined to whom, what users do, and what
//! goes wrong.
//!
//! A seed names a history only as long as histories are drawn as they are: whoever adds something
//! to a breed gives up the seeds of it that once failed (`seeds/schedules.txt`), and so a new kind
//! of fault gets a breed of its own.

use std::collections::BTreeMap;

use syncd_core::model::{Favour, RelPath, Role};

use super::explore::{self, Dice};
use super::faults::Fault;
use super::mishaps::{Failure, Mishap, Root};
use super::script::Op;
use super::wires::Bulk;
use super::world::World;

/// What a history may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breed {
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
    /// Faults, and disks, roots, watchers and clocks that fail.
    Disks,
    /// Faults, and devices that lose their memory or are taken out.
    Lives,
    /// Lives, and whole machines that are set back or copied.
    Copies,
    /// Faults and fate, and devices that go on under a new incarnation while they run.
    Claims,
}

/// Breeds that are tried together: a seed draws one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breeds {
    /// What they are called on a command line.
    pub name: &'static str,
    /// What they are, for people.
    pub about: &'static str,
    breeds: &'static [Breed],
}

/// What happens to devices that send and receive.
pub const ORDINARY: Breeds = Breeds {
    name: "ordinary",
    about: "users, lost sessions, killed processes, changed rules, lost stores",
    breeds: &[Breed::Users, Breed::Faults, Breed::Fate],
};

/// What happens where roles change.
pub const ROLES: Breeds = Breeds {
    name: "roles",
    about: "and roles that change, joins, persons' words on who wins",
    breeds: &[Breed::Roles],
};

/// What happens where power is lost.
pub const POWER: Breeds =
    Breeds { name: "power", about: "and power that is lost", breeds: &[Breed::Power] };

/// What happens where deletes of peers wait for a person.
pub const BRAKES: Breeds =
    Breeds { name: "brakes", about: "and a brake on what peers delete", breeds: &[Breed::Brakes] };

/// What happens where disks fail.
pub const DISKS: Breeds = Breeds {
    name: "disks",
    about: "and disks, roots, watchers and clocks that fail",
    breeds: &[Breed::Disks],
};

/// What happens where devices forget.
pub const LIVES: Breeds = Breeds {
    name: "lives",
    about: "and devices that forget, or are taken out and put in again",
    breeds: &[Breed::Lives],
};

/// What happens where whole machines are set back, or copied and run in turn. It does not hold
/// yet (docs/RELIABILITY.md), and so is none of `ALL`.
pub const COPIES: Breeds = Breeds {
    name: "copies",
    about: "and whole machines that are set back or copied; does not hold yet",
    breeds: &[Breed::Copies],
};

/// What happens where somebody speaks of counters that a device never gave out.
pub const CLAIMS: Breeds = Breeds {
    name: "claims",
    about: "and devices that go on under a new incarnation while they run",
    breeds: &[Breed::Claims],
};

/// All of them.
pub const ALL: [Breeds; 7] = [ORDINARY, ROLES, POWER, BRAKES, DISKS, LIVES, CLAIMS];

impl Breeds {
    /// Finds them by their name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().chain([COPIES]).find(|breeds| breeds.name == name)
    }

    /// Tells whether a history of these may hold a fault.
    #[must_use]
    pub fn draw(&self, fault: Fault) -> bool {
        self.breeds.iter().any(|breed| breed.draws(fault))
    }
}

impl Breed {
    /// Tells whether a history of this breed may hold a fault.
    fn draws(self, fault: Fault) -> bool {
        match fault {
            Fault::Overtaken => true,
            Fault::MessagesLost
            | Fault::Partition
            | Fault::Killed
            | Fault::Unflushed
            | Fault::KilledBetween => self != Self::Users,
            Fault::PowerLoss => self == Self::Power,
            Fault::RulesChanged => matches!(self, Self::Fate | Self::Roles | Self::Claims),
            Fault::StoreLost => {
                matches!(self, Self::Fate | Self::Roles | Self::Claims) || self.forgets()
            }
            Fault::Renamed => self == Self::Claims,
            Fault::RoleChanged | Fault::Overruled | Fault::Rejoined => self == Self::Roles,
            Fault::Rejected => self == Self::Brakes,
            Fault::RootGone
            | Fault::RootEmptied
            | Fault::DiskFull
            | Fault::DiskBroken
            | Fault::Exhausted
            | Fault::FlushFailed
            | Fault::EventsLost
            | Fault::ClockStepped => self == Self::Disks,
            Fault::StoreRolledBack
            | Fault::LedgerLost
            | Fault::BothLost
            | Fault::HalfOpen
            | Fault::Repeated
            | Fault::MemberRemoved => self.forgets(),
            Fault::SetBack | Fault::FoundBehind => self == Self::Copies,
        }
    }

    fn forgets(self) -> bool {
        matches!(self, Self::Lives | Self::Copies)
    }
}

/// A history that was drawn.
#[derive(Debug, Clone)]
pub struct History {
    /// The devices, at rest.
    pub world: World,
    /// Who does what: each device's acts in their order.
    pub ops: Vec<(usize, Op)>,
    /// Of which breed it is.
    pub breed: Breed,
}

/// How a world begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    devices: usize,
    /// Whether the first is the others' hub.
    hub: bool,
    /// Which frames take the other lane.
    parity: Option<u64>,
    /// Whether they have brakes, but for one.
    brakes: Option<Option<usize>>,
    /// Whether files are there already, everywhere.
    files: bool,
}

/// Draws histories, and keeps the worlds that they begin in: many begin alike.
#[derive(Debug, Clone, Default)]
pub struct Nursery(BTreeMap<Shape, World>);

impl Nursery {
    /// Draws the history of a seed.
    pub fn draw(&mut self, seed: u64, breeds: Breeds) -> History {
        let dice = &mut Dice::new(seed);
        let breed = breeds.breeds[dice.below(breeds.breeds.len())];
        let devices = [2, 2, 3, 3, 4, 5][dice.below(6)];
        let hub = dice.below(2) == 0;
        let parity = [None, Some(0), Some(1)][dice.below(3)];
        let brakes = (breed == Breed::Brakes).then(|| [None, Some(0), Some(1)][dice.below(3)]);
        let files = matches!(breed, Breed::Brakes | Breed::Disks) || breed.forgets();
        let mut world = self.at_rest(Shape { devices, hub, parity, brakes, files });
        if dice.below(3) > 0 {
            world = world.with_late_hands();
        }
        let count = if devices == 2 { 2 + dice.below(11) } else { 2 + dice.below(5) };
        let mut ops: Vec<_> =
            (0..count).map(|at| (dice.below(devices), act(dice, at, breed))).collect();
        // A hub that ignores a path cannot hand on its bytes: who wants them waits, and says so.
        ops.retain(|(at, op)| !(hub && devices > 2 && *at == 0 && matches!(op, Op::Ignore(_))));
        // A file cannot take the place of a directory that ignored content keeps: it waits, and
        // the device says so. That is no rest the oracle knows.
        let d = path("d");
        let keeps = |op: &Op| matches!(op, Op::Ignore(Some(at)) if at.is_below(&d));
        if ops.iter().any(|(_, op)| keeps(op)) {
            ops.retain(|(_, op)| !matches!(op, Op::Write(at, ..) | Op::Rename(_, at) if *at == d));
        }
        History { world, ops, breed }
    }

    fn at_rest(&mut self, shape: Shape) -> World {
        let make = || {
            let Shape { devices, hub, parity, brakes, files } = shape;
            let mut world = World::new(devices, hub, parity.map(Bulk::Parity));
            explore::come_to_rest(&mut world).expect("an empty folder comes to rest");
            if files {
                for (at, name) in ["p", "q", "d/f", "d/g", "d/e/f"].into_iter().enumerate() {
                    world.play(0, &Op::Write(path(name), format!("before{at}"), 1));
                }
            }
            if let Some(without) = brakes {
                world = world.with_brakes(without);
            }
            if files {
                explore::come_to_rest(&mut world).expect("files that one wrote come to rest");
                world.begin_anew();
            }
            world
        };
        self.0.entry(shape).or_insert_with(make).clone()
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text).expect("a path")
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
    if breed == Breed::Claims && dice.below(5) == 0 {
        return Op::NewLife;
    }
    if breed == Breed::Brakes && dice.below(5) == 0 {
        return Op::Decide(dice.below(2) == 0);
    }
    if breed == Breed::Brakes && dice.below(4) == 0 {
        return Op::Delete(path("d"));
    }
    if breed == Breed::Disks && dice.below(3) == 0 {
        return Op::Befalls(mishap(dice));
    }
    if breed.forgets() && dice.below(3) == 0 {
        let kinds = if breed == Breed::Copies { 13 } else { 10 };
        return Op::Befalls(loss(dice.below(kinds)));
    }
    let kinds = match breed {
        Breed::Users => 10,
        Breed::Faults | Breed::Power | Breed::Brakes | Breed::Disks => 16,
        Breed::Lives | Breed::Copies => 16,
        Breed::Fate | Breed::Claims => 19,
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

fn mishap(dice: &mut Dice) -> Mishap {
    const YEAR_S: i64 = 31_557_600;
    match dice.below(10) {
        0 => Mishap::Root(Root::Gone),
        1 => Mishap::Root(Root::Emptied),
        2 | 3 => Mishap::Root(Root::Here),
        4..8 => Mishap::Fail(Failure::ALL[dice.below(Failure::ALL.len())]),
        8 => Mishap::Deaf,
        _ => Mishap::Clock([-50 * YEAR_S, -3_600, -1, 1, 3_600, 50 * YEAR_S][dice.below(6)]),
    }
}

fn loss(kind: usize) -> Mishap {
    match kind {
        0 | 1 => Mishap::BackUp,
        2 | 3 => Mishap::RollBack,
        4 => Mishap::LoseLedger,
        5 => Mishap::LoseBoth,
        6 => Mishap::HalfOpen,
        7 => Mishap::Repeat,
        8 => Mishap::Leave,
        9 => Mishap::Return,
        _ => Mishap::SetBack,
    }
}
