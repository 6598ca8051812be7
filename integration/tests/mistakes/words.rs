//! Mistakes in what is typed or written into a file.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use syncd_integration::process::{Device, FOLDER, Listen, Pair, Scratch, eventually, write};

use super::{is_plain, says};

/// How long a daemon may take to notice something.
const NOTICE_MAX: Duration = Duration::from_secs(30);

#[test]
fn devices_and_folders_that_nobody_knows_are_named_and_near_ones_proposed() {
    let pair = Pair::new();
    let laptop = &pair.laptop;
    let id = pair.devbox.id();
    let last = if id.ends_with('A') { 'B' } else { 'A' };
    let typo = format!("{}{last}", &id[..id.len() - 1]);
    // Two that differ: of equal ones nobody could tell.
    let group = &id.as_bytes()[..7];
    let at = (0..6).find(|at| group[*at] != group[at + 1]).expect("a group has two that differ");
    let turned: String = id[at..at + 2].chars().rev().collect();
    let swapped = format!("{}{turned}{}", &id[..at], &id[at + 2..]);
    let root = laptop.root().display().to_string();
    let elsewhere = pair.aside("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let elsewhere = elsewhere.display().to_string();
    let own = laptop.id();
    for (command, code, words, because) in [
        (&["pair", &typo][..], 2, &["group 7 or 8", "typing error", "syncctl id"][..], "a digit"),
        (&["pair", &swapped], 2, &["group 1 or 2", "typing error"], "two digits swapped"),
        (&["pair", &id[..40]], 2, &["56 letters and digits", "syncctl id"], "half an id"),
        (&["pair", "devbox"], 2, &["56 letters and digits", "syncctl id"], "a name is no id"),
        (&["pair", own], 2, &["own id", "syncctl id"], "oneself"),
        (&["unpair", "devbx"], 1, &["did you mean 'devbox'"], "a letter is missing"),
        (&["unpair", "Devbox"], 1, &["did you mean 'devbox'"], "names have a case"),
        (&["unpair", "printer"], 1, &["\"printer\"", "syncctl devices"], "nothing like it"),
        (&["unpair", &typo], 2, &["typing error"], "a whole id is checked everywhere"),
        (&["unpair", "ABCDEFG"], 1, &["syncctl devices"], "no id begins so"),
        (&["folder", "add", &elsewhere, "--with", "dvebox"], 1, &["'devbox'"], "swapped letters"),
        (&["folder", "share", FOLDER, "--with", "x"], 1, &["\"x\"", "syncctl devices"], "nobody"),
        (&["folder", "pause", "wrok"], 1, &["did you mean 'work'"], "swapped letters"),
        (&["folder", "pause", "photos"], 1, &["\"photos\"", "syncctl folder ls"], "none like it"),
        (&["flush", "--folder", "work "], 1, &["did you mean 'work'"], "a blank too many"),
        (&["flush", "--device", "laptop"], 1, &["\"laptop\"", "syncctl devices"], "oneself"),
        (&["folder", "share", "wrk", "--with", "devbox"], 1, &["'work'"], "a letter is missing"),
        (&["folder", "accept", "photos", &elsewhere], 1, &["folder ls --offered"], "no such offer"),
        (&["folder", "accept", FOLDER, &elsewhere], 1, &["already", &root], "it is here already"),
    ] {
        says(&laptop.ctl(command), code, words, because);
    }
    pair.agree();
}

#[test]
fn ids_of_folders_with_odd_characters_are_refused_everywhere() {
    let pair = Pair::acquainted();
    let dir = pair.aside("d");
    fs::create_dir(&dir).unwrap();
    let dir = dir.display().to_string();
    let long = "x".repeat(65);
    for (id, words, because) in [
        ("a b", &["letters, digits", "' '"][..], "a blank"),
        ("../up", &["begin with a dot"], "a way out"),
        ("a/b", &["letters, digits", "'/'"], "a separator"),
        ("\u{fc}ber", &["letters, digits"], "not ASCII"),
        ("\u{1b}[31m", &["letters, digits"], "a colour for the terminal"),
        ("a%2fb", &["letters, digits"], "an escaped separator"),
        (".", &["begin with a dot"], "here"),
        (&long, &["1 to 64 characters"], "too long"),
        ("", &["1 to 64 characters"], "nothing"),
    ] {
        let add = pair.laptop.ctl(&["folder", "add", &dir, "--id", id]);
        says(&add, 2, words, because);
        assert!(!add.stderr.contains('\u{1b}'), "{because}: no control characters");
        let accept = pair.laptop.ctl(&["folder", "accept", id, &dir]);
        assert!([1, 2].contains(&accept.code), "{because}: {accept:?}");
        let pause = pair.laptop.ctl(&["folder", "pause", id]);
        assert!([1, 2].contains(&pause.code), "{because}: {pause:?}");
        assert!(!pause.stderr.contains('\u{1b}'), "{because}: no control characters");
    }
    assert_eq!(pair.laptop.json(&["folder", "ls"]), Value::Array(Vec::new()), "none was made");
}

#[test]
fn a_folder_needs_a_directory_or_a_file() {
    let pair = Pair::new();
    let at = |name: &str| pair.aside(name).display().to_string();
    write(&pair.aside("file"), "x");
    fs::create_dir(pair.aside("empty")).unwrap();
    let fifo = rustix::fs::Mode::RUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, pair.aside("pipe"), fifo).unwrap();
    let home = pair.laptop.home().display().to_string();
    let inside = pair.laptop.path("inside").display().to_string();
    fs::create_dir(pair.laptop.path("inside")).unwrap();
    let around = pair.aside("").display().to_string();
    for (path, words, because) in [
        (at("missing"), &["is not there", "make it first"][..], "nothing lies there"),
        (at("file/below"), &["file is a file", "directory"], "below a file"),
        (at("pipe"), &["neither a directory nor a file"], "a pipe"),
        (home.clone(), &["syncd's own home", "another directory"], "the keys"),
        (around.clone(), &["keeps its keys", "beside"], "around the keys"),
        (inside.clone(), &["'work'"], "inside another folder"),
        ("/".to_owned(), &["whole file system"], "everything"),
        (String::new(), &["a value is required"], "nothing"),
    ] {
        let answer = pair.laptop.ctl(&["folder", "add", &path]);
        says(&answer, if path.is_empty() { 2 } else { 1 }, words, because);
    }
    write(&pair.laptop.path("note"), "x");
    pair.laptop.ok(&["folder", "add", &at("empty"), "--id", "more", "--with", "devbox"]);
    eventually(NOTICE_MAX, "the offer comes", || {
        let offers = pair.devbox.json(&["folder", "ls", "--offered"]);
        if offers[0]["id"] == "more" { Ok(()) } else { Err(offers.to_string()) }
    });
    let devbox_home = pair.devbox.home().display().to_string();
    for (path, words, because) in [
        (at("file"), &["is a file", "name a directory"][..], "a file for a directory"),
        (at("file/below"), &["file is a file", "directory"], "below a file"),
        (at("pipe"), &["neither a directory nor a file"], "a pipe"),
        (devbox_home, &["syncd's own home"], "the keys"),
        ("/proc/nothing".to_owned(), &["cannot be made"], "where nothing can be made"),
    ] {
        says(&pair.devbox.ctl(&["folder", "accept", "more", &path]), 1, words, because);
    }
    assert!(!pair.aside("missing").exists(), "nothing was made");
    assert_eq!(fs::read_to_string(pair.aside("file")).unwrap(), "x");
    pair.laptop.ok(&["flush", "--folder", FOLDER]);
    pair.assert_equal("the folder that is shared goes on");
}

