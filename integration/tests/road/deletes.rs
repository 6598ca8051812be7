//! Deletes arrive, stay, can be taken back by a person, and are stopped when they are too many.

use std::fs;
use std::time::Duration;

use syncd_integration::process::{Fleet, Noise, Pair, Topology, eventually, nodes, write};

#[test]
fn deletes_do_not_come_back() {
    let mut pair = Pair::new();
    for at in 0..60 {
        write(&pair.laptop.path(format!("d{}/{at}", at % 3)), format!("{at}"));
    }
    pair.laptop.flush();
    // While the other side is away, and while it is there.
    pair.devbox.stop();
    fs::remove_file(pair.laptop.path("d0/0")).unwrap();
    fs::remove_dir_all(pair.laptop.path("d1")).unwrap();
    pair.devbox.start();
    pair.agree();
    fs::remove_file(pair.devbox.path("d0/3")).unwrap();
    pair.agree();
    let left = nodes(pair.laptop.root());
    assert_eq!(left.len(), 40 - 2 + 2, "38 files in two directories: {left:?}");
    // Each start looks at everything anew.
    for _ in 0..2 {
        pair.laptop.stop();
        pair.devbox.kill();
        pair.devbox.start();
        pair.laptop.start();
        pair.laptop.ok(&["scan"]);
        pair.devbox.ok(&["scan"]);
        pair.agree();
        assert_eq!(nodes(pair.laptop.root()), left, "nothing came back after a restart");
    }
}

#[test]
fn a_delete_reaches_a_box_that_was_away_through_the_hub() {
    let mut fleet = Fleet::new(3, Topology::Hub);
    for name in ["keep", "gone"] {
        write(&fleet[1].path(name), name);
    }
    fleet.agree();
    fleet[2].stop();
    fs::remove_file(fleet[1].path("gone")).unwrap();
    fleet[1].flush();
    assert!(!fleet[0].path("gone").exists(), "the hub has deleted it");
    // The one who deleted it leaves before the other returns.
    fleet[1].stop();
    fleet[2].start();
    eventually(Duration::from_secs(30), "the box that was away deletes it", || {
        if fleet[2].path("gone").exists() { Err("it is still there".to_owned()) } else { Ok(()) }
    });
    fleet[1].start();
    fleet.agree();
    assert_eq!(nodes(fleet[1].root()).len(), 1, "and it does not come back");
}

#[test]
fn what_another_device_deleted_or_replaced_can_be_taken_back() {
    let pair = Pair::new();
    for (name, text) in [("keep", "x"), ("deleted.txt", "was deleted\n"), ("replaced.txt", "old\n")]
    {
        write(&pair.laptop.path(name), text);
    }
    pair.laptop.flush();
    fs::remove_file(pair.laptop.path("deleted.txt")).unwrap();
    write(&pair.laptop.path("replaced.txt"), "new\n");
    pair.laptop.flush();

    let trash = pair.devbox.json(&["trash", "ls"]);
    let all = trash.as_array().unwrap();
    let found = |path: &str| {
        let one = all.iter().find(|one| one["path"] == path);
        one.unwrap_or_else(|| panic!("{path} is not in the trash: {trash}"))
    };
    assert_eq!(found("deleted.txt")["reason"], "deleted");
    assert_eq!(found("deleted.txt")["size"], 12);
    assert_eq!(found("replaced.txt")["reason"], "replaced");

    let path = pair.devbox.path("deleted.txt").display().to_string();
    pair.devbox.ok(&["trash", "restore", &path]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "was deleted\n", "it is back where it lay");
    pair.devbox.flush();
    pair.assert_equal("what is back is a file like any other");

    let aside = pair.devbox.path("replaced-before.txt").display().to_string();
    let id = found("replaced.txt")["id"].as_str().unwrap();
    pair.devbox.ok(&["trash", "restore", "--id", id, "--to", &aside]);
    assert_eq!(fs::read_to_string(&aside).unwrap(), "old\n", "an earlier version");
    let there = pair.devbox.path("replaced.txt").display().to_string();
    let refused = pair.devbox.ctl(&["trash", "restore", &there]);
    assert_eq!(refused.code, 1, "what lies there is not replaced: {}", refused.stderr);
    assert_eq!(fs::read_to_string(&there).unwrap(), "new\n");

    pair.devbox.ok(&["trash", "empty", "--yes"]);
    assert_eq!(pair.devbox.json(&["trash", "ls"]).as_array().unwrap().len(), 0, "emptied");
}

#[test]
fn most_files_missing_at_a_scan_wait_for_a_person() {
    for (verb, left, because) in [
        ("approve", 10, "approved: they are deleted on the other side too"),
        ("reject", 40, "rejected: they are brought back"),
    ] {
        let mut pair = Pair::new();
        let mut noise = Noise::new(8);
        for at in 0..40 {
            write(&pair.laptop.path(format!("{at}")), noise.bytes(100));
        }
        pair.laptop.flush();
        pair.laptop.stop();
        for at in 0..30 {
            fs::remove_file(pair.laptop.path(format!("{at}"))).unwrap();
        }
        pair.laptop.start();
        pair.await_connected();
        eventually(Duration::from_secs(30), "the deletes are held", || {
            let status = pair.laptop.status("work");
            if status["state"] == "held" { Ok(()) } else { Err(status.to_string()) }
        });
        let refused = pair.laptop.ctl(&["flush", "--timeout", "10s"]);
        assert_eq!(refused.code, 5, "a flush needs a person: {}", refused.stderr);
        assert_eq!(nodes(pair.devbox.root()).len(), 40, "nothing was deleted yet");
        for query in [&["status"][..], &["held", "ls"], &["devices"], &["events"]] {
            assert_eq!(pair.laptop.ctl(query).code, 0, "queries answer: {query:?}");
        }
        let held = pair.laptop.json(&["held", "ls"]);
        assert_eq!(held[0]["files"], 30, "{held}");
        pair.laptop.ok(&["held", verb, held[0]["id"].as_str().unwrap()]);
        pair.agree();
        assert_eq!(nodes(pair.devbox.root()).len(), left, "{because}");
    }
}

#[test]
fn a_tree_that_is_removed_before_the_watcher_goes_without_asking() {
    let pair = Pair::new();
    for at in 0..400 {
        write(&pair.laptop.path(format!("node_modules/{}/{at}", at % 40)), format!("{at}"));
    }
    write(&pair.laptop.path("package.json"), "{}");
    pair.laptop.flush();
    fs::remove_dir_all(pair.laptop.path("node_modules")).unwrap();
    pair.laptop.flush();
    pair.assert_equal("rm -rf node_modules just works");
    assert_eq!(nodes(pair.devbox.root()).len(), 1);
}
