//! The real `syncctl` against the real control server with canned answers behind it.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the test does")]

/// The daemon's control server, without the daemon.
#[path = "../../../daemon/src/world/control/mod.rs"]
pub mod control;

mod offline;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};
use syncd_home::Home;
use tokio::sync::oneshot;

use control::Control;
use control::canned::{Canned, DEVBOX, LAPTOP};

/// A home with an identity, and a daemon if asked for.
struct Fixture {
    dir: tempfile::TempDir,
    desk: Arc<Canned>,
    stop: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
}

/// What a run of `syncctl` said.
struct Said {
    exit: i32,
    out: String,
    err: String,
}

impl Fixture {
    fn without_daemon() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Home::at(&dir.path().join("home")).init(Some("laptop")).unwrap();
        Self { dir, desk: Arc::default(), stop: None }
    }

    fn with_daemon() -> Self {
        let mut fixture = Self::without_daemon();
        let (socket, desk) = (fixture.home().join("control.sock"), fixture.desk.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let control = Control::open(&socket, None).await.unwrap();
                tell.send(()).unwrap();
                let stop = async { stopped.await.unwrap_or_default() };
                control.serve(desk, || false, stop).await.unwrap();
            });
        });
        told.recv().unwrap();
        fixture.stop = Some((stop, thread));
        fixture
    }

    fn stop(&mut self) {
        if let Some((stop, thread)) = self.stop.take() {
            stop.send(()).unwrap();
            thread.join().unwrap();
        }
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    fn run(&self, args: &[&str]) -> Said {
        let output = command(&self.home()).args(args).current_dir(&self.dir).output().unwrap();
        Said {
            exit: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn json(&self, args: &[&str]) -> Value {
        let said = self.run(&[args, &["--json"]].concat());
        assert_eq!(said.exit, 0, "{args:?}: {}", said.err);
        serde_json::from_str(&said.out).unwrap()
    }
}

fn command(home: &Path) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_syncctl"));
    command.env_clear().env("TZ", "UTC").arg("--home").arg(home);
    command
}

/// Tells whether everything in `part` is in `whole`.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|w| holds(w, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(w, p)| holds(w, p))
        }
        (whole, part) => whole == part,
    }
}

#[test]
fn json_is_what_the_contract_says() {
    let fixture = Fixture::with_daemon();
    for (args, part) in [
        (
            &["status"][..],
            json!({"device_id": LAPTOP, "name": "laptop", "folders": [{
                "id": "work", "path": "/home/u/work", "state": "syncing", "files": 100,
                "bytes": 5_000_000, "need_files": 25, "need_bytes": 1_000_000, "conflicts": 1,
                "devices": [{"name": "devbox", "in_sync": false, "need_files": 3}],
                "problems": [{"path": "secret\\xff", "path_hex": "736563726574ff",
                    "what": "it cannot be read", "do": "let the user read it: chmod u+r"}],
            }]}),
        ),
        (
            &["devices"],
            json!([{"device_id": DEVBOX, "name": "devbox", "connected": true,
                "path": "direct-tcp", "rtt_ms": 0.5, "last_seen": "2026-01-02T03:04:05Z"}]),
        ),
        (&["pending"], json!([{"device_id": DEVBOX, "name": "evil\u{1b}]0;title\u{7}"}])),
        (&["folder", "ls"], json!([{"id": "work", "role": "sendreceive"}])),
        (&["folder", "ls", "--offered"], json!([{"id": "photos"}])),
        (&["folder", "pause", "work"], json!({"id": "work", "state": "paused"})),
        (&["folder", "accept", "w", "/x", "--dry-run"], json!({"accepted": false, "equal": 1})),
        (&["folder", "rm", "work"], json!({"id": "work", "path": "/home/u/work"})),
        (&["scan"], json!({"folders": [{"id": "work", "changed": 2}]})),
        (&["flush"], json!({"folders": [{"id": "work", "devices": [{"name": "devbox"}]}]})),
        (&["conflicts", "ls"], json!([{"path": "notes.txt", "device": "devbox"}])),
        (&["conflicts", "show", "notes.txt"], json!({"mine": {"text": "one\nTWO\n"}})),
        (&["trash", "ls"], json!([{"id": "t1", "reason": "replaced"}])),
        (&["trash", "empty"], json!({"files": 3, "bytes": 6144})),
        (&["why", "x"], json!({"reasons": [{"kind": "ignored", "file": ".stignore", "line": 3}]})),
        (&["held", "ls"], json!([{"id": "h1", "kind": "deletes"}])),
        (&["held", "reject", "h1"], json!({"id": "h1", "approved": false})),
        (&["unpair", "devbox"], json!({"device_id": DEVBOX, "folders": ["work"]})),
        (&["id"], json!({"name": "laptop"})),
        (&["config", "get", "discovery"], json!({"values": ["mdns", "relay"]})),
    ] {
        let answer = fixture.json(args);
        assert!(holds(&answer, &part), "{args:?} said {answer:#}, without {part:#}");
    }
}

