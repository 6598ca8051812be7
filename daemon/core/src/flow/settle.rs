//! Settling: a finished download becomes the user's file.
//!
//! The plan orders [`Job`]s; the daemon's hands take their [`Step`]s. A step says what it
//! expects to find; where it finds something else it changes nothing and says so.

use crate::model::{ContentId, Kind, Record, RelPath, StatKey};

/// Names a job until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// All that happens on disk for one resolution: taken in order, stopped at the first failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Repeated in the answer.
    pub ticket: Ticket,
    /// What to do, in this order.
    pub steps: Vec<Step>,
    /// What holds once all steps are taken: written into the intent, so that a crash between the
    /// disk and the index does not turn our own work into a user's edit.
    pub becomes: Vec<Becoming>,
}

/// One entry as a job makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Becoming {
    /// Where.
    pub path: RelPath,
    /// The record, but for the counter that it gets when it goes into the index.
    pub record: Record,
    /// Which counter that is.
    pub stamp: Stamp,
}

/// Which own counter a record gets when it goes into the index, and not before: a counter that
/// is drawn but not yet in the log would be covered before it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stamp {
    /// None: a peer's record, or a derived one.
    AsIs,
    /// In the vector only: a resolution.
    Resolution,
    /// In the vector and as its dot: a write of our own.
    Write,
}

/// What must lie at a path for a step to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Nothing,
    /// What the index last saw there.
    Known {
        /// Its kind.
        kind: Kind,
        /// What `stat` said.
        stat: StatKey,
        /// What it held.
        content: ContentId,
    },
}

/// One change of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Gives what lies at `path` the second name `copy`, never replacing anything. The bytes of
    /// a conflict's loser are safe before the winner comes.
    KeepAs {
        /// The loser's path.
        path: RelPath,
        /// What lies there.
        expect: Expect,
        /// The conflict copy's path, in the same directory.
        copy: RelPath,
    },
    /// Places staged bytes as a file or symlink, exchanging what was there.
    Place {
        /// Where.
        path: RelPath,
        /// What must be there until then.
        expect: Expect,
        /// File or symlink.
        kind: Kind,
        /// The staged bytes: a file's content or a symlink's target.
        content: ContentId,
        /// Their count.
        size: u64,
        /// The modification time to set.
        mtime_ns: i64,
        /// The permission bits to set, masked to `0o777`.
        mode: u32,
    },
    /// Keeps staged bytes for other devices, out of the users' sight: this disk cannot hold them
    /// at their path.
    KeepForOthers {
        /// Where they belong.
        path: RelPath,
        /// The staged bytes.
        content: ContentId,
        /// Their count.
        size: u64,
    },
    /// Sets mode and modification time of a file that keeps its bytes, or a directory's mode.
    Dress {
        /// Where.
        path: RelPath,
        /// What must be there until then.
        expect: Expect,
        /// The modification time to set; not set for directories.
        mtime_ns: i64,
        /// The permission bits to set.
        mode: u32,
    },
    /// Makes a directory; one that is there already is fine.
    MakeDirectory {
        /// Where.
        path: RelPath,
        /// Its permission bits.
        mode: u32,
    },
    /// Moves a file or symlink out of sight, into the trash.
    Trash {
        /// Where.
        path: RelPath,
        /// What must be there until then.
        expect: Expect,
    },
    /// Removes an empty directory; one that is gone already is fine.
    RemoveDirectory {
        /// Where.
        path: RelPath,
    },
}

/// What the disk looks like at a path after a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Where.
    pub path: RelPath,
    /// What `stat` says now; `None` if nothing is there.
    pub stat: Option<StatKey>,
    /// Whether the bytes are known to survive a power loss.
    pub durable: bool,
}

/// Why a job stopped. The steps before the failing one stand; the rest were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The user was faster. Look again; the next plan sees the new content.
    #[error("{path} changed while it was about to be replaced")]
    Overtaken {
        /// Where.
        path: RelPath,
    },
    /// The exchange had been made when the displaced file turned out to be one nobody had seen.
    /// It was kept under `kept`, a conflict copy; look at both.
    #[error("{path} was written in the last moment; that version is kept as {kept}")]
    Displaced {
        /// Where the new version now lies.
        path: RelPath,
        /// Where the unseen version now lies.
        kept: RelPath,
        /// What `stat` says of `path` now.
        stat: StatKey,
    },
    /// Another program has the file open for writing. Try again later.
    #[error("{path} is open for writing")]
    Busy {
        /// Where.
        path: RelPath,
    },
    /// This file system takes the name and another one for the same. Known and forwarded, not
    /// placed.
    #[error("{path} cannot lie beside {with}: this file system takes both names for one")]
    Collides {
        /// Where.
        path: RelPath,
        /// What has the name already.
        with: RelPath,
    },
    /// The staged bytes are not there or not what they should be. Fetch them again.
    #[error("the staged bytes for {path} are not there")]
    NotStaged {
        /// For where.
        path: RelPath,
    },
    /// A directory still holds things that are not ours to remove.
    #[error("{path} still holds files that are not synced")]
    NotEmpty {
        /// Where.
        path: RelPath,
    },
    /// A name on the way is no directory. Look at it.
    #[error("{path} cannot be reached: a name on the way is no directory")]
    NoWay {
        /// Where.
        path: RelPath,
    },
    /// The disk is full, or would fall below its floor.
    #[error("{path} needs {needed_bytes} bytes; {free_bytes} are free")]
    NoRoom {
        /// For where.
        path: RelPath,
        /// How many are needed.
        needed_bytes: u64,
        /// How many are free.
        free_bytes: u64,
    },
    /// The system refused.
    #[error("{path}: {trouble}")]
    Trouble {
        /// Where.
        path: RelPath,
        /// What it said.
        trouble: Trouble,
    },
    /// The root is not the one that was attested. Halt the folder.
    #[error("the folder's root is gone or another one")]
    RootLost,
}

/// What a system call that failed meant, as far as a decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Trouble {
    /// `EACCES`, `EPERM`.
    #[error("permission denied")]
    Denied,
    /// `EROFS`.
    #[error("the file system is read-only")]
    ReadOnly,
    /// `EXDEV`, `EBUSY`: another file system is mounted on the way.
    #[error("another file system is mounted there")]
    Elsewhere,
    /// A pipe, a socket, a device or a mount point has the name.
    #[error("something that is never synced lies there")]
    Occupied,
    /// `EIO` and its kin.
    #[error("the disk reported an error")]
    Disk,
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    #[error("out of file descriptors or memory")]
    Exhausted,
    /// `ENAMETOOLONG`, `EINVAL`, `EILSEQ`: this file system cannot hold the name.
    #[error("this file system cannot hold the name")]
    Name,
    /// Anything else, by its `errno`.
    #[error("error {0} of the system")]
    Other(i32),
}
