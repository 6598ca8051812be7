//! What waits for a person, and that what they decided comes true.

use super::*;
use crate::engine::{Cause, LookId, PullError};
use crate::flow::detect::{Found, Seen};
use crate::flow::settle::Ticket;

const OTHER: DeviceId = DeviceId([3; 32]);

/// A folder of `count` files that two peers know.
fn folder(count: u64) -> (Folder, Vec<RelPath>) {
    let mut folder = Folder::new();
    folder.greet();
    let hello = FolderHello { store: StoreId(8), cursor: None };
    folder.tell(Event::PeerUp { peer: OTHER, hello });
    let paths: Vec<_> = (0..count).map(|at| RelPath::parse(format!("f{at}")).unwrap()).collect();
    let found = paths.iter().map(|path| Found {
        path: path.clone(),
        kind: Kind::File,
        stat: StatKey { inode: 1, size: 1, mtime_ns: 1, ctime_ns: 1, mode: 0o644 },
        content: ContentId::of(path.as_bytes()),
    });
    look(&mut folder, Cause::Scanned, Seen { found: found.collect(), gone: Vec::new() });
    (folder, paths)
}

fn look(folder: &mut Folder, cause: Cause, seen: Seen) {
    let look = LookId::Begun(folder.engine.clock);
    folder.tell(Event::LookBegun { look, cause, whole: true });
    folder.tell(Event::Seen { look, seen });
    folder.tell(Event::LookDone { look, attested: true });
}

fn miss(folder: &mut Folder, cause: Cause, paths: &[RelPath]) {
    look(folder, cause, Seen { found: Vec::new(), gone: paths.to_vec() });
}

fn is_live(folder: &Folder, path: &RelPath) -> bool {
    folder.index.get(path).unwrap().is_some_and(|entry| entry.record.is_live())
}

/// Tells the engine something and returns whom it asks for bytes, unanswered.
fn asked(folder: &mut Folder, event: Event) -> Vec<(Ticket, DeviceId)> {
    folder.engine.handle(Tick(0), event, &mut folder.index).unwrap();
    let orders = std::iter::from_fn(|| folder.engine.next_action());
    let fetch = |order| {
        let Action::Fetch { ticket, peer, .. } = order else { return None };
        Some((ticket, peer))
    };
    orders.filter_map(fetch).collect()
}

#[test]
fn what_is_held_is_deleted_by_no_later_look() {
    let (mut folder, paths) = folder(40);
    let gone = &paths[..30];
    miss(&mut folder, Cause::Scanned, gone);
    assert_eq!(folder.engine.held().len(), 30, "most files at once");
    for (cause, because) in [
        (Cause::Watched, "a look at what the watcher heard"),
        (Cause::Scanned, "the next scan, which finds few gone of what is left"),
    ] {
        for path in gone {
            miss(&mut folder, cause, std::slice::from_ref(path));
        }
        assert_eq!(folder.engine.held().len(), 30, "{because}");
        assert!(gone.iter().all(|path| is_live(&folder, path)), "{because}");
    }
    folder.tell(Event::Approved);
    assert!(!gone.iter().any(|path| is_live(&folder, path)), "approved");
}

#[test]
fn what_is_rejected_is_asked_of_whoever_has_it() {
    let (mut folder, paths) = folder(1);
    miss(&mut folder, Cause::Scanned, &paths);
    let first = asked(&mut folder, Event::Rejected);
    let [(ticket, THEM_DEVICE)] = first[..] else { panic!("one is asked: {first:?}") };
    let outcome = Err(PullError::NotThere);
    let next = asked(&mut folder, Event::Fetched { ticket, outcome });
    let [(ticket, OTHER)] = next[..] else { panic!("the other is asked: {next:?}") };
    let again = asked(&mut folder, Event::PeerDown { peer: OTHER });
    let [(last, THEM_DEVICE)] = again[..] else { panic!("who is left is asked: {again:?}") };
    assert_ne!(ticket, last);
    folder.tell(Event::Fetched { ticket, outcome: Ok(()) });
    assert_eq!(folder.settled, 0, "the answer of who is gone counts for nothing");
    folder.tell(Event::Fetched { ticket: last, outcome: Ok(()) });
    assert_eq!(folder.settled, 1, "it is placed");
    assert!(is_live(&folder, &paths[0]));
}

const THEM_DEVICE: DeviceId = THEM.device;
