//! The frames of a session: three lanes, each with a task that writes and a task that reads.
//!
//! A frame is its length as a little-endian `u32` and then its bytes. The side that opens a lane
//! first writes the session's number as a little-endian `u64`.
//!
//! # Invariants
//! - Frames of one lane arrive whole and in the order they were handed over.
//! - A length is checked against [`FRAME_BYTES_MAX`] before anything is allocated for it.
//! - A lane holds at most [`LANE_FRAMES_MAX`] frames and [`room_bytes`] bytes in each direction;
//!   whoever brings more waits.
//! - When one of the six tasks ends, all end, and only then is the session reported as over.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use syncd_core::model::limits::FRAME_BYTES_MAX;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Lane;
use super::link::Pulse;
use super::rate::{DRAW_BYTES, Throttle};

/// Frames that may wait in one direction of one lane.
pub(super) const LANE_FRAMES_MAX: usize = 64;

/// Buffer in front of a stream, so that small frames cost no system call each.
const BUFFER_BYTES: usize = 64 << 10;

/// Returns how many bytes may wait in one direction of a lane. Never less than one frame.
const fn room_bytes(lane: Lane) -> usize {
    match lane {
        Lane::Interactive | Lane::Bulk => FRAME_BYTES_MAX,
        Lane::Data => 2 * FRAME_BYTES_MAX,
    }
}

/// The session is over; nothing can be sent any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection with the device is gone")]
pub struct Gone;

/// Why a frame was not taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The lane is full: wait with [`Outbox::send`], or drop the frame.
    #[error("the lane is full")]
    Full,
    /// As [`Gone`].
    #[error("the connection with the device is gone")]
    Gone,
}

struct Queued {
    frame: Bytes,
    /// Given back when the frame is in the stream's buffers.
    _room: OwnedSemaphorePermit,
}

struct Way {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    room_bytes: usize,
}

/// Sends frames to one device. Clones send into the same session, which ends when the last is
/// dropped.
#[derive(Clone)]
pub struct Outbox {
    ways: Arc<[Way; 3]>,
    over: CancellationToken,
}

impl Outbox {
    /// Hands a frame over, waiting while the lane is full. When this returns the frame is queued,
    /// not delivered. A frame longer than `FRAME_BYTES_MAX` is a fault of the caller and ends
    /// the session, as the other side would end it.
    ///
    /// # Errors
    /// [`Gone`] when the session is over.
    pub async fn send(&self, lane: Lane, frame: Bytes) -> Result<(), Gone> {
        let need = self.need(&frame).ok_or(Gone)?;
        let way = &self.ways[lane.index()];
        let queue = async {
            let room = Arc::clone(&way.room).acquire_many_owned(way.share(need)).await;
            let queued = Queued { frame, _room: room.map_err(|_| Gone)? };
            way.queue.send(queued).await.map_err(|_| Gone)
        };
        tokio::select! {
            biased;
            () = self.over.cancelled() => Err(Gone),
            sent = queue => sent,
        }
    }

    /// Hands a frame over if there is room for it now.
    ///
    /// # Errors
    /// [`NotSent::Full`] when the lane is full, [`NotSent::Gone`] when the session is over.
    pub fn try_send(&self, lane: Lane, frame: Bytes) -> Result<(), NotSent> {
        let need = self.need(&frame).ok_or(NotSent::Gone)?;
        if self.over.is_cancelled() {
            return Err(NotSent::Gone);
        }
        let way = &self.ways[lane.index()];
        let room = Arc::clone(&way.room)
            .try_acquire_many_owned(way.share(need))
            .map_err(|_| NotSent::Full)?;
        way.queue.try_send(Queued { frame, _room: room }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotSent::Full,
            mpsc::error::TrySendError::Closed(_) => NotSent::Gone,
        })
    }

    /// Ends the session and its connections. Frames still queued are lost.
    pub fn close(&self) {
        self.over.cancel();
    }

    /// Tells whether the session is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.over.is_cancelled()
    }

    fn need(&self, frame: &Bytes) -> Option<usize> {
        if frame.len() > FRAME_BYTES_MAX {
            tracing::error!(bytes = frame.len(), "a frame is too long to be sent");
            self.close();
            return None;
        }
        Some(frame.len())
    }
}

impl Way {
    /// Returns what a frame takes of the lane's room. An empty one takes a byte.
    fn share(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.clamp(1, self.room_bytes)).unwrap_or(u32::MAX)
    }
}

/// Frames from one device, by lane. A lane that is not read holds back the other side's sender on
/// that lane, and no other lane. Each closes when the session ends, after what it still holds.
/// Dropping one ends the session.
pub struct Inbox {
    /// Control, acknowledgements, small offers.
    pub interactive: mpsc::Receiver<Bytes>,
    /// Offers in bulk.
    pub bulk: mpsc::Receiver<Bytes>,
    /// Contents.
    pub data: mpsc::Receiver<Bytes>,
}

/// An open stream of a lane, with the heartbeat of the connection it runs on.
pub(super) struct Open<S> {
    pub(super) stream: S,
    pub(super) pulse: Arc<Pulse>,
}

