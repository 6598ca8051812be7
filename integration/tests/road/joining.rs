//! Pausing, unsharing and removing folders.

use std::fs;

use syncd_integration::process::{FOLDER, Pair, write};

#[test]
fn folders_are_paused_unshared_and_removed_without_touching_files() {
    let pair = Pair::new();
    write(&pair.laptop.path("a"), "one");
    pair.laptop.flush();
    pair.devbox.ok(&["folder", "pause", FOLDER]);
    assert_eq!(pair.devbox.status(FOLDER)["state"], "paused");
    write(&pair.laptop.path("a"), "two");
    let late = pair.laptop.ctl(&["flush", "--timeout", "2s"]);
    assert_eq!(late.code, 4, "a paused folder takes nothing: {}", late.stderr);
    assert_eq!(fs::read_to_string(pair.devbox.path("a")).unwrap(), "one");
    pair.devbox.ok(&["folder", "resume", FOLDER]);
    pair.laptop.flush();
    pair.assert_equal("it goes on");
    pair.devbox.ok(&["folder", "rm", FOLDER]);
    assert_eq!(fs::read_to_string(pair.devbox.path("a")).unwrap(), "two", "files stay");
    assert!(!pair.devbox.path(".syncd").exists(), "what was syncd's own is gone");
    write(&pair.laptop.path("b"), "x");
    let nobody = pair.laptop.ctl(&["flush", "--timeout", "2s"]);
    assert_ne!(nobody.code, 0, "a device without the folder does not count as done");
    assert!(!pair.devbox.path("b").exists());
}
