//! A device that was away catches up at the cost of what changed.

use std::fs;
use std::time::Duration;

use syncd_integration::process::{Noise, Pair, eventually, write};

const FILES: usize = 3_000;

#[test]
fn a_device_that_was_away_pays_for_what_changed_only() {
    let mut pair = Pair::through_proxy();
    let mut noise = Noise::new(9);
    for at in 0..FILES {
        write(&pair.laptop.path(format!("{}/{at}", at % 30)), noise.bytes(1_500));
    }
    pair.laptop.flush();
    pair.assert_equal("the first sync");
    for (change_bytes, because) in [(0, "nothing changed"), (2_000, "ten small files changed")] {
        for is_killed in [false, true] {
            if is_killed {
                pair.devbox.kill();
            } else {
                pair.devbox.stop();
            }
            let changed: u64 = (0..10)
                .filter(|_| change_bytes > 0)
                .map(|at| {
                    write(&pair.laptop.path(format!("{at}/{at}")), noise.bytes(change_bytes));
                    change_bytes as u64
                })
                .sum();
            let before = pair.proxy().passed_bytes();
            pair.devbox.start();
            pair.agree();
            let sent = pair.proxy().passed_bytes() - before;
            assert!(
                sent < 2 * changed + 200_000,
                "{because}, killed: {is_killed}: {sent} bytes for {changed}"
            );
        }
    }
}

#[test]
fn both_go_on_where_they_were_after_the_line_was_cut() {
    let pair = Pair::through_proxy();
    write(&pair.laptop.path("before"), "x");
    pair.laptop.flush();
    pair.proxy().cut();
    eventually(Duration::from_secs(60), "both notice", || {
        let connected =
            pair.laptop.is_connected_to("devbox") || pair.devbox.is_connected_to("laptop");
        if connected { Err("still connected".to_owned()) } else { Ok(()) }
    });
    write(&pair.laptop.path("from-laptop"), "x");
    write(&pair.devbox.path("from-devbox"), "y");
    fs::remove_file(pair.devbox.path("before")).unwrap();
    pair.proxy().mend();
    pair.await_connected();
    pair.agree();
    for side in [&pair.laptop, &pair.devbox] {
        assert!(side.path("from-laptop").exists() && side.path("from-devbox").exists());
        assert!(!side.path("before").exists(), "the delete arrived too");
    }
}
