//! What another device deletes at once waits for a person on this one.
//!
//! The deletes are made while the hub is away, so that it hears of all of them at once however
//! slow the machine is.

use std::fs;
use std::time::Duration;

use syncd_integration::process::{Device, Fleet, Topology, eventually, is_long, nodes, write};

/// Generous: an unoptimised daemon on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Files in the folder, and how many of them are deleted: more than a thousand and more than half.
fn counts() -> (usize, usize) {
    if is_long() { (4_000, 3_000) } else { (1_600, 1_200) }
}

/// Files in one directory.
const PER_DIR: usize = 100;

fn fill(device: &Device, round: &str) {
    for at in 0..counts().0 {
        let path = format!("{round}/d{}/f{}", at / PER_DIR, at % PER_DIR);
        write(&device.path(path), format!("{round} {at}"));
    }
}

/// Removes most of what [`fill`] wrote, as `rm -rf` does, and waits until the device knows.
fn remove_most(device: &Device, round: &str) {
    let (files, gone) = counts();
    for dir in 0..gone / PER_DIR {
        fs::remove_dir_all(device.path(format!("{round}/d{dir}"))).unwrap();
    }
    eventually(WAIT_MAX, "the box knows that they are gone", || {
        let known = device.status("work")["files"].as_u64().unwrap_or_default() as usize;
        if known == files - gone { Ok(()) } else { Err(format!("{known} files")) }
    });
}

fn await_held(hub: &Device, from: &Device) -> String {
    let (_, gone) = counts();
    eventually(WAIT_MAX, "the hub holds the deletes", || {
        let held = hub.json(&["held", "ls"]);
        let first = &held[0];
        let is_it = first["files"] == gone && first["device"] == from.name();
        let id = first["id"].as_str().filter(|_| is_it);
        id.map(str::to_owned).ok_or_else(|| held.to_string())
    })
}

fn await_text(device: &Device, path: &str, text: &str, because: &str) {
    eventually(WAIT_MAX, because, || {
        let found = fs::read_to_string(device.path(path)).unwrap_or_default();
        if found == text { Ok(()) } else { Err(format!("{path}: {found:?}")) }
    });
}

/// Counts the files that lie below a path of a device.
fn count(device: &Device, below: &str) -> usize {
    let is_file = |path: &std::path::Path| device.root().join(path).is_file();
    nodes(device.root()).keys().filter(|path| path.starts_with(below) && is_file(path)).count()
}

#[test]
fn what_a_box_deletes_at_once_is_held_by_the_hub_until_it_is_decided() {
    let mut fleet = Fleet::new(3, Topology::Hub);
    let (files, gone) = counts();
    fill(&fleet[1], "a");
    fleet.agree();

    fleet[0].stop();
    remove_most(&fleet[1], "a");
    fleet[0].start();
    let id = await_held(&fleet[0], &fleet[1]);
    assert_eq!(count(&fleet[0], "a"), files, "nothing is deleted unasked");
    assert_eq!(fleet[0].status("work")["state"], "held", "it says so");

    // Everything else goes on, also beyond the hub.
    write(&fleet[1].path("a/d15/f0"), "edited");
    write(&fleet[1].path("new"), "made by the box");
    write(&fleet[0].path("theirs"), "made by the hub");
    for (device, path, text) in [
        (&fleet[0], "a/d15/f0", "edited"),
        (&fleet[2], "a/d15/f0", "edited"),
        (&fleet[2], "new", "made by the box"),
        (&fleet[1], "theirs", "made by the hub"),
    ] {
        await_text(device, path, text, "other paths go on syncing");
    }
    let flush = fleet[1].ctl(&["flush", "--timeout", "3s"]);
    assert_eq!(flush.code, 5, "the box hears of it: {flush:?}");
    assert!(flush.stderr.contains("hub") && flush.stderr.contains("held ls"), "{flush:?}");

    // It waits as long as it takes.
    fleet[0].stop();
    fleet[0].start();
    assert_eq!(await_held(&fleet[0], &fleet[1]), id, "after a restart too");
    assert_eq!(count(&fleet[0], "a"), files);

    fleet[0].ok(&["held", "reject", &id]);
    fleet.agree();
    assert_eq!(count(&fleet[1], "a"), files, "rejected, they are back on the box");
    assert_eq!(fleet[0].json(&["held", "ls"]).as_array().map(Vec::len), Some(0));

    fs::remove_file(fleet[1].path("new")).unwrap();
    fs::remove_file(fleet[1].path("theirs")).unwrap();
    fleet.agree();
    fleet[0].stop();
    remove_most(&fleet[1], "a");
    fleet[0].start();
    await_held(&fleet[0], &fleet[1]);
    // The box goes away before it is decided.
    fleet[1].stop();
    let answer = fleet[0].ok(&["held", "accept", "work"]);
    assert!(answer.contains("goes on"), "{answer}");
    fleet[1].start();
    fleet.agree();
    for at in 0..3 {
        assert_eq!(count(&fleet[at], "a"), files - gone, "approved, they are gone everywhere");
    }
    let trashed = fleet[0].json(&["trash", "ls"]).as_array().map(Vec::len).unwrap_or_default();
    assert!(trashed >= gone, "and in the hub's trash: {trashed}");
}

#[test]
fn what_is_moved_or_belongs_to_programs_is_not_held() {
    let mut fleet = Fleet::new(2, Topology::Hub);
    fill(&fleet[1], "a");
    for at in 0..counts().1 {
        write(&fleet[1].path(format!("node_modules/p{}/f{at}", at % 9)), format!("{at}"));
    }
    fleet.agree();
    fleet[0].stop();
    fs::rename(fleet[1].path("a"), fleet[1].path("b")).unwrap();
    fs::remove_dir_all(fleet[1].path("node_modules")).unwrap();
    fleet[0].start();
    fleet.agree();
    assert_eq!(count(&fleet[0], "b"), counts().0);
    assert_eq!(fleet[0].json(&["held", "ls"]).as_array().map(Vec::len), Some(0));
}

#[test]
fn a_box_takes_what_its_hub_deletes() {
    let mut fleet = Fleet::new(2, Topology::Hub);
    fill(&fleet[0], "a");
    fleet.agree();
    fleet[1].stop();
    remove_most(&fleet[0], "a");
    fleet[1].start();
    fleet.agree();
    assert_eq!(count(&fleet[1], "a"), counts().0 - counts().1);
}
