//! The conductor of one folder: events in, actions out.
//!
//! The engine holds what is under way; what is known lies in the [`Index`]. It never awaits,
//! never reads a clock, and touches no byte of a file: it speaks of ids and lengths. The daemon's
//! loop and the simulator's world are both loops around the same calls.
//!
//! # Invariants
//! - A path has at most one job under way; what else comes for it waits.
//! - A change is offered, and a frame acknowledged, only once the store is durable up to it.
//! - An observation older than our own last work on its path is discarded and looked at again.
//! - Equal events in equal order give equal actions.

mod brake;
mod burst;
mod claims;
mod copies;
mod deciding;
mod draft;
mod fingerprint;
mod incoming;
mod observing;
mod parents;
mod roles;
mod settling;
mod suspects;
mod telling;
#[cfg(test)]
mod tests;
mod types;
mod unsupported;
mod words;
mod working;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use draft::Draft;
use incoming::Pending;
use settling::Flight;
pub use types::{
    Action, Cause, Event, FolderHello, Intended, LookId, Notice, PeerState, Problem, PullError,
    There,
};

use crate::flow::detect::{Look, Stir};
use crate::flow::index::{Index, IndexError};
use crate::flow::offer::Outgoing;
use crate::flow::pull::Incoming;
use crate::flow::settle::{Job, SettleError, Ticket};
use crate::model::{
    ContentId, Counter, DeviceId, Dot, RelPath, Role, Seq, StatKey, StoreId, Tick, Version, Writer,
};

/// What a folder's engine is made with.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// This device and the life of its store.
    pub me: Writer,
    /// The store.
    pub store: StoreId,
    /// Counters reserved for this folder; not empty.
    pub counters: std::ops::Range<Counter>,
    /// The devices the folder is shared with.
    pub shared: BTreeSet<DeviceId>,
    /// Files that hold rules and travel first.
    pub rule_files: BTreeSet<RelPath>,
    /// Whether the machine has stopped without warning, and [`Notice::Steady`] has not come since.
    pub shaken: bool,
    /// With more files than this, and more than half of all, what a peer deletes at once waits for
    /// a person; `None`: peers delete as they like.
    pub brake_files: Option<usize>,
    /// The device that the folder was taken from.
    pub taken_from: Option<DeviceId>,
}

/// One folder's state machine.
#[derive(Debug, Clone)]
pub struct Engine {
    me: Writer,
    store: StoreId,
    counters: std::ops::Range<Counter>,
    /// Our greatest counter that stands in a version. Others only number our log: nobody needs
    /// to hear of them.
    written: Counter,
    shared: BTreeSet<DeviceId>,
    rule_files: BTreeSet<RelPath>,
    rules: Scope,
    peers: BTreeMap<DeviceId, Peer>,
    pending: BTreeMap<RelPath, Pending>,
    /// Paths to reconsider when the key's job or look is over.
    waiting: BTreeMap<RelPath, BTreeSet<RelPath>>,
    /// Directories whose removal waits.
    removals: BTreeSet<RelPath>,
    /// Paths that wait for a look.
    lookers: BTreeSet<RelPath>,
    /// Paths that wait for rule files, a pause or a halt to be over.
    gated: BTreeSet<RelPath>,
    /// Whether what waits at the gate may go on now.
    gate_moved: bool,
    reading_rules: bool,
    /// For which path, and whom of the peers was asked.
    fetching: BTreeMap<Ticket, (RelPath, DeviceId)>,
    flights: BTreeMap<Ticket, Flight>,
    busy: BTreeMap<RelPath, Ticket>,
    /// When our own work last touched a path, by `clock`.
    worked: BTreeMap<RelPath, u64>,
    looks: BTreeMap<LookId, observing::LookState>,
    /// When the last look ended, by `clock`.
    looked: u64,
    /// Whether a whole look has ended since the start, attested.
    walked: bool,
    /// Whether the machine has stopped without warning, and what that left is not known yet.
    shaken: bool,
    /// Whether it is known, but not durable: and then, whether a flush of it is under way.
    steadying: Option<bool>,
    /// The users' bytes of every change up to here are known to be durable.
    bytes_durable: Seq,
    ready: VecDeque<Job>,
    burst: burst::Burst,
    /// With how many files the brake stops what a peer deletes at once.
    brake_files: Option<usize>,
    taken_from: Option<DeviceId>,
    /// What peers delete while more of it is coming.
    gathers: BTreeMap<DeviceId, brake::Gather>,
    /// How much was touched here and is still to be looked at.
    stir: Stir,
    batches: usize,
    retries: BTreeMap<Tick, BTreeSet<RelPath>>,
    /// Deletes that a scan found and that wait for a person.
    held: BTreeSet<RelPath>,
    problems: BTreeMap<RelPath, Problem>,
    /// Files whose bytes are to be put back: the `stat` they were read under, and what they held.
    rotten: BTreeMap<RelPath, (StatKey, ContentId)>,
    /// Paths that this disk could not hold when it was last tried; some may be gone by now.
    unsupported: BTreeSet<RelPath>,
    /// Why not, for those tried since the start.
    refused: BTreeMap<RelPath, SettleError>,
    /// Those for which room was made while a job of theirs was under way.
    roomy: BTreeSet<RelPath>,
    committed: Seq,
    durable: Seq,
    persisting: bool,
    /// Tombstones up to here have been considered for dropping.
    swept: Seq,
    clock: u64,
    ticket: u64,
    look: u64,
    halted: bool,
    paused: bool,
    role: Role,
    /// A person's word on who wins.
    word: Option<roles::Word>,
    /// Peers whose news is overruled until they have told all they have.
    overruling: BTreeSet<DeviceId>,
    actions: VecDeque<Action>,
}

