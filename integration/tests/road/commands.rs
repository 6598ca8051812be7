//! What `syncctl` tells: status, why, events, scan.

use std::time::Duration;

use serde_json::Value;
use syncd_integration::process::{FOLDER, Pair, eventually, write};

#[test]
fn status_tells_how_it_stands() {
    let pair = Pair::new();
    write(&pair.laptop.path("a"), "12345");
    write(&pair.laptop.path("d/b"), "678");
    std::os::unix::fs::symlink("a", pair.laptop.path("l")).unwrap();
    pair.laptop.flush();
    for (side, other) in pair.sides() {
        let status = eventually(Duration::from_secs(30), "all is told", || {
            let status = side.status(FOLDER);
            let is_done = status["state"] == "idle" && status["devices"][0]["in_sync"] == true;
            if is_done { Ok(status) } else { Err(status.to_string()) }
        });
        for (key, value) in [
            ("files", Value::from(3)),
            ("bytes", Value::from(9)),
            ("need_files", Value::from(0)),
            ("need_bytes", Value::from(0)),
            ("conflicts", Value::from(0)),
            ("problems", Value::Array(Vec::new())),
            ("path", Value::from(side.root().display().to_string())),
        ] {
            assert_eq!(status[key], value, "{key} on {}: {status}", side.name());
        }
        assert_eq!(status["devices"][0]["name"], other.name());
        assert_eq!(status["devices"][0]["need_files"], 0);
        let whole = side.json(&["status"]);
        assert_eq!(whole["device_id"], *side.id());
        assert_eq!(whole["name"], side.name());
    }
    let page = pair.laptop.ok(&["status"]);
    assert!(page.contains(FOLDER) && !page.contains('\u{1b}'), "no colours in a pipe: {page}");
}

#[test]
fn bytes_of_links_do_not_count_differently_on_both_sides() {
    let pair = Pair::new();
    std::os::unix::fs::symlink("some/target", pair.laptop.path("l")).unwrap();
    write(&pair.laptop.path("f"), "x");
    pair.laptop.flush();
    assert_eq!(pair.laptop.status(FOLDER)["bytes"], pair.devbox.status(FOLDER)["bytes"]);
    assert_eq!(pair.laptop.status(FOLDER)["files"], pair.devbox.status(FOLDER)["files"]);
}

#[test]
fn why_tells_the_reason() {
    let pair = Pair::new();
    write(&pair.laptop.path(".stignore"), "// comment\n*.log\n");
    write(&pair.laptop.path("a.txt"), "x");
    write(&pair.laptop.path("a.log"), "x");
    pair.laptop.flush();
    let outside = pair.aside("outside");
    for (path, kind, because) in [
        (pair.laptop.path("a.txt"), "synced", "all have it"),
        (pair.laptop.path("a.log"), "ignored", "a rule"),
        (pair.laptop.path("never"), "missing", "it was never there"),
        (outside, "not-in-folder", "nobody shares it"),
    ] {
        let why = pair.laptop.json(&["why", &path.display().to_string()]);
        assert_eq!(why["reasons"][0]["kind"], kind, "{because}: {why}");
    }
    let why = pair.laptop.json(&["why", &pair.laptop.path("a.log").display().to_string()]);
    assert_eq!(why["reasons"][0]["file"], ".stignore", "{why}");
    assert_eq!(why["reasons"][0]["line"], 2, "{why}");
    let page = pair.laptop.ok(&["why", &pair.laptop.path("a.log").display().to_string()]);
    assert!(page.contains("line 2 of .stignore"), "{page}");
}

#[test]
fn why_names_the_device_that_is_waited_for() {
    let mut pair = Pair::new();
    for name in ["a.txt", "gone"] {
        write(&pair.laptop.path(name), "x");
    }
    pair.laptop.flush();
    pair.devbox.stop();
    write(&pair.laptop.path("new.txt"), "x");
    std::fs::remove_file(pair.laptop.path("gone")).unwrap();
    for (name, kind) in [("new.txt", "waiting"), ("gone", "deleted")] {
        let path = pair.laptop.path(name).display().to_string();
        eventually(Duration::from_secs(30), &format!("{name}: {kind}, for the devbox"), || {
            let why = pair.laptop.json(&["why", &path]);
            let reasons = why["reasons"].as_array().unwrap();
            let is_told = reasons[0]["kind"] == kind
                && reasons.iter().any(|reason| reason["device"] == "devbox");
            if is_told { Ok(()) } else { Err(why.to_string()) }
        });
    }
}

fn events(pair: &Pair, arguments: &[&str]) -> Vec<Value> {
    let text = pair.devbox.ok(&[&["events", "--json"], arguments].concat());
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

#[test]
fn ids_of_events_increase_over_restarts() {
    let mut pair = Pair::new();
    write(&pair.laptop.path("a.txt"), "x");
    pair.laptop.flush();
    let before = events(&pair, &[]);
    assert!(!before.is_empty(), "something has happened");
    let ids = |events: &[Value]| -> Vec<u64> {
        events.iter().map(|event| event["id"].as_u64().expect("an id is a number")).collect()
    };
    assert!(ids(&before).windows(2).all(|two| two[0] < two[1]), "{:?}", ids(&before));
    for event in &before {
        let time = event["time"].as_str().expect("an event has a time");
        let is_rfc_3339 = time.len() >= 20 && time.as_bytes()[10] == b'T' && time.ends_with('Z');
        assert!(is_rfc_3339, "{event}");
    }
    let middle = ids(&before)[before.len() / 2];
    let since = events(&pair, &["--since", &middle.to_string()]);
    assert!(ids(&since).iter().all(|id| *id > middle), "--since {middle}: {:?}", ids(&since));
    assert!(since.len() >= before.len() - before.len() / 2 - 1, "and all of those");
    let last = *ids(&before).last().expect("there are some");
    pair.devbox.kill();
    pair.devbox.start();
    write(&pair.laptop.path("b.txt"), "x");
    eventually(Duration::from_secs(30), "a later event", || {
        let later = events(&pair, &["--since", &last.to_string()]);
        let path = |event: &Value| event["path"] == "b.txt";
        if later.iter().any(path) { Ok(()) } else { Err(format!("{later:?}")) }
    });
}

#[test]
fn a_scan_returns_when_all_was_looked_at() {
    let pair = Pair::new();
    for at in 0..50 {
        write(&pair.laptop.path(format!("{at}")), "x");
    }
    let report = pair.laptop.json(&["scan", "--folder", FOLDER]);
    assert_eq!(report["folders"][0]["files"], 50, "{report}");
    assert_eq!(pair.laptop.status(FOLDER)["files"], 50);
}
