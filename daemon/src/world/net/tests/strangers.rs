//! Devices that are not paired.

use futures::StreamExt;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{SwarmEvent, dummy};
use libp2p::{Swarm, SwarmBuilder};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_unpaired_device_can_only_leave_its_card() {
    for listen in [TCP, QUIC] {
        let (mut a, mut b) = (node(1, &[listen]).await, node(2, &[listen]).await);
        a.net.trust(b.id, b.net.listen_addrs().await).await;
        let pending = b.asked().await;
        assert_eq!((pending.device, pending.name.as_str()), (a.id, "device 1"));
        assert_eq!(vec![pending.address.clone()], a.net.listen_addrs().await);
        assert_eq!(b.net.pending().await, [pending]);
        assert_eq!(b.net.links().await, []);

        // Paired without an address: the card's is used, or the next knock is let in.
        b.net.trust(a.id, vec![]).await;
        let (at_a, at_b) = tokio::join!(a.up(), b.up());
        assert_eq!((at_a.device, at_b.device), (b.id, a.id));
        assert_eq!(b.net.pending().await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_cannot_be_dialled_is_let_in_when_it_knocks_again() {
    let (mut a, mut b) = (node(1, &[]).await, node(2, &[TCP]).await);
    a.net.trust(b.id, b.net.listen_addrs().await).await;
    b.asked().await;
    b.net.trust(a.id, vec![]).await;
    let (at_a, at_b) = tokio::join!(a.up(), b.up());
    assert_eq!((at_a.id, at_a.device), (at_b.id, b.id));
}

/// Somebody who speaks TLS and then says nothing.
fn silent(n: u8) -> Swarm<dummy::Behaviour> {
    SwarmBuilder::with_existing_identity(keypair([n; 32]))
        .with_tokio()
        .with_tcp(
            libp2p::tcp::Config::default(),
            libp2p::tls::Config::new,
            libp2p::yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(|_| dummy::Behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(LONG * 10))
        .build()
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_strangers_are_few_and_do_not_stay() {
    let (mut a, mut b) = (node(1, &[TCP]).await, node(2, &[TCP]).await);
    let at: Multiaddr = b.net.listen_addrs().await[0].parse().unwrap();
    let count = gate::STRANGERS_MAX + 8;
    let (tell, mut told) = mpsc::unbounded_channel();
    for n in 0..count {
        let (at, tell, mut swarm) = (at.clone(), tell.clone(), silent(100 + n as u8));
        tokio::spawn(async move {
            let opts = DialOpts::peer_id(links::peer_of(device_id([2; 32])).unwrap());
            swarm.dial(opts.addresses(vec![at]).build()).unwrap();
            loop {
                #[allow(clippy::wildcard_enum_match_arm, reason = "the enum is non-exhaustive")]
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { .. } => tell.send(true).unwrap(),
                    SwarmEvent::ConnectionClosed { .. } => break tell.send(false).unwrap(),
                    _ => {}
                }
            }
        });
    }
    let (mut came, mut left) = (0, 0);
    while came < count {
        match within("strangers", told.recv()).await {
            Some(true) => came += 1,
            Some(false) => left += 1,
            None => panic!("the strangers are gone"),
        }
    }
    let (at_a, _at_b) = pair(&mut a, &mut b).await;
    while left < count {
        if within("their end", told.recv()).await == Some(false) {
            left += 1;
        }
    }
    assert_eq!(b.net.pending().await, [], "none left a card");
    assert_eq!(at_a.send.try_send(Lane::Bulk, Bytes::new()), Ok(()), "the paired one stays");
}