/// The pure part of the ignore rules, as the engine needs it: which paths are synced here.
#[derive(Clone, Default)]
pub struct Scope(Option<std::sync::Arc<Synced>>);

/// From path and "is a directory" to "is synced here".
type Synced = dyn Fn(&RelPath, bool) -> bool + Send + Sync;

impl Scope {
    /// Makes a scope of a function from path and "is a directory" to "is synced here".
    pub fn new(synced: impl Fn(&RelPath, bool) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(std::sync::Arc::new(synced)))
    }

    /// Tells whether `path` is synced here.
    #[must_use]
    pub fn synced(&self, path: &RelPath, is_dir: bool) -> bool {
        self.0.as_ref().is_none_or(|synced| synced(path, is_dir))
    }
}

impl std::fmt::Debug for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scope")
    }
}

/// One connected peer.
#[derive(Debug, Clone)]
struct Peer {
    store: StoreId,
    outgoing: Outgoing,
    incoming: Incoming,
    /// Acknowledged sequences that count once the peer's frames up to the number are settled.
    acks: VecDeque<(Seq, u64)>,
    /// The peer holds our changes up to here, and nothing older of its own is under way.
    dropable: Seq,
    /// All that the peer has told us it covers, or we have told it.
    covers: Version,
    /// The first frame that held back removals when they were last considered.
    blocked: u64,
    /// When it told much at once.
    bustle: brake::Bustle,
    /// Its last words, while something that it told before them is still to come.
    words: words::Words,
}

/// Most jobs handed out in one batch, see [`crate::model::limits::BATCH_FILES_MAX`].
const JOBS_MAX: usize = crate::model::limits::BATCH_FILES_MAX;

/// Batches handed out at once: one in the hands' work, one to follow without a pause.
const BATCHES_MAX: usize = 2;

