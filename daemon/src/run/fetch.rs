//! Pulling, the asking half: wanted contents come into staging, from what lies here or from the
//! peer, block by block and verified.
//!
//! # Invariants
//! - Nothing is asked of a peer that lies here: in staging, in the trash, in a file of the
//!   folder, in the last version of the path.
//! - At most [`WANTED_BYTES_MAX`] are asked for and not yet come.

mod large;

use std::collections::BTreeMap;
use std::sync::Arc;

use syncd_core::engine::{Event, PullError};
use syncd_core::flow::settle::Ticket;
use syncd_core::model::limits::{WANTED_BYTES_MAX, WHOLE_BYTES_MAX};
use syncd_core::model::{ContentId, FolderId, Kind, RelPath};
use syncd_core::protocol::{Body, Have, Need, WantedItem};
use tokio::sync::{Semaphore, mpsc};

use crate::flow::index::Store;
use crate::flow::settle::StageError;
use crate::run::bounds::Room;
use crate::run::folder::{Folder, Here, Note, Parts};
use crate::run::session::Peer;

/// Small contents asked for in one frame.
const BATCH_ITEMS_MAX: usize = 256;

/// Bytes of small contents asked for in one frame.
const BATCH_BYTES_MAX: u64 = 1 << 20;

/// Large contents fetched at a time from one peer.
const LARGE_AT_ONCE: usize = 4;

/// How often a holder that is being moved is looked for.
const MOVING_TRIES: usize = 10;

/// How long between two looks: a move takes a few system calls and an fsync.
const MOVING_WAIT: std::time::Duration = std::time::Duration::from_millis(10);

/// What a wanted content costs in the window, beside its bytes.
const ITEM_COST: u64 = 512;

/// One content that the engine wants.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// Repeated in the answer.
    pub ticket: Ticket,
    /// Where the peer offered it.
    pub path: RelPath,
    /// File or symlink.
    pub kind: Kind,
    /// The bytes.
    pub content: ContentId,
    /// Their count.
    pub size: u64,
}

/// Fetches for one folder from one peer. Clones are the same.
#[derive(Clone)]
pub struct Fetcher {
    inner: Arc<Inner>,
}

struct Inner {
    folder: Folder,
    parts: Parts,
    store: Store,
    peer: Arc<Peer>,
    window: Arc<Semaphore>,
    large: Arc<Semaphore>,
    turns: large::Turns,
}

impl Fetcher {
    /// Makes a fetcher.
    #[must_use]
    pub fn new(folder: Folder, parts: Parts, store: Store, peer: Arc<Peer>) -> Self {
        let window = usize::try_from(WANTED_BYTES_MAX >> 10).unwrap_or(usize::MAX);
        Self {
            inner: Arc::new(Inner {
                folder,
                parts,
                store,
                peer,
                window: Arc::new(Semaphore::new(window)),
                large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
                turns: large::Turns::default(),
            }),
        }
    }

    /// Brings contents into staging; each is answered by [`Event::Fetched`].
    pub fn fetch(&self, wanted: Vec<Fetch>) {
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            let local = Arc::clone(&inner);
            let remote = tokio::task::spawn_blocking(move || {
                wanted.into_iter().filter(|fetch| !local.is_here(fetch)).collect::<Vec<_>>()
            })
            .await
            .unwrap_or_default();
            let (small, large): (Vec<_>, Vec<_>) =
                remote.into_iter().partition(|f| f.size <= WHOLE_BYTES_MAX);
            for fetch in large {
                let inner = Arc::clone(&inner);
                tokio::spawn(async move { inner.large(fetch).await });
            }
            inner.small(small).await;
        });
    }
}

impl Inner {
    fn answer(&self, ticket: Ticket, outcome: Result<(), PullError>) {
        self.folder.note(Note::Event(Event::Fetched { ticket, outcome }));
    }

    /// Stages what lies here; answers and returns `true` if that was all.
    fn is_here(&self, fetch: &Fetch) -> bool {
        let found = match fetch.size {
            0 => self.parts.hands.put_small(fetch.content, &[]).is_ok(),
            _ => self.stage_from_here(fetch.content),
        };
        if found {
            self.answer(fetch.ticket, Ok(()));
        }
        found
    }

