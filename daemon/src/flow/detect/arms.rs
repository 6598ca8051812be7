//! Which directories are watched: one watch for each that the scope lets a walk enter, so that
//! nothing is spent on what is ignored.
//!
//! # Invariants
//! - A directory is watched before it is listed, so that nothing made in it meanwhile is missed.
//! - What the system calls watched under a path whose directory was replaced is given up before
//!   the new one is watched: asked to watch a path twice, it does nothing the second time.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{ErrorKind, PathOp, RecursiveMode, WatchPathConfig};
use syncd_core::model::{Kind, RelPath};

use super::Scope;
use crate::world::disk::{DiskError, Root};

/// How much of the folder is watched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Directories that are watched.
    pub watched: usize,
    /// Directories that should be and are not; what lies below them is not counted. Unless this
    /// is 0, the folder needs a scan every so often.
    pub unwatched: usize,
    /// Why, for the user, with what to do about it.
    pub reason: Option<String>,
}

/// Linux watches directories one by one; elsewhere one watch covers the root and all below it.
const PER_DIRECTORY: bool = cfg!(target_os = "linux");

/// Directories watched with one order to the system's thread.
const ORDERS_MAX: usize = 64;

/// The watches of one root.
pub(super) struct Arms {
    root: Root,
    scope: Arc<dyn Scope + Send + Sync>,
    /// How the system names the root.
    base: PathBuf,
    system: Box<dyn notify::Watcher + Send>,
    armed: BTreeSet<RelPath>,
    unarmed: BTreeSet<RelPath>,
    reason: Option<String>,
}

impl Arms {
    pub(super) fn new(
        root: Root,
        scope: Arc<dyn Scope + Send + Sync>,
        system: Box<dyn notify::Watcher + Send>,
    ) -> Self {
        let base = if PER_DIRECTORY { None } else { root.path().canonicalize().ok() };
        let base = base.unwrap_or_else(|| root.path().to_owned());
        let (armed, unarmed) = (BTreeSet::new(), BTreeSet::new());
        let mut arms = Self { root, scope, base, system, armed, unarmed, reason: None };
        arms.watch_own();
        arms
    }

    /// Begins anew with another of the system's watchers: events were lost, and with them the
    /// knowledge of which directories the watches belong to.
    pub(super) fn replace(&mut self, system: Box<dyn notify::Watcher + Send>) {
        self.system = system;
        self.armed.clear();
        self.unarmed.clear();
        self.reason = None;
        self.watch_own();
    }

