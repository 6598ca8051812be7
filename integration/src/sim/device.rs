//! One simulated device: a process around the engine, its store, its disk, its ledger.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use syncd_core::engine::{Engine, EngineConfig, Event, FolderHello, LookId};
use syncd_core::flow::detect::Look;
use syncd_core::flow::index::fingerprint::Fingerprint;
use syncd_core::flow::index::{Index, MemIndex};
use syncd_core::flow::settle::{Becoming, Job, Ticket};
use syncd_core::model::{
    ContentId, DeviceId, Favour, Incarnation, RelPath, Role, Seq, StoreId, Writer,
};
use syncd_core::protocol::tokens::{Mint, Tokens};

use super::disk::Disk;
use super::mishaps::{Failure, Root};
use super::oracle::Deeds;
use super::states::{Part, Sink};

/// Work that the engine ordered or the watcher asks for, and that is not done yet.
#[derive(Debug, Clone)]
pub enum Duty {
    /// The watcher noticed something there: a look is about to begin.
    Notice(Vec<Look>),
    /// Looking.
    Look(LookId, Vec<Look>),
    /// Bringing bytes from a peer.
    Fetch(Ticket, DeviceId, ContentId),
    /// Taking the steps of jobs.
    Settle(Vec<Job>),
    /// Making the store durable.
    Persist(Seq),
    /// Something is done, and the engine does not know yet.
    Report(Vec<Event>),
}

impl Duty {
    /// Returns what it is called in a story.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Notice(_) => "notice",
            Self::Look(..) => "look",
            Self::Fetch(..) => "fetch",
            Self::Settle(_) => "settling",
            Self::Persist(_) => "flush",
            Self::Report(_) => "report",
        }
    }
}

/// What a job under way makes true, as the ledger remembers it.
#[derive(Debug, Clone)]
pub struct Intent {
    pub(super) ticket: Ticket,
    pub(super) becomes: Vec<Becoming>,
    /// Whether the index holds the job's outcome.
    pub(super) indexed: bool,
}

/// One device.
#[derive(Debug, Clone)]
pub struct Device {
    pub(super) id: DeviceId,
    /// Its engine.
    pub engine: Engine,
    /// Its index.
    pub index: MemIndex,
    /// The index as the last flush left it.
    pub(super) durable: Rc<MemIndex>,
    /// Its disk.
    pub disk: Rc<Disk>,
    pub(super) store: StoreId,
    pub(super) incarnation: u64,
    /// How many incarnations it ever had, whatever it remembers.
    pub(super) lives: u64,
    /// Ranges of counters handed out so far; they survive every loss but that of the ledger.
    pub(super) ranges: u64,
    /// Up to where the ledger knows the store to be durable.
    pub(super) watermark: Seq,
    /// What it shares with each peer, in the ledger too.
    pub(super) tokens: BTreeMap<usize, Tokens>,
    pub(super) looks: u64,
    pub(super) ignored: Option<RelPath>,
    pub(super) role: Role,
    /// Who wins in a join that is not over.
    pub(super) joining: Option<Favour>,
    pub(super) crash_next: bool,
    /// With how many files its brake stops what a peer deletes at once.
    pub(super) brake_files: Option<usize>,
    /// Whether the machine has lost power, and not all is known of what that left.
    pub(super) shaken: bool,
    /// What lies where its root should be.
    pub(super) root: Root,
    /// What fails next.
    pub(super) fails: Option<Failure>,
    /// Whether the watcher misses everything, or has missed something.
    pub(super) deaf: bool,
    /// Whether the next messages come twice.
    pub(super) repeats: bool,
    /// By how much its wall clock is off, in seconds.
    pub(super) clock_s: i64,
    /// A copy of it, as it once was.
    pub(super) kept: Option<Rc<Self>>,
    pub(super) intents: Vec<Intent>,
    pub(super) duties: VecDeque<Duty>,
    /// What its users did.
    pub deeds: Rc<Deeds>,
    /// Its part of the fingerprint, computed when asked for.
    pub(super) part: OnceCell<Rc<Part>>,
}

