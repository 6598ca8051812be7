//! Small histories of what befalls devices, each in many orders.

use syncd_integration::sim::{Bulk, Op, World, explore, script};

/// Orders in which each history is tried.
const ORDERS: u64 = 300;

/// A mesh of devices that all have what `a` wrote.
fn with_files(devices: usize, bulk: Option<Bulk>, late: bool) -> World {
    let mut world = World::new(devices, false, bulk);
    explore::come_to_rest(&mut world).expect("an empty folder comes to rest");
    for (at, op) in script("a:w p P 1; a:w q Q 1; a:w d/f F 1; a:w d/g G 1") {
        world.play(at, &op);
    }
    explore::come_to_rest(&mut world).expect("files that one wrote come to rest");
    world.begin_anew();
    if late { world.with_late_hands() } else { world }
}

fn holds(ops: &[(usize, Op)], devices: usize) -> Result<(), String> {
    for lanes in [None, Some(Bulk::Parity(0)), Some(Bulk::Parity(1))] {
        for late in [false, true] {
            let begin = with_files(devices, lanes, late);
            for order in 0..ORDERS {
                explore::random(&mut begin.clone(), ops, order).map_err(|what| {
                    format!("lanes {lanes:?}, late {late}, order {order}: {what}")
                })?;
            }
        }
    }
    Ok(())
}

#[test]
fn what_befalls_devices_loses_nothing_and_brings_nothing_back() {
    for (text, because) in [
        ("a:d q; a:leave", "who was taken out hears what was deleted while it was away"),
        ("b:leave; b:w d X 2; b:kill", "that somebody left holds though it was not durable"),
        (
            "b:w p X 2; a:leave; a:r p d/h",
            "a delete is known for as long as what it deleted may come",
        ),
        ("b:t p 3; a:empty; b:d p", "a time that was not set is not taken for set"),
        ("a:d d; a:unmount; b:w q X 2", "what was deleted before a root was gone stays deleted"),
        ("a:empty; b:w q X 2; b:d p", "an empty directory in the root's place deletes nothing"),
        ("a:fail full; b:w p X 2; b:w d Y 3", "a full disk delays"),
        ("a:fail broken; b:d d; a:w d/f X 2", "an error is no absence"),
        ("a:fail exhausted; a:d q; b:w p X 2", "what could not be looked at is looked at again"),
        ("a:fail flush; a:w p X 2; b:w p Y 3", "what was not durable was told nobody"),
        ("a:deaf; a:w p X 2; a:d q", "what a watcher misses a scan finds"),
        ("a:clock -1577880000; a:w p X 2; b:w p Y 2", "no clock decides over what was seen"),
        ("a:halfopen; a:w p X 2; b:w q Y 2", "what was sent into nothing is sent again"),
        ("a:repeat; b:w p X 2; b:d q", "what came twice counts once"),
        ("a:loseledger; a:w p X 2; b:w p Y 3", "a lost ledger is another writer"),
    ] {
        holds(&script(text), 2).unwrap_or_else(|what| panic!("{because}: {text}: {what}"));
    }
}
