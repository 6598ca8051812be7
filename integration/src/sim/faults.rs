//! What goes wrong in a simulated world, by kind, and how often each came about.
//!
//! A fault counts when it *fired*: a process that is killed while it holds nothing that is not
//! flushed has lost nothing, and a session cannot be cut twice. A kind that a run could draw and
//! that never fired fails the run: what it should have tried was not tried.

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// What was told later arrived earlier, on the other lane.
    Overtaken,
    /// A session ended with messages under way, which are lost.
    MessagesLost,
    /// A device lost all its sessions until it was joined again.
    Partition,
    /// A process was killed.
    Killed,
    /// A process was killed and forgot what it had not flushed.
    Unflushed,
    /// A process was killed between the disk's work and the index's.
    KilledBetween,
    /// The machine lost power, and a file holds earlier bytes, half of some, or none.
    PowerLoss,
    /// The index store was lost; ledger and files were kept.
    StoreLost,
    /// Rules that ignore changed.
    RulesChanged,
    /// A role changed.
    RoleChanged,
    /// A person let one side win over the other.
    Overruled,
    /// A folder was left and joined again.
    Rejoined,
    /// Deletes that waited for a person were rejected.
    Rejected,
    /// A root was unmounted.
    RootGone,
    /// Another, empty directory lay where the root should be.
    RootEmptied,
    /// Writing failed: no room.
    DiskFull,
    /// Reading or renaming failed.
    DiskBroken,
    /// Opening failed: no descriptors.
    Exhausted,
    /// The store could not be made durable, and the process began again.
    FlushFailed,
    /// The watcher missed what a user did.
    EventsLost,
    /// A wall clock stepped, by a second to fifty years.
    ClockStepped,
    /// An older copy of the store took its place.
    StoreRolledBack,
    /// The ledger was lost; the store was kept.
    LedgerLost,
    /// Store and ledger were lost.
    BothLost,
    /// A whole machine was set back, or a clone of it took its turn.
    SetBack,
    /// A device learnt from a peer that it was set back or copied.
    FoundBehind,
    /// A session was over for one side alone.
    HalfOpen,
    /// Messages arrived twice.
    Repeated,
    /// A device was taken out of the folder.
    MemberRemoved,
    /// A device went on under a new incarnation while it ran.
    Renamed,
}

/// How many kinds there are.
const KINDS: usize = Fault::Renamed as usize + 1;

impl Fault {
    /// All kinds.
    pub const ALL: [Self; KINDS] = [
        Self::Overtaken,
        Self::MessagesLost,
        Self::Partition,
        Self::Killed,
        Self::Unflushed,
        Self::KilledBetween,
        Self::PowerLoss,
        Self::StoreLost,
        Self::RulesChanged,
        Self::RoleChanged,
        Self::Overruled,
        Self::Rejoined,
        Self::Rejected,
        Self::RootGone,
        Self::RootEmptied,
        Self::DiskFull,
        Self::DiskBroken,
        Self::Exhausted,
        Self::FlushFailed,
        Self::EventsLost,
        Self::ClockStepped,
        Self::StoreRolledBack,
        Self::LedgerLost,
        Self::BothLost,
        Self::SetBack,
        Self::FoundBehind,
        Self::HalfOpen,
        Self::Repeated,
        Self::MemberRemoved,
        Self::Renamed,
    ];

    /// Says it in a few words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Overtaken => "messages overtaken by the other lane",
            Self::MessagesLost => "messages lost with their session",
            Self::Partition => "devices cut off",
            Self::Killed => "processes killed",
            Self::Unflushed => "flushes lost with their process",
            Self::KilledBetween => "processes killed between disk and index",
            Self::PowerLoss => "files set back or torn by a power loss",
            Self::StoreLost => "index stores lost",
            Self::RulesChanged => "ignore rules changed",
            Self::RoleChanged => "roles changed",
            Self::Overruled => "persons' words on who wins",
            Self::Rejoined => "folders left and joined again",
            Self::Rejected => "held deletes rejected",
            Self::RootGone => "roots unmounted",
            Self::RootEmptied => "roots replaced by an empty directory",
            Self::DiskFull => "writes refused by a full disk",
            Self::DiskBroken => "operations refused by a broken disk",
            Self::Exhausted => "operations with no descriptors left",
            Self::FlushFailed => "flushes that failed",
            Self::EventsLost => "acts that a watcher missed",
            Self::ClockStepped => "wall clocks stepped",
            Self::StoreRolledBack => "stores replaced by an older copy",
            Self::LedgerLost => "ledgers lost",
            Self::BothLost => "stores and ledgers lost together",
            Self::SetBack => "machines set back, or their clones run",
            Self::FoundBehind => "devices that learnt of it",
            Self::HalfOpen => "sessions half open",
            Self::Repeated => "messages repeated",
            Self::MemberRemoved => "devices taken out of the folder",
            Self::Renamed => "new incarnations of running devices",
        }
    }
}

/// How often each kind fired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fired([u64; KINDS]);

impl Fired {
    /// Counts one.
    pub fn note(&mut self, fault: Fault) {
        self.add(fault, 1);
    }

    /// Counts so many.
    pub fn add(&mut self, fault: Fault, times: usize) {
        self.0[fault as usize] += times as u64;
    }

    /// Takes in another count.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// Returns how often one kind fired.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_in_its_place() {
        for (at, fault) in Fault::ALL.iter().enumerate() {
            assert_eq!(*fault as usize, at, "{fault:?}");
        }
    }
}
