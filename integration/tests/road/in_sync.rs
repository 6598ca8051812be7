//! What is said of a device that does not hold everything, and why.

use std::time::Duration;

use serde_json::{Value, json};
use syncd_integration::process::{Device, FOLDER, Pair, eventually, write};

/// How long a change may take to show.
const SHOWS_MAX: Duration = Duration::from_secs(60);

/// Waits until `device` says of the only other one, in `status` and in `folder ls`, that it is in
/// sync or not, and what it leaves out.
#[track_caller]
fn await_told(device: &Device, in_sync: bool, left_out: &Value, because: &str) {
    eventually(SHOWS_MAX, because, || {
        let folders = device.json(&["folder", "ls"]);
        for told in [&device.status(FOLDER)["devices"][0], &folders[0]["devices"][0]] {
            if told["in_sync"] != in_sync || told["left_out"] != *left_out {
                return Err(told.to_string());
            }
        }
        Ok(())
    });
}

#[test]
fn a_device_is_in_sync_although_it_ignores_files() {
    let pair = Pair::new();
    write(&pair.devbox.path(".stignore.local"), "*.big\n");
    // Rules and files may meet anywhere on their ways: the files come when the rules are read.
    pair.devbox.flush();
    write(&pair.laptop.path("a.big"), "big");
    write(&pair.laptop.path("d/b.big"), "bigger");
    write(&pair.laptop.path("small"), "small");
    pair.laptop.flush();
    let two = json!([{ "why": "ignored", "files": 2 }]);
    await_told(&pair.laptop, true, &two, "two files are ignored there");
    await_told(&pair.devbox, true, &json!([]), "the other side holds all");
    let page = pair.laptop.ok(&["status"]);
    assert!(page.contains("devbox leaves 2 files out: its rules ignore"), "{page}");
    assert!(pair.devbox.path("small").exists() && !pair.devbox.path("a.big").exists());
    write(&pair.devbox.path(".stignore.local"), "");
    await_told(&pair.laptop, true, &json!([]), "they are not ignored any more");
    assert!(pair.devbox.path("d/b.big").exists());
}

#[test]
fn what_a_folder_that_only_sends_does_not_take_is_told_on_the_other_side() {
    let pair = Pair::new();
    pair.devbox.ok(&["folder", "set", FOLDER, "--role", "sendonly"]);
    write(&pair.laptop.path("not-wanted"), "x");
    pair.laptop.ok(&["scan"]);
    let one = json!([{ "why": "not-taken", "files": 1 }]);
    await_told(&pair.laptop, false, &one, "it is not taken there");
    let page = pair.laptop.ok(&["status"]);
    assert!(page.contains("devbox leaves 1 file out: its folder only sends"), "{page}");
    pair.devbox.ok(&["folder", "set", FOLDER, "--role", "sendreceive"]);
    await_told(&pair.laptop, true, &json!([]), "now it is");
    assert!(pair.devbox.path("not-wanted").exists());
}
