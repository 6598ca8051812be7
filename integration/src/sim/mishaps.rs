//! Mishaps of one device: its root is gone, its disk is full or broken, its watcher is deaf, its
//! clock steps.

use std::fmt;

use syncd_core::engine::{Cause, Event, PullError};
use syncd_core::flow::detect::{Look, Seen};
use syncd_core::flow::settle::{Job, Placed, SettleError, Trouble};
use syncd_core::model::RelPath;

use super::World;
use super::device::{Device, Duty};
use super::disk::Disk;
use super::faults::Fault;

/// What goes wrong with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mishap {
    /// What lies where the root should be changes.
    Root(Root),
    /// The next operation of a kind fails.
    Fail(Failure),
    /// The watcher misses all until the next scan.
    Deaf,
    /// The wall clock steps by so many seconds.
    Clock(i64),
    /// Keeps a copy of the machine.
    BackUp,
    /// Puts the store of the copy in place of the present one.
    RollBack,
    /// Puts the copy in place of the machine, files and all, and keeps the machine as the copy.
    SetBack,
    /// Loses the ledger, keeps the store.
    LoseLedger,
    /// Loses store and ledger.
    LoseBoth,
    /// Ends all sessions, and the peers do not notice.
    HalfOpen,
    /// The next messages that come here come twice.
    Repeat,
    /// The device is taken out of the folder.
    Leave,
    /// The device is in the folder again.
    Return,
}

/// What lies where a device's root should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Root {
    /// The root.
    #[default]
    Here,
    /// Nothing: it was unmounted.
    Gone,
    /// An empty directory that is not the root: where a disk was mounted.
    Emptied,
}

/// What fails once, the next time it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Writing a file: `ENOSPC`. The steps of a job before it stand.
    Full,
    /// Changing a name or reading a file: `EIO`. The steps of a job before it stand.
    Broken,
    /// Opening anything: `EMFILE`. A look sees only a part.
    Exhausted,
    /// Making the store durable: the process ends and begins again.
    Flush,
}

/// As in scripts.
impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(root) => f.write_str(root.word()),
            Self::Fail(failure) => write!(f, "fail {}", failure.word()),
            Self::Clock(seconds) => write!(f, "clock {seconds}"),
            Self::Deaf => f.write_str("deaf"),
            Self::BackUp => f.write_str("backup"),
            Self::RollBack => f.write_str("rollback"),
            Self::SetBack => f.write_str("setback"),
            Self::LoseLedger => f.write_str("loseledger"),
            Self::LoseBoth => f.write_str("loseboth"),
            Self::HalfOpen => f.write_str("halfopen"),
            Self::Repeat => f.write_str("repeat"),
            Self::Leave => f.write_str("leave"),
            Self::Return => f.write_str("return"),
        }
    }
}

impl Mishap {
    /// Reads the words of a script; `None` for any others.
    #[must_use]
    pub fn read(words: &[&str]) -> Option<Self> {
        Some(match words {
            ["mount"] => Self::Root(Root::Here),
            ["unmount"] => Self::Root(Root::Gone),
            ["empty"] => Self::Root(Root::Emptied),
            ["fail", what] => {
                Self::Fail(Failure::ALL.into_iter().find(|failure| failure.word() == *what)?)
            }
            ["clock", seconds] => Self::Clock(seconds.parse().ok()?),
            ["deaf"] => Self::Deaf,
            ["backup"] => Self::BackUp,
            ["rollback"] => Self::RollBack,
            ["setback"] => Self::SetBack,
            ["loseledger"] => Self::LoseLedger,
            ["loseboth"] => Self::LoseBoth,
            ["halfopen"] => Self::HalfOpen,
            ["repeat"] => Self::Repeat,
            ["leave"] => Self::Leave,
            ["return"] => Self::Return,
            _ => return None,
        })
    }
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Full, Self::Broken, Self::Exhausted, Self::Flush];

    /// Returns what it is called in scripts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Broken => "broken",
            Self::Exhausted => "exhausted",
            Self::Flush => "flush",
        }
    }

    fn fault(self) -> Fault {
        match self {
            Self::Full => Fault::DiskFull,
            Self::Broken => Fault::DiskBroken,
            Self::Exhausted => Fault::Exhausted,
            Self::Flush => Fault::FlushFailed,
        }
    }

    fn settling(self, path: RelPath) -> SettleError {
        match self {
            Self::Full => SettleError::NoRoom { path, needed_bytes: 1, free_bytes: 0 },
            Self::Broken | Self::Flush => SettleError::Trouble { path, trouble: Trouble::Disk },
            Self::Exhausted => SettleError::Trouble { path, trouble: Trouble::Exhausted },
        }
    }
}

impl Root {
    /// Returns what it is called in scripts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Here => "mount",
            Self::Gone => "unmount",
            Self::Emptied => "empty",
        }
    }
}

impl Device {
    /// Tells whether its disk can be used.
    pub(super) fn is_mounted(&self) -> bool {
        self.root == Root::Here
    }
}

