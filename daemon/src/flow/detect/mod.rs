//! Detecting: what lies on the disk, and where it may have changed.
//!
//! The watcher is a hint, the scan is the truth: a lost event costs time, never a file.

mod arms;
mod batch;
mod events;
#[cfg(test)]
mod ground;
mod links;
mod scan;
mod verify;

use syncd_core::flow::detect::{Look, Seen};
use syncd_core::flow::digest::BlockList;
use syncd_core::flow::settle::Trouble;
use syncd_core::model::{ContentId, RelPath};

pub use arms::Coverage;
pub use events::{CookieError, Heard, WatchError, Watcher};
pub use links::Links;
pub use scan::Scanner;
pub use verify::{Rotten, Verified, verify};

use crate::world::disk::Odd;

/// What belongs to the folder's synced part: the rules of the ignore file, asked path by path.
pub trait Scope {
    /// Tells whether `path` is synced here. What is not is neither found nor gone.
    fn synced(&self, path: &RelPath, is_dir: bool) -> bool;

    /// Tells whether anything below `dir` can be synced; if not it is neither listed nor watched.
    fn descend(&self, dir: &RelPath) -> bool;

    /// Tells whether a change of `path` is to be heard of: of what is synced, and of files that
    /// say what is.
    fn heeds(&self, path: &RelPath) -> bool {
        self.synced(path, false) || self.synced(path, true)
    }
}

/// Takes what a look sees, in the order of the walk.
pub trait Sink {
    /// Takes found and gone things, at most about 500 found at a time.
    fn seen(&mut self, seen: Seen);

    /// Takes the blocks of a content of more than one. Comes before the [`Sink::seen`] that names
    /// the content.
    fn blocks(&mut self, content: ContentId, blocks: BlockList);

    /// Returns the average block size that `content` was cut with, if it has blocks.
    fn average_of(&self, content: ContentId) -> Option<u32> {
        let _ = content;
        None
    }

    /// Tells whether the look is to be given up. Asked once for each directory.
    fn is_over(&self) -> bool {
        false
    }
}

/// Something that could not be looked at, for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub path: RelPath,
    /// What is wrong, without the path.
    pub what: String,
    /// What the user can do about it.
    pub advice: &'static str,
}

/// How a look went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LookReport {
    /// No error hid a part of the tree. A hidden part is never told as gone, whatever this says.
    pub complete: bool,
    /// The disk failed or the look was given up: what it said was gone counts for nothing.
    pub broken_off: bool,
    /// What could not be looked at, in the order of the walk.
    pub problems: Vec<Problem>,
    /// FIFOs, sockets, devices and directories on another file system, in the order of the walk.
    pub unsupported: Vec<(RelPath, Odd)>,
    /// Paths that were looked at with all below them: what was wrong there before and is not
    /// told now is over.
    pub covered: Vec<RelPath>,
    /// Paths to look at once more in a moment: they changed while they were looked at, or are so
    /// new that the next write might not show. What was found of the latter carries
    /// [`UNTRUSTED_CTIME`].
    pub again: Vec<RelPath>,
    /// Files that another program is still writing, which were left out: to be looked at when they
    /// are closed.
    pub unclosed: Vec<RelPath>,
    /// What could not be looked at because no descriptor or memory was left, in the order of the
    /// walk: to be looked at when there is. Nothing else tells of a change there again.
    pub starved: Vec<Look>,
    /// How many names were looked at.
    pub names: u64,
    /// How many bytes were read and hashed.
    pub hashed_bytes: u64,
    /// Files whose reading took its time, at least [`COSTLY_BYTES`], with how many bytes it was.
    pub costly: Vec<(RelPath, u64)>,
}

impl LookReport {
    /// Tells whether `path` was looked at with all below it.
    #[must_use]
    pub fn covers(&self, path: &RelPath) -> bool {
        self.covered.iter().any(|at| path == at || path.is_below(at))
    }
}

/// What is greater takes longer to read than to look at.
pub const COSTLY_BYTES: u64 = 1 << 20;

/// The change time told of a file whose `stat` is no proof of its content. No file has it, so the
/// file is read again by the next look.
pub const UNTRUSTED_CTIME: i64 = 0;

impl Problem {
    fn of(path: RelPath, trouble: Trouble) -> Self {
        Self { path, what: trouble.to_string(), advice: advice(trouble) }
    }
}

fn advice(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Denied => "let the user that runs syncd read it, or ignore it in .stignore",
        Trouble::Occupied => "ignore it in .stignore",
        Trouble::Elsewhere => "unmount it, or ignore it in .stignore",
        Trouble::Disk => "check the disk and whether it is still mounted",
        Trouble::Exhausted => "raise the limit of open files for syncd",
        Trouble::Name => "rename it or ignore it in .stignore",
        Trouble::ReadOnly | Trouble::Other(_) => "see whether other programs can read it",
    }
}
