//! Mistakes of disks: full, at their quota, damaged, or written by a newer syncd.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use syncd_integration::process::{
    Device, FOLDER, Listen, Mount, Pair, Scratch, can_use, differences, done, eventually,
    introduce, share, without_root_rights, write, write_noise,
};

use super::{is_plain, says};

/// How long it may take to notice something, and to go on.
const NOTICE_MAX: Duration = Duration::from_secs(60);

/// Waits until `status` names a problem of the folder that holds all of `words`.
#[track_caller]
fn await_problem(device: &Device, words: &[&str]) -> Value {
    eventually(NOTICE_MAX, &format!("{} tells {words:?}", device.name()), || {
        let status = device.status(FOLDER);
        let problems = status["problems"].as_array().cloned().unwrap_or_default();
        let holds = |problem: &&Value| {
            let what = problem["what"].as_str().unwrap_or_default();
            words.iter().all(|word| what.contains(word))
        };
        problems.iter().find(holds).cloned().ok_or_else(|| status.to_string())
    })
}

/// Two devices that share a folder; the devbox's root lies on what `mount` made at its place.
pub(super) fn pair_on(scratch: &Scratch) -> (Device, Device) {
    let mut laptop = Device::init(scratch.path(), "laptop", Listen::Port);
    let mut devbox = Device::init(scratch.path(), "devbox", Listen::Port);
    laptop.start();
    devbox.start();
    introduce(&laptop, &devbox, &devbox.address());
    share(&laptop, &devbox);
    (laptop, devbox)
}

#[track_caller]
pub(super) fn agree(laptop: &Device, devbox: &Device) {
    eventually(NOTICE_MAX, "both hold the same", || {
        let answer = laptop.ctl(&["flush", "--timeout", "20s"]);
        let found = differences(laptop.root(), devbox.root());
        let found: Vec<_> =
            found.into_iter().filter(|found| !found.starts_with("lost+found")).collect();
        if answer.code == 0 && found.is_empty() {
            Ok(())
        } else {
            Err(format!("{answer:?} {found:?}"))
        }
    });
}

#[test]
fn a_receiver_with_a_full_disk_keeps_what_it_has_and_goes_on_when_there_is_room() {
    if !can_use(&["mount", "mkfs.ext4"]) {
        return;
    }
    let scratch = Scratch::new();
    let at = scratch.path().join("devbox-work");
    let _disk = Mount::ext4(&at, 64);
    fs::remove_dir(at.join("lost+found")).unwrap();
    let (laptop, devbox) = pair_on(&scratch);
    for name in ["old", "gone", "changed"] {
        write(&laptop.path(name), name);
    }
    agree(&laptop, &devbox);
    // Under its name at once: half of it is never a version.
    let whole = scratch.path().join("whole");
    write_noise(&whole, 1, 200 << 20);
    fs::rename(&whole, laptop.path("big")).unwrap();
    let problem = await_problem(&devbox, &["no room"]);
    assert_eq!(problem["path"], "big");
    is_plain(problem["do"].as_str().unwrap(), &["make room"], "what to do");
    fs::remove_file(laptop.path("gone")).unwrap();
    write(&laptop.path("changed"), "changed again");
    eventually(NOTICE_MAX, "deletes and small changes go on", || {
        let changed = fs::read_to_string(devbox.path("changed")).unwrap_or_default();
        let gone = !devbox.path("gone").exists();
        if gone && changed == "changed again" { Ok(()) } else { Err(format!("{gone} {changed}")) }
    });
    assert_eq!(fs::read_to_string(devbox.path("old")).unwrap(), "old", "nothing is lost");
    assert!(!devbox.path("big").exists(), "nothing half is seen");
    let flush = laptop.ctl(&["flush", "--timeout", "1s"]);
    says(&flush, 4, &["the time is over", "syncctl status"], "the sender is told");
    // Room comes by itself: the file becomes smaller.
    write_noise(&laptop.path("big"), 2, 20 << 20);
    agree(&laptop, &devbox);
    let problems = devbox.status(FOLDER)["problems"].clone();
    assert_eq!(problems, Value::Array(Vec::new()), "all is well again");
}

#[test]
fn a_disk_that_others_fill_takes_the_rest_once_they_make_room() {
    if !can_use(&["mount"]) {
        return;
    }
    let scratch = Scratch::new();
    let at = scratch.path().join("devbox-work");
    let _disk = Mount::tmpfs(&at, 32);
    let (laptop, devbox) = pair_on(&scratch);
    write(&laptop.path("old"), "old");
    agree(&laptop, &devbox);
    let mut file = fs::File::create(devbox.path(".syncd/filler")).unwrap();
    let full = std::io::copy(&mut std::io::repeat(7), &mut file);
    assert!(full.is_err(), "the disk is full");
    drop(file);
    for at in 0..20 {
        write(&laptop.path(format!("new{at}")), vec![at; 40_000]);
    }
    fs::remove_file(laptop.path("old")).unwrap();
    await_problem(&devbox, &["room"]);
    eventually(NOTICE_MAX, "deletes go on", || {
        if devbox.path("old").exists() { Err(devbox.log_end()) } else { Ok(()) }
    });
    fs::remove_file(devbox.path(".syncd/filler")).unwrap();
    agree(&laptop, &devbox);
}

