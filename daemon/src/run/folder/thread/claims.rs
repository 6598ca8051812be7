//! Peers that speak of changes of this device that it never made.
//!
//! Either it was set back to an older state and has forgotten, or the peer lies, or it hands on
//! what another has forged. The folder goes on under a new incarnation in each case, and the
//! session with it: nothing that is said ends the daemon or parts honest devices.

use std::time::{Duration, Instant};

use syncd_core::engine::Event;
use syncd_core::model::{DeviceId, Writer};

use super::FolderThread;
use crate::run::Happening;
use crate::run::folder::lives;

/// New incarnations that a folder takes in a row. Each one that it writes under is one more
/// counter in every vector.
const LIVES_MAX: u32 = 8;

/// How long it takes until there may be one more.
const LIFE_EVERY: Duration = Duration::from_secs(600);

/// How many more incarnations a folder may take now.
#[derive(Debug)]
pub(super) struct Lives {
    left: u32,
    since: Instant,
}

impl Lives {
    /// Begins with all of them.
    pub(super) fn new(now: Instant) -> Self {
        Self { left: LIVES_MAX, since: now }
    }

    /// Takes one; `false` when there is none.
    fn take(&mut self, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.since);
        let more = u32::try_from(waited.as_secs() / LIFE_EVERY.as_secs()).unwrap_or(u32::MAX);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(LIVES_MAX);
            self.since = now;
        }
        let is_left = self.left > 0;
        self.left -= u32::from(is_left);
        is_left
    }
}

impl FolderThread {
    /// Takes a fact that a peer told, after a new incarnation where it needs one.
    pub(super) fn told(&mut self, event: Event) {
        if let Event::Offered { peer, offer } = &event
            && self.engine.disowns(offer)
            && !self.begin_life(*peer)
        {
            if let Some(link) = self.links.get(peer) {
                link.session.close();
            }
            return;
        }
        self.tell(event);
    }

    /// Goes on under a new incarnation, since `peer` has told of changes of the present one that
    /// were never made; `false` when it cannot: then the session with the peer must end.
    pub(super) fn begin_life(&mut self, peer: DeviceId) -> bool {
        let (daemon, id) = (&self.daemon, self.folder.id());
        let begun = match self.lives.take(Instant::now()) {
            true => lives::begin(&daemon.ledger, id, daemon.incarnation)
                .map_err(|error| format!("a new incarnation cannot be kept: {error}")),
            false => Err("it happened too often of late".to_owned()),
        };
        let why = "it told of changes of this device that this device does not remember";
        match begun {
            Ok(()) => {
                let text = format!("{why}; the folder goes on under a new incarnation");
                tracing::warn!(peer = %peer.short(), folder = %id, "{text}");
                daemon.tell(Happening::device(peer, "device-disowned", &text).of(id));
                let me = Writer { device: daemon.me, incarnation: daemon.incarnation_in(id) };
                self.tell(Event::LifeBegun { me });
                true
            }
            Err(but) => {
                tracing::warn!(peer = %peer.short(), folder = %id, "{why}, and {but}");
                daemon.tell(Happening::device(peer, "device-refused", why).of(id));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_liar_brings_about_a_few_incarnations_and_then_one_now_and_then() {
        let begun = Instant::now();
        let mut lives = Lives::new(begun);
        let mut takes = |waited: Duration| {
            let now = begun + waited;
            std::iter::from_fn(|| lives.take(now).then_some(())).take(100).count()
        };
        for (waited, more, because) in [
            (Duration::ZERO, LIVES_MAX, "as many as there are"),
            (LIFE_EVERY / 2, 0, "it is not time yet"),
            (LIFE_EVERY, 1, "one more in its time"),
            (LIFE_EVERY * 1000, LIVES_MAX, "no more than there were"),
        ] {
            assert_eq!(takes(waited), more as usize, "{because}");
        }
    }
}
