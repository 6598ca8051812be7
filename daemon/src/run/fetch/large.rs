//! Large contents: block by block, most of them from what lies here already.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use syncd_core::engine::PullError;
use syncd_core::flow::digest::{self, BlockList, Source};
use syncd_core::flow::index::Known;
use syncd_core::flow::settle::Ticket;
use syncd_core::model::{BlockId, RelPath};
use syncd_core::protocol::{Body, Have, Need};
use tokio::sync::Notify;

use super::{Fetch, Inner, item, pull_error};
use crate::flow::settle::{LARGE_BYTES_MIN, StagedWriter};
use crate::world::disk::system;

/// Bytes of ranges asked for in one frame.
const RANGES_BYTES_MAX: u64 = 2 << 20;

/// A block that must come from the peer: its offset, its size and its id.
type Missing = (u64, u32, BlockId);

/// How often it is asked whether a path's turn has come, beside when one has ended.
const TURN_POLL: Duration = Duration::from_secs(1);

/// Which path's large content is being written, and which waits: one version of a path at a time.
#[derive(Default)]
pub(super) struct Turns {
    state: Mutex<TurnState>,
    ended: Notify,
}

#[derive(Default)]
struct TurnState {
    /// The latest fetch of each path that waits.
    newest: BTreeMap<RelPath, Ticket>,
    writing: BTreeSet<RelPath>,
}

impl Turns {
    fn locked(&self) -> MutexGuard<'_, TurnState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, path: &RelPath) {
        self.locked().writing.remove(path);
        self.ended.notify_waiters();
    }
}

impl TurnState {
    /// Takes the turn if it is free and `may` be taken, and tells so; `None` when a newer fetch
    /// waits for it.
    fn take(&mut self, fetch: &Fetch, may: bool) -> Option<bool> {
        if self.newest.get(&fetch.path) != Some(&fetch.ticket) {
            return None;
        }
        let taken = may && self.writing.insert(fetch.path.clone());
        if taken {
            self.newest.remove(&fetch.path);
        }
        Some(taken)
    }
}

/// The file that lies at a path now.
struct Old {
    file: std::fs::File,
    list: BlockList,
    /// Whether it is as the index last saw it.
    is_known: bool,
}

impl Inner {
    pub(super) async fn large(self: Arc<Self>, fetch: Fetch) {
        let outcome = match self.await_turn(&fetch).await {
            true => {
                let outcome = self.large_in_turn(&fetch).await;
                self.turns.end(&fetch.path);
                outcome
            }
            // Nobody waits for it any more.
            false => Err(PullError::NotThere),
        };
        self.parts.hands.left_unplaced(&fetch.path, fetch.content);
        if let Err(error) = &outcome {
            tracing::debug!(path = %fetch.path, %error, "a content did not come");
        }
        self.answer(fetch.ticket, outcome);
    }