#[test]
fn people_get_tables_without_colours_in_a_pipe() {
    let fixture = Fixture::with_daemon();
    for (args, lines) in [
        (
            &["status"][..],
            &[
                "FOLDER  STATE    FILES  SIZE    NEEDS        CONFLICTS  DEVICES",
                "work    syncing  100    5.0 MB  25 (1.0 MB)  1          devbox: 3 files to go",
                "work: secret\\xff: it cannot be read",
                "  let the user read it: chmod u+r",
            ][..],
        ),
        (
            &["devices"],
            &[
                "NAME    ID       CONNECTION    ROUND TRIP  LAST SEEN",
                "devbox  CEIRCEI  direct (tcp)",
            ],
        ),
        (&["pending"], &["evil\\u{1b}]0;title\\u{7}", "photos   Photos  devbox  3 files  3.0 MB"]),
        (&["folder", "ls"], &["work    idle   sendreceive  /home/u/work  devbox"]),
        (&["flush"], &["work: 100 files on devbox", "flushed in 1.2 s"]),
        (&["scan"], &["work: 100 files, 2 changed", "scanned in 42 ms"]),
        (&["conflicts", "ls"], &["work    notes.txt  devbox   2026-01-02 03:04:05  6 B"]),
        (
            &["conflicts", "show", "notes.txt"],
            &["mine    2026-01-02 03:04:05 on laptop, 8 B", "-two", "+TWO", "+two\\u{1b}[31m"],
        ),
        (&["trash", "ls"], &["t1  work    old.txt  2.0 kB  2026-01-02 03:04:05  replaced"]),
        (
            &["why", "x"],
            &[
                "  a rule ignores it (line 3 of .stignore), 2026-11-20 19:24:02",
                "    take the rule out",
            ],
        ),
        (&["held", "ls"], &["40 of 50", "approve if you deleted them, reject to bring them back"]),
        (
            &["events"],
            &["1 2026-01-02 03:04:05 file-settled work a\\u{1b}[31m\\xff: took a file from devbox"],
        ),
        (&["pair", DEVBOX, "--name", "box"], &["box is trusted here and connected\n"]),
        (&["conflicts", "resolve", "x", "--keep", "both"], &["notes.txt: both versions are kept"]),
    ] {
        let said = fixture.run(args);
        assert_eq!((said.exit, said.err.as_str()), (0, ""), "{args:?}");
        assert!(!said.out.contains('\x1b'), "{args:?}: {:?}", said.out);
        for line in lines {
            assert!(said.out.contains(line), "{args:?} said\n{}\nwithout\n{line}", said.out);
        }
    }
}

/// Runs each row's arguments and compares what the daemon was asked.
fn expect_asked(fixture: &Fixture, rows: &[(&[&str], &str, Value)]) {
    for (args, method, asked) in rows {
        let said = fixture.run(args);
        assert_eq!(said.exit, 0, "{args:?}: {}", said.err);
        let heard = fixture.desk.asked();
        assert_eq!(heard.len(), 1, "{args:?} asked {heard:?}");
        assert_eq!(heard[0].0, *method, "{args:?}");
        assert!(holds(&heard[0].1, asked), "{args:?} asked {:#}, not {asked:#}", heard[0].1);
    }
}

