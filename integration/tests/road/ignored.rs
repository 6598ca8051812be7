//! The ignore file is a synced file, and both sides keep to it.

use std::fs;
use std::time::Duration;

use syncd_integration::process::{FOLDER, Pair, eventually, write};

#[test]
fn the_ignore_file_is_synced_and_honoured_on_both_sides() {
    let pair = Pair::new();
    write(&pair.laptop.path(".stignore"), "// build output\n*.log\n/target\n!keep.o\n*.o\n");
    pair.laptop.flush();
    for (here, there) in pair.sides() {
        let name = here.name();
        for (path, is_synced, because) in [
            ("a.txt", true, "no rule"),
            ("a.log", false, "a pattern, anywhere"),
            ("d/b.log", false, "a pattern, anywhere"),
            ("target/out", false, "below a directory that is ignored in the root"),
            ("d/target/out", true, "the rule speaks of the root only"),
            ("keep.o", true, "the first match wins"),
            ("other.o", false, "the second rule"),
            (".git/HEAD", false, "version control is ignored unasked"),
            ("d/.git/HEAD", false, "version control is ignored unasked, anywhere"),
            (".gitignore", true, "that is no version control directory"),
        ] {
            let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
            let path = format!("{name}/{path}");
            // What a rule says of the root is tried there.
            let path = if dir == "target" { format!("target/{name}-{file}") } else { path };
            write(&here.path(&path), name);
            here.flush();
            let arrived = there.path(&path).exists();
            assert_eq!(arrived, is_synced, "{because}: {path} from {name}");
        }
    }
    assert_eq!(
        fs::read(pair.laptop.path(".stignore")).unwrap(),
        fs::read(pair.devbox.path(".stignore")).unwrap(),
        "the rules themselves are synced"
    );
}

#[test]
fn what_becomes_ignored_stays_where_it_is() {
    let pair = Pair::new();
    write(&pair.laptop.path("a.log"), "one");
    write(&pair.laptop.path("a.txt"), "one");
    pair.laptop.flush();
    write(&pair.laptop.path(".stignore"), "*.log\n");
    pair.laptop.flush();
    write(&pair.laptop.path("a.log"), "two");
    fs::remove_file(pair.devbox.path("a.log")).unwrap();
    write(&pair.laptop.path("a.txt"), "two");
    pair.laptop.flush();
    pair.devbox.flush();
    assert_eq!(fs::read_to_string(pair.laptop.path("a.log")).unwrap(), "two", "not deleted");
    assert!(!pair.devbox.path("a.log").exists(), "and not sent");
    assert_eq!(fs::read_to_string(pair.devbox.path("a.txt")).unwrap(), "two");
}

#[test]
fn a_rule_file_with_a_mistake_is_told_and_changes_nothing() {
    let pair = Pair::new();
    write(&pair.laptop.path(".stignore"), "*.log\n");
    pair.laptop.flush();
    write(&pair.laptop.path(".stignore"), "#include missing\n");
    pair.laptop.flush();
    write(&pair.laptop.path("a.log"), "x");
    write(&pair.laptop.path("a.txt"), "x");
    pair.laptop.flush();
    assert!(pair.devbox.path("a.txt").exists(), "the rest goes on");
    assert!(!pair.devbox.path("a.log").exists(), "the last good rules stay");
    eventually(Duration::from_secs(10), "the mistake is shown", || {
        let status = pair.laptop.status("work");
        let is_told = status["problems"].as_array().is_some_and(|told| !told.is_empty());
        if is_told { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn a_devices_own_rules_count_as_soon_as_they_are_written() {
    let pair = Pair::new();
    let await_files = |count: u64, because: &str| {
        eventually(Duration::from_secs(60), because, || {
            let files = pair.devbox.status(FOLDER)["files"].clone();
            if files == count { Ok(()) } else { Err(files.to_string()) }
        });
    };
    write(&pair.devbox.path("own.rules"), "*.big\n");
    write(&pair.devbox.path(".stignore.local"), "own.rules\n#include own.rules\n");
    write(&pair.laptop.path("small"), "x");
    pair.laptop.flush();
    for (rules, count, because) in [
        ("*.big\n", 1, "what is included ignores it"),
        ("*.huge\n", 2, "what is included, and not synced, has changed"),
    ] {
        write(&pair.devbox.path("own.rules"), rules);
        write(&pair.devbox.path("a.big"), "x");
        pair.devbox.flush();
        await_files(count, because);
    }
    fs::remove_file(pair.devbox.path(".stignore.local")).unwrap();
    await_files(3, "without them the file with rules is one like any other");
    assert!(pair.devbox.path("own.rules").exists());
    pair.agree();
}