#[test]
fn a_quota_is_a_full_disk() {
    if !can_use(&["mount", "mkfs.btrfs", "btrfs", "setpriv"]) {
        return;
    }
    let scratch = Scratch::new();
    let disk = scratch.path().join("disk");
    let _disk = Mount::btrfs(&disk, 256);
    let at = disk.join("devbox-work");
    let btrfs = |arguments: &[&str]| done(Command::new("btrfs").args(arguments).arg(&at));
    btrfs(&["subvolume", "create"]);
    btrfs(&["quota", "enable"]);
    btrfs(&["qgroup", "limit", "24M"]);
    std::os::unix::fs::symlink(&at, scratch.path().join("devbox-work")).unwrap();
    let (laptop, devbox) = pair_on(&scratch);
    write(&laptop.path("old"), "old");
    agree(&laptop, &devbox);
    let whole = scratch.path().join("whole");
    write_noise(&whole, 1, 60 << 20);
    fs::rename(&whole, laptop.path("big")).unwrap();
    let problem = await_problem(&devbox, &["no room"]);
    is_plain(problem["do"].as_str().unwrap(), &["room"], "what to do");
    write(&laptop.path("old"), "newer");
    let old = fs::read_to_string(devbox.path("old")).unwrap();
    assert!(old == "old" || old == "newer", "nothing is lost, nothing is half: {old}");
    btrfs(&["qgroup", "limit", "none"]);
    agree(&laptop, &devbox);
}

