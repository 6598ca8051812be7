//! What works on the home alone.

use serde_json::{Value, json};
use syncd_core::model::DeviceId;

use super::{Fixture, command};

#[test]
fn some_things_need_no_daemon() {
    let fixture = Fixture::without_daemon();
    let said = fixture.run(&["id"]);
    let id = DeviceId::parse(&said.out).unwrap();
    assert_eq!(said.out, format!("{id}\n"), "the bare id");
    let told = fixture.json(&["id"]);
    let expected = json!({"device_id": id.to_string(), "peer_id": id.peer_id(), "name": "laptop"});
    assert_eq!(told, expected);

    let again = fixture.run(&["init", "--name", "other"]);
    assert_eq!((again.exit, again.out), (0, said.out), "the same id as before");
    assert_eq!(fixture.run(&["config", "get", "name"]).out, "other\n");

    let picture = fixture.run(&["id", "--qr"]).out;
    assert!(picture.contains('\u{2588}') && picture.ends_with(&format!("{id}\n")), "{picture}");

    assert_eq!(fixture.run(&["config", "set", "listen", "/ip4/127.0.0.1/tcp/1"]).exit, 0);
    assert_eq!(fixture.run(&["config", "get", "listen"]).out, "/ip4/127.0.0.1/tcp/1\n");
    assert_eq!(fixture.run(&["config", "set", "listen", "[]"]).exit, 0);
    assert_eq!(fixture.run(&["config", "get", "listen"]).out, "", "no values, no lines");
    assert_eq!(fixture.run(&["config", "unset", "listen"]).exit, 0);
    assert!(fixture.run(&["config", "get", "listen"]).out.contains("24110"));

    let fresh = command(&fixture.path("fresh")).arg("id").output().unwrap();
    assert_eq!(fresh.status.code(), Some(1));
    let said = String::from_utf8_lossy(&fresh.stderr).into_owned();
    let init = format!("syncctl --home {} init", fixture.path("fresh").display());
    assert!(said.contains(&init), "what is typed next names the home: {said}");

    for shell in ["bash", "zsh", "fish"] {
        assert!(fixture.run(&["completions", shell]).out.contains("starter-ignores"), "{shell}");
    }
    assert_eq!(fixture.run(&["man", "man1"]).exit, 0);
    for page in ["syncctl.1", "syncctl-status.1", "syncctl-folder-accept.1"] {
        assert!(fixture.path("man1").join(page).is_file(), "{page}");
    }
    assert!(fixture.run(&["--version"]).out.starts_with("syncctl 0."));
    assert!(fixture.run(&["--help"]).out.contains("laptop$ syncctl folder add"));
}

#[test]
fn a_home_comes_from_the_option_or_the_variable_unless_it_is_empty() {
    let fixture = Fixture::without_daemon();
    let id = fixture.run(&["id"]).out;
    let (own, usual) = (fixture.home(), fixture.path("usual"));
    syncd_home::Home::at(&usual.join(".local/state/syncd")).init(None).unwrap();
    for (variable, is_own, because) in [
        (own.to_str().unwrap(), true, "the variable names it"),
        ("", false, "an empty variable is none"),
    ] {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_syncctl"));
        let command = command.env_clear().env("HOME", &usual).env("SYNCD_HOME", variable);
        let said = command.arg("id").output().unwrap();
        let out = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.status.success(), "{because}: {}", String::from_utf8_lossy(&said.stderr));
        assert_eq!(out == id, is_own, "{because}: {out}");
    }
}

#[test]
fn help_is_a_command_too() {
    let fixture = Fixture::without_daemon();
    for (words, said, because) in [
        (&["help"][..], "Keeps folders identical", "of all"),
        (&["help", "trash"], "syncctl trash restore", "of one, with its examples"),
        (&["help", "trash", "ls"], "List what can be brought back", "of one below it"),
        (&["help", "conflicts", "ls"], "List the conflict copies", "its own words"),
        (&["help", "held", "ls"], "List what waits", "and its own here"),
    ] {
        let help = fixture.run(words);
        assert_eq!(help.exit, 0, "{because}: {}", help.err);
        assert!(help.out.contains(said), "{because}: {}", help.out);
    }
    assert_eq!(fixture.run(&["help", "nonsense"]).exit, 2);
}

