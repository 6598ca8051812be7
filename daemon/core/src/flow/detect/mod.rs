//! Detecting: which paths to look at and when, and what looking found.
//!
//! The watcher's events are hints. [`Debouncer`] turns their stream into looks: at once when a
//! writer is done, after a moment of quiet while one may be at work, and one look at a whole
//! directory where many names of it changed together.
//!
//! # Invariants
//! - Every touched path is looked at, itself or in a tree above it, no later than
//!   [`WAIT_MS_MAX`] after its first touch, or as soon as earlier looks at it are paid for
//!   ([`pace`]).
//! - A look is never due before the touch that asked for it.

pub mod pace;
pub mod rush;

use std::collections::BTreeMap;

use crate::model::{ContentId, Kind, RelPath, StatKey, Tick};
use pace::Pace;
use rush::Rush;

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// One name: what lies there now, or that nothing does. Not its children.
    Path(RelPath),
    /// A directory and everything below it; the root for the whole folder.
    Tree(RelPath),
}

impl Look {
    /// Tells whether it looks at `path`.
    #[must_use]
    pub fn covers(&self, path: &RelPath) -> bool {
        match self {
            Self::Path(at) => at == path,
            Self::Tree(dir) => path == dir || path.is_below(dir),
        }
    }
}

/// One thing that a look found to differ from the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub path: RelPath,
    /// A file, directory or symlink; never a tombstone.
    pub kind: Kind,
    /// What `stat` said, before and after the bytes were read.
    pub stat: StatKey,
    /// What it holds: the bytes of a file, the target of a symlink, nothing for a directory.
    pub content: ContentId,
}

/// What a look saw. Things that are as the index says are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// New or different things, each directory before what lies in it.
    pub found: Vec<Found>,
    /// Paths the index holds live of which nothing is left, children before their directory.
    /// Never a path that an error hid.
    pub gone: Vec<RelPath>,
}

/// What is known of the change that touched a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hint {
    /// A writer closed it, or it was renamed to this name: it is whole, look at once.
    Closed,
    /// It was made, written, dressed, renamed away or deleted: more may follow, wait for quiet.
    Changed,
    /// The last look says that it has to be looked at once more: it was changing, or so new that
    /// the next write might not show.
    Again,
    /// The last look says that another program is still writing it: wait until that closes it.
    Open,
    /// A directory of which everything may have changed, as one that is watched from now on.
    Tree,
    /// A directory below which events were lost.
    Lost,
}

/// A look that is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// Where.
    pub look: Look,
    /// Whether events were lost, so that what is gone may have gone in any way. Otherwise the
    /// watcher saw it go.
    pub lost: bool,
}

/// A path is looked at when it has not been touched for so long. A delete followed by a create
/// within it is one change.
pub const QUIET_MS: u64 = 10;

/// A path that is touched without end is looked at this long after its first touch.
pub const WAIT_MS_MAX: u64 = 2_000;

/// A file that a program is writing is waited for, to be closed, for so long at most. Longer than a
/// busy machine lets a program wait between two writes; what is held open for longer is a log.
/// Well below [`WAIT_MS_MAX`], so that a log that is written without end is waited for once only.
pub const CLOSE_WAIT_MS_MAX: u64 = 500;

/// The wait before looking once more: longer than any tick of a file system's clock.
pub const AGAIN_MS: u64 = 25;

/// With more touched names than this in one directory, the directory is looked at as a whole.
pub const NAMES_MAX: usize = 128;

/// With more touched paths than this, the tree that holds them all is looked at.
pub const PATHS_MAX: usize = 4_096;

/// Decides when to look where. Time is an argument and never goes back.
#[derive(Debug, Clone, Default)]
pub struct Debouncer {
    /// Never one below a pending tree.
    pending: BTreeMap<RelPath, Pending>,
    /// How many names of each directory are pending.
    names: BTreeMap<RelPath, usize>,
    /// No look is due before this.
    earliest: Option<Tick>,
    pace: Pace,
    rush: Rush,
}

/// How much is being touched that is still to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Stir {
    /// Nothing much.
    #[default]
    Calm,
    /// Much, and most of it was known to be when the last was looked at.
    Busy,
    /// A program has just begun to write much ([`rush`]): even the first of it belongs to the rest.
    Rush,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    /// When it was first touched.
    first: Tick,
    /// When to look.
    due: Tick,
    /// Whether to look below it too.
    tree: bool,
    /// Whether events below it were lost.
    lost: bool,
    /// Whether anything but the last look asks for it.
    changed: bool,
    /// Whether it is waited for to be closed.
    open: bool,
}

impl Debouncer {
    /// Takes note that `path` was touched.
    pub fn touched(&mut self, path: &RelPath, hint: Hint, now: Tick) {
        match hint {
            Hint::Closed | Hint::Changed | Hint::Tree => self.rush.touched(path, now),
            Hint::Again | Hint::Open | Hint::Lost => {}
        }
        if let Some(tree) = self.tree_over(path) {
            tree.due = now.after(QUIET_MS).min(tree.first.after(WAIT_MS_MAX));
            tree.lost |= hint == Hint::Lost;
            return;
        }
        match hint {
            Hint::Tree | Hint::Lost => self.fold(path.clone(), hint == Hint::Lost, now),
            Hint::Closed | Hint::Changed | Hint::Again | Hint::Open => self.one(path, hint, now),
        }
    }

