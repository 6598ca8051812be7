//! Homes, starts and ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use syncd_integration::process::{Device, Listen, Pair, Scratch, binary, run, write};

#[test]
fn a_second_daemon_on_a_living_home_is_refused() {
    let scratch = Scratch::new();
    let mut device = Device::init(scratch.path(), "laptop", Listen::Port);
    device.start();
    let mut second = Command::new(binary("syncd"));
    second.arg("--home").arg(device.home());
    let answer = run(&mut second, Duration::from_secs(10));
    assert_eq!(answer.code, 1, "{}", answer.stderr);
    let pid = device.pid().to_string();
    assert!(answer.stderr.contains(&pid), "it names process {pid}: {}", answer.stderr);
    assert_eq!(device.ctl(&["status"]).code, 0, "the first one goes on");
}

#[test]
fn a_daemon_stops_within_5_seconds_and_starts_again_after_any_end() {
    let mut pair = Pair::new();
    for round in 0..3 {
        write(&pair.laptop.path("f"), format!("round {round}"));
        pair.laptop.flush();
        let (status, took) = pair.laptop.stop();
        assert!(status.success(), "SIGTERM is a clean end: {status}");
        assert!(took < Duration::from_secs(5), "it took {took:?}");
        pair.laptop.start();
        pair.laptop.kill();
        pair.laptop.start();
        pair.await_connected();
    }
    pair.agree();
}

#[test]
fn secrets_are_for_their_owner_only() {
    let scratch = Scratch::new();
    let mut device = Device::init(scratch.path(), "laptop", Listen::Port);
    device.start();
    for name in ["identity.key", "control.sock", "http.token"] {
        let meta = fs::metadata(device.home().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert!(device.home().join("http.addr").exists(), "browsers are told where to go");
}

#[test]
fn a_home_with_a_long_path_works() {
    let scratch = Scratch::new();
    let dir = scratch.path().join("a-directory-with-a-name-of-some-length").join("x".repeat(60));
    fs::create_dir_all(&dir).unwrap();
    let mut device = Device::init(&dir, "laptop", Listen::Port);
    device.start();
    assert_eq!(device.json(&["status"])["name"], "laptop");
}

#[test]
fn the_first_start_makes_identity_and_settings() {
    let scratch = Scratch::new();
    let mut device = Device::init(scratch.path(), "laptop", Listen::Port);
    let id = device.id().to_owned();
    device.start();
    assert_eq!(device.json(&["status"])["device_id"], *id, "init's identity is taken");
    device.stop();
    assert_eq!(device.ok(&["init"]).trim(), id, "init changes nothing that is there");
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let scratch = Scratch::new();
    let device = Device::init(scratch.path(), "laptop", Listen::Port);
    let taken = std::net::TcpListener::bind(("127.0.0.1", device.port())).unwrap();
    let mut daemon = Command::new(binary("syncd"));
    daemon.arg("--home").arg(device.home());
    let answer = run(&mut daemon, Duration::from_secs(10));
    assert_eq!(answer.code, 1, "{}", answer.stderr);
    assert!(answer.stderr.contains(&device.port().to_string()), "{}", answer.stderr);
    drop(taken);
}
