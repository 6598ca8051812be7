//! Settling: staged bytes become the user's files, and what they displace goes to the trash.
//!
//! [`Hands`] takes the steps that the plan ordered, below one folder root and through its held
//! descriptor only. The order of writes of one batch: bytes are staged and verified
//! ([`staging`]), [`Hands::ready`] gives them mode and time and makes them durable, the caller
//! writes the intents, [`Hands::take`] swaps them in and makes the directories durable, the
//! caller commits its index and closes the intents. [`Hands::recover`] runs before all of it.
//!
//! # Invariants
//! - A user's file is never written in place, another inode takes its name, but where the user
//!   asked for it ([`SettleOptions::in_place`]).
//! - What is displaced is looked at after it was moved out of the way. If it is not what was
//!   expected it gets its name back, or where that has gone to another a name beside it, and the
//!   next look takes it for the write that it is; else it goes to the trash.
//! - Only [`Hands::prune`] and [`Hands::empty`] end a user's bytes, and only ones in the trash.
//! - Nothing below `.syncd` is settled, no symlink on the way is followed, no missing parent
//!   is made by the way.
//!
//! pull → **settle** → detect (which sees our own write and knows it by its stat)

mod bases;
mod carry;
mod check;
#[doc(hidden)]
pub mod decoders;
mod displace;
mod dress;
mod durable;
mod fill;
mod inherit;
mod journal;
mod kept;
mod late;
mod open;
mod ready;
mod replace;
mod restart;
mod rewrite;
mod room;
mod share;
pub mod staging;
mod take;
#[cfg(test)]
mod testing;
mod together;
pub mod trash;
mod twins;
mod unplaced;

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use syncd_core::flow::detect::pace::Pace;
use syncd_core::flow::settle::{SettleError, Ticket, Trouble};
use syncd_core::model::{AncestorId, ContentId, RelPath};
use syncd_home::Limits;

use crate::world::disk;
use disk::{DiskError, Root, Unclosed, system};

pub use bases::{BASE_BYTES_MAX, Base, is_text};
pub use carry::{CarryError, carry};
pub use late::LateWrite;
pub use open::OPEN_WAIT;
pub use restart::Recovered;
pub use share::LARGE_BYTES_MIN;
pub use staging::{StageError, StagedWriter};
pub use trash::{Pruned, TrashEntry, TrashError, Why};

/// Names the conflict copy of a path whose losing version has this modification time in
/// nanoseconds since 1970. The copy lies in the same directory.
pub type NameCopy = Arc<dyn Fn(&RelPath, i64) -> RelPath + Send + Sync>;

/// Tells whether a path's bytes are rewritten where they are, instead of another inode taking its
/// name.
pub type InPlace = Arc<dyn Fn(&RelPath) -> bool + Send + Sync>;

/// What a folder's hands need to be told.
#[derive(Clone)]
pub struct SettleOptions {
    /// Names the copy of a version that nobody had seen when it was displaced.
    pub name_copy: NameCopy,
    /// What the trash keeps, and what stays free.
    pub limits: Limits,
    /// Which files are rewritten in place.
    pub in_place: InPlace,
    /// How long a file that another program has open for writing is waited for.
    pub open_wait: Duration,
}

impl fmt::Debug for SettleOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettleOptions").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The only hands on the users' paths of one folder. Cheap to clone; all calls block on the disk.
#[derive(Clone)]
pub struct Hands {
    inner: Arc<Inner>,
}

struct Inner {
    root: Root,
    staging: OwnedFd,
    trash: OwnedFd,
    history: OwnedFd,
    /// How many bases of a path were kept since the start.
    bases: Mutex<BTreeMap<AncestorId, usize>>,
    name_copy: NameCopy,
    in_place: Mutex<InPlace>,
    open_wait: Duration,
    /// Since when files are waited for that another program has open for writing.
    open_since: Mutex<BTreeMap<RelPath, Instant>>,
    /// Files that were written and not closed since, as far as was heard.
    unclosed: Unclosed,
    limits: Mutex<Limits>,
    /// Since when these hands work.
    began: Instant,
    /// What each path has taken of its share of the disk.
    share: Mutex<Pace>,
    kept: OwnedFd,
    journal: Mutex<journal::Journal>,
    /// Contents that a [`StagedWriter`] is writing right now, with their sizes.
    writing: Mutex<BTreeMap<ContentId, u64>>,
    /// The last version of each path that was begun and not placed yet.
    unplaced: Mutex<BTreeMap<RelPath, ContentId>>,
    /// Tells apart the names in staging, also from what an earlier run left there.
    next_name: AtomicU64,
    /// Bytes that went to the trash since it was last pruned.
    displaced_bytes: AtomicU64,
    /// Staged files with their mode and time, by job and step.
    readied: Mutex<BTreeMap<(Ticket, usize), ready::Readied>>,
    /// Displaced inodes that may still be open for writing somewhere.
    watched: Mutex<late::AllWatched>,
    #[cfg(test)]
    hook: Mutex<Option<testing::Hook>>,
}

