//! How much of one peer's doing may be under way here at a time.
//!
//! # Invariants
//! - An honest peer reaches none of these bounds in a way that it notices. One that sends without
//!   end, or takes no answers, waits on its own lanes, and for itself alone.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Wants of one peer that are served at a time, of all that are.
const SERVED_MAX: usize = super::SERVING_MAX;

/// Questions for what lies in a folder that are answered at a time, for one peer.
const LISTED_MAX: usize = 4;

/// Bytes of frames of one peer that folders have yet to look at. Never less than one frame.
const NEWS_BYTES_MAX: usize = 16 << 20;

/// Bytes of answers of one peer that nobody has taken up yet: more than is ever asked for.
const ANSWERS_BYTES_MAX: usize = 64 << 20;

/// Folders that one peer may offer beside those that both share.
pub(super) const OFFERED_MAX: usize = 256;

/// What a folder may have waiting for one peer: more than the engine's windows let come together.
pub(in crate::run) const OUT_MAX: usize = 1 << 16;

/// The turns of one peer.
pub(super) struct Bounds {
    /// To have a want served.
    pub(super) serving: Arc<Semaphore>,
    /// To be told what lies in a folder.
    pub(super) listing: Arc<Semaphore>,
    news: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

/// Room for a frame, given back when this is dropped; `None` once nobody counts any more.
pub(in crate::run) type Room = Option<OwnedSemaphorePermit>;

impl Default for Bounds {
    fn default() -> Self {
        let of = |count| Arc::new(Semaphore::new(count));
        Self {
            serving: of(SERVED_MAX),
            listing: of(LISTED_MAX),
            news: of(NEWS_BYTES_MAX),
            answers: of(ANSWERS_BYTES_MAX),
        }
    }
}

impl Bounds {
    /// Waits for room for a frame of `bytes` that is news for a folder.
    pub(super) async fn news(&self, bytes: usize) -> Room {
        room(&self.news, bytes, NEWS_BYTES_MAX).await
    }

    /// Waits for room for a frame of `bytes` of answers.
    pub(super) async fn answers(&self, bytes: usize) -> Room {
        room(&self.answers, bytes, ANSWERS_BYTES_MAX).await
    }
}

async fn room(of: &Arc<Semaphore>, bytes: usize, bytes_max: usize) -> Room {
    let share = u32::try_from(bytes.clamp(1, bytes_max)).unwrap_or(u32::MAX);
    Arc::clone(of).acquire_many_owned(share).await.ok()
}