#[test]
fn ignore_check_tells_line_and_file() {
    let fixture = Fixture::without_daemon();
    let work = fixture.path("work");
    std::fs::create_dir_all(work.join("sub/dir")).unwrap();
    std::fs::write(work.join(".stignore"), "!/keep.log\n*.log\n#include more\n#gitignore\n")
        .unwrap();
    std::fs::write(work.join("more"), "// said once more\n/target\n").unwrap();
    std::fs::write(work.join("sub/.gitignore"), "dir/\n").unwrap();
    let rules = work.join(".stignore");
    let rules = rules.to_str().unwrap();
    for (path, verdict, file, line, because) in [
        ("a.log", "ignored", json!(".stignore"), json!(2), "a pattern"),
        ("keep.log", "synced", json!(".stignore"), json!(1), "an exception"),
        ("src/main.rs", "synced", json!(null), json!(null), "no line speaks of it"),
        ("target/debug", "ignored", json!("more"), json!(2), "an included file"),
        ("sub/dir", "ignored", json!("sub/.gitignore"), json!(1), "git's rules, on a directory"),
        ("./a.log", "ignored", json!(".stignore"), json!(2), "a dot says nothing"),
        ("none/", "synced", json!(null), json!(null), "a directory that is not there"),
    ] {
        let args = ["ignore", "check", "--rules", rules, path];
        let told = fixture.json(&args);
        let expected = json!({"path": path, "verdict": verdict, "file": file, "line": line});
        assert_eq!(told, expected, "{because}");
        let said = fixture.run(&args);
        assert!(said.out.starts_with(&format!("{path}: {verdict}")), "{because}: {}", said.out);
    }
    let many = ["ignore", "check", "--rules", rules, "--json", "a.log", "b"];
    assert_eq!(fixture.run(&many).out.lines().count(), 2, "one object a line");
    let whole = work.join("a.log");
    let inside = ["ignore", "check", "--rules", rules, whole.to_str().unwrap()];
    assert!(fixture.run(&inside).out.contains("ignored by line 2"), "a whole path inside");
    let outside = fixture.run(&["ignore", "check", "--rules", rules, "../a"]);
    assert_eq!(outside.exit, 2, "{}", outside.err);

    // From elsewhere the includes are looked up in the root.
    std::fs::write(fixture.path("rules"), "#include more\n").unwrap();
    let args = ["ignore", "check", "--rules", "rules", "--root", "work", "target"];
    assert_eq!(fixture.json(&args)["file"], "more");
    let args = ["ignore", "check", "--rules", "rules", "target"];
    let said = fixture.run(&args);
    assert_eq!(said.exit, 2, "{}", said.err);
    assert!(said.err.contains("rules line 1: the included file 'more' is missing"), "{}", said.err);
}

