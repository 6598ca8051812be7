//! What files may be called: any bytes, and how they are shown.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use syncd_integration::process::{Device, Pair, nodes, set_mtime, write};

use super::{Row, arrives_both_ways};

/// Makes a file of each name, its name for its content.
fn named(dir: &Path, names: &[&str]) {
    for name in names {
        write(&dir.join(name), name);
    }
}

/// The same for names that no text has.
fn called(dir: &Path, names: &[&[u8]]) {
    for name in names {
        write(&dir.join(OsStr::from_bytes(name)), name);
    }
}

const NAMES: &[Row] = &[
    ("names of 255 bytes", |d| named(d, &[&"n".repeat(255), &"ü".repeat(127), &"文".repeat(85)])),
    ("one byte", |d| named(d, &["a", "-", "~", "#", " ", "*", "?", "\\", "'", "\""])),
    ("every byte but the slash and the end", |d| {
        for byte in (1..=255_u8).filter(|byte| *byte != b'/') {
            write(&d.join(OsStr::from_bytes(&[b'x', byte, b'y'])), [byte]);
        }
    }),
    ("not UTF-8", |d| called(d, &[b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80"])),
    ("control characters", |d| {
        named(d, &["a\nb", "\n", "\r", "\t", "\u{1b}[31mred", "bell\u{7}", "del\u{7f}", "\u{9b}1m"])
    }),
    ("text that turns lines around", |d| named(d, &["\u{202e}gpj.exe", "\u{2066}x", "\u{feff}x"])),
    ("characters of many bytes", |d| named(d, &["👩‍👩‍👧‍👦", "العربية", "हिन्दी", "한글", "𝄞"])),
    ("one name composed and decomposed", |d| {
        named(d, &["é", "e\u{301}", "Å", "A\u{30a}", "\u{212b}"])
    }),
    ("names that differ in case", |d| {
        named(d, &["case", "Case", "CASE", "straße", "STRASSE", "ı", "i", "İ", "I"]);
        named(d, &["dir/x", "Dir/x", "DIR/y"]);
    }),
    ("reserved elsewhere", |d| {
        named(d, &["CON", "con.txt", "aux", "aux.txt", "NUL", "COM1", "LPT9.tar.gz", "COM¹"]);
        named(d, &["trailing.", "trailing ", " leading", "...", "a:b", "a\\b", "C:", "a|b<c>d"]);
        named(d, &["desktop.ini", "Thumbs.db", ".DS_Store", "Icon\r", "._x", "$RECYCLE.BIN/x"]);
    }),
    ("what a shell would take for more", |d| {
        named(d, &["-rf", "--help", "$(reboot)", "`x`", "a;b", "a&b", "*", "~root", "!x", "{a,b}"]);
    }),
    ("look-alikes of our own directory", |d| {
        named(d, &[".syncd/id", ".syncd/staging/x", ".SYNCD/x", ".syncd~", ".syncd.tmp", "syncd"]);
    }),
    ("look-alikes of our own staging and trash", |d| {
        let hex = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        named(d, &[hex, &format!("{hex}.part"), &format!("{hex}.1"), &format!("{hex}.1.aside")]);
        named(d, &["journal", "probe-a", "PROBE-CASE", "id", "cookie"]);
    }),
    ("look-alikes of conflict copies", |d| {
        named(d, &["a.sync-conflict-nothing.txt", ".sync-conflict-", "a.sync-conflict-.txt"]);
        named(d, &["a.sync-conflict-20260101-000000-ABC.txt", "sync-conflict-20260101"]);
    }),
    ("files of other synchronisers", |d| {
        named(d, &[".stfolder/x", ".stversions/x", ".syncthing.a.tmp", "~syncthing~a.tmp"]);
        named(d, &[".dropbox", ".unison.a.tmp", ".nextcloudsync.log", "a.partial", ".#a", "#a#"]);
    }),
];

#[test]
fn whatever_a_file_is_called_it_arrives() {
    arrives_both_ways(NAMES);
}

#[test]
fn twins_of_a_name_are_renamed_into_each_other() {
    let pair = Pair::new();
    for (here, _) in pair.sides() {
        for (from, to) in [("case", "Case"), ("\u{e9}", "e\u{301}"), ("x.", "x"), ("dir", "DIR")] {
            let because = format!("{from:?} became {to:?} on {}", here.name());
            match from {
                "dir" => write(&here.path("dir/inside"), "x"),
                _ => write(&here.path(from), here.name()),
            }
            here.flush();
            fs::rename(here.path(from), here.path(to)).unwrap();
            here.flush();
            pair.assert_equal(&because);
            assert!(here.path(to).exists() && !here.path(from).exists(), "{because}");
            let gone = if from == "dir" { fs::remove_dir_all } else { fs::remove_file };
            gone(here.path(to)).unwrap();
            write(&here.path("last"), &because);
            here.flush();
        }
    }
}

#[test]
fn our_own_name_in_any_case_is_left_alone_and_said_so() {
    let pair = Pair::new();
    write(&pair.laptop.path(".Syncd/inside"), "the user's");
    write(&pair.laptop.path("beside"), "x");
    pair.laptop.flush();
    assert!(pair.devbox.path("beside").is_file());
    assert!(!pair.devbox.path(".Syncd").exists());
    let text = fs::read_to_string(pair.laptop.path(".Syncd/inside")).unwrap();
    assert_eq!(text, "the user's");
    let path = pair.laptop.path(".Syncd/inside").display().to_string();
    let why = pair.laptop.ok(&["why", &path]);
    assert!(why.contains("syncd keeps its own things"), "{why}");
}

/// A name that would do harm on a terminal, and what stands for it.
const HARMFUL: &str = "evil\n\u{1b}[31m\u{202e}name";
const ESCAPED: &str = "evil\\u{a}\\u{1b}[31m\\u{202e}name";

/// Runs a command for people and asserts that nothing harmful comes out and the name is shown.
fn is_harmless(device: &Device, arguments: &[&OsStr], shows: bool) {
    let answer = device.ctl(arguments);
    let all = format!("{}{}", answer.stdout, answer.stderr);
    let harmful = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!all.contains(harmful), "{arguments:?}: {all:?}");
    assert!(!all.contains("evil\n"), "{arguments:?}: {all:?}");
    assert!(!shows || all.contains(ESCAPED), "{arguments:?}: {all:?}");
}

/// Tells whether some string in the answer is or contains `wanted`.
fn holds(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text.contains(wanted),
        Value::Array(list) => list.iter().any(|value| holds(value, wanted)),
        Value::Object(map) => map.values().any(|value| holds(value, wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[test]
fn harmful_names_are_escaped_wherever_they_are_shown() {
    let mut pair = Pair::new();
    write(&pair.laptop.path(HARMFUL), "base");
    write(&pair.laptop.path(OsStr::from_bytes(b"bytes-\xff")), "base");
    pair.laptop.flush();
    // A conflict, a version in the trash, a problem and an ignored file of that name.
    pair.devbox.stop();
    write(&pair.laptop.path(HARMFUL), "laptop");
    set_mtime(&pair.laptop.path(HARMFUL), 1_700_000_000, 0);
    write(&pair.devbox.path(HARMFUL), "devbox");
    set_mtime(&pair.devbox.path(HARMFUL), 1_700_000_001, 0);
    pair.devbox.start();
    pair.agree();
    let pipe = pair.laptop.path(format!("pipe-{HARMFUL}"));
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    write(&pair.laptop.path(".stignore"), "ignored-evil*\n");
    write(&pair.laptop.path(format!("ignored-{HARMFUL}")), "x");
    pair.laptop.ok(&["scan"]);
    pair.laptop.flush();
    let laptop = &pair.laptop;
    let path = laptop.path(HARMFUL);
    let copy = nodes(laptop.root()).into_keys();
    let copy: Vec<PathBuf> =
        copy.filter(|path| path.to_string_lossy().contains(".sync-conflict-")).collect();
    let copy = laptop.path(&copy[0]);
    let ignored = laptop.path(format!("ignored-{HARMFUL}"));
    let s = OsStr::new;
    for (arguments, shows) in [
        (vec![s("status")], true),
        (vec![s("events")], true),
        (vec![s("conflicts"), s("ls")], true),
        (vec![s("conflicts"), s("show"), path.as_os_str()], true),
        (vec![s("trash"), s("ls")], true),
        (vec![s("why"), path.as_os_str()], true),
        (vec![s("why"), copy.as_os_str()], true),
        (vec![s("why"), ignored.as_os_str()], true),
        (vec![s("why"), pipe.as_os_str()], true),
        (vec![s("flush")], false),
        (vec![s("ignore"), s("check"), s("--rules"), path.as_os_str(), s("x")], false),
        (vec![s("folder"), s("add"), path.as_os_str()], false),
        (vec![s("trash"), s("restore"), pipe.as_os_str()], false),
        (vec![s("conflicts"), s("resolve"), ignored.as_os_str(), s("--keep"), s("mine")], false),
    ] {
        is_harmless(laptop, &arguments, shows);
    }
    // Programs get the very name, or its bytes.
    for command in [&["conflicts", "ls"][..], &["trash", "ls"], &["events"]] {
        let text = laptop.ok(&[command, &["--json"]].concat());
        let found = text.lines().any(|line| {
            serde_json::from_str::<Value>(line).is_ok_and(|value| holds(&value, HARMFUL))
        });
        let whole = serde_json::from_str::<Value>(&text).is_ok_and(|value| holds(&value, HARMFUL));
        assert!(found || whole, "{command:?}: {text}");
        let one_line = text.chars().all(|c| !c.is_control() || c == '\n');
        assert!(one_line && !text.contains('\u{202e}'), "{command:?}: {text:?}");
    }
    let bytes = laptop.path(OsStr::from_bytes(b"bytes-\xff"));
    let why = laptop.ok(&[s("why"), bytes.as_os_str(), s("--json")]);
    let why: Value = serde_json::from_str(&why).unwrap();
    assert_eq!(why["path_hex"], "62797465732dff", "{why}");
    assert_eq!(why["path"], "bytes-\\xff", "{why}");
}
