//! How fast bytes may come and go: buckets that whoever sends or receives must draw from.
//!
//! A bucket is a time from which on the next bytes may go. It lets a burst of [`BURST`] pass and
//! then as many bytes a second as it is set to. Every session draws from two, its device's and
//! everybody's; devices in the local network draw from none unless told to.
//!
//! # Invariants
//! - Bulk and contents are slowed down, never what is interactive: a small edit does not queue
//!   behind a limit.
//! - Nothing is dropped: who must wait waits, and the other side is held back by its full lane.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libp2p::multiaddr::Multiaddr;
use syncd_core::model::DeviceId;
use tokio::time::{Instant, sleep_until};

use super::pair::ip_of;

/// What may pass at once after a rest.
const BURST: Duration = Duration::from_millis(100);

/// Bytes that are drawn at a time, so that a long frame flows instead of coming in one piece.
pub(super) const DRAW_BYTES: usize = 16 << 10;

/// Bytes a second in each direction; `None` is as many as fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate {
    /// Out.
    pub send_bytes_per_s: Option<u64>,
    /// In.
    pub receive_bytes_per_s: Option<u64>,
}

/// All that is limited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// For all devices together.
    pub total: Rate,
    /// For single devices, within that.
    pub devices: BTreeMap<DeviceId, Rate>,
    /// Whether devices in the local network are limited too.
    pub limit_lan: bool,
}

/// The buckets of one network. Limits may change at any time and count at once.
#[derive(Debug, Default)]
pub(super) struct Rates {
    total: Arc<Pair>,
    devices: Mutex<BTreeMap<DeviceId, Arc<Pair>>>,
    limit_lan: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Pair {
    send: Bucket,
    receive: Bucket,
}

/// One direction of one or all devices.
#[derive(Debug, Default)]
struct Bucket {
    /// 0 is no limit.
    bytes_per_s: AtomicU64,
    /// From when on the next bytes may pass.
    next: Mutex<Option<Instant>>,
}

/// What one session draws from.
#[derive(Debug, Clone, Default)]
pub(super) struct Throttle {
    from: Option<(Arc<Pair>, Arc<Pair>)>,
    /// Of a session in the local network: whether the limits count there.
    limit_lan: Option<Arc<AtomicBool>>,
}

impl Rates {
    /// Sets all limits anew.
    pub(super) fn set(&self, limits: &RateLimits) {
        self.total.set(limits.total);
        self.limit_lan.store(limits.limit_lan, Ordering::Relaxed);
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        for (device, pair) in devices.iter() {
            pair.set(limits.devices.get(device).copied().unwrap_or_default());
        }
        for (device, rate) in &limits.devices {
            devices.entry(*device).or_default().set(*rate);
        }
    }

    /// Returns what a session with `device` at `address` draws from.
    pub(super) fn throttle(&self, device: DeviceId, address: &Multiaddr) -> Throttle {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let own = Arc::clone(devices.entry(device).or_default());
        Throttle {
            from: Some((own, Arc::clone(&self.total))),
            limit_lan: is_lan(address).then(|| Arc::clone(&self.limit_lan)),
        }
    }
}

impl Throttle {
    /// Waits until `bytes` may be sent.
    pub(super) async fn send(&self, bytes: usize) {
        wait(self.until(bytes, Instant::now(), |pair| &pair.send)).await;
    }

    /// Waits for as long as `bytes` that came should have taken.
    pub(super) async fn receive(&self, bytes: usize) {
        wait(self.until(bytes, Instant::now(), |pair| &pair.receive)).await;
    }

