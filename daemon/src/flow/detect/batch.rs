//! What a walk has come across and not yet told: hashed together, told in order.

use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use syncd_core::flow::detect::{Found, Look, Seen};
use syncd_core::flow::settle::Trouble;
use syncd_core::model::{ContentId, Kind, RelPath, StatKey};

use super::{COSTLY_BYTES, LookReport, Problem, Scanner, Sink, UNTRUSTED_CTIME};
use crate::flow::digest::{Digest, DigestError, digest_file, now_ns};
use crate::world::disk::{DiskError, Odd, Root};

/// Things told at a time.
const ITEMS_MAX: usize = 500;

/// Bytes hashed before the things before them are told. A single greater file comes alone.
const BYTES_MAX: u64 = 64 << 20;

/// How often a file that changes is read in a row.
const TRIES_MAX: u32 = 4;

/// With fewer files to hash, threads cost more than they bring.
const THREADED_FILES_MIN: usize = 16;

/// The disk and the user's programs want their share of a small machine.
const THREADS: usize = 2;

/// Things found and gone, in the order of the walk.
#[derive(Debug, Default)]
pub(super) struct Batch {
    found: Vec<Item>,
    gone: Vec<RelPath>,
    bytes: u64,
}

#[derive(Debug)]
struct Item {
    path: RelPath,
    kind: Kind,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Nothing more to read.
    Known { stat: StatKey, content: ContentId },
    /// A file to be read, with the average block size of its last version.
    File { bytes: u64, average_before: Option<u32> },
}

/// What became of a file to be read.
enum Outcome {
    Read(Digest),
    Again,
    Unclosed,
    Elsewhere,
    Trouble(Trouble),
}

impl Batch {
    pub(super) fn directory(&mut self, path: RelPath, stat: StatKey) {
        let what = What::Known { stat, content: ContentId::NONE };
        self.found.push(Item { path, kind: Kind::Directory, what });
    }

    pub(super) fn symlink(&mut self, path: RelPath, stat: StatKey, content: ContentId) {
        let what = What::Known { stat, content };
        self.found.push(Item { path, kind: Kind::Symlink, what });
    }

    pub(super) fn file(&mut self, path: RelPath, bytes: u64, average_before: Option<u32>) {
        self.bytes = self.bytes.saturating_add(bytes);
        let what = What::File { bytes, average_before };
        self.found.push(Item { path, kind: Kind::File, what });
    }

    pub(super) fn gone(&mut self, paths: impl IntoIterator<Item = RelPath>) {
        self.gone.extend(paths);
    }

    /// Tells whether to tell before a file of `bytes` is added.
    pub(super) fn is_full_for(&self, bytes: u64) -> bool {
        self.found.len() >= ITEMS_MAX
            || self.gone.len() >= ITEMS_MAX
            || (!self.found.is_empty() && self.bytes.saturating_add(bytes) > BYTES_MAX)
    }

    /// Reads what is to be read, tells everything and is empty again. `is_wide`: nothing may have
    /// been heard of it yet.
    pub(super) fn tell(
        &mut self,
        at: &Scanner<'_>,
        is_wide: bool,
        report: &mut LookReport,
        sink: &mut dyn Sink,
    ) {
        let items = std::mem::take(&mut self.found);
        let gone = std::mem::take(&mut self.gone);
        self.bytes = 0;
        let mut outcomes = read_all(at.root, &items, at.window_ns);
        leave_out_unclosed(at, is_wide, &items, &mut outcomes);
        let mut found = Vec::with_capacity(items.len());
        for (item, outcome) in items.into_iter().zip(outcomes) {
            found.extend(item.told(outcome, report, sink));
        }
        if !found.is_empty() || !gone.is_empty() {
            sink.seen(Seen { found, gone });
        }
    }
}

