//! Names that steer a terminal: whoever chose them, nothing that syncd prints or logs does so.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use syncd_core::model::shown::is_harmful;
use syncd_core::model::{FolderId, StoreId};
use syncd_core::protocol::{Frame, Ready};
use syncd_integration::hostile::{Forger, Hostile, Lane, Session, Siege, WAIT_MAX, id};
use syncd_integration::process::{Answer, Device, FOLDER, Listen, Scratch, eventually, write};

/// Names of files, each with what it would do.
const NAMES: [(&str, &str); 5] = [
    ("esc\x1b]0;owned\x07.txt", "names the window"),
    ("line\nsyncctl: all is well", "adds a line"),
    ("\u{202e}gpj.exe", "is read from the right"),
    ("c1\u{9b}2J", "clears the screen, in one character"),
    ("back\r\x08\x08over", "writes over what stands there"),
];

/// What makes a name of something else hostile.
const TAIL: &str = "\x1b[2J\u{202e}\n";

/// Commands, and whether they speak of one of the names.
const COMMANDS: [(&[&str], bool); 20] = [
    (&["status"], true),
    (&["status", "--json"], true),
    (&["devices"], false),
    (&["pending"], true),
    (&["folder", "ls"], true),
    (&["folder", "ls", "--json"], false),
    (&["conflicts", "ls"], true),
    (&["conflicts", "ls", "--json"], true),
    (&["trash", "ls"], true),
    (&["held", "ls"], true),
    (&["held", "ls", "--json"], true),
    (&["events"], true),
    (&["events", "--json"], true),
    (&["doctor"], false),
    (&["report"], false),
    (&["scan"], false),
    (&["verify"], false),
    (&["flush", "--device", "honest", "--timeout", "2m"], true),
    (&["config", "get", "name"], false),
    (&["status", TAIL], true),
];

