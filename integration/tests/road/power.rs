//! The machine stops without warning: bytes that were not on the disk yet are gone.

use std::fs;
use std::time::{Duration, Instant};

use syncd_integration::process::{Pair, eventually, set_mtime, write};

/// Bytes are durable a few seconds after they were written; then what is there is an edit.
const LOSABLE: Duration = Duration::from_secs(3);

/// Writes `bytes`, has the other side get them, and loses power before they are durable: `left`
/// is what is left of them. `None` if that was too slow.
fn lost(pair: &mut Pair, round: u32, name: &str, left: &str) -> Option<()> {
    let began = Instant::now();
    write(&pair.devbox.path(name), "all that was written");
    pair.devbox.flush();
    pair.devbox.kill();
    let losable = began.elapsed() < LOSABLE;
    if losable {
        fs::write(pair.devbox.path(name), left).unwrap();
        // Of two that nothing else tells apart the later wins; the other one becomes a copy.
        set_mtime(&pair.devbox.path(name), 1_000_000_000, 0);
    }
    pair.devbox.boots_as(&format!("boot {round}"));
    pair.devbox.start();
    pair.await_connected();
    losable.then_some(())
}

#[test]
fn what_a_power_loss_left_of_a_file_is_no_edit() {
    let mut pair = Pair::new();
    pair.devbox.stop();
    pair.devbox.boots_as("boot");
    pair.devbox.start();
    pair.await_connected();
    let mut rounds = 0..20;
    for (left, because) in [("", "an empty file"), ("all th", "a part of it")] {
        let name = loop {
            let round = rounds.next().expect("a flush takes less than three seconds now and then");
            let name = format!("f{round}");
            if lost(&mut pair, round, &name, left).is_some() {
                break name;
            }
        };
        eventually(Duration::from_secs(60), because, || {
            let there = fs::read_to_string(pair.devbox.path(&name)).unwrap_or_default();
            if there == "all that was written" { Ok(()) } else { Err(there) }
        });
        let elsewhere = fs::read_to_string(pair.laptop.path(&name)).unwrap();
        assert_eq!(elsewhere, "all that was written", "{because}");
    }
}
