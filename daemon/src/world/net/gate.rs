//! The gate: who is paired, how often others may knock, and who did.
//!
//! Decides for each connection, before any other part sees it, whether it is a paired device's,
//! a stranger's that may leave its card, or nobody's.
//!
//! # Invariants
//! - What strangers can make this device hold is bounded: [`STRANGERS_MAX`] connections,
//!   [`PENDING_MAX`] cards, [`BUCKETS_MAX`] counters.
//! - Knocks from one IP address (one /64 of IPv6) are limited to a burst of [`KNOCKS_BURST`], then
//!   one per [`KNOCK_MS`]. Connections that turn out to be a paired device's do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use libp2p::Multiaddr;
use syncd_core::model::DeviceId;

use super::Pending;
use super::pair::{Card, ip_of};

/// Connections of strangers at one time.
pub(super) const STRANGERS_MAX: usize = 16;
/// Devices that are shown as asking to be paired.
const PENDING_MAX: usize = 64;
/// After this long without a knock a device is no longer shown, in milliseconds.
const PENDING_MS_MAX: u64 = 10 * 60 * 1000;
/// Addresses whose knocks are counted; beyond, counting begins anew.
const BUCKETS_MAX: usize = 4096;
/// Knocks one address may make at once.
const KNOCKS_BURST: u64 = 60;
/// Time after which one more knock is allowed, in milliseconds.
const KNOCK_MS: u64 = 500;

/// The paired devices and the knocks of others.
#[derive(Default)]
pub(super) struct Gate {
    paired: BTreeSet<DeviceId>,
    /// Per address, the time up to which its knocks are paid for.
    paid_ms: BTreeMap<IpAddr, u64>,
    knocks: BTreeMap<DeviceId, Knock>,
}

struct Knock {
    pending: Pending,
    candidates: Vec<Multiaddr>,
    last_ms: u64,
}

impl Gate {
    /// Says whether a device is paired.
    pub(super) fn is_paired(&self, device: DeviceId) -> bool {
        self.paired.contains(&device)
    }

    /// Pairs a device and returns where it may be reached if it has knocked.
    pub(super) fn pair(&mut self, device: DeviceId) -> Vec<Multiaddr> {
        self.paired.insert(device);
        self.knocks.remove(&device).map(|knock| knock.candidates).unwrap_or_default()
    }

    /// Ends a pairing.
    pub(super) fn unpair(&mut self, device: DeviceId) {
        self.paired.remove(&device);
    }

    /// Says whether a connection from `address` may begin, and counts it as a knock.
    pub(super) fn admit(&mut self, address: &Multiaddr, now_ms: u64) -> bool {
        if self.paid_ms.len() >= BUCKETS_MAX {
            self.paid_ms.retain(|_, paid_ms| *paid_ms > now_ms);
        }
        if self.paid_ms.len() >= BUCKETS_MAX {
            self.paid_ms.clear();
        }
        let paid_ms = self.paid_ms.entry(source(address)).or_default();
        let next_ms = (*paid_ms).max(now_ms) + KNOCK_MS;
        let allowed = next_ms <= now_ms + KNOCKS_BURST * KNOCK_MS;
        if allowed {
            *paid_ms = next_ms;
        }
        allowed
    }

    /// Takes back a knock: the connection was a paired device's.
    pub(super) fn forgive(&mut self, address: &Multiaddr) {
        if let Some(paid_ms) = self.paid_ms.get_mut(&source(address)) {
            *paid_ms = paid_ms.saturating_sub(KNOCK_MS);
        }
    }

    /// Notes a stranger's card. Returns it as shown if there is anything new in it.
    pub(super) fn knock(
        &mut self,
        device: DeviceId,
        card: &Card,
        from: &Multiaddr,
        now_ms: u64,
        since_unix_ms: u64,
    ) -> Option<Pending> {
        let candidates = card.candidates(ip_of(from));
        let address = candidates.first().unwrap_or(from).to_string();
        let name = card.name.clone();
        let mut pending = Pending { device, name, address, since_unix_ms };
        let before = self.knocks.remove(&device);
        if let Some(before) = &before {
            pending.since_unix_ms = before.pending.since_unix_ms;
        }
        if self.knocks.len() >= PENDING_MAX {
            let oldest = self.knocks.iter().min_by_key(|(_, knock)| knock.last_ms);
            if let Some(oldest) = oldest.map(|(device, _)| *device) {
                self.knocks.remove(&oldest);
            }
        }
        let shown = pending.clone();
        self.knocks.insert(device, Knock { pending, candidates, last_ms: now_ms });
        before.is_none_or(|before| before.pending != shown).then_some(shown)
    }

