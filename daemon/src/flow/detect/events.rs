//! The watcher: hears of changes below one root and says where to look.
//!
//! Everything it says is a hint. Events lost by the system, by a full queue or by a directory
//! that moved while it was being watched are answered by a look at the whole tree in question.
//!
//! # Invariants
//! - When a directory's watch is in place the directory is looked at as a whole: what happened in
//!   it before is seen by that look, what happens later is heard.
//! - A cookie is told after everything that happened before it was laid.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Config, ErrorKind, Event, EventKind, EventKindMask, RecommendedWatcher};
use rustix::fs::{self, AtFlags, OFlags};
use rustix::io::Errno;
use syncd_core::flow::detect::Hint;
use syncd_core::model::RelPath;

use super::Scope;
use super::arms::{Arms, Coverage};
use crate::world::disk::{DiskError, Root, system};

/// What the watcher heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A path changed.
    Touched {
        /// Where; the root for everything.
        path: RelPath,
        /// How.
        hint: Hint,
    },
    /// Everything that happened before this cookie was laid has been told.
    Cookie(u64),
    /// More or less of the folder is watched than before.
    Coverage(Coverage),
}

/// Why a folder is not watched. It needs a scan every so often.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system lets no more programs watch.
    #[error("too many programs watch files; raise fs.inotify.max_user_instances")]
    TooMany,
    /// The system refused.
    #[error("files cannot be watched on this system")]
    Refused(#[source] notify::Error),
    /// No thread could be started.
    #[error("no thread could be started to watch files")]
    Thread(#[source] std::io::Error),
}

/// Why no cookie was laid. Scan instead of waiting for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CookieError {
    /// The folder's own directory could not be written.
    #[error("no cookie could be laid")]
    Disk(#[source] DiskError),
    /// The watcher has ended.
    #[error("the folder is not watched any more")]
    Ended,
}

/// Watches one root until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    root: Root,
    orders: Sender<Order>,
    cookies: Arc<Cookies>,
    thread: Option<JoinHandle<()>>,
}

/// Cookies that were laid and not yet heard of.
#[derive(Debug, Default)]
struct Cookies {
    laid: AtomicU64,
    open: Mutex<BTreeSet<u64>>,
}

enum Order {
    Event(notify::Result<Event>),
    Watch(RelPath),
    Unwatch(RelPath),
    Stop,
}

/// Work that waits while events are taken.
enum Job {
    /// Watch everything below `top`, then say that it is to be looked at.
    Arm { top: RelPath, hint: Hint, dirs: Vec<RelPath> },
    /// Tell a cookie.
    Cookie(u64),
}

/// Orders taken before the jobs get a turn, so that neither starves.
const ORDERS_IN_A_ROW: usize = 256;

/// Cookies are named so, with a number.
const COOKIE: &str = "cookie-";

impl Watcher {
    /// Begins to watch `root`, as far as `scope` lets a walk enter. Calls `tell` on a thread of
    /// its own, where it must not wait; once everything is watched it is told [`Hint::Lost`] for
    /// the root, and the coverage.
    ///
    /// # Errors
    /// [`WatchError`] when the system does not let us watch at all. A limit that only leaves some
    /// directories unwatched is no error but told as [`Heard::Coverage`].
    pub fn start(
        root: &Root,
        scope: Arc<dyn Scope + Send + Sync>,
        tell: impl FnMut(Heard) + Send + 'static,
    ) -> Result<Self, WatchError> {
        let (orders, taken) = channel();
        let system = system_watcher(&orders)?;
        sweep(root);
        let cookies = Arc::new(Cookies::default());
        let arms = Arms::new(root.clone(), scope, system);
        let mut ears = Ears {
            arms,
            jobs: VecDeque::new(),
            orders: orders.clone(),
            cookies: Arc::clone(&cookies),
            overflowed: false,
            told: None,
            tell: Box::new(tell),
        };
        ears.arm(RelPath::root(), Hint::Lost);
        let thread = std::thread::Builder::new()
            .name("watcher".to_owned())
            .spawn(move || ears.run(&taken))
            .map_err(WatchError::Thread)?;
        Ok(Self { root: root.clone(), orders, cookies, thread: Some(thread) })
    }

    /// Watches everything below `dir` that is not watched yet and is entered now, and no longer
    /// what is not; then tells [`Hint::Lost`] for it. For when the scope has changed, or when
    /// what could not be watched is tried again.
    pub fn watch_tree(&self, dir: &RelPath) {
        // If the thread is gone, so are the watches.
        let _ = self.orders.send(Order::Watch(dir.clone()));
    }

    /// Ends the watches on `dir` and everything below it.
    pub fn unwatch(&self, dir: &RelPath) {
        let _ = self.orders.send(Order::Unwatch(dir.clone()));
    }

