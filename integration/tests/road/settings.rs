//! A folder's settings, changed while it is at work: by a command, and by hand in the file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use syncd_integration::process::{Device, FOLDER, Noise, Pair, eventually, share, write};

/// How long a change may take to show.
const SHOWS_MAX: Duration = Duration::from_secs(60);

fn set(device: &Device, change: &[&str]) {
    device.ok(&[&["folder", "set", FOLDER], change].concat());
}

fn settings(device: &Device) -> String {
    fs::read_to_string(device.home().join("config.toml")).unwrap()
}

#[track_caller]
fn await_text(path: &Path, text: &str) {
    eventually(
        SHOWS_MAX,
        &format!("{} says {text:?}", path.display()),
        || match fs::read_to_string(path) {
            Ok(found) if found == text => Ok(()),
            found => Err(format!("{found:?}")),
        },
    );
}

#[test]
fn a_rescan_time_counts_at_once_however_it_is_set() {
    let pair = Pair::new();
    let (inside, outside) = (pair.laptop.path("f"), pair.aside("other-name"));
    write(&inside, "0");
    pair.agree();
    // No watcher hears of a write under a name that lies outside; only a scan sees it.
    fs::hard_link(&inside, &outside).unwrap();
    pair.laptop.ok(&["scan"]);
    fs::write(&outside, "1").unwrap();
    set(&pair.laptop, &["--rescan", "1s"]);
    await_text(&pair.devbox.path("f"), "1");
    set(&pair.laptop, &["--rescan", "default"]);
    assert!(!settings(&pair.laptop).contains("rescan_s"), "{}", settings(&pair.laptop));
    fs::write(&outside, "2").unwrap();
    let text = settings(&pair.laptop).replace("[[folder]]\n", "[[folder]]\nrescan_s = 1\n");
    fs::write(pair.laptop.home().join("config.toml"), text).unwrap();
    await_text(&pair.devbox.path("f"), "2");
}

#[test]
fn a_folder_rests_and_leaves_room_when_that_is_set() {
    let pair = Pair::new();
    set(&pair.devbox, &["--paused", "true", "--label", "Rests"]);
    let status = pair.devbox.status(FOLDER);
    assert_eq!((&status["state"], &status["label"]), (&"paused".into(), &"Rests".into()));
    set(&pair.devbox, &["--free-mib", "1000000000", "--paused", "false"]);
    write(&pair.laptop.path("new"), "there is no room for this");
    eventually(SHOWS_MAX, "the lack of room is told", || {
        let problems = pair.devbox.status(FOLDER)["problems"].to_string();
        if problems.contains("room") { Ok(()) } else { Err(problems) }
    });
    assert!(!pair.devbox.path("new").exists());
    set(&pair.devbox, &["--free-mib", "default", "--history-days", "7"]);
    pair.agree();
    let text = settings(&pair.devbox);
    assert!(text.contains("history_days = 7") && !text.contains("free_mib"), "{text}");
    for (change, code, because) in [
        (&["--history-percent", "91"][..], 1, "most of the disk"),
        (&["--rescan", "soon"], 2, "no time"),
        (&["--verify-days", "0"], 2, "never is said by default"),
        (&["--in-place", "[a"], 2, "a bracket that is not closed"),
        (&[], 2, "nothing is to be changed"),
    ] {
        let answer = pair.devbox.ctl(&[&["folder", "set", FOLDER], change].concat());
        assert_eq!(answer.code, code, "{because}: {}", answer.stderr);
    }
    assert_eq!(settings(&pair.devbox), text, "what is refused changes nothing");
}

