//! Mistakes around one home: who else uses it, what is missing in it, what the machine lacks.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use syncd_integration::process::{
    Device, FOLDER, Listen, Pair, Scratch, can_use, done, eventually, set_mode, write,
};

use super::{is_plain, says};

/// How long a daemon may take to notice something.
const NOTICE_MAX: Duration = Duration::from_secs(30);

/// Waits until `status` names a problem of the device as a whole that holds all of `words`.
#[track_caller]
fn await_problem(device: &Device, words: &[&str]) -> Value {
    eventually(NOTICE_MAX, &format!("status tells {words:?}"), || {
        let status = device.json(&["status"]);
        let problems = status["problems"].as_array().cloned().unwrap_or_default();
        let holds = |problem: &&Value| {
            let what = problem["what"].as_str().unwrap_or_default();
            words.iter().all(|word| what.contains(word))
        };
        problems.iter().find(holds).cloned().ok_or_else(|| status.to_string())
    })
}

/// Waits until `status` names no problem of the device as a whole.
#[track_caller]
fn await_no_problem(device: &Device) {
    eventually(NOTICE_MAX, "nothing is wrong any more", || {
        let problems = device.json(&["status"])["problems"].clone();
        if problems == Value::Array(Vec::new()) { Ok(()) } else { Err(problems.to_string()) }
    });
}

#[test]
fn a_port_in_use_is_named_at_the_start() {
    let scratch = Scratch::new();
    let device = Device::init(scratch.path(), "laptop", Listen::Port);
    let at = ("127.0.0.1", device.port());
    let port = device.port().to_string();
    let tcp = TcpListener::bind(at).unwrap();
    let next = "syncctl config set listen";
    says(&device.refuses(), 1, &["in use", &port, next], "another program listens there");
    drop(tcp);
    let udp = UdpSocket::bind(at).unwrap();
    let quic = format!("/ip4/127.0.0.1/udp/{port}/quic-v1");
    device.ok(&["config", "set", "listen", &quic]);
    says(&device.refuses(), 1, &["in use", &port, next], "the same with UDP");
    drop(udp);
    device.ok(&["config", "set", "listen", &device.address()]);
    let http = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let at = http.local_addr().unwrap().to_string();
    device.ok(&["config", "set", "http.listen", &at]);
    says(&device.refuses(), 1, &["in use", &at, "http.listen"], "the browsers' port");
}

#[test]
fn a_listening_address_that_cannot_be_had_changes_nothing_while_it_runs() {
    let pair = Pair::new();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    pair.devbox.ok(&["config", "set", "listen", &address]);
    let problem = await_problem(&pair.devbox, &["'listen' is not used", &port.to_string()]);
    is_plain(problem["what"].as_str().unwrap(), &["in use"], "what is wrong");
    is_plain(problem["do"].as_str().unwrap(), &["until that is mended"], "what becomes of it");
    write(&pair.laptop.path("a"), "x");
    pair.agree();
    pair.devbox.ok(&["config", "set", "listen", &pair.devbox.address()]);
    await_no_problem(&pair.devbox);
    pair.agree();
}

#[test]
fn a_second_daemon_and_a_dead_one_do_not_get_in_the_way() {
    let scratch = Scratch::new();
    // Longer than a socket's path may be.
    let dir = scratch.path().join("a-directory-with-a-name-of-some-length").join("x".repeat(60));
    fs::create_dir_all(&dir).unwrap();
    for dir in [scratch.path(), &dir] {
        let mut device = Device::init(dir, "laptop", Listen::Port);
        device.start();
        let mut second = Command::new(syncd_integration::process::binary("syncd"));
        second.arg("--home").arg(device.home());
        let answer = syncd_integration::process::run(&mut second, NOTICE_MAX);
        let pid = format!("process {}", device.pid());
        says(&answer, 1, &["in use by", &pid, "--home"], "a second one");
        assert_eq!(device.ctl(&["status"]).code, 0, "the first one goes on");
        device.kill();
        says(&device.ctl(&["status"]), 3, &["syncd --home"], "its socket is still there");
        device.start();
        assert_eq!(device.ctl(&["status"]).code, 0, "a dead one's socket is no hindrance");
    }
}

#[test]
fn what_others_can_read_or_write_is_not_used() {
    let scratch = Scratch::new();
    let mut device = Device::init(scratch.path(), "laptop", Listen::Port);
    let key = device.home().join("identity.key");
    let path = key.display().to_string();
    for mode in [0o644, 0o640, 0o604] {
        set_mode(&key, mode);
        let words = ["others may read", &path, "chmod 600"];
        says(&device.refuses(), 1, &words, "the daemon");
        says(&device.ctl(&["id"]), 1, &words, "the command line");
    }
    device.ctl(&["doctor", "--fix"]);
    assert_eq!(device.ok(&["id"]).trim(), device.id(), "the doctor mends it");
    set_mode(device.home(), 0o777);
    says(&device.refuses(), 1, &["others may write", "chmod go-w"], "a home for everybody");
    set_mode(device.home(), 0o700);
    fs::write(&key, "syncd identity 1\nseed 00\n").unwrap();
    says(&device.refuses(), 1, &["identity.key", "damaged"], "half a key");
    assert_eq!(fs::read_to_string(&key).unwrap(), "syncd identity 1\nseed 00\n", "left alone");
    fs::write(&key, "syncd identity 2\nnew\n").unwrap();
    says(&device.refuses(), 1, &["newer version of syncd"], "a newer key");
    fs::remove_file(&key).unwrap();
    device.ok(&["init"]);
    device.start();
}