    /// Lays a cookie: a file in the folder's own directory, whose event comes after those of
    /// everything that happened before. Returns the number that [`Heard::Cookie`] will tell.
    ///
    /// # Errors
    /// [`CookieError`] when it could not be laid.
    pub fn cookie(&self) -> Result<u64, CookieError> {
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(CookieError::Ended);
        }
        let number = self.cookies.laid.fetch_add(1, Ordering::Relaxed);
        self.cookies.open().insert(number);
        lay(&self.root, number).map_err(|error| {
            self.cookies.open().remove(&number);
            CookieError::Disk(error)
        })?;
        Ok(number)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // What it panicked of was said when it did.
            let _ = thread.join();
        }
    }
}

impl Cookies {
    fn open(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts one of the system's watchers. Its thread only hands events on, so that it never waits
/// for us while we wait for it.
fn system_watcher(orders: &Sender<Order>) -> Result<Box<dyn notify::Watcher + Send>, WatchError> {
    let orders = orders.clone();
    let hand_on = move |event| {
        let _ = orders.send(Order::Event(event));
    };
    let kinds = EventKindMask::CORE | EventKindMask::ACCESS_CLOSE;
    let config = Config::default().with_event_kinds(kinds).with_follow_symlinks(false);
    match <RecommendedWatcher as notify::Watcher>::new(hand_on, config) {
        Ok(watcher) => Ok(Box::new(watcher)),
        Err(error) => Err(match &error.kind {
            ErrorKind::Io(io) if io.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
                WatchError::TooMany
            }
            ErrorKind::Io(_)
            | ErrorKind::Generic(_)
            | ErrorKind::PathNotFound
            | ErrorKind::WatchNotFound
            | ErrorKind::InvalidConfig(_)
            | ErrorKind::MaxFilesWatch => WatchError::Refused(error),
        }),
    }
}

/// Makes a cookie's file, again if it is there already.
fn lay(root: &Root, number: u64) -> Result<(), DiskError> {
    let own = root.open_way(root.own())?;
    let name = format!("{COOKIE}{number}");
    // A file that is there already would be no event.
    let _ = fs::unlinkat(&own, &name, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    system::open_at(own.as_fd(), name.as_bytes(), flags, 0o600)
        .map(drop)
        .map_err(|errno| DiskError::of(root.own(), errno))
}

/// Removes cookies that an earlier run left behind.
fn sweep(root: &Root) {
    let Ok(own) = root.open_dir(root.own()) else { return };
    for (name, _) in system::names_in(own.as_fd()).unwrap_or_default() {
        if name.starts_with(COOKIE.as_bytes()) {
            // One that stays is only a small file.
            let _ = fs::unlinkat(&own, name, AtFlags::empty());
        }
    }
}

/// What runs on the watcher's thread.
struct Ears {
    arms: Arms,
    jobs: VecDeque<Job>,
    orders: Sender<Order>,
    cookies: Arc<Cookies>,
    /// Events were lost and the watches are not renewed yet.
    overflowed: bool,
    told: Option<Coverage>,
    tell: Box<dyn FnMut(Heard) + Send>,
}

impl Ears {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            for _ in 0..ORDERS_IN_A_ROW {
                let order = if self.jobs.is_empty() {
                    orders.recv().map_err(|_| TryRecvError::Disconnected)
                } else {
                    orders.try_recv()
                };
                match order {
                    Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return,
                    Ok(order) => self.take(order),
                    Err(TryRecvError::Empty) => break,
                }
            }
            self.work();
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Event(Ok(event)) => self.event(&event),
            Order::Event(Err(error)) => self.failed(&error),
            Order::Watch(dir) => self.arm(dir, Hint::Lost),
            Order::Unwatch(dir) => {
                self.arms.disarm(&dir);
                self.tell_coverage();
            }
            Order::Stop => {}
        }
    }

    fn arm(&mut self, top: RelPath, hint: Hint) {
        let dirs = vec![top.clone()];
        self.jobs.push_back(Job::Arm { top, hint, dirs });
    }

    /// Does a little of the first job.
    fn work(&mut self) {
        match self.jobs.front_mut() {
            None => {}
            Some(Job::Arm { dirs, .. }) if !dirs.is_empty() => self.arms.arm_some(dirs),
            Some(_) => match self.jobs.pop_front() {
                Some(Job::Arm { top, hint, .. }) => {
                    self.touched(top, hint);
                    self.tell_coverage();
                }
                Some(Job::Cookie(number)) => self.tell_cookie(number),
                None => {}
            },
        }
        if self.overflowed && self.jobs.is_empty() {
            self.renew();
        }
    }

    fn event(&mut self, event: &Event) {
        // Such an event names no path.
        if event.need_rescan() {
            return self.lost();
        }
        let Some(change) = Change::of(&event.kind) else { return };
        for path in &event.paths {
            if let Some(path) = self.arms.relative(path) {
                self.changed(path, change);
            }
        }
    }

