//! A program that keeps its file open while a newer version comes from elsewhere.

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use syncd_integration::process::{Device, Pair, eventually, is_long, write};

use super::{ARRIVES_MAX, agree_without_conflict, await_text};

/// Makes two devices that both hear by now of what happens in their folders.
fn watched_pair() -> Pair {
    let pair = Pair::new();
    // A flush waits for the watcher.
    pair.agree();
    pair
}

/// Waits until a device says that a file is open for writing.
fn await_busy(device: &Device, name: &str) {
    let path = device.path(name);
    eventually(ARRIVES_MAX, "it is waited for", || {
        let why = device.ok(&["why", &path.to_string_lossy()]);
        if why.contains("open for writing") { Ok(()) } else { Err(why) }
    });
}

#[test]
fn a_file_that_is_open_for_writing_is_replaced_when_it_is_closed() {
    let pair = watched_pair();
    for (here, there) in pair.sides() {
        let name = format!("log-{}", here.name());
        let mut log = File::create(here.path(&name)).unwrap();
        log.write_all(b"one\n").unwrap();
        await_text(there, &name, "one\n");
        write(&there.path(&name), "cleared\n");
        await_busy(here, &name);
        assert_eq!(fs::read_to_string(here.path(&name)).unwrap(), "one\n", "not yet");
        drop(log);
        await_text(here, &name, "cleared\n");
        agree_without_conflict(&pair, "nobody wrote meanwhile");
    }
}

#[test]
fn a_file_that_stays_open_is_replaced_after_half_a_minute_and_later_writes_are_kept() {
    if !is_long() {
        eprintln!("left out: set SYNCD_LONG=1");
        return;
    }
    let pair = watched_pair();
    let mut log = File::create(pair.devbox.path("log")).unwrap();
    log.write_all(b"one\n").unwrap();
    await_text(&pair.laptop, "log", "one\n");
    write(&pair.laptop.path("log"), "cleared\n");
    eventually(Duration::from_secs(150), "it is replaced all the same", || {
        let text = fs::read_to_string(pair.devbox.path("log")).unwrap();
        if text == "cleared\n" { Ok(()) } else { Err(text) }
    });
    log.write_all(b"two\n").unwrap();
    eventually(ARRIVES_MAX, "what was written later is a conflict copy", || {
        match &super::copies(&pair.laptop)[..] {
            [copy] => {
                let text = fs::read_to_string(pair.laptop.path(copy)).unwrap();
                if text == "one\ntwo\n" { Ok(()) } else { Err(text) }
            }
            copies => Err(format!("{copies:?}")),
        }
    });
    assert_eq!(fs::read_to_string(pair.laptop.path("log")).unwrap(), "cleared\n");
}