/// The moments between two calls at which a user may come in between, or a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moment {
    /// The path was as expected; nothing is changed yet.
    Checked,
    /// A displacement is written down; nothing is changed yet.
    Noted,
    /// The path was asked about for the last time; nothing is changed yet.
    Asked,
    /// The new version has the name, the old one lies in staging.
    Swapped,
    /// The old version was moved aside; nothing has the name.
    Aside,
    /// The deleted version lies in the trash, not yet verified.
    Trashed,
    /// A new file has its name.
    Installed,
    /// A piece of a file was written over in place.
    Rewriting,
    /// A file has its new mode and time, and was found to hold the known bytes.
    Dressed,
    /// A conflict's loser has its second name.
    Copied,
    /// The displaced version is in the trash and that is written down.
    Filed,
    /// All steps of a job are taken.
    Taken,
}

impl Hands {
    /// Takes hold of a root that [`Root::prepare`] has prepared. When the root had to be
    /// recreated ([`disk::Attested::Recreated`]) new hands are needed.
    ///
    /// # Errors
    /// [`DiskError`] about `.syncd/staging`, `trash` or `kept`: not prepared, or not readable.
    pub fn new(root: Root, options: SettleOptions) -> Result<Self, DiskError> {
        let open = |name: &str| {
            let dir = root.own().join(name).unwrap_or_else(|_| root.own().clone());
            root.open_dir(&dir).map(|fd| (dir, fd))
        };
        let (_, staging) = open("staging")?;
        let (_, history) = open("history")?;
        let (_, kept) = open("kept")?;
        let (dir, trash) = open("trash")?;
        let journal = journal::Journal::open(&trash).map_err(|errno| DiskError::of(&dir, errno))?;
        Ok(Self {
            inner: Arc::new(Inner {
                root,
                staging,
                trash,
                history,
                bases: Mutex::default(),
                name_copy: options.name_copy,
                in_place: Mutex::new(options.in_place),
                open_wait: options.open_wait,
                open_since: Mutex::default(),
                unclosed: Unclosed::default(),
                limits: Mutex::new(options.limits),
                began: Instant::now(),
                share: Mutex::new(Pace::with_credit(share::AHEAD_MS)),
                kept,
                journal: Mutex::new(journal),
                writing: Mutex::default(),
                unplaced: Mutex::default(),
                next_name: AtomicU64::new(now_ms() << 20),
                displaced_bytes: AtomicU64::new(0),
                readied: Mutex::default(),
                watched: Mutex::default(),
                #[cfg(test)]
                hook: Mutex::default(),
            }),
        })
    }

