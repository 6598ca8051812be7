//! Late writes: a program that had a file open when it was replaced still writes to the old one.
//!
//! The old inode lies in the trash, where nobody would see those bytes. So it is looked at for
//! ten minutes, and for as long as a program has it open; when it changed it becomes a conflict
//! copy beside its path, the program goes on writing to that, and nothing is lost.
//!
//! After a checkout of 100,000 files as many were displaced, and a program that had one open writes
//! soon or hardly ever: each look waits a quarter longer than the one before, a minute at most.
//! What changed meanwhile is not ended by the trash's limits either.

use std::collections::BTreeMap;
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

/// The time between the first two looks, in milliseconds.
const PAUSE_MS_MIN: u64 = 1_000;

/// The longest time between two looks, in milliseconds.
const PAUSE_MS_MAX: u64 = 60_000;

/// A displaced inode that may still be open for writing.
pub(super) struct Watched {
    moved: Moved,
    until: Instant,
    next: Instant,
    pause_ms: u64,
}

/// Displaced inodes by their ids in the trash, the oldest first.
pub(super) type AllWatched = BTreeMap<u64, Watched>;

impl Watched {
    fn of(moved: Moved, wait_ms: u64) -> Self {
        let now = Instant::now();
        let until = now + Duration::from_millis(wait_ms);
        Self { moved, until, next: now, pause_ms: PAUSE_MS_MIN }
    }

    /// Returns its name in the trash, and its inode.
    pub(super) fn file(&self) -> (String, u64) {
        (self.moved.name(), self.moved.inode)
    }

    /// Plans the look after this one; the last is when its time is over.
    fn looked(&mut self) {
        self.next = self.until.min(Instant::now() + Duration::from_millis(self.pause_ms));
        self.pause_ms = pause_after(self.pause_ms);
    }

    /// Lets its time be over.
    #[cfg(test)]
    pub(super) fn expire(&mut self) {
        (self.until, self.next) = (Instant::now(), Instant::now());
    }

    /// Lets the time until its next look be over.
    #[cfg(test)]
    pub(super) fn hurry(&mut self) {
        self.next = Instant::now();
    }
}

fn pause_after(pause_ms: u64) -> u64 {
    (pause_ms + pause_ms / 4).min(PAUSE_MS_MAX)
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

    /// Lets the time until the next look at what was displaced be over.
    #[cfg(test)]
    pub(super) fn hurry_late_looks(&self) {
        locked(&self.inner.watched).values_mut().for_each(Watched::hurry);
    }

    /// Goes on looking at what was displaced before a restart.
    pub(super) fn watch_for(&self, moved: Moved, wait_ms: u64) {
        let mut watched = locked(&self.inner.watched);
        if watched.len() >= WATCHED_MAX {
            watched.pop_first();
        }
        watched.insert(moved.seq, Watched::of(moved, wait_ms));
    }

    /// Looks at what was displaced in the last ten minutes. What was written to since becomes a
    /// conflict copy beside its path. To be called every second or so, and cheap: one `stat` for
    /// each look that is due. Sorted by when they were displaced.
    ///
    /// Copies that could not be placed come back as errors and are tried again.
    #[must_use]
    pub fn late_writes(&self) -> Vec<Result<LateWrite, SettleError>> {
        let now = Instant::now();
        let due: AllWatched =
            locked(&self.inner.watched).extract_if(.., |_, one| one.next <= now).collect();
        let mut found = Vec::new();
        let (mut still, mut over) = (AllWatched::new(), Vec::new());
        for (id, mut one) in due {
            match self.look_late(&one.moved) {
                Ok(None) if one.until > now => {
                    one.looked();
                    still.insert(id, one);
                }
                Ok(None) => over.push(one),
                Ok(Some(late)) => found.push(Ok(late)),
                Err(error) => {
                    found.push(Err(error));
                    still.insert(id, one);
                }
            }
        }
        still.extend(self.still_open(over));
        locked(&self.inner.watched).append(&mut still);
        found
    }

    /// Goes on looking at what a program still has open for writing.
    fn still_open(&self, over: Vec<Watched>) -> AllWatched {
        let open = self.open_in_trash(&over.iter().map(Watched::file).collect());
        let until = Instant::now() + Duration::from_millis(WATCH_MS);
        let mut over = over;
        over.retain(|one| open.contains(&one.moved.name()));
        over.into_iter()
            .map(|one| {
                let mut one = Watched { until, ..one };
                one.looked();
                (one.moved.seq, one)
            })
            .collect()
    }

    /// Tells whether a displaced file was written to since it was last looked at, as far as the
    /// disk tells: its bytes are not to be ended.
    pub(super) fn is_written_late(&self, id: u64) -> bool {
        let watched = locked(&self.inner.watched);
        watched.get(&id).is_some_and(|one| self.is_changed(&one.moved).unwrap_or(true))
    }

    /// Tells whether a displaced file is not as it was when it was displaced.
    fn is_changed(&self, moved: &Moved) -> rustix::io::Result<bool> {
        let stat = system::stat_at(self.trash(), moved.name().as_bytes())?;
        // Restored or pruned meanwhile.
        let Some(key) = stat.as_ref().map(system::key_of) else { return Ok(false) };
        Ok((key.size, key.mtime_ns) != (moved.size, moved.mtime_ns))
    }

    fn look_late(&self, moved: &Moved) -> Result<Option<LateWrite>, SettleError> {
        let Some(path) = moved.path() else { return Ok(None) };
        if !self.is_changed(moved).map_err(|e| self.said(&path, 0, e))? {
            return Ok(None);
        }
        let spot = self.spot(&path)?;
        let kept = self.keep_unseen(moved, &spot, self.trash(), &moved.name())?;
        Ok(Some(LateWrite { path, kept }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, path};
    use super::*;

    #[test]
    fn looks_become_rarer_and_never_end_before_the_time_is_over() {
        let (mut looks, mut at_ms, mut pause_ms) = (0, 0, PAUSE_MS_MIN);
        while at_ms + pause_ms < WATCH_MS {
            (looks, at_ms) = (looks + 1, at_ms + pause_ms);
            pause_ms = pause_after(pause_ms);
            assert!(pause_ms <= at_ms.max(2 * PAUSE_MS_MIN), "a write is found soon: {pause_ms}");
        }
        assert!(looks < 30, "{looks} looks of a file instead of 600");
        assert_eq!(pause_ms, PAUSE_MS_MAX, "rare, but not rarer than once a minute");
    }

    #[test]
    fn what_is_not_due_is_not_looked_at_and_not_ended_either() {
        let folder = Folder::new();
        folder.write("a", "old");
        let at = folder.root().join("a");
        let mut program = std::fs::File::options().append(true).open(at).unwrap();
        folder.take(vec![folder.place("a", folder.known("a"), "new")]).unwrap();
        assert_eq!(folder.hands.late_writes(), [], "it is as it was displaced");
        std::io::Write::write_all(&mut program, b" and late").unwrap();
        assert_eq!(folder.hands.late_writes(), [], "not due yet");
        assert_eq!(folder.hands.empty(None).unwrap().files, 0, "nobody has seen the late bytes");
        folder.hands.hurry_late_looks();
        let late = folder.hands.late_writes();
        let [Ok(LateWrite { path: of, kept })] = &late[..] else { panic!("{late:?}") };
        assert_eq!(*of, path("a"));
        assert_eq!(folder.read(&kept.to_string()).as_deref(), Some("old and late"));
        assert_eq!(folder.hands.late_writes(), [], "once");
    }
}
