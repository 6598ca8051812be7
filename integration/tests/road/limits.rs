//! What may be used up: each limit that can be set acts, at once and on a running daemon.

use std::fs;
use std::time::Duration;

use syncd_integration::process::{Device, Noise, Pair, eventually, write};

/// Changes a setting and waits until the daemon has read it, which it says.
fn set(device: &Device, how: &[&str]) {
    let said = || {
        let log = fs::read_to_string(device.log_path()).unwrap_or_default();
        log.matches("the settings were read again").count()
    };
    let before = said();
    device.ok(&[&["config"], how].concat());
    eventually(Duration::from_secs(10), "the settings are read again", || {
        if said() > before { Ok(()) } else { Err(device.log_end()) }
    });
}

#[test]
fn a_rate_holds_back_contents_but_no_small_edit() {
    for (key, limits_sender) in
        [("limits.send_kib_per_s", true), ("limits.receive_kib_per_s", false)]
    {
        let pair = Pair::new();
        let limited = if limits_sender { &pair.laptop } else { &pair.devbox };
        let mut noise = Noise::new(4);
        set(limited, &["set", key, "64"]);
        write(&pair.laptop.path("near"), noise.bytes(1 << 20));
        pair.laptop.flush();
        set(limited, &["set", "limits.limit_lan", "true"]);
        // At this rate it takes minutes: whatever comes before it has overtaken it.
        write(&pair.laptop.path("large"), noise.bytes(16 << 20));
        let refused = pair.laptop.ctl(&["flush", "--timeout", "2s"]);
        assert_eq!(refused.code, 4, "{key}: it is not there yet: {}", refused.stderr);
        write(&pair.laptop.path("small"), "an edit");
        eventually(Duration::from_secs(20), "the small edit arrives", || {
            fs::read(pair.devbox.path("small")).map(drop).map_err(|error| error.to_string())
        });
        assert!(!pair.devbox.path("large").exists(), "{key}: the limit holds");
        set(limited, &["unset", key]);
        pair.agree();
    }
}

#[test]
fn the_floor_is_kept_free_and_all_goes_on_by_itself() {
    let pair = Pair::new();
    write(&pair.laptop.path("gone"), "x");
    write(&pair.laptop.path("kept"), "x");
    pair.laptop.flush();
    set(&pair.devbox, &["set", "limits.free_mib", "1000000000"]);
    write(&pair.laptop.path("new"), "there is no room for this");
    fs::remove_file(pair.laptop.path("gone")).unwrap();
    eventually(Duration::from_secs(20), "the lack of room is told", || {
        let problems = pair.devbox.status("work")["problems"].to_string();
        if problems.contains("room") { Ok(()) } else { Err(problems) }
    });
    eventually(Duration::from_secs(20), "deletes need no room", || {
        if pair.devbox.path("gone").exists() { Err("it is there".to_owned()) } else { Ok(()) }
    });
    assert!(!pair.devbox.path("new").exists(), "nothing is written");
    let why = pair.devbox.json(&["why", &pair.devbox.path("new").display().to_string()]);
    assert_eq!(why["reasons"][0]["kind"], "no-room", "{why}");
    pair.devbox.ok(&["config", "unset", "limits.free_mib"]);
    pair.agree();
    let problems = pair.devbox.status("work")["problems"].clone();
    assert_eq!(problems.as_array().unwrap().len(), 0, "{problems}");
}

#[test]
fn a_folder_is_scanned_as_often_as_it_says() {
    let mut pair = Pair::new();
    write(&pair.laptop.path("f"), "seen");
    pair.laptop.flush();
    pair.laptop.stop();
    let path = pair.laptop.home().join("config.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("id = \"work\"\n", "id = \"work\"\nrescan_s = 1\n")).unwrap();
    pair.laptop.start();
    pair.await_connected();
    pair.laptop.flush();
    // Nobody hears of a write through a name outside the folder: only a scan finds it.
    let outside = pair.aside("outside");
    fs::hard_link(pair.laptop.path("f"), &outside).unwrap();
    fs::write(&outside, "found by a scan").unwrap();
    eventually(Duration::from_secs(30), "a scan finds it", || {
        let found = fs::read_to_string(pair.devbox.path("f")).unwrap();
        if found == "found by a scan" { Ok(()) } else { Err(found) }
    });
}