#[test]
fn the_doctor_finds_what_is_wrong_and_says_how_to_mend_it() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::without_daemon();
    // Ports of our own, so that no other program's are in the way.
    assert_eq!(fixture.run(&["config", "set", "listen", "[]"]).exit, 0);
    let verdict = |findings: &Value, check: &str| {
        let found = findings.as_array().unwrap().iter().find(|f| f["check"] == check);
        found.unwrap_or_else(|| panic!("no {check} in {findings:#}"))["verdict"].clone()
    };
    let findings = fixture.json(&["doctor"]);
    for (check, expected) in
        [("home", "good"), ("key", "good"), ("settings", "good"), ("daemon", "warning")]
    {
        assert_eq!(verdict(&findings, check), expected, "{check}: {findings:#}");
    }

    let key = fixture.home().join("identity.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = fixture.run(&["doctor"]);
    assert_eq!(said.exit, 1, "{}", said.out);
    assert!(said.out.contains("doctor --fix"), "{}", said.out);
    assert!(said.err.contains("key must be mended"), "{}", said.err);
    let said = fixture.run(&["doctor", "--fix"]);
    assert_eq!(said.exit, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("identity.key had mode 644 and has 600 now"), "{}", said.out);
    let said = fixture.run(&["doctor", "--fix"]);
    assert!(!said.out.contains("mended"), "nothing is left to mend: {}", said.out);

    std::fs::write(fixture.home().join("config.toml"), "lisen = []\n").unwrap();
    let said = fixture.run(&["doctor"]);
    assert_eq!(said.exit, 1, "{}", said.out);
    assert!(said.out.contains("did you mean 'listen'"), "{}", said.out);
}

#[test]
fn only_what_was_typed_is_wrong_usage() {
    let fixture = Fixture::without_daemon();
    let settings = fixture.home().join("config.toml");
    for (text, args, exit, because) in [
        ("", &["config", "get", "lisen"][..], 2, "a key nobody knows was typed"),
        ("", &["config", "set", "topology", "star"], 2, "a bad value was typed"),
        ("lisen = []\n", &["config", "get", "listen"], 1, "an unknown key lies in the file"),
        ("lisen = []\n", &["config", "set", "name", "x"], 1, "nor is anything written beside it"),
        ("topology = 'star'\n", &["id", "--json"], 1, "a bad value lies in the file"),
        ("name =\n", &["config", "get", "name"], 1, "the file is no TOML"),
    ] {
        std::fs::write(&settings, text).unwrap();
        let said = fixture.run(args);
        assert_eq!(said.exit, exit, "{because}: {}", said.err);
        assert_eq!(said.out, "", "{because}");
        assert_eq!(std::fs::read_to_string(&settings).unwrap(), text, "{because}");
    }
}

#[test]
fn a_mistyped_id_of_a_paired_device_says_which_it_is() {
    let fixture = Fixture::without_daemon();
    let [paired, other] = [DeviceId([7; 32]), DeviceId([200; 32])];
    let (peer_id, id) = (paired.peer_id(), paired.to_string());
    let settings = format!("[[device]]\nid = \"{id}\"\nname = \"devbox\"\n");
    std::fs::write(fixture.home().join("config.toml"), settings).unwrap();
    let wrong = |id: &str, places: &[usize]| -> String {
        let other = |c: char| if c == 'X' { 'Y' } else { 'X' };
        let at = |(at, c): (usize, char)| if places.contains(&at) { other(c) } else { c };
        id.chars().enumerate().map(at).collect()
    };
    let near = "did you mean 'devbox'?";
    let nobody = "print it there with: syncctl id";
    for (typed, said, because) in [
        (wrong(&id, &[2]), near, "one character is wrong"),
        (wrong(&id, &[2, 40]), near, "two are"),
        (wrong(&id, &[2, 20, 40]), nobody, "three are: it may be any"),
        (wrong(&other.to_string(), &[2]), nobody, "it is near a device that is not paired"),
        (format!("{peer_id}1"), near, "a PeerId with one too many"),
    ] {
        for command in [
            &["unpair", &typed][..],
            &["flush", "--device", &typed],
            &["folder", "add", "work", "--with", &typed],
            &["folder", "share", "work", "--with", &typed],
            &["devices", "rename", &typed, "box"],
            &["devices", "address", &typed],
        ] {
            let answer = fixture.run(command);
            assert_eq!((answer.exit, answer.out.as_str()), (2, ""), "{because}: {}", answer.err);
            assert!(answer.err.contains(said), "{because}: {command:?}: {}", answer.err);
            let verdict = if typed.starts_with("12D3") { "whole PeerId" } else { "group 1 or 2" };
            assert!(answer.err.contains(verdict), "{because}: {}", answer.err);
        }
    }
}
