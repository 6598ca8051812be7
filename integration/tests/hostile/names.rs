//! Files that are read by programs: hooks of git, and rule files that open doors.

use std::fs;

use syncd_core::protocol::{Body, Frame};
use syncd_integration::hostile::{Forger, Lane, Siege, whole};
use syncd_integration::process::{FOLDER, eventually, write};

use crate::RESIDENT_BYTES_MAX;

#[test]
fn hooks_and_settings_of_git_are_not_taken() {
    let mut siege = Siege::new();
    write(&siege.victim.path(".stignore"), "!.git\n");
    fs::create_dir_all(siege.victim.path("repo/.git/hooks")).unwrap();
    siege.settle();
    let mut forger = Forger::new(siege.hostile.id());
    let mut session = siege.session();
    let mut joined = session.join(FOLDER, 1);
    let evil: &[u8] = b"#!/bin/sh\ntouch /tmp/evil\n";
    let paths = [
        "repo/.git/hooks/post-checkout",
        "repo/.git/config",
        "repo/.git/config.worktree",
        "repo/.git/modules/sub/hooks/pre-commit",
        "repo/.git/modules/sub/config",
    ];
    let mut rows = vec![forger.directory("repo"), forger.directory("repo/.git")];
    rows.extend(paths.map(|path| forger.file(path, evil)));
    session.send_offer(&joined.offer(rows, &[evil]));
    let last = forger.file("repo/after", b"after");
    session.send_offer(&joined.offer(vec![last], &[b"after"]));
    eventually(syncd_integration::hostile::WAIT_MAX, "what is no hook arrives", || {
        fs::read(siege.victim.path("repo/after")).map(|_| ()).map_err(|e| e.to_string())
    });
    siege.assert_unharmed("hooks of git", RESIDENT_BYTES_MAX);
    for path in paths {
        assert!(!siege.victim.path(path).exists(), "{path} would be run, or names what is");
        assert!(!siege.honest.path(path).exists(), "{path} is not handed on");
    }
}

#[test]
fn rules_of_a_peer_open_no_door() {
    let mut siege = Siege::new();
    let outside = siege.outside.root().display().to_string();
    write(&siege.victim.path(".stignore"), ".env\n*.key\n");
    write(&siege.victim.path(".env"), "KEY=1\n");
    write(&siege.victim.path("id.key"), "PRIVATE\n");
    write(&siege.victim.path("shared"), "for all");
    siege.settle();
    let mut forger = Forger::new(siege.hostile.id());
    for (text, because) in [
        ("!.env\n!*.key\n".to_owned(), "what is ignored is let through"),
        (String::new(), "no rule at all"),
        (format!("#include {outside}/rules\n.env\n*.key\n"), "rules from outside"),
        ("#include ../outside/rules\n.env\n*.key\n".to_owned(), "rules from outside, by dots"),
        ("#include .syncd/id\n.env\n*.key\n".to_owned(), "rules from our own files"),
        (format!("{}\n", "[".repeat(15_000)), "a rule that is all brackets"),
        (format!("{}x\n", "**/*a".repeat(2_500)), "a rule that takes for ever"),
    ] {
        let mut session = siege.session();
        let mut joined = session.join(FOLDER, 1);
        let listed = session.list(FOLDER).unwrap().records;
        let before = listed.into_iter().find(|(path, _)| path.to_string() == ".stignore").unwrap();
        let rules = Forger::above(forger.file(".stignore", text.as_bytes()), &before);
        session.send_offer(&joined.offer(vec![rules], &[text.as_bytes()]));
        siege.assert_unharmed(because, RESIDENT_BYTES_MAX);
        for (path, bytes) in [(".env", &b"KEY=1\n"[..]), ("id.key", b"PRIVATE\n")] {
            let had = session.want(FOLDER, whole(path, bytes));
            assert_eq!(had, Some(Body::NotThere), "{because}: {path} is given away");
            assert!(!siege.honest.path(path).exists(), "{because}: {path} went out");
        }
        let listed = session.list(FOLDER).unwrap();
        let shown = |path: &str| listed.records.iter().any(|(at, _)| at.to_string() == path);
        assert!(!shown(".env") && !shown("id.key"), "{because}: {listed:?}");
        session.send(Lane::Interactive, &Frame::Unready { folder: joined.tag.folder.clone() });
    }
}