impl Engine {
    /// Makes the engine of a folder whose index is `index`, everything in which is durable.
    ///
    /// # Errors
    /// [`IndexError`] when the index cannot be read.
    pub fn new(config: EngineConfig, index: &impl Index) -> Result<Self, IndexError> {
        let last = index.last_seq()?;
        Ok(Self {
            me: config.me,
            store: config.store,
            written: config.counters.start - 1,
            counters: config.counters,
            shared: config.shared,
            rule_files: config.rule_files,
            rules: Scope::default(),
            peers: BTreeMap::new(),
            pending: BTreeMap::new(),
            waiting: BTreeMap::new(),
            removals: BTreeSet::new(),
            lookers: BTreeSet::new(),
            gated: BTreeSet::new(),
            gate_moved: false,
            reading_rules: false,
            fetching: BTreeMap::new(),
            flights: BTreeMap::new(),
            busy: BTreeMap::new(),
            worked: BTreeMap::new(),
            looks: BTreeMap::new(),
            looked: 0,
            walked: false,
            shaken: config.shaken,
            steadying: None,
            bytes_durable: last,
            ready: VecDeque::new(),
            burst: burst::Burst::default(),
            brake_files: config.brake_files,
            taken_from: config.taken_from,
            gathers: BTreeMap::new(),
            stir: Stir::Calm,
            batches: 0,
            retries: BTreeMap::new(),
            held: BTreeSet::new(),
            problems: BTreeMap::new(),
            rotten: BTreeMap::new(),
            unsupported: BTreeSet::new(),
            refused: BTreeMap::new(),
            roomy: BTreeSet::new(),
            committed: last,
            durable: last,
            persisting: false,
            swept: 0,
            clock: 0,
            ticket: 0,
            look: 0,
            halted: false,
            paused: false,
            role: Role::default(),
            word: None,
            overruling: BTreeSet::new(),
            actions: VecDeque::new(),
        })
    }

    /// Tells the engine a fact. Never awaits, never reads a clock.
    ///
    /// # Errors
    /// [`IndexError`] when the index fails; the engine is then of no use any more.
    pub fn handle(
        &mut self,
        now: Tick,
        event: Event,
        index: &mut impl Index,
    ) -> Result<(), IndexError> {
        let mut draft = Draft::new(index, self.me)?;
        match event {
            Event::LookBegun { look, cause, whole } => self.look_begun(look, cause, whole),
            Event::Seen { look, seen } => self.seen(look, seen, &mut draft)?,
            Event::LookDone { look, attested } => self.look_done(look, attested, &mut draft)?,
            Event::PeerUp { peer, hello } => self.peer_up(peer, &hello, &mut draft)?,
            Event::PeerDown { peer } => self.peer_down(peer, &mut draft)?,
            Event::Offered { peer, offer } => self.offered(now, peer, offer, &mut draft)?,
            Event::Acked { peer, frames, aside, sent } => self.acked(peer, &frames, &aside, sent),
            Event::Fetched { ticket, outcome } => {
                self.fetched(now, ticket, outcome, &mut draft)?;
            }
            Event::Settled { outcomes } => self.settled(now, outcomes, &mut draft)?,
            Event::BytesDurable { seq } => self.bytes_are_durable(seq, &mut draft)?,
            Event::Persisted { seq } => {
                self.persisting = false;
                let before = self.durable;
                self.durable = before.max(seq);
                self.steady();
                self.overtake(before, draft.index())?;
            }
            Event::Rotten { path, stat, content, staged } => {
                self.rotten(&path, (stat, content), staged, &mut draft)?;
            }
            Event::IntentFound { intended } => self.intent_found(intended, &mut draft)?,
            Event::RulesChanged { scope, rule_files } => {
                self.rules_changed(scope, rule_files, &mut draft)?;
            }
            Event::SharedWith { devices } => self.shared_with(devices, &mut draft),
            Event::CountersReserved { counters } => self.counters = counters,
            Event::LifeBegun { me } => self.life_begun(me),
            Event::Approved => self.approve(&mut draft)?,
            Event::Rejected => self.reject(&mut draft)?,
            Event::Decided { peer, approved } => self.decide(peer, approved, &mut draft)?,
            Event::Paused { paused } => {
                self.paused = paused;
                self.gate_moved = true;
            }
            Event::RoleIs { role } => self.role_is(role, &mut draft)?,
            Event::Joining { favour } => self.join(favour),
            Event::Overruled => self.overrule(&mut draft)?,
            Event::Reverted => self.revert(&mut draft)?,
            Event::RootIsBack => {
                self.halted = false;
                self.gate_moved = true;
            }
        }
        self.wake_due(now, &mut draft)?;
        self.finish(draft)
    }

    /// Lets everything due at or before `now` happen.
    ///
    /// # Errors
    /// [`IndexError`] when the index fails.
    pub fn wake(&mut self, now: Tick, index: &mut impl Index) -> Result<(), IndexError> {
        let mut draft = Draft::new(index, self.me)?;
        self.wake_due(now, &mut draft)?;
        self.finish(draft)
    }

