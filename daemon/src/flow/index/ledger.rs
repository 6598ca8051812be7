//! The ledger: the little that must never be lost or go back.
//!
//! An append-only file beside the store. Every call that changes it returns only after an fsync;
//! a call that fails has changed nothing that anybody may rely on.
//!
//! # Invariants
//! - No counter is given out twice, whatever is lost: ranges are written down before they are
//!   used, and a torn end costs a gap of a billion counters instead of doubt.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use syncd_core::model::limits::COUNTER_RANGE;
use syncd_core::model::{DeviceId, FolderId, Incarnation, Seq, StoreId};
use syncd_core::protocol::tokens::Tokens;

use super::ledger_file::Book;
pub use super::ledger_format::{Intent, RootToken};
use super::ledger_format::{LEDGER_VERSION, Line};
use super::opening::StoreError;

/// Why the ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A newer version of the program wrote it. Run that one; nothing was changed.
    #[error(
        "the ledger at {path} was written by a newer syncd (format {found}, this one knows \
         {LEDGER_VERSION}); nothing was changed, start the newer one"
    )]
    Newer {
        /// Where it lies.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It cannot be read or made. Nothing was moved.
    #[error("the ledger at {path} cannot be used")]
    Unavailable {
        /// Where it lies.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A broken ledger could not be moved out of the way. Move it by hand.
    #[error("the broken ledger at {path} cannot be moved aside")]
    Stuck {
        /// Where it lies.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The disk did not take what was told. Take back what depends on it.
    #[error("the ledger could not be written")]
    NotDurable(#[source] io::Error),
    /// An earlier fsync failed. Stop the program; the next start reads what is there.
    #[error("the ledger failed before and takes nothing more")]
    Poisoned,
    /// All counters are used up.
    #[error("there are no counters left")]
    Exhausted,
    /// The system gave no random bytes for an incarnation.
    #[error("the system gives no random numbers")]
    NoRandom,
    /// The store did not answer while a life was begun.
    #[error("a life could not be begun")]
    Store(#[source] StoreError),
}

/// How a ledger came to be open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerOpened {
    /// It was there.
    Existing,
    /// There was none.
    New,
    /// There was one that does not read; it lies at `to` and this one is new.
    MovedAside {
        /// Where it lies now.
        to: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Names intents that were opened together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntentBatch(u64);

/// The ledger. Clones are the same ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    book: Arc<Mutex<Book>>,
}

impl Ledger {
    /// Opens the ledger at `path`, making it if there is none.
    ///
    /// # Errors
    /// [`LedgerError::Newer`] for one of a newer program, [`LedgerError::Unavailable`] when it
    /// cannot be read or made, [`LedgerError::Stuck`] when a broken one cannot be moved.
    pub fn open(path: &Path) -> Result<(Self, LedgerOpened), LedgerError> {
        let (book, opened) = Book::open(path)?;
        Ok((Self { book: Arc::new(Mutex::new(book)) }, opened))
    }

    /// Tells whether an fsync has failed: then nothing more is written, and only a new start
    /// finds out what the disk holds.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.book().poisoned
    }

    /// Reserves the next 2^20 counters, fewer the first time. No number is ever returned twice.
    ///
    /// # Errors
    /// [`LedgerError`] when that cannot be written down: use none of them.
    pub fn reserve(&self) -> Result<Range<u64>, LedgerError> {
        self.reserve_above(0)
    }

    /// Reserves counters that are all greater than `floor`.
    ///
    /// # Errors
    /// [`LedgerError`] when that cannot be written down: use none of them.
    pub fn reserve_above(&self, floor: u64) -> Result<Range<u64>, LedgerError> {
        let mut book = self.book();
        let start = book.state.reserved_end.max(floor.saturating_add(1));
        let end = (start / COUNTER_RANGE)
            .checked_add(1)
            .and_then(|range| range.checked_mul(COUNTER_RANGE))
            .ok_or(LedgerError::Exhausted)?;
        book.tell(vec![Line::Reserved { end }])?;
        Ok(start..end)
    }

    /// Writes down what is about to be done.
    ///
    /// # Errors
    /// [`LedgerError`] when that cannot be written down: do nothing of it.
    pub fn open_intents(&self, intents: &[Intent]) -> Result<IntentBatch, LedgerError> {
        let mut book = self.book();
        let batch = book.state.last_batch + 1;
        book.tell(vec![Line::Opened { batch, intents: intents.to_vec() }])?;
        Ok(IntentBatch(batch))
    }

    /// Writes down that intents are done, and how much of the store is on the disk. Batches that
    /// are not open are passed over.
    ///
    /// # Errors
    /// [`LedgerError`] when that cannot be written down: acknowledge nothing.
    pub fn close_intents(
        &self,
        batches: &[IntentBatch],
        watermark: Option<(StoreId, Seq)>,
    ) -> Result<(), LedgerError> {
        let mut lines = Vec::new();
        if !batches.is_empty() {
            lines.push(Line::Closed { batches: batches.iter().map(|batch| batch.0).collect() });
        }
        lines.extend(watermark.map(|(store, seq)| Line::Watermark { store, seq }));
        self.book().tell(lines)
    }

    /// Lists the intents that are open, in the order in which they were opened.
    #[must_use]
    pub fn pending_intents(&self) -> Vec<Intent> {
        self.book().state.intents.values().flatten().cloned().collect()
    }

    /// Lists the batches that are open, to close those that an earlier run left.
    #[must_use]
    pub fn pending_batches(&self) -> Vec<IntentBatch> {
        self.book().state.intents.keys().copied().map(IntentBatch).collect()
    }

    /// Returns up to which sequence of which store everything is known to be on the disk.
    #[must_use]
    pub fn watermark(&self) -> Option<(StoreId, Seq)> {
        self.book().state.watermark
    }

    /// Returns the life that runs and its store, once one was begun.
    #[must_use]
    pub fn life(&self) -> Option<(Incarnation, StoreId)> {
        self.book().state.life
    }

    /// Returns the session tokens shared with `peer`.
    #[must_use]
    pub fn peer_tokens(&self, peer: DeviceId) -> Tokens {
        self.book().state.tokens.get(&peer).copied().unwrap_or_default()
    }

    /// Keeps the session tokens shared with `peer`; those of no session at all are forgotten.
    ///
    /// # Errors
    /// [`LedgerError`] when they cannot be written down: hand none out.
    pub fn set_peer_tokens(&self, peer: DeviceId, tokens: Tokens) -> Result<(), LedgerError> {
        self.book().tell(vec![Line::Tokens { peer, tokens }])
    }

    /// Forgets the session tokens of all peers: a new life has spoken to nobody yet.
    ///
    /// # Errors
    /// [`LedgerError`] when that cannot be written down.
    pub(super) fn forget_tokens(&self) -> Result<(), LedgerError> {
        let mut book = self.book();
        let tokens = Tokens::default();
        let forget = |peer: &DeviceId| Line::Tokens { peer: *peer, tokens };
        let lines: Vec<Line> = book.state.tokens.keys().map(forget).collect();
        if lines.is_empty() { Ok(()) } else { book.tell(lines) }
    }

    /// Returns what is known of a folder's root.
    #[must_use]
    pub fn root(&self, folder: &FolderId) -> Option<RootToken> {
        self.book().state.roots.get(folder).copied()
    }

    /// Keeps what is known of a folder's root; `None` forgets it.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be written down.
    pub fn set_root(&self, folder: &FolderId, root: Option<RootToken>) -> Result<(), LedgerError> {
        self.book().tell(vec![Line::Root { folder: folder.clone(), root }])
    }

    /// Returns a fact that was kept under `key`.
    #[must_use]
    pub fn fact(&self, key: &str) -> Option<Vec<u8>> {
        self.book().state.facts.get(key).cloned()
    }

    /// Lists the facts whose keys begin with `prefix`, sorted by key.
    #[must_use]
    pub fn facts(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let book = self.book();
        let found = book.state.facts.range(prefix.to_owned()..);
        found
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Keeps a fact under `key`; `None` forgets it.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be written down.
    pub fn set_fact(&self, key: &str, value: Option<&[u8]>) -> Result<(), LedgerError> {
        let value = value.map(<[u8]>::to_vec);
        self.book().tell(vec![Line::Fact { key: key.to_owned(), value }])
    }

    /// Writes down that the program ends in order, with everything it wrote on the disk.
    ///
    /// # Errors
    /// [`LedgerError`] when it cannot be written down: the next start may look more closely.
    pub fn end_cleanly(&self) -> Result<(), LedgerError> {
        let mut book = self.book();
        let id = book.state.boot.clone().unwrap_or_default().0;
        book.tell(vec![Line::Boot { id, clean: true }])
    }

    /// Returns the boot that the last run was under, and whether it ended in order.
    pub(super) fn last_boot(&self) -> Option<(String, bool)> {
        self.book().state.boot.clone()
    }

    /// Writes down a life and the boot it runs under.
    pub(super) fn begin(
        &self,
        incarnation: Incarnation,
        store: StoreId,
        boot: String,
    ) -> Result<(), LedgerError> {
        let life = Line::Life { incarnation, store };
        self.book().tell(vec![life, Line::Boot { id: boot, clean: false }])
    }

    /// Locks the book.
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use syncd_core::flow::settle::Stamp;
    use syncd_core::protocol::tokens::Token;

    use super::super::sample::{self, device, path};
    use super::*;

    pub(in super::super) fn intent(name: &str) -> Intent {
        let record = sample::file(name, 3).record;
        Intent {
            folder: FolderId::parse("work").unwrap(),
            job: 1,
            path: path(name),
            staged: Some(record.content),
            stamp: Stamp::Resolution,
            record,
        }
    }

    pub(in super::super) fn open(path: &Path) -> Ledger {
        let (ledger, opened) = Ledger::open(path).unwrap();
        assert_eq!(opened, LedgerOpened::Existing);
        ledger
    }

    /// Tells a ledger one of everything.
    pub(in super::super) fn tell_all(ledger: &Ledger) {
        let folder = FolderId::parse("work").unwrap();
        let root = RootToken { token: [5; 16], inode: 99 };
        let tokens = Tokens { kept: Some(Token([1; 32])), ..Tokens::default() };
        ledger.begin(Incarnation(4), StoreId(8), "boot".to_owned()).unwrap();
        ledger.reserve().unwrap();
        ledger.open_intents(&[intent("a"), intent("b")]).unwrap();
        let done = ledger.open_intents(&[intent("c")]).unwrap();
        ledger.close_intents(&[done], Some((StoreId(8), 70))).unwrap();
        ledger.set_peer_tokens(device(1), tokens).unwrap();
        ledger.set_root(&folder, Some(root)).unwrap();
        ledger.set_fact("epoch/1", Some(b"one")).unwrap();
        ledger.set_fact("epoch/2", Some(b"two")).unwrap();
        ledger.set_fact("epoch/2", None).unwrap();
        ledger.end_cleanly().unwrap();
    }

    #[test]
    fn what_is_told_is_there_after_opening_again() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("ledger");
        let (ledger, opened) = Ledger::open(&file).unwrap();
        assert_eq!(opened, LedgerOpened::New);
        tell_all(&ledger);
        drop(ledger);
        let ledger = open(&file);
        assert_eq!(ledger.life(), Some((Incarnation(4), StoreId(8))));
        assert_eq!(ledger.watermark(), Some((StoreId(8), 70)));
        assert_eq!(ledger.pending_intents(), [intent("a"), intent("b")]);
        assert_eq!(ledger.last_boot(), Some(("boot".to_owned(), true)));
        assert_eq!(ledger.peer_tokens(device(1)).kept, Some(Token([1; 32])));
        assert_eq!(ledger.peer_tokens(device(2)), Tokens::default());
        let folder = FolderId::parse("work").unwrap();
        assert_eq!(ledger.root(&folder).map(|root| root.inode), Some(99));
        assert_eq!(ledger.facts("epoch/"), [("epoch/1".to_owned(), b"one".to_vec())]);
        assert_eq!(ledger.fact("epoch/2"), None);
        ledger.close_intents(&ledger.pending_batches(), None).unwrap();
        assert_eq!(open(&file).pending_intents(), []);
    }

    #[test]
    fn a_watermark_never_goes_back_within_a_store() {
        let home = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(&home.path().join("ledger")).unwrap();
        for (told, known) in
            [((1, 50), (1, 50)), ((1, 40), (1, 50)), ((2, 10), (2, 10)), ((2, 11), (2, 11))]
        {
            ledger.close_intents(&[], Some((StoreId(told.0), told.1))).unwrap();
            assert_eq!(ledger.watermark(), Some((StoreId(known.0), known.1)), "{told:?}");
        }
    }

    #[test]
    fn counters_begin_at_one_and_ranges_never_meet() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("ledger");
        let (ledger, _) = Ledger::open(&file).unwrap();
        assert_eq!(ledger.reserve().unwrap(), 1..COUNTER_RANGE);
        assert_eq!(ledger.reserve().unwrap(), COUNTER_RANGE..2 * COUNTER_RANGE);
        drop(ledger);
        let ledger = open(&file);
        assert_eq!(ledger.reserve().unwrap().start, 2 * COUNTER_RANGE);
        assert_eq!(ledger.reserve_above(5).unwrap().start, 3 * COUNTER_RANGE);
        let far = 9 * COUNTER_RANGE + 77;
        assert_eq!(ledger.reserve_above(far).unwrap(), far + 1..10 * COUNTER_RANGE);
        assert!(matches!(ledger.reserve_above(u64::MAX - 1), Err(LedgerError::Exhausted)));
        assert_eq!(ledger.reserve().unwrap().start, 10 * COUNTER_RANGE, "nothing was lost by it");
    }
}
