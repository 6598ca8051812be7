//! The exit codes that scripts rely on, and one clear sentence with each.

use std::time::Duration;

use syncd_integration::process::{Device, FOLDER, Listen, Pair, Scratch, eventually, write};

#[test]
fn without_a_daemon_commands_say_so_with_3() {
    let scratch = Scratch::new();
    let device = Device::init(scratch.path(), "laptop", Listen::Port);
    for command in [
        &["status"][..],
        &["devices"],
        &["pending"],
        &["flush"],
        &["scan"],
        &["folder", "ls"],
        &["folder", "add", "/tmp"],
        &["conflicts", "ls"],
        &["trash", "ls"],
        &["held", "ls"],
        &["events"],
        &["why", "/tmp"],
        &["unpair", "nobody"],
    ] {
        let answer = device.ctl(command);
        assert_eq!(answer.code, 3, "{command:?}: {}", answer.stderr);
        assert_eq!(answer.stdout, "", "{command:?} prints nothing");
        assert!(answer.stderr.contains("syncd --home"), "what to do next: {}", answer.stderr);
    }
    for command in [
        &["id"][..],
        &["id", "--json"],
        &["init"],
        &["config", "get", "listen"],
        &["completions", "bash"],
        &["--version"],
        &["--help"],
    ] {
        let answer = device.ctl(command);
        assert_eq!(answer.code, 0, "{command:?} needs no daemon: {}", answer.stderr);
    }
}

#[test]
fn wrong_usage_is_2() {
    let scratch = Scratch::new();
    let device = Device::init(scratch.path(), "laptop", Listen::Port);
    let rules = scratch.path().join("rules");
    let rules = rules.to_str().unwrap();
    write(rules.as_ref(), "fine\n#include\n");
    let id = device.id();
    let wrong = format!("{}{}", if id.starts_with('A') { 'B' } else { 'A' }, &id[1..]);
    for (command, because) in [
        (&["no-such-command"][..], "no such command"),
        (&["status", "--no-such-option"], "no such option"),
        (&["pair"], "an id is missing"),
        (&["pair", &wrong], "a typing error in an id is noticed"),
        (&["pair", id], "one's own id"),
        (&["flush", "--timeout", "soon"], "no duration"),
        (&["config", "set", "no_such_key", "x"], "an unknown key"),
        (&["ignore", "check", "--rules", rules, "a"], "a bad rule file"),
    ] {
        let answer = device.ctl(command);
        assert_eq!(answer.code, 2, "{because}: {command:?}: {}", answer.stderr);
        assert_ne!(answer.stderr.trim(), "", "{because}: it says why");
    }
}

#[test]
fn what_cannot_be_done_is_1() {
    let pair = Pair::acquainted();
    let file = pair.aside("nothing-here").display().to_string();
    for (command, because) in [
        (&["flush"][..], "no folder is shared with anybody"),
        (&["folder", "accept", "unknown", &file], "nobody offers it"),
        (&["folder", "add", &file], "there is nothing"),
        (&["folder", "pause", "unknown"], "no such folder"),
        (&["unpair", "nobody"], "no such device"),
        (&["scan", "--folder", "unknown"], "no such folder"),
        (&["trash", "restore", &file], "nothing of that was kept"),
        (&["held", "approve", "0"], "nothing is held"),
        (&["conflicts", "show", &file], "no conflict"),
    ] {
        let answer = pair.laptop.ctl(command);
        assert_eq!(answer.code, 1, "{because}: {command:?}: {}", answer.stderr);
        let lines = answer.stderr.trim().lines().count();
        assert!(lines >= 1 && answer.stdout.is_empty(), "{because}: {answer:?}");
    }
}

#[test]
fn a_flush_says_how_it_ended() {
    let mut pair = Pair::new();
    let (laptop, devbox) = (&pair.laptop, &mut pair.devbox);
    let flush = |arguments: &[&str]| laptop.ctl(&[&["flush"], arguments].concat());
    write(&laptop.path("a"), "x");
    assert_eq!(flush(&[]).code, 0, "done");
    let said = flush(&[]).stdout;
    assert!(said.contains(FOLDER) && said.contains("devbox"), "what, and where: {said}");
    assert_eq!(flush(&["--device", "devbox"]).code, 0, "a device by name");
    assert_eq!(flush(&["--all"]).code, 0, "all are there");
    let (id, peer_id) = (devbox.id().to_owned(), devbox.json(&["id"])["peer_id"].clone());
    for name in [&id, &id[..7], peer_id.as_str().unwrap(), &peer_id.as_str().unwrap()[..20]] {
        assert_eq!(flush(&["--device", name]).code, 0, "a device by {name}");
    }
    assert_eq!(flush(&["--device", "devbox", "--all"]).code, 0, "one of all, there or not");
    assert_eq!(flush(&["--folder", FOLDER, "--json"]).code, 0, "a folder by id");
    assert_eq!(flush(&["--folder", "unknown"]).code, 1, "no such folder");
    assert_eq!(flush(&["--device", "unknown"]).code, 1, "no such device");
    devbox.stop();
    eventually(Duration::from_secs(60), "the laptop sees that it is alone", || {
        if laptop.is_connected_to("devbox") { Err("still connected".to_owned()) } else { Ok(()) }
    });
    assert_eq!(flush(&[]).code, 1, "nobody is connected");
    write(&laptop.path("b"), "what the devbox does not have");
    for arguments in [&["--all", "--timeout", "1s"][..], &["--device", "devbox", "--timeout", "1s"]]
    {
        let began = std::time::Instant::now();
        let answer = flush(arguments);
        assert_eq!(answer.code, 4, "{arguments:?}: {}", answer.stderr);
        assert!(began.elapsed() >= Duration::from_secs(1), "it waited: {arguments:?}");
    }
    devbox.start();
    laptop.await_connected("devbox");
    assert_eq!(flush(&["--all"]).code, 0, "it is back");
}

#[test]
fn a_flush_waits_for_a_device_that_has_not_accepted() {
    let pair = Pair::acquainted();
    write(&pair.laptop.path("a"), "x");
    let root = pair.laptop.root().display().to_string();
    pair.laptop.ok(&["folder", "add", &root, "--id", FOLDER, "--with", "devbox"]);
    let answer = pair.laptop.ctl(&["flush", "--timeout", "1s"]);
    assert_eq!(answer.code, 4, "offered is not done: {}", answer.stderr);
}
