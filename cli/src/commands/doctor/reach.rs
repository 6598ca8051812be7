//! Whether there is a daemon, where it listens, and whether the paired devices can be reached.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use serde_json::json;
use syncd_api::{ApiError, Device, Exit, Health, span};
use syncd_home::{Config, DeviceConfig};

use super::finding::Finding;
use crate::render;

/// How long an address may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// How far two clocks may be apart before people are told, in seconds.
const CLOCK_APART_S_MAX: u64 = 3600;

pub(super) fn daemon(health: &Result<Health, ApiError>) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    match health {
        Ok(health) if health.version != own => Finding::warn(
            "daemon",
            format!("syncd is {}, syncctl {own}", health.version),
            "start syncd again after an update",
        ),
        Ok(health) => {
            let since = render::local(health.started);
            let what = format!("syncd {own}, process {}, since {since}", health.pid);
            Finding::good("daemon", what)
        }
        Err(error) if error.exit == Exit::NotRunning => match error.error.split_once("; ") {
            Some((what, remedy)) => Finding::warn("daemon", what, remedy),
            None => Finding::warn("daemon", &error.error, "start syncd"),
        },
        Err(error) => Finding::bad("daemon", &error.error, "start syncd again"),
    }
}

pub(super) fn listening(health: &Health) -> Finding {
    match health.listening.is_empty() {
        true => Finding::warn(
            "ports",
            "syncd listens nowhere: only devices that listen can be reached",
            "syncctl config unset listen",
        ),
        false => Finding::good("ports", format!("syncd listens at {}", health.listening.join(" "))),
    }
}

/// Tries the ports that the daemon will want.
pub(super) fn ports(config: &Config) -> Finding {
    let addresses = config.listen.addresses();
    match addresses.iter().find(|address| is_taken(address)) {
        Some(address) => Finding::bad(
            "ports",
            format!("{address} is in use by another program"),
            "end it, or choose another port: syncctl config set listen ADDRESS...",
        ),
        None => Finding::good("ports", "free to listen on"),
    }
}

