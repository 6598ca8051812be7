//! The three lanes of a session, and folders joined on them.

use std::time::Duration;

use futures::AsyncReadExt;
use futures::io::WriteHalf;
use libp2p::swarm::Stream;
use syncd_core::flow::offer::{More, Offer};
use syncd_core::model::{
    ContentId, Counter, DeviceId, FolderId, Incarnation, Record, RelPath, StoreId, Writer,
};
use syncd_core::protocol::tokens::TOKEN_BYTES;
use syncd_core::protocol::{self, Frame, Have, Hello, List, Listed, Need, Ready, Tag, Want};
use syncd_core::protocol::{Body, WantedItem};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Lane, WAIT_MAX, Wire};
use crate::process::eventually;

/// Which lanes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ears {
    /// All of them.
    Open,
    /// All but the one on which contents come.
    DeafToAnswers,
}

/// A session with a victim; over when it is dropped.
pub struct Session {
    wire: Wire,
    writers: Vec<WriteHalf<Stream>>,
    frames: Vec<mpsc::UnboundedReceiver<Vec<u8>>>,
    requests: u64,
    /// What the victim said in its Hello.
    pub theirs: Option<Hello>,
    /// The folders that the victim said Ready of, as it said it last.
    pub ready: Vec<Ready>,
}

/// A folder in which both sides have said Ready.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The tag of frames to the victim.
    pub tag: Tag,
    /// What the victim said.
    pub ready: Ready,
    number: u64,
}

impl Joined {
    /// Returns the number of the next offer.
    pub fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Makes an offer of `records` with `inline` contents.
    #[must_use]
    pub fn offer(&mut self, records: Vec<(RelPath, Record)>, inline: &[&[u8]]) -> Frame {
        let (number, after, upto) = (self.next_number(), 0, None);
        let offer = Offer { number, after, records, upto, more: More::Nothing };
        let named = |bytes: &&[u8]| (ContentId::of(bytes), bytes.to_vec());
        Frame::Offer { tag: self.tag.clone(), offer, inline: inline.iter().map(named).collect() }
    }
}

impl Session {
    pub(super) fn over(wire: Wire, streams: Vec<Stream>, ears: Ears) -> Self {
        let (mut writers, mut frames) = (Vec::new(), Vec::new());
        for (lane, stream) in Lane::ALL.into_iter().zip(streams) {
            let (mut reader, writer) = stream.split();
            let (sender, receiver) = mpsc::unbounded_channel();
            let is_deaf = ears == Ears::DeafToAnswers && lane == Lane::Data;
            wire.runtime.spawn(async move {
                if is_deaf {
                    sender.closed().await;
                    return;
                }
                let mut length = [0; 4];
                while reader.read_exact(&mut length).await.is_ok() {
                    let mut frame = vec![0; u32::from_le_bytes(length) as usize];
                    if reader.read_exact(&mut frame).await.is_err() || sender.send(frame).is_err() {
                        break;
                    }
                }
            });
            writers.push(writer);
            frames.push(receiver);
        }
        Self { wire, writers, frames, requests: 0, theirs: None, ready: Vec::new() }
    }

    /// Exchanges Hellos as a device does that remembers nothing but the token that it shows.
    ///
    /// # Panics
    /// When the victim does not greet.
    #[track_caller]
    #[must_use]
    pub(super) fn greeted(mut self, me: DeviceId, token: Option<[u8; TOKEN_BYTES]>) -> Self {
        self.send(Lane::Interactive, &Frame::Hello(Hello { token_shown: token, ..hello(me) }));
        let Some(Frame::Hello(theirs)) = self.next(Lane::Interactive) else {
            panic!("the victim does not greet");
        };
        self.theirs = Some(theirs);
        self
    }

    /// Sends a frame; `false` when the session is over.
    pub fn send(&mut self, lane: Lane, frame: &Frame) -> bool {
        self.send_bytes(lane, &protocol::encode(frame))
    }

