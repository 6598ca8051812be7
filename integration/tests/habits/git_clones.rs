//! Two clones of one repository at one place of a synced folder: each device has its own `.git`,
//! both share the files.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use syncd_integration::process::{Device, Pair, write};

use super::copies;
use super::git::{agree_on_work, git, git_patiently, upstream};

/// How many files the two branches differ in.
const FILES: usize = 40;

/// What the other device does while git works on one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    /// It is connected and idle.
    Up,
    /// It is away, and comes back afterwards.
    Away,
    /// Somebody edits there, files that git does not touch.
    Editing,
}

/// Makes a clone on the laptop, lets its files arrive, and gives the devbox a `.git` of its own
/// that knows them.
fn two_clones() -> Pair {
    let pair = Pair::new();
    upstream(&pair.aside("upstream"), FILES);
    let from = pair.aside("upstream").display().to_string();
    git(pair.laptop.root(), &["clone", "-q", &from, "repo"]);
    agree_on_work(&pair, "the first clone");
    let there = pair.devbox.path("repo");
    git(&there, &["init", "-q"]);
    git(&there, &["remote", "add", "origin", &from]);
    git(&there, &["fetch", "-q"]);
    git(&there, &["reset", "-q", "origin/main"]);
    for (here, _) in pair.sides() {
        assert_eq!(status(here), "", "{} has a clean clone", here.name());
    }
    pair
}

fn status(device: &Device) -> String {
    git(&device.path("repo"), &["status", "--porcelain"])
}

/// Edits files of its own again and again until told to stop; returns the last text.
fn edit_until(repo: &Path, is_over: &AtomicBool) -> String {
    let mut text = String::new();
    for at in 0.. {
        text = format!("edit {at}\n");
        write(&repo.join("notes/mine"), &text);
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        // As fast as an agent edits; whatever it takes, the test waits for what came of it.
        thread::sleep(Duration::from_millis(5));
    }
    text
}

#[test]
fn git_on_one_side_loses_nothing_and_makes_no_conflict_whatever_the_other_does() {
    let mut pair = two_clones();
    let mut commits = 0;
    for other in [Other::Up, Other::Away, Other::Editing] {
        for of_laptop in [true, false] {
            commits += 1;
            let because = format!("the other is {other:?}, git works on the laptop: {of_laptop}");
            if other == Other::Away {
                let there = if of_laptop { &mut pair.devbox } else { &mut pair.laptop };
                there.stop();
            }
            let [first, second] = pair.sides();
            let (here, there) = if of_laptop { first } else { second };
            let (repo, theirs) = (here.path("repo"), there.path("repo"));
            let is_over = AtomicBool::new(false);
            let edited = thread::scope(|scope| {
                let editing = (other == Other::Editing)
                    .then(|| scope.spawn(|| edit_until(&theirs, &is_over)));
                write(&repo.join("README"), format!("commit {commits}\n"));
                git(&repo, &["commit", "-qam", "another"]);
                git(&repo, &["checkout", "-q", "origin/feature"]);
                git(&repo, &["checkout", "-q", "origin/main"]);
                git(&repo, &["checkout", "-q", "origin/feature"]);
                is_over.store(true, Ordering::SeqCst);
                editing.map(|thread| thread.join().unwrap())
            });
            if other == Other::Away {
                let there = if of_laptop { &mut pair.devbox } else { &mut pair.laptop };
                there.start();
                pair.await_connected();
            }
            agree_on_work(&pair, &because);
            let [first, second] = pair.sides();
            let (here, there) = if of_laptop { first } else { second };
            for side in [here, there] {
                assert_eq!(copies(side), [""; 0], "{because}");
                let text = fs::read_to_string(side.path("repo/src/1/1.c")).unwrap();
                assert_eq!(text, "feature 1\n", "{because}");
                if let Some(edited) = &edited {
                    let mine = fs::read_to_string(side.path("repo/notes/mine")).unwrap();
                    assert_eq!(&mine, edited, "{because}: the edits are there");
                }
            }
            // The other's git sees the checked out files as changes, until it is told of the
            // commit they belong to; that moves no files.
            assert_eq!(status(there).lines().filter(|l| l.starts_with(" M src/")).count(), FILES);
            git(&there.path("repo"), &["reset", "-q", "origin/feature"]);
            let left = status(there);
            assert!(left.lines().all(|line| line.ends_with("notes/")), "{because}: {left}");
            for side in [here, there] {
                git_patiently(&side.path("repo"), &["reset", "-q", "--hard", "origin/main"]);
            }
            agree_on_work(&pair, &because);
        }
    }
}

#[test]
fn a_checkout_on_both_sides_at_once_agrees() {
    let pair = two_clones();
    for branch in ["origin/feature", "origin/main", "origin/feature"] {
        thread::scope(|scope| {
            for (here, _) in pair.sides() {
                scope.spawn(|| git(&here.path("repo"), &["checkout", "-qf", branch]));
            }
        });
        agree_on_work(&pair, "equal content is no conflict");
        for (here, _) in pair.sides() {
            assert_eq!(copies(here), [""; 0], "{branch}");
            assert_eq!(status(here), "", "{branch}: both know what they have");
        }
    }
}

#[test]
fn what_both_sides_really_edited_is_kept_twice() {
    let mut pair = two_clones();
    pair.devbox.stop();
    git(&pair.laptop.path("repo"), &["checkout", "-q", "origin/feature"]);
    write(&pair.devbox.path("repo/src/1/1.c"), "an edit that the checkout has not seen\n");
    pair.devbox.start();
    pair.await_connected();
    agree_on_work(&pair, "a conflict");
    let found = copies(&pair.laptop);
    assert_eq!(found.len(), 1, "of forty files one was edited on both sides: {found:?}");
    let mut texts: Vec<_> = ["repo/src/1/1.c", &found[0]]
        .map(|path| fs::read_to_string(pair.laptop.path(path)).unwrap())
        .into();
    texts.sort();
    assert_eq!(texts, ["an edit that the checkout has not seen\n", "feature 1\n"]);
}
