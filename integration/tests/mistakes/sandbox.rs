//! Machines that lack system calls: old kernels, containers' filters, gVisor.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use rustix::io::Errno;
use syncd_integration::process::{FOLDER, Pair, eventually, lacking, write, write_noise};

use super::says;

/// How long it may take until a problem is told.
const TOLD_MAX: Duration = Duration::from_secs(60);

/// What a folder's files do in a day.
fn work(pair: &Pair, round: &str) {
    for (ours, theirs) in pair.sides() {
        let name = ours.name();
        let at = |path: &str| ours.path(format!("{name}/{path}"));
        for file in 0..20 {
            write(&at(&format!("d{}/f{file}", file % 3)), format!("{round} {file}"));
        }
        write_noise(&at("large"), round.len() as u64, 300_000);
        fs::remove_file(at("link")).ok();
        symlink(round, at("link")).unwrap();
        pair.agree();
        fs::rename(at("d0"), at("moved")).unwrap();
        fs::remove_dir_all(at("d1")).unwrap();
        write(&at("d2/f2"), "changed");
        pair.agree();
        let there = theirs.path(format!("{name}/moved/f0"));
        assert_eq!(fs::read_to_string(there).unwrap(), format!("{round} 0"));
        fs::remove_dir_all(at("moved")).unwrap();
    }
}

/// Lets the devbox run without `calls` and looks whether it works as before.
fn works_without(calls: &[i64], because: &str) {
    for errno in [Errno::NOSYS, Errno::PERM] {
        let mut pair = Pair::new();
        pair.devbox.stop();
        lacking(calls, errno, || pair.devbox.start());
        pair.await_connected();
        work(&pair, "first");
        // What changes on both sides at once is kept on both.
        write(&pair.laptop.path("both"), "from the laptop");
        write(&pair.devbox.path("both"), "from the devbox");
        pair.agree();
        pair.devbox.kill();
        write(&pair.laptop.path("while"), "it was away");
        lacking(calls, errno, || pair.devbox.start());
        pair.agree();
        assert!(pair.devbox.path("while").exists(), "{because}, {errno}");
        work(&pair, "second time");
        let state = pair.devbox.status(FOLDER)["state"].clone();
        assert!(state == "idle" || state == "syncing", "{because}, {errno}: {state}");
    }
}

#[test]
fn without_openat2_and_renameat2_it_falls_back() {
    works_without(&[libc::SYS_openat2, libc::SYS_renameat2], "gVisor knows neither");
}

#[test]
fn without_inotify_it_scans() {
    let calls = [
        libc::SYS_inotify_init1,
        libc::SYS_inotify_add_watch,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_inotify_init,
    ];
    works_without(&calls, "nothing can be watched");
    let mut pair = Pair::new();
    pair.devbox.stop();
    lacking(&calls, Errno::NOSYS, || pair.devbox.start());
    eventually(TOLD_MAX, "it says so", || {
        let problems = pair.devbox.status(FOLDER)["problems"].clone();
        let told = problems.as_array().into_iter().flatten().filter_map(|one| one["what"].as_str());
        if told.into_iter().any(|what| what.contains("scanned")) {
            Ok(())
        } else {
            Err(problems.to_string())
        }
    });
}

#[test]
fn without_what_makes_copies_cheap_it_copies() {
    let calls = [
        libc::SYS_copy_file_range,
        libc::SYS_fallocate,
        libc::SYS_syncfs,
        libc::SYS_fsetxattr,
        libc::SYS_fgetxattr,
        libc::SYS_io_uring_setup,
    ];
    works_without(&calls, "a strict sandbox");
}

#[test]
fn a_sandbox_that_refuses_to_sync_the_index_is_named_at_the_start() {
    let call = [libc::SYS_sync_file_range];
    let mut pair = Pair::new();
    pair.devbox.stop();
    let words = ["sync_file_range", "sandbox", "allow it"];
    lacking(&call, Errno::PERM, || says(&pair.devbox.refuses(), 1, &words, "an index that is"));
    fs::remove_dir_all(pair.devbox.home().join("index")).unwrap();
    lacking(&call, Errno::PERM, || says(&pair.devbox.refuses(), 1, &words, "a new index"));
    // Where the call is not known there is another way.
    lacking(&call, Errno::NOSYS, || pair.devbox.start());
    work(&pair, "without");
}