    /// Hears how much was touched here that is still to be looked at: what is told meanwhile is
    /// told as part of a burst. Returns whether that is less than before: then [`Engine::wake`] is
    /// to be called, which tells peers that a burst is over.
    pub fn stir(&mut self, stir: Stir) -> bool {
        std::mem::replace(&mut self.stir, stir) > stir
    }

    /// Takes the next thing to do, in a deterministic order.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns when to call [`Engine::wake`] if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        let retry = self.retries.keys().next().copied();
        [retry, self.burst.deadline(), self.weighing()].into_iter().flatten().min()
    }

    fn wake_due(&mut self, now: Tick, draft: &mut Draft<'_, impl Index>) -> Result<(), IndexError> {
        while let Some(entry) = self.retries.first_entry().filter(|e| *e.key() <= now) {
            for path in entry.remove() {
                self.unwait(&path);
                self.consider(&path, draft)?;
            }
        }
        self.weigh_due(now, draft)?;
        let jobs = self.burst.due(now);
        self.hand_out(jobs);
        Ok(())
    }

    /// Commits what an event changed, then tells peers and hands what follows from it.
    fn finish(&mut self, mut draft: Draft<'_, impl Index>) -> Result<(), IndexError> {
        loop {
            self.advance_frames(&mut draft)?;
            self.consider_removals(&mut draft)?;
            if !std::mem::take(&mut self.gate_moved) {
                break;
            }
            self.consider_gated(&mut draft)?;
        }
        self.note_survey(&mut draft);
        self.sweep(&mut draft)?;
        self.written = self.written.max(draft.written());
        self.committed = self.committed.max(draft.commit()?);
        self.hand_out_jobs();
        if !self.persisting && (self.durable < self.committed || self.steadying == Some(false)) {
            self.persisting = true;
            self.steadying = self.steadying.map(|_| true);
            self.actions.push_back(Action::Persist { seq: self.committed });
        }
        self.tell_peers(draft.index())?;
        if self.counters.end - self.counters.start < COUNTERS_LOW {
            self.actions.push_back(Action::ReserveCounters);
        }
        Ok(())
    }

    /// Hands out the jobs of a burst as one batch, however many.
    fn hand_out(&mut self, jobs: Vec<Job>) {
        if !jobs.is_empty() {
            self.batches += 1;
            self.actions.push_back(Action::Settle { jobs });
        }
    }

    fn hand_out_jobs(&mut self) {
        while self.batches < BATCHES_MAX && !self.ready.is_empty() {
            let count = self.ready.len().min(JOBS_MAX);
            let jobs: Vec<Job> = self.ready.drain(..count).collect();
            self.batches += 1;
            self.actions.push_back(Action::Settle { jobs });
        }
    }

    fn next_ticket(&mut self) -> Ticket {
        self.ticket += 1;
        Ticket(self.ticket)
    }

    /// Returns the own counter that is drawn next.
    fn coming_dot(&self) -> Dot {
        Dot { writer: self.me, counter: self.counters.start }
    }

    /// Draws the next own counter.
    fn next_dot(&mut self) -> Dot {
        let counter = self.counters.start;
        // The daemon answers ReserveCounters long before the range runs dry; running past its
        // end would break the law that no counter is used twice, so it stops at the end and the
        // index refuses the repeated sequence.
        self.counters.start = (counter + 1).min(self.counters.end);
        Dot { writer: self.me, counter }
    }

    /// Notes that our own work touched `path` now.
    fn touch(&mut self, path: &RelPath) {
        self.clock += 1;
        if self.looks.is_empty() {
            self.worked.clear();
        } else {
            self.worked.insert(path.clone(), self.clock);
        }
    }

    /// Orders a look and returns its id.
    fn order_look(&mut self, what: Vec<Look>) {
        self.look += 1;
        let look = LookId::Ordered(self.look);
        self.looks.insert(look, observing::LookState::begun(self.clock, Cause::Watched, false));
        self.actions.push_back(Action::Look { look, what });
    }

    /// Returns how our counters stand, for Hello: the last one handed out.
    #[must_use]
    pub fn last_counter(&self) -> Counter {
        self.counters.start - 1
    }
}

/// More counters are asked for when fewer than this are left.
const COUNTERS_LOW: u64 = 1 << 16;
