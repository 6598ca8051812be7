//! Pulling, the asking half: wanted contents come into staging, from what lies here or from the
//! peer, block by block and verified.
//!
//! # Invariants
//! - Nothing is asked of a peer that lies here: in staging, in the trash, in a file of the
//!   folder, in the last version of the path.
//! - At most [`WANTED_BYTES_MAX`] are asked for and not yet come.

use std::collections::BTreeMap;
use std::sync::Arc;

use syncd_core::engine::{Event, PullError};
use syncd_core::flow::digest::{self, BlockList, Source};
use syncd_core::flow::index::{Index, Known};
use syncd_core::flow::settle::Ticket;
use syncd_core::model::limits::{WANTED_BYTES_MAX, WHOLE_BYTES_MAX};
use syncd_core::model::{BlockId, ContentId, FolderId, Kind, RelPath};
use syncd_core::protocol::{Body, Have, Need, WantedItem};
use tokio::sync::{Semaphore, mpsc};

use crate::flow::index::Store;
use crate::flow::settle::{StageError, StagedWriter};
use crate::run::folder::{Folder, Note, Parts};
use crate::run::session::Peer;

/// Small contents asked for in one frame.
const BATCH_ITEMS_MAX: usize = 256;

/// Bytes of small contents asked for in one frame.
const BATCH_BYTES_MAX: u64 = 1 << 20;

/// Bytes of ranges asked for in one frame.
const RANGES_BYTES_MAX: u64 = 2 << 20;

/// Large contents fetched at a time from one peer.
const LARGE_AT_ONCE: usize = 4;

/// How often a holder that is being moved is looked for.
const MOVING_TRIES: usize = 10;

/// How long between two looks: a move takes a few system calls and an fsync.
const MOVING_WAIT: std::time::Duration = std::time::Duration::from_millis(10);

/// What a wanted content costs in the window, beside its bytes.
const ITEM_COST: u64 = 512;