    /// Draws `bytes` and returns when they may pass; `None` is at once.
    fn until(&self, bytes: usize, now: Instant, way: fn(&Pair) -> &Bucket) -> Option<Instant> {
        let is_free = self.limit_lan.as_ref().is_some_and(|limit| !limit.load(Ordering::Relaxed));
        let (own, total) = self.from.as_ref().filter(|_| !is_free)?;
        [own, total].iter().filter_map(|pair| way(pair).draw(bytes, now)).max()
    }
}

async fn wait(until: Option<Instant>) {
    if let Some(until) = until {
        sleep_until(until).await;
    }
}

impl Pair {
    fn set(&self, rate: Rate) {
        let store = |bucket: &Bucket, rate: Option<u64>| {
            bucket.bytes_per_s.store(rate.unwrap_or(0), Ordering::Relaxed);
        };
        store(&self.send, rate.send_bytes_per_s);
        store(&self.receive, rate.receive_bytes_per_s);
    }
}

impl Bucket {
    /// Takes `bytes` out and returns when they may pass; `None` is at once.
    fn draw(&self, bytes: usize, now: Instant) -> Option<Instant> {
        let rate = self.bytes_per_s.load(Ordering::Relaxed);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if rate == 0 {
            *next = None;
            return None;
        }
        let from = next.map_or(now, |next| next.max(now.checked_sub(BURST).unwrap_or(now)));
        #[expect(clippy::cast_precision_loss, reason = "a nanosecond more or less is nothing")]
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        *next = Some(from + cost);
        Some(from).filter(|from| *from > now)
    }
}

/// Tells whether an address is this machine's or one of its local network.
fn is_lan(address: &Multiaddr) -> bool {
    ip_of(address).is_some_and(|ip| match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceId = DeviceId([1; 32]);

    #[test]
    fn a_bucket_lets_through_what_it_is_set_to() {
        let bucket = Bucket::default();
        let now = Instant::now();
        assert_eq!(bucket.draw(1 << 30, now), None, "no limit");
        bucket.bytes_per_s.store(1000, Ordering::Relaxed);
        assert_eq!(bucket.draw(500, now), None, "the first bytes pass at once");
        let second = bucket.draw(500, now).expect("the next ones wait");
        assert_eq!(second - now, Duration::from_millis(500));
        let third = bucket.draw(1, now).expect("and so on");
        assert_eq!(third - now, Duration::from_millis(1000));
        let later = now + Duration::from_secs(60);
        for _ in 0..2 {
            assert_eq!(bucket.draw(100, later), None, "a rest lets a burst pass, no more");
        }
        assert!(bucket.draw(100, later).is_some());
    }

    #[test]
    fn a_session_draws_from_its_device_and_from_all() {
        let limit = |bytes| Rate { send_bytes_per_s: Some(bytes), receive_bytes_per_s: None };
        let far: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        let near: Multiaddr = "/ip4/192.168.1.1/tcp/1".parse().unwrap();
        for (total, own, limit_lan, address, s, because) in [
            (limit(1000), Rate::default(), false, &far, 10, "all together"),
            (limit(1000), limit(100), false, &far, 100, "less for this one"),
            (Rate::default(), limit(100), false, &far, 100, "only this one"),
            (Rate::default(), Rate::default(), false, &far, 0, "nothing is limited"),
            (limit(1000), Rate::default(), false, &near, 0, "the local network is free"),
            (limit(1000), Rate::default(), true, &near, 10, "unless that is limited too"),
        ] {
            let rates = Rates::default();
            let throttle = rates.throttle(DEVICE, address);
            rates.set(&RateLimits { total, devices: [(DEVICE, own)].into(), limit_lan });
            let now = Instant::now();
            let mut until = None;
            for _ in 0..=10 {
                until = throttle.until(1000, now, |pair| &pair.send);
            }
            let waits = until.map_or(0, |until| (until - now).as_secs());
            assert_eq!(waits, s, "{because}");
            assert_eq!(throttle.until(1000, now, |pair| &pair.receive), None, "{because}");
        }
    }

    #[test]
    fn the_local_network_is_known_by_its_addresses() {
        for (address, lan) in [
            ("/ip4/127.0.0.1/tcp/1", true),
            ("/ip4/10.1.2.3/udp/1/quic-v1", true),
            ("/ip6/fe80::1/tcp/1", true),
            ("/ip6/::ffff:192.168.1.1/tcp/1", true),
            ("/ip4/192.0.2.1/tcp/1", false),
            ("/ip6/2001:db8::1/tcp/1", false),
            ("/dns4/box.example/tcp/1", false),
        ] {
            assert_eq!(is_lan(&address.parse().unwrap()), lan, "{address}");
        }
    }
}
