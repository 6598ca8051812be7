//! Reading again what was hashed before: a disk that gives back other bytes than were written to it
//! changes neither size nor times, so no scan notices.
//!
//! # Invariants
//! - A file counts as rotten only if its `stat` was as the index says before and after it was read.
//! - What is read comes from the disk, as far as the system can be asked to forget its copy.
//! - Half of the time at least nothing is read: other programs have the disk too.

use std::time::Instant;

use rustix::fs::{Advice, fadvise};
use syncd_core::flow::index::{IndexError, Known};
use syncd_core::model::{ContentId, Entry, Kind, RelPath, StatKey};

use super::{Problem, Scope};
use crate::flow::digest::{DigestError, digest_in_steps};
use crate::world::disk::{DiskError, Root, trouble_of};

/// A file whose bytes are not those that were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotten {
    /// Where.
    pub path: RelPath,
    /// What `stat` said before and after the bytes were read.
    pub stat: StatKey,
    /// What they are now.
    pub content: ContentId,
}

/// What reading everything again found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Files whose bytes are as the index says.
    pub whole: u64,
    /// How many bytes were read.
    pub bytes: u64,
    /// Files that changed since the last look, or while they were read: a scan's business.
    pub changed: u64,
    /// Files that the disk has lost bytes of.
    pub rotten: Vec<Rotten>,
    /// Files that could not be read.
    pub problems: Vec<Problem>,
    /// It was given up before the end.
    pub broken_off: bool,
}

/// Reads every file below a root that the index holds, and compares.
///
/// `is_over` is asked once for each file, and ends the reading.
///
/// # Errors
/// [`IndexError`] when the index cannot be read. What the disk does is in the answer.
pub fn verify(
    root: &Root,
    known: &dyn Known,
    scope: &dyn Scope,
    is_over: &dyn Fn() -> bool,
) -> Result<Verified, IndexError> {
    let mut verified = Verified::default();
    let mut dirs = vec![RelPath::root()];
    while let Some(dir) = dirs.pop() {
        for (path, entry) in known.children(&dir)? {
            if is_over() {
                verified.broken_off = true;
                return Ok(verified);
            }
            match entry.record.kind {
                Kind::Directory => dirs.push(path),
                Kind::File if entry.local.is_here() && scope.synced(&path, false) => {
                    verified.one(root, &path, &entry);
                }
                Kind::File | Kind::Symlink | Kind::Tombstone => {}
            }
        }
    }
    // A root that was unmounted meanwhile says nothing of its files.
    verified.broken_off |= root.is_in_place().is_err();
    Ok(verified)
}

impl Verified {
    fn one(&mut self, root: &Root, path: &RelPath, entry: &Entry) {
        let fd = match root.open_file(path) {
            Ok(fd) => fd,
            Err(DiskError::Refused { source, .. }) => {
                let problem = Problem::of(path.clone(), trouble_of(source));
                self.problems.push(problem);
                return;
            }
            // Gone or of another kind by now.
            Err(_) => {
                self.changed += 1;
                return;
            }
        };
        // Only clean pages can be forgotten; others are on their way to the disk still.
        let _ = fadvise(&fd, 0, None, Advice::DontNeed);
        let mut began = Instant::now();
        let mut rest = || {
            std::thread::sleep(began.elapsed());
            began = Instant::now();
        };
        match digest_in_steps(&fd, None, 0, &mut rest) {
            Ok(digest) if entry.local.seen != Some(digest.stat) => self.changed += 1,
            Ok(digest) => {
                self.bytes += digest.stat.size;
                if digest.content == entry.record.content {
                    self.whole += 1;
                } else {
                    let (stat, content) = (digest.stat, digest.content);
                    self.rotten.push(Rotten { path: path.clone(), stat, content });
                }
            }
            Err(DigestError::Changed | DigestError::Gone) => self.changed += 1,
            Err(DigestError::Trouble(trouble)) => {
                self.problems.push(Problem::of(path.clone(), trouble));
            }
        }
    }
}
