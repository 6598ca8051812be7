//! Others on the same machine: what lies on the disk and in the environment.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use syncd_integration::process::{Device, Listen, Scratch, introduce};

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
