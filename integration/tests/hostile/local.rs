//! Others on the same machine: what lies on the disk and in the environment.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use syncd_integration::hostile::WAIT_MAX;
use syncd_integration::process::{Device, FOLDER, Listen, Scratch, eventually, introduce, write};

#[test]
fn nobody_else_can_read_a_home_or_use_its_socket() {
    let scratch = Scratch::new();
    let mut device = Device::init(scratch.path(), "device", Listen::Port);
    device.start();
    let mode = |meta: &fs::Metadata| meta.mode() & 0o777;
    assert_eq!(mode(&fs::metadata(device.home()).unwrap()), 0o700, "the home itself");
    let mut sockets = 0;
    for entry in fs::read_dir(device.home()).unwrap().flatten() {
        let (name, meta) = (entry.file_name(), entry.metadata().unwrap());
        let name = name.to_string_lossy().into_owned();
        let is_secret = name.contains("key") || name.contains("token") || name.contains("ledger");
        if meta.file_type().is_socket() {
            sockets += 1;
            assert_eq!(mode(&meta), 0o600, "the socket {name}");
        } else if is_secret {
            assert_eq!(mode(&meta) & 0o077, 0, "{name} is for its owner alone");
        }
    }
    assert!(device.home().join("identity.key").is_file(), "the key lies where it is looked for");
    assert_eq!(sockets, 1, "one socket in the home");
}

#[test]
fn keys_of_connections_are_not_written_where_the_environment_says() {
    let scratch = Scratch::new();
    let at = scratch.path().join("keys.log");
    let mut devices = ["one", "other"].map(|name| Device::init(scratch.path(), name, Listen::Port));
    for device in &mut devices {
        device.run_under(&["env", &format!("SSLKEYLOGFILE={}", at.display())]);
        device.start();
    }
    introduce(&devices[0], &devices[1], &devices[1].address());
    assert!(!at.exists(), "whoever sets an environment would read all sessions");
}

/// Tells whether the kernel confines: a daemon that is to be, and cannot begin, says why it ends.
fn has_landlock(device: &Device) -> bool {
    // An address of nobody, so that it ends in any case.
    device.ok(&["config", "set", "listen", "/ip4/192.0.2.1/tcp/1"]);
    let said = device.refuses().stderr;
    device.ok(&["config", "set", "listen", &device.address()]);
    let has = !said.contains("no Landlock");
    assert!(!has || said.contains("cannot listen"), "{said}");
    if !has {
        eprintln!("SKIPPED: {said}");
    }
    has
}

#[test]
fn a_confined_daemon_reaches_its_home_and_its_folders_alone() {
    let scratch = Scratch::new();
    let mut laptop = Device::init(scratch.path(), "laptop", Listen::Port);
    let mut devbox = Device::init(scratch.path(), "devbox", Listen::Port);
    let [allowed, outside] = ["allowed", "outside"].map(|name| scratch.path().join(name));
    write(&allowed.join("mine"), "mine");
    write(&outside.join("secret"), "secret");
    devbox.ok(&["config", "set", "confine", allowed.to_str().unwrap()]);
    if !has_landlock(&devbox) {
        return;
    }
    laptop.start();
    devbox.start();
    introduce(&laptop, &devbox, &devbox.address());
    write(&laptop.path("sub/theirs"), "theirs");
    let root = laptop.root().to_str().unwrap().to_owned();
    laptop.ok(&["folder", "add", &root, "--id", FOLDER, "--with", "devbox"]);
    let accept = |place: &Path| {
        let place = place.to_str().unwrap();
        eventually(WAIT_MAX, "the offer is there", || {
            let answer = devbox.ctl(&["folder", "accept", FOLDER, place]);
            if answer.stderr.contains("offered") { Err(answer.stderr) } else { Ok(answer) }
        })
    };
    let refused = accept(&outside.join("work"));
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("'confine'"), "it says why: {}", refused.stderr);
    let taken = accept(&allowed.join("work"));
    assert_eq!(taken.code, 0, "{}", taken.stderr);
    laptop.flush();
    let (here, there) = (allowed.join("work"), laptop.root());
    assert_eq!(fs::read_to_string(here.join("sub/theirs")).unwrap(), "theirs");
    // What changes files: a new one, one that takes another's place, a name, a delete.
    write(&here.join("ours"), "ours");
    write(&here.join("sub/theirs"), "changed");
    devbox.flush();
    assert_eq!(fs::read_to_string(there.join("sub/theirs")).unwrap(), "changed");
    fs::rename(there.join("sub"), there.join("moved")).unwrap();
    fs::remove_file(there.join("ours")).unwrap();
    laptop.ok(&["scan"]);
    laptop.flush();
    assert!(!here.join("ours").exists() && here.join("moved/theirs").exists());

    // Whoever can write its settings is no further for it: the kernel says no.
    devbox.stop();
    let settings = devbox.home().join("config.toml");
    let more = format!("\n[[folder]]\nid = \"outside\"\npath = \"{}\"\n", outside.display());
    fs::write(&settings, fs::read_to_string(&settings).unwrap() + &more).unwrap();
    devbox.start();
    let state = eventually(WAIT_MAX, "it is tried", || {
        let state = devbox.status("outside")["state"].clone();
        if state == "scanning" { Err(state.to_string()) } else { Ok(state) }
    });
    assert_eq!(state, "halted", "{}", devbox.ok(&["status"]));
    let found: Vec<_> = fs::read_dir(&outside).unwrap().flatten().collect();
    assert_eq!(found.len(), 1, "nothing is made there: {found:?}");
    devbox.await_connected("laptop");
    write(&here.join("after"), "after");
    devbox.ok(&["flush", "--folder", FOLDER, "--timeout", "2m"]);
}

#[test]
fn the_units_confine_the_daemon() {
    for unit in ["syncd.service", "syncd@.service"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd").join(unit);
        let text = fs::read_to_string(path).unwrap();
        for (line, because) in [
            ("NoNewPrivileges=", "no program of a folder gives it more rights"),
            ("RestrictSUIDSGID=", "it makes no such programs"),
            ("LockPersonality=", "nothing of old systems"),
            ("RestrictNamespaces=", "no mounts of its own"),
            ("SystemCallFilter=", "only what a daemon calls"),
        ] {
            let is_there = text.lines().any(|there| there.starts_with(line));
            assert!(is_there, "{unit}: {line} is missing: {because}");
        }
    }
}