fn is_taken(address: &str) -> bool {
    let Some((Host::Ip(ip), kind, port)) = parts(address) else { return false };
    let at = SocketAddr::new(ip, port);
    let bound = match kind {
        Kind::Tcp => TcpListener::bind(at).map(drop),
        Kind::Udp => UdpSocket::bind(at).map(drop),
    };
    bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

#[derive(Debug, PartialEq, Eq)]
enum Host<'a> {
    Ip(IpAddr),
    Name(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
}

/// Takes a multiaddress apart as far as it names a port of a host.
fn parts(address: &str) -> Option<(Host<'_>, Kind, u16)> {
    let parts: Vec<&str> = address.split('/').skip(1).collect();
    let [family, host, kind, port, ..] = parts[..] else { return None };
    let host = match family {
        "ip4" | "ip6" => Host::Ip(host.parse().ok()?),
        "dns" | "dns4" | "dns6" => Host::Name(host),
        _ => return None,
    };
    let kind = match kind {
        "tcp" => Kind::Tcp,
        "udp" => Kind::Udp,
        _ => return None,
    };
    Some((host, kind, port.parse().ok()?))
}

/// Tells of each paired device whether it is connected, or could be.
pub(super) fn devices(config: &Config, live: Option<&[Device]>) -> Vec<Finding> {
    let told = |device: &DeviceConfig| {
        let id = device.id.to_string();
        let live = live.and_then(|all| all.iter().find(|one| one.device_id == id));
        match live.filter(|live| live.connected) {
            Some(live) => connected(device, live.clock_ahead_s.unwrap_or_default()),
            None => away(device),
        }
    };
    config.devices.iter().map(told).collect()
}

/// Tells of a device that is connected, and whether its clock is about as this one's.
fn connected(device: &DeviceConfig, clock_ahead_s: i64) -> Finding {
    let facts = json!({ "connected": true, "clock_ahead_s": clock_ahead_s });
    let (name, apart_s) = (&device.name, clock_ahead_s.unsigned_abs());
    if apart_s <= CLOCK_APART_S_MAX {
        return Finding::good("device", format!("{name} is connected")).with(facts);
    }
    let way = if clock_ahead_s > 0 { "ahead of" } else { "behind" };
    let what = format!("{name} is connected, but its clock is {} {way} this one's", span(apart_s));
    let remedy = "set the one that is wrong, best by NTP: sudo timedatectl set-ntp true";
    Finding::warn("device", what, remedy).with(facts)
}

/// Tries the addresses of a device that is not connected.
fn away(device: &DeviceConfig) -> Finding {
    let name = &device.name;
    let dialled: Vec<&String> = device.addresses.iter().filter(|a| !is_kept_only(a)).collect();
    let facts = json!({ "connected": false, "addresses": dialled.len() });
    let finding = if dialled.is_empty() {
        Finding::warn(
            "device",
            format!("{name} is not connected, and no address of it is known"),
            "it must be in the same local network, dial this device, or be given an address: \
             syncctl devices address DEVICE ADDRESS...",
        )
    } else if let Some(address) = dialled.iter().find(|address| answers(address)) {
        Finding::warn(
            "device",
            format!("{name} is not connected, but something answers at {address}"),
            "see that syncd runs there and has paired with this device: syncctl pending",
        )
    } else if dialled.iter().all(|a| matches!(parts(a), Some((_, Kind::Udp, _)))) {
        Finding::warn(
            "device",
            format!("{name} is not connected; whether it can be reached by QUIC shows only there"),
            "start syncd on both, and let UDP through the firewall",
        )
    } else {
        Finding::warn(
            "device",
            format!("{name} is not connected, and none of its addresses answers"),
            "see that it is on, that syncd runs there, and that its firewall lets the port through",
        )
    };
    finding.with(facts)
}

/// Tells whether an address is only kept, since nothing dials its kind yet.
fn is_kept_only(address: &str) -> bool {
    address.starts_with("ssh://") || address.contains("/p2p-circuit")
}

fn answers(address: &str) -> bool {
    let Some((host, Kind::Tcp, port)) = parts(address) else { return false };
    let found: Vec<SocketAddr> = match host {
        Host::Ip(ip) => vec![SocketAddr::new(ip, port)],
        Host::Name(name) => (name, port).to_socket_addrs().into_iter().flatten().collect(),
    };
    found.iter().any(|at| TcpStream::connect_timeout(at, ANSWER_WAIT).is_ok())
}

#[cfg(test)]
mod tests {
    use syncd_core::model::DeviceId;

    use super::*;

    #[test]
    fn a_port_in_use_is_noticed() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        assert!(is_taken(&format!("/ip4/127.0.0.1/tcp/{port}")));
        drop(tcp);
        for (address, because) in [
            (format!("/ip4/127.0.0.1/tcp/{port}"), "free again"),
            ("/dns4/box/tcp/1".to_owned(), "not of this machine"),
            ("nonsense".to_owned(), "no address"),
        ] {
            assert!(!is_taken(&address), "{because}");
        }
    }

    #[test]
    fn who_is_not_connected_is_tried() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = format!("/ip4/127.0.0.1/tcp/{}", tcp.local_addr().unwrap().port());
        for (addresses, said, because) in [
            (vec![], "no address of it is known", "none was given"),
            (vec!["ssh://me@box".to_owned()], "no address of it is known", "nothing dials ssh yet"),
            (vec![open], "something answers", "a port that is open"),
            (vec!["/ip4/127.0.0.1/tcp/1".to_owned()], "none of its addresses", "a closed port"),
            (vec!["/ip4/127.0.0.1/udp/1/quic-v1".to_owned()], "by QUIC", "cannot be tried out"),
        ] {
            let (id, rates) = (DeviceId([1; 32]), Default::default());
            let device = DeviceConfig { id, name: "box".into(), addresses, rates };
            let found = away(&device);
            assert!(found.what.contains(said), "{because}: {}", found.what);
        }
    }
}
