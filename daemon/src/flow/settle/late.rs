//! Late writes: a program that had a file open when it was replaced still writes to the old one.
//!
//! The old inode lies in the trash, where nobody would see those bytes. So it is looked at for
//! ten minutes, and for as long as a program has it open; when it changed it becomes a conflict
//! copy beside its path, the program goes on writing to that, and nothing is lost.

use std::time::{Duration, Instant};

use syncd_core::flow::settle::SettleError;
use syncd_core::model::{Kind, RelPath};

use super::check::Held;
use super::journal::Moved;
use super::{Hands, locked};
use crate::world::disk::system;

/// How long a displaced inode is looked at, in milliseconds.
pub(super) const WATCH_MS: u64 = 10 * 60 * 1000;

/// Most displaced inodes looked at; the oldest is let go of first. About 40 MB.
const WATCHED_MAX: usize = 100_000;

/// A displaced inode that may still be open for writing.
pub(super) struct Watched {
    moved: Moved,
    until: Instant,
}

impl Watched {
    /// Returns its id in the trash.
    pub(super) fn id(&self) -> u64 {
        self.moved.seq
    }

    /// Returns its name in the trash, and its inode.
    pub(super) fn file(&self) -> (String, u64) {
        (self.moved.name(), self.moved.inode)
    }

    /// Lets its time be over.
    #[cfg(test)]
    pub(super) fn expire(&mut self) {
        self.until = Instant::now();
    }
}

/// A write to a version that had been displaced already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateWrite {
    /// The path that the program believes to write to.
    pub path: RelPath,
    /// Where its version now lies: look at it.
    pub kept: RelPath,
}

impl Hands {
    /// Begins to look at a displaced file. One with other names is left out: a write to it may
    /// mean one of those.
    pub(super) fn watch(&self, moved: &Moved, held: &Held) {
        let is_alone =
            system::kind_of(&held.stat) == Some(Kind::File) && system::links_of(&held.stat) == 1;
        if is_alone {
            self.watch_for(moved.clone(), WATCH_MS);
        }
    }

    /// Goes on looking at what was displaced before a restart.
    pub(super) fn watch_for(&self, moved: Moved, wait_ms: u64) {
        let until = Instant::now() + Duration::from_millis(wait_ms);
        let mut watched = locked(&self.inner.watched);
        if watched.len() >= WATCHED_MAX {
            watched.remove(0);
        }
        watched.push(Watched { moved, until });
    }

    /// Looks at what was displaced in the last ten minutes. What was written to since becomes a
    /// conflict copy beside its path. To be called every second or so, and cheap: one `stat` a
    /// file. Sorted by when they were displaced.
    ///
    /// Copies that could not be placed come back as errors and are tried again.
    #[must_use]
    pub fn late_writes(&self) -> Vec<Result<LateWrite, SettleError>> {
        let mut found = Vec::new();
        let watched = std::mem::take(&mut *locked(&self.inner.watched));
        let mut still = Vec::with_capacity(watched.len());
        let mut over = Vec::new();
        for one in watched {
            match self.look_late(&one.moved) {
                Ok(None) if one.until > Instant::now() => still.push(one),
                Ok(None) => over.push(one),
                Ok(Some(late)) => found.push(Ok(late)),
                Err(error) => {
                    found.push(Err(error));
                    still.push(one);
                }
            }
        }
        still.extend(self.still_open(over));
        let mut watched = locked(&self.inner.watched);
        still.append(&mut watched);
        *watched = still;
        found
    }

    /// Goes on looking at what a program still has open for writing.
    fn still_open(&self, over: Vec<Watched>) -> Vec<Watched> {
        let open = self.open_in_trash(&over.iter().map(Watched::file).collect());
        let until = Instant::now() + Duration::from_millis(WATCH_MS);
        let mut over = over;
        over.retain(|one| open.contains(&one.moved.name()));
        over.into_iter().map(|one| Watched { until, ..one }).collect()
    }

    fn look_late(&self, moved: &Moved) -> Result<Option<LateWrite>, SettleError> {
        let Some(path) = moved.path() else { return Ok(None) };
        let name = moved.name();
        let stat = system::stat_at(self.trash(), name.as_bytes());
        // Restored or pruned meanwhile.
        let Some(stat) = stat.map_err(|e| self.said(&path, 0, e))? else { return Ok(None) };
        let key = system::key_of(&stat);
        if (key.size, key.mtime_ns) == (moved.size, moved.mtime_ns) {
            return Ok(None);
        }
        let spot = self.spot(&path)?;
        let kept = self.keep_unseen(moved, &spot, self.trash(), &name)?;
        Ok(Some(LateWrite { path, kept }))
    }
}