    /// Returns the path below the root that the system names `path`; `None` for others, for
    /// names that no index can hold, and for what does not belong to a single-file folder.
    pub(super) fn relative(&self, path: &Path) -> Option<RelPath> {
        let below = path.strip_prefix(&self.base).ok()?.as_os_str().as_bytes();
        if below.is_empty() {
            return Some(RelPath::root());
        }
        let path = RelPath::parse(below).ok()?;
        match self.root.single().filter(|_| !path.is_reserved()) {
            Some(single) => single.path_of(path.as_bytes()),
            None => Some(path),
        }
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// Tells whether a change of `path` is anybody's business.
    pub(super) fn matters(&self, path: &RelPath) -> bool {
        self.root.is_ours(path)
            && (PER_DIRECTORY || path.ancestors().all(|dir| self.scope.descend(&dir)))
            && self.scope.heeds(path)
    }

    /// Tells whether a directory that is watched, or should be, lies at `path`.
    pub(super) fn is_directory(&self, path: &RelPath) -> bool {
        self.enters(path)
            && matches!(self.root.stat(path), Ok(Some(l)) if l.kind == Some(Kind::Directory))
    }

    /// Tells whether `dir` is watched.
    pub(super) fn is_armed(&self, dir: &RelPath) -> bool {
        self.armed.contains(dir)
    }

    /// Tells whether `dir` should be watched and the system refused.
    pub(super) fn is_unarmed(&self, dir: &RelPath) -> bool {
        self.unarmed.contains(dir)
    }

    pub(super) fn coverage(&self) -> Coverage {
        let (watched, unwatched) = (self.armed.len(), self.unarmed.len());
        let reason = self.reason.clone().filter(|_| unwatched > 0);
        Coverage { watched, unwatched, reason }
    }

    /// Watches the next of `dirs`, and puts what lies in them that is to be watched too in their
    /// place.
    pub(super) fn arm_some(&mut self, dirs: &mut Vec<RelPath>) {
        let some = dirs.split_off(dirs.len().saturating_sub(ORDERS_MAX));
        let (some, left): (Vec<_>, Vec<_>) = some.into_iter().partition(|dir| self.enters(dir));
        for dir in left {
            self.disarm(&dir);
        }
        let is_new = |dir: &&RelPath| !self.armed.contains(*dir);
        let new = some.iter().filter(is_new).filter(|dir| PER_DIRECTORY || dir.is_root());
        self.watch(new.cloned().collect());
        if PER_DIRECTORY {
            for dir in some {
                if self.armed.contains(&dir) {
                    self.list_into(&dir, dirs);
                }
            }
        }
    }

    /// Forgets the watches at `path` and below: the system has dropped them by itself.
    pub(super) fn forget(&mut self, path: &RelPath) {
        for dir in below(&self.armed, path) {
            self.armed.remove(&dir);
        }
        for dir in below(&self.unarmed, path) {
            self.unarmed.remove(&dir);
        }
    }

    /// Ends the watches at `path` and below.
    pub(super) fn disarm(&mut self, path: &RelPath) {
        for dir in below(&self.armed, path) {
            // That it is not watched is what is wanted.
            let _ = self.system.unwatch(&self.named(&dir));
        }
        self.forget(path);
    }

    fn enters(&self, dir: &RelPath) -> bool {
        let above = |dir: &RelPath| dir.is_root() || self.scope.descend(dir);
        (dir.is_root() || self.root.is_ours(dir))
            && above(dir)
            && dir.ancestors().all(|d| above(&d))
    }

    /// Watches our own directory, for the cookies in it. Where that fails they never come, and
    /// whoever waits for them scans.
    pub(super) fn watch_own(&mut self) {
        if PER_DIRECTORY {
            let own = self.named(self.root.own());
            // Of the one that may have been there before.
            let _ = self.system.unwatch(&own);
            let _ = self.system.watch_with(&own, config(RecursiveMode::NonRecursive));
        }
    }

    fn watch(&mut self, mut dirs: Vec<RelPath>) {
        let mode =
            if PER_DIRECTORY { RecursiveMode::NonRecursive } else { RecursiveMode::Recursive };
        while !dirs.is_empty() {
            let orders = dirs.iter().map(|dir| PathOp::Watch(self.named(dir), config(mode)));
            let Err(error) = self.system.update_paths(orders.collect()) else {
                self.unarmed.retain(|dir| !dirs.contains(dir));
                self.armed.extend(dirs);
                return;
            };
            // The orders before the failed one were carried out.
            let left = error.remaining.len();
            let failed = dirs.len().saturating_sub(left + 1);
            let rest = dirs.split_off(failed);
            self.armed.extend(dirs);
            dirs = rest;
            let limited = self.refused(dirs.remove(0), &error.source);
            if limited || error.origin.is_none() {
                self.unarmed.extend(std::mem::take(&mut dirs));
            }
        }
    }

    /// Takes note that `dir` cannot be watched; tells whether no other can be either.
    fn refused(&mut self, dir: RelPath, error: &notify::Error) -> bool {
        match &error.kind {
            // It is gone already; its parent's watch told that.
            ErrorKind::PathNotFound | ErrorKind::WatchNotFound => return false,
            ErrorKind::MaxFilesWatch => {
                let limit = "the system's limit of watched directories is reached; raise \
                             fs.inotify.max_user_watches";
                self.reason = Some(limit.to_owned());
            }
            ErrorKind::Generic(_) | ErrorKind::Io(_) | ErrorKind::InvalidConfig(_) => {
                self.reason = Some(format!("'{dir}' cannot be watched: {error}"));
            }
        }
        self.unarmed.insert(dir);
        matches!(error.kind, ErrorKind::MaxFilesWatch)
    }

    /// Adds the directories in `dir` that are to be watched.
    fn list_into(&mut self, dir: &RelPath, dirs: &mut Vec<RelPath>) {
        let listed = match self.root.list(dir) {
            Ok(listed) => listed,
            // It went, or is none of ours: whoever did that is told of elsewhere.
            Err(
                DiskError::Missing { .. }
                | DiskError::NoWay { .. }
                | DiskError::OtherKind { .. }
                | DiskError::OtherDevice { .. }
                | DiskError::Foreign { .. },
            ) => return self.disarm(dir),
            Err(DiskError::Refused { .. }) => {
                self.disarm(dir);
                self.unarmed.insert(dir.clone());
                return;
            }
        };
        for name in listed {
            let Ok(path) = dir.join(&name.name) else { continue };
            let is_dir = match name.kind {
                Some(kind) => kind == Kind::Directory,
                None => self.is_directory(&path),
            };
            if is_dir && self.root.is_ours(&path) && self.scope.descend(&path) {
                dirs.push(path);
            } else if is_dir {
                // The scope may have changed.
                self.disarm(&path);
            }
        }
    }

    fn named(&self, dir: &RelPath) -> PathBuf {
        if dir.is_root() {
            return self.base.clone();
        }
        self.base.join(OsStr::from_bytes(dir.as_bytes()))
    }
}

fn config(mode: RecursiveMode) -> WatchPathConfig {
    WatchPathConfig::new(mode).with_dereference_symlinks(mode == RecursiveMode::Recursive)
}

/// Lists `path` and what lies below it.
fn below(dirs: &BTreeSet<RelPath>, path: &RelPath) -> Vec<RelPath> {
    let from = dirs.range(path.clone()..);
    from.take_while(|dir| *dir == path || dir.is_below(path)).cloned().collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A system that lets so many paths be watched, and remembers which.
    #[derive(Clone, Default)]
    pub(in super::super) struct Limited {
        pub(in super::super) most: usize,
        pub(in super::super) watched: Arc<Mutex<BTreeSet<PathBuf>>>,
        /// Names of what was no longer to be watched.
        pub(in super::super) unwatched: Arc<Mutex<Vec<String>>>,
    }

    impl notify::Watcher for Limited {
        fn new<F: notify::EventHandler>(_: F, _: notify::Config) -> notify::Result<Self> {
            Ok(Self::default())
        }
        fn watch(&mut self, path: &Path, _: RecursiveMode) -> notify::Result<()> {
            let mut watched = self.watched.lock().unwrap();
            if watched.len() >= self.most {
                return Err(notify::Error::new(ErrorKind::MaxFilesWatch));
            }
            if path.ends_with("refused") {
                return Err(notify::Error::io(std::io::ErrorKind::PermissionDenied.into()));
            }
            watched.insert(path.to_owned());
            Ok(())
        }
        fn unwatch(&mut self, path: &Path) -> notify::Result<()> {
            let was = self.watched.lock().unwrap().remove(path);
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            self.unwatched.lock().unwrap().extend(was.then_some(name));
            if was { Ok(()) } else { Err(notify::Error::watch_not_found()) }
        }
        fn kind() -> notify::WatcherKind {
            notify::WatcherKind::NullWatcher
        }
    }

    struct All;
    impl Scope for All {
        fn synced(&self, _: &RelPath, _: bool) -> bool {
            true
        }
        fn descend(&self, _: &RelPath) -> bool {
            true
        }
    }

    fn arm_all(arms: &mut Arms) {
        let mut dirs = vec![RelPath::root()];
        while !dirs.is_empty() {
            arms.arm_some(&mut dirs);
        }
    }

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    /// A root with directories `d0` to `d99`, each with one in it, as far as `most` goes.
    fn arms(dir: &Path, most: usize) -> (Arms, Limited) {
        for n in 0..100 {
            std::fs::create_dir_all(dir.join(format!("d{n}/in"))).unwrap();
        }
        let system = Limited { most, ..Limited::default() };
        let root = Root::open(dir).unwrap();
        (Arms::new(root, Arc::new(All), Box::new(system.clone())), system)
    }

    #[test]
    fn a_limit_is_told_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        // One is for our own directory.
        let (mut arms, system) = arms(dir.path(), 51);
        arm_all(&mut arms);
        let coverage = arms.coverage();
        assert_eq!(coverage.watched, 50);
        assert!(coverage.unwatched > 0, "{coverage:?}");
        assert!(coverage.reason.unwrap().contains("max_user_watches"));
        let more = Limited { most: 1000, ..system.clone() };
        arms.system = Box::new(more);
        arm_all(&mut arms);
        assert_eq!(arms.coverage(), Coverage { watched: 201, unwatched: 0, reason: None });
        assert_eq!(system.watched.lock().unwrap().len(), 202);
    }

    #[test]
    fn one_directory_that_cannot_be_watched_costs_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (mut arms, _) = arms(dir.path(), 1000);
        std::fs::create_dir_all(dir.path().join("d5/refused/below")).unwrap();
        arm_all(&mut arms);
        let coverage = arms.coverage();
        assert_eq!((coverage.watched, coverage.unwatched), (201, 1));
        assert!(coverage.reason.unwrap().contains("d5/refused"));
        arms.forget(&path("d5"));
        assert_eq!(arms.coverage().unwatched, 0, "it went with its directory");
    }

    #[test]
    fn what_is_disarmed_is_not_watched_and_its_neighbours_are() {
        let dir = tempfile::tempdir().unwrap();
        let (mut arms, system) = arms(dir.path(), 1000);
        arm_all(&mut arms);
        arms.disarm(&path("d1"));
        assert!(!arms.is_armed(&path("d1/in")) && arms.is_armed(&path("d10")));
        assert!(!system.watched.lock().unwrap().contains(&dir.path().join("d1/in")));
        assert_eq!(arms.coverage().watched, 199);
    }
}