#[test]
fn what_is_typed_of_devices_and_folders_is_what_the_daemon_is_asked() {
    let fixture = Fixture::with_daemon();
    let here = |name: &str| fixture.path(name).to_str().unwrap().to_owned();
    let rows = [
        (
            &["pair", DEVBOX, "--name", "box", "--address", "/ip4/192.0.2.7/tcp/24110"][..],
            "pair",
            json!({"device_id": DEVBOX, "name": "box", "addresses": ["/ip4/192.0.2.7/tcp/24110"]}),
        ),
        (
            &["devices", "address", "devbox", "ssh://me@box"],
            "set_addresses",
            json!(["devbox", {"addresses": ["ssh://me@box"]}]),
        ),
        (&["unpair", "my box"], "unpair", json!("my box")),
        (
            &[
                "folder",
                "add",
                "w",
                "--id",
                "i",
                "--label",
                "l",
                "--with",
                "a",
                "--with",
                "b",
                "--role",
                "sendonly",
                "--ignore",
                "*.o",
                "--starter-ignores",
            ],
            "folder_add",
            json!({"path": here("w"), "id": "i", "label": "l", "with": ["a", "b"],
                "role": "sendonly", "ignore": ["*.o"], "starter_ignores": true}),
        ),
        (
            &["folder", "accept", "work", "./w/../v", "--prefer", "newer"],
            "folder_accept",
            json!(["work", {"path": here("v"), "prefer": "newer", "dry_run": false}]),
        ),
        (
            &["folder", "share", "work", "--with", "a"],
            "folder_share",
            json!(["work", {"with": ["a"]}]),
        ),
        (
            &["folder", "unshare", "work", "--with", "a"],
            "folder_unshare",
            json!(["work", {"with": ["a"]}]),
        ),
        (&["folder", "resume", "work"], "folder_resume", json!("work")),
        (&["folder", "adopt", "work"], "folder_adopt", json!("work")),
        (&["folder", "move", "work", "v"], "folder_move", json!(["work", {"path": here("v")}])),
        (
            &["folder", "set", "work", "--role", "receiveonly"],
            "folder_set",
            json!(["work", {"role": "receiveonly"}]),
        ),
    ];
    expect_asked(&fixture, &rows);
}

#[test]
fn what_is_typed_of_work_is_what_the_daemon_is_asked() {
    let fixture = Fixture::with_daemon();
    let here = |name: &str| fixture.path(name).to_str().unwrap().to_owned();
    let rows = [
        (
            &["flush", "--folder", "w", "--device", "devbox", "--timeout", "500ms"][..],
            "flush",
            json!({"folder": "w", "devices": ["devbox"], "all": false, "timeout_ms": 500}),
        ),
        (&["flush", "--all"], "flush", json!({"all": true, "timeout_ms": 30_000})),
        (
            &["flush", "--device", "devbox", "--all"],
            "flush",
            json!({"devices": ["devbox"], "all": true}),
        ),
        (&["scan", "--folder", "w"], "scan", json!({"folder": "w"})),
        (&["conflicts", "ls", "--folder", "a&b"], "conflicts", json!({"folder": "a&b"})),
        (&["conflicts", "show", "a b%\u{fc}"], "conflict", json!({"path": here("a b%\u{fc}")})),
        (
            &["conflicts", "resolve", "x", "--keep", "mine"],
            "resolve",
            json!({"path": here("x"), "keep": "mine", "with": null}),
        ),
        (
            &["conflicts", "resolve", "x", "--with", "m"],
            "resolve",
            json!({"path": here("x"), "keep": "merged", "with": {"path": here("m")}}),
        ),
        (
            &["trash", "restore", "x", "--to", "y"],
            "restore",
            json!({"id": null, "from": {"path": here("x")}, "to": {"path": here("y")}}),
        ),
        (&["trash", "restore", "--id", "t1"], "restore", json!({"id": "t1", "from": null})),
        (
            &["trash", "empty", "--older-than", "7d", "--folder", "w"],
            "empty_trash",
            json!({"folder": "w", "older_than_ms": 604_800_000}),
        ),
        (&["why", "x"], "why", json!({"path": here("x")})),
        (&["held", "approve", "h/1"], "approve", json!("h/1")),
        (&["held", "accept", "h/1"], "approve", json!("h/1")),
        (&["held", "reject", "h/1"], "reject", json!("h/1")),
        (&["events", "--since", "2"], "events", json!({"since": 2, "follow": false})),
    ];
    expect_asked(&fixture, &rows);
}

