//! The task that carries a folder's news to one peer: in order, at the peer's pace.

use std::sync::Arc;

use bytes::Bytes;
use syncd_core::flow::offer::{Lane as CoreLane, Offer};
use syncd_core::model::limits::{INLINE_BYTES_MAX, INLINE_IN_FLIGHT_BYTES_MAX};
use syncd_core::model::{ContentId, Kind, Record, RelPath};
use syncd_core::protocol::{self, Frame};
use tokio::sync::mpsc;

use super::{Out, Parts};
use crate::run::bounds::OUT_MAX;
use crate::run::fetch::{Fetch, Fetcher};
use crate::run::session::Peer;
use crate::world::net::{Gone, Lane};

/// Starts the task; it ends when the folder drops its link or the session is over.
pub fn start(peer: Arc<Peer>, parts: Parts, fetcher: Fetcher) -> mpsc::Sender<Out> {
    let (sender, mut orders) = mpsc::channel(OUT_MAX);
    tokio::spawn(async move {
        let mut wanted = Vec::new();
        loop {
            let next = match wanted.is_empty() {
                true => orders.recv().await,
                false => orders.try_recv().ok(),
            };
            let done = match next {
                Some(Out::Fetch(fetch)) => {
                    wanted.push(fetch);
                    continue;
                }
                Some(out) => carry(&peer, &parts, out).await,
                None if wanted.is_empty() => return,
                None => Ok(()),
            };
            flush(&fetcher, &mut wanted);
            if done.is_err() {
                return;
            }
        }
    });
    sender
}

fn flush(fetcher: &Fetcher, wanted: &mut Vec<Fetch>) {
    if !wanted.is_empty() {
        fetcher.fetch(std::mem::take(wanted));
    }
}

async fn carry(peer: &Peer, parts: &Parts, out: Out) -> Result<(), Gone> {
    match out {
        Out::Offer(tag, lane, offer) => {
            let inline = match lane {
                CoreLane::Interactive => tokio::task::block_in_place(|| inline_of(parts, &offer)),
                CoreLane::Bulk => Vec::new(),
            };
            let lane = match lane {
                CoreLane::Interactive => Lane::Interactive,
                CoreLane::Bulk => Lane::Bulk,
            };
            send(peer, lane, &Frame::Offer { tag, offer, inline }).await
        }
        Out::Ack(tag, frames, aside, sent) => {
            send(peer, Lane::Interactive, &Frame::Ack { tag, frames, aside, sent }).await
        }
        Out::Cut(why) => {
            tracing::warn!(peer = %peer.device.short(), why, "the session is cut");
            peer.out.close();
            Ok(())
        }
        Out::Fetch(..) => Ok(()),
    }
}

async fn send(peer: &Peer, lane: Lane, frame: &Frame) -> Result<(), Gone> {
    peer.out.send(lane, Bytes::from(protocol::encode(frame))).await
}

/// Reads the small contents of an offer, as far as they still are what the records say.
fn inline_of(parts: &Parts, offer: &Offer) -> Vec<(ContentId, Vec<u8>)> {
    let mut inline: Vec<(ContentId, Vec<u8>)> = Vec::new();
    let mut room = INLINE_IN_FLIGHT_BYTES_MAX;
    for (path, record) in &offer.records {
        let small = record.has_bytes() && record.size <= INLINE_BYTES_MAX.min(room);
        let known = inline.iter().any(|(content, _)| *content == record.content);
        if !small || known {
            continue;
        }
        if let Some(bytes) = small_content(parts, path, record) {
            room -= record.size;
            inline.push((record.content, bytes));
        }
    }
    inline
}

/// Reads a small content and checks that it is what the record says. A file that has only grown
/// since still begins with it: else a log that never rests would never arrive.
pub fn small_content(parts: &Parts, path: &RelPath, record: &Record) -> Option<Vec<u8>> {
    let bytes = match record.kind {
        Kind::Symlink => parts.root.read_link(path).ok()?,
        Kind::File => {
            let fd = parts.root.open_file(path).ok()?;
            let mut bytes = Vec::with_capacity(usize::try_from(record.size).ok()?);
            let mut file = std::io::Read::take(std::fs::File::from(fd), record.size);
            std::io::Read::read_to_end(&mut file, &mut bytes).ok()?;
            bytes
        }
        Kind::Directory | Kind::Tombstone => return None,
    };
    (ContentId::of(&bytes) == record.content).then_some(bytes)
}
