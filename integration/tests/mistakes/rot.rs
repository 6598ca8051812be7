//! Disks that give back other bytes than were written to them.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use syncd_integration::process::{
    Device, FOLDER, Mount, Scratch, can_use, eventually, write, write_noise,
};

use super::store::{agree, pair_on};

/// How long a repair may take.
const REPAIRED_MAX: Duration = Duration::from_secs(60);

/// How many bytes are enough to find a file's place in an image.
const PATTERN_BYTES: usize = 64;

/// Spoils, below the file system, each place of an image at which `pattern` stands.
fn spoil(image: &Path, pattern: &[u8]) {
    // Its caches hold nothing back once it is told to write.
    rustix::fs::sync();
    let bytes = fs::read(image).unwrap();
    let file = fs::File::options().write(true).open(image).unwrap();
    let windows = bytes.windows(pattern.len()).enumerate();
    let places: Vec<_> = windows.filter(|(_, found)| *found == pattern).collect();
    assert!(!places.is_empty(), "the file lies in the image");
    for (at, _) in places {
        file.write_all_at(b"rot", at as u64).unwrap();
    }
    file.sync_all().unwrap();
}

fn verify(device: &Device, options: &[&str]) -> (i32, serde_json::Value) {
    let answer = device.ctl(&[&["verify", "--folder", FOLDER, "--json"], options].concat());
    let report: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    (answer.code, report["folders"][0].clone())
}

#[test]
fn bytes_that_the_disk_has_lost_are_told_to_nobody_and_put_back() {
    if !can_use(&["mount", "mkfs.ext4"]) {
        return;
    }
    let scratch = Scratch::new();
    let at = scratch.path().join("devbox-work");
    let _disk = Mount::ext4(&at, 64);
    fs::remove_dir(at.join("lost+found")).unwrap();
    let (laptop, devbox) = pair_on(&scratch);
    write(&laptop.path("whole"), "whole");
    write_noise(&laptop.path("rotten"), 7, 300_000);
    agree(&laptop, &devbox);
    let written = fs::read(laptop.path("rotten")).unwrap();
    let (code, found) = verify(&devbox, &[]);
    assert_eq!((code, &found["whole"], &found["changed"]), (0, &2.into(), &0.into()), "{found}");

    let heard = last_event(&laptop);
    spoil(&at.with_extension("image"), &written[..PATTERN_BYTES]);
    let (code, found) = verify(&devbox, &[]);
    assert_eq!(code, 1, "a script notices: {found}");
    assert_eq!(found["rotten"][0]["path"], *devbox.path("rotten").to_str().unwrap(), "{found}");
    assert_eq!(found["whole"], 1, "{found}");
    assert_ne!(fs::read(devbox.path("rotten")).unwrap(), written, "nothing is mended unasked");
    devbox.ok(&["scan"]);
    devbox.flush();
    assert_eq!(heard, last_event(&laptop), "and nobody hears of it");
    let problem = damage(&devbox).expect("people here do");
    assert_eq!(problem["path"], "rotten", "{problem}");
    assert!(problem["do"].as_str().unwrap().contains("syncctl verify --folder work --repair"));
    let why = devbox.json(&["why", devbox.path("rotten").to_str().unwrap()]);
    assert_eq!(why["reasons"][0]["kind"], "damaged", "{why}");

    let (code, found) = verify(&devbox, &["--repair"]);
    assert_eq!(code, 1, "{found}");
    eventually(REPAIRED_MAX, "the bytes are put back", || {
        let found = verify(&devbox, &[]);
        if found.0 == 0 { Ok(()) } else { Err(format!("{found:?}")) }
    });
    assert_eq!(fs::read(devbox.path("rotten")).unwrap(), written);
    assert_eq!(fs::read(laptop.path("rotten")).unwrap(), written);
    agree(&laptop, &devbox);
    assert_eq!(damage(&devbox), None, "what is mended is a problem no longer");
}