#[test]
fn a_home_on_a_full_disk_stops_nothing_for_good() {
    if !can_use(&["mount"]) {
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.path().join("devbox");
    let _disk = Mount::tmpfs(&home, 64);
    let fill = || {
        let mut file = fs::File::create(home.join("filler")).unwrap();
        let full = std::io::copy(&mut std::io::repeat(7), &mut file);
        assert!(full.is_err(), "the disk is full");
    };
    let make_room = || fs::remove_file(home.join("filler")).unwrap();
    a_home_without_room(&scratch, "No space left", fill, make_room);
}

#[test]
fn a_home_at_its_quota_stops_nothing_for_good() {
    if !can_use(&["mount", "mkfs.btrfs", "btrfs", "setpriv"]) {
        return;
    }
    let scratch = Scratch::new();
    let disk = scratch.path().join("disk");
    let _disk = Mount::btrfs(&disk, 256);
    let at = disk.join("home");
    done(Command::new("btrfs").args(["subvolume", "create"]).arg(&at));
    done(Command::new("btrfs").args(["quota", "enable"]).arg(&disk));
    std::os::unix::fs::symlink(&at, scratch.path().join("devbox")).unwrap();
    // Asked of the whole disk: what is at its quota itself does not take a new one.
    let limit = |bytes: &str| {
        let id = Command::new("btrfs").args(["inspect-internal", "rootid"]).arg(&at).output();
        let id = String::from_utf8(id.unwrap().stdout).unwrap();
        let group = format!("0/{}", id.trim());
        done(Command::new("btrfs").args(["qgroup", "limit", bytes, &group]).arg(&disk));
    };
    // Less than it holds: whatever is written is too much.
    a_home_without_room(&scratch, "quota", || limit("64K"), || limit("none"));
}

/// Takes the room from the devbox's home, and gives it back: while it runs and before a start.
fn a_home_without_room(scratch: &Scratch, said: &str, take_room: impl Fn(), make_room: impl Fn()) {
    let (laptop, mut devbox) = pair_on(scratch);
    write(&laptop.path("old"), "old");
    agree(&laptop, &devbox);
    take_room();
    for at in 0..2_000 {
        write(&laptop.path(format!("d{}/new{at}", at % 50)), format!("{at}"));
    }
    write(&devbox.path("theirs"), "x");
    let problem = eventually(NOTICE_MAX, "the devbox tells", || {
        let status = devbox.json(&["status"]);
        let problem = status["problems"][0].clone();
        if problem.is_object() { Ok(problem) } else { Err(status.to_string()) }
    });
    let home = devbox.home().display().to_string();
    is_plain(problem["what"].as_str().unwrap(), &[&home, said], "what");
    is_plain(problem["do"].as_str().unwrap(), &["make room", "by itself"], "what to do");
    assert!(devbox.path("old").exists() && laptop.path("old").exists(), "nothing is lost");
    let pid = devbox.pid();
    make_room();
    agree(&laptop, &devbox);
    assert_eq!(devbox.pid(), pid, "the same process goes on");
    let problems = devbox.json(&["status"])["problems"].clone();
    assert_eq!(problems, Value::Array(Vec::new()), "all is well again");
    assert!(!devbox.home().join("index.broken-1").exists(), "a full disk is no damage");
    // A start that finds no room says so, and the next one finds everything.
    devbox.stop();
    take_room();
    says(&devbox.refuses(), 1, &[said, "make room"], "at the start");
    make_room();
    devbox.start();
    agree(&laptop, &devbox);
}

#[test]
fn a_damaged_index_or_ledger_is_moved_aside_and_deletes_nothing() {
    let mut pair = Pair::new();
    for at in 0..50 {
        write(&pair.laptop.path(format!("d/f{at}")), format!("{at}"));
    }
    pair.agree();
    for (name, harm) in [
        ("index", "garbage for the index's log"),
        ("ledger", "garbage in the ledger"),
        ("index gone", "no index at all"),
        ("ledger gone", "no ledger at all"),
    ] {
        pair.devbox.stop();
        let home = pair.devbox.home().to_path_buf();
        let at = |name: &str| home.join(name);
        match name {
            "index" => fs::write(at("index/db"), vec![7; 9_000]).unwrap(),
            "index gone" => fs::remove_dir_all(at("index")).unwrap(),
            "ledger" => {
                let mut bytes = fs::read(at("ledger")).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x10;
                fs::write(at("ledger"), bytes).unwrap();
            }
            _ => fs::remove_file(at("ledger")).unwrap(),
        }
        // Meanwhile both sides change, each something else.
        fs::remove_file(pair.laptop.path("d/f0")).ok();
        write(&pair.laptop.path("d/f1"), harm);
        write(&pair.devbox.path("d/f2"), harm);
        pair.devbox.start();
        pair.agree();
        for at in 3..50 {
            let text = fs::read_to_string(pair.laptop.path(format!("d/f{at}"))).unwrap();
            assert_eq!(text, format!("{at}"), "{harm}: nothing is deleted or changed");
        }
        for (path, because) in [("d/f1", "the laptop's write"), ("d/f2", "the devbox's write")] {
            let text = fs::read_to_string(pair.laptop.path(path)).unwrap();
            assert_eq!(text, harm, "{harm}: {because}");
        }
        let aside = at(&format!("{name}.broken-1"));
        assert_eq!(aside.exists(), !name.contains(' '), "{harm}: moved aside, never deleted");
        assert!(pair.devbox.log_end().contains("a new incarnation begins"), "{harm}: said");
    }
}

#[test]
fn what_a_newer_syncd_wrote_is_left_as_it_is() {
    let mut pair = Pair::new();
    write(&pair.laptop.path("a"), "x");
    pair.agree();
    pair.devbox.stop();
    let home = pair.devbox.home().to_path_buf();
    let at = |name: &str| home.join(name);
    let ledger = fs::read(at("ledger")).unwrap();
    for (name, harm) in [("index", at("index/format")), ("ledger", at("ledger"))] {
        let before = fs::read(&harm).unwrap();
        if name == "index" {
            fs::write(&harm, "99\n").unwrap();
        } else {
            let mut newer = ledger.clone();
            newer[12] = 99;
            fs::write(&harm, newer).unwrap();
        }
        let there = || {
            let mut there: Vec<_> =
                fs::read_dir(at("")).unwrap().map(|e| e.unwrap().path()).collect();
            there.sort();
            let db = fs::read(at("index/db")).unwrap();
            (there, db, fs::read(&harm).unwrap())
        };
        let wrote = there();
        let answer = pair.devbox.refuses();
        says(&answer, 1, &[name, "newer", "nothing was changed"], name);
        assert!(there() == wrote, "{name}: nothing is rewritten or moved");
        fs::write(&harm, before).unwrap();
    }
    pair.devbox.start();
    pair.agree();
}

#[test]
fn rights_that_a_home_lacks_are_named() {
    if !can_use(&["setpriv"]) {
        return;
    }
    let scratch = Scratch::new();
    let mut device = Device::init(scratch.path(), "laptop", Listen::Port);
    device.start();
    device.stop();
    device.run_under(without_root_rights());
    for name in ["ledger", "index", "config.toml", "identity.key"] {
        let path = device.home().join(name);
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        syncd_integration::process::set_mode(&path, 0o000);
        let path_text = path.display().to_string();
        says(&device.refuses(), 1, &[&path_text, "Permission denied"], name);
        syncd_integration::process::set_mode(&path, mode & 0o777);
    }
    device.start();
}