    fn changed(&mut self, path: RelPath, change: Change) {
        if path.is_root() {
            // The root moved, was deleted or unmounted. Whoever looks attests it first.
            if change == Change::Left {
                self.touched(path, Hint::Lost);
            }
            return;
        }
        if path.is_reserved() {
            return self.own_changed(&path, change);
        }
        let structure = match change {
            // Its mode may have been changed, so that it can be watched by now.
            Change::Content => self.arms.is_unarmed(&path),
            Change::Closed => false,
            // The system drops the watches of what leaves by itself.
            Change::Left => {
                self.arms.forget(&path);
                true
            }
            // It may have replaced a directory whose watches still stand.
            Change::MovedIn => {
                self.arms.disarm(&path);
                true
            }
            // Whoever watches it already listed its parent after it was made.
            Change::Made => !self.arms.is_armed(&path),
        };
        if structure && self.arms.is_directory(&path) {
            self.touched(path.clone(), Hint::Changed);
            return self.arm(path, Hint::Tree);
        }
        let whole = matches!(change, Change::Closed | Change::MovedIn);
        self.touched(path, if whole { Hint::Closed } else { Hint::Changed });
    }

    /// Something of our own changed: a cookie came, or the directory itself.
    fn own_changed(&mut self, path: &RelPath, change: Change) {
        let own = self.arms.root().own().clone();
        if *path == own && matches!(change, Change::Made | Change::MovedIn) {
            self.arms.watch_own();
            // Those laid before the watch was in place were not heard.
            let open: Vec<u64> = self.cookies.open().iter().copied().collect();
            for number in open {
                // Gone again: another event of it is on its way.
                let _ = lay(self.arms.root(), number);
            }
        }
        if path.parent().as_ref() != Some(&own) || change == Change::Left {
            return;
        }
        let number = std::str::from_utf8(path.name()).ok().and_then(|n| n.strip_prefix(COOKIE));
        let Some(number) = number.and_then(|n| n.parse().ok()) else { return };
        if self.cookies.open().remove(&number) {
            self.jobs.push_back(Job::Cookie(number));
        }
    }

    fn tell_cookie(&mut self, number: u64) {
        let root = self.arms.root();
        if let Ok(own) = root.open_way(root.own()) {
            // One that stays is swept by the next start.
            let _ = fs::unlinkat(&own, format!("{COOKIE}{number}"), AtFlags::empty());
        }
        (self.tell)(Heard::Cookie(number));
    }

    fn failed(&mut self, error: &notify::Error) {
        match &error.kind {
            // A directory that went while it was handled.
            ErrorKind::PathNotFound | ErrorKind::WatchNotFound => {}
            ErrorKind::Generic(_)
            | ErrorKind::Io(_)
            | ErrorKind::MaxFilesWatch
            | ErrorKind::InvalidConfig(_) => self.lost(),
        }
    }

    /// Events were lost, nobody knows which.
    fn lost(&mut self) {
        self.touched(RelPath::root(), Hint::Lost);
        self.overflowed = true;
        if self.jobs.is_empty() {
            self.renew();
        }
    }

    /// Watches everything anew. Directories may have been replaced unheard, and the system would
    /// take the old ones' watches for theirs.
    fn renew(&mut self) {
        self.overflowed = false;
        // Without a new watcher the old one still hears most of it.
        if let Ok(system) = system_watcher(&self.orders) {
            self.arms.replace(system);
        }
        self.arm(RelPath::root(), Hint::Lost);
        // Their events may be among the lost ones.
        let open = std::mem::take(&mut *self.cookies.open());
        self.jobs.extend(open.into_iter().map(Job::Cookie));
    }

    fn touched(&mut self, path: RelPath, hint: Hint) {
        if path.is_root() || self.arms.matters(&path) || matches!(hint, Hint::Tree | Hint::Lost) {
            (self.tell)(Heard::Touched { path, hint });
        }
    }

    /// Tells the coverage, the first time and whenever what is missing changed.
    fn tell_coverage(&mut self) {
        let coverage = self.arms.coverage();
        let missing = |c: &Coverage| (c.unwatched, c.reason.clone());
        if self.told.as_ref().is_none_or(|told| missing(told) != missing(&coverage)) {
            self.told = Some(coverage.clone());
            (self.tell)(Heard::Coverage(coverage));
        }
    }
}

/// What an event means for the name it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Bytes or metadata changed.
    Content,
    /// A writer is done.
    Closed,
    /// What lay there is gone or has another name.
    Left,
    /// A directory was made there.
    Made,
    /// Something got this name.
    MovedIn,
}

impl Change {
    fn of(kind: &EventKind) -> Option<Self> {
        match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Self::Closed),
            EventKind::Create(CreateKind::File) => Some(Self::Content),
            EventKind::Create(_) => Some(Self::Made),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Self::MovedIn),
            // Both names have had their own event.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => None,
            // Where a rename does not say which of the names it is about, what lies there tells.
            EventKind::Modify(ModifyKind::Name(_)) => Some(Self::Left),
            EventKind::Modify(_) | EventKind::Any => Some(Self::Content),
            EventKind::Remove(RemoveKind::File) => Some(Self::Content),
            EventKind::Remove(_) => Some(Self::Left),
            EventKind::Access(_) | EventKind::Other => None,
        }
    }
}

#[cfg(test)]
mod tests;
