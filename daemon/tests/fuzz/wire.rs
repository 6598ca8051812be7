//! What peers and strangers send.

use syncd::world::net::decoders as net;
use syncd_core::model::limits::FRAME_BYTES_MAX;
use syncd_core::protocol::{Frame, decode, encode};

use super::target::{Law, Target};

#[test]
fn frames() {
    let target = Target {
        name: "frame",
        law: Law::Settled,
        bytes_max: 64 << 10,
        // A record of an offer takes some 40 bytes there and 300 here, in several copies.
        room_each: 64,
        room_always: 64 << 10,
        inputs: 3_000,
    };
    // The Hello of a later version says more than is known here, and is written without it.
    target.run(|bytes| decode(bytes).ok().map(|frame: Frame| encode(&frame)));
}

#[test]
fn cards() {
    let target = Target {
        name: "card",
        law: Law::Settled,
        bytes_max: 4 << 10,
        room_each: 16,
        room_always: 16 << 10,
        inputs: 3_000,
    };
    target.run(net::card);
}

#[test]
fn lanes() {
    let target = Target {
        name: "lane",
        law: Law::Beginning,
        bytes_max: 16 << 10,
        room_each: 64,
        // A length that is within the limit is believed, once.
        room_always: FRAME_BYTES_MAX + (256 << 10),
        inputs: 3_000,
    };
    target.run(net::lane);
}

#[test]
fn addresses() {
    let target = Target {
        name: "addresses",
        law: Law::Settled,
        bytes_max: 4 << 10,
        room_each: 256,
        room_always: 16 << 10,
        inputs: 3_000,
    };
    target.run(net::addresses);
}