impl World {
    /// Lets something go wrong with a device.
    pub(super) fn befall(&mut self, at: usize, mishap: Mishap) {
        match mishap {
            Mishap::Root(root) => self.take_root(at, root),
            Mishap::Fail(failure) => self.device(at).fails = Some(failure),
            Mishap::Deaf => self.device(at).deaf = true,
            Mishap::Clock(seconds) => {
                self.device(at).clock_s = seconds;
                self.fired.note(Fault::ClockStepped);
            }
            Mishap::BackUp => self.back_up(at),
            Mishap::RollBack => self.roll_back(at),
            Mishap::SetBack => self.set_back_all(at),
            Mishap::LoseLedger => self.lose_ledger(at),
            Mishap::LoseBoth => self.lose_both(at),
            Mishap::HalfOpen => self.half_open(at),
            Mishap::Repeat => self.device(at).repeats = true,
            Mishap::Leave => self.leave(at),
            Mishap::Return => self.come_back(at),
        }
    }

    /// Looks as a device can now: what it sees, and whether that is all.
    pub(super) fn look(&mut self, at: usize, what: &[Look]) -> (Seen, bool) {
        let device = &self.devices[at];
        let synced = |path: &RelPath| device.synced(path);
        match device.root {
            Root::Here => {}
            Root::Gone => return (Seen::default(), false),
            Root::Emptied => {
                return (Disk::default().look(what, &device.index, &synced), false);
            }
        }
        let mut seen = device.disk.look(what, &device.index, &synced);
        if self.strikes(at, &[Failure::Exhausted, Failure::Broken]) {
            // What lies behind an error is neither seen nor gone, and is looked at again.
            seen.found.truncate(seen.found.len() / 2);
            seen.gone.clear();
            self.device(at).deaf = true;
            return (seen, false);
        }
        (seen, true)
    }

    /// Tells whether a fetch fails by this device's own disk.
    pub(super) fn fetch_fails(&mut self, at: usize) -> Option<PullError> {
        if !self.devices[at].is_mounted() {
            return Some(PullError::Disk);
        }
        let is_full = self.devices[at].fails == Some(Failure::Full);
        let error = if is_full { PullError::NoRoom } else { PullError::Disk };
        self.strikes(at, &[Failure::Full, Failure::Broken]).then_some(error)
    }

    /// Takes a job's steps as far as the disk lets.
    pub(super) fn take_job(&mut self, at: usize, job: &Job) -> Result<Vec<Placed>, SettleError> {
        if !self.devices[at].is_mounted() {
            return Err(SettleError::RootLost);
        }
        let failure = self.devices[at].fails;
        let before = match self.strikes(at, &[Failure::Full, Failure::Broken, Failure::Exhausted]) {
            true => job.steps.len().saturating_sub(1),
            false => job.steps.len(),
        };
        let some = Job { steps: job.steps[..before].to_vec(), ..job.clone() };
        let placed = std::rc::Rc::make_mut(&mut self.device(at).disk).take(&some)?;
        // The watcher hears of what was done until then.
        if before < job.steps.len() {
            let touched = some.becomes.iter().map(|becomes| becomes.path.clone());
            let looks: Vec<Look> = touched.map(Look::Path).collect();
            self.device(at).duties.push_back(Duty::Notice(looks));
        }
        let path = job.becomes.first().map_or_else(RelPath::root, |becomes| becomes.path.clone());
        match failure.filter(|_| before < job.steps.len()) {
            Some(failure) => Err(failure.settling(path)),
            None => Ok(placed),
        }
    }

    /// Tells whether the next failure of a device is one of these; then it is over.
    pub(super) fn strikes(&mut self, at: usize, any: &[Failure]) -> bool {
        let Some(failure) = self.devices[at].fails.filter(|failure| any.contains(failure)) else {
            return false;
        };
        self.device(at).fails = None;
        self.fired.note(failure.fault());
        true
    }

    /// Lets what lies at a device's root change.
    pub(super) fn take_root(&mut self, at: usize, root: Root) {
        let before = std::mem::replace(&mut self.device(at).root, root);
        match root {
            Root::Here if before != Root::Here => self.crash(at, false),
            Root::Here => {}
            Root::Gone => self.fired.note(Fault::RootGone),
            Root::Emptied => self.fired.note(Fault::RootEmptied),
        }
        if root != Root::Here {
            self.begin_look(at, Cause::Scanned, vec![Look::Tree(RelPath::root())]);
        }
    }

    /// Ends all mishaps: roots are there again, disks work, and what watchers missed is scanned.
    pub(super) fn mend(&mut self) {
        for at in 0..self.devices.len() {
            if self.devices[at].fails.is_some() {
                self.device(at).fails = None;
            }
            if !self.devices[at].is_mounted() {
                self.take_root(at, Root::Here);
            }
        }
        self.say();
    }

    /// Scans where a watcher missed something; `false` if none did.
    pub(super) fn scan_the_missed(&mut self) -> bool {
        let deaf: Vec<usize> =
            (0..self.devices.len()).filter(|at| self.devices[*at].deaf).collect();
        for at in &deaf {
            self.scan(*at);
        }
        self.say();
        !deaf.is_empty()
    }

    pub(super) fn scan(&mut self, at: usize) {
        if self.devices[at].deaf {
            self.device(at).deaf = false;
        }
        self.begin_look(at, Cause::Scanned, vec![Look::Tree(RelPath::root())]);
    }

    /// Lets a device's engine hear with whom the folder is shared.
    pub(super) fn share(&mut self, at: usize) {
        let with = self.links.iter().filter(|(a, _)| *a == at);
        let devices = with.map(|(_, b)| self.devices[*b].id).collect();
        self.tell(at, Event::SharedWith { devices });
    }
}