    /// Returns the devices that ask to be paired, sorted by device.
    pub(super) fn pending(&mut self, now_ms: u64) -> Vec<Pending> {
        self.knocks.retain(|_, knock| now_ms.saturating_sub(knock.last_ms) <= PENDING_MS_MAX);
        self.knocks.values().map(|knock| knock.pending.clone()).collect()
    }
}

/// Returns what knocks are counted under: the IP, or the /64 of an IPv6 one.
fn source(address: &Multiaddr) -> IpAddr {
    match ip_of(address) {
        Some(IpAddr::V6(ip)) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        Some(ip) => ip,
        None => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn card(name: &str) -> Card {
        Card { name: name.to_owned(), listen: vec![address("/ip4/127.0.0.1/tcp/9")] }
    }

    #[test]
    fn knocks_are_limited_per_address() {
        let mut gate = Gate::default();
        let (one, other) = (address("/ip4/192.0.2.1/tcp/1"), address("/ip4/192.0.2.2/tcp/1"));
        let burst = (0..1000).filter(|_| gate.admit(&one, 0)).count();
        assert_eq!(burst as u64, KNOCKS_BURST);
        assert!(gate.admit(&other, 0), "another address is not held back");
        assert!(!gate.admit(&one, KNOCK_MS - 1));
        assert!(gate.admit(&one, KNOCK_MS), "time allows one more");
        assert!(!gate.admit(&one, KNOCK_MS));
        gate.forgive(&one);
        assert!(gate.admit(&one, KNOCK_MS), "a paired device's connection did not count");
    }

    #[test]
    fn an_ipv6_net_counts_as_one() {
        let mut gate = Gate::default();
        let admitted = (0..1000)
            .filter(|i| gate.admit(&address(&format!("/ip6/2001:db8::{i:x}/tcp/1")), 0))
            .count();
        assert_eq!(admitted as u64, KNOCKS_BURST);
    }

    #[test]
    fn counters_are_bounded() {
        let mut gate = Gate::default();
        for i in 0..10_000_u32 {
            let ip = std::net::Ipv4Addr::from(i);
            gate.admit(&address(&format!("/ip4/{ip}/tcp/1")), 0);
            assert!(gate.paid_ms.len() <= BUCKETS_MAX);
        }
    }

    #[test]
    fn a_card_is_shown_once_until_something_changes() {
        let mut gate = Gate::default();
        let (device, from) = (DeviceId([1; 32]), address("/ip4/192.0.2.1/tcp/40000"));
        let first = gate.knock(device, &card("a"), &from, 0, 77).unwrap();
        assert_eq!(first.address, "/ip4/192.0.2.1/tcp/9");
        assert_eq!(gate.knock(device, &card("a"), &from, 1, 99), None);
        let renamed = gate.knock(device, &card("b"), &from, 2, 99).unwrap();
        assert_eq!((renamed.name.as_str(), renamed.since_unix_ms), ("b", 77));
        assert_eq!(gate.pending(3), [renamed]);
        assert_eq!(gate.pending(3 + PENDING_MS_MAX), []);
    }

    #[test]
    fn pairing_takes_the_knock() {
        let mut gate = Gate::default();
        let device = DeviceId([1; 32]);
        gate.knock(device, &card("a"), &address("/ip4/192.0.2.1/tcp/4"), 0, 0);
        assert_eq!(gate.pair(device), [address("/ip4/192.0.2.1/tcp/9")]);
        assert_eq!(gate.pending(0), []);
        assert!(gate.is_paired(device));
        gate.unpair(device);
        assert!(!gate.is_paired(device));
    }

    #[test]
    fn the_oldest_knock_makes_room() {
        let mut gate = Gate::default();
        for i in 0..=PENDING_MAX {
            let device = DeviceId([u8::try_from(i).unwrap(); 32]);
            gate.knock(device, &card("a"), &address("/ip4/192.0.2.1/tcp/4"), i as u64, 0);
        }
        let shown = gate.pending(PENDING_MAX as u64);
        assert_eq!(shown.len(), PENDING_MAX);
        assert!(shown.iter().all(|pending| pending.device != DeviceId([0; 32])));
    }
}
