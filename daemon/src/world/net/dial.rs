//! Dialling: where a paired device may be, and when to try again.
//!
//! Pure: time comes as an argument, in milliseconds since the start.
//!
//! # Invariants
//! - TCP goes first. QUIC follows when TCP failed, or after [`QUIC_WAIT_MS`].
//! - Waits double from [`WAIT_MS_MIN`] to [`WAIT_MS_MAX`]. While the other side has not paired us
//!   yet they stay at [`REFUSED_WAIT_MS`] for the first [`REFUSED_SOON_MS`].
//! - Sessions that end soon, one after the other, are waited for no longer than
//!   [`SHORT_WAIT_MS_MAX`]: the other side is there, and is being restarted.
//! - An address at which somebody else answered is left out for [`WRONG_MS`], because it would
//!   end every attempt it takes part in.

use std::collections::BTreeSet;

use libp2p::multiaddr::{Multiaddr, Protocol};
use libp2p::swarm::ConnectionId;

/// First wait after a failure.
const WAIT_MS_MIN: u64 = 250;
/// Longest wait after failures.
const WAIT_MS_MAX: u64 = 30_000;
/// Head start of TCP before QUIC.
const QUIC_WAIT_MS: u64 = 1000;
/// Wait after the other side did not know us.
const REFUSED_WAIT_MS: u64 = 1000;
/// For how long it is hoped that it will in a moment: somebody is pairing by hand.
const REFUSED_SOON_MS: u64 = 60_000;
/// For how long an address with somebody else behind it is left out.
const WRONG_MS: u64 = 60_000;
/// A session that held for this long was a success.
const HELD_MS_MIN: u64 = 10_000;
/// Longest wait after sessions that did not.
const SHORT_WAIT_MS_MAX: u64 = 2_000;
/// Addresses kept for one device.
const ADDRESSES_MAX: usize = 16;

/// Where an address is from. The lesser are the first to be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// The device said so, or it was seen on the local network.
    Heard,
    /// The user gave it, or it is remembered.
    Given,
    /// It worked in this run.
    Worked,
}

#[derive(Debug)]
struct Known {
    address: Multiaddr,
    origin: Origin,
    wrong_until_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing to do: connected, or no address is known.
    Rest,
    /// Dial at this time.
    Wait(u64),
    /// Attempts are under way; QUIC joins at this time, if it has not yet.
    Trying(Option<u64>),
}

/// Addresses to dial now, concurrently, all of one transport.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) quic: bool,
    pub(super) addresses: Vec<Multiaddr>,
}

/// The dialling of one device.
#[derive(Debug)]
pub(super) struct Dialer {
    known: Vec<Known>,
    phase: Phase,
    under_way: BTreeSet<ConnectionId>,
    failures: u32,
    /// Sessions in a row that ended soon.
    short: u32,
    refused_since_ms: Option<u64>,
    spread: u8,
}

impl Dialer {
    /// Returns a dialer that knows no address. `spread` in `0..=255` shortens its waits by up to
    /// a quarter, so that two devices do not dial each other in step.
    pub(super) fn new(spread: u8) -> Self {
        Self {
            known: Vec::new(),
            phase: Phase::Rest,
            under_way: BTreeSet::new(),
            failures: 0,
            short: 0,
            refused_since_ms: None,
            spread,
        }
    }

    /// Notes an address. Returns whether it is new.
    pub(super) fn learn(&mut self, address: &Multiaddr, origin: Origin) -> bool {
        let before = self.known.iter().position(|known| known.address == *address);
        let mut known = match before {
            Some(at) => self.known.remove(at),
            None => Known { address: address.clone(), origin, wrong_until_ms: 0 },
        };
        known.origin = known.origin.max(origin);
        if origin == Origin::Worked {
            known.wrong_until_ms = 0;
        }
        let at = self.known.partition_point(|other| other.origin > known.origin);
        self.known.insert(at, known);
        self.known.truncate(ADDRESSES_MAX);
        before.is_none() && self.known.iter().any(|known| known.address == *address)
    }

