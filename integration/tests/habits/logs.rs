//! A log that grows.

use std::fs::{self, File};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use syncd_integration::process::{Pair, eventually, is_long};

use super::{ARRIVES_MAX, agree_without_conflict};

/// Reads a file that somebody may be replacing.
fn text(path: &std::path::Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_growing_log_follows_and_is_never_seen_torn() {
    let lasts = Duration::from_secs(if is_long() { 180 } else { 4 });
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        let name = format!("{}.log", here.name());
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let mut log = File::create(here.path(&name)).unwrap();
                let began = Instant::now();
                let mut lines = 0_u64;
                while began.elapsed() < lasts {
                    let line = format!("line {lines}: something happened\n");
                    log.write_all(line.as_bytes()).unwrap();
                    lines += 1;
                    // The pace of the program that logs.
                    thread::sleep(Duration::from_millis(3));
                }
                is_over.store(true, Ordering::SeqCst);
                lines
            });
            let mut versions = 0_u64;
            let mut before = String::new();
            while !is_over.load(Ordering::SeqCst) {
                let now = text(&there.path(&name));
                assert!(now.starts_with(&before), "it only grows, on {}", there.name());
                assert!(now.is_empty() || now.ends_with('\n'), "whole lines: {now:?}");
                versions += u64::from(now != before);
                before = now;
                // Between two looks, for as long as the program logs.
                thread::sleep(Duration::from_millis(5));
            }
            let lines = writing.join().unwrap();
            eventually(ARRIVES_MAX, "the last line arrives", || {
                match text(&there.path(&name)).lines().count() as u64 {
                    count if count == lines => Ok(()),
                    count => Err(format!("{count} of {lines} lines")),
                }
            });
            assert!(versions > 0, "some of it is seen before the program ends");
            assert!(versions * 4 < lines, "{versions} versions of {lines} lines");
        });
        agree_without_conflict(&pair, &name);
    }
}
