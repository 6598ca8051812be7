//! A home that was set back to an older copy, or copied.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use syncd_integration::process::{Pair, binary, run, write};

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn a_home_that_was_set_back_goes_on_as_another_life() {
    let mut pair = Pair::new();
    write(&pair.laptop.path("f"), "before");
    pair.agree();
    pair.devbox.stop();
    let (home, backup) = (pair.devbox.home().to_owned(), pair.aside("backup"));
    copy(&home, &backup);
    pair.devbox.start();
    pair.await_connected();
    write(&pair.laptop.path("f"), "after");
    pair.agree();
    pair.devbox.stop();
    fs::remove_dir_all(&home).unwrap();
    copy(&backup, &home);

    // It wrote nothing since: no counter of its own can tell.
    let mut daemon = Command::new(binary("syncd"));
    daemon.arg("--home").arg(&home);
    let answer = run(&mut daemon, Duration::from_secs(60));
    assert_eq!(answer.code, 1, "{}", answer.stderr);
    assert!(answer.stderr.contains("older copy"), "it says what happened: {}", answer.stderr);
    // Whether the laptop hears of it (`device-behind`) is a race between two greetings: the one
    // that is behind ends as soon as it knows.

    pair.devbox.start();
    pair.await_connected();
    write(&pair.devbox.path("g"), "of the new life");
    pair.agree();
    assert_eq!(fs::read_to_string(pair.devbox.path("f")).unwrap(), "after");
    assert_eq!(pair.laptop.status("work")["conflicts"], 0);
}