    /// Dials at once and begins the waits anew: something changed that makes success likely.
    pub(super) fn nudge(&mut self, now_ms: u64) {
        self.failures = 0;
        self.refused_since_ms = None;
        self.under_way.clear();
        self.wait(now_ms);
    }

    /// Returns when [`Self::due`] wants to be asked next.
    pub(super) fn next_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Rest => None,
            Phase::Wait(at_ms) => Some(at_ms),
            Phase::Trying(at_ms) => at_ms,
        }
    }

    /// Returns what to dial now. `connected` says that there is a connection already, and ends
    /// the dialling.
    pub(super) fn due(&mut self, now_ms: u64, connected: bool) -> Vec<Attempt> {
        if connected {
            self.phase = Phase::Rest;
            return Vec::new();
        }
        let attempt = |quic, addresses: Vec<_>| Attempt { quic, addresses };
        match self.phase {
            Phase::Wait(at_ms) if at_ms <= now_ms => {
                let tcp = self.usable(false, now_ms);
                let quic = self.usable(true, now_ms);
                match (tcp.is_empty(), quic.is_empty()) {
                    (false, true) => {
                        self.phase = Phase::Trying(None);
                        vec![attempt(false, tcp)]
                    }
                    (false, false) => {
                        self.phase = Phase::Trying(Some(now_ms + QUIC_WAIT_MS));
                        vec![attempt(false, tcp)]
                    }
                    (true, false) => {
                        self.phase = Phase::Trying(None);
                        vec![attempt(true, quic)]
                    }
                    (true, true) => {
                        let free_ms = self.known.iter().map(|known| known.wrong_until_ms).min();
                        self.phase = free_ms.map_or(Phase::Rest, Phase::Wait);
                        Vec::new()
                    }
                }
            }
            Phase::Trying(Some(at_ms)) if at_ms <= now_ms => {
                self.phase = Phase::Trying(None);
                vec![attempt(true, self.usable(true, now_ms))]
            }
            Phase::Rest | Phase::Wait(_) | Phase::Trying(_) => Vec::new(),
        }
    }

    fn usable(&self, quic: bool, now_ms: u64) -> Vec<Multiaddr> {
        self.known
            .iter()
            .filter(|known| is_quic(&known.address) == quic && known.wrong_until_ms <= now_ms)
            .map(|known| known.address.clone())
            .collect()
    }

    /// Notes that an attempt has begun.
    pub(super) fn began(&mut self, id: ConnectionId) {
        self.under_way.insert(id);
    }

    /// Notes that an attempt led to a connection.
    pub(super) fn connected(&mut self) {
        self.under_way.clear();
        self.phase = Phase::Rest;
    }

    /// Notes that an attempt failed; `wrong` is the address at which somebody else answered.
    /// `idle` says that there is no connection with the device now.
    pub(super) fn failed(
        &mut self,
        id: ConnectionId,
        wrong: Option<&Multiaddr>,
        now_ms: u64,
        idle: bool,
    ) {
        let wrong = self.known.iter_mut().find(|known| wrong == Some(&known.address));
        let was_wrong = wrong.map(|known| known.wrong_until_ms = now_ms + WRONG_MS).is_some();
        if !self.under_way.remove(&id) || !self.under_way.is_empty() {
            return;
        }
        match self.phase {
            Phase::Trying(_) if was_wrong => self.phase = Phase::Wait(now_ms),
            Phase::Trying(Some(_)) => self.phase = Phase::Trying(Some(now_ms)),
            Phase::Trying(None) if idle => self.again(now_ms),
            Phase::Trying(None) => self.phase = Phase::Rest,
            Phase::Rest | Phase::Wait(_) => {}
        }
    }

    /// Notes that the other side does not know us.
    pub(super) fn refused(&mut self, now_ms: u64) {
        self.refused_since_ms.get_or_insert(now_ms);
    }

    /// Notes that the last connection is gone. `held_ms` is how long there was a session.
    pub(super) fn lost(&mut self, now_ms: u64, held_ms: Option<u64>) {
        let Some(held_ms) = held_ms else {
            if self.phase == Phase::Rest {
                self.again(now_ms);
            }
            return;
        };
        (self.refused_since_ms, self.failures) = (None, 0);
        let wait_ms = if held_ms >= HELD_MS_MIN {
            self.short = 0;
            0
        } else {
            self.short += 1;
            self.spread_out((WAIT_MS_MIN << (self.short - 1).min(16)).min(SHORT_WAIT_MS_MAX))
        };
        if held_ms >= HELD_MS_MIN || self.phase == Phase::Rest {
            self.wait(now_ms + wait_ms);
        }
    }

    /// Shortens a wait by this device's share of a quarter.
    fn spread_out(&self, wait_ms: u64) -> u64 {
        wait_ms - wait_ms / 4 * u64::from(self.spread) / 255
    }

    fn wait(&mut self, until_ms: u64) {
        self.phase = if self.known.is_empty() { Phase::Rest } else { Phase::Wait(until_ms) };
    }

    fn again(&mut self, now_ms: u64) {
        let soon = self
            .refused_since_ms
            .is_some_and(|since_ms| now_ms.saturating_sub(since_ms) < REFUSED_SOON_MS);
        let wait_ms = if soon {
            REFUSED_WAIT_MS
        } else {
            self.failures += 1;
            self.spread_out((WAIT_MS_MIN << (self.failures - 1).min(16)).min(WAIT_MS_MAX))
        };
        self.wait(now_ms + wait_ms);
    }

    /// Lists up to `most` addresses at which the device may be found though none of them was
    /// dialled: what it said last comes first.
    pub(super) fn hearsay(&self, most: usize) -> Vec<Multiaddr> {
        let heard = self.known.iter().filter(|known| known.origin == Origin::Heard);
        heard.take(most).map(|known| known.address.clone()).collect()
    }
}

