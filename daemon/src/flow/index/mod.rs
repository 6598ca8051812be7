//! Indexing: what is remembered of every path, on disk.
//!
//! Two stores with different promises. The [`Store`] holds the index itself, in sled, in pages of
//! a directory; it may be lost and is then rebuilt by a scan. The [`Ledger`] holds the little
//! that must never be lost or go back: counters, the incarnation, open intents. [`begin_life`]
//! reads both and decides which life this start is.
//!
//! digest → **index** → offer

mod codec;
mod commit;
#[doc(hidden)]
pub mod decoders;
mod durable;
mod fault;
mod folder;
mod format;
mod holders;
mod keys;
mod ledger;
mod ledger_file;
mod ledger_format;
mod life;
mod opening;
mod pages;
mod rows;
mod store;
mod summary;
mod trees;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod sample;

pub use folder::FolderIndex;
pub use ledger::{Intent, IntentBatch, Ledger, LedgerError, LedgerOpened, RootToken};
pub use life::{Life, REINCARNATE, SHAKEN, begin_life};
pub use opening::{Opened, StoreError};
pub use store::{Failure, Store};
pub use summary::Summary;
