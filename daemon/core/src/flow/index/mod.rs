//! Indexing: what is remembered of every path, and what an observation means.
//!
//! [`Index`] is the one port the core holds: synchronous, fallible, of one folder. The daemon
//! keeps it in sled, in pages of a directory; [`MemIndex`] is its twin in memory, stricter: it
//! refuses what would break a law that sled cannot check.

pub mod fingerprint;
mod memory;
pub mod observe;

use std::collections::BTreeMap;

pub use memory::MemIndex;

use crate::model::{ContentId, DeviceId, Entry, Local, RelPath, Seq, StoreId, Version};

/// How far this device has settled a peer's changes: meaningful only with the peer's store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The peer's store.
    pub store: StoreId,
    /// Every change of that store up to here is settled and durable here.
    pub seq: Seq,
}

/// What is decided of a peer that deleted much of the folder at once. Holds until the peer has told
/// all it has, and that is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Brake {
    /// A person must decide; its deletes wait.
    Held {
        /// How many files it would have deleted when the brake stopped them.
        files: u64,
    },
    /// Its deletes are meant.
    Approved,
    /// Its deletes are not meant: what they would have deleted is written above them.
    Rejected,
}

/// What is kept of a folder beside its paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// Every version covered by this is reflected here. Advances only by adoption and by own
    /// writes.
    pub covered: Version,
    /// Per peer: how far its changes are settled here.
    pub cursors: BTreeMap<DeviceId, Cursor>,
    /// Per peer: up to which of our changes it has told us that it holds them durably.
    pub acked: BTreeMap<DeviceId, Seq>,
    /// Whether a whole look at the folder has ended since there is nothing older than this in
    /// the store: what a look met before that was found, not written.
    pub surveyed: bool,
    /// The peers whose deletes were stopped.
    pub brakes: BTreeMap<DeviceId, Brake>,
}

/// Changes that happen all or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Entries to write. Each one's `seq` is greater than any this store has held.
    pub puts: Vec<(RelPath, Entry)>,
    /// Local columns to write; record and `seq` stay as they are.
    pub locals: Vec<(RelPath, Local)>,
    /// Entries to forget: tombstones that everybody has acknowledged.
    pub drops: Vec<RelPath>,
    /// The marks as they will be, if they change.
    pub marks: Option<Marks>,
}

impl Batch {
    /// Tells whether committing it would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why the index did not answer. The folder stops; the store is looked at on the next start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The store said no. Moved aside and rebuilt by a scan on the next start.
    #[error("the index store failed: {0}")]
    Store(String),
    /// A page does not decode or breaks its own rules.
    #[error("the index of {dir} is damaged: {what}")]
    Damaged {
        /// The directory whose page it is.
        dir: RelPath,
        /// What is wrong with it.
        what: String,
    },
    /// A batch that would break a law of the index. A bug, caught before it is written.
    #[error("{path}: {what}")]
    Unlawful {
        /// The path.
        path: RelPath,
        /// Which law.
        what: &'static str,
    },
}

/// Reading one folder's index.
pub trait Known {
    /// Returns what is kept of `path`.
    ///
    /// # Errors
    /// [`IndexError`] when the store cannot be read.
    fn get(&self, path: &RelPath) -> Result<Option<Entry>, IndexError>;

    /// Lists what is kept of the names directly in `dir`, tombstones too, sorted by path.
    ///
    /// # Errors
    /// [`IndexError`] when the store cannot be read.
    fn children(&self, dir: &RelPath) -> Result<Vec<(RelPath, Entry)>, IndexError>;
}

/// One folder's index.
pub trait Index: Known {
    /// Lists up to `limit` paths whose last change came after `after`, by sequence. A path that
    /// changed again stands only at its last sequence.
    ///
    /// # Errors
    /// [`IndexError`] when the store cannot be read.
    fn changes(&self, after: Seq, limit: usize) -> Result<Vec<(Seq, RelPath)>, IndexError>;

    /// Returns up to `limit` live files known to hold `content`.
    ///
    /// # Errors
    /// [`IndexError`] when the store cannot be read.
    fn holders(&self, content: ContentId, limit: usize) -> Result<Vec<RelPath>, IndexError>;

    /// Returns how many live files there are.
    ///
    /// # Errors
    /// [`IndexError`] when the store cannot be read.
    fn live_files(&self) -> Result<usize, IndexError>;

    /// Returns how many paths stand here withheld from the peers.
    ///
    /// # Errors
    /// [`IndexError`] when the store cannot be read.
    fn withheld(&self) -> Result<usize, IndexError>;

    /// Returns the marks.
    ///
    /// # Errors
    /// [`IndexError`] when the store cannot be read.
    fn marks(&self) -> Result<Marks, IndexError>;

    /// Returns the greatest sequence ever written, 0 for none.
    ///
    /// # Errors
    /// [`IndexError`] when the store cannot be read.
    fn last_seq(&self) -> Result<Seq, IndexError>;

    /// Writes a batch: all of it is there for the next read, or none. Durable only once the
    /// daemon has persisted it.
    ///
    /// # Errors
    /// [`IndexError`] when the store cannot be written or the batch is unlawful; nothing of the
    /// batch is then there.
    fn commit(&mut self, batch: Batch) -> Result<(), IndexError>;
}
