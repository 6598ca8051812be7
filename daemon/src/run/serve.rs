//! Pulling, the answering half: a peer gets bytes of the folders it shares, and no others.
//!
//! # Invariants
//! - Bytes go out only for a path that the index holds live with that content, checked against
//!   their ids as they are read: what rotted or changed on the disk is not handed on.
//! - A peer that takes no answers holds up nobody else: it has turns of its own, and while its lane
//!   is full it gives back the one that all share.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use syncd_core::flow::digest::{BlockList, Cutter, average_for};
use syncd_core::flow::index::{Index, Known};
use syncd_core::model::limits::{OFFER_RECORDS_MAX, WHOLE_BYTES_MAX};
use syncd_core::model::{BlockId, ContentId, Entry, Kind, Record, RelPath, Standing};
use syncd_core::protocol::{self, Body, Frame, Have, List, Listed, Need, Want, WantedItem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Daemon;
use super::folder::links::small_content;
use super::folder::{Folder, Parts};
use super::session::Peer;
use crate::world::net::{Lane, NotSent};

/// Answers are sent when they hold so many bytes.
const FRAME_BYTES: usize = 512 << 10;

/// How often it is asked whether a folder has been looked at as a whole.
const SURVEY_POLL: Duration = Duration::from_millis(50);

/// Items or ranges that one request may name.
const ITEMS_MAX: usize = 4096;

/// Answers a request; the answers go out as they are read. Waits while the peer takes none.
pub(super) async fn serve(
    daemon: &Arc<Daemon>,
    peer: &Arc<Peer>,
    folder: Option<&Folder>,
    want: Want,
) {
    let parts = folder.and_then(Folder::parts);
    let (daemon, peer) = (Arc::clone(daemon), Arc::clone(peer));
    let handle = tokio::runtime::Handle::current();
    let place = Arc::clone(&peer.bounds.serving).acquire_owned().await;
    let turn = Arc::clone(&daemon.serving).acquire_owned().await.ok();
    tokio::task::spawn_blocking(move || {
        let serving = &daemon.serving;
        let (haves, bytes) = (Vec::new(), 0);
        let mut answer = Answer { peer: &peer, handle: &handle, serving, turn, haves, bytes };
        for (at, item) in (0..).zip(want.items.into_iter().take(ITEMS_MAX)) {
            let mut say = |body| answer.say(Have { request: want.request, item: at, body });
            let served = match &parts {
                Some(parts) => serve_item(&daemon, parts, &item, &mut say),
                None => None,
            };
            if served.is_none() {
                say(Body::NotThere);
            }
        }
        answer.flush();
        drop(place);
    });
}

/// Answers what lies in a folder here, up to a frame's worth, once it has been looked at as a
/// whole. A folder that is not shared, or not for now, has nothing.
pub(super) async fn list(
    daemon: Arc<Daemon>,
    peer: Arc<Peer>,
    folder: Option<Folder>,
    list: List,
    place: Option<OwnedSemaphorePermit>,
) {
    let parts = folder.and_then(|folder| folder.parts());
    let unseen = |parts: &Parts| parts.index.marks().is_ok_and(|marks| !marks.surveyed);
    while parts.as_ref().is_some_and(unseen) && !peer.out.is_closed() {
        tokio::time::sleep(SURVEY_POLL).await;
    }
    let turn = Arc::clone(&daemon.serving).acquire_owned().await;
    let listed = tokio::task::block_in_place(|| parts.and_then(|parts| part_after(&parts, &list)));
    drop(turn);
    let nothing = || Listed { request: list.request, records: Vec::new(), next: None };
    let frame = Frame::Listed(listed.unwrap_or_else(nothing));
    // A session that is over needs no answers.
    let _ = peer.send(Lane::Data, &frame).await;
    drop(place);
}

/// Returns what lies here and changed after a place in the log, and from where to go on.
fn part_after(parts: &Parts, list: &List) -> Option<Listed> {
    let changes = parts.index.changes(list.after, OFFER_RECORDS_MAX).ok()?;
    let next = changes.last().filter(|_| changes.len() == OFFER_RECORDS_MAX).map(|(seq, _)| *seq);
    let mut records = Vec::with_capacity(changes.len());
    for (_, path) in changes {
        let entry = parts.index.get(&path).ok()?;
        let lies_here = |e: &Entry| e.record.is_live() && e.local.standing == Standing::Settled;
        records.extend(entry.filter(lies_here).map(|entry| (path, entry.record)));
    }
    Some(Listed { request: list.request, records, next })
}

/// Answers on their way into frames.
struct Answer<'a> {
    peer: &'a Peer,
    handle: &'a tokio::runtime::Handle,
    serving: &'a Arc<Semaphore>,
    turn: Option<OwnedSemaphorePermit>,
    haves: Vec<Have>,
    bytes: usize,
}

