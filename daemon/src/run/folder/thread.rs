//! The loop around one folder's engine.

mod claims;
mod ending;
mod flushing;
pub(super) mod ruling;
mod tidying;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use syncd_core::engine::{Action, Cause, Engine, Event, LookId, Notice};
use syncd_core::flow::detect::{Debouncer, Hint, Look};
use syncd_core::flow::{offer, settle::Job};
use syncd_core::model::{DeviceId, RelPath, Role, Seq, Tick};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use self::flushing::Settling;
use super::looks::LookOrder;
use super::settles::PersistOrder;
use super::worker::Worker;
use super::{Folder, Link, Note, Out, Parts, join, notices, stops};
use crate::flow::detect::{Heard, LookReport, Scope, Watcher};
use crate::flow::index::{FolderIndex, IntentBatch};
use crate::run::Daemon;
use crate::run::fetch::Fetch;

/// How often everything is scanned, whatever the watcher says.
const SCAN_EVERY: Duration = Duration::from_secs(60 * 60);

/// How often it is scanned while directories are not watched.
const SCAN_UNWATCHED_EVERY: Duration = Duration::from_secs(60);

/// How often displaced files are looked at for late writes, and old versions pruned.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// The workers of one folder, and its watcher.
pub(super) struct Workers {
    /// Takes looks.
    pub(super) looks: Worker<LookOrder>,
    /// Takes batches of jobs.
    pub(super) settles: Worker<Vec<Job>>,
    /// Takes orders to make the store durable.
    pub(super) persists: Worker<PersistOrder>,
    /// Takes orders to keep bases.
    pub(super) bases: Worker<()>,
    /// Makes users' bytes durable, up to a sequence of our log.
    pub(super) syncs: Worker<Seq>,
    /// Hears of changes; `None` where nothing can be watched.
    pub(super) watcher: Option<Watcher>,
}

/// One folder's thread: the engine and all that moves it.
pub struct FolderThread {
    daemon: Arc<Daemon>,
    folder: Folder,
    parts: Parts,
    /// The engine, for questions.
    pub engine: Engine,
    index: FolderIndex,
    workers: Workers,
    debouncer: Debouncer,
    links: BTreeMap<DeviceId, Link>,
    to_close: Vec<IntentBatch>,
    scans: BTreeMap<LookId, Vec<oneshot::Sender<LookReport>>>,
    settlings: Vec<Settling>,
    looking: Vec<LookId>,
    /// What could not be looked at for want of descriptors or memory.
    starved: BTreeSet<Look>,
    look: u64,
    began: Instant,
    scanned: Instant,
    tidied: Instant,
    tidyings: u32,
    synced: Instant,
    /// When bases are kept next, if something came that a base may be of.
    bases_due: Option<Instant>,
    failed: Option<String>,
    /// What is left of the incarnations that peers' claims may bring about.
    lives: claims::Lives,
}

impl FolderThread {
    /// Makes the thread's state; [`FolderThread::run`] lets it live.
    pub(super) fn new(
        daemon: Arc<Daemon>,
        folder: Folder,
        parts: Parts,
        engine: Engine,
        workers: Workers,
    ) -> Self {
        let now = Instant::now();
        Self {
            daemon,
            folder,
            index: parts.index.clone(),
            parts,
            engine,
            workers,
            debouncer: Debouncer::default(),
            links: BTreeMap::new(),
            to_close: Vec::new(),
            scans: BTreeMap::new(),
            settlings: Vec::new(),
            looking: Vec::new(),
            starved: BTreeSet::new(),
            look: 0,
            began: now,
            scanned: now,
            tidied: now,
            tidyings: 0,
            synced: now,
            bases_due: None,
            failed: None,
            lives: claims::Lives::new(now),
        }
    }

    /// Returns root, hands and index.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Returns the index.
    #[must_use]
    pub fn index(&self) -> &FolderIndex {
        &self.index
    }

    /// Closes intents of an earlier run when the store is next made durable.
    pub fn close_when_durable(&mut self, batches: Vec<IntentBatch>) {
        self.to_close.extend(batches);
    }

    /// Takes notes until told to stop (`true`) or until the root is lost (`false`); then lets the
    /// workers finish what they have begun.
    pub fn run(&mut self, notes: &Receiver<Note>) -> bool {
        let stopped = self.work(notes);
        self.wind_down(notes);
        stopped
    }

