//! Another device's rules that would have this one send or take more wait for a person.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use syncd_integration::process::{Device, Pair, eventually, write};

const BEFORE: &str = "*.log\n/private\n";
const WIDER: &str = "*.log\n!/private/plan\n";

fn await_held_rules(device: &Device) -> Value {
    eventually(Duration::from_secs(30), "the rules are held", || {
        let held = device.json(&["held", "ls"]);
        if held[0]["kind"] == "rules" { Ok(held[0].clone()) } else { Err(held.to_string()) }
    })
}

/// Two devices under [`BEFORE`], each with something that it ignores, and then [`WIDER`] from the
/// laptop.
fn widened() -> Pair {
    let pair = Pair::new();
    write(&pair.laptop.path(".stignore"), BEFORE);
    write(&pair.laptop.path("a.txt"), "one");
    pair.laptop.flush();
    for (side, _) in pair.sides() {
        write(&side.path(format!("private/of-{}", side.name())), "mine alone");
        write(&side.path("a.log"), side.name());
    }
    pair.devbox.flush();
    write(&pair.laptop.path(".stignore"), WIDER);
    pair
}

fn arrives(device: &Device, path: &str) {
    eventually(Duration::from_secs(30), &format!("{path} arrives on {}", device.name()), || {
        fs::metadata(device.path(path)).map(drop).map_err(|error| error.to_string())
    });
}

#[test]
fn a_peers_wider_rules_are_held_also_over_a_restart_and_approved() {
    let mut pair = widened();
    let held = await_held_rules(&pair.devbox);
    let lines = held["lines"].to_string();
    assert!(lines.contains("- /private") && lines.contains("+ !/private/plan"), "{held:#}");
    assert_eq!(held["device"], "laptop", "{held:#}");
    assert_eq!(pair.devbox.status("work")["state"], "held");
    assert_eq!(pair.laptop.json(&["held", "ls"]).as_array().unwrap().len(), 0, "one's own count");
    assert_eq!(fs::read_to_string(pair.devbox.path(".stignore")).unwrap(), WIDER, "they came");
    for restarted in [false, true] {
        if restarted {
            pair.devbox.stop();
            pair.devbox.start();
            await_held_rules(&pair.devbox);
            pair.await_connected();
        }
        write(&pair.devbox.path("b.txt"), format!("{restarted}"));
        let flushed = pair.devbox.ctl(&["flush", "--timeout", "20s"]);
        assert_eq!(flushed.code, 5, "a flush needs a person: {}", flushed.stderr);
        arrives(&pair.laptop, "b.txt");
        assert!(!pair.laptop.path("private/of-devbox").exists(), "not sent, {restarted}");
    }
    let id = held["id"].as_str().unwrap();
    pair.devbox.ok(&["held", "approve", id]);
    arrives(&pair.laptop, "private/of-devbox");
    arrives(&pair.devbox, "private/of-laptop");
    assert_eq!(pair.devbox.json(&["held", "ls"]).as_array().unwrap().len(), 0);
    pair.devbox.flush();
    assert_ne!(pair.devbox.ctl(&["held", "approve", id]).code, 0, "nothing waits any more");
}

#[test]
fn rejected_rules_are_written_back_for_everybody() {
    let pair = widened();
    let held = await_held_rules(&pair.devbox);
    pair.devbox.ok(&["held", "reject", held["id"].as_str().unwrap()]);
    for (side, _) in pair.sides() {
        eventually(Duration::from_secs(30), "the old rules are back", || {
            let text = fs::read_to_string(side.path(".stignore")).unwrap_or_default();
            if text == BEFORE { Ok(()) } else { Err(text) }
        });
    }
    pair.devbox.flush();
    assert_eq!(pair.devbox.json(&["held", "ls"]).as_array().unwrap().len(), 0);
    assert!(!pair.laptop.path("private/of-devbox").exists(), "nothing was let out");
}

#[test]
fn narrower_rules_and_ones_own_count_at_once() {
    let pair = Pair::new();
    write(&pair.laptop.path(".stignore"), "*.log\n");
    write(&pair.laptop.path("a.txt"), "one");
    pair.laptop.flush();
    write(&pair.laptop.path(".stignore"), "// more is left out\n*.tmp\n*.log\n");
    pair.laptop.flush();
    write(&pair.devbox.path("a.tmp"), "x");
    pair.devbox.flush();
    assert!(!pair.laptop.path("a.tmp").exists(), "narrower rules are in force");
    write(&pair.devbox.path(".stignore"), "*.log\n");
    pair.devbox.flush();
    arrives(&pair.laptop, ".stignore");
    let held = await_held_rules(&pair.laptop);
    assert_eq!(held["device"], "devbox", "wider here, the other's own there: {held:#}");
    pair.laptop.ok(&["held", "approve", held["id"].as_str().unwrap()]);
    arrives(&pair.laptop, "a.tmp");
}

#[test]
fn what_gives_git_orders_never_comes() {
    let pair = Pair::new();
    write(&pair.laptop.path(".stignore"), "!.git\n");
    for path in [".git/HEAD", ".git/hooks/pre-commit", ".git/config", "sub/.git/hooks/x"] {
        write(&pair.laptop.path(path), "x");
    }
    pair.laptop.flush();
    arrives(&pair.devbox, ".git/HEAD");
    pair.laptop.flush();
    for path in [".git/hooks", ".git/config", "sub/.git/hooks"] {
        assert!(!pair.devbox.path(path).exists(), "{path} came");
    }
    let path = pair.laptop.path(".git/config").display().to_string();
    let why = pair.laptop.json(&["why", &path]);
    assert!(why["reasons"][0]["what"].as_str().unwrap().contains("git would"), "{why}");
}