    /// Sends what stands for a frame, with its length before it; `false` when the session is over.
    pub fn send_bytes(&mut self, lane: Lane, frame: &[u8]) -> bool {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes();
        self.send_raw(lane, &length) && self.send_raw(lane, frame)
    }

    /// Sends an offer on the lane of small ones; `false` when the session is over.
    pub fn send_offer(&mut self, offer: &Frame) -> bool {
        self.send(Lane::Interactive, offer)
    }

    /// Writes bytes to a lane; `false` when the session is over, or nobody takes them for long.
    pub fn send_raw(&mut self, lane: Lane, bytes: &[u8]) -> bool {
        self.send_within(lane, bytes, WAIT_MAX).unwrap_or(false)
    }

    /// As [`Session::send_raw`]; `None` when nobody takes them within `wait_max`.
    pub fn send_within(&mut self, lane: Lane, bytes: &[u8], wait_max: Duration) -> Option<bool> {
        use futures::AsyncWriteExt;
        let writer = &mut self.writers[lane as usize];
        let written = async {
            writer.write_all(bytes).await?;
            writer.flush().await
        };
        let done = self.wire.runtime.block_on(async { timeout(wait_max, written).await });
        done.ok().map(|done| done.is_ok())
    }

    /// Returns the next frame of a lane; `None` when the session is over.
    ///
    /// # Panics
    /// When neither comes within the usual time, or it is no frame.
    #[track_caller]
    pub fn next(&mut self, lane: Lane) -> Option<Frame> {
        let came = self.frames[lane as usize].recv();
        let came = self.wire.runtime.block_on(async { timeout(WAIT_MAX, came).await });
        let bytes = came.expect("a frame, or the session's end")?;
        let frame = protocol::decode(&bytes).expect("a daemon sends frames");
        if let Frame::Ready(ready) = &frame {
            self.ready.retain(|known| known.folder != ready.folder);
            self.ready.push(ready.clone());
        }
        Some(frame)
    }