impl Answer<'_> {
    fn say(&mut self, have: Have) {
        self.bytes += match &have.body {
            Body::Whole(bytes) | Body::Range { bytes, .. } => bytes.len() + 32,
            Body::Blocks(list) => list.blocks.len() * 36,
            Body::NotThere => 16,
        };
        self.haves.push(have);
        if self.bytes >= FRAME_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.haves.is_empty() {
            return;
        }
        self.bytes = 0;
        let frame = Frame::Have(std::mem::take(&mut self.haves));
        let bytes = Bytes::from(protocol::encode(&frame));
        // A session that is over needs no answers.
        if self.peer.out.try_send(Lane::Data, bytes.clone()) == Err(NotSent::Full) {
            self.turn = None;
            let sent = self.handle.block_on(self.peer.out.send(Lane::Data, bytes));
            let again = Arc::clone(self.serving).acquire_owned();
            self.turn = sent.ok().and_then(|()| self.handle.block_on(again).ok());
        }
    }
}

fn serve_item(
    daemon: &Daemon,
    parts: &Parts,
    item: &WantedItem,
    say: &mut dyn FnMut(Body),
) -> Option<()> {
    let (place, record) = source(parts, item)?;
    match &item.need {
        Need::Whole if record.size <= WHOLE_BYTES_MAX => {
            say(Body::Whole(place.small(parts, &record)?));
            Some(())
        }
        Need::Whole => None,
        Need::Blocks => {
            let list = block_list(daemon, parts, &place, &record)?;
            // A longer list would make a frame that ends the session.
            let fits = list.blocks.len() <= protocol::limits::BLOCKS_MAX;
            fits.then(|| say(Body::Blocks(list)))
        }
        Need::Ranges(ranges) => {
            let list = block_list(daemon, parts, &place, &record)?;
            let blocks: BTreeMap<u64, (u32, BlockId)> =
                list.placed().map(|(offset, block)| (offset, (block.size, block.id))).collect();
            let file = place.open(parts, &record)?;
            for (offset, size) in ranges.iter().take(ITEMS_MAX) {
                let (known, id) = blocks.get(offset)?;
                if known != size {
                    return None;
                }
                let mut bytes = vec![0; *size as usize];
                file.read_exact_at(&mut bytes, *offset).ok()?;
                if BlockId::of(&bytes) != *id {
                    return None;
                }
                say(Body::Range { offset: *offset, bytes });
            }
            Some(())
        }
    }
}

/// Where bytes are read from.
enum Place {
    /// A path of the folder.
    At(RelPath),
    /// What is kept for others, since this disk cannot hold it at its path.
    Kept,
}

impl Place {
    fn open(&self, parts: &Parts, record: &Record) -> Option<std::fs::File> {
        let fd = match self {
            Self::At(path) => parts.root.open_file(path).ok()?,
            Self::Kept => parts.hands.open_kept(record.content)?,
        };
        Some(std::fs::File::from(fd))
    }

    fn small(&self, parts: &Parts, record: &Record) -> Option<Vec<u8>> {
        let Self::At(path) = self else {
            let mut bytes = vec![0; usize::try_from(record.size).ok()?];
            self.open(parts, record)?.read_exact_at(&mut bytes, 0).ok()?;
            return (ContentId::of(&bytes) == record.content).then_some(bytes);
        };
        small_content(parts, path, record)
    }
}

/// Finds a path that holds the wanted content: the one named, or another.
fn source(parts: &Parts, item: &WantedItem) -> Option<(Place, Record)> {
    let fits = |path: RelPath| {
        let entry = parts.index.get(&path).ok()??;
        let record = entry.record;
        let same = record.kind == item.kind && record.content == item.content;
        let place = match entry.local.standing {
            Standing::Settled | Standing::Withheld => Place::At(path),
            Standing::Unsupported => Place::Kept,
            Standing::Ignored | Standing::Refused | Standing::Evicted => return None,
        };
        same.then_some((place, record))
    };
    if let Some(found) = fits(item.path.clone()) {
        return Some(found);
    }
    if item.kind != Kind::File {
        return None;
    }
    parts.index.holders(item.content, 4).ok()?.into_iter().find_map(fits)
}

/// Returns the block list of a file, cutting it if it is not kept.
fn block_list(daemon: &Daemon, parts: &Parts, place: &Place, record: &Record) -> Option<BlockList> {
    if let Ok(Some(list)) = daemon.store.blocks(record.content) {
        return Some(list);
    }
    let average = average_for(record.size, None)?;
    let file = place.open(parts, record)?;
    let mut cutter = Cutter::new(average);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        let count = file.read_at(&mut buffer, offset).ok()?;
        if count == 0 {
            break;
        }
        cutter.feed(&buffer[..count]);
        hasher.update(&buffer[..count]);
        offset += count as u64;
    }
    let list = cutter.finish();
    let whole = ContentId(*hasher.finalize().as_bytes()) == record.content;
    if whole && let Err(error) = daemon.store.put_blocks(record.content, &list) {
        tracing::warn!(%error, "a block list was not kept");
    }
    whole.then_some(list)
}
