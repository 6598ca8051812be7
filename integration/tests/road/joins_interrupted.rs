//! A first join during which the daemon ends: it goes on as it was begun.

use std::time::Duration;

use syncd_integration::process::{FOLDER, eventually, write_noise};

use crate::joins::{MANY, accept, copies, offered, read, trashed};

/// How long a join may take.
const JOINS_MAX: Duration = Duration::from_secs(120);

/// At this speed the large file takes minutes, so that a join with it is not over.
const SLOW_KIB_PER_S: &str = "64";

const LARGE_BYTES: u64 = 16 << 20;

#[test]
fn a_join_goes_on_as_it_was_begun_after_the_daemon_ended() {
    for (prefer, stands, is_killed) in [("there", "there", true), ("here", "here", false)] {
        let mut pair = offered(MANY);
        write_noise(&pair.laptop.path("large"), 7, LARGE_BYTES);
        pair.laptop.ok(&["scan"]);
        // It must be slow from its start on.
        pair.devbox.stop();
        pair.devbox.ok(&["config", "set", "limits.limit_lan", "true"]);
        pair.devbox.ok(&["config", "set", "limits.receive_kib_per_s", SLOW_KIB_PER_S]);
        pair.devbox.start();
        eventually(JOINS_MAX, "the devbox is offered the folder", || {
            let offers = pair.devbox.json(&["folder", "ls", "--offered"]);
            if offers[0]["id"] == FOLDER { Ok(()) } else { Err(offers.to_string()) }
        });
        let answer = accept(&pair, &["--prefer", prefer]);
        assert_eq!(answer.code, 0, "{prefer}: {}", answer.stderr);
        match is_killed {
            true => pair.devbox.kill(),
            false => drop(pair.devbox.stop()),
        }
        assert!(!pair.devbox.path("large").exists(), "{prefer}: the join is not over");
        pair.devbox.ok(&["config", "unset", "limits.receive_kib_per_s"]);
        pair.devbox.start();
        eventually(JOINS_MAX, &format!("{prefer}: both sides are one"), || {
            let sides = [&pair.laptop, &pair.devbox];
            let texts = |name: &str| sides.map(|side| read(&side.path(name)));
            let found = [texts("differs-01"), texts("differs-20"), texts("only-here")];
            let wanted = [[stands; 2], [stands; 2], ["here"; 2]];
            if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        });
        pair.agree();
        assert_eq!(copies(&pair), 0, "{prefer}: nobody is asked again, and no copies are made");
        let trash = trashed(&pair);
        for lost in ["differs-01", "differs-20"] {
            assert!(trash.iter().any(|path| path == lost), "{prefer}: {lost} of {trash:?}");
        }
        assert_eq!(read(&pair.devbox.path("only-there")), "there", "{prefer}");
    }
}