impl Item {
    fn told(
        self,
        outcome: Option<Outcome>,
        report: &mut LookReport,
        sink: &mut dyn Sink,
    ) -> Option<Found> {
        let Self { path, kind, what } = self;
        if let What::File { bytes, .. } = what
            && bytes >= COSTLY_BYTES
        {
            report.costly.push((path.clone(), bytes));
        }
        let digest = match (what, outcome) {
            (What::Known { stat, content }, _) => return Some(Found { path, kind, stat, content }),
            (What::File { .. }, Some(Outcome::Read(digest))) => digest,
            (What::File { .. }, Some(Outcome::Again) | None) => {
                report.again.push(path);
                return None;
            }
            (What::File { .. }, Some(Outcome::Unclosed)) => {
                report.unclosed.push(path);
                return None;
            }
            (What::File { .. }, Some(Outcome::Elsewhere)) => {
                report.unsupported.push((path, Odd::Mount));
                return None;
            }
            (What::File { .. }, Some(Outcome::Trouble(trouble))) => {
                report.broken_off |= trouble == Trouble::Disk;
                if trouble == Trouble::Exhausted {
                    report.starved.push(Look::Path(path.clone()));
                }
                report.problems.push(Problem::of(path, trouble));
                return None;
            }
        };
        let Digest { content, mut stat, blocks, fresh } = digest;
        report.hashed_bytes += stat.size;
        if fresh {
            stat.ctime_ns = UNTRUSTED_CTIME;
            report.again.push(path.clone());
        }
        if let Some(blocks) = blocks {
            sink.blocks(content, blocks);
        }
        Some(Found { path, kind, stat, content })
    }
}

/// Takes back what was read of files that another program is still writing, or has gone on writing
/// since they were read.
fn leave_out_unclosed(
    at: &Scanner<'_>,
    is_wide: bool,
    items: &[Item],
    outcomes: &mut [Option<Outcome>],
) {
    let read = items.iter().zip(&*outcomes).filter_map(|(item, outcome)| match outcome {
        Some(Outcome::Read(digest)) => Some((&item.path, &digest.stat)),
        Some(_) | None => None,
    });
    let asked = at.unclosed.ask(at.root, read, (now_ns(), is_wide));
    for (item, outcome) in items.iter().zip(outcomes) {
        let Some(Outcome::Read(digest)) = outcome else { continue };
        match asked.get(&item.path) {
            None => {}
            Some(true) => *outcome = Some(Outcome::Unclosed),
            // Its writer may have been done with it between the reading and the question.
            Some(false) => {
                let now = at.root.stat(&item.path).ok().flatten();
                if now.is_none_or(|now| now.key != digest.stat) {
                    *outcome = Some(Outcome::Again);
                }
            }
        }
    }
}

/// Reads every file among `items`; the answers stand in the same places.
fn read_all(root: &Root, items: &[Item], window_ns: i64) -> Vec<Option<Outcome>> {
    let files = items.iter().filter(|item| matches!(item.what, What::File { .. })).count();
    if files < THREADED_FILES_MIN {
        return items.iter().map(|item| read(root, item, window_ns)).collect();
    }
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::with_capacity(items.len()));
    let work = || {
        let mut own = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            own.push((at, read(root, item, window_ns)));
        }
        match outcomes.lock() {
            Ok(mut all) => all.extend(own),
            Err(poisoned) => poisoned.into_inner().extend(own),
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..THREADS {
            scope.spawn(work);
        }
        work();
    });
    let mut all = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    all.sort_unstable_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Digests a file, at once again when it changed meanwhile: the writer of a small log is met
/// between two of its lines before long, while to wait would be to wait for the next ones.
fn digest_between_writes(
    fd: &OwnedFd,
    average_before: Option<u32>,
    window_ns: i64,
) -> Result<Digest, DigestError> {
    let mut tries = 1;
    loop {
        match digest_file(fd, average_before, window_ns) {
            Err(DigestError::Changed) if tries < TRIES_MAX => tries += 1,
            answer => return answer,
        }
    }
}

/// Reads one file; `None` for what needs no reading.
fn read(root: &Root, item: &Item, window_ns: i64) -> Option<Outcome> {
    let What::File { average_before, .. } = item.what else { return None };
    Some(match root.open_file(&item.path) {
        Ok(fd) => match digest_between_writes(&fd, average_before, window_ns) {
            Ok(digest) => Outcome::Read(digest),
            Err(DigestError::Changed | DigestError::Gone) => Outcome::Again,
            Err(DigestError::Trouble(trouble)) => Outcome::Trouble(trouble),
        },
        // It was there a moment ago.
        Err(DiskError::Missing { .. } | DiskError::NoWay { .. } | DiskError::OtherKind { .. }) => {
            Outcome::Again
        }
        Err(DiskError::OtherDevice { .. } | DiskError::Foreign { .. }) => Outcome::Elsewhere,
        Err(error @ DiskError::Refused { .. }) => Outcome::Trouble(error.trouble()),
    })
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests;
