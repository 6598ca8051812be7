//! Who is trusted, who asks, and what happens when trust ends.

use std::time::Duration;

use syncd_integration::process::{FOLDER, Pair, eventually, write};

#[test]
fn an_unknown_device_shows_up_as_pending_and_gets_nothing_else() {
    let pair = Pair::strangers();
    let (laptop, devbox) = (&pair.laptop, &pair.devbox);
    laptop.ok(&["pair", devbox.id(), "--name", "devbox", "--address", &devbox.address()]);
    eventually(Duration::from_secs(30), "the laptop asks the devbox", || {
        let pending = devbox.json(&["pending"]);
        if pending[0]["device_id"] == *laptop.id() { Ok(()) } else { Err(pending.to_string()) }
    });
    assert_eq!(devbox.json(&["pending"])[0]["name"], "laptop", "what it calls itself");
    assert_eq!(devbox.json(&["devices"]).as_array().unwrap().len(), 0, "it is not trusted");
    assert!(!laptop.is_connected_to("devbox"), "asking is no connection");
    devbox.ok(&["pair", laptop.id(), "--name", "laptop"]);
    pair.await_connected();
    assert_eq!(devbox.json(&["pending"]).as_array().unwrap().len(), 0, "nobody asks any more");
}

#[test]
fn devices_are_named_in_every_agreed_way() {
    let pair = Pair::acquainted();
    let (laptop, devbox) = (&pair.laptop, &pair.devbox);
    let devices = laptop.json(&["devices"]);
    let one = &devices[0];
    assert_eq!(devices.as_array().unwrap().len(), 1, "this device is none of them: {devices}");
    assert_eq!(one["device_id"], *devbox.id());
    assert_eq!(one["name"], "devbox");
    assert_eq!(one["path"], "direct-tcp");
    assert!(one["last_seen"].is_string(), "{one}");
    let peer_id = devbox.json(&["id"])["peer_id"].as_str().unwrap().to_owned();
    std::fs::create_dir_all(laptop.root()).unwrap();
    let root = laptop.root().display().to_string();
    laptop.ok(&["folder", "add", &root, "--id", FOLDER]);
    for (name, because) in [
        ("devbox", "the name given at pairing"),
        (devbox.id(), "the full id"),
        (&peer_id, "the PeerId"),
        (&devbox.id()[..7], "a prefix of 7 characters"),
    ] {
        laptop.ok(&["folder", "share", FOLDER, "--with", name]);
        let folders = laptop.json(&["folder", "ls"]);
        assert_eq!(folders[0]["devices"][0]["name"], "devbox", "{because}: {folders}");
        laptop.ok(&["folder", "unshare", FOLDER, "--with", name]);
    }
    let unknown = laptop.ctl(&["folder", "share", FOLDER, "--with", "nobody"]);
    assert_eq!(unknown.code, 1, "{}", unknown.stderr);
}

#[test]
fn unpairing_closes_the_connection_before_it_returns() {
    let pair = Pair::new();
    write(&pair.laptop.path("before"), "x");
    pair.laptop.flush();
    pair.devbox.ok(&["unpair", "laptop"]);
    assert_eq!(pair.devbox.json(&["devices"]).as_array().unwrap().len(), 0);
    write(&pair.laptop.path("after"), "x");
    eventually(Duration::from_secs(10), "the laptop sees that it is alone", || {
        if pair.laptop.is_connected_to("devbox") { Err("connected".to_owned()) } else { Ok(()) }
    });
    let nobody = pair.laptop.ctl(&["flush", "--timeout", "5s"]);
    assert_eq!(nobody.code, 1, "nobody is connected: {}", nobody.stderr);
    assert!(pair.devbox.path("before").exists(), "files stay");
    assert!(!pair.devbox.path("after").exists(), "nothing arrives any more");
    // The laptop still trusts the devbox, and asks again.
    eventually(Duration::from_secs(60), "the laptop asks again", || {
        let pending = pair.devbox.json(&["pending"]);
        if pending[0]["device_id"] == *pair.laptop.id() { Ok(()) } else { Err(pending.to_string()) }
    });
}

#[test]
fn a_device_that_starts_again_is_back_within_seconds_however_often_it_does() {
    const ROUNDS: usize = 10;
    let mut pair = Pair::new();
    for (of_laptop, because) in [
        (true, "the laptop was told where the devbox is, and dials"),
        (false, "the devbox knows only what the laptop said in its time"),
    ] {
        let began = std::time::Instant::now();
        for round in 0..ROUNDS {
            let there = if of_laptop { &mut pair.laptop } else { &mut pair.devbox };
            if round % 2 == 0 {
                there.kill();
            } else {
                there.stop();
            }
            there.start();
            pair.await_connected();
        }
        // Waits that double from session to session come to minutes; a busy machine does not.
        let took = began.elapsed();
        assert!(took < Duration::from_secs(60), "{because}: {ROUNDS} starts took {took:?}");
    }
}
