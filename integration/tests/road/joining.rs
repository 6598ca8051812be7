//! Taking a folder onto files that are there already.

use std::fs;

use syncd_integration::process::{FOLDER, Pair, eventually, nodes, write};

/// Shares the laptop's folder, and waits until the devbox has heard of it.
fn offer(pair: &Pair) {
    let root = pair.laptop.root().display().to_string();
    fs::create_dir_all(pair.laptop.root()).unwrap();
    pair.laptop.ok(&["folder", "add", &root, "--id", FOLDER, "--with", "devbox"]);
    eventually(std::time::Duration::from_secs(30), "the folder is offered", || {
        let offers = pair.devbox.json(&["folder", "ls", "--offered"]);
        if offers[0]["id"] == FOLDER { Ok(()) } else { Err(offers.to_string()) }
    });
}

fn fill(pair: &Pair, different: usize) {
    for side in [&pair.laptop, &pair.devbox] {
        for at in 0..different {
            write(&side.path(format!("differs-{at}")), format!("{} {at}", side.name()));
        }
        for at in 0..7 {
            write(&side.path(format!("equal-{at}")), format!("{at}"));
        }
        for at in 0..if side.name() == "laptop" { 3 } else { 2 } {
            write(&side.path(format!("only-{}-{at}", side.name())), "x");
        }
    }
}

#[test]
fn equal_files_join_and_a_dry_run_only_counts() {
    let pair = Pair::acquainted();
    fill(&pair, 0);
    offer(&pair);
    let root = pair.devbox.root().display().to_string();
    let before = nodes(pair.devbox.root());
    let report = pair.devbox.json(&["folder", "accept", FOLDER, &root, "--dry-run"]);
    for (count, number) in [("equal", 7), ("only_here", 2), ("only_there", 3), ("different", 0)] {
        assert_eq!(report[count], number, "{count}: {report}");
    }
    assert_eq!(nodes(pair.devbox.root()), before, "a dry run changes nothing");
    pair.devbox.ok(&["folder", "accept", FOLDER, &root]);
    pair.agree();
    assert_eq!(nodes(pair.laptop.root()).len(), 12, "the union, and no copies");
    assert_eq!(pair.laptop.status(FOLDER)["conflicts"], 0, "equal content makes no copies");
}

#[test]
fn many_different_files_need_a_person_or_a_preference() {
    for (prefer, winner, copies) in [("here", "devbox", 0), ("there", "laptop", 0)] {
        let pair = Pair::acquainted();
        fill(&pair, 25);
        offer(&pair);
        let root = pair.devbox.root().display().to_string();
        let before = nodes(pair.devbox.root());
        let refused = pair.devbox.ctl(&["folder", "accept", FOLDER, &root]);
        assert_eq!(refused.code, 5, "25 differ: {}", refused.stderr);
        assert_eq!(nodes(pair.devbox.root()), before, "nothing was changed");
        pair.devbox.ok(&["folder", "accept", FOLDER, &root, "--prefer", prefer]);
        pair.agree();
        for at in 0..25 {
            let found = fs::read_to_string(pair.laptop.path(format!("differs-{at}"))).unwrap();
            assert_eq!(found, format!("{winner} {at}"), "--prefer {prefer}");
        }
        assert_eq!(pair.laptop.status(FOLDER)["conflicts"], copies, "--prefer {prefer}");
    }
}

#[test]
fn a_single_file_is_shared_without_its_neighbours() {
    let pair = Pair::acquainted();
    write(&pair.laptop.path("notes.txt"), "one\n");
    write(&pair.laptop.path("neighbour"), "x");
    let file = pair.laptop.path("notes.txt").display().to_string();
    pair.laptop.ok(&["folder", "add", &file, "--id", "notes", "--with", "devbox"]);
    let taken = pair.devbox.path("taken.txt").display().to_string();
    eventually(std::time::Duration::from_secs(30), "the file is taken", || {
        let answer = pair.devbox.ctl(&["folder", "accept", "notes", &taken]);
        if answer.code == 0 { Ok(()) } else { Err(answer.stderr) }
    });
    pair.laptop.flush();
    assert_eq!(fs::read_to_string(&taken).unwrap(), "one\n", "under the name chosen there");
    fs::write(&taken, "two\n").unwrap();
    pair.devbox.flush();
    assert_eq!(fs::read_to_string(&file).unwrap(), "two\n");
    assert!(!pair.devbox.path("neighbour").exists(), "nothing else is shared");
}

#[test]
fn folders_are_paused_unshared_and_removed_without_touching_files() {
    let pair = Pair::new();
    write(&pair.laptop.path("a"), "one");
    pair.laptop.flush();
    pair.devbox.ok(&["folder", "pause", FOLDER]);
    assert_eq!(pair.devbox.status(FOLDER)["state"], "paused");
    write(&pair.laptop.path("a"), "two");
    let late = pair.laptop.ctl(&["flush", "--timeout", "2s"]);
    assert_eq!(late.code, 4, "a paused folder takes nothing: {}", late.stderr);
    assert_eq!(fs::read_to_string(pair.devbox.path("a")).unwrap(), "one");
    pair.devbox.ok(&["folder", "resume", FOLDER]);
    pair.laptop.flush();
    pair.assert_equal("it goes on");
    pair.devbox.ok(&["folder", "rm", FOLDER]);
    assert_eq!(fs::read_to_string(pair.devbox.path("a")).unwrap(), "two", "files stay");
    assert!(!pair.devbox.path(".syncd").exists(), "what was syncd's own is gone");
    write(&pair.laptop.path("b"), "x");
    let nobody = pair.laptop.ctl(&["flush", "--timeout", "2s"]);
    assert_ne!(nobody.code, 0, "a device without the folder does not count as done");
    assert!(!pair.devbox.path("b").exists());
}