#[test]
fn a_home_that_lost_its_key_or_its_settings_is_not_given_new_ones_unasked() {
    let mut pair = Pair::new();
    write(&pair.laptop.path("a"), "x");
    pair.agree();
    pair.laptop.stop();
    let home = pair.laptop.home().to_path_buf();
    let at = |name: &str| home.join(name);
    for (name, words) in [
        ("identity.key", ["key of this device", "backup", "syncctl --home"]),
        ("config.toml", ["settings of this device", "backup", "syncctl --home"]),
    ] {
        fs::rename(at(name), at("aside")).unwrap();
        says(&pair.laptop.refuses(), 1, &words, name);
        assert!(!at(name).exists(), "{name} is not made anew");
        fs::rename(at("aside"), at(name)).unwrap();
    }
    pair.laptop.start();
    pair.agree();
    // While it runs, nothing is forgotten either.
    fs::rename(at("config.toml"), at("aside")).unwrap();
    await_problem(&pair.laptop, &["settings", "are gone"]);
    write(&pair.laptop.path("b"), "x");
    pair.agree();
    fs::rename(at("aside"), at("config.toml")).unwrap();
    await_no_problem(&pair.laptop);
    pair.agree();
}

/// Lets a running daemon have descriptors below `count` only.
fn limit_descriptors(device: &Device, count: usize) {
    let (pid, limit) = (device.pid().to_string(), format!("--nofile={count}:4096"));
    done(Command::new("prlimit").args(["--pid", &pid, &limit]));
}

#[test]
fn with_few_open_files_it_waits_and_takes_nothing_for_what_it_is_not() {
    if !can_use(&["prlimit"]) {
        return;
    }
    let pair = Pair::new();
    let files = |round: &str| {
        for at in 0..40 {
            write(&pair.laptop.path(format!("{round}/d{}/f{at}", at % 4)), format!("{at}"));
        }
    };
    let open = || fs::read_dir(format!("/proc/{}/fd", pair.devbox.pid())).unwrap().count();
    for (round, count, because) in [
        ("one", open() + 1, "one is left, and some in reserve"),
        ("none", 3, "none at all, and what is in reserve helps nobody"),
    ] {
        files(round);
        pair.agree();
        limit_descriptors(&pair.devbox, count);
        for at in 0..40 {
            let path = format!("{round}/d{}/f{at}", at % 4);
            write(&pair.laptop.path(path), format!("new {at}"));
        }
        fs::remove_dir_all(pair.laptop.path(format!("{round}/d1"))).unwrap();
        write(&pair.devbox.path(format!("{round}/theirs")), "x");
        if count > 3 {
            // Whoever asks what is wrong is let in.
            assert_eq!(pair.devbox.ctl(&["scan"]).code, 0, "{because}");
            assert_eq!(pair.devbox.ctl(&["status"]).code, 0, "{because}");
        }
        // Some looks and jobs at most fail within this: the point is what they do not conclude.
        let answer = pair.laptop.ctl(&["flush", "--timeout", "2s"]);
        assert!([0, 1, 4].contains(&answer.code), "{because}: {answer:?}");
        assert!(pair.laptop.path(format!("{round}/d0/f0")).exists(), "{because}: it is not gone");
        assert!(pair.devbox.path(format!("{round}/theirs")).exists(), "{because}");
        limit_descriptors(&pair.devbox, 4096);
        pair.agree();
        let text = fs::read_to_string(pair.devbox.path(format!("{round}/d0/f0"))).unwrap();
        assert_eq!(text, "new 0", "{because}");
        assert!(!pair.devbox.path(format!("{round}/d1")).exists(), "{because}: deleted");
        assert!(pair.laptop.path(format!("{round}/theirs")).exists(), "{because}");
        let copies = pair.devbox.json(&["conflicts", "ls"]);
        assert_eq!(copies, Value::Array(Vec::new()), "{because}: nothing was anybody's edit");
        assert_eq!(pair.devbox.status(FOLDER)["problems"], Value::Array(Vec::new()), "{because}");
    }
}

