//! The link of a connection: greeting, heartbeat, and the few orders that pass between the ends.
//!
//! The side that dialled opens `/syncd/link/1`; that it is accepted says that the other side is
//! paired too. Both send their card, then messages of nine bytes: a kind and a `u64`.
//!
//! # Invariants
//! - Each side sends a heartbeat every [`BEAT`]; whatever arrives on any stream of the connection
//!   counts as a sign of life, so that a busy slow line is not taken for a dead one.
//! - A message of an unknown kind is skipped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use libp2p::Stream;
use libp2p::swarm::ConnectionId;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::conn::Report;
use super::pair::{CARD_WAIT_MAX, Card, receive_card, send_card};

/// Between two heartbeats.
pub(super) const BEAT: Duration = Duration::from_secs(5);

/// A connection on which nothing at all arrived for this long is dead, in milliseconds. Two
/// heartbeats and some patience; with the checks it stays below 15 s.
pub(super) const SILENCE_MS_MAX: u64 = 12_000;

const PING: u8 = 1;
const PONG: u8 = 2;
const SECOND: u8 = 3;

/// Signs of life of one connection.
pub(super) struct Pulse {
    base: Instant,
    heard_ms: AtomicU64,
    round_us: AtomicU64,
}

impl Pulse {
    /// Returns the pulse of a connection heard just now. Times count from `base`.
    pub(super) fn new(base: Instant) -> Self {
        let pulse = Self { base, heard_ms: 0.into(), round_us: u64::MAX.into() };
        pulse.heard();
        pulse
    }

    /// Notes that something arrived.
    pub(super) fn heard(&self) {
        self.heard_ms.store(millis_since(self.base), Ordering::Relaxed);
    }

    /// Returns when something arrived last, in milliseconds since the base.
    pub(super) fn heard_ms(&self) -> u64 {
        self.heard_ms.load(Ordering::Relaxed)
    }

    /// Returns the last round trip in milliseconds, if there was one.
    pub(super) fn round_ms(&self) -> Option<f64> {
        let round_us = self.round_us.load(Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "a round trip is far below 2^52 us")]
        (round_us != u64::MAX).then(|| round_us as f64 / 1000.0)
    }

    fn stamp_us(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Returns the milliseconds since `base`.
pub(super) fn millis_since(base: Instant) -> u64 {
    u64::try_from(base.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What a link is told to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkOrder {
    /// A heartbeat now.
    Beat,
    /// Please dial a second connection to where you dialled this one.
    Second,
}

/// Runs the link of connection `id` until it ends or is no longer wanted (`orders` closed).
pub(super) async fn run(
    id: ConnectionId,
    stream: Stream,
    card: Card,
    pulse: Arc<Pulse>,
    orders: mpsc::Receiver<LinkOrder>,
    reports: mpsc::UnboundedSender<Report>,
) {
    let ended = converse(id, stream, card, pulse, orders, &reports).await;
    tracing::debug!(%id, ?ended, "a link ended");
    let _ = reports.send(Report::LinkEnded(id));
}

async fn converse(
    id: ConnectionId,
    stream: Stream,
    card: Card,
    pulse: Arc<Pulse>,
    orders: mpsc::Receiver<LinkOrder>,
    reports: &mpsc::UnboundedSender<Report>,
) -> io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    let greeting =
        async { tokio::try_join!(send_card(&mut writer, &card), receive_card(&mut reader)) };
    let ((), theirs) = timeout(CARD_WAIT_MAX, greeting).await??;
    pulse.heard();
    let _ = reports.send(Report::Linked(id, theirs));
    let (echo, echoes) = mpsc::channel(4);
    tokio::select! {
        ended = listen(id, reader, &pulse, echo, reports) => ended,
        ended = speak(writer, &pulse, orders, echoes) => ended,
    }
}

async fn listen(
    id: ConnectionId,
    mut reader: ReadHalf<Stream>,
    pulse: &Pulse,
    echo: mpsc::Sender<u64>,
    reports: &mpsc::UnboundedSender<Report>,
) -> io::Result<()> {
    let mut asked = false;
    loop {
        let mut message = [0; 9];
        reader.read_exact(&mut message).await?;
        pulse.heard();
        let [kind, value @ ..] = message;
        let value = u64::from_le_bytes(value);
        match kind {
            // With the writer that far behind, the peer hears from us anyway.
            PING => drop(echo.try_send(value)),
            PONG => {
                let round_us = pulse.stamp_us().saturating_sub(value);
                pulse.round_us.store(round_us, Ordering::Relaxed);
            }
            SECOND if !asked => {
                asked = true;
                let _ = reports.send(Report::SecondAsked(id));
            }
            _ => {}
        }
    }
}

async fn speak(
    mut writer: WriteHalf<Stream>,
    pulse: &Pulse,
    mut orders: mpsc::Receiver<LinkOrder>,
    mut echoes: mpsc::Receiver<u64>,
) -> io::Result<()> {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (kind, value) = tokio::select! {
            order = orders.recv() => match order {
                Some(LinkOrder::Beat) => (PING, pulse.stamp_us()),
                Some(LinkOrder::Second) => (SECOND, 0),
                None => return Ok(()),
            },
            Some(value) = echoes.recv() => (PONG, value),
            _ = beat.tick() => (PING, pulse.stamp_us()),
        };
        let mut message = [kind; 9];
        message[1..].copy_from_slice(&value.to_le_bytes());
        writer.write_all(&message).await?;
        writer.flush().await?;
    }
}
