//! Git at work in a synced folder: the files arrive, its own directory stays where it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use syncd_integration::process::{Device, Pair, eventually, nodes, write};

use super::{ARRIVES_MAX, copies, done};

/// Git in `dir` with settings of its own, so that nobody's global ones count.
fn command(dir: &Path, arguments: &[&str]) -> Command {
    let settings = ["init.defaultBranch=main", "user.name=me", "user.email=me@host", "gc.auto=0"];
    let settings = settings.iter().flat_map(|setting| ["-c", setting]);
    let mut git = Command::new("git");
    git.args(settings)
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_EDITOR", "true");
    git
}

/// Runs git in `dir`.
#[track_caller]
pub(super) fn git(dir: &Path, arguments: &[&str]) -> String {
    done(&mut command(dir, arguments))
}

/// Runs git in `dir` until nothing comes in its way: it removes a file before it writes it anew,
/// and syncd may write one there in between.
#[track_caller]
pub(super) fn git_patiently(dir: &Path, arguments: &[&str]) {
    eventually(ARRIVES_MAX, &arguments.join(" "), || {
        let output = command(dir, arguments).output().expect("git starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    });
}

/// Makes a repository with the branches `main` and `feature`, which differ in `files` files, and
/// with some more that are the same in both.
pub(super) fn upstream(dir: &Path, files: usize) {
    write(&dir.join("README"), "read me\n");
    write(&dir.join(".gitignore"), "*.o\n/build\n");
    for at in 0..files {
        write(&dir.join(format!("src/{}/{at}.c", at % 5)), format!("main {at}\n"));
        write(&dir.join(format!("lib/{at}.h")), format!("header {at}\n"));
    }
    git(dir, &["init", "-q"]);
    git(dir, &["add", "."]);
    git(dir, &["commit", "-qm", "first"]);
    git(dir, &["checkout", "-qb", "feature"]);
    for at in 0..files {
        write(&dir.join(format!("src/{}/{at}.c", at % 5)), format!("feature {at}\n"));
    }
    write(&dir.join("only/feature.c"), "feature\n");
    git(dir, &["add", "."]);
    git(dir, &["commit", "-qm", "second"]);
    git(dir, &["checkout", "-q", "main"]);
    write(&dir.join("README"), "read me twice\n");
    git(dir, &["commit", "-qam", "third"]);
}

/// Lists what lies in a device's folder, with its bytes, but for git's own.
fn work_tree(device: &Device) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let is_work = |path: &PathBuf| !path.components().any(|part| part.as_os_str() == ".git");
    let paths = nodes(device.root()).into_keys().filter(is_work);
    paths.map(|path| (path.clone(), std::fs::read(device.path(&path)).ok())).collect()
}

/// Waits until both hold the same but for what is git's own, and no conflict.
#[track_caller]
pub(super) fn agree_on_work(pair: &Pair, because: &str) {
    eventually(ARRIVES_MAX, because, || {
        for (here, _) in pair.sides() {
            // A folder whose '.syncd' was removed is made again, and not there for a moment.
            let flush = here.ctl(&["flush", "--timeout", "2m"]);
            if flush.code != 0 {
                return Err(flush.stderr);
            }
        }
        let (ours, theirs) = (work_tree(&pair.laptop), work_tree(&pair.devbox));
        let differs = |path: &&PathBuf| {
            let find = |all: &[(PathBuf, _)]| all.iter().find(|(p, _)| p == *path).cloned();
            find(&ours) != find(&theirs)
        };
        let paths = ours.iter().chain(&theirs).map(|(path, _)| path);
        let different: Vec<_> = paths.filter(differs).take(10).collect();
        if different.is_empty() { Ok(()) } else { Err(format!("{different:?} differ")) }
    });
}

#[test]
fn the_work_of_git_arrives_and_its_own_directory_does_not() {
    let pair = Pair::new();
    upstream(&pair.aside("upstream"), 60);
    for (here, there) in pair.sides() {
        let name = here.name();
        let repo = here.path(name);
        let from = pair.aside("upstream").display().to_string();
        type Work = (&'static str, fn(&Path));
        git(here.root(), &["clone", "-q", &from, name]);
        agree_on_work(&pair, "a clone");
        let works: [Work; 10] = [
            ("a checkout of another branch", |r| drop(git(r, &["checkout", "-q", "feature"]))),
            ("and back", |r| drop(git(r, &["checkout", "-q", "main"]))),
            ("a rebase", |r| {
                git(r, &["checkout", "-q", "feature"]);
                git(r, &["rebase", "-q", "main"]);
            }),
            ("a merge", |r| {
                git(r, &["checkout", "-q", "main"]);
                git(r, &["merge", "-q", "feature"]);
            }),
            ("a stash of edits and new files", |r| {
                write(&r.join("README"), "edited\n");
                write(&r.join("new"), "new\n");
                git(r, &["stash", "-qu"]);
            }),
            ("and its return", |r| drop(git(r, &["stash", "pop", "-q"]))),
            ("a worktree beside it", |r| {
                git(r, &["worktree", "add", "-q", "../tree", "origin/feature"]);
            }),
            ("and its removal", |r| drop(git(r, &["worktree", "remove", "../tree"]))),
            ("git clean", |r| {
                write(&r.join("build/a.o"), "o");
                git(r, &["clean", "-qfdx"]);
            }),
            ("a hard reset", |r| drop(git(r, &["reset", "-q", "--hard", "origin/feature"]))),
        ];
        for (what, work) in works {
            work(&repo);
            agree_on_work(&pair, what);
            assert!(!there.path(name).join(".git").exists(), "{what}: .git is not synced");
            assert!(!there.path("tree/.git").exists(), "{what}: nor is a worktree's file");
            let clean = git(&repo, &["fsck", "--no-progress", "--no-dangling"]);
            assert_eq!(clean, "", "{what}: the repository is whole");
        }
        assert_eq!(git(&repo, &["status", "--porcelain"]), "", "git finds what it wrote");
        assert_eq!(copies(here), [""; 0], "one writer makes no conflicts");
    }
}

#[test]
fn git_clean_in_the_root_does_not_halt_the_folder() {
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        git(here.root(), &["init", "-q"]);
        write(&here.path("tracked"), "tracked\n");
        git(here.root(), &["add", "tracked"]);
        git(here.root(), &["commit", "-qm", "first"]);
        // With one -f git spares what looks like a repository, with two it does not.
        for options in ["-qfdx", "-qffdx"] {
            write(&here.path("d/untracked"), "untracked\n");
            here.flush();
            assert!(there.path("d/untracked").exists(), "it has arrived before {options}");
            git_patiently(here.root(), &["clean", options]);
            agree_on_work(&pair, options);
            assert!(!there.path("d").exists(), "{options}: what was cleaned here is gone there");
            write(&here.path("after"), options);
            agree_on_work(&pair, options);
            eventually(ARRIVES_MAX, options, || {
                let status = here.status("work");
                let is_well = status["problems"].as_array().is_some_and(Vec::is_empty);
                if status["state"] == "idle" && is_well { Ok(()) } else { Err(status.to_string()) }
            });
        }
    }
}