/// On which terms a session runs.
pub(super) struct Terms {
    /// The session's number if this side opened the streams and has yet to write it.
    pub(super) announce: Option<u64>,
    /// How fast bulk and contents may come and go.
    pub(super) throttle: Throttle,
    /// Ends the tasks.
    pub(super) over: CancellationToken,
}

/// Starts the six tasks of a session. `ended` is called when all have ended.
pub(super) fn start<S>(
    lanes: [Open<S>; 3],
    Terms { announce, throttle, over }: Terms,
    ended: impl FnOnce() + Send + 'static,
) -> (Outbox, Inbox)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut tasks = JoinSet::new();
    let mut starter = |lane: Lane, open: Open<S>| {
        let (reader, writer) = open.stream.split();
        let (queue, queued) = mpsc::channel(LANE_FRAMES_MAX);
        let (inbox, frames) = mpsc::channel(LANE_FRAMES_MAX);
        let room_bytes = room_bytes(lane);
        let throttle = match lane {
            Lane::Interactive => Throttle::default(),
            Lane::Bulk | Lane::Data => throttle.clone(),
        };
        tasks.spawn(write_lane(writer, announce, throttle.clone(), queued));
        tasks.spawn(read_lane(reader, inbox, room_bytes, throttle, open.pulse));
        let room = Arc::new(Semaphore::new(room_bytes));
        (Way { queue, room, room_bytes }, frames)
    };
    let [interactive, bulk, data] = lanes;
    let interactive = starter(Lane::Interactive, interactive);
    let bulk = starter(Lane::Bulk, bulk);
    let data = starter(Lane::Data, data);
    let ways = Arc::new([interactive.0, bulk.0, data.0]);
    let outbox = Outbox { ways, over: over.clone() };
    let inbox = Inbox { interactive: interactive.1, bulk: bulk.1, data: data.1 };
    tokio::spawn(async move {
        tokio::select! {
            () = over.cancelled() => {}
            first = tasks.join_next() => tracing::debug!(?first, "a lane ended"),
        }
        over.cancel();
        tasks.shutdown().await;
        ended();
    });
    (outbox, inbox)
}

async fn write_lane(
    stream: impl AsyncWrite + Unpin,
    announce: Option<u64>,
    throttle: Throttle,
    mut queued: mpsc::Receiver<Queued>,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, stream);
    if let Some(session) = announce {
        out.write_all(&session.to_le_bytes()).await?;
    }
    loop {
        let next = match queued.try_recv() {
            Ok(next) => Some(next),
            Err(TryRecvError::Empty) => {
                out.flush().await?;
                queued.recv().await
            }
            Err(TryRecvError::Disconnected) => None,
        };
        let Some(Queued { frame, _room }) = next else {
            return out.close().await;
        };
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        out.write_all(&length.to_le_bytes()).await?;
        for piece in frame.chunks(DRAW_BYTES) {
            throttle.send(piece.len()).await;
            out.write_all(piece).await?;
        }
    }
}

/// Takes the frames of a stream until it ends, or until it breaks a rule.
pub(super) async fn read_lane(
    stream: impl AsyncRead + Unpin,
    inbox: mpsc::Sender<Bytes>,
    room_bytes: usize,
    throttle: Throttle,
    pulse: Arc<Pulse>,
) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(BUFFER_BYTES, stream);
    let mut waiting = VecDeque::with_capacity(LANE_FRAMES_MAX);
    loop {
        let mut length = [0; 4];
        fill(&mut stream, &mut length, &pulse).await?;
        let length = u32::from_le_bytes(length) as usize;
        if length > FRAME_BYTES_MAX {
            tracing::warn!(bytes = length, "a frame longer than allowed was announced");
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut frame = vec![0; length];
        for piece in frame.chunks_mut(DRAW_BYTES) {
            fill(&mut stream, piece, &pulse).await?;
            throttle.receive(piece.len()).await;
        }
        let slots = free_slots_needed(&mut waiting, inbox.capacity(), length, room_bytes);
        let mut permits = inbox.reserve_many(slots).await.map_err(io::Error::other)?;
        if let Some(permit) = permits.next() {
            waiting.push_back(length);
            permit.send(Bytes::from(frame));
        }
    }
}

/// Fills `into`, noting each arrival, so that a long frame on a slow line is a sign of life.
async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    into: &mut [u8],
    pulse: &Pulse,
) -> io::Result<()> {
    let mut at = 0;
    while at < into.len() {
        let got = stream.read(&mut into[at..]).await?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        pulse.heard();
        at += got;
    }
    Ok(())
}