/// Says whether an address is QUIC's.
pub(super) fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::QuicV1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "/ip4/10.0.0.1/tcp/1";
    const QUIC: &str = "/ip4/10.0.0.1/udp/1/quic-v1";

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn dialer(addresses: &[&str]) -> Dialer {
        let mut dialer = Dialer::new(0);
        for text in addresses {
            dialer.learn(&address(text), Origin::Given);
        }
        dialer.nudge(0);
        dialer
    }

    fn id(n: usize) -> ConnectionId {
        ConnectionId::new_unchecked(n)
    }

    fn one(quic: bool, text: &str) -> Vec<Attempt> {
        vec![Attempt { quic, addresses: vec![address(text)] }]
    }

    #[test]
    fn quic_waits_for_tcp() {
        let mut late = dialer(&[QUIC, TCP]);
        assert_eq!(late.due(0, false), one(false, TCP));
        late.began(id(1));
        assert_eq!(late.due(QUIC_WAIT_MS - 1, false), []);
        assert_eq!(late.due(QUIC_WAIT_MS, false), one(true, QUIC));

        let mut failed = dialer(&[QUIC, TCP]);
        failed.due(0, false);
        failed.began(id(1));
        failed.failed(id(1), None, 5, true);
        assert_eq!(failed.due(5, false), one(true, QUIC), "TCP failed before");

        let mut worked = dialer(&[QUIC, TCP]);
        worked.due(0, false);
        worked.began(id(1));
        worked.connected();
        assert_eq!(worked.next_ms(), None, "TCP worked");
    }

    /// Fails every attempt and returns the waits.
    fn waits(dialer: &mut Dialer, rounds: usize, refused: bool) -> Vec<u64> {
        let mut now_ms = 0;
        (0..rounds)
            .map(|n| {
                assert_eq!(dialer.due(now_ms, false).len(), 1);
                dialer.began(id(n));
                if refused {
                    dialer.connected();
                    dialer.refused(now_ms);
                    dialer.lost(now_ms, None);
                } else {
                    dialer.failed(id(n), None, now_ms, true);
                }
                let wait_ms = dialer.next_ms().unwrap() - now_ms;
                now_ms += wait_ms;
                wait_ms
            })
            .collect()
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let expected = [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000];
        assert_eq!(waits(&mut dialer(&[TCP]), 9, false), expected);
        let mut spread = dialer(&[TCP]);
        spread.spread = 255;
        assert_eq!(waits(&mut spread, 2, false), [188, 375]);
    }

    #[test]
    fn a_device_that_has_not_paired_us_is_asked_every_second_for_a_minute() {
        let waits = waits(&mut dialer(&[TCP]), 63, true);
        assert!(waits[..60].iter().all(|wait_ms| *wait_ms == REFUSED_WAIT_MS));
        assert_eq!(waits[60..], [250, 500, 1000], "then as everybody");
    }

    #[test]
    fn a_session_that_held_is_dialled_again_at_once() {
        let mut held = dialer(&[TCP]);
        held.due(0, false);
        held.connected();
        held.lost(20_000, Some(HELD_MS_MIN));
        assert_eq!(held.next_ms(), Some(20_000));

        let mut flapped = dialer(&[TCP]);
        flapped.due(0, false);
        flapped.connected();
        flapped.lost(100, Some(90));
        assert_eq!(flapped.next_ms(), Some(100 + WAIT_MS_MIN), "a short one waits");
    }

    #[test]
    fn a_device_that_is_restarted_again_and_again_is_not_given_up() {
        let mut dialer = dialer(&[TCP]);
        let mut now_ms = 0;
        let waits = [0; 6].map(|_| {
            dialer.due(now_ms, false);
            dialer.connected();
            dialer.lost(now_ms, Some(90));
            let wait_ms = dialer.next_ms().unwrap() - now_ms;
            now_ms += wait_ms;
            wait_ms
        });
        assert_eq!(waits, [250, 500, 1000, 2000, 2000, 2000]);
        dialer.due(now_ms, false);
        dialer.began(id(1));
        dialer.failed(id(1), None, now_ms, true);
        assert_eq!(dialer.next_ms(), Some(now_ms + WAIT_MS_MIN), "its start takes a moment");
    }

    #[test]
    fn somebody_elses_address_is_left_out() {
        let mut dialer = dialer(&[TCP, "/ip4/10.0.0.2/tcp/1"]);
        dialer.due(0, false);
        dialer.began(id(1));
        dialer.failed(id(1), Some(&address("/ip4/10.0.0.2/tcp/1")), 10, true);
        assert_eq!(dialer.due(10, false), one(false, TCP), "the rest is tried at once");
        dialer.began(id(2));
        dialer.failed(id(2), Some(&address(TCP)), 10, true);
        assert_eq!(dialer.due(10, false), [], "nothing is left");
        assert_eq!(dialer.next_ms(), Some(10 + WRONG_MS));
    }

    #[test]
    fn an_old_attempt_decides_nothing() {
        let mut dialer = dialer(&[TCP]);
        dialer.due(0, false);
        dialer.began(id(1));
        dialer.nudge(1);
        dialer.due(1, false);
        dialer.began(id(2));
        dialer.failed(id(1), None, 2, true);
        assert_eq!(dialer.next_ms(), None, "the second is still under way");
        dialer.failed(id(2), None, 2, true);
        assert_eq!(dialer.next_ms(), Some(2 + WAIT_MS_MIN));
    }

    #[test]
    fn addresses_that_worked_are_kept_longest() {
        let mut dialer = dialer(&[TCP]);
        for port in 1..100 {
            dialer.learn(&address(&format!("/ip4/10.9.9.9/tcp/{port}")), Origin::Heard);
        }
        dialer.learn(&address("/ip4/10.0.0.3/tcp/1"), Origin::Worked);
        let first: Vec<_> = dialer.usable(false, 0);
        assert_eq!(first.len(), ADDRESSES_MAX);
        assert_eq!(first[..2], [address("/ip4/10.0.0.3/tcp/1"), address(TCP)]);
    }

    #[test]
    fn without_addresses_nothing_is_dialled() {
        let mut dialer = dialer(&[]);
        assert_eq!((dialer.due(0, false), dialer.next_ms()), (vec![], None));
        dialer.lost(0, Some(1));
        assert_eq!(dialer.next_ms(), None);
    }
}
