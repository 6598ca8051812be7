//! Both wrote while they could not hear each other: what they began with is shown beside both,
//! and the conflict ends in each way on each side.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use syncd_integration::process::{Device, Fleet, Pair, Topology, eventually, set_mtime, write};

const EARLY: u64 = 1_700_000_000;
const LATE: u64 = 1_700_086_399;

/// Waits until a device keeps a base that holds `text`, which it does at leisure.
fn await_base(device: &Device, text: &str) {
    let dir = device.path(".syncd/history");
    eventually(Duration::from_secs(30), &format!("{} keeps a base", device.name()), || {
        let kept = fs::read_dir(&dir).map_err(|error| error.to_string())?;
        let mut kept = kept.map(|entry| fs::read_to_string(entry.unwrap().path()));
        if kept.any(|kept| kept.is_ok_and(|kept| kept == text)) { Ok(()) } else { Err("no".into()) }
    });
}

fn lines(device: &Device) -> String {
    format!("first\n{}\nlast\n", device.name())
}

fn show(device: &Device, path: &str) -> Value {
    device.json(&["conflicts", "show", &device.path(path).display().to_string()])
}

#[test]
fn what_both_began_with_is_shown_and_each_way_ends_it_on_each_side() {
    let mut pair = Pair::new();
    let ways = ["mine", "theirs", "merged", "both"];
    let names: Vec<String> =
        ["l", "d"].iter().flat_map(|at| ways.map(|way| format!("{at}-{way}.txt"))).collect();
    for name in &names {
        write(&pair.laptop.path(name), format!("first\nbase of {name}\nlast\n"));
    }
    pair.laptop.flush();
    for (side, _) in pair.sides() {
        for name in &names {
            await_base(side, &format!("first\nbase of {name}\nlast\n"));
        }
    }
    pair.devbox.stop();
    for (side, time) in [(&pair.laptop, EARLY), (&pair.devbox, LATE)] {
        // More saves than a record remembers ancestors.
        for (save, name) in (0..10).flat_map(|save| names.iter().map(move |name| (save, name))) {
            let text = if save < 9 { format!("draft {save}\n") } else { lines(side) };
            write(&side.path(name), text);
            set_mtime(&side.path(name), time - 9 + save, 0);
        }
        if side.name() == "laptop" {
            side.ok(&["scan"]);
        }
    }
    pair.devbox.start();
    pair.agree();
    for (here, there) in pair.sides() {
        for name in &names {
            let shown = show(here, name);
            let base = format!("first\nbase of {name}\nlast\n");
            for (side, text, by) in [
                ("base", base.as_str(), None),
                ("mine", &lines(here), Some(here.name())),
                ("theirs", &lines(there), Some(there.name())),
            ] {
                let told = &shown[side];
                let because = format!("{side} of {name} on {}: {shown:#}", here.name());
                assert_eq!(told["text"], text, "{because}");
                assert_eq!(told["size"], text.len(), "{because}");
                assert_eq!(told["content"].as_str().map(str::len), Some(64), "{because}");
                assert_eq!(told["device"].as_str(), by, "{because}");
            }
        }
    }
    let plain = pair.laptop.path(&names[0]).display().to_string();
    let page = pair.laptop.ok(&["conflicts", "show", &plain]);
    assert!(page.contains("--- base\n+++ mine") && page.contains("+devbox"), "{page}");
    let merged = pair.aside("merged").display().to_string();
    write(std::path::Path::new(&merged), "merged\n");
    for (at, (here, there)) in ["l", "d"].iter().zip(pair.sides()) {
        for (way, left) in [
            ("mine", lines(here)),
            ("theirs", lines(there)),
            ("merged", "merged\n".to_owned()),
            ("both", lines(&pair.devbox)),
        ] {
            let path = here.path(format!("{at}-{way}.txt")).display().to_string();
            let how = match way {
                "merged" => ["--with", &merged],
                way => ["--keep", way],
            };
            here.ok(&["conflicts", "resolve", &path, how[0], how[1]]);
            pair.agree();
            let found = fs::read_to_string(there.path(format!("{at}-{way}.txt"))).unwrap();
            assert_eq!(found, left, "{way} on {}", here.name());
        }
    }
    assert_eq!(pair.devbox.status("work")["conflicts"], 0, "all are over");
}

#[test]
fn of_several_copies_a_person_names_one() {
    let mut fleet = Fleet::new(3, Topology::Hub);
    write(&fleet[0].path("f.txt"), "base\n");
    fleet.agree();
    for at in 1..3 {
        fleet[at].stop();
    }
    for (at, time) in [(0, LATE), (1, EARLY), (2, EARLY + 5)] {
        write(&fleet[at].path("f.txt"), format!("device {at}\n"));
        set_mtime(&fleet[at].path("f.txt"), time, 0);
    }
    fleet[0].ok(&["scan"]);
    for at in 1..3 {
        fleet[at].start();
        fleet[at].await_connected("hub");
        fleet[at].flush();
        fleet[0].flush();
    }
    fleet.agree();
    let hub = &fleet[0];
    let path = hub.path("f.txt").display().to_string();
    assert_eq!(hub.status("work")["conflicts"], 2, "one of each box");
    let refused = hub.ctl(&["conflicts", "resolve", &path, "--keep", "theirs"]);
    assert_eq!(refused.code, 5, "which one is meant? {}", refused.stderr);
    assert!(refused.stderr.contains(fleet[1].short_id()), "{}", refused.stderr);
    let copy = format!("f.sync-conflict-20231114-221320-{}.txt", fleet[1].short_id());
    hub.ok(&["conflicts", "resolve", &hub.path(&copy).display().to_string(), "--keep", "theirs"]);
    fleet.agree();
    assert_eq!(fs::read_to_string(fleet[2].path("f.txt")).unwrap(), "device 1\n");
    fleet[2].ok(&[
        "conflicts",
        "resolve",
        &fleet[2].path("f.txt").display().to_string(),
        "--keep",
        "mine",
    ]);
    fleet.agree();
    assert_eq!(fleet[0].status("work")["conflicts"], 0);
}