    fn work(&mut self, notes: &Receiver<Note>) -> bool {
        if self.workers.watcher.is_none() {
            self.scan(None);
        }
        loop {
            self.due();
            if let Some(why) = self.failed.take() {
                self.folder.with_standing(|s| s.halted = Some(why));
                return false;
            }
            match notes.recv_timeout(self.patience()) {
                Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => return true,
                Ok(note) => self.take(note),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn now(&self) -> Tick {
        Tick(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn patience(&self) -> Duration {
        let deadlines = [self.debouncer.next_deadline(), self.engine.next_deadline()];
        let next = deadlines.into_iter().flatten().min();
        let rush = self.debouncer.rush_until(self.now()).map(|until| until.after(1));
        let next = next.into_iter().chain(rush).min();
        let until = next.map_or(TIDY_EVERY, |tick| Duration::from_millis(tick.since(self.now())));
        let bases = self.bases_due.map(|due| due.saturating_duration_since(Instant::now()));
        until.min(TIDY_EVERY).min(bases.unwrap_or(TIDY_EVERY))
    }

    /// Does what its time has come for.
    fn due(&mut self) {
        let now = self.now();
        let is_calmer = self.engine.stir(self.debouncer.stir(offer::BURST_RECORDS_MIN, now));
        let due = self.debouncer.due(now);
        let (lost, seen): (Vec<_>, Vec<_>) = due.into_iter().partition(|due| due.lost);
        for (cause, due) in [(Cause::Watched, seen), (Cause::Scanned, lost)] {
            if !due.is_empty() {
                self.begin_look(cause, due.into_iter().map(|due| due.look).collect());
            }
        }
        if is_calmer || self.engine.next_deadline().is_some_and(|deadline| deadline <= now) {
            let woken = self.engine.wake(now, &mut self.index);
            self.after(woken);
        }
        self.answer_settlings();
        self.keep_bases_in_time();
        if self.tidied.elapsed() >= TIDY_EVERY {
            self.tidy();
        }
        let unwatched = self.folder.with_standing(|s| s.unwatched.is_some());
        let usual = if unwatched { SCAN_UNWATCHED_EVERY } else { SCAN_EVERY };
        let asked = self.folder.config().rescan_s;
        let every = asked.map_or(usual, |seconds| Duration::from_secs(u64::from(seconds)));
        if self.scanned.elapsed() >= every {
            self.scan(None);
        }
    }

    fn take(&mut self, note: Note) {
        match note {
            Note::Event(event) => self.tell(event),
            Note::FromPeer(event, _) => self.told(event),
            Note::Settled(event, batch) => {
                // Closed when the store is durable up to what the event makes of it.
                self.to_close.extend(batch);
                self.tell(event);
            }
            Note::Heard(heard) => self.heard(heard),
            Note::Looked(look, report) => self.looked(look, report),
            Note::PeerUp { peer, hello, link, seen_of_us } => {
                if self.engine.disowns_seen(&seen_of_us) && !self.begin_life(peer) {
                    return link.session.close();
                }
                self.links.insert(peer, link);
                self.tell(Event::PeerUp { peer, hello });
            }
            Note::BytesDurable(seq) => self.bytes_are_durable(seq),
            Note::Scan(done) => self.scan(Some(done)),
            Note::Settle(done) => self.settle(done),
            Note::Ask(act) => act(self),
            Note::Stop => {}
        }
    }

    /// Tells the engine a fact and does what it orders.
    pub fn tell(&mut self, event: Event) {
        if let Event::PeerDown { peer } = &event {
            self.links.remove(peer);
        }
        self.expect_bases(&event);
        let now = self.now();
        tracing::trace!(folder = %self.folder.id(), ?event);
        let handled = self.engine.handle(now, event, &mut self.index);
        self.after(handled);
    }

    fn after(&mut self, handled: Result<(), syncd_core::flow::index::IndexError>) {
        if let Err(error) = handled {
            tracing::error!(folder = %self.folder.id(), %error, "the index failed");
            self.failed = Some(format!("the index failed: {error}"));
            return;
        }
        while let Some(action) = self.engine.next_action() {
            tracing::trace!(folder = %self.folder.id(), ?action);
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Look { look, what } => self.order_look(look, what),
            Action::Settle { jobs } => self.send_or_fail(|w| w.settles.order(jobs)),
            Action::Persist { seq } => {
                let done = std::mem::take(&mut self.to_close);
                self.send_or_fail(|w| w.persists.order(PersistOrder { seq, done }));
            }
            Action::Fetch { ticket, peer, path, kind, content, size } => {
                let fetch = Fetch { ticket, path, kind, content, size };
                self.out(peer, |_| Out::Fetch(fetch));
            }
            Action::Offer { peer, lane, offer } => {
                self.out(peer, |tag| Out::Offer(tag, lane, offer));
            }
            Action::Ack { peer, frames, aside, sent } => {
                self.out(peer, |tag| Out::Ack(tag, frames, aside, sent));
            }
            Action::Cut { peer, why } => self.out(peer, |_| Out::Cut(why)),
            Action::ReserveCounters => match self.daemon.ledger.reserve() {
                Ok(counters) => {
                    self.tell(Event::CountersReserved { counters });
                }
                Err(error) => self.failed = Some(format!("no counters could be reserved: {error}")),
            },
            Action::ReadRules => self.read_rules(),
            Action::Halt => self.failed = Some("the folder's root is gone".to_owned()),
            Action::Tell(notice) => self.notice(notice),
        }
    }

    fn send_or_fail(&mut self, send: impl FnOnce(&Workers) -> bool) {
        if !send(&self.workers) {
            self.failed = Some("a worker of the folder has ended".to_owned());
        }
    }

    fn out(&mut self, peer: DeviceId, out: impl FnOnce(syncd_core::protocol::Tag) -> Out) {
        if let Some(link) = self.links.get(&peer) {
            // A link whose session is over swallows; the engine hears PeerDown soon.
            let sent = link.out.try_send(out(link.tag.clone()));
            if let Err(TrySendError::Full(_)) = sent {
                tracing::warn!(peer = %peer.short(), "the session is cut: it takes no news");
                link.session.close();
            }
        }
    }

    fn begin_look(&mut self, cause: Cause, what: Vec<Look>) -> LookId {
        self.look += 1;
        let look = LookId::Begun(self.look);
        let whole = what.contains(&Look::Tree(RelPath::root()));
        self.tell(Event::LookBegun { look, cause, whole });
        self.order_look(look, what);
        look
    }

    fn order_look(&mut self, look: LookId, what: Vec<Look>) {
        for settling in &mut self.settlings {
            settling.ordered(look, &what);
        }
        self.looking.push(look);
        self.folder.with_standing(|s| s.scanning += 1);
        self.send_or_fail(|w| w.looks.order(LookOrder { look, what }));
    }

    /// Looks at single paths soon.
    pub fn look_at(&mut self, paths: impl IntoIterator<Item = RelPath>) {
        let now = self.now();
        for path in paths {
            self.debouncer.touched(&path, Hint::Closed, now);
        }
    }

    fn scan(&mut self, done: Option<oneshot::Sender<LookReport>>) {
        self.scanned = Instant::now();
        // Nobody may have heard of a change of those that are not synced.
        self.read_rules_again();
        let look = self.begin_look(Cause::Scanned, vec![Look::Tree(RelPath::root())]);
        self.scans.entry(look).or_default().extend(done);
    }

    fn looked(&mut self, look: LookId, report: LookReport) {
        self.looking.retain(|other| *other != look);
        let now = self.now();
        for (path, bytes) in &report.costly {
            self.debouncer.read(path, *bytes, now);
        }
        for path in &report.again {
            self.debouncer.touched(path, Hint::Again, now);
        }
        for path in &report.unclosed {
            self.debouncer.touched(path, Hint::Open, now);
        }
        self.starved.extend(report.starved.iter().cloned());
        self.folder.with_standing(|s| {
            s.scanning = s.scanning.saturating_sub(1);
            s.take_problems(&report);
        });
        if self.folder.with_standing(|s| s.bad_rules.is_some()) {
            self.read_rules_again();
        }
        self.tell(Event::LookDone { look, attested: !report.broken_off });
        for done in self.scans.remove(&look).unwrap_or_default() {
            // Whoever asked may have gone.
            let _ = done.send(report.clone());
        }
        for settling in &mut self.settlings {
            settling.looked(look, &report);
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Touched { path, hint } => {
                let now = self.now();
                self.debouncer.touched(&path, hint, now);
                self.parts.hands.unclosed().heard(&path, hint == Hint::Closed);
                if self.parts.scope.is_read_here(&path) {
                    self.read_rules();
                }
            }
            Heard::Coverage(coverage) => self.folder.with_standing(|s| {
                s.watched = coverage.watched;
                s.unwatched = coverage.reason.filter(|_| coverage.unwatched > 0);
            }),
            Heard::Cookie(number) => {
                for at in 0..self.settlings.len() {
                    if self.settlings[at].cookie == Some(number) {
                        self.settlings[at].cookie = None;
                        self.flush_debouncer(at);
                    }
                }
            }
        }
    }

    /// Tells the engine what the settings say of the folder, and of a join that is not over.
    pub(super) fn take_settings(&mut self) {
        if let Some(favour) = join::under_way(&self.daemon.ledger, self.folder.id()) {
            self.tell(Event::Joining { favour });
        }
        self.take_role();
    }

    /// Tells the engine the role that the settings give.
    pub fn take_role(&mut self) {
        let role = match self.folder.config().role {
            syncd_home::Role::SendReceive => Role::SendReceive,
            syncd_home::Role::SendOnly => Role::SendOnly,
            syncd_home::Role::ReceiveOnly => Role::ReceiveOnly,
        };
        self.tell(Event::RoleIs { role });
    }

    /// Pauses or resumes the folder.
    pub fn pause(&mut self, paused: bool) {
        self.tell(Event::Paused { paused });
    }

    fn notice(&self, notice: Notice) {
        let id = self.folder.id();
        if notice == Notice::Joined {
            join::is_over(&self.daemon.ledger, id);
        }
        if notice == Notice::Steady {
            stops::is_steady(&self.daemon.ledger, id);
        }
        let name_of = |device| self.daemon.name_of(device);
        self.daemon.tell(notices::happening(id, &self.parts.root, name_of, notice));
    }

    /// Tells whether `path` is synced here by the rules.
    #[must_use]
    pub fn is_synced(&self, path: &RelPath, is_dir: bool) -> bool {
        self.parts.scope.synced(path, is_dir)
    }
}