#[test]
fn exit_codes_and_sentences() {
    let fixture = Fixture::with_daemon();
    let own = fixture.run(&["id"]).out;
    let typo = DEVBOX.replacen("CEIRCEI", "CEIRCEA", 1);
    std::fs::write(fixture.path("bad"), "ok\n!\n").unwrap();
    for (args, exit, sentence, because) in [
        (&["folder", "pause", "gone"][..], 1, "no folder \"gone\"", "the daemon could not"),
        (&["pair", &typo], 2, "group 1 or 2 of the device id has", "a wrong digit"),
        (&["pair", &typo], 2, &format!("mean {DEVBOX}, which asks"), "it is near one that asks"),
        (&["pair", "devbox"], 2, "a device id has 56", "a name is no id yet"),
        (&["pair", own.trim()], 2, "this device's own id", "oneself"),
        (&["pair", DEVBOX, "--address", "box:1"], 2, "an address like", "no multiaddress"),
        (&["unpair", &typo], 2, "typing error", "whole ids are checked everywhere"),
        (&["flush", "--timeout", "soon"], 2, "duration", "no duration"),
        (&["flush", "--folder", "slow"], 4, "  devbox: 3 files to go", "the time is over"),
        (&["flush", "--folder", "full"], 5, "  b\\u{1b}[31m.txt", "a person is needed"),
        (&["folder", "accept", "full", "x"], 5, "say --prefer", "no terminal to ask at"),
        (&["folder", "set", "work"], 2, "required", "nothing to set"),
        (&["conflicts", "resolve", "x"], 2, "required", "how?"),
        (
            &["conflicts", "resolve", "x", "--keep", "mine", "--with", "y"],
            2,
            "cannot be used with",
            "one way only",
        ),
        (&["trash", "restore"], 2, "required", "what?"),
        (&["config", "set", "listn", "x"], 2, "did you mean 'listen'", "an unknown key"),
        (&["config", "set", "listen", "x"], 2, "bad value of 'listen'", "a bad value"),
        (&["ignore", "check", "--rules", "bad", "a"], 2, "bad line 2: there is no", "a bad rule"),
        (&["ignore", "check", "--rules", "none", "a"], 2, "cannot read the rule file", "no file"),
        (&["ignore", "check", "--rules", "bad"], 2, "required", "no path"),
        (&["nonsense"], 2, "unrecognized", "an unknown command"),
        (&[], 2, "Usage", "nothing"),
    ] {
        let said = fixture.run(args);
        assert_eq!(said.exit, exit, "{because}: {args:?} said {}", said.err);
        assert!(said.err.contains(sentence), "{because}: {args:?} said {}", said.err);
        assert_eq!(said.out, "", "{because}: {args:?}");
    }
}

#[test]
fn without_a_daemon_it_says_how_to_start_one() {
    let mut fixture = Fixture::without_daemon();
    let start = format!("start it with: syncd --home {}", fixture.home().display());
    let expect_none = |fixture: &Fixture, because: &str| {
        for args in [&["status"][..], &["folder", "add", "x"], &["flush"], &["events", "--follow"]]
        {
            let said = fixture.run(args);
            assert_eq!(said.exit, 3, "{because}: {args:?} said {}", said.err);
            assert!(said.err.contains(&start), "{because}: {}", said.err);
        }
    };
    expect_none(&fixture, "no socket");
    let socket = fixture.home().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    expect_none(&fixture, "a socket left behind by a kill");
    std::fs::remove_dir_all(fixture.home()).unwrap();
    expect_none(&fixture, "no home");
    fixture.stop();
}

#[test]
fn events_come_one_a_line_and_end_with_the_daemon() {
    let mut fixture = Fixture::with_daemon();
    let said = fixture.run(&["events", "--json"]);
    let ids: Vec<u64> = said
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, [1, 2, 3]);

    let mut follower = std::process::Command::new(env!("CARGO_BIN_EXE_syncctl"))
        .arg("--home")
        .arg(fixture.home())
        .args(["events", "--follow", "--json", "--since", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    for id in [2, 3] {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(event["id"], id);
        assert_eq!(event["time"], "2026-01-02T03:04:05Z");
        assert_eq!(event["path_hex"], "611b5b33316dff");
    }
    fixture.stop();
    assert!(lines.next().is_none(), "nothing more came");
    assert_eq!(follower.wait().unwrap().code(), Some(3), "the daemon is gone");
}

#[test]
fn a_watch_tells_a_change_once() {
    let mut fixture = Fixture::with_daemon();
    for (args, first) in [
        (&["status", "--watch"][..], "work: syncing, 25 files (1.0 MB) to come, 3 files to go to"),
        (&["status", "--watch", "--json"], "{\"device_id\""),
    ] {
        let mut watcher = std::process::Command::new(env!("CARGO_BIN_EXE_syncctl"))
            .arg("--home")
            .arg(fixture.home())
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(watcher.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        assert!(line.starts_with(first), "{args:?}: {line}");
        if args.len() == 2 {
            watcher.kill().unwrap();
            watcher.wait().unwrap();
        } else {
            fixture.stop();
            assert!(lines.next().is_none(), "nothing changed, so nothing more was told");
            assert_eq!(watcher.wait().unwrap().code(), Some(3), "the daemon is gone");
        }
    }
}