#[test]
fn patterns_count_at_once() {
    let pair = Pair::new();
    write(&pair.laptop.path(".stignore"), "*.tmp\n");
    write(&pair.laptop.path("a.live"), "first");
    pair.agree();
    let inode = |name: &str| fs::metadata(pair.devbox.path(name)).unwrap().ino();
    let first = inode("a.live");
    write(&pair.laptop.path("a.live"), "second");
    pair.agree();
    let second = inode("a.live");
    assert_ne!(first, second, "another file takes the name");
    set(&pair.devbox, &["--in-place", "*.live"]);
    write(&pair.laptop.path("a.live"), "third");
    pair.agree();
    assert_eq!(inode("a.live"), second, "it is rewritten where it is");

    set(&pair.laptop, &["--ignore", "*.log", "--ignore", "/out"]);
    let rules = fs::read_to_string(pair.laptop.path(".stignore")).unwrap();
    assert_eq!(rules, "*.log\n/out\n*.tmp\n");
    write(&pair.laptop.path("a.log"), "ignored");
    write(&pair.laptop.path("b"), "synced");
    pair.laptop.flush();
    await_text(&pair.devbox.path(".stignore"), &rules);
    assert!(pair.devbox.path("b").exists() && !pair.devbox.path("a.log").exists());
}

/// Takes the part about the first folder out of the settings.
fn folder_part(text: &str) -> &str {
    let at = text.find("[[folder]]").unwrap();
    let rest = &text[at..];
    let end = rest[1..].find("[[").map_or(rest.len(), |end| end + 1);
    &rest[..end]
}

#[test]
fn folders_that_are_written_into_the_settings_by_hand_count_at_once() {
    let pair = Pair::new();
    write(&pair.laptop.path("f"), "first");
    pair.agree();
    let edit = |text: &str| fs::write(pair.laptop.home().join("config.toml"), text).unwrap();
    let ids = |device: &Device| -> Vec<String> {
        let folders = device.json(&["folder", "ls"]);
        let ids = folders.as_array().unwrap().iter();
        ids.map(|folder| folder["id"].as_str().unwrap().to_owned()).collect()
    };
    let await_ids = |expected: &[&str]| {
        eventually(SHOWS_MAX, &format!("the folders are {expected:?}"), || {
            let found = ids(&pair.laptop);
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        });
    };
    let whole = settings(&pair.laptop);
    let part = folder_part(&whole);
    edit(&whole.replace(part, ""));
    await_ids(&[]);
    assert_eq!(fs::read_to_string(pair.laptop.path("f")).unwrap(), "first", "its files stay");
    edit(&whole);
    await_ids(&[FOLDER]);
    write(&pair.laptop.path("f"), "it goes on where it was");
    await_text(&pair.devbox.path("f"), "it goes on where it was");

    let id = format!("\"{FOLDER}\"");
    let (other, inside) = (pair.aside("other"), pair.laptop.path("inside"));
    fs::create_dir(&inside).unwrap();
    write(&other.join("x"), "x");
    let at = pair.laptop.root().display().to_string();
    let second =
        |path: &Path| part.replace(&id, "\"second\"").replace(&at, &path.display().to_string());
    edit(&format!("{whole}\n{}", second(&inside)));
    eventually(SHOWS_MAX, "a bad folder is told", || {
        let problems = pair.laptop.json(&["status"])["problems"].to_string();
        let is_told = problems.contains("'second'") && problems.contains("lies in the folder");
        if is_told { Ok(()) } else { Err(problems) }
    });
    assert_eq!(ids(&pair.laptop), [FOLDER], "and not used");
    edit(&format!("{whole}\n{}", second(&other)));
    await_ids(&["second", FOLDER]);
    eventually(SHOWS_MAX, "it is mended", || {
        let told = pair.laptop.json(&["status"])["problems"].clone();
        if told == serde_json::json!([]) { Ok(()) } else { Err(told.to_string()) }
    });
    let place = pair.aside("second-place");
    eventually(SHOWS_MAX, "it is offered and taken", || {
        let path = place.display().to_string();
        let taken = pair.devbox.ctl(&["folder", "accept", "second", &path]);
        if taken.code == 0 { Ok(()) } else { Err(taken.stderr) }
    });
    await_text(&place.join("x"), "x");

    let moved = pair.aside("moved");
    fs::rename(&other, &moved).unwrap();
    edit(&format!("{whole}\n{}", second(&moved)));
    write(&moved.join("x"), "moved");
    await_text(&place.join("x"), "moved");
}