#[test]
fn a_home_that_is_none_is_named() {
    let scratch = Scratch::new();
    let device = Device::init(scratch.path(), "laptop", Listen::Port);
    let file = scratch.path().join("file");
    write(&file, "x");
    let gone = scratch.path().join("gone").display().to_string();
    let file = file.display().to_string();
    for (home, code, words, because) in [
        (
            &gone,
            3,
            &["no home at", "--home is right", "syncd --home"][..],
            "a home that is not there",
        ),
        (&file, 1, &["is a file", "--home"], "a file"),
    ] {
        let mut ctl = std::process::Command::new(syncd_integration::process::binary("syncctl"));
        ctl.args(["--home", home, "status"]);
        let answer = syncd_integration::process::run(&mut ctl, NOTICE_MAX);
        says(&answer, code, words, because);
        let mut daemon = std::process::Command::new(syncd_integration::process::binary("syncd"));
        daemon.args(["--home", &file]);
        let answer = syncd_integration::process::run(&mut daemon, NOTICE_MAX);
        says(&answer, 1, &["is a file", "--home"], "the daemon says the same");
    }
    assert!(!scratch.path().join("gone").exists(), "asking makes no home");
    says(&device.ctl(&["status"]), 3, &["not running", "start it with: syncd --home"], "no daemon");
}