    /// Returns the root they work in.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.inner.root
    }

    /// Tells whether somebody removed staging or trash under these hands (`git clean -ffdx` does):
    /// new hands on a newly prepared root are needed.
    #[must_use]
    pub fn are_cut_off(&self) -> bool {
        let is_gone = |fd: &OwnedFd| system::stat_of(fd).is_ok_and(|s| system::links_of(&s) == 0);
        is_gone(&self.inner.staging) || is_gone(&self.inner.trash)
    }

    /// Lets go of what is open for writing and has not been used for a second or so, so that the
    /// file system can be remounted read-only. To be called every second.
    pub fn rest(&self) {
        self.journal().rest();
    }

    /// Sets anew what the trash keeps, and what stays free.
    pub fn set_limits(&self, limits: Limits) {
        *locked(&self.inner.limits) = limits;
    }

    /// Sets anew which files are rewritten where they are.
    pub fn set_in_place(&self, in_place: InPlace) {
        *locked(&self.inner.in_place) = in_place;
    }

    fn is_in_place(&self, path: &RelPath) -> bool {
        let in_place = Arc::clone(&locked(&self.inner.in_place));
        in_place(path)
    }

    fn limits(&self) -> Limits {
        *locked(&self.inner.limits)
    }

    fn staging(&self) -> BorrowedFd<'_> {
        self.inner.staging.as_fd()
    }

    fn history(&self) -> BorrowedFd<'_> {
        self.inner.history.as_fd()
    }

    fn trash(&self) -> BorrowedFd<'_> {
        self.inner.trash.as_fd()
    }

    fn journal(&self) -> MutexGuard<'_, journal::Journal> {
        locked(&self.inner.journal)
    }

    /// Returns a name in staging for bytes of `content` that no other file has or will have: a
    /// leftover under it might be a user's.
    fn fresh_name(&self, content: ContentId) -> String {
        format!("{}.{:x}", content.hex(), self.next_number())
    }

    /// Returns a number that no other name in staging has or will have.
    fn next_number(&self) -> u64 {
        self.inner.next_name.fetch_add(1, Ordering::Relaxed)
    }

    /// A place for tests to come in between; nothing otherwise.
    fn pass(&self, moment: Moment) {
        #[cfg(test)]
        testing::call(&self.inner.hook, moment);
        #[cfg(not(test))]
        let _ = moment;
    }

    /// Reaches the directory that `path` lies in.
    fn spot(&self, path: &RelPath) -> Result<Spot, SettleError> {
        self.spot_in(path, Arc::new(self.way_to(path)?))
    }

    /// Returns the place of `path` in its directory, which was reached.
    fn spot_in(&self, path: &RelPath, way: Arc<OwnedFd>) -> Result<Spot, SettleError> {
        Ok(Spot { way, path: path.clone(), name: self.name_of(path)? })
    }

    /// Opens the directory that `path` lies in.
    fn way_to(&self, path: &RelPath) -> Result<OwnedFd, SettleError> {
        if !self.root().is_ours(path) {
            return Err(SettleError::Trouble { path: path.clone(), trouble: Trouble::Denied });
        }
        let Some(parent) = path.parent() else {
            return Err(SettleError::Trouble { path: path.clone(), trouble: Trouble::Denied });
        };
        let way = self.root().open_way(&parent).map_err(|error| match error {
            DiskError::Missing { .. } | DiskError::NoWay { .. } => {
                SettleError::NoWay { path: path.clone() }
            }
            DiskError::OtherKind { .. }
            | DiskError::OtherDevice { .. }
            | DiskError::Foreign { .. }
            | DiskError::Refused { .. } => {
                SettleError::Trouble { path: path.clone(), trouble: error.trouble() }
            }
        })?;
        if !self.root().is_spelt_so(&parent) {
            // What was reached is the directory's twin.
            return Err(SettleError::NoWay { path: path.clone() });
        }
        Ok(way)
    }

    /// Returns the name that `path` has in its directory here.
    fn name_of(&self, path: &RelPath) -> Result<Vec<u8>, SettleError> {
        let name = self.root().name_of(path);
        let name = name
            .map_err(|error| SettleError::Trouble { path: path.clone(), trouble: error.trouble() });
        Ok(name?.into_owned())
    }

    /// Turns what the system said of `path` into the stage's error.
    fn said(&self, path: &RelPath, needed_bytes: u64, errno: Errno) -> SettleError {
        let path = path.clone();
        match errno {
            Errno::NOSPC | Errno::DQUOT => {
                let free_bytes = self.free_bytes().unwrap_or_default();
                SettleError::NoRoom { path, needed_bytes, free_bytes }
            }
            // The directory was removed under the descriptor.
            Errno::NOENT | Errno::NOTDIR => SettleError::NoWay { path },
            _ => SettleError::Trouble { path, trouble: disk::trouble_of(errno) },
        }
    }
}

/// A name in a directory that was reached: where a step is taken.
struct Spot {
    way: Arc<OwnedFd>,
    path: RelPath,
    /// The name here, which only in a single-file folder is not that of the path.
    name: Vec<u8>,
}

impl Spot {
    fn way(&self) -> BorrowedFd<'_> {
        self.way.as_fd()
    }

    fn name(&self) -> &[u8] {
        &self.name
    }

    fn stat(&self) -> rustix::io::Result<Option<rustix::fs::Stat>> {
        system::stat_at(self.way(), self.name())
    }

    fn overtaken(&self) -> SettleError {
        SettleError::Overtaken { path: self.path.clone() }
    }
}

/// Locks; a thread that panicked while it held the lock left nothing half done in these values.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since 1970 on the wall clock, for people and for ages; decides no version.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