impl Device {
    pub(super) fn new(at: usize, links: &BTreeSet<(usize, usize)>) -> Self {
        let id = device_id(at);
        let index = MemIndex::default();
        let config = EngineConfig {
            me: Writer { device: id, incarnation: Incarnation(0) },
            store: StoreId(0),
            counters: 1..2,
            shared: BTreeSet::new(),
            rule_files: BTreeSet::new(),
            shaken: false,
            brake_files: None,
            taken_from: None,
        };
        let engine = Engine::new(config, &index).expect("the index in memory works");
        let mut device = Self {
            id,
            engine,
            index,
            durable: Rc::default(),
            disk: Rc::default(),
            store: StoreId(0),
            incarnation: 0,
            lives: 0,
            ranges: 0,
            watermark: 0,
            tokens: BTreeMap::new(),
            looks: 0,
            ignored: None,
            role: Role::default(),
            joining: None,
            crash_next: false,
            brake_files: None,
            shaken: false,
            root: Root::default(),
            fails: None,
            deaf: false,
            repeats: false,
            clock_s: 0,
            kept: None,
            intents: Vec::new(),
            duties: VecDeque::new(),
            deeds: Rc::default(),
            part: OnceCell::new(),
        };
        device.start(true, links, at);
        device
    }

    /// Returns what its session tokens are made with in this run.
    pub(super) fn mint(&self) -> Mint {
        Mint::new(&self.id.0, (self.ranges.saturating_sub(1) << 20).max(1))
    }

    /// Returns who it is in versions.
    pub(super) fn writer(&self) -> Writer {
        Writer { device: self.id, incarnation: Incarnation(self.incarnation) }
    }

    /// Starts the process: with a new store (and so in a new incarnation), or with the old one.
    pub(super) fn start(&mut self, new_store: bool, links: &BTreeSet<(usize, usize)>, at: usize) {
        self.duties.clear();
        if new_store {
            self.index = MemIndex::default();
            self.intents.clear();
            self.reincarnate();
            self.store = StoreId(self.incarnation);
        }
        self.durable = Rc::new(self.index.clone());
        self.mark();
        let counters = self.reserve();
        let config = EngineConfig {
            me: self.writer(),
            store: self.store,
            counters,
            shared: links.iter().filter(|(a, _)| *a == at).map(|(_, b)| device_id(*b)).collect(),
            rule_files: BTreeSet::new(),
            shaken: self.shaken,
            brake_files: self.brake_files,
            taken_from: None,
        };
        self.engine = Engine::new(config, &self.index).expect("the index in memory works");
    }

    /// Tells whether all of the index is durable.
    pub(super) fn is_flushed(&self) -> bool {
        let of = |index: &MemIndex| {
            let mut sink = Sink::default();
            index.fingerprint(self.id, self.store, &mut sink);
            sink.part().concrete()
        };
        of(&self.index) == of(&self.durable)
    }

    pub(super) fn reserve(&mut self) -> std::ops::Range<u64> {
        let start = (self.ranges << 20).max(1);
        self.ranges += 1;
        start..self.ranges << 20
    }

    pub(super) fn hello(&self, peer: DeviceId) -> FolderHello {
        let marks = self.index.marks().expect("the index in memory works");
        FolderHello { store: self.store, cursor: marks.cursors.get(&peer).copied() }
    }

    /// Tells whether the rules of this device keep `path` synced.
    #[must_use]
    pub fn synced(&self, path: &RelPath) -> bool {
        is_synced(path, self.ignored.as_ref())
    }

    /// Returns its part of the state's fingerprint.
    pub(super) fn part(&self) -> &Part {
        self.part.get_or_init(|| Rc::new(self.make_part()))
    }

    /// Makes its part of the state's fingerprint.
    pub(super) fn make_part(&self) -> Part {
        let mut sink = Sink::default();
        self.engine.fingerprint(&mut sink);
        self.index.fingerprint(self.id, self.store, &mut sink);
        for (path, thing) in self.disk.things() {
            // Stamps are only compared with what the index has seen, and never come twice.
            let entry = self.index.entry(path);
            let known = entry.is_some_and(|e| e.local.seen == Some(thing.stat()));
            sink.value((path, thing.kind, thing.content, thing.mtime_ns, thing.mode, known));
            sink.value(thing.durable);
        }
        for earlier in self.disk.earlier() {
            sink.value(earlier);
        }
        sink.value((self.disk.things().count(), &self.ignored, self.crash_next));
        sink.value((self.role, self.joining, self.shaken));
        self.deeds.fingerprint(&mut sink);
        sink.part()
    }
}

pub(super) fn is_synced(path: &RelPath, ignored: Option<&RelPath>) -> bool {
    ignored.is_none_or(|prefix| path != prefix && !path.is_below(prefix))
}

pub(super) fn device_id(at: usize) -> DeviceId {
    DeviceId([u8::try_from(at + 1).expect("few devices"); 32])
}