#[test]
fn damaged_settings_are_refused_at_the_start_with_their_place() {
    let scratch = Scratch::new();
    let device = Device::init(scratch.path(), "laptop", Listen::Port);
    let config = device.home().join("config.toml");
    let good = fs::read_to_string(&config).unwrap();
    let lines = good.lines().count();
    let path = config.display().to_string();
    for (text, words, because) in [
        ("[limits\n", &["line {}", "column 8", "mend that line"][..], "an open bracket"),
        ("nme = 'x'\n", &["line {}", "unknown key 'nme'", "'name'"], "an unknown key"),
        ("[limits]\nhistory_day = 3\n", &["'limits.history_days'"], "in a table"),
        ("hub = 3\n", &["line {}", "'hub'", "text in quotes"], "a wrong type"),
        ("topology = 'star'\n", &["line {}", "mesh, hub"], "a wrong word"),
    ] {
        fs::write(&config, format!("{good}{text}")).unwrap();
        let place = format!("line {}", lines + 1);
        let words: Vec<&str> =
            words.iter().map(|word| if *word == "line {}" { &place[..] } else { word }).collect();
        let words = [&words[..], &[&path]].concat();
        says(&device.refuses(), 1, &words, because);
        assert_eq!(fs::read_to_string(&config).unwrap(), format!("{good}{text}"), "{because}");
    }
    fs::write(&config, [good.as_bytes(), b"\xff"].concat()).unwrap();
    says(&device.refuses(), 1, &["no UTF-8 text", "line", &path], "not even text");
}