/// Returns how many slots of the inbox must be free before a frame of `length` may enter it, so
/// that what waits there stays within `room_bytes`. `waiting` holds the lengths of the last frames
/// that entered, oldest first; those that were taken out since are dropped from it.
fn free_slots_needed(
    waiting: &mut VecDeque<usize>,
    free: usize,
    length: usize,
    room_bytes: usize,
) -> usize {
    let inside = LANE_FRAMES_MAX.saturating_sub(free);
    while waiting.len() > inside {
        waiting.pop_front();
    }
    let mut sum: usize = waiting.iter().sum();
    let mut may_stay = waiting.len();
    for oldest in waiting.iter() {
        if sum + length <= room_bytes {
            break;
        }
        sum -= oldest;
        may_stay -= 1;
    }
    (LANE_FRAMES_MAX - may_stay).max(1)
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;
    use tokio::sync::oneshot;
    use tokio::time::Instant;
    use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

    use super::*;

    const ALL: [Lane; 3] = [Lane::Interactive, Lane::Bulk, Lane::Data];

    /// Starts one side of a session; returns the other ends of its streams, and what fires when
    /// all its tasks have ended.
    fn one_side() -> (Outbox, Inbox, [Compat<DuplexStream>; 3], oneshot::Receiver<()>) {
        let pulse = Arc::new(Pulse::new(Instant::now()));
        let (ours, theirs): (Vec<_>, Vec<_>) =
            ALL.map(|_| tokio::io::duplex(1024)).into_iter().unzip();
        let theirs: [DuplexStream; 3] = theirs.try_into().unwrap();
        let ours: [DuplexStream; 3] = ours.try_into().unwrap();
        let open = ours.map(|ours| Open { stream: ours.compat(), pulse: Arc::clone(&pulse) });
        let (sender, ended) = oneshot::channel();
        let terms =
            Terms { announce: None, throttle: Throttle::default(), over: CancellationToken::new() };
        let (outbox, inbox) = start(open, terms, || sender.send(()).unwrap());
        (outbox, inbox, theirs.map(TokioAsyncReadCompatExt::compat), ended)
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_ends_the_session() {
        let too_long = u32::try_from(FRAME_BYTES_MAX + 1).unwrap();
        for lane in ALL {
            let (outbox, mut inbox, mut theirs, ended) = one_side();
            theirs[lane.index()].write_all(&too_long.to_le_bytes()).await.unwrap();
            ended.await.unwrap();
            assert_eq!(outbox.send(lane, Bytes::new()).await, Err(Gone));
            assert_eq!(outbox.try_send(lane, Bytes::new()), Err(NotSent::Gone));
            assert_eq!(inbox.data.recv().await, None);
        }
    }

    #[tokio::test]
    async fn whichever_end_goes_the_session_ends() {
        let (_outbox, _inbox, [_, bulk, _], ended) = one_side();
        drop(bulk);
        ended.await.unwrap();

        let (outbox, _inbox, _theirs, ended) = one_side();
        drop(outbox);
        ended.await.unwrap();

        let (outbox, _inbox, _theirs, ended) = one_side();
        outbox.close();
        ended.await.unwrap();

        let (_outbox, inbox, mut theirs, ended) = one_side();
        drop(inbox);
        theirs[0].write_all(&[0; 4]).await.unwrap();
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn a_full_lane_says_so_and_holds_nobody_else_back() {
        let (outbox, _inbox, _theirs, _ended) = one_side();
        let frame = Bytes::from(vec![0; FRAME_BYTES_MAX]);
        let taken =
            (0..100).take_while(|_| outbox.try_send(Lane::Data, frame.clone()).is_ok()).count();
        assert_eq!(taken, 2, "16 MiB wait at most");
        assert_eq!(outbox.try_send(Lane::Data, Bytes::new()), Err(NotSent::Full));
        assert_eq!(outbox.try_send(Lane::Interactive, Bytes::new()), Ok(()));
    }

    #[tokio::test]
    async fn an_unread_lane_holds_no_more_than_its_room() {
        let (_outbox, mut inbox, [mut stream, _bulk, _data], _ended) = one_side();
        let half = FRAME_BYTES_MAX / 2 + 1;
        let writer = tokio::spawn(async move {
            for _ in 0..4 {
                let length = u32::try_from(half).unwrap();
                stream.write_all(&length.to_le_bytes()).await.unwrap();
                stream.write_all(&vec![0; half]).await.unwrap();
            }
            stream
        });
        for _ in 0..4 {
            let frame = inbox.interactive.recv().await.unwrap();
            assert_eq!(frame.len(), half);
            assert!(inbox.interactive.is_empty(), "two of them exceed the room");
        }
        writer.await.unwrap();
    }

    #[test]
    fn a_frame_waits_until_the_lane_has_room() {
        for (waiting, free, length, room, slots, why) in [
            (vec![], 64, 10, 100, 64, "an empty lane"),
            (vec![10, 10], 62, 10, 100, 62, "room for all"),
            (vec![50, 40], 62, 20, 100, 63, "the older of two must go"),
            (vec![50, 40], 62, 100, 100, 64, "a frame as large as the room waits for all"),
            (vec![90, 90, 5], 63, 90, 100, 63, "two were taken out since"),
            (vec![1; 64], 0, 1, 100, 1, "no slot is free"),
        ] {
            let mut waiting = VecDeque::from(waiting);
            assert_eq!(free_slots_needed(&mut waiting, free, length, room), slots, "{why}");
        }
    }
}
