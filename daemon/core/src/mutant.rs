//! Wrong behaviours that other synchronisers had, or that simpler rules have, to see that tests
//! find them. They exist only with the feature `mutants`, which nothing but the simulator's own
//! build turns on: without it [`on`] is `false` at compile time and nothing of them is left.

/// A wrong behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// An edit always beats a delete, also one that has seen it.
    EditAlwaysWins,
    /// The loser of a conflict is kept nowhere.
    NoCopies,
    /// Of two edits of one base neither counts as unseen.
    HadIsSeen,
    /// A resolution is a write of its own.
    ResolutionIsWrite,
    /// A tombstone is dropped before everybody has it.
    ForgetDeletes,
    /// What a look misses is deleted, though the root was lost.
    TrustLostRoot,
    /// What a power loss has left is a user's edit.
    LossIsEdit,
    /// What a lost store finds on the disk is a write.
    FoundIsWritten,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::EditAlwaysWins,
        Self::NoCopies,
        Self::HadIsSeen,
        Self::ResolutionIsWrite,
        Self::ForgetDeletes,
        Self::TrustLostRoot,
        Self::LossIsEdit,
        Self::FoundIsWritten,
    ];

    /// Returns what it is called on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EditAlwaysWins => "edit-always-wins",
            Self::NoCopies => "no-copies",
            Self::HadIsSeen => "had-is-seen",
            Self::ResolutionIsWrite => "resolution-is-write",
            Self::ForgetDeletes => "forget-deletes",
            Self::TrustLostRoot => "trust-lost-root",
            Self::LossIsEdit => "loss-is-edit",
            Self::FoundIsWritten => "found-is-written",
        }
    }
}

/// Tells whether this thread behaves wrongly in this way.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn on(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use switched::{on, switch};

#[cfg(feature = "mutants")]
mod switched {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Tells whether this thread behaves wrongly in this way.
    #[must_use]
    pub fn on(mutant: Mutant) -> bool {
        ON.get() == Some(mutant)
    }

    /// Lets this thread behave wrongly from now on, or rightly.
    pub fn switch(mutant: Option<Mutant>) {
        ON.set(mutant);
    }
}
