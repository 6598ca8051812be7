//! One folder at work: a thread around the engine, and workers for what takes time.
//!
//! The thread owns the engine and its index. Everything that happens reaches it as a [`Note`], in
//! one queue; everything the engine orders goes to a worker and comes back as a note.
//!
//! # Invariants
//! - Nothing that waits for a disk or a peer runs on the folder's thread, but for the index.
//! - Notes are taken in the order they came.

mod bases;
mod begin;
mod confirm;
mod here;
pub mod join;
pub mod links;
pub mod lives;
mod looks;
mod notices;
mod rules;
mod settings;
mod settles;
mod stops;
mod thread;
mod worker;

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use syncd_core::engine::{Event, FolderHello, LookId};
use syncd_core::flow::offer::{Lane, Offer};
use syncd_core::model::{Counter, DeviceId, FolderId, Incarnation, RelPath, Seq, StatKey};
use syncd_core::protocol::Tag;
use syncd_home::FolderConfig;
use tokio::sync::{mpsc, oneshot};

pub use begin::begin;
pub use confirm::HeldRules;
#[doc(hidden)]
pub use confirm::decode_again as rule_texts_again;
pub use here::Here;
pub(super) use rules::gives_git_orders;
pub use rules::{BadRules, FolderScope};
pub use settings::take as take_settings;
pub use thread::FolderThread;

use crate::flow::detect::{Heard, LookReport};
use crate::flow::index::{FolderIndex, IntentBatch};
use crate::flow::settle::Hands;
use crate::run::bounds::Room;
use crate::world::disk::{Root, Single};
use crate::world::net::Outbox;

/// How often a thread that is to end is asked whether it has.
const ENDED_STEP: Duration = Duration::from_millis(5);

/// What a folder's thread hears.
pub enum Note {
    /// A fact for the engine.
    Event(Event),
    /// A fact that a peer told, and the room it takes until it is looked at.
    FromPeer(Event, Room),
    /// Facts for the engine that belong together, and the intents behind them.
    Settled(Event, Option<IntentBatch>),
    /// The watcher heard something.
    Heard(Heard),
    /// A look is over.
    Looked(LookId, LookReport),
    /// A peer said it shares the folder: news for it goes to `link`.
    PeerUp {
        /// Who.
        peer: DeviceId,
        /// Where it stands.
        hello: FolderHello,
        /// Where news for it goes.
        link: Link,
        /// Our greatest counters that it has seen in this folder, by incarnation.
        seen_of_us: Vec<(Incarnation, Counter)>,
    },
    /// Scan everything; answered when done.
    Scan(oneshot::Sender<LookReport>),
    /// Answer once everything that happened before this is in the index.
    Settle(oneshot::Sender<Seq>),
    /// All bytes on the root's disk were durable after our log had come this far.
    BytesDurable(Seq),
    /// Somebody wants to know or do something with the engine at hand.
    Ask(Box<dyn FnOnce(&mut FolderThread) + Send>),
    /// End.
    Stop,
}

/// Where news for a peer goes: taken in order by a task that knows the peer's session.
#[derive(Clone)]
pub struct Link {
    /// The frames' tag.
    pub tag: Tag,
    /// News, to be encoded and sent.
    pub out: mpsc::Sender<Out>,
    /// The session, which ends when the peer takes no news.
    pub session: Outbox,
}