#[test]
fn it_starts_with_few_open_files_or_says_that_they_are_too_few() {
    if !can_use(&["prlimit"]) {
        return;
    }
    let mut pair = Pair::new();
    pair.devbox.stop();
    pair.devbox.run_under(&["prlimit", "--nofile=40"]);
    pair.devbox.start();
    for at in 0..200 {
        write(&pair.laptop.path(format!("many/f{at}")), format!("{at}"));
    }
    pair.agree();
    pair.devbox.stop();
    for count in [9, 12, 16] {
        pair.devbox.run_under(&["prlimit", &format!("--nofile={count}")]);
        says(&pair.devbox.refuses(), 1, &["open files"], "too few to work with at all");
    }
    pair.devbox.run_under(&["prlimit", "--nofile=4096"]);
    pair.devbox.start();
    pair.agree();
}

#[test]
fn where_not_everything_can_be_watched_it_scans_and_says_so() {
    if !can_use(&["unshare", "sh"]) {
        return;
    }
    let mut pair = Pair::new();
    for at in 0..20 {
        write(&pair.laptop.path(format!("d{at}/f")), "x");
    }
    pair.agree();
    for (limit, words) in [
        ("echo 8 > /proc/sys/user/max_inotify_watches", "max_user_watches"),
        ("echo 0 > /proc/sys/user/max_inotify_instances", "max_user_instances"),
    ] {
        pair.laptop.stop();
        let script = format!("{limit}; exec \"$@\"");
        let user = ["unshare", "--user", "--map-root-user", "sh", "-c", &script, "sh"];
        pair.laptop.run_under(&user);
        pair.laptop.start();
        let problem = eventually(NOTICE_MAX, "status tells", || {
            let status = pair.laptop.status(FOLDER);
            let found = status["problems"][0].clone();
            if found["what"].is_string() { Ok(found) } else { Err(status.to_string()) }
        });
        is_plain(problem["what"].as_str().unwrap(), &[words, "scanned"], "what");
        is_plain(problem["do"].as_str().unwrap(), &["sysctl"], "what to do");
        pair.await_connected();
        write(&pair.laptop.path("d19/new"), words);
        pair.laptop.flush();
        let came = fs::read_to_string(pair.devbox.path("d19/new")).unwrap();
        assert_eq!(came, words, "a flush looks where nothing is watched");
        pair.agree();
    }
    pair.laptop.stop();
    pair.laptop.run_under(&[""; 0]);
    pair.laptop.start();
    eventually(NOTICE_MAX, "all is watched again", || {
        let problems = pair.laptop.status(FOLDER)["problems"].clone();
        if problems == Value::Array(Vec::new()) { Ok(()) } else { Err(problems.to_string()) }
    });
}

#[test]
fn a_clock_that_is_years_off_is_a_warning_and_sync_goes_on() {
    if !can_use(&["faketime"]) {
        return;
    }
    let library = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output();
    let library = String::from_utf8(library.unwrap().stdout).unwrap();
    let preload = format!("LD_PRELOAD={}", library.trim());
    for (days, told) in [
        ("FAKETIME=-1100d", "'devbox' is 3 years behind"),
        ("FAKETIME=+1100d", "'devbox' is 3 years ahead of"),
    ] {
        let mut pair = Pair::new();
        write(&pair.laptop.path("a"), "x");
        pair.agree();
        pair.devbox.stop();
        let off = ["env", &preload, days, "NO_FAKE_STAT=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
        pair.devbox.run_under(&off);
        pair.devbox.start();
        pair.await_connected();
        for (ours, theirs) in pair.sides() {
            write(&ours.path(ours.name()), days);
            fs::remove_file(ours.path("a")).ok();
            pair.agree();
            assert!(theirs.path(ours.name()).exists() && !theirs.path("a").exists(), "{days}");
        }
        let problems = pair.laptop.json(&["status"])["problems"].clone();
        let what = problems[0]["what"].as_str().unwrap_or_default();
        assert!(what.contains(told), "{told}: {problems}");
        let logged = fs::read_to_string(pair.laptop.log_path()).unwrap();
        assert_eq!(logged.matches(told).count(), 1, "told once: {logged}");
        let doctor = pair.laptop.ctl(&["doctor"]).stdout;
        assert!(doctor.contains("devbox is connected, but its clock is 3 years"), "{doctor}");
        if days.contains('-') {
            let ctl = syncd_integration::process::binary("syncctl");
            let mut doctor = Command::new("env");
            doctor.args(&off[1..]).arg(ctl).arg("--home").arg(pair.devbox.home()).arg("doctor");
            let said = syncd_integration::process::run(&mut doctor, NOTICE_MAX).stdout;
            assert!(said.contains("clock") && said.contains("set the clock"), "{said}");
        }
        pair.devbox.stop();
        pair.devbox.run_under(&[""; 0]);
        pair.devbox.start();
        pair.await_connected();
        eventually(NOTICE_MAX, "a clock that is right again is no problem", || {
            let problems = pair.laptop.json(&["status"])["problems"].clone();
            if problems == Value::Array(Vec::new()) { Ok(()) } else { Err(problems.to_string()) }
        });
    }
}
