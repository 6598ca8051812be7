//! What goes into a bug report: numbers and kinds, never a secret or the name of anything.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use syncd_integration::process::{FOLDER, Pair, eventually, write};

#[test]
fn nothing_that_was_planted_is_in_a_report() {
    let mut pair = Pair::new();
    let laptop = &pair.laptop;
    write(&laptop.path("verysecretfile.txt"), "verysecretcontent");
    write(&laptop.path("plansdir/merger.md"), "x");
    laptop.flush();
    laptop.ok(&[
        "pair",
        pair.devbox.id(),
        "--name",
        "boxofbob",
        "--address",
        "ssh://bob@hidden.example",
    ]);
    laptop.ok(&["config", "set", "limits.send_kib_per_s", "77777"]);
    write(&laptop.path(".stignore"), "#include missingsecret\n");
    eventually(Duration::from_secs(20), "there is a problem to tell", || {
        let problems = laptop.status(FOLDER)["problems"].clone();
        if problems.as_array().is_some_and(|all| !all.is_empty()) {
            Ok(())
        } else {
            Err(String::new())
        }
    });
    let log = laptop.log_path().display().to_string();
    let token = fs::read_to_string(laptop.home().join("http.token")).unwrap();
    let key = fs::read(laptop.home().join("identity.key")).unwrap();
    let key = String::from_utf8_lossy(&key).into_owned();
    let with_daemon = laptop.ok(&["report", "--log", &log]);
    let id = laptop.id().to_owned();
    let peer_id = laptop.json(&["id"])["peer_id"].as_str().unwrap().to_owned();
    pair.laptop.stop();
    let without = pair.laptop.ok(&["report"]);
    let home = pair.laptop.home().display().to_string();
    for report in [&with_daemon, &without] {
        for (planted, what) in [
            ("verysecret", "a file's name or content"),
            ("plansdir", "a directory's name"),
            ("merger", "a file's name"),
            ("missingsecret", "a name in a problem"),
            ("boxofbob", "a device's name"),
            ("hidden.example", "an address"),
            ("bob@", "a user's name"),
            (home.as_str(), "a path"),
            ("/sd-", "a part of a path"),
            (id.as_str(), "this device's id"),
            (&id[..15], "half of it"),
            (peer_id.as_str(), "the same as a PeerId"),
            (pair.devbox.id(), "the other's id"),
            (pair.devbox.short_id(), "the beginning of it"),
            (token.trim(), "the browsers' token"),
            (key.trim(), "the key"),
            ("127.0.0.1", "an address of this machine"),
        ] {
            assert!(!report.contains(planted), "{what} is in it: {planted}\n{report}");
        }
    }
    tells_enough(&with_daemon);
    let without: Value = serde_json::from_str(&without).unwrap();
    assert!(without["syncd"].is_null() && without["folders"].is_null(), "{without:#}");
}

/// What a bug report needs is there all the same.
fn tells_enough(report: &str) {
    let report: Value = serde_json::from_str(report).unwrap();
    for (place, because) in [
        ("/syncctl", "versions"),
        ("/syncd/version", "versions"),
        ("/system/kernel", "the system"),
        ("/folders/0/files", "counts"),
        ("/events/0/kind", "events"),
        ("/doctor/0/check", "the doctor's findings"),
        ("/log/0/said", "the log"),
        ("/settings/folders/0/with/0", "who shares what"),
    ] {
        assert!(report.pointer(place).is_some_and(|v| !v.is_null()), "{because}: {report:#}");
    }
    assert_eq!(report["settings"]["limits"]["rates"]["send_kib_per_s"], 77777);
    assert_eq!(report["settings"]["devices"][0]["addresses"][0], "ssh");
    let problems = report["folders"][0]["problems"].as_object().unwrap();
    assert!(!problems.is_empty(), "{report:#}");
}
