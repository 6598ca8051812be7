//! Asking for what is not shared: nothing of it is said, not even that it is there.

use std::fs;
use std::time::Duration;

use syncd_core::model::{ContentId, Kind};
use syncd_core::protocol::{Body, Frame, Need, Ready, WantedItem};
use syncd_integration::hostile::{Forger, Lane, PRIVATE, SECRET, Siege, whole};
use syncd_integration::process::{FOLDER, eventually, write};

use crate::RESIDENT_BYTES_MAX;

#[test]
fn nothing_is_told_of_what_is_not_shared() {
    let mut siege = Siege::new();
    write(&siege.victim.path("shared"), "for all");
    write(&siege.victim.path(".git/config"), "[remote]\n\turl = https://user:token@host\n");
    write(&siege.victim.path(".stignore"), ".env\n");
    write(&siege.victim.path(".env"), "KEY=1\n");
    siege.settle();
    let mut session = siege.session();
    session.join(FOLDER, 1);
    let blocks = WantedItem { need: Need::Blocks, ..whole("secret", SECRET) };
    let range = Need::Ranges(vec![(0, u32::try_from(SECRET.len()).unwrap())]);
    let range = WantedItem { need: range, ..whole("secret", SECRET) };
    let link = WantedItem { kind: Kind::Symlink, ..whole("secret", SECRET) };
    let outside = fs::read(siege.outside.root().join("secret")).unwrap();
    for (folder, item, because) in [
        (PRIVATE, whole("secret", SECRET), "a folder that others are given"),
        (PRIVATE, blocks.clone(), "its blocks"),
        (PRIVATE, range.clone(), "a part of it"),
        ("nowhere", whole("secret", SECRET), "a folder that is not there"),
        (FOLDER, whole("secret", SECRET), "its content, under a folder that is shared"),
        (FOLDER, blocks, "whose block list is known"),
        (FOLDER, range, "whose hash is known"),
        (FOLDER, link, "as a link"),
        (FOLDER, whole(".env", b"KEY=1\n"), "what is ignored"),
        (FOLDER, whole(".stignore.local", b""), "rules of this device"),
        (FOLDER, whole("secret", &outside), "a file outside, by its content"),
        (
            FOLDER,
            whole(".git/config", b"[remote]\n\turl = https://user:token@host\n"),
            "settings of git, which may hold passwords",
        ),
    ] {
        assert_eq!(session.want(folder, item), Some(Body::NotThere), "{because}");
    }
    let shared = session.want(FOLDER, whole("shared", b"for all"));
    assert_eq!(shared, Some(Body::Whole(b"for all".to_vec())), "what is shared is had");
    for (folder, because) in [(PRIVATE, "given to others"), ("nowhere", "not there")] {
        let listed = session.list(folder).unwrap();
        assert!(listed.records.is_empty() && listed.next.is_none(), "{because}: {listed:?}");
    }
    let told: Vec<_> = session.ready.iter().map(|ready| ready.folder.to_string()).collect();
    assert_eq!(told, [FOLDER], "nothing is said of other folders");
    siege.assert_unharmed("asking for what is not shared", RESIDENT_BYTES_MAX);
}

#[test]
fn a_folder_that_is_not_shared_takes_nothing() {
    let mut siege = Siege::new();
    let mut session = siege.session();
    let joined = session.join(FOLDER, 1);
    let private = siege.aside("victim-private");
    for epoch in [1, 2] {
        let folder = syncd_core::model::FolderId::parse(PRIVATE).unwrap();
        let ready = Ready { folder: folder.clone(), epoch, ..joined.ready.clone() };
        session.send(Lane::Interactive, &Frame::Ready(ready));
        for to in 0..8 {
            let mut forged = joined.clone();
            forged.tag.folder = folder.clone();
            (forged.tag.from, forged.tag.to) = (epoch, to);
            let record = Forger::new(siege.hostile.id()).file("planted", b"evil");
            session.send(Lane::Interactive, &forged.offer(vec![record], &[b"evil"]));
        }
    }
    // It was all read before the next offer, which is taken.
    let mut joined = joined;
    let record = Forger::new(siege.hostile.id()).file("taken", b"good");
    assert!(session.settled(&joined.offer(vec![record], &[b"good"])));
    assert!(siege.victim.path("taken").exists() && !private.join("planted").exists());
    siege.assert_unharmed("offers for a folder of others", RESIDENT_BYTES_MAX);
    assert!(!private.join("planted").exists());
}

#[test]
fn a_folder_that_is_shared_no_longer_says_and_takes_nothing() {
    let mut siege = Siege::new();
    write(&siege.victim.path("shared"), "for all");
    siege.settle();
    let mut session = siege.session();
    let mut joined = session.join(FOLDER, 1);
    let first = session.want(FOLDER, whole("shared", b"for all"));
    assert_eq!(first, Some(Body::Whole(b"for all".to_vec())));
    siege.victim.ok(&["folder", "unshare", FOLDER, "--with", "hostile"]);
    let mut forger = Forger::new(siege.hostile.id());
    // The command returns before the session has heard of it, at most a moment.
    eventually(Duration::from_secs(60), "nothing is given any more", || {
        match session.want(FOLDER, whole("shared", b"for all")) {
            Some(Body::NotThere) | None => Ok(()),
            had => Err(format!("{had:?}")),
        }
    });
    let record = forger.file("planted", b"evil");
    session.send(Lane::Interactive, &joined.offer(vec![record], &[b"evil"]));
    if let Some(listed) = session.list(FOLDER) {
        assert!(listed.records.is_empty(), "{listed:?}");
    }
    siege.assert_unharmed("a peer that was shared with before", RESIDENT_BYTES_MAX);
    assert!(!siege.victim.path("planted").exists());
}

#[test]
fn a_hash_alone_is_no_key() {
    let mut siege = Siege::new();
    let mut session = siege.session();
    let mut joined = session.join(FOLDER, 1);
    // It knows what the secret is, or guesses, and lets the victim find it on its own disk.
    let record = Forger::new(siege.hostile.id()).file("claimed", SECRET);
    session.send(Lane::Interactive, &joined.offer(vec![record], &[]));
    let asked = session.find(Lane::Bulk, |frame| {
        let Frame::Want(want) = frame else { return None };
        want.items.iter().any(|item| item.content == ContentId::of(SECRET)).then_some(())
    });
    assert_eq!(asked, Some(()), "the victim asks the peer that offers it");
    let had = session.want(FOLDER, whole("claimed", SECRET));
    assert_eq!(had, Some(Body::NotThere), "it has not got it");
    drop(session);
    siege.assert_unharmed("a content that another folder has", RESIDENT_BYTES_MAX);
    assert!(!siege.victim.path("claimed").exists());
}
