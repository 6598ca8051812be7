//! What the tests of this stage share: a folder with its hands, and coming in between.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use syncd_core::flow::settle::{Expect, Job, Placed, SettleError, Step, Ticket};
use syncd_core::model::{ContentId, FolderId, Kind, RelPath};
use syncd_home::Limits;

use super::{Hands, Moment, OPEN_WAIT, SettleOptions, locked};
use crate::world::disk::{Abilities, Root};

pub(super) type Hook = Arc<dyn Fn(Moment) + Send + Sync>;

pub(super) fn call(hook: &Mutex<Option<Hook>>, moment: Moment) {
    let hook = locked(hook).clone();
    if let Some(hook) = hook {
        hook(moment);
    }
}

/// A folder on a real disk.
pub(super) struct Folder {
    pub(super) dir: tempfile::TempDir,
    pub(super) hands: Hands,
}

/// A time far in the past, as records carry it.
pub(super) const MTIME_NS: i64 = 1_600_000_000_123_456_789;

pub(super) fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

impl Folder {
    pub(super) fn new() -> Self {
        Self::limited(|_| {})
    }

    /// A folder as if on a lesser file system.
    pub(super) fn limited(lessen: impl Fn(&mut Abilities)) -> Self {
        Self::in_dir(tempfile::tempdir().unwrap(), &lessen)
    }

