//! Devices that are not paired: a card, and nothing else.

use syncd_integration::hostile::{Hostile, Siege, Wire, id};

use crate::RESIDENT_BYTES_MAX;

/// All that a daemon speaks, and what others do.
const STREAMS: [&str; 8] = [
    "/syncd/link/1",
    "/syncd/lane/1/interactive",
    "/syncd/lane/1/bulk",
    "/syncd/lane/1/data",
    "/ipfs/id/1.0.0",
    "/ipfs/ping/1.0.0",
    "/libp2p/circuit/relay/0.2.0/hop",
    "/syncd/pair/2",
];

#[test]
fn a_stranger_is_given_one_stream_and_no_other() {
    let mut siege = Siege::new();
    let victim = id(&siege.victim);
    for address in [siege.victim.address(), siege.quic()] {
        let stranger = Hostile::before(victim, 2);
        for stream in STREAMS {
            let wire = stranger.try_dial(victim, &address);
            let mut wire = wire.expect("a stranger may knock");
            // TLS is done before a stream is refused, so it is by name that it is.
            assert!(wire.open(stream).is_none(), "{stream} at {address}");
        }
    }
    siege.assert_unharmed("strangers", RESIDENT_BYTES_MAX);
}

#[test]
fn cards_that_lie_are_cards_that_are_not_shown() {
    let mut siege = Siege::new();
    let victim = id(&siege.victim);
    for (card, because) in [
        (vec![], "nothing"),
        (vec![255, 255], "64 KiB announced"),
        (vec![1, 16], "more than 4 KiB announced"),
        (vec![4, 0, 9, 0, 0, 0], "another version"),
        (vec![6, 0, 1, 255, 255, b'a', 0, 0], "a name longer than the card"),
        (vec![5, 0, 1, 1, 0, 255, 0], "a name that is no text"),
        (vec![4, 0, 1, 0, 0, 255], "addresses that are not there"),
    ] {
        let stranger = Hostile::before(victim, 3);
        let mut wire: Wire = stranger.try_dial(victim, &siege.victim.address()).unwrap();
        let mut stream = wire.open("/syncd/pair/1").unwrap();
        wire.write(&mut stream, &card);
        drop(stream);
        drop(wire);
        let pending = siege.victim.json(&["pending"]);
        let shown = pending.as_array().unwrap().iter().filter(|p| p["name"] == "a").count();
        assert_eq!(shown, 0, "{because}: {pending}");
    }
    siege.assert_unharmed("cards that lie", RESIDENT_BYTES_MAX);
}

#[test]
fn a_flood_of_handshakes_does_not_keep_out_who_is_paired() {
    let mut siege = Siege::new();
    let victim = id(&siege.victim);
    let address = siege.victim.address();
    let port = siege.victim.port();
    // Connections that say nothing, half of them with a handshake that is none.
    let silent: Vec<_> = (0..200)
        .filter_map(|at| {
            let mut tcp = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
            if at % 2 == 0 {
                use std::io::Write;
                let _ = tcp.write_all(&[0x16; 512]);
            }
            Some(tcp)
        })
        .collect();
    let knocks: Vec<_> = (4..30)
        .filter_map(|number| Hostile::before(victim, number).try_dial(victim, &address))
        .collect();
    assert!(knocks.len() <= 16, "{} strangers are let in at once", knocks.len());
    siege.assert_unharmed("a flood of handshakes", RESIDENT_BYTES_MAX);
    drop((silent, knocks));
    let mut session = siege.session();
    assert!(session.list("work").is_some(), "and the paired one is let in");
    siege.assert_unharmed("what comes after it", RESIDENT_BYTES_MAX);
}
