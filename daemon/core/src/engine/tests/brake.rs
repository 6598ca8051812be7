//! What a peer deletes at once: when it waits, and what each decision makes of it.

use super::*;
use crate::flow::index::{Brake, Index};

/// With more files than this the brake may stop what is deleted.
const MOST: usize = 10;

/// A folder in which `live` files lie that a peer told of; returns them, and the next number of a
/// frame and of a counter.
fn folder(live: u64) -> (Folder, Vec<(RelPath, Record)>) {
    let mut folder = Folder::braked(Some(MOST));
    folder.greet();
    let file = |at: u64| {
        let path = RelPath::parse(format!("f{at}")).unwrap();
        (path, record(Kind::File, at + 1, &Version::NEW))
    };
    let files: Vec<_> = (0..live).map(file).collect();
    folder.offer(1, &files);
    folder.rest();
    (folder, files)
}

/// The tombstones of `files` by the peer that wrote them.
fn deleted(files: &[(RelPath, Record)]) -> Vec<(RelPath, Record)> {
    let gone = |(path, before): &(RelPath, Record)| {
        (path.clone(), record(Kind::Tombstone, before.dot.counter + 1_000, &before.version))
    };
    files.iter().map(gone).collect()
}

fn offer(folder: &mut Folder, number: u64, records: &[(RelPath, Record)], more: bool) {
    let seq = records.iter().map(|(_, record)| record.dot.counter).max().unwrap_or(0);
    let upto = Some(Upto {
        seq,
        covered: (!more).then(|| Version::of(Dot { writer: THEM, counter: seq })),
    });
    let told = if more { More::Burst } else { More::Nothing };
    let offer = Offer { number, after: 0, records: records.to_vec(), upto, more: told };
    folder.tell(Event::Offered { peer: THEM.device, offer });
    if !more {
        folder.rest();
    }
}

fn live(folder: &Folder, files: &[(RelPath, Record)]) -> usize {
    let is_live = |path: &RelPath| {
        folder.index.get(path).unwrap().is_some_and(|entry| entry.record.is_live())
    };
    files.iter().filter(|(path, _)| is_live(path)).count()
}

fn brake(folder: &Folder) -> Option<Brake> {
    folder.index.marks().unwrap().brakes.get(&THEM.device).copied()
}

#[test]
fn much_of_a_folder_at_once_waits_and_less_does_not() {
    for (files, deletes, frames, held, because) in [
        (40, 10, 1, false, "no more than may go"),
        (40, 11, 1, false, "a quarter of the folder"),
        (40, 20, 1, false, "no more than half"),
        (40, 21, 1, true, "more than half at once"),
        (40, 21, 3, true, "the same in three frames"),
        (40, 40, 2, true, "all of it"),
        (12, 11, 1, true, "most of a small folder"),
        (9, 9, 1, false, "a very small one"),
    ] {
        let (mut folder, all) = folder(files);
        let gone = deleted(&all[..deletes]);
        let parts: Vec<_> = gone.chunks(deletes.div_ceil(frames)).collect();
        for (at, part) in parts.iter().enumerate() {
            offer(&mut folder, 2 + at as u64, part, at + 1 < parts.len());
        }
        let left = if held { all.len() } else { all.len() - deletes };
        assert_eq!(live(&folder, &all), left, "{because}");
        assert_eq!(brake(&folder).is_some(), held, "{because}");
        assert_eq!(folder.aside.len(), if held { parts.len() } else { 0 }, "{because}");
        assert!(folder.engine.is_idle(), "{because}: nothing else waits");
    }
}

#[test]
fn while_deletes_wait_all_else_goes_on_and_no_cursor_passes_them() {
    let (mut folder, all) = folder(40);
    offer(&mut folder, 2, &deleted(&all[..30]), false);
    let edit = (all[35].0.clone(), record(Kind::File, 5_000, &all[35].1.version));
    offer(&mut folder, 3, std::slice::from_ref(&edit), false);
    let entry = folder.index.get(&edit.0).unwrap().unwrap();
    assert_eq!(entry.record.dot, edit.1.dot, "an edit of another path is settled");
    assert!(folder.acked.contains(&3) && !folder.acked.contains(&2), "and acknowledged");
    let cursor = folder.index.marks().unwrap().cursors[&THEM.device];
    assert!(cursor.seq < 1_000, "what waits is told again: {cursor:?}");
    // One of the files that would go is written anew by who deleted it.
    let back = (all[0].0.clone(), record(Kind::File, 6_000, &deleted(&all[..1])[0].1.version));
    offer(&mut folder, 4, std::slice::from_ref(&back), false);
    assert_eq!(folder.index.get(&back.0).unwrap().unwrap().record.dot, back.1.dot);
    let one_more = deleted(&all[38..39]);
    offer(&mut folder, 5, &one_more, false);
    assert_eq!(live(&folder, &all), 40, "no delete of theirs is taken while some wait");
}