    /// Stages a content from what lies here. A holder that is on its way into the trash right now
    /// is in neither place for a moment: then it is looked for again.
    fn stage_from_here(&self, content: ContentId) -> bool {
        for _ in 0..MOVING_TRIES {
            match self.parts.stage_from_here(content) {
                Here::Staged => return true,
                Here::Nowhere => return false,
                Here::Moving => std::thread::sleep(MOVING_WAIT),
            }
        }
        false
    }

    /// Fetches small contents, many to a frame.
    async fn small(self: &Arc<Self>, mut wanted: Vec<Fetch>) {
        while !wanted.is_empty() {
            let mut bytes = 0;
            let mut count = 0;
            while count < wanted.len() && count < BATCH_ITEMS_MAX && bytes < BATCH_BYTES_MAX {
                bytes += wanted[count].size + ITEM_COST;
                count += 1;
            }
            let batch: Vec<Fetch> = wanted.drain(..count).collect();
            let cost = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
            let Ok(permit) = Arc::clone(&self.window).acquire_many_owned(cost).await else {
                return;
            };
            let inner = Arc::clone(self);
            tokio::spawn(async move {
                inner.small_batch(batch).await;
                drop(permit);
            });
        }
    }

    async fn small_batch(self: Arc<Self>, batch: Vec<Fetch>) {
        let items = batch.iter().map(|f| item(f, Need::Whole)).collect();
        let mut open: BTreeMap<u32, Fetch> = (0..).zip(batch).collect();
        if let Some(mut answers) = self.ask(items).await {
            while !open.is_empty() {
                let Some(haves) = answers.recv().await else { break };
                let came: Vec<(Fetch, Body)> = haves
                    .into_iter()
                    .filter_map(|have| Some((open.remove(&have.item)?, have.body)))
                    .collect();
                let inner = Arc::clone(&self);
                // A worker that panicked leaves fetches unanswered; the next session asks again.
                let _ = tokio::task::spawn_blocking(move || {
                    for (fetch, body) in came {
                        let outcome = inner.stage_whole(&fetch, body);
                        inner.answer(fetch.ticket, outcome);
                    }
                })
                .await;
            }
            self.peer.forget(&answers);
        }
        for fetch in open.into_values() {
            self.answer(fetch.ticket, Err(PullError::PeerGone));
        }
    }

    fn stage_whole(&self, fetch: &Fetch, body: Body) -> Result<(), PullError> {
        match body {
            Body::Whole(bytes) => {
                match self.parts.hands.put_small(fetch.content, &bytes) {
                    // Another fetch stages the same content.
                    Err(StageError::Busy { .. }) if self.parts.hands.has(fetch.content) => Ok(()),
                    staged => staged.map_err(|error| pull_error(&error)),
                }
            }
            Body::NotThere => Err(PullError::NotThere),
            Body::Blocks(_) | Body::Range { .. } => Err(PullError::Wrong),
        }
    }

    async fn ask(&self, items: Vec<WantedItem>) -> Option<Answers> {
        self.peer.want(self.folder_id(), items).await
    }

    fn folder_id(&self) -> FolderId {
        self.folder.id().clone()
    }
}

/// Answers to one request, as they come.
pub struct Answers {
    /// The request.
    pub request: u64,
    /// The answers.
    pub came: mpsc::UnboundedReceiver<Came>,
}

/// Answers of one frame.
pub struct Came {
    /// The answers.
    pub haves: Vec<Have>,
    /// The frame's room, given back once all of its answers are taken up.
    pub room: Arc<Room>,
}

impl Answers {
    async fn recv(&mut self) -> Option<Vec<Have>> {
        let Came { haves, room } = self.came.recv().await?;
        drop(room);
        Some(haves)
    }
}

fn item(fetch: &Fetch, need: Need) -> WantedItem {
    WantedItem { path: fetch.path.clone(), kind: fetch.kind, content: fetch.content, need }
}

fn pull_error(error: &StageError) -> PullError {
    match error {
        StageError::NoRoom { .. } => PullError::NoRoom,
        StageError::WrongContent { .. } | StageError::TooLong { .. } => PullError::Wrong,
        StageError::Busy { .. }
        | StageError::Missing { .. }
        | StageError::Local(_)
        | StageError::Refused { .. } => PullError::Disk,
    }
}
