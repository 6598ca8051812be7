//! Whole networks on loopback.

use std::time::Duration;

use bytes::Bytes;
use libp2p::multiaddr::{Multiaddr, Protocol};
use syncd_core::model::DeviceId;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;

mod speed;
mod strangers;

/// Bounds every wait: what takes longer has failed.
const LONG: Duration = Duration::from_secs(60);

/// One device under test.
struct Node {
    net: Net,
    events: mpsc::Receiver<NetEvent>,
    id: DeviceId,
}

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

fn config(n: u8, listen: &[&str]) -> NetConfig {
    NetConfig {
        seed: [n; 32],
        listen: listen.iter().map(|address| (*address).to_owned()).collect(),
        listen_is_default: false,
        mdns: false,
        name: format!("device {n}"),
        trusted: Vec::new(),
        limits: RateLimits::default(),
    }
}

async fn node(n: u8, listen: &[&str]) -> Node {
    let (net, events) = start(config(n, listen)).await.unwrap();
    Node { net, events, id: device_id([n; 32]) }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(LONG, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

impl Node {
    async fn next<T>(&mut self, what: &str, mut pick: impl FnMut(NetEvent) -> Option<T>) -> T {
        within(what, async {
            loop {
                let event = self.events.recv().await.expect("the network runs");
                if let Some(picked) = pick(event) {
                    return picked;
                }
            }
        })
        .await
    }

    async fn up(&mut self) -> Session {
        self.next("up", |event| {
            assert!(!matches!(event, NetEvent::Down { .. }), "down before up");
            if let NetEvent::Up(session) = event { Some(session) } else { None }
        })
        .await
    }

    async fn down(&mut self) -> u64 {
        self.next("down", |event| {
            assert!(!matches!(event, NetEvent::Up(_)), "a second session");
            if let NetEvent::Down { session, .. } = event { Some(session) } else { None }
        })
        .await
    }

    async fn asked(&mut self) -> Pending {
        self.next("pending", |event| {
            assert!(!matches!(event, NetEvent::Up(_)), "a session with an unpaired device");
            if let NetEvent::Pending(pending) = event { Some(pending) } else { None }
        })
        .await
    }

    /// Takes what has happened so far.
    fn so_far(&mut self) -> Vec<NetEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}

async fn pair(a: &mut Node, b: &mut Node) -> (Session, Session) {
    let (from_a, from_b) = (a.net.listen_addrs().await, b.net.listen_addrs().await);
    tokio::join!(a.net.trust(b.id, from_b), b.net.trust(a.id, from_a));
    tokio::join!(a.up(), b.up())
}

fn numbered(n: u32, bytes: usize) -> Bytes {
    let mut frame = vec![0; bytes.max(4)];
    frame[..4].copy_from_slice(&n.to_le_bytes());
    frame.into()
}

fn number(frame: &Bytes) -> u32 {
    u32::from_le_bytes(frame[..4].try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_each_lane_arrive_in_order() {
    for listen in [TCP, QUIC] {
        let (mut a, mut b) = (node(1, &[listen]).await, node(2, &[listen]).await);
        let (at_a, at_b) = pair(&mut a, &mut b).await;
        assert_eq!((at_a.device, at_b.device, at_a.id), (b.id, a.id, at_b.id));
        let path = if listen == TCP { LinkPath::DirectTcp } else { LinkPath::DirectQuic };
        assert_eq!((at_a.path, at_b.path), (path, path));
        for (send, mut recv) in [(at_a.send.clone(), at_b.recv), (at_b.send.clone(), at_a.recv)] {
            let sender = tokio::spawn(async move {
                for n in 0..1000 {
                    for lane in [Lane::Interactive, Lane::Bulk, Lane::Data] {
                        let frame = numbered(n, (n as usize * 37) % 5000);
                        send.send(lane, frame).await.unwrap();
                    }
                }
            });
            for n in 0..1000 {
                for lane in [&mut recv.interactive, &mut recv.bulk, &mut recv.data] {
                    let frame = within("a frame", lane.recv()).await.unwrap();
                    assert_eq!(number(&frame), n);
                    assert_eq!(frame.len(), ((n as usize * 37) % 5000).max(4));
                }
            }
            sender.await.unwrap();
        }
        let links = a.net.links().await;
        assert_eq!((links.len(), links[0].device, links[0].path), (1, b.id, path));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_nobody_reads_does_not_hold_up_the_interactive_lane() {
    for listen in [TCP, QUIC] {
        let (mut a, mut b) = (node(1, &[listen]).await, node(2, &[listen]).await);
        let (at_a, at_b) = pair(&mut a, &mut b).await;
        let frames = 256;
        let data = at_a.send.clone();
        let flood = tokio::spawn(async move {
            for n in 0..frames {
                data.send(Lane::Data, numbered(n, 1 << 20)).await.unwrap();
            }
        });
        let (mut to_b, mut to_a, mut data) =
            (at_b.recv.interactive, at_a.recv.interactive, at_b.recv.data);
        let first = within("the flood", data.recv()).await.unwrap();
        assert_eq!(number(&first), 0);
        for n in 0..200 {
            at_a.send.send(Lane::Interactive, numbered(n, 100)).await.unwrap();
            let there = within("a frame there", to_b.recv()).await.unwrap();
            at_b.send.send(Lane::Interactive, there).await.unwrap();
            let back = within("a frame back", to_a.recv()).await.unwrap();
            assert_eq!(number(&back), n);
        }
        assert!(!flood.is_finished(), "the flood was still waiting for its reader");
        for n in 1..frames {
            let frame = within("data", data.recv()).await.unwrap();
            assert_eq!((number(&frame), frame.len()), (n, 1 << 20));
        }
        within("the flood's end", flood).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_dial_each_other_at_once_get_one_session() {
    let mut kept = Vec::new();
    for n in 0..50 {
        let listen: &[&str] = if n % 5 == 4 { &[QUIC, TCP] } else { &[TCP] };
        let (mut a, mut b) = (node(2 * n + 1, listen).await, node(2 * n + 2, listen).await);
        let (at_a, mut at_b) = pair(&mut a, &mut b).await;
        assert_eq!(at_a.id, at_b.id, "round {n}");
        at_a.send.send(Lane::Interactive, numbered(7, 4)).await.unwrap();
        let frame = within("a frame", at_b.recv.interactive.recv()).await.unwrap();
        assert_eq!(number(&frame), 7);
        kept.push((a, b, at_a, at_b));
    }
    for (a, b, at_a, at_b) in &mut kept {
        for node in [a, b] {
            let flapped = node
                .so_far()
                .iter()
                .any(|event| matches!(event, NetEvent::Up(_) | NetEvent::Down { .. }));
            assert!(!flapped, "one session stays");
            assert_eq!(node.net.links().await.len(), 1);
        }
        assert_eq!(at_a.send.try_send(Lane::Bulk, Bytes::new()), Ok(()));
        assert_eq!(at_b.send.try_send(Lane::Bulk, Bytes::new()), Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn distrust_returns_when_nothing_is_left() {
    let (mut a, mut b) = (node(1, &[TCP]).await, node(2, &[TCP]).await);
    let (at_a, mut at_b) = pair(&mut a, &mut b).await;
    within("distrust", a.net.distrust(b.id)).await;
    assert_eq!(a.net.links().await, []);
    assert_eq!(at_a.send.send(Lane::Data, Bytes::new()).await, Err(Gone));
    assert_eq!(a.down().await, at_a.id);
    assert_eq!(b.down().await, at_a.id);
    assert_eq!(within("the end", at_b.recv.data.recv()).await, None);
    assert_eq!(a.asked().await.device, b.id, "the other side asks to be paired again");
    within("distrust of nobody", a.net.distrust(DeviceId([9; 32]))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_has_a_session_with_each_of_its_devices() {
    let mut hub = node(1, &[TCP]).await;
    let (mut one, mut two) = (node(2, &[TCP]).await, node(3, &[TCP]).await);
    let at = hub.net.listen_addrs().await;
    for box_ in [&one, &two] {
        hub.net.trust(box_.id, vec![]).await;
        box_.net.trust(hub.id, at.clone()).await;
    }
    let mut sessions = [hub.up().await, hub.up().await];
    let (at_one, at_two) = (one.up().await, two.up().await);
    sessions.sort_by_key(|session| session.device != one.id);
    let mut there = [at_one, at_two];
    for (here, there) in sessions.iter().zip(&mut there) {
        here.send.send(Lane::Bulk, numbered(5, 4)).await.unwrap();
        assert_eq!(number(&there.recv.bulk.recv().await.unwrap()), 5);
    }
    let links: Vec<_> = hub.net.links().await.into_iter().map(|link| link.device).collect();
    let mut devices = [one.id, two.id];
    devices.sort();
    assert_eq!(links, devices);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_device_is_noticed_and_found_again() {
    // Each of the two leads in one round.
    for (stays, killed) in [(1, 2), (2, 1)] {
        let mut a = node(stays, &[TCP]).await;
        let (id, from) = (device_id([killed; 32]), a.net.listen_addrs().await);
        let mut config = config(killed, &[TCP]);
        config.trusted = vec![(a.id, from.clone())];
        let (kill, alive) = std::sync::mpsc::channel::<()>();
        let (tell, told) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let b = runtime.block_on(start(config)).unwrap();
            tell.send(runtime.block_on(b.0.listen_addrs())).unwrap();
            let _ = alive.recv();
            drop(runtime);
            drop(b);
        });
        let at = told.await.unwrap();
        a.net.trust(id, at.clone()).await;
        let first = a.up().await;
        drop(kill);
        thread.join().unwrap();
        assert_eq!(a.down().await, first.id);
        assert_eq!(first.send.send(Lane::Data, Bytes::new()).await, Err(Gone));

        let mut config = self::config(killed, &[&at[0]]);
        config.trusted = vec![(a.id, vec![])];
        let (_net, _events) = start(config).await.unwrap();
        assert_ne!(a.up().await.id, first.id, "only one side knows where the other is");
    }
}

/// Passes bytes between `from` connections and `to` until told to fall silent; then neither
/// passes nor closes.
async fn line(to: std::net::SocketAddr) -> (String, CancellationToken) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let silence = CancellationToken::new();
    let silent = silence.clone();
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let silent = silent.clone();
            tokio::spawn(async move {
                let mut there = tokio::net::TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut here, &mut there) => {}
                    () = silent.cancelled() => std::future::pending().await,
                }
            });
        }
    });
    (format!("/ip4/127.0.0.1/tcp/{port}"), silence)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_falls_silent_is_noticed_and_left() {
    let (mut a, mut b) = (node(1, &[TCP]).await, node(2, &[TCP]).await);
    let address: Multiaddr = b.net.listen_addrs().await[0].parse().unwrap();
    let Some(Protocol::Tcp(port)) = address.iter().nth(1) else { panic!("{address}") };
    let (through, silence) = line(([127, 0, 0, 1], port).into()).await;
    b.net.trust(a.id, vec![]).await;
    a.net.trust(b.id, vec![through.clone()]).await;
    let (at_a, at_b) = (a.up().await, b.up().await);
    assert_eq!(at_a.address, through);

    let since = std::time::Instant::now();
    silence.cancel();
    assert_eq!(a.down().await, at_a.id);
    assert_eq!(b.down().await, at_b.id);
    assert!(since.elapsed() < Duration::from_secs(15), "took {:?}", since.elapsed());
    a.net.trust(b.id, b.net.listen_addrs().await).await;
    assert_ne!(a.up().await.id, at_a.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn waking_ends_dead_sessions_and_spares_live_ones() {
    let (mut a, mut b, mut c) =
        (node(1, &[TCP]).await, node(2, &[TCP]).await, node(3, &[TCP]).await);
    let (alive, _at_c) = pair(&mut a, &mut c).await;
    let address: Multiaddr = b.net.listen_addrs().await[0].parse().unwrap();
    let Some(Protocol::Tcp(port)) = address.iter().nth(1) else { panic!("{address}") };
    let (through, silence) = line(([127, 0, 0, 1], port).into()).await;
    b.net.trust(a.id, vec![]).await;
    a.net.trust(b.id, vec![through]).await;
    let (dead, _at_b) = (a.up().await, b.up().await);
    silence.cancel();
    a.net.wake();
    assert_eq!(a.down().await, dead.id);
    assert_eq!(alive.send.try_send(Lane::Data, Bytes::new()), Ok(()));
    assert_eq!(a.net.links().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversize_frame_ends_the_session_and_not_the_process() {
    let (mut a, mut b) = (node(1, &[TCP]).await, node(2, &[TCP]).await);
    let (at_a, _at_b) = pair(&mut a, &mut b).await;
    let too_long = Bytes::from(vec![0; syncd_core::model::limits::FRAME_BYTES_MAX + 1]);
    assert_eq!(at_a.send.send(Lane::Data, too_long).await, Err(Gone));
    assert_eq!((a.down().await, b.down().await), (at_a.id, at_a.id));
    let (at_a, at_b) = tokio::join!(a.up(), b.up());
    assert_eq!(at_a.id, at_b.id, "and the next one comes up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_an_error_that_names_the_address() {
    let a = node(1, &[TCP, QUIC]).await;
    for address in a.net.listen_addrs().await {
        let mut config = config(2, &[&address]);
        config.listen_is_default = true;
        let error = start(config).await.map(drop).unwrap_err();
        assert!(matches!(&error, NetError::PortInUse { address: named } if *named == address));
        assert!(error.to_string().contains(&address), "{error}");
    }
    let error = start(config(2, &["localhost:22000"])).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("localhost:22000"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_that_this_machine_lacks_is_a_warning() {
    // No machine has an address of the block for documentation.
    for lacking in ["/ip4/198.51.100.1/tcp/0", "/ip4/198.51.100.1/udp/0/quic-v1"] {
        let chosen = start(config(1, &[TCP, lacking])).await.map(drop).unwrap_err();
        assert!(matches!(&chosen, NetError::Listen { address, .. } if address == lacking));
        let mut config = config(1, &[TCP, lacking]);
        config.listen_is_default = true;
        let (net, events) = start(config).await.unwrap();
        let mut node = Node { net, events, id: device_id([1; 32]) };
        let warning = node
            .next("a warning", |event| {
                if let NetEvent::Warning(warning) = event { Some(warning) } else { None }
            })
            .await;
        assert!(warning.contains(lacking), "{warning}");
        let mut only = self::config(1, &[lacking]);
        only.listen_is_default = true;
        assert!(start(only).await.is_err(), "listening nowhere is no default");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listening_elsewhere_keeps_the_sessions() {
    let (mut a, mut b) = (node(1, &[TCP]).await, node(2, &[TCP]).await);
    let (at_a, mut at_b) = pair(&mut a, &mut b).await;
    let before = a.net.listen_addrs().await;
    let taken = b.net.listen_addrs().await;
    let refused = a.net.relisten(vec![QUIC.to_owned(), taken[0].clone()]).await.unwrap_err();
    assert!(matches!(refused, NetError::PortInUse { .. }), "{refused}");
    a.net.relisten(vec![QUIC.to_owned()]).await.unwrap();
    within("the new address", async {
        loop {
            let now = a.net.listen_addrs().await;
            if now.len() == 1 && now != before && now[0].contains("quic") {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    at_a.send.send(Lane::Bulk, numbered(3, 4)).await.unwrap();
    assert_eq!(number(&at_b.recv.bulk.recv().await.unwrap()), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_addresses_do_not_hide_the_good_one() {
    let (mut a, mut b, c) =
        (node(1, &[TCP]).await, node(2, &[TCP, QUIC]).await, node(3, &[TCP]).await);
    let good = b.net.listen_addrs().await;
    let (tcp, quic): (Vec<_>, Vec<_>) = good.into_iter().partition(|at| at.contains("tcp"));
    let somebody_else = c.net.listen_addrs().await[0].clone();
    let nobody = "/ip4/127.0.0.1/tcp/1".to_owned();
    b.net.trust(a.id, vec![]).await;
    for (good, path) in [(tcp, LinkPath::DirectTcp), (quic, LinkPath::DirectQuic)] {
        let given = [vec![somebody_else.clone(), nobody.clone()], good.clone()].concat();
        a.net.trust(b.id, given).await;
        let (session, _at_b) = tokio::join!(a.up(), b.up());
        assert_eq!((session.path, vec![session.address.clone()]), (path, good.clone()));
        let worked = a
            .next("the address that worked", |event| {
                if let NetEvent::AddressWorked { device, address } = event {
                    Some((device, address))
                } else {
                    None
                }
            })
            .await;
        assert_eq!(worked, (b.id, good[0].clone()));
        a.net.distrust(b.id).await;
        a.down().await;
        b.down().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_everything() {
    let (mut a, mut b) = (node(1, &[TCP]).await, node(2, &[TCP]).await);
    let (at_a, _at_b) = pair(&mut a, &mut b).await;
    let at = a.net.listen_addrs().await;
    within("shutdown", a.net.shutdown()).await;
    assert_eq!(at_a.send.send(Lane::Bulk, Bytes::new()).await, Err(Gone));
    assert_eq!(b.down().await, at_a.id);
    assert_eq!(a.net.listen_addrs().await, Vec::<String>::new());
    assert!(start(config(3, &[&at[0]])).await.is_ok(), "the port is free again");
}
