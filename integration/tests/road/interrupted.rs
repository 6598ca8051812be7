//! kill -9 in the middle of a large file: what arrived is not sent again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use syncd_integration::process::{Noise, Pair, eventually, is_long, write, write_noise};

/// Returns how many bytes are allocated below a directory.
fn allocated_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => allocated_bytes(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

#[test]
fn after_kill_9_in_the_middle_of_a_large_file_little_is_sent_again() {
    let size: u64 = if is_long() { 1 << 30 } else { 128 << 20 };
    for (kills_receiver, done, because) in [
        (true, 50, "the receiver is killed half way"),
        (false, 50, "the sender is killed half way"),
        (true, 85, "the receiver is killed near the end"),
    ] {
        let mut pair = Pair::through_proxy();
        // Slow enough that the middle can be met, fast enough to be no waiting game.
        pair.proxy().slow_down(size / 4);
        let before = pair.proxy().passed_bytes();
        // Moved in when it is whole: else its beginning would be a version of its own.
        write_noise(&pair.aside("large"), 10, size);
        fs::rename(pair.aside("large"), pair.laptop.path("large")).unwrap();
        eventually(Duration::from_secs(300), &format!("{done} % is sent"), || {
            let sent = pair.proxy().passed_bytes() - before;
            if sent * 100 >= size * done { Ok(()) } else { Err(format!("{sent} of {size} bytes")) }
        });
        if kills_receiver {
            pair.devbox.kill();
        } else {
            pair.laptop.kill();
        }
        assert!(!pair.devbox.path("large").exists(), "{because}: half a file is no file");
        let there = allocated_bytes(&pair.devbox.path(".syncd")).min(size);
        pair.proxy().slow_down(0);
        let restarted = pair.proxy().passed_bytes();
        if kills_receiver {
            pair.devbox.start();
        } else {
            pair.laptop.start();
        }
        pair.await_connected();
        pair.laptop.flush();
        pair.assert_equal(because);
        let sent = pair.proxy().passed_bytes() - restarted;
        // Both the file's rest and what any reconnection costs are no repetition.
        let again = (sent + there).saturating_sub(size + size / 100 + 200_000);
        assert!(there * 100 > size * done / 2, "{because}: only {there} bytes were kept");
        assert!(again * 20 < there, "{because}: {again} of {there} bytes were sent again");
    }
}

#[test]
fn after_kill_9_among_many_files_all_arrive() {
    for round in 0..if is_long() { 20 } else { 4 } {
        let mut pair = Pair::new();
        let mut noise = Noise::new(round);
        for at in 0..1_500 {
            write(&pair.laptop.path(format!("{}/{at}", at % 20)), noise.bytes(3_000));
        }
        let enough = 100 + 300 * (round as usize % 4);
        eventually(Duration::from_secs(60), "some files are there", || {
            let files: usize = (0..20)
                .filter_map(|at| fs::read_dir(pair.devbox.path(format!("{at}"))).ok())
                .map(Iterator::count)
                .sum();
            if files > enough { Ok(()) } else { Err(format!("{files} files")) }
        });
        if round % 2 == 0 {
            pair.devbox.kill();
            pair.devbox.start();
        } else {
            pair.laptop.kill();
            pair.laptop.start();
        }
        pair.await_connected();
        pair.agree();
        let status = pair.devbox.status("work");
        assert_eq!(status["conflicts"], 0, "one writer makes no conflicts: {status}");
        assert_eq!(status["files"], 1_500, "{status}");
    }
}