#[test]
fn no_name_of_anybody_steers_a_terminal() {
    // What the peer offers is there as long as it is.
    let (siege, _session) = besieged();
    let victim = &siege.victim;
    let mut faults = Vec::new();
    for (command, speaks) in COMMANDS {
        let answer = victim.ctl(command);
        let said = harmless(&format!("{command:?}"), &answer);
        if says_one(&said) != speaks {
            faults.push(format!("{command:?} speaks of one, or does not: {said}"));
        }
    }
    for (name, does) in NAMES {
        let path = victim.path(name).display().to_string();
        let foreign = format!("nothing{TAIL}");
        for command in [
            &["why", &path][..],
            &["conflicts", "show", &path],
            &["why", "--json", &path],
            &["ignore", "check", "--rules", "/dev/null", name],
            &["why", &foreign],
            &["trash", "restore", &foreign],
            &["folder", "rm", &foreign],
            &["unpair", &foreign],
            &["pair", &foreign],
            &["folder", "add", &path, "--id", &foreign],
            &["conflicts", "resolve", &foreign, "--keep", "mine"],
            &["verify", "--folder", &foreign],
            &["events", "--since", &foreign],
            &[&foreign],
        ] {
            let said = harmless(&format!("{command:?}, which {does}"), &victim.ctl(command));
            if !says_one(&said) {
                faults.push(format!("{command:?} does not speak of it: {said}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_harmless("the log", &std::fs::read_to_string(victim.log_path()).unwrap());
}

#[test]
fn no_name_steers_through_the_log() {
    let scratch = Scratch::new();
    let dir = scratch.path().join(format!("dir{TAIL}"));
    std::fs::create_dir(&dir).unwrap();
    for format in ["text", "json"] {
        let mut device = Device::init(&dir, format, Listen::Port);
        device.with_words(&["--log-format", format]);
        device.start();
        device.stop();
        let log = std::fs::read_to_string(device.log_path()).unwrap();
        assert_harmless(format, &log);
        assert!(says_one(&log), "it names its home: {log}");
    }
}

/// A victim whose folder has hostile names of all kinds, of its own user and of a peer.
fn besieged() -> (Siege, Session) {
    let siege = Siege::new();
    let victim = &siege.victim;
    write(&victim.path(".stignore"), "*.key\n");
    for (name, _) in NAMES {
        write(&victim.path(name), "ours");
    }
    write(&victim.path(OsStr::from_bytes(b"raw\xff\x9b2J")), "ours");
    let socket = victim.path(format!("socket{TAIL}"));
    drop(std::os::unix::net::UnixListener::bind(socket).unwrap());
    // Rules of others wait for a person once the folder has been in sync.
    write(&siege.honest.path("plain"), "theirs");
    siege.honest.ok(&["flush", "--device", "victim", "--timeout", "2m"]);
    siege.settle();
    let mut forger = Forger::new(siege.hostile.id());
    let mut session = siege.session();
    let mut joined = session.join(FOLDER, 1);
    let rows = NAMES.map(|(name, _)| forger.file(name, b"theirs"));
    session.send_offer(&joined.offer(rows.into(), &[b"theirs"]));
    eventually(WAIT_MAX, "each is in conflict", || {
        let found = victim.json(&["conflicts", "ls"]);
        let count = found.as_array().map_or(0, Vec::len);
        if count >= NAMES.len() { Ok(()) } else { Err(found.to_string()) }
    });
    let gone = forger.file(&format!("gone{TAIL}"), b"gone");
    session.send_offer(&joined.offer(vec![gone.clone()], &[b"gone"]));
    eventually(WAIT_MAX, "it comes", || {
        let path = victim.path(format!("gone{TAIL}"));
        std::fs::read(path).map(|_| ()).map_err(|error| error.to_string())
    });
    is_there(victim, &["trash", "ls"], "gone", || {
        let gone = forger.deleted(&gone);
        session.send_offer(&joined.offer(vec![gone], &[]));
    });
    let listed = session.list(FOLDER).unwrap().records;
    let rules = listed.into_iter().find(|(path, _)| path.to_string() == ".stignore").unwrap();
    let text = "!held\x1b]0;owned\x07\u{202e}\n";
    let wider = Forger::above(forger.file(".stignore", text.as_bytes()), &rules);
    session.send_offer(&joined.offer(vec![wider], &[text.as_bytes()]));
    is_there(victim, &["held", "ls"], "held", || {});
    let offered = Ready {
        folder: FolderId::parse("offered").unwrap(),
        label: format!("label{TAIL}"),
        single_file: None,
        epoch: 0,
        store: StoreId(1),
        cursor: None,
        seen_of_you: Vec::new(),
    };
    session.send(Lane::Interactive, &Frame::Ready(offered));
    is_there(victim, &["folder", "ls"], "label", || {});
    knock(victim);
    (siege, session)
}

/// Leaves the card of a stranger whose name steers.
fn knock(victim: &Device) {
    let stranger = Hostile::before(id(victim), 9);
    let name = format!("evil{TAIL}");
    let (name_len, card_len) = (name.len() as u16, name.len() as u16 + 4);
    let mut wire = stranger.try_dial(id(victim), &victim.address()).unwrap();
    let mut stream = wire.open("/syncd/pair/1").unwrap();
    let card = [&card_len.to_le_bytes()[..], &[1], &name_len.to_le_bytes(), name.as_bytes(), &[0]];
    wire.write(&mut stream, &card.concat());
    is_there(victim, &["pending"], "evil", || {});
}

/// Waits until a command speaks of something that `make` brings about.
fn is_there(victim: &Device, command: &[&str], what: &str, mut make: impl FnMut()) {
    make();
    eventually(WAIT_MAX.max(Duration::from_secs(60)), what, || {
        let said = victim.ok(command);
        if said.contains(what) { Ok(()) } else { Err(said) }
    });
}

/// Tells whether a text speaks of something with a name that steers.
fn says_one(text: &str) -> bool {
    ["\\u{", "\\u0", "\\u202e", "\\n", "\\r"].iter().any(|escape| text.contains(escape))
}

/// Returns what was said, none of which may steer.
#[track_caller]
fn harmless(what: &str, answer: &Answer) -> String {
    let said = answer.stdout.clone() + &answer.stderr;
    assert_harmless(what, &said);
    said
}

#[track_caller]
fn assert_harmless(what: &str, text: &str) {
    let raw = |line: &&str| line.chars().any(|c| c != '\t' && is_harmful(c));
    let bad: Vec<&str> = text.split('\n').filter(raw).collect();
    assert!(bad.is_empty(), "{what}: {bad:?}");
    let faked = text.lines().any(|line| line.starts_with("syncctl: all is well"));
    assert!(!faked, "{what}: a name made a line of its own:\n{text}");
}
