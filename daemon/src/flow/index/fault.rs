//! What can go wrong inside the store, before it is told to anybody.
//!
//! sled panics where others return errors. A panic under [`guarded`] becomes a [`Fault`], so that
//! one bad page stops a folder and not the program.

use std::panic::{AssertUnwindSafe, catch_unwind};

use syncd_core::flow::index::IndexError;
use syncd_core::model::RelPath;

use super::codec::Malformed;

/// What went wrong inside the store.
#[derive(Debug)]
pub(super) enum Fault {
    /// sled said no.
    Sled(sled::Error),
    /// sled panicked, with this message.
    Panic(String),
    /// Something that was read is not what was written.
    Damaged {
        /// The directory whose page it is; the root for what belongs to no directory.
        dir: RelPath,
        /// What is wrong.
        what: String,
    },
    /// A newer version of the program wrote it.
    Newer(u8),
    /// The store could not be opened again after it was moved aside.
    Closed,
    /// A batch would break a law.
    Unlawful {
        /// Where.
        path: RelPath,
        /// Which law.
        what: &'static str,
    },
}

impl Fault {
    /// Makes a fault of a page or row of `dir` that did not decode.
    pub(super) fn of(dir: &RelPath, malformed: Malformed) -> Self {
        match malformed {
            Malformed::Wrong(what) => Self::Damaged { dir: dir.clone(), what: what.to_owned() },
            Malformed::Newer(version) => Self::Newer(version),
        }
    }

    /// Makes a fault of a row that belongs to no directory.
    pub(super) fn of_row(malformed: Malformed) -> Self {
        Self::of(&RelPath::root(), malformed)
    }

    /// Tells whether the store must not be trusted any more, and why. Trouble that passes, like
    /// a full disk, is no reason.
    pub(super) fn condemns(&self) -> Option<String> {
        match self {
            Self::Sled(error) => match error {
                sled::Error::Corruption { .. }
                | sled::Error::ReportableBug(_)
                | sled::Error::CollectionNotFound(_) => Some(error.to_string()),
                sled::Error::Unsupported(_) | sled::Error::Io(_) => None,
            },
            Self::Panic(what) => Some(what.clone()),
            Self::Damaged { dir, what } => Some(format!("{dir}: {what}")),
            Self::Newer(_) | Self::Closed | Self::Unlawful { .. } => None,
        }
    }

    /// Says what happened, for errors that carry text.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Sled(error) => error.to_string(),
            Self::Panic(what) => format!("it panicked: {what}"),
            Self::Damaged { dir, what } => format!("{dir} is damaged: {what}"),
            Self::Newer(version) => format!("written by a newer version (format {version})"),
            Self::Closed => "it failed before and answers no more".to_owned(),
            Self::Unlawful { path, what } => format!("{path}: {what}"),
        }
    }
}

impl From<sled::Error> for Fault {
    fn from(error: sled::Error) -> Self {
        Self::Sled(error)
    }
}

impl From<Fault> for IndexError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged { dir, what } => Self::Damaged { dir, what },
            Fault::Unlawful { path, what } => Self::Unlawful { path, what },
            other @ (Fault::Sled(_) | Fault::Panic(_) | Fault::Newer(_) | Fault::Closed) => {
                Self::Store(other.text())
            }
        }
    }
}

/// Runs `act`, turning a panic into a fault. What `act` leaves half done must not be looked at
/// again: the caller condemns the store.
pub(super) fn guarded<T>(act: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|payload| {
        let what = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied());
        Err(Fault::Panic(what.unwrap_or("for no stated reason").to_owned()))
    })
}
