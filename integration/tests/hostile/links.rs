//! Symlinks, planted and swapped: no way leads through one.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use syncd_core::protocol::Body;
use syncd_integration::hostile::{Forger, Siege, traced, whole};
use syncd_integration::process::{FOLDER, can_use};

use crate::RESIDENT_BYTES_MAX;

/// Calls that name a path, and those that write.
const CALLS: &str = "trace=%file,open,openat,openat2,creat,unlinkat,renameat,renameat2,linkat,\
                     symlinkat,mkdirat,fchmodat,utimensat,truncate,ftruncate,mknodat";

#[test]
fn nothing_outside_is_reached_through_planted_links() {
    if !can_use(&["strace"]) {
        return;
    }
    let mut log = std::path::PathBuf::new();
    let mut siege = Siege::laid(|dir| {
        log = dir.join("strace.log");
        let words = ["strace", "-D", "-f", "-qq", "-y", "-s", "4096", "-e", CALLS, "-o"];
        let words = words.into_iter().map(str::to_owned);
        words.chain([log.display().to_string()]).collect()
    });
    let outside = siege.outside.root().display().to_string();
    let mut forger = Forger::new(siege.hostile.id());
    let mut session = siege.session();
    let mut joined = session.join(FOLDER, 1);

    // A link, and then a file "in" it, in one offer and in two.
    let door = forger.symlink("door", &outside);
    let through = forger.file("door/evil", b"evil");
    session.send_offer(&joined.offer(vec![door, through], &[outside.as_bytes(), b"evil"]));
    let second = forger.symlink("second", &outside);
    session.send_offer(&joined.offer(vec![second], &[outside.as_bytes()]));
    let through = forger.file("second/f", b"evil");
    session.send_offer(&joined.offer(vec![through], &[b"evil"]));

    // A directory with a file, which becomes a link, and then the file is deleted.
    let dir = forger.directory("d");
    let file = forger.file("d/f", b"mine");
    assert!(session.settled(&joined.offer(vec![dir.clone(), file.clone()], &[b"mine"])));
    let link = Forger::above(forger.symlink("d", &outside), &dir);
    session.send_offer(&joined.offer(vec![link], &[outside.as_bytes()]));
    let gone = forger.deleted(&file);
    session.send_offer(&joined.offer(vec![gone], &[]));

    // A link to a secret, which is then asked for as a file.
    let secret = format!("{outside}/secret");
    let leak = forger.symlink("leak", &secret);
    assert!(session.settled(&joined.offer(vec![leak], &[secret.as_bytes()])));
    let bytes = fs::read(&secret).unwrap();
    assert_eq!(session.want(FOLDER, whole("leak", &bytes)), Some(Body::NotThere));
    assert_eq!(session.want(FOLDER, whole("leak/secret", &bytes)), Some(Body::NotThere));

    drop(session);
    siege.assert_unharmed("planted links", RESIDENT_BYTES_MAX);
    siege.victim.stop();
    let reached = traced(&log, &[siege.outside.root()]);
    // The test itself read the tree, the daemon must not have named it.
    assert!(reached.is_empty(), "{reached:#?}");
}

#[test]
fn a_directory_that_is_swapped_for_a_link_while_files_come_leads_nowhere() {
    const FILES: u64 = 400;
    let mut siege = Siege::new();
    let outside = siege.outside.root().to_path_buf();
    let mut forger = Forger::new(siege.hostile.id());
    let mut session = siege.session();
    let mut joined = session.join(FOLDER, 1);
    let dir = forger.directory("swap");
    assert!(session.settled(&joined.offer(vec![dir], &[])));

    let (over, swap, aside) =
        (AtomicBool::new(false), siege.victim.path("swap"), siege.aside("victim-swapped"));
    thread::scope(|scope| {
        // Another program of this machine, which the peer may well be able to start.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // Each may fail: the daemon works on the same names.
                let _ = fs::rename(&swap, &aside);
                let _ = symlink(&outside, &swap);
                thread::yield_now();
                let _ = fs::remove_file(&swap);
                let _ = fs::rename(&aside, &swap);
                thread::yield_now();
            }
        });
        for at in 0..FILES {
            let text = format!("evil {at}");
            // Names that lie outside, and new ones.
            let name = ["f", "secret", "evil", "d/f"].get(usize::try_from(at % 8).unwrap());
            let path = name.map_or(format!("swap/new-{at}"), |name| format!("swap/{name}"));
            let record = forger.file(&path, text.as_bytes());
            if !session.send_offer(&joined.offer(vec![record], &[text.as_bytes()])) {
                break;
            }
        }
        siege.settle();
        over.store(true, Ordering::Relaxed);
    });
    drop(session);
    siege.assert_unharmed("a directory that is swapped for a link", RESIDENT_BYTES_MAX);
}
