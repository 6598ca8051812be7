//! A folder in a temporary directory, for tests of what is detected in it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use syncd_core::flow::detect::{Found, Look, Seen};
use syncd_core::flow::digest::BlockList;
use syncd_core::flow::index::observe::{self, Meaning};
use syncd_core::flow::index::{Batch, Index, Known, MemIndex};
use syncd_core::model::{
    ContentId, DeviceId, Dot, Entry, Incarnation, Local, Record, RelPath, Standing, Writer,
};
use tempfile::TempDir;

use super::{Links, LookReport, Scanner, Scope, Sink};
use crate::world::disk::{Root, Unclosed};

/// A folder whose index takes what a look tells, as the engine would.
pub(super) struct Folder {
    pub(super) dir: TempDir,
    pub(super) root: Root,
    pub(super) index: MemIndex,
    counter: u64,
    pub(super) left_out: Vec<&'static str>,
    pub(super) not_entered: Vec<&'static str>,
    pub(super) window_ns: i64,
    pub(super) links: Links,
    pub(super) unclosed: Unclosed,
}

#[derive(Default)]
pub(super) struct Told {
    pub(super) seen: Vec<Seen>,
    pub(super) blocks: Vec<(ContentId, BlockList)>,
    pub(super) average: Option<u32>,
    pub(super) dirs_left: Option<std::cell::Cell<usize>>,
}

impl Sink for Told {
    fn seen(&mut self, seen: Seen) {
        self.seen.push(seen);
    }
    fn blocks(&mut self, content: ContentId, blocks: BlockList) {
        self.blocks.push((content, blocks));
    }
    fn average_of(&self, _: ContentId) -> Option<u32> {
        self.average
    }
    fn is_over(&self) -> bool {
        self.dirs_left.as_ref().is_some_and(|left| {
            left.set(left.get().saturating_sub(1));
            left.get() == 0
        })
    }
}

impl Told {
    pub(super) fn found(&self) -> Vec<&Found> {
        self.seen.iter().flat_map(|seen| &seen.found).collect()
    }
    pub(super) fn found_names(&self) -> Vec<String> {
        self.found().iter().map(|found| found.path.to_string()).collect()
    }
    pub(super) fn gone_names(&self) -> Vec<String> {
        self.seen.iter().flat_map(|seen| &seen.gone).map(ToString::to_string).collect()
    }
}

impl Scope for Folder {
    fn synced(&self, path: &RelPath, _: bool) -> bool {
        !self.left_out.iter().any(|name| path.name() == name.as_bytes())
    }
    fn descend(&self, dir: &RelPath) -> bool {
        !self.not_entered.iter().any(|name| dir.name() == name.as_bytes())
    }
}

impl Folder {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let (left_out, not_entered) = (Vec::new(), Vec::new());
        let (index, links, unclosed) = Default::default();
        Self { dir, root, index, counter: 0, left_out, not_entered, window_ns: 0, links, unclosed }
    }

    pub(super) fn at(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.dir.path().join(OsStr::from_bytes(name.as_ref()))
    }

    pub(super) fn write(&self, name: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) {
        let at = self.at(name);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, bytes).unwrap();
    }

    pub(super) fn look(&self, look: &Look) -> (LookReport, Told) {
        let mut told = Told::default();
        let report = self.look_into(look, &mut told);
        (report, told)
    }

    pub(super) fn look_into(&self, look: &Look, told: &mut Told) -> LookReport {
        self.scanner().look(look, told).unwrap()
    }

    pub(super) fn scanner(&self) -> Scanner<'_> {
        let Self { root, index: known, window_ns, links, unclosed, .. } = self;
        Scanner { root, known, scope: self, window_ns: *window_ns, links, unclosed }
    }

    /// Looks and takes what it tells into the index.
    pub(super) fn learn(&mut self, look: &Look) -> Told {
        let (_, told) = self.look(look);
        for seen in &told.seen {
            for found in &seen.found {
                self.take(found);
            }
        }
        for gone in told.seen.iter().flat_map(|seen| &seen.gone) {
            let entry = self.index.get(gone).unwrap();
            let dot = self.dot();
            let record = observe::gone(entry.as_ref(), dot).expect("was live and settled");
            self.put(gone.clone(), record, Local::default());
        }
        told
    }

    fn dot(&mut self) -> Dot {
        self.counter += 1;
        let writer = Writer { device: DeviceId([1; 32]), incarnation: Incarnation(1) };
        Dot { writer, counter: self.counter }
    }

    fn take(&mut self, found: &Found) {
        let parent = found.path.parent().unwrap();
        let parent_known = parent.is_root()
            || self.index.get(&parent).unwrap().is_some_and(|e| e.record.is_live());
        assert!(parent_known, "{:?} before its directory", found.path);
        let entry = self.index.get(&found.path).unwrap();
        let dot = self.dot();
        let local = Local { seen: Some(found.stat), ..Local::default() };
        match observe::found(entry.as_ref(), found, dot, observe::Memory::Whole) {
            Meaning::Nothing | Meaning::Emptied => {}
            Meaning::Restat => {
                let locals = vec![(found.path.clone(), local)];
                self.index.commit(Batch { locals, ..Batch::default() }).unwrap();
            }
            Meaning::Written(record) | Meaning::Apart(record) | Meaning::Suspect(record) => {
                self.put(found.path.clone(), *record, local);
            }
        }
    }

    fn put(&mut self, path: RelPath, record: Record, local: Local) {
        let seq = record.dot.counter;
        let puts = vec![(path, Entry { record, seq, local })];
        self.index.commit(Batch { puts, ..Batch::default() }).unwrap();
    }

    pub(super) fn stand(&mut self, name: &str, standing: Standing) {
        let entry = self.index.get(&RelPath::parse(name).unwrap()).unwrap().unwrap();
        let local = Local { standing, ..entry.local };
        let locals = vec![(RelPath::parse(name).unwrap(), local)];
        self.index.commit(Batch { locals, ..Batch::default() }).unwrap();
    }
}