    /// Waits until no other version of the path is being written and the path may take its share
    /// of the disk again; `false` when a newer version is wanted by then.
    async fn await_turn(&self, fetch: &Fetch) -> bool {
        self.turns.locked().newest.insert(fetch.path.clone(), fetch.ticket);
        loop {
            // Heard of from here on.
            let ended = self.turns.ended.notified();
            let mut wait = match fetch.size > LARGE_BYTES_MIN {
                true => self.parts.hands.share_wait(&fetch.path),
                false => Duration::ZERO,
            };
            match self.turns.locked().take(fetch, wait.is_zero()) {
                Some(taken) if taken => return true,
                Some(_) => wait = wait.max(TURN_POLL),
                None => return false,
            }
            tokio::select! {
                () = ended => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn large_in_turn(self: &Arc<Self>, fetch: &Fetch) -> Result<(), PullError> {
        let turn = Arc::clone(&self.large).acquire_owned().await;
        let _turn = turn.map_err(|_| PullError::PeerGone)?;
        let list = self.block_list(fetch).await?;
        let inner = Arc::clone(self);
        let (job, wanted) = (fetch.clone(), list.clone());
        let prepared = tokio::task::spawn_blocking(move || {
            inner.at_its_cost(&job, || inner.prepare(&job, &wanted))
        });
        let (writer, missing) = prepared.await.unwrap_or(Err(PullError::Disk))?;
        let writer = Arc::new(writer);
        self.ranges(fetch, missing, &writer).await?;
        let (inner, job) = (Arc::clone(self), fetch.clone());
        let finished = tokio::task::spawn_blocking(move || match Arc::into_inner(writer) {
            Some(writer) => {
                inner.at_its_cost(&job, || writer.finish()).map_err(|error| pull_error(&error))
            }
            None => Err(PullError::Disk),
        });
        finished.await.unwrap_or(Err(PullError::Disk))?;
        if let Err(error) = self.store.put_blocks(fetch.content, &list) {
            tracing::warn!(%error, "a block list was not kept");
        }
        Ok(())
    }

    /// Writes to the disk for a path, and lets that count for its share.
    fn at_its_cost<T>(&self, fetch: &Fetch, write: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let written = write();
        if fetch.size > LARGE_BYTES_MIN {
            self.parts.hands.wrote(&fetch.path, began.elapsed());
        }
        written
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
        let old = self.old_version(fetch);
        // What lies at the same place in the old version, where files can share blocks.
        let cloned = old.as_ref().filter(|old| old.is_known && self.parts.root.abilities().clone);
        let same: BTreeMap<u64, (u32, BlockId)> = cloned
            .iter()
            .flat_map(|old| old.list.placed())
            .map(|(offset, block)| (offset, (block.size, block.id)))
            .collect();
        let is_same = |block: &Missing| same.get(&block.0) == Some(&(block.1, block.2));
        let free = missing.iter().filter(|block| is_zero(block) || is_same(block));
        let free_bytes: u64 = free.map(|block| u64::from(block.1)).sum();
        let needed_bytes = fetch.size - free_bytes.min(fetch.size);
        self.parts.hands.take_over(&fetch.path, fetch.content);
        let begun = self.parts.hands.begin_sparse(fetch.content, fetch.size, needed_bytes);
        let writer = begun.map_err(|error| pull_error(&error))?;
        if writer.is_resumed() {
            missing.retain(|(offset, size, id)| !holds(&writer, *offset, *size, *id));
        } else if let Some(old) = cloned
            && system::clone_bytes(old.file.as_fd(), writer.fd()).is_ok()
        {
            missing.retain(|block| !is_same(block));
            let bytes = vec![0; zeros.size as usize];
            missing.retain(|b| !(is_zero(b) && writer.write_at(b.0, &bytes).is_ok()));
        } else {
            // What is never written reads as zeros.
            missing.retain(|block| !is_zero(block));
        }
        if let Some(old) = old {
            let sources: BTreeMap<u64, Source> = list
                .placed()
                .map(|(offset, _)| offset)
                .zip(digest::reuse(list, &old.list))
                .collect();
            missing.retain(|(offset, size, id)| match sources.get(offset) {
                Some(Source::Here { offset: from }) => {
                    !copies(&old.file, *from, &writer, *offset, *size, *id)
                }
                Some(Source::Elsewhere) | None => true,
            });
        }
        Ok((writer, missing))
    }

    /// Returns the file that lies at the path now, with its blocks.
    fn old_version(&self, fetch: &Fetch) -> Option<Old> {
        let entry = self.parts.index.get(&fetch.path).ok()??;
        let list = self.store.blocks(entry.record.content).ok()??;
        let fd = self.parts.root.open_file(&fetch.path).ok()?;
        let stat = system::stat_of(&fd).ok()?;
        let is_known = entry.local.seen == Some(system::key_of(&stat));
        Some(Old { file: std::fs::File::from(fd), list, is_known })
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