/// A block that must come from the peer: its offset, its size and its id.
type Missing = (u64, u32, BlockId);

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
        let hands = &self.parts.hands;
        let content = fetch.content;
        let found = hands.has(content)
            || fetch.kind == Kind::File && fetch.size > 0 && self.stage_from_here(content)
            || hands.from_trash(content).is_ok()
            || hands.from_kept(content).is_ok()
            || fetch.size == 0 && hands.put_small(content, &[]).is_ok();
        if found {
            self.answer(fetch.ticket, Ok(()));
        }
        found
    }

    /// Stages a content from a file that holds it, or from the trash. A holder that is on its way
    /// into the trash right now (the other half of a rename) is in neither place for a moment:
    /// then both are asked again.
    fn stage_from_here(&self, content: ContentId) -> bool {
        let hands = &self.parts.hands;
        // What the index knows and never placed, or a person wants back, lies nowhere here.
        let is_placed = |path: &RelPath| {
            let entry = self.parts.index.get(path).ok().flatten();
            entry.is_some_and(|entry| entry.local.is_here())
        };
        for _ in 0..MOVING_TRIES {
            let mut holders = self.parts.index.holders(content, 4).unwrap_or_default();
            holders.retain(is_placed);
            if holders.iter().any(|path| hands.from_local(path, content).is_ok())
                || hands.from_trash(content).is_ok()
            {
                return true;
            }
            if holders.is_empty() {
                return false;
            }
            std::thread::sleep(MOVING_WAIT);
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

    async fn large(self: Arc<Self>, fetch: Fetch) {
        let Ok(_turn) = Arc::clone(&self.large).acquire_owned().await else { return };
        let outcome = self.large_content(&fetch).await;
        if let Err(error) = &outcome {
            tracing::debug!(path = %fetch.path, %error, "a content did not come");
        }
        self.answer(fetch.ticket, outcome);
    }

    async fn large_content(self: &Arc<Self>, fetch: &Fetch) -> Result<(), PullError> {
        let list = self.block_list(fetch).await?;
        let inner = Arc::clone(self);
        let (job, wanted) = (fetch.clone(), list.clone());
        let prepared = tokio::task::spawn_blocking(move || inner.prepare(&job, &wanted)).await;
        let (writer, missing) = prepared.unwrap_or(Err(PullError::Disk))?;
        let writer = Arc::new(writer);
        self.ranges(fetch, missing, &writer).await?;
        let finished = tokio::task::spawn_blocking(move || match Arc::into_inner(writer) {
            Some(writer) => writer.finish().map_err(|error| pull_error(&error)),
            None => Err(PullError::Disk),
        });
        finished.await.unwrap_or(Err(PullError::Disk))?;
        if let Err(error) = self.store.put_blocks(fetch.content, &list) {
            tracing::warn!(%error, "a block list was not kept");
        }
        Ok(())
    }

    async fn block_list(&self, fetch: &Fetch) -> Result<BlockList, PullError> {
        if let Ok(Some(list)) = self.store.blocks(fetch.content)
            && list.is_sound(fetch.size)
        {
            return Ok(list);
        }
        let mut answers =
            self.ask(vec![item(fetch, Need::Blocks)]).await.ok_or(PullError::PeerGone)?;
        let have = answers.recv().await.and_then(|haves| haves.into_iter().next());
        self.peer.forget(&answers);
        match have.map(|have| have.body) {
            Some(Body::Blocks(list)) if list.is_sound(fetch.size) => Ok(list),
            Some(Body::NotThere) => Err(PullError::NotThere),
            Some(Body::Blocks(_) | Body::Whole(_) | Body::Range { .. }) => Err(PullError::Wrong),
            None => Err(PullError::PeerGone),
        }
    }

    /// Opens the staged file and fills it with the blocks that lie here; returns the rest.
    fn prepare(
        &self,
        fetch: &Fetch,
        list: &BlockList,
    ) -> Result<(StagedWriter, Vec<Missing>), PullError> {
        let zeros = digest::zero_block(list.average_bytes);
        let is_zero = |block: &Missing| (block.1, block.2) == (zeros.size, zeros.id);
        let mut missing: Vec<Missing> =
            list.placed().map(|(offset, block)| (offset, block.size, block.id)).collect();
        let zero_bytes: u64 = missing.iter().filter(|b| is_zero(b)).map(|b| u64::from(b.1)).sum();
        let needed_bytes = fetch.size - zero_bytes.min(fetch.size);
        let begun = self.parts.hands.begin_sparse(fetch.content, fetch.size, needed_bytes);
        let writer = begun.map_err(|error| pull_error(&error))?;
        if writer.is_resumed() {
            missing.retain(|(offset, size, id)| !holds(&writer, *offset, *size, *id));
        } else {
            // What is never written reads as zeros.
            missing.retain(|block| !is_zero(block));
        }
        if let Some(old) = self.old_version(fetch) {
            let sources: BTreeMap<u64, Source> =
                list.placed().map(|(offset, _)| offset).zip(digest::reuse(list, &old.1)).collect();
            missing.retain(|(offset, size, id)| match sources.get(offset) {
                Some(Source::Here { offset: from }) => {
                    !copies(&old.0, *from, &writer, *offset, *size, *id)
                }
                Some(Source::Elsewhere) | None => true,
            });
        }
        Ok((writer, missing))
    }

    /// Returns the file that lies at the path now, with its blocks.
    fn old_version(&self, fetch: &Fetch) -> Option<(std::fs::File, BlockList)> {
        let entry = self.parts.index.get(&fetch.path).ok()??;
        let list = self.store.blocks(entry.record.content).ok()??;
        let fd = self.parts.root.open_file(&fetch.path).ok()?;
        Some((std::fs::File::from(fd), list))
    }

    /// Fetches the missing blocks, several frames under way at once.
    async fn ranges(
        self: &Arc<Self>,
        fetch: &Fetch,
        missing: Vec<Missing>,
        writer: &Arc<StagedWriter>,
    ) -> Result<(), PullError> {
        let mut parts = tokio::task::JoinSet::new();
        let mut rest = missing.into_iter().peekable();
        while rest.peek().is_some() {
            let mut group = Vec::new();
            let mut bytes = 0;
            while bytes < RANGES_BYTES_MAX
                && let Some(block) = rest.next()
            {
                bytes += u64::from(block.1);
                group.push(block);
            }
            let cost = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
            let permit = Arc::clone(&self.window).acquire_many_owned(cost).await;
            let permit = permit.map_err(|_| PullError::PeerGone)?;
            while let Some(done) = parts.try_join_next() {
                done.unwrap_or(Err(PullError::Disk))?;
            }
            let (inner, fetch, writer) = (Arc::clone(self), fetch.clone(), Arc::clone(writer));
            parts.spawn(async move {
                let done = inner.range_group(&fetch, group, writer).await;
                drop(permit);
                done
            });
        }
        while let Some(done) = parts.join_next().await {
            done.unwrap_or(Err(PullError::Disk))?;
        }
        Ok(())
    }

    async fn range_group(
        self: &Arc<Self>,
        fetch: &Fetch,
        group: Vec<Missing>,
        writer: Arc<StagedWriter>,
    ) -> Result<(), PullError> {
        let ranges = group.iter().map(|(offset, size, _)| (*offset, *size)).collect();
        let mut open: BTreeMap<u64, (u32, BlockId)> =
            group.into_iter().map(|(offset, size, id)| (offset, (size, id))).collect();
        let wanted = vec![item(fetch, Need::Ranges(ranges))];
        let mut answers = self.ask(wanted).await.ok_or(PullError::PeerGone)?;
        let mut done = Ok(());
        while !open.is_empty() && done.is_ok() {
            done = match answers.recv().await {
                Some(haves) => {
                    tokio::task::block_in_place(|| take_ranges(haves, &mut open, &writer))
                }
                None => Err(PullError::PeerGone),
            };
        }
        self.peer.forget(&answers);
        done
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
    pub came: mpsc::UnboundedReceiver<Vec<Have>>,
}

impl Answers {
    async fn recv(&mut self) -> Option<Vec<Have>> {
        self.came.recv().await
    }
}

fn item(fetch: &Fetch, need: Need) -> WantedItem {
    WantedItem { path: fetch.path.clone(), kind: fetch.kind, content: fetch.content, need }
}

/// Writes blocks that came into the staged file, each checked against its id.
fn take_ranges(
    haves: Vec<Have>,
    open: &mut BTreeMap<u64, (u32, BlockId)>,
    writer: &StagedWriter,
) -> Result<(), PullError> {
    for have in haves {
        let (offset, bytes) = match have.body {
            Body::Range { offset, bytes } => (offset, bytes),
            Body::NotThere => return Err(PullError::NotThere),
            Body::Whole(_) | Body::Blocks(_) => return Err(PullError::Wrong),
        };
        let (size, id) = open.remove(&offset).ok_or(PullError::Wrong)?;
        if bytes.len() != size as usize || BlockId::of(&bytes) != id {
            return Err(PullError::Wrong);
        }
        writer.write_at(offset, &bytes).map_err(|error| pull_error(&error))?;
    }
    Ok(())
}

/// Tells whether a staged file holds a block already.
fn holds(writer: &StagedWriter, offset: u64, size: u32, id: BlockId) -> bool {
    let mut bytes = vec![0; size as usize];
    let read = read_whole(&mut bytes, |at, into| writer.read_at(offset + at, into).ok());
    read && BlockId::of(&bytes) == id
}

/// Copies a block of the old version, if it still is what the list says.
fn copies(
    old: &std::fs::File,
    from: u64,
    writer: &StagedWriter,
    to: u64,
    size: u32,
    id: BlockId,
) -> bool {
    let mut bytes = vec![0; size as usize];
    let read = read_whole(&mut bytes, |at, into| {
        std::os::unix::fs::FileExt::read_at(old, into, from + at).ok()
    });
    read && BlockId::of(&bytes) == id && writer.write_at(to, &bytes).is_ok()
}

fn read_whole(bytes: &mut [u8], read: impl Fn(u64, &mut [u8]) -> Option<usize>) -> bool {
    let mut done = 0;
    while done < bytes.len() {
        match read(done as u64, &mut bytes[done..]) {
            Some(count) if count > 0 => done += count,
            _ => return false,
        }
    }
    true
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