/// News for a peer.
pub enum Out {
    /// Send an offer.
    Offer(Tag, Lane, Offer),
    /// Acknowledge frames, and say which are put aside.
    Ack(Tag, Vec<(u64, u64)>, Vec<(u64, u64)>, u64),
    /// Bring a content.
    Fetch(super::fetch::Fetch),
    /// End the session: the peer breaks the protocol.
    Cut(&'static str),
}

/// A folder at work, as others see it. Clones are the same folder.
#[derive(Clone)]
pub struct Folder {
    inner: Arc<Inner>,
}

struct Inner {
    id: FolderId,
    config: RwLock<FolderConfig>,
    notes: Sender<Note>,
    parts: RwLock<Option<Parts>>,
    standing: Mutex<Standing>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What a folder has once its root is there.
#[derive(Clone)]
pub struct Parts {
    /// The root.
    pub root: Root,
    /// The hands on it.
    pub hands: Hands,
    /// The index, to read.
    pub index: FolderIndex,
    /// The rules.
    pub scope: Arc<FolderScope>,
}

/// How a folder stands, as far as its engine does not know.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Why the root is not used; empty while it is.
    pub halted: Option<String>,
    /// What looks could not look at, and what cannot be synced.
    pub problems: BTreeMap<RelPath, (String, String)>,
    /// Whether the root's file system takes no writes now.
    pub read_only: bool,
    /// Files that hold other bytes than were written to them, as they were when they were read.
    pub damaged: BTreeMap<RelPath, StatKey>,
    /// Scans under way.
    pub scanning: usize,
    /// Directories watched.
    pub watched: usize,
    /// Why some are not watched.
    pub unwatched: Option<String>,
    /// What is wrong with the rule files.
    pub bad_rules: Option<BadRules>,
    /// Another device's rules, if they wait for a person.
    pub held_rules: Option<HeldRules>,
}

impl Standing {
    /// Takes note of what a look could not look at. What was wrong where it looked is over.
    fn take_problems(&mut self, report: &LookReport) {
        if !self.problems.is_empty() {
            self.problems.retain(|path, _| !report.covers(path));
        }
        for problem in &report.problems {
            let text = (problem.what.clone(), problem.advice.to_owned());
            self.problems.insert(problem.path.clone(), text);
        }
        for (path, odd) in &report.unsupported {
            let text = (odd.to_string(), "ignore it in .stignore".to_owned());
            self.problems.insert(path.clone(), text);
        }
    }
}

impl Folder {
    fn new(config: FolderConfig, notes: Sender<Note>) -> Self {
        Self {
            inner: Arc::new(Inner {
                id: config.id.clone(),
                config: RwLock::new(config),
                notes,
                parts: RwLock::default(),
                standing: Mutex::default(),
                thread: Mutex::default(),
            }),
        }
    }

    /// Returns the folder's id.
    #[must_use]
    pub fn id(&self) -> &FolderId {
        &self.inner.id
    }

    /// Returns the settings as they are now.
    #[must_use]
    pub fn config(&self) -> FolderConfig {
        self.inner.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the names of a single-file folder; `None` for a directory. Where its root is not
    /// held, what lies at its path tells. Blocks then.
    #[must_use]
    pub fn single(&self) -> Option<Single> {
        match self.parts() {
            Some(parts) => parts.root.single().cloned(),
            None => begin::single_at(&self.config()),
        }
    }

    /// Takes new settings.
    pub fn set_config(&self, config: FolderConfig) {
        *self.inner.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Returns root, hands and index; `None` while the root is not there.
    #[must_use]
    pub fn parts(&self) -> Option<Parts> {
        self.inner.parts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_parts(&self, parts: Option<Parts>) {
        *self.inner.parts.write().unwrap_or_else(PoisonError::into_inner) = parts;
    }

    /// Returns how it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.with_standing(|standing| standing.clone())
    }

    fn with_standing<T>(&self, act: impl FnOnce(&mut Standing) -> T) -> T {
        act(&mut self.inner.standing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes what a scrub found damaged, and returns what was known to be before.
    pub(super) fn set_damaged(
        &self,
        damaged: BTreeMap<RelPath, StatKey>,
    ) -> BTreeMap<RelPath, StatKey> {
        self.with_standing(|standing| std::mem::replace(&mut standing.damaged, damaged))
    }

    /// Tells the folder's thread something. A thread that has ended hears nothing.
    pub fn note(&self, note: Note) {
        let _ = self.inner.notes.send(note);
    }

    /// Runs `act` on the folder's thread and returns what it returns; `None` when the folder has
    /// ended or its root is not there.
    pub async fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut FolderThread) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.note(Note::Ask(Box::new(move |thread| {
            // Whoever asked may have gone; then nobody needs the answer.
            let _ = sender.send(act(thread));
        })));
        answer.await.ok()
    }

    /// Scans everything and returns the report; `None` when the folder cannot be looked at.
    pub async fn scan(&self) -> Option<LookReport> {
        let (sender, answer) = oneshot::channel();
        self.note(Note::Scan(sender));
        answer.await.ok()
    }

    /// Waits until everything that happened in the folder before this call is in the index and
    /// durable, and returns the last sequence then; `None` when the folder cannot be looked at.
    pub async fn settle(&self) -> Option<Seq> {
        let (sender, answer) = oneshot::channel();
        self.note(Note::Settle(sender));
        answer.await.ok()
    }

    /// Ends the folder's thread. Users' files stay as they are.
    pub fn stop(&self) {
        self.note(Note::Stop);
    }

    /// Waits, at most until `until`, for the thread to have ended after [`Folder::stop`]; `false`
    /// if it has not.
    #[must_use]
    pub fn has_ended(&self, until: Instant) -> bool {
        let thread = self.inner.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = thread.as_ref() else { return true };
        while !thread.is_finished() && Instant::now() < until {
            std::thread::sleep(ENDED_STEP);
        }
        thread.is_finished()
    }

    fn set_thread(&self, thread: JoinHandle<()>) {
        *self.inner.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    }
}
