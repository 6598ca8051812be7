//! Files that a program is still writing: what is read of one between its creation and its close
//! is nobody's version.
//!
//! The watcher tells of writes and of closes, later than they happen. So a file that was heard of
//! as written and not closed since, or that a look at a whole directory finds so new that nothing
//! may have been heard of it yet, is asked for after it was read: does another process have it
//! open for writing? Then it is left out, and looked at when it is closed, at the latest
//! [`CLOSE_WAIT_MS_MAX`] after it was first heard of. A file that is held open for longer, as logs
//! are, is then taken up whenever it was written to.
//!
//! To ask the kernel takes milliseconds on a machine with hundreds of processes. What a program
//! saved and closed is not asked for when it is looked at alone: an edit waits for nothing.
//!
//! RACE: of other users' processes nothing is known unless the daemon runs as root, and of files
//! that are only mapped nothing at all. Those are taken up as they are found.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use syncd_core::flow::detect::CLOSE_WAIT_MS_MAX;
use syncd_core::model::{RelPath, StatKey};

use super::{Root, writers};

/// Most files that are remembered. More at once are a storm, and all are forgotten.
const REMEMBERED_MAX: usize = 4_096;

/// A file that changed longer ago is not new to a look: what happened to it was heard.
const NEW_NS: i64 = 2_000_000_000;

/// How long a file is waited for to be closed.
const CLOSE_WAIT: Duration = Duration::from_millis(CLOSE_WAIT_MS_MAX);

/// Files that were written and not closed since, as far as is known. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Unclosed {
    files: Arc<Mutex<BTreeMap<RelPath, Written>>>,
}

#[derive(Debug, Clone, Copy)]
struct Written {
    /// Since when it is waited for.
    since: Instant,
    /// When it was heard of last.
    heard: Instant,
    /// Whether it was found open, and not only heard of: a change of its mode is heard too.
    is_open: bool,
}

impl Unclosed {
    /// Takes note that a file changed; `closed` when its writer is done with it, or it is gone.
    pub fn heard(&self, path: &RelPath, closed: bool) {
        let mut files = self.files();
        if closed {
            files.remove(path);
            return;
        }
        if files.len() >= REMEMBERED_MAX {
            files.clear();
        }
        let now = Instant::now();
        let new = Written { since: now, heard: now, is_open: false };
        let file = files.entry(path.clone()).or_insert(new);
        // What was quiet for long is written anew; a log goes on, and was waited for once.
        if !file.is_open && file.heard.elapsed() >= CLOSE_WAIT {
            file.since = now;
        }
        file.heard = now;
    }

    /// Tells whether it was written and not closed since, as far as is known.
    #[must_use]
    pub fn contains(&self, path: &RelPath) -> bool {
        self.files().contains_key(path)
    }

    /// Asks for those of the files that were just read, each with what `stat` said then, that may
    /// still be written: which they are, and whether another process has them open for writing.
    /// `unheard`: they were come across at `now_ns`, whatever the watcher told.
    #[must_use]
    pub fn ask<'a>(
        &self,
        root: &Root,
        read: impl Iterator<Item = (&'a RelPath, &'a StatKey)>,
        (now_ns, unheard): (i64, bool),
    ) -> BTreeMap<RelPath, bool> {
        let is_new = |stat: &StatKey| (now_ns - stat.ctime_ns).abs() < NEW_NS;
        let doubtful: Vec<_> = read
            .filter(|(path, stat)| match self.files().get(*path) {
                Some(file) => file.is_waited_for(),
                None => unheard && is_new(stat),
            })
            .collect();
        if doubtful.is_empty() {
            return BTreeMap::new();
        }
        let inodes = doubtful.iter().map(|(_, stat)| stat.inode).collect();
        let open = writers::open_for_writing(&inodes);
        let device = root.device_inode().0;
        let mut asked = BTreeMap::new();
        for (path, stat) in doubtful {
            let is_open = open.contains(&(device, stat.inode));
            self.heard(path, !is_open);
            if is_open {
                self.files().entry(path.clone()).and_modify(|file| file.is_open = true);
            }
            asked.insert(path.clone(), is_open);
        }
        asked
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<RelPath, Written>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    fn is_waited_for(&self) -> bool {
        self.since.elapsed() < CLOSE_WAIT
    }
}

#[cfg(test)]
impl Unclosed {
    /// Lets the wait for a file be over.
    pub(crate) fn expire(&self, path: &RelPath) {
        self.files().entry(path.clone()).and_modify(|file| {
            file.since -= CLOSE_WAIT;
            file.heard -= CLOSE_WAIT;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_goes_on_is_waited_for_once() {
        let (unclosed, path) = (Unclosed::default(), RelPath::parse("log").unwrap());
        unclosed.heard(&path, false);
        unclosed.files().entry(path.clone()).and_modify(|file| file.since -= CLOSE_WAIT);
        unclosed.heard(&path, false);
        assert!(!unclosed.files()[&path].is_waited_for(), "it was written all the time");
        unclosed.expire(&path);
        unclosed.heard(&path, false);
        assert!(unclosed.files()[&path].is_waited_for(), "it is written anew after a pause");
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let unclosed = Unclosed::default();
        for n in 0..3 * REMEMBERED_MAX {
            unclosed.heard(&RelPath::parse(format!("p{n}")).unwrap(), false);
            assert!(unclosed.files().len() <= REMEMBERED_MAX);
        }
    }
}