#[test]
fn what_was_decided_comes_true_also_after_a_new_session() {
    for (approved, again, left, because) in [
        (true, false, 10, "approved"),
        (false, false, 40, "rejected"),
        (true, true, 10, "approved while the peer was away"),
        (false, true, 40, "rejected while the peer was away"),
    ] {
        let (mut folder, all) = folder(40);
        let gone = deleted(&all[..30]);
        offer(&mut folder, 2, &gone, false);
        let peer = THEM.device;
        if again {
            folder.tell(Event::PeerDown { peer });
            assert!(matches!(brake(&folder), Some(Brake::Held { files: 30 })), "{because}");
        }
        folder.tell(Event::Decided { peer, approved });
        folder.rest();
        if again {
            folder.greet();
            // Half of them at a time: what was decided is not asked again.
            offer(&mut folder, 1, &gone[..15], true);
            offer(&mut folder, 2, &gone[15..], false);
        }
        assert_eq!(live(&folder, &all), left, "{because}");
        assert_eq!(brake(&folder), None, "{because}: it is over");
        assert_eq!(folder.asked, 1, "{because}: nobody is asked twice");
        for (path, tombstone) in gone.iter().filter(|_| !approved) {
            let entry = folder.index.get(path).unwrap().unwrap();
            assert!(entry.record.version.covers(&tombstone.version), "{because}: above theirs");
            assert_eq!(entry.local.source, None, "{because}: the peer is told");
        }
        assert!(folder.engine.is_idle(), "{because}");
    }
}

#[test]
fn what_is_moved_or_made_by_programs_is_not_stopped() {
    let (mut folder, all) = folder(40);
    let moved = |(path, before): &(RelPath, Record)| {
        let to = RelPath::parse(format!("m{path}")).unwrap();
        let dot = Dot { counter: before.dot.counter + 500, ..before.dot };
        (to, Record { dot, version: Version::of(dot), ..before.clone() })
    };
    let there: Vec<_> = all.iter().map(moved).collect();
    offer(&mut folder, 2, &there, true);
    offer(&mut folder, 3, &deleted(&all), false);
    assert_eq!((live(&folder, &all), live(&folder, &there)), (0, 40), "each is elsewhere now");
    assert_eq!(brake(&folder), None);

    let mut folder = Folder::braked(Some(MOST));
    folder.greet();
    let dir = RelPath::parse("node_modules").unwrap();
    let mut made = vec![(dir.clone(), record(Kind::Directory, 1, &Version::NEW))];
    made.extend((1..40).map(|at| {
        (dir.join(format!("f{at}")).unwrap(), record(Kind::File, at + 1, &Version::NEW))
    }));
    offer(&mut folder, 1, &made, false);
    let mut gone = deleted(&made);
    gone.reverse();
    offer(&mut folder, 2, &gone, false);
    assert_eq!((live(&folder, &made), brake(&folder)), (0, None), "programs make it again");
}

#[test]
fn who_gave_the_folder_may_delete_in_it_while_nobody_else_shares_it() {
    for (others, held) in [(0, false), (1, true)] {
        let (mut folder, all) = folder(40);
        folder.engine.taken_from = Some(THEM.device);
        if others > 0 {
            let devices = [THEM.device, DeviceId([3; 32])].into();
            folder.tell(Event::SharedWith { devices });
        }
        offer(&mut folder, 2, &deleted(&all), false);
        assert_eq!(brake(&folder).is_some(), held, "{others} others");
    }
}

#[test]
fn another_peers_edit_of_what_waits_keeps_it() {
    let (mut folder, all) = folder(40);
    let other = Writer { device: DeviceId([3; 32]), incarnation: Incarnation(1) };
    let hello = FolderHello { store: StoreId(8), cursor: None };
    folder.tell(Event::PeerUp { peer: other.device, hello });
    offer(&mut folder, 2, &deleted(&all[..30]), false);
    let dot = Dot { writer: other, counter: 1 };
    let mut version = all[0].1.version.clone();
    version.raise(dot);
    let edit = Record { dot, version, content: ContentId::of(b"edit"), ..all[0].1.clone() };
    let upto = Some(Upto { seq: 1, covered: None });
    let records = vec![(all[0].0.clone(), edit.clone())];
    let offer = Offer { number: 1, after: 0, records, upto, more: More::Nothing };
    folder.tell(Event::Offered { peer: other.device, offer });
    let entry = folder.index.get(&all[0].0).unwrap().unwrap();
    assert_eq!(entry.record.content, edit.content, "it does not wait behind the delete");
    folder.tell(Event::Decided { peer: THEM.device, approved: true });
    folder.rest();
    assert_eq!(live(&folder, &all), 11, "an edit survives a delete that has not seen it");
}

#[test]
fn what_comes_while_the_folder_is_paused_is_weighed_too() {
    let (mut folder, all) = folder(40);
    folder.tell(Event::Paused { paused: true });
    offer(&mut folder, 2, &deleted(&all[..30]), false);
    folder.tell(Event::Paused { paused: false });
    folder.rest();
    assert_eq!((live(&folder, &all), brake(&folder).is_some()), (40, true));
}