    /// Returns the looks that are due, sorted by path, and forgets them.
    #[must_use]
    pub fn due(&mut self, now: Tick) -> Vec<Due> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        self.take(now, |pending| pending.due <= now)
    }

    /// Returns a look for all that waits, sorted by path, and forgets it: somebody wants to know
    /// now.
    #[must_use]
    pub fn all(&mut self, now: Tick) -> Vec<Due> {
        self.take(now, |_| true)
    }

    /// Takes note that a look has read `bytes` of `path`.
    pub fn read(&mut self, path: &RelPath, bytes: u64, now: Tick) {
        self.pace.read(path, bytes, now);
    }

    fn take(&mut self, now: Tick, is_due: impl Fn(&Pending) -> bool) -> Vec<Due> {
        let paths: Vec<RelPath> =
            self.pending.iter().filter(|(_, p)| is_due(p)).map(|(path, _)| path.clone()).collect();
        let mut due = Vec::with_capacity(paths.len());
        for path in paths {
            let Some(pending) = self.forget(&path) else { continue };
            if pending.changed && !pending.tree {
                self.pace.looked(&path, now);
            }
            let look = if pending.tree { Look::Tree(path) } else { Look::Path(path) };
            due.push(Due { look, lost: pending.lost });
        }
        self.earliest = self.pending.values().map(|pending| pending.due).min();
        due
    }

    /// Returns when to ask [`Debouncer::due`] again, `None` when nothing waits. It may be early:
    /// then nothing is due, and this answers anew.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        self.earliest
    }

    /// Tells how much is touched; it is much when a tree or at least `paths` paths wait.
    #[must_use]
    pub fn stir(&self, paths: usize, now: Tick) -> Stir {
        let has_many = || self.pending.values().any(|pending| pending.tree);
        match self.rush.until(now) {
            Some(_) => Stir::Rush,
            None if self.pending.len() >= paths || has_many() => Stir::Busy,
            None => Stir::Calm,
        }
    }

    /// Returns when a rush is over if nothing more is touched; `None` when there is none.
    #[must_use]
    pub fn rush_until(&self, now: Tick) -> Option<Tick> {
        self.rush.until(now)
    }

    /// Touches a single path.
    fn one(&mut self, path: &RelPath, hint: Hint, now: Tick) {
        let wait_ms = match hint {
            Hint::Closed => 0,
            Hint::Again => AGAIN_MS,
            Hint::Open => CLOSE_WAIT_MS_MAX,
            Hint::Changed | Hint::Tree | Hint::Lost => QUIET_MS,
        };
        let (quiet, paid) = (now.after(wait_ms), self.pace.from(path, now));
        let (changed, open) = (!matches!(hint, Hint::Again | Hint::Open), hint == Hint::Open);
        match self.pending.get_mut(path) {
            // What is asked for already comes soon enough.
            Some(_) if !changed => {}
            // Whoever writes it goes on.
            Some(pending) if pending.open && hint == Hint::Changed => {}
            Some(pending) => {
                let due = quiet.min(pending.first.after(WAIT_MS_MAX)).max(paid);
                pending.due = due;
                (pending.changed, pending.open) = (true, false);
                self.wake_by(due);
            }
            None => {
                let due = quiet.max(paid);
                let pending = Pending { first: now, due, tree: false, lost: false, changed, open };
                self.insert(path.clone(), pending);
            }
        }
    }

    /// Returns the pending tree that holds `path` or is it.
    fn tree_over(&mut self, path: &RelPath) -> Option<&mut Pending> {
        let is_tree = |dir: &RelPath| self.pending.get(dir).is_some_and(|pending| pending.tree);
        let tree = std::iter::successors(Some(path.clone()), RelPath::parent).find(is_tree)?;
        self.pending.get_mut(&tree)
    }

    fn insert(&mut self, path: RelPath, pending: Pending) {
        self.wake_by(pending.due);
        let parent = path.parent();
        if self.pending.insert(path, pending).is_none()
            && let Some(dir) = parent
        {
            let count = self.names.entry(dir.clone()).or_default();
            *count += 1;
            if *count > NAMES_MAX {
                self.fold(dir, false, pending.first);
            }
        }
        if self.pending.len() > PATHS_MAX {
            let dir = self.common_directory();
            self.fold(dir, false, pending.first);
        }
    }

    fn forget(&mut self, path: &RelPath) -> Option<Pending> {
        let pending = self.pending.remove(path)?;
        if let Some(dir) = path.parent()
            && let Some(count) = self.names.get_mut(&dir)
        {
            *count -= 1;
            if *count == 0 {
                self.names.remove(&dir);
            }
        }
        Some(pending)
    }

    /// Makes one pending tree of `dir` and all that is pending below it.
    fn fold(&mut self, dir: RelPath, lost: bool, now: Tick) {
        let below: Vec<RelPath> = self
            .pending
            .range(dir.clone()..)
            .map(|(path, _)| path)
            .take_while(|path| **path == dir || path.is_below(&dir))
            .cloned()
            .collect();
        let due = now.after(QUIET_MS);
        let mut tree = Pending { first: now, due, tree: true, lost, changed: true, open: false };
        for path in below {
            if let Some(pending) = self.forget(&path) {
                tree.first = tree.first.min(pending.first);
                tree.lost |= pending.lost;
            }
        }
        tree.due = due.min(tree.first.after(WAIT_MS_MAX));
        self.insert(dir, tree);
    }

    /// Returns the deepest directory that holds all that is pending.
    fn common_directory(&self) -> RelPath {
        let (Some(first), Some(last)) =
            (self.pending.keys().next(), self.pending.keys().next_back())
        else {
            return RelPath::root();
        };
        // Paths are sorted by their parts, so what the outermost two share, all share.
        let holds = |dir: &RelPath| last.is_below(dir);
        std::iter::successors(first.parent(), RelPath::parent)
            .find(holds)
            .unwrap_or_else(RelPath::root)
    }

    fn wake_by(&mut self, due: Tick) {
        self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
    }
}

#[cfg(test)]
mod tests;
