//! Folders that only send or only receive.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use syncd_integration::process::{Device, FOLDER, Pair, eventually, write};

/// How long a change may take to show.
const SHOWS_MAX: Duration = Duration::from_secs(30);

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| format!("({error})"))
}

fn copies(device: &Device) -> Vec<PathBuf> {
    let is_copy = |path: &PathBuf| path.to_string_lossy().contains(".sync-conflict-");
    let entries = fs::read_dir(device.root()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(is_copy).collect()
}

#[track_caller]
fn await_count(device: &Device, key: &str, count: u64) {
    eventually(SHOWS_MAX, &format!("{key} is {count}"), || {
        let status = device.status(FOLDER);
        if status[key] == count { Ok(()) } else { Err(status.to_string()) }
    });
}

#[track_caller]
fn await_text(path: &Path, text: &str) {
    eventually(SHOWS_MAX, &format!("{} holds {text}", path.display()), || {
        let there = read(path);
        if there == text { Ok(()) } else { Err(there) }
    });
}

fn trashed(device: &Device) -> Vec<String> {
    let trash = device.json(&["trash", "ls"]);
    let path = |item: &Value| item["path"].as_str().unwrap_or_default().to_owned();
    trash.as_array().unwrap().iter().map(path).collect()
}

fn shared_files(pair: &Pair) {
    for name in ["edited", "deleted", "both"] {
        write(&pair.laptop.path(name), "base");
    }
    pair.laptop.flush();
    pair.assert_equal("the start");
}

#[test]
fn a_folder_that_only_sends_takes_nothing_until_it_wins() {
    let pair = Pair::new();
    shared_files(&pair);
    pair.laptop.ok(&["folder", "set", FOLDER, "--role", "sendonly"]);
    write(&pair.devbox.path("edited"), "by the devbox");
    write(&pair.devbox.path("d/new"), "only on the devbox");
    fs::remove_file(pair.devbox.path("deleted")).unwrap();
    await_count(&pair.laptop, "out_of_sync", 4);
    assert_eq!(read(&pair.laptop.path("edited")), "base", "nothing is taken");
    assert!(pair.laptop.path("deleted").exists() && !pair.laptop.path("d").exists());
    assert_eq!(pair.laptop.status(FOLDER)["state"], "idle", "it has nothing to do");
    let page = pair.laptop.ok(&["status"]);
    assert!(page.contains("syncctl folder override work"), "the next step: {page}");
    write(&pair.laptop.path("both"), "by the laptop");
    await_text(&pair.devbox.path("both"), "by the laptop");

    let said = pair.laptop.ok(&["folder", "override", FOLDER]);
    assert!(said.contains("4 changes"), "{said}");
    await_text(&pair.devbox.path("edited"), "base");
    await_text(&pair.devbox.path("deleted"), "base");
    eventually(SHOWS_MAX, "what only the devbox has goes", || {
        if pair.devbox.path("d").exists() { Err("it is still there".to_owned()) } else { Ok(()) }
    });
    await_count(&pair.laptop, "out_of_sync", 0);
    pair.assert_equal("the laptop has won");
    let trash = trashed(&pair.devbox);
    for lost in ["edited", "d/new"] {
        assert!(trash.iter().any(|path| path == lost), "{lost} is in the trash: {trash:?}");
    }
    assert_eq!(copies(&pair.devbox), Vec::<PathBuf>::new(), "no copies");
}

#[test]
fn what_waited_is_taken_when_the_role_changes_back() {
    let mut pair = Pair::new();
    shared_files(&pair);
    pair.laptop.ok(&["folder", "set", FOLDER, "--role", "sendonly"]);
    write(&pair.devbox.path("edited"), "by the devbox");
    fs::remove_file(pair.devbox.path("deleted")).unwrap();
    await_count(&pair.laptop, "out_of_sync", 2);
    pair.laptop.stop();
    pair.laptop.start();
    await_count(&pair.laptop, "out_of_sync", 2);
    pair.laptop.ok(&["folder", "set", FOLDER, "--role", "sendreceive"]);
    pair.agree();
    assert_eq!(read(&pair.laptop.path("edited")), "by the devbox");
    assert!(!pair.laptop.path("deleted").exists());
    assert_eq!(copies(&pair.laptop), Vec::<PathBuf>::new(), "no false copies");
}

/// Changes a file, makes one, deletes one in a folder that only receives.
fn change_locally(pair: &Pair) {
    pair.devbox.ok(&["folder", "set", FOLDER, "--role", "receiveonly"]);
    write(&pair.devbox.path("edited"), "by the devbox");
    write(&pair.devbox.path("new"), "only on the devbox");
    fs::remove_file(pair.devbox.path("deleted")).unwrap();
    await_count(&pair.devbox, "local_changes", 3);
}

#[test]
fn a_folder_that_only_receives_tells_nothing_and_can_be_put_back() {
    let mut pair = Pair::new();
    shared_files(&pair);
    change_locally(&pair);
    let why = pair.devbox.json(&["why", &pair.devbox.path("edited").display().to_string()]);
    assert_eq!(why["reasons"][0]["kind"], "local-change", "{why}");
    let page = pair.devbox.ok(&["status"]);
    assert!(page.contains("syncctl folder revert work"), "the next step: {page}");
    write(&pair.laptop.path("both"), "by the laptop");
    pair.laptop.flush();
    assert_eq!(read(&pair.devbox.path("both")), "by the laptop", "it receives");
    for (name, text) in [("edited", "base"), ("deleted", "base")] {
        assert_eq!(read(&pair.laptop.path(name)), text, "the laptop hears nothing of {name}");
    }
    assert!(!pair.laptop.path("new").exists());
    pair.devbox.stop();
    pair.devbox.start();
    pair.await_connected();
    await_count(&pair.devbox, "local_changes", 3);

    write(&pair.laptop.path("edited"), "by the laptop");
    await_text(&pair.devbox.path("edited"), "by the laptop");
    let kept = copies(&pair.devbox);
    assert_eq!(kept.len(), 1, "what was changed here is kept: {kept:?}");
    assert_eq!(read(&kept[0]), "by the devbox");
    assert_eq!(copies(&pair.laptop), Vec::<PathBuf>::new(), "and is still told nobody");

    pair.devbox.ok(&["folder", "revert", FOLDER]);
    await_text(&pair.devbox.path("deleted"), "base");
    await_count(&pair.devbox, "local_changes", 0);
    pair.agree();
    let trash = trashed(&pair.devbox);
    assert!(trash.iter().any(|path| path == "new"), "it can be had back: {trash:?}");
}

#[test]
fn local_changes_are_told_when_the_role_changes_back() {
    let pair = Pair::new();
    shared_files(&pair);
    change_locally(&pair);
    pair.devbox.ok(&["folder", "set", FOLDER, "--role", "sendreceive"]);
    pair.agree();
    assert_eq!(read(&pair.laptop.path("edited")), "by the devbox");
    assert_eq!(read(&pair.laptop.path("new")), "only on the devbox");
    assert!(!pair.laptop.path("deleted").exists());
    assert_eq!(pair.devbox.status(FOLDER)["local_changes"], 0);
    for (side, _) in pair.sides() {
        assert_eq!(copies(side), Vec::<PathBuf>::new(), "no false copies");
    }
}

#[test]
fn each_word_is_for_its_role() {
    let pair = Pair::new();
    for (command, role) in [("override", "sendonly"), ("revert", "receiveonly")] {
        let answer = pair.laptop.ctl(&["folder", command, FOLDER]);
        assert_eq!(answer.code, 1, "{command}: {}", answer.stderr);
        assert!(answer.stderr.contains(role), "it says for which: {}", answer.stderr);
    }
}