/// Returns how many bytes a device's daemon has read so far, as the kernel counts them.
fn bytes_read(device: &Device) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/io", device.pid())).unwrap();
    let count = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    count.and_then(|count| count.parse().ok()).unwrap()
}

#[test]
fn a_moved_folder_is_neither_read_nor_sent_again() {
    const BYTES: u64 = 32 << 20;
    let pair = Pair::through_proxy();
    let mut noise = Noise::new(11);
    for at in 0..8_usize {
        let bytes = noise.bytes(usize::try_from(BYTES / 8).unwrap());
        write(&pair.laptop.path(format!("d/{at}")), bytes);
    }
    pair.agree();
    let (sent, read) = (pair.proxy().passed_bytes(), bytes_read(&pair.laptop));
    let place = pair.aside("elsewhere");
    fs::rename(pair.laptop.root(), &place).unwrap();
    pair.laptop.ok(&["folder", "move", FOLDER, &place.display().to_string()]);
    write(&place.join("after"), "x");
    pair.laptop.flush();
    assert_eq!(fs::read_to_string(pair.devbox.path("after")).unwrap(), "x");
    let (sent, read) = (pair.proxy().passed_bytes() - sent, bytes_read(&pair.laptop) - read);
    assert!(sent < BYTES / 8, "{sent} bytes went over the network");
    assert!(read < BYTES / 4, "{read} bytes were read");
    assert_eq!(pair.laptop.status(FOLDER)["files"], 9);
}

#[test]
fn an_adopted_root_is_joined_with_what_the_others_have() {
    let pair = Pair::new();
    for name in ["same", "changed", "missing"] {
        write(&pair.laptop.path(name), name);
    }
    pair.agree();
    // As after a disk was replaced: another directory, partly restored.
    fs::rename(pair.laptop.root(), pair.aside("old")).unwrap();
    for (name, text) in [("same", "same"), ("changed", "edited meanwhile"), ("more", "new")] {
        write(&pair.laptop.path(name), text);
    }
    eventually(SHOWS_MAX, "the folder halts", || {
        let state = pair.laptop.status(FOLDER)["state"].clone();
        if state == "halted" { Ok(()) } else { Err(state.to_string()) }
    });
    let refused = pair.devbox.ctl(&["folder", "adopt", FOLDER]);
    assert_eq!(refused.code, 1, "nothing is halted there: {}", refused.stderr);
    pair.laptop.ok(&["folder", "adopt", FOLDER]);
    for side in [&pair.laptop, &pair.devbox] {
        await_text(&side.path("missing"), "missing");
        await_text(&side.path("more"), "new");
        await_text(&side.path("same"), "same");
    }
    pair.agree();
    let texts: Vec<String> = fs::read_dir(pair.devbox.root())
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .collect();
    for kept in ["changed", "edited meanwhile"] {
        assert!(texts.iter().any(|text| text == kept), "{kept:?} of {texts:?}");
    }
}

#[test]
fn a_folder_that_is_taken_again_deletes_nothing() {
    let pair = Pair::new();
    for (side, _) in pair.sides() {
        write(&side.path(side.name()), "kept");
    }
    pair.agree();
    pair.devbox.ok(&["folder", "rm", FOLDER]);
    fs::remove_file(pair.devbox.path("laptop")).unwrap();
    fs::remove_file(pair.devbox.path("devbox")).unwrap();
    write(&pair.devbox.path("new"), "made in between");
    share(&pair.laptop, &pair.devbox);
    write(&pair.devbox.path("newer"), "made after");
    for (name, text) in [("laptop", "kept"), ("devbox", "kept"), ("new", "made in between")] {
        for (side, _) in pair.sides() {
            await_text(&side.path(name), text);
        }
    }
    pair.agree();
}
