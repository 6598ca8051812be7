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

use std::collections::BTreeMap;

use crate::model::{ContentId, Kind, RelPath, StatKey, Tick};
use pace::Pace;

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// One name: what lies there now, or that nothing does. Not its children.
    Path(RelPath),
    /// A directory and everything below it; the root for the whole folder.
    Tree(RelPath),
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
    /// Whether anything but [`Hint::Again`] asks for it.
    changed: bool,
}

impl Debouncer {
    /// Takes note that `path` was touched.
    pub fn touched(&mut self, path: &RelPath, hint: Hint, now: Tick) {
        if let Some(tree) = self.tree_over(path) {
            tree.due = now.after(QUIET_MS).min(tree.first.after(WAIT_MS_MAX));
            tree.lost |= hint == Hint::Lost;
            return;
        }
        match hint {
            Hint::Tree | Hint::Lost => self.fold(path.clone(), hint == Hint::Lost, now),
            Hint::Closed | Hint::Changed | Hint::Again => self.one(path, hint, now),
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

    /// Tells whether much is still to be looked at: a tree, or at least `paths` paths.
    #[must_use]
    pub fn has_many(&self, paths: usize) -> bool {
        self.pending.len() >= paths || self.pending.values().any(|pending| pending.tree)
    }

    /// Touches a single path.
    fn one(&mut self, path: &RelPath, hint: Hint, now: Tick) {
        let wait_ms = match hint {
            Hint::Closed => 0,
            Hint::Again => AGAIN_MS,
            Hint::Changed | Hint::Tree | Hint::Lost => QUIET_MS,
        };
        let (quiet, paid) = (now.after(wait_ms), self.pace.from(path, now));
        let changed = hint != Hint::Again;
        match self.pending.get_mut(path) {
            // What is asked for already comes soon enough.
            Some(_) if !changed => {}
            Some(pending) => {
                let due = quiet.min(pending.first.after(WAIT_MS_MAX)).max(paid);
                pending.due = due;
                pending.changed = true;
                self.wake_by(due);
            }
            None => {
                let due = quiet.max(paid);
                let pending = Pending { first: now, due, tree: false, lost: false, changed };
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
        let mut tree = Pending { first: now, due, tree: true, lost, changed: true };
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> RelPath {
        if text.is_empty() { RelPath::root() } else { RelPath::parse(text).unwrap() }
    }

    fn shown(due: &[Due]) -> Vec<String> {
        let one = |due: &Due| match (&due.look, due.lost) {
            (Look::Path(path), _) => path.to_string(),
            (Look::Tree(path), false) => format!("{path}/**"),
            (Look::Tree(path), true) => format!("{path}/** lost"),
        };
        due.iter().map(one).collect()
    }

    /// Takes touches, each `(ms, path, hint)`, and lists the looks until nothing waits, each
    /// `ms path`.
    fn looks(touches: &[(u64, &str, Hint)]) -> Vec<String> {
        let mut debouncer = Debouncer::default();
        let mut looks = Vec::new();
        let mut drain = |debouncer: &mut Debouncer, until: Tick| {
            while let Some(at) = debouncer.next_deadline().filter(|at| *at < until) {
                looks.extend(shown(&debouncer.due(at)).iter().map(|d| format!("{} {d}", at.0)));
            }
        };
        for (ms, name, hint) in touches {
            drain(&mut debouncer, Tick(*ms));
            debouncer.touched(&path(name), *hint, Tick(*ms));
        }
        drain(&mut debouncer, Tick(u64::MAX));
        looks
    }

    #[test]
    fn a_look_is_due_when_its_path_is_quiet() {
        use Hint::{Again, Changed, Closed, Lost, Tree};
        type Touches<'a> = &'a [(u64, &'a str, Hint)];
        let cases: [(Touches<'_>, &[&str], &str); 16] = [
            (&[], &[], "nothing"),
            (&[(5, "f", Closed)], &["5 f"], "closed: at once"),
            (&[(5, "f", Changed)], &["15 f"], "10 ms of quiet"),
            (&[(5, "f", Changed), (9, "f", Closed)], &["9 f"], "close ends the wait"),
            (&[(5, "f", Changed), (14, "f", Changed)], &["24 f"], "each touch begins it anew"),
            (&[(5, "f", Changed), (15, "f", Changed)], &["25 f"], "due is due only after it"),
            (&[(5, "f", Changed), (16, "f", Changed)], &["15 f", "26 f"], "two changes"),
            (&[(0, "b", Changed), (0, "a/x", Changed)], &["10 a/x", "10 b"], "sorted by path"),
            (&[(0, "f", Again)], &["25 f"], "once more, after the clock's tick"),
            (&[(0, "f", Again), (3, "f", Changed)], &["13 f"], "changed meanwhile"),
            (&[(0, "f", Changed), (3, "f", Again)], &["10 f"], "comes soon anyway"),
            (&[(0, "d", Tree), (4, "d/x/y", Changed)], &["14 d/**"], "the tree sees it"),
            (&[(0, "d/x", Changed), (4, "d", Tree)], &["14 d/**"], "the tree takes it in"),
            (&[(0, "d/x", Closed), (0, "d", Lost)], &["10 d/** lost"], "even what was due"),
            (&[(0, "d", Tree), (4, "d/x", Lost)], &["14 d/** lost"], "lost below a tree"),
            (
                &[(0, "d", Tree), (2, "", Lost), (3, "f", Closed)],
                &["13 /** lost"],
                "an overflow takes in everything",
            ),
        ];
        for (touches, expected, because) in cases {
            assert_eq!(looks(touches), expected, "{because}");
        }
    }

    #[test]
    fn what_is_touched_without_end_is_looked_at_every_two_seconds() {
        let touches: Vec<_> = (0..500).map(|n| (n * 9, "log", Hint::Changed)).collect();
        assert_eq!(looks(&touches), ["2000 log", "4007 log", "4501 log"]);
    }

    #[test]
    fn what_was_costly_to_read_is_looked_at_when_that_is_paid_for() {
        let (file, mut debouncer) = (path("f"), Debouncer::default());
        for (ms, hint, due_ms, because) in [
            (0, Hint::Closed, 0, "the first"),
            (1_000, Hint::Closed, 9_680, "a gigabyte is read once in ten seconds"),
            (9_700, Hint::Changed, 19_720, "and again"),
            (19_721, Hint::Again, 29_760, "also when it changed while it was read"),
        ] {
            debouncer.touched(&file, hint, Tick(ms));
            assert_eq!(debouncer.next_deadline(), Some(Tick(due_ms)), "{because}");
            assert_eq!(shown(&debouncer.due(Tick(due_ms))), ["f"], "{because}");
            debouncer.read(&file, 1_000_000_000, Tick(due_ms));
        }
        debouncer.touched(&file, Hint::Closed, Tick(40_000));
        let all = debouncer.all(Tick(40_000));
        assert_eq!(shown(&all), ["f"], "unless somebody wants to know now");
    }

    #[test]
    fn many_names_of_a_directory_become_one_look() {
        for (count, looks_due, because) in [
            (NAMES_MAX, NAMES_MAX, "one by one"),
            (NAMES_MAX + 1, 1, "as a whole"),
            (5 * NAMES_MAX, 1, "still as a whole"),
        ] {
            let mut debouncer = Debouncer::default();
            for n in 0..count {
                debouncer.touched(&path(&format!("d/{n}")), Hint::Changed, Tick(1));
            }
            let due = debouncer.due(Tick(11));
            assert_eq!(due.len(), looks_due, "{because}");
            if looks_due == 1 {
                assert_eq!(shown(&due), ["d/**"]);
            }
            assert_eq!(debouncer.next_deadline(), None);
        }
    }

    #[test]
    fn many_paths_become_one_look_at_the_tree_that_holds_them() {
        let mut debouncer = Debouncer::default();
        for n in 0..=PATHS_MAX {
            let name = format!("top/{}/{}", n / 100, n);
            debouncer.touched(&path(&name), Hint::Changed, Tick(1));
        }
        assert_eq!(shown(&debouncer.due(Tick(11))), ["top/**"]);
    }

    #[test]
    fn names_that_were_looked_at_do_not_count() {
        let mut debouncer = Debouncer::default();
        for n in 0..10 * NAMES_MAX {
            let now = Tick(n as u64);
            debouncer.touched(&path(&format!("d/{n}")), Hint::Closed, now);
            assert_eq!(shown(&debouncer.due(now)), [format!("d/{n}")]);
        }
    }

    fn hints() -> impl Strategy<Value = Hint> {
        prop::sample::select(vec![
            Hint::Closed,
            Hint::Changed,
            Hint::Changed,
            Hint::Again,
            Hint::Tree,
            Hint::Lost,
        ])
    }

    proptest! {
        #[test]
        fn every_touch_is_answered_by_a_look_after_it_and_in_time(
            touches in prop::collection::vec((0u64..40, "[ab](/[ab]){0,3}", hints()), 1..80),
        ) {
            let mut debouncer = Debouncer::default();
            // Path, first and last touch that no look has answered.
            let mut open: BTreeMap<RelPath, (Tick, bool)> = BTreeMap::new();
            let mut now = Tick(0);
            let mut steps: Vec<_> = touches.into_iter().map(Some).collect();
            steps.push(None);
            for step in steps {
                let until = step.as_ref().map_or(Tick(u64::MAX), |(wait, ..)| now.after(*wait));
                while let Some(at) = debouncer.next_deadline().filter(|at| *at <= until) {
                    let due = debouncer.due(at.max(now));
                    for Due { look, lost } in due {
                        open.retain(|path, (first, was_lost)| {
                            let covers = match &look {
                                Look::Path(at) => at == path,
                                Look::Tree(dir) => path == dir || path.is_below(dir),
                            };
                            if covers {
                                assert!(at.since(*first) <= WAIT_MS_MAX, "{path:?} waited");
                                assert!(lost || !*was_lost, "{path:?} forgot a loss");
                            }
                            !covers
                        });
                    }
                }
                if let Some((_, name, hint)) = step {
                    now = until;
                    let path = path(&name);
                    debouncer.touched(&path, hint, now);
                    let (_, lost) = open.entry(path).or_insert((now, false));
                    *lost |= hint == Hint::Lost;
                }
            }
            prop_assert!(open.is_empty(), "never looked at: {open:?}");
            prop_assert!(debouncer.names.is_empty() && debouncer.pending.is_empty());
        }
    }
}