    /// The same in memory where there is such a place: for tests of hundreds of folders.
    pub(super) fn in_memory(lessen: impl Fn(&mut Abilities)) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self::in_dir(dir.unwrap(), &lessen)
    }

    fn in_dir(dir: tempfile::TempDir, lessen: &dyn Fn(&mut Abilities)) -> Self {
        let at = dir.path().join("root");
        std::fs::create_dir(&at).unwrap();
        let hands = hands_at(&at, lessen, OPEN_WAIT);
        Self { dir, hands }
    }

    /// A folder that waits only so long for files that other programs have open.
    pub(super) fn patient_for(open_wait: Duration) -> Self {
        let folder = Self::new();
        let hands = hands_at(&folder.root(), &|_| {}, open_wait);
        Self { hands, ..folder }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// As after a crash: nothing remembered but what is on disk.
    pub(super) fn restarted(&self) -> Hands {
        let abilities = self.hands.root().abilities();
        hands_at(&self.root(), &|a| *a = abilities, OPEN_WAIT)
    }

    pub(super) fn write(&self, name: &str, bytes: &str) {
        std::fs::write(self.root().join(name), bytes).unwrap();
    }

    pub(super) fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.root().join(name)).ok()
    }

    /// What the index would know of a path now.
    pub(super) fn known(&self, name: &str) -> Expect {
        let stat = self.hands.root().stat(&path(name)).unwrap().unwrap();
        let kind = stat.kind.unwrap();
        let content = match kind {
            Kind::File => ContentId::of(&std::fs::read(self.root().join(name)).unwrap()),
            Kind::Symlink => ContentId::of(&self.hands.root().read_link(&path(name)).unwrap()),
            Kind::Directory | Kind::Tombstone => ContentId::NONE,
        };
        Expect::Known { kind, stat: stat.key, content }
    }

    pub(super) fn stage(&self, bytes: &str) -> ContentId {
        let content = ContentId::of(bytes.as_bytes());
        self.hands.put_small(content, bytes.as_bytes()).unwrap();
        content
    }

    /// Stages bytes and returns the step that places them.
    pub(super) fn place(&self, name: &str, expect: Expect, bytes: &str) -> Step {
        self.place_as(name, expect, Kind::File, bytes)
    }

    pub(super) fn place_as(&self, name: &str, expect: Expect, kind: Kind, bytes: &str) -> Step {
        let content = self.stage(bytes);
        let size = bytes.len() as u64;
        Step::Place {
            path: path(name),
            expect,
            kind,
            content,
            size,
            mtime_ns: MTIME_NS,
            mode: 0o640,
        }
    }

    pub(super) fn take(&self, steps: Vec<Step>) -> Result<Vec<Placed>, SettleError> {
        take(&self.hands, steps)
    }

    /// Does something at one moment of the next job, once.
    pub(super) fn at(&self, moment: Moment, act: impl Fn() + Send + Sync + 'static) {
        self.at_nth(moment, 1, act);
    }

    /// Does something when a moment comes for the `nth` time, from 1.
    pub(super) fn at_nth(
        &self,
        moment: Moment,
        nth: usize,
        act: impl Fn() + Send + Sync + 'static,
    ) {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let hook = move |now| {
            if now == moment && count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 == nth {
                act();
            }
        };
        *locked(&self.hands.inner.hook) = Some(Arc::new(hook));
    }

    /// Does something at every moment.
    pub(super) fn at_each(&self, act: impl Fn(Moment) + Send + Sync + 'static) {
        *locked(&self.hands.inner.hook) = Some(Arc::new(act));
    }

    /// All bytes below the root, the trash's and staging's too.
    pub(super) fn all_bytes(&self) -> Vec<String> {
        let mut found = Vec::new();
        gather(&self.root(), &mut found);
        found
    }

    /// The bytes under the user's own names.
    pub(super) fn visible_bytes(&self) -> Vec<String> {
        let mut found = Vec::new();
        for name in self.names() {
            gather_one(&self.root().join(name), &mut found);
        }
        found
    }

    /// The names at the top of the folder but `.syncd`, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let listed = self.hands.root().list(&RelPath::root()).unwrap();
        let names = listed.into_iter().map(|l| String::from_utf8(l.name).unwrap());
        names.filter(|name| name != ".syncd").collect()
    }

    pub(super) fn trashed(&self) -> Vec<(String, String)> {
        let list = self.hands.trash_list().unwrap();
        list.iter()
            .map(|entry| {
                let name = super::journal::trash_name(entry.content, entry.id);
                let at = self.root().join(".syncd/trash").join(name);
                let bytes = std::fs::read_to_string(at).unwrap_or_else(|_| "?".to_owned());
                (entry.path.as_ref().map_or("?".to_owned(), ToString::to_string), bytes)
            })
            .collect()
    }

    pub(super) fn staging_names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.root().join(".syncd/staging"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

pub(super) fn job(ticket: u64, steps: Vec<Step>) -> Job {
    Job { ticket: Ticket(ticket), steps, becomes: Vec::new() }
}

pub(super) fn take(hands: &Hands, steps: Vec<Step>) -> Result<Vec<Placed>, SettleError> {
    hands.take(&[job(1, steps)]).remove(0).1
}

fn hands_at(at: &Path, lessen: &dyn Fn(&mut Abilities), open_wait: Duration) -> Hands {
    let root = Root::open(at).unwrap();
    root.prepare(&FolderId::parse("test").unwrap()).unwrap();
    let mut abilities = root.abilities();
    lessen(&mut abilities);
    let name_copy = |path: &RelPath, _: i64| {
        let name = format!("{path}.copy");
        RelPath::parse(name).unwrap()
    };
    let options = SettleOptions {
        name_copy: Arc::new(name_copy),
        limits: Limits::default(),
        in_place: Arc::new(|path| path.name().ends_with(b".live")),
        open_wait,
    };
    Hands::new(root.limited_to(abilities), options).unwrap()
}

fn gather(dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        gather_one(&entry.unwrap().path(), found);
    }
}

fn gather_one(at: &Path, found: &mut Vec<String>) {
    let is = std::fs::symlink_metadata(at).unwrap().file_type();
    if is.is_dir() {
        gather(at, found);
    } else if is.is_symlink() {
        found.push(std::fs::read_link(at).unwrap().display().to_string());
    } else if let Ok(text) = std::fs::read_to_string(at) {
        found.push(text);
    }
}