    /// Returns the first thing that `pick` takes of the frames of a lane; `None` when the session
    /// is over before.
    #[track_caller]
    pub fn find<T>(&mut self, lane: Lane, mut pick: impl FnMut(Frame) -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = pick(self.next(lane)?) {
                return Some(found);
            }
        }
    }

    /// Waits for the victim to end the session; `false` when it does not within the usual time.
    pub fn is_cut(&mut self) -> bool {
        let frames = &mut self.frames[Lane::Interactive as usize];
        let over = async { while frames.recv().await.is_some() {} };
        self.wire.runtime.block_on(async { timeout(WAIT_MAX, over).await }).is_ok()
    }

    /// Joins a folder that the victim shares with this device, holding nothing of it.
    ///
    /// # Panics
    /// When the victim does not say Ready.
    #[track_caller]
    pub fn join(&mut self, folder: &str, epoch: u32) -> Joined {
        self.join_having_seen(folder, epoch, Vec::new())
    }

    /// Joins a folder as [`Session::join`] does, saying that it has seen these counters of the
    /// victim.
    ///
    /// # Panics
    /// When the victim does not say Ready.
    #[track_caller]
    pub fn join_having_seen(
        &mut self,
        folder: &str,
        epoch: u32,
        seen_of_you: Vec<(Incarnation, Counter)>,
    ) -> Joined {
        let id = FolderId::parse(folder).expect("a folder's id");
        let known = self.ready.iter().find(|r| r.folder == id && r.epoch > 0).cloned();
        let ready = known.or_else(|| {
            self.find(Lane::Interactive, |frame| {
                let Frame::Ready(ready) = frame else { return None };
                (ready.folder == id && ready.epoch > 0).then_some(ready)
            })
        });
        let ready = ready.expect("the victim is ready");
        let said = Ready { seen_of_you, ..ready_of(folder, epoch) };
        self.send(Lane::Interactive, &Frame::Ready(said));
        let tag = Tag { folder: id, from: epoch, to: ready.epoch };
        Joined { tag, ready, number: 0 }
    }

    /// Offers, and waits until the victim has settled that and made it durable; `false` when it
    /// ends the session instead.
    #[track_caller]
    pub fn settled(&mut self, offer: &Frame) -> bool {
        let Frame::Offer { offer: Offer { number, .. }, .. } = offer else {
            panic!("only offers are settled");
        };
        let number = *number;
        self.send(Lane::Interactive, offer) && self.await_ack(number)
    }

    /// Waits until the victim has acknowledged an offer; `false` when it ends the session instead.
    #[track_caller]
    pub fn await_ack(&mut self, number: u64) -> bool {
        let acked = self.find(Lane::Interactive, |frame| {
            let Frame::Ack { frames, .. } = frame else { return None };
            frames.iter().any(|(first, last)| (*first..=*last).contains(&number)).then_some(())
        });
        acked.is_some()
    }

    /// Asks for a content, and returns the answer; `None` when the session ends instead.
    #[track_caller]
    pub fn want(&mut self, folder: &str, item: WantedItem) -> Option<Body> {
        self.requests += 1;
        let request = self.requests;
        let folder = FolderId::parse(folder).expect("a folder's id");
        self.send(Lane::Bulk, &Frame::Want(Want { request, folder, items: vec![item] }));
        self.find(Lane::Data, |frame| {
            let Frame::Have(haves) = frame else { return None };
            let ours = |have: &Have| have.request == request;
            haves.into_iter().find(ours).map(|have| have.body)
        })
    }

    /// Asks what lies in a folder, which also shows that the session goes on; `None` when it ends
    /// instead.
    #[track_caller]
    pub fn list(&mut self, folder: &str) -> Option<Listed> {
        self.requests += 1;
        let request = self.requests;
        let folder = FolderId::parse(folder).expect("a folder's id");
        self.send(Lane::Bulk, &Frame::List(List { request, folder, after: 0 }));
        self.find(Lane::Data, |frame| {
            let Frame::Listed(listed) = frame else { return None };
            (listed.request == request).then_some(listed)
        })
    }

    /// Waits until the victim has a file in a folder, and returns who wrote it last.
    ///
    /// # Panics
    /// When it does not come, or the session ends.
    #[track_caller]
    pub fn writer_of(&mut self, folder: &str, path: &str, bytes: &[u8]) -> Writer {
        let (path, content) = (RelPath::parse(path).expect("a path"), ContentId::of(bytes));
        eventually(WAIT_MAX, &format!("{path} is known to the victim"), || {
            let listed = self.list(folder).ok_or("the session is over")?.records;
            let found = listed.into_iter().find(|(at, r)| *at == path && r.content == content);
            found.map(|(_, record)| record.dot.writer).ok_or_else(|| "it is not".to_owned())
        })
    }
}

/// Returns the Hello of a device that remembers nothing.
#[must_use]
pub(super) fn hello(me: DeviceId) -> Hello {
    Hello {
        version: 1,
        name: "hostile".to_owned(),
        incarnation: Incarnation(u64::from(me.0[0]) + 1),
        boot_nonce: 1,
        token_shown: None,
        token_given: [7; 32],
        clock_ms: std::time::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0)),
    }
}

/// Returns the Ready of a device that holds nothing of a folder.
#[must_use]
pub(super) fn ready_of(folder: &str, epoch: u32) -> Ready {
    Ready {
        folder: FolderId::parse(folder).expect("a folder's id"),
        label: String::new(),
        single_file: None,
        epoch,
        store: StoreId(1),
        cursor: None,
        seen_of_you: Vec::new(),
    }
}

/// Returns a want of a small file.
#[must_use]
pub fn whole(path: &str, bytes: &[u8]) -> WantedItem {
    WantedItem {
        path: RelPath::parse(path).expect("a path"),
        kind: syncd_core::model::Kind::File,
        content: ContentId::of(bytes),
        need: Need::Whole,
    }
}