#[test]
fn a_folder_finds_damage_by_its_schedule_and_its_history_mends_it() {
    if !can_use(&["mount", "mkfs.ext4"]) {
        return;
    }
    let scratch = Scratch::new();
    let at = scratch.path().join("devbox-work");
    let _disk = Mount::ext4(&at, 64);
    fs::remove_dir(at.join("lost+found")).unwrap();
    let (mut laptop, devbox) = pair_on(&scratch);
    write_noise(&laptop.path("book"), 7, 300_000);
    let first = fs::read(laptop.path("book")).unwrap();
    agree(&laptop, &devbox);
    write(&laptop.path("book"), "another edition");
    agree(&laptop, &devbox);
    laptop.stop();
    // The first edition is in the history now, and here once more.
    write(&devbox.path("book"), &first);
    devbox.ok(&["scan"]);
    let place = devbox.path("book");
    let is_rotten = spoil_one(&at, &first[..PATTERN_BYTES], || from_disk(&place) != first);
    assert!(is_rotten, "the file itself was spoilt, not its like in the history");
    devbox.ok(&["scan"]);
    assert_eq!(damage(&devbox), None, "no scan sees it");
    devbox.ok(&["folder", "set", FOLDER, "--verify-days", "1"]);
    eventually(REPAIRED_MAX, "it is verified, at once for the first time", || {
        damage(&devbox).map(|_| ()).ok_or_else(|| devbox.ok(&["status"]))
    });
    let events = devbox.ok(&["events", "--json", "--since", "0"]);
    assert!(events.contains("\"file-damaged\""), "{events}");
    assert_ne!(from_disk(&place), first, "nothing is mended unasked");
    let (code, found) = verify(&devbox, &["--repair"]);
    assert_eq!(code, 1, "{found}");
    eventually(REPAIRED_MAX, "the history has the bytes, and no device is there", || {
        let found = verify(&devbox, &[]);
        if found.0 == 0 { Ok(()) } else { Err(format!("{found:?}")) }
    });
    assert_eq!(fs::read(devbox.path("book")).unwrap(), first);
}

/// Returns what the disk holds of a file, not what the system remembers of it.
fn from_disk(path: &Path) -> Vec<u8> {
    let file = fs::File::open(path).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    fs::read(path).unwrap()
}

/// Returns what the status says of the first damaged file.
fn damage(device: &Device) -> Option<serde_json::Value> {
    let problems = device.status(FOLDER)["problems"].clone();
    let mut problems = problems.as_array().unwrap().clone().into_iter();
    problems.find(|problem| problem["what"].as_str().unwrap().contains("other bytes"))
}

/// Spoils one place after the other at which `pattern` stands in the image of what is mounted at
/// `at`, until `is_it` says so; those before are as they were again. Tells whether it was found.
fn spoil_one(at: &Path, pattern: &[u8], mut is_it: impl FnMut() -> bool) -> bool {
    rustix::fs::sync();
    let image = at.with_extension("image");
    let bytes = fs::read(&image).unwrap();
    let file = fs::File::options().write(true).open(&image).unwrap();
    let windows = bytes.windows(pattern.len()).enumerate();
    let places: Vec<_> = windows.filter(|(_, found)| *found == pattern).collect();
    for (place, was) in places {
        file.write_all_at(b"rot", place as u64).unwrap();
        file.sync_all().unwrap();
        if is_it() {
            return true;
        }
        file.write_all_at(was, place as u64).unwrap();
        file.sync_all().unwrap();
    }
    false
}

/// Returns the number of the latest event of a path at a device.
fn last_event(device: &Device) -> Option<u64> {
    let answer = device.ok(&["events", "--json", "--since", "0"]);
    let events = answer.lines().map(|l| serde_json::from_str(l).unwrap());
    let of_paths = events.filter(|e: &serde_json::Value| !e["path"].is_null());
    of_paths.filter_map(|event| event["id"].as_u64()).max()
}
