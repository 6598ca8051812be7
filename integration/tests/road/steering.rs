//! Changing how folders and devices are called and run, and what is refused.

use std::fs;
use std::time::Duration;

use syncd_integration::process::{Device, FOLDER, Listen, Pair, eventually, write};

#[test]
fn all_folders_pause_and_go_on_at_once() {
    let pair = Pair::new();
    let said = pair.devbox.ok(&["pause"]);
    assert!(said.contains("1 folder") && said.contains("syncctl resume"), "{said}");
    assert_eq!(pair.devbox.status(FOLDER)["state"], "paused");
    assert!(pair.devbox.ok(&["pause"]).contains("0 folders"), "once is enough");
    pair.devbox.ok(&["resume"]);
    write(&pair.laptop.path("a"), "x");
    pair.agree();
}

#[test]
fn devices_and_folders_get_other_names_and_stay_shared() {
    let pair = Pair::new();
    pair.laptop.ok(&["devices", "rename", "devbox", "buildbox"]);
    assert!(pair.laptop.is_connected_to("buildbox"), "{}", pair.laptop.ok(&["devices"]));
    assert_eq!(pair.laptop.status(FOLDER)["devices"][0]["name"], "buildbox");
    let taken = pair.laptop.ctl(&["devices", "rename", "nobody", "x"]);
    assert_eq!(taken.code, 1, "{}", taken.stderr);
    pair.laptop.ok(&["folder", "set", FOLDER, "--label", "All my work"]);
    assert_eq!(pair.laptop.status(FOLDER)["label"], "All my work");
    write(&pair.laptop.path("a"), "x");
    pair.agree();
}

#[test]
fn a_tree_belongs_to_one_device() {
    let pair = Pair::new();
    write(&pair.laptop.path("sub/a"), "x");
    pair.laptop.flush();
    let mut second = Device::init(&pair.aside("more"), "second", Listen::Nowhere);
    second.start();
    for place in [pair.laptop.root().to_owned(), pair.laptop.path("sub")] {
        let place = place.display().to_string();
        let answer = second.ctl(&["folder", "add", &place, "--id", "mine"]);
        assert_eq!(answer.code, 1, "{place}: {}", answer.stderr);
        let home = pair.laptop.home().display().to_string();
        for word in ["laptop", home.as_str(), "remove"] {
            assert!(answer.stderr.contains(word), "{word}: {}", answer.stderr);
        }
    }
    pair.laptop.ok(&["folder", "rm", FOLDER]);
    let place = pair.laptop.root().display().to_string();
    second.ok(&["folder", "add", &place, "--id", "mine"]);
    eventually(Duration::from_secs(30), "the second device has begun", || {
        let state = second.status("mine")["state"].clone();
        if state == "idle" { Ok(()) } else { Err(state.to_string()) }
    });
    let again = pair.laptop.ctl(&["folder", "add", &place]);
    assert_eq!(again.code, 1, "now it is the other's: {}", again.stderr);
    assert!(again.stderr.contains("second"), "{}", again.stderr);
}

#[test]
fn a_moved_directory_is_the_same_folder() {
    let pair = Pair::new();
    write(&pair.laptop.path("a"), "x");
    pair.laptop.flush();
    let place = pair.aside("elsewhere");
    fs::rename(pair.laptop.root(), &place).unwrap();
    pair.laptop.ok(&["folder", "move", FOLDER, &place.display().to_string()]);
    write(&place.join("b"), "y");
    pair.laptop.flush();
    assert_eq!(fs::read_to_string(pair.devbox.path("a")).unwrap(), "x", "nothing is deleted");
    assert_eq!(fs::read_to_string(pair.devbox.path("b")).unwrap(), "y");
}