#[test]
fn a_running_daemon_keeps_the_last_good_settings() {
    let pair = Pair::new();
    let (laptop, devbox) = (&pair.laptop, &pair.devbox);
    let config = laptop.home().join("config.toml");
    let good = fs::read_to_string(&config).unwrap();
    let place = format!("line {}", good.lines().count() + 1);
    for (text, words, because) in [
        ("[limits\n", &[&place[..], "column 8"][..], "an open bracket"),
        ("pased = 'x'\n", &[&place, "'folder.pased'", "'folder.paused'"], "an unknown key"),
    ] {
        fs::write(&config, format!("{good}{text}")).unwrap();
        let told = eventually(NOTICE_MAX, "status tells", || {
            let status = laptop.json(&["status"]);
            let problem = &status["problems"][0];
            let what = problem["what"].as_str().unwrap_or_default();
            match words.iter().all(|word| what.contains(word)) {
                true => Ok(problem.clone()),
                false => Err(status.to_string()),
            }
        });
        is_plain(told["what"].as_str().unwrap(), words, because);
        is_plain(told["do"].as_str().unwrap(), &["last good settings"], because);
        let people = laptop.ok(&["status"]);
        assert!(people.contains(&place), "people are told too: {people}");
        write(&laptop.path("while"), because);
        laptop.flush();
        assert!(devbox.path("while").exists(), "it goes on with the last good ones");
        let answer = laptop.ctl(&["config", "set", "name", "tower"]);
        assert!([1, 2].contains(&answer.code), "{because}: {answer:?}");
        assert!(answer.stderr.contains(&place), "{because}: {answer:?}");
        let answer = laptop.ctl(&["folder", "pause", FOLDER]);
        says(&answer, 1, &[&place], "what changes the settings says why it cannot");
        assert_eq!(fs::read_to_string(&config).unwrap(), format!("{good}{text}"), "left alone");
    }
    fs::write(&config, good).unwrap();
    eventually(NOTICE_MAX, "mended, it is no problem any more", || {
        let status = laptop.json(&["status"]);
        if status["problems"] == Value::Array(Vec::new()) {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    laptop.ok(&["config", "set", "name", "tower"]);
    eventually(NOTICE_MAX, "and they are read again", || {
        let status = laptop.json(&["status"]);
        if status["name"] == "tower" { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn settings_that_cannot_be_are_refused_and_the_near_key_proposed() {
    let scratch = Scratch::new();
    let device = Device::init(scratch.path(), "laptop", Listen::Port);
    let before = fs::read_to_string(device.home().join("config.toml")).unwrap();
    for (arguments, words, because) in [
        (&["set", "lisen", "[]"][..], &["'lisen'", "did you mean 'listen'"][..], "a typo"),
        (&["get", "limits.history_day"], &["'limits.history_days'"], "asked for"),
        (&["unset", "nam"], &["'name'"], "unset"),
        (&["set", "listen", "0.0.0.0:24110"], &["multiaddress like /ip4/"], "no multiaddress"),
        (&["set", "http.listen", "0.0.0.0:80"], &["127.0.0.1"], "open to all"),
        (&["set", "limits.history_days", "many"], &["whole number"], "no number"),
        (&["set", "name", ""], &["1 to 64 bytes"], "no name"),
        (&["set", "topology", "hub"], &["set hub"], "without a hub"),
    ] {
        says(&device.ctl(&[&["config"], arguments].concat()), 2, words, because);
    }
    let after = fs::read_to_string(device.home().join("config.toml")).unwrap();
    assert_eq!(after, before, "nothing was written");
}

#[test]
fn bad_rules_change_nothing_and_their_line_is_named() {
    let pair = Pair::new();
    let (laptop, devbox) = (&pair.laptop, &pair.devbox);
    write(&laptop.path(".stignore"), "*.o\n");
    write(&laptop.path("a.o"), "ignored");
    laptop.flush();
    for (rules, words, because) in [
        ("*.o\n!\n", &["line 2", "no pattern"][..], "a prefix alone"),
        ("#include more\n", &["line 1", "'more' is missing"], "a missing include"),
        ("*.o\n\n[a-\n", &["line 3", "not closed"], "an open bracket"),
        ("#inclde more\n", &["line 1", "'#inclde more' is not known"], "an unknown word"),
    ] {
        write(&laptop.path(".stignore"), rules);
        let problem = eventually(NOTICE_MAX, "status tells", || {
            let status = laptop.status(FOLDER);
            let problem = &status["problems"][0];
            let what = problem["what"].as_str().unwrap_or_default();
            match words.iter().all(|word| what.contains(word)) {
                true => Ok(problem.clone()),
                false => Err(status.to_string()),
            }
        });
        assert_eq!(problem["path"], ".stignore", "{because}");
        is_plain(problem["do"].as_str().unwrap(), &["mend it"], because);
        write(&laptop.path("b.o"), because);
        write(&laptop.path("fine"), because);
        laptop.flush();
        assert_eq!(fs::read_to_string(devbox.path("fine")).unwrap(), because, "the rest goes on");
        assert!(!devbox.path("b.o").exists(), "{because}: the last good rules hold");
        let file = laptop.path(".stignore").display().to_string();
        says(&laptop.ctl(&["ignore", "check", "--rules", &file, "b.o"]), 2, words, because);
    }
    write(&laptop.path(".stignore"), "*.a\n");
    let held = eventually(NOTICE_MAX, "mended, and wider than the last good ones", || {
        let (status, held) = (laptop.status(FOLDER), devbox.json(&["held", "ls"]));
        let fine = status["problems"] == Value::Array(Vec::new());
        if fine && held[0]["kind"] == "rules" { Ok(held[0].clone()) } else { Err(held.to_string()) }
    });
    assert!(!devbox.path("b.o").exists(), "the last good rules hold until a person has decided");
    devbox.ok(&["held", "approve", held["id"].as_str().unwrap()]);
    eventually(NOTICE_MAX, "the new rules hold", || {
        laptop.flush();
        if devbox.path("b.o").exists() { Ok(()) } else { Err(devbox.status(FOLDER).to_string()) }
    });
}

#[test]
fn flushes_and_waits_say_who_is_late() {
    let mut pair = Pair::new();
    write(&pair.laptop.path("a"), "x");
    pair.laptop.flush();
    pair.devbox.stop();
    write(&pair.laptop.path("b"), "x");
    let laptop = &pair.laptop;
    eventually(NOTICE_MAX, "the laptop sees that it is alone", || {
        if laptop.is_connected_to("devbox") { Err("still connected".to_owned()) } else { Ok(()) }
    });
    for (command, code, words, because) in [
        (&["flush"][..], 1, &["no device", "is connected", "--all"][..], "nobody is there"),
        (&["flush", "--all", "--timeout", "100ms"], 4, &["the time is over"], "who waits"),
        (&["flush", "--device", "devbox", "--timeout", "0"], 4, &["the time is over"], "no time"),
        (&["flush", "--timeout", "soon"], 2, &["500ms, 30s"], "no duration"),
    ] {
        says(&laptop.ctl(command), code, words, because);
    }
    let late = laptop.ctl(&["flush", "--all", "--timeout", "100ms"]);
    assert!(late.stderr.contains("  devbox lacks 1 file"), "who lacks what: {}", late.stderr);
}
