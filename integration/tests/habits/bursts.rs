//! Much at once: a checkout arrives as one, and nothing that somebody types waits for it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use syncd_integration::process::{
    Device, Pair, eventually, is_long, write, write_noise, write_sparse,
};

use super::git::git;
use super::{ARRIVES_MAX, agree_without_conflict, await_text};

/// How many files a checkout changes.
const FILES: usize = 2_000;

/// What is seen of a burst before it is known for one.
const FIRST_MAX: usize = 100;

/// Makes a repository in which two branches differ in all of their files.
fn branches(dir: &Path) {
    git(dir, &["init", "-q"]);
    for branch in ["one", "two"] {
        git(dir, &["checkout", "-q", "--orphan", branch]);
        for at in 0..FILES {
            write(&dir.join(format!("src/{}/{at}.c", at % 40)), format!("{branch} {at}\n"));
        }
        git(dir, &["add", "src"]);
        git(dir, &["commit", "-qm", branch]);
    }
    git(dir, &["checkout", "-q", "one"]);
}

/// Counts the files of a device that are of a branch.
fn of_branch(device: &Device, branch: &str) -> usize {
    let is_of = |at: &usize| {
        let path = device.path(format!("src/{}/{at}.c", at % 40));
        fs::read_to_string(path).is_ok_and(|text| text.starts_with(branch))
    };
    (0..FILES).filter(is_of).count()
}

/// How often a checkout is watched: a machine that stalls between two files of it makes two bursts
/// of it, and only a trickle comes in parts each time.
const ROUNDS_MAX: usize = 6;

#[test]
fn a_checkout_is_staged_whole_before_it_is_seen() {
    let pair = Pair::new();
    branches(pair.laptop.root());
    pair.laptop.flush();
    assert_eq!(of_branch(&pair.devbox, "one"), FILES, "the first branch");
    let mut seen = Vec::new();
    for round in 0..ROUNDS_MAX {
        let branch = if round % 2 == 0 { "two" } else { "one" };
        git(pair.laptop.root(), &["checkout", "-q", branch]);
        // As soon as more of it is seen than came before anybody could know, the sender is held
        // still: whatever is seen from then on lay here already.
        eventually(ARRIVES_MAX, "some of the checkout is seen", || {
            match of_branch(&pair.devbox, branch) {
                count if count > FIRST_MAX => Ok(()),
                count => Err(format!("{count} files")),
            }
        });
        pair.laptop.freeze();
        seen.push(all_that_comes(&pair.devbox, branch));
        pair.laptop.thaw();
        agree_without_tags(&pair);
        if seen.last() == Some(&FILES) {
            return;
        }
    }
    panic!("{seen:?} files lay there while the sender was held still: a trickle");
}

/// Waits until all files are of a branch or nothing has come for some seconds; their count.
fn all_that_comes(device: &Device, branch: &str) -> usize {
    let (mut count, mut grew) = (of_branch(device, branch), Instant::now());
    while count < FILES && grew.elapsed() < Duration::from_secs(5) {
        // What is counted is that nothing comes any more, of which nothing tells.
        std::thread::sleep(Duration::from_millis(20));
        let now = of_branch(device, branch);
        if now != count {
            (count, grew) = (now, Instant::now());
        }
    }
    count
}

fn agree_without_tags(pair: &Pair) {
    for (here, _) in pair.sides() {
        here.flush();
        assert_eq!(super::copies(here), [""; 0], "a checkout is no conflict");
    }
}

#[test]
fn a_burst_that_is_cut_in_the_middle_goes_on() {
    let pair = Pair::through_proxy();
    for at in 0..FILES {
        write(&pair.laptop.path(format!("{}/{at}", at % 40)), format!("first {at}\n"));
    }
    pair.laptop.flush();
    let before = pair.proxy().passed_bytes();
    for at in 0..FILES {
        write(&pair.laptop.path(format!("{}/{at}", at % 40)), format!("second {at}\n"));
    }
    eventually(ARRIVES_MAX, "some of it is on its way", || {
        let passed = pair.proxy().passed_bytes() - before;
        if passed > 50_000 { Ok(()) } else { Err(format!("{passed} bytes")) }
    });
    pair.proxy().cut();
    // What came in whole is not held until the line is mended.
    eventually(ARRIVES_MAX, "nothing is held", || {
        let waits = pair.devbox.status("work")["need_files"].as_u64();
        if waits == Some(0) { Ok(()) } else { Err(format!("{waits:?} files")) }
    });
    pair.proxy().mend();
    pair.await_connected();
    agree_without_conflict(&pair, "the rest came");
}

#[test]
fn an_edit_overtakes_a_large_transfer() {
    let pair = Pair::through_proxy();
    write(&pair.laptop.path("notes"), "first\n");
    pair.laptop.flush();
    // So slow that the transfer outlasts the edits on any machine.
    pair.proxy().slow_down(16 << 20);
    let before = pair.proxy().passed_bytes();
    if is_long() {
        // A sixteenth of it is noise: both copies together take less than 3 GiB of a disk.
        write_sparse(&pair.aside("large"), 10, 20 << 30);
    } else {
        write_noise(&pair.aside("large"), 10, 256 << 20);
    }
    fs::rename(pair.aside("large"), pair.laptop.path("large")).unwrap();
    eventually(Duration::from_secs(600), "the transfer is under way", || {
        let passed = pair.proxy().passed_bytes() - before;
        if passed > 8 << 20 { Ok(()) } else { Err(format!("{passed} bytes")) }
    });
    for turn in 0..6 {
        let (here, there) = pair.sides()[turn % 2];
        let text = format!("turn {turn}\n");
        write(&here.path("notes"), &text);
        await_text(there, "notes", &text);
        assert!(!pair.devbox.path("large").exists(), "turn {turn}: the large file is later");
    }
    pair.proxy().slow_down(0);
    agree_without_conflict(&pair, "all has come");
}
