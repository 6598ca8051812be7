//! The decoders of what comes over the network before a frame is one, for a test that counts what
//! they allocate: it is a process of its own and sees only what is public. Nobody else calls these.
//!
//! Each takes bytes and returns the same value written again; `None` when they hold none.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::lanes::{LANE_FRAMES_MAX, read_lane};
use super::link::Pulse;
use super::links::bare;
use super::listen::parse;
use super::pair::Card;
use super::rate::Throttle;

/// Reads a card.
#[must_use]
pub fn card(bytes: &[u8]) -> Option<Vec<u8>> {
    Card::decode(bytes).map(|card| card.encode())
}

/// Reads addresses as they are remembered, one a line, and leaves out what is none.
#[must_use]
pub fn addresses(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let known = text.lines().filter_map(|line| parse(line).ok());
    let lines: Vec<String> = known.map(|address| format!("{}\n", bare(&address))).collect();
    Some(lines.concat().into_bytes())
}

/// Reads a lane to its end, and returns the frames that came whole, each behind its length.
#[must_use]
pub fn lane(bytes: &[u8]) -> Option<Vec<u8>> {
    let (inbox, mut frames) = mpsc::channel(LANE_FRAMES_MAX);
    let pulse = Arc::new(Pulse::new(Instant::now()));
    let reading = read_lane(bytes, inbox, usize::MAX, Throttle::default(), pulse);
    let taking = async {
        let mut came = Vec::new();
        while let Some(frame) = frames.recv().await {
            came.extend(u32::try_from(frame.len()).unwrap_or_default().to_le_bytes());
            came.extend_from_slice(&frame);
        }
        came
    };
    // How it ended does not matter: every lane ends some time.
    let (_, came) = futures::executor::block_on(futures::future::join(reading, taking));
    Some(came)
}
