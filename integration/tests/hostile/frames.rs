//! Frames that are none: the session ends, and nothing of them is used.

use syncd_core::model::{DeviceId, FolderId, Record, Version};
use syncd_core::protocol::{self, Frame, Need, Want, WantedItem};
use syncd_integration::hostile::{Forger, Joined, Lane, Session, Siege, respelled, spelled, whole};
use syncd_integration::process::FOLDER;

use crate::RESIDENT_BYTES_MAX;

/// Stands in a frame where something is written over it.
const PLACE: &str = "dir/placeholder";

/// Ways out of a folder, or into what is ours in it.
const WAYS_OUT: &[(&[u8], &str)] = &[
    (b"../outside/evil", "one up"),
    (b"a/../../outside/evil", "one up, hidden"),
    (b"a/..", "up at the end"),
    (b"..", "up alone"),
    (b".", "the root"),
    (b"./a", "the root, hidden"),
    (b"a/./b", "here, hidden"),
    (b"", "nothing"),
    (b"/tmp/evil", "absolute"),
    (b"//evil", "absolute, twice"),
    (b"a//b", "an empty name"),
    (b"a/", "an empty name at the end"),
    (b"a\0b", "what C would cut"),
    (b"\0", "nothing to C"),
    (b".syncd", "our own directory"),
    (b".syncd/trash/x", "our trash"),
    (b".SynCD/staging/x", "our staging, for a disk that folds names"),
    (b".syncd/id", "what says that the root is the root"),
];

/// A frame with something in it that no value holds.
struct Row {
    lane: Lane,
    frame: Vec<u8>,
    because: String,
}

fn row(lane: Lane, frame: Vec<u8>, because: impl Into<String>) -> Row {
    Row { lane, frame, because: because.into() }
}

/// Paths that lead out, in an offer and in a want.
fn ways_out(joined: &Joined, me: DeviceId) -> Vec<Row> {
    let mut rows = Vec::new();
    let offered = {
        let record = Forger::new(me).file(PLACE, b"evil");
        protocol::encode(&joined.clone().offer(vec![record], &[b"evil"]))
    };
    let wanted = protocol::encode(&want(whole(PLACE, b"outside: evil\n")));
    let long = [&b"n".repeat(256)[..], &vec![b'a'; 4097], &b"d/".repeat(2049)];
    let long = long.map(|path| (path.to_vec(), "too long"));
    let short = WAYS_OUT.iter().map(|(path, because)| (path.to_vec(), *because));
    for (path, because) in short.chain(long) {
        let bad = |frame| respelled(frame, PLACE.as_bytes(), &path);
        rows.push(row(Lane::Interactive, bad(&offered), format!("offered: {because}")));
        rows.push(row(Lane::Bulk, bad(&wanted), format!("wanted: {because}")));
    }
    rows
}

fn want(item: WantedItem) -> Frame {
    let folder = FolderId::parse(FOLDER).unwrap();
    Frame::Want(Want { request: 1, folder, items: vec![item] })
}

/// Counts, sizes and lists that lie.
fn lies(session: &Session, joined: &Joined, me: DeviceId) -> Vec<Row> {
    let mut forger = Forger::new(me);
    let mut offer = |change: &dyn Fn(&mut Record)| {
        let (path, mut record) = forger.file("f", b"x");
        change(&mut record);
        protocol::encode(&joined.clone().offer(vec![(path, record)], &[b"x"]))
    };
    let hello = protocol::encode(&Frame::Hello(session.theirs.clone().unwrap()));
    let range = |offset, count| Need::Ranges(vec![(offset, count)]);
    let ranged = |need| protocol::encode(&want(WantedItem { need, ..whole("f", b"x") }));
    let ack = |frames| {
        let tag = joined.tag.clone();
        protocol::encode(&Frame::Ack { tag, frames, aside: vec![], sent: 0 })
    };
    let interactive = [
        (offer(&|r| r.size = (1 << 48) + 1), "a file larger than any"),
        (offer(&|r| r.version = Version::NEW), "a write that its own version has not seen"),
        (offer(&|r| r.dot.counter = 0), "a write before the first"),
        (hello, "a second hello"),
        (ack(vec![(2, 1)]), "a range that ends before it begins"),
        (vec![], "an empty frame"),
        (vec![255; 64], "no frame at all"),
        (vec![10], "a kind of frame that is not known"),
        (protocol::encode(&Frame::Have(vec![])), "contents on the interactive lane"),
    ];
    let bulk = [
        (ranged(range(u64::MAX, 1)), "an end beyond all numbers"),
        (ranged(range(0, u32::MAX)), "a block of 4 GiB"),
        (ranged(range(0, 0)), "a block of nothing"),
        (ranged(Need::Ranges(vec![(0, 1); 4097])), "more ranges than a want may have"),
        (ack(vec![]), "an acknowledgement on the bulk lane"),
    ];
    let interactive = interactive.map(|(frame, because)| row(Lane::Interactive, frame, because));
    let bulk = bulk.map(|(frame, because)| row(Lane::Bulk, frame, because));
    interactive.into_iter().chain(bulk).collect()
}

/// Few bytes that ask for much room.
fn bombs(joined: &Joined) -> Vec<Row> {
    let (from, to) = (joined.tag.from as u8, joined.tag.to as u8);
    let tag = [spelled(FOLDER.as_bytes()), vec![from, to]].concat();
    let huge = [253, 255, 255, 255, 255, 255, 255, 255, 255];
    let million = [252, 0, 0, 16, 0];
    let frame = |parts: &[&[u8]]| parts.concat();
    vec![
        row(Lane::Interactive, frame(&[&[3], &tag, &[9, 0], &huge]), "2^64 writers"),
        row(Lane::Interactive, frame(&[&[3], &tag, &[9, 0], &million]), "a million writers"),
        row(Lane::Interactive, frame(&[&[3], &tag, &[9, 0, 0], &huge]), "2^64 records"),
        row(Lane::Interactive, frame(&[&[4], &tag, &huge]), "2^64 ranges"),
        row(Lane::Interactive, frame(&[&[1], &huge]), "a folder's name of 2^64 bytes"),
        row(Lane::Bulk, frame(&[&[5, 1], &spelled(FOLDER.as_bytes()), &huge]), "2^64 wants"),
        row(Lane::Data, frame(&[&[6], &huge]), "2^64 answers"),
        row(Lane::Data, frame(&[&[6, 1, 1, 0, 1], &[252, 0, 128, 0, 0], &huge]), "2^64 blocks"),
        row(Lane::Data, frame(&[&[6, 1, 1, 0, 0], &huge]), "a content of 2^64 bytes"),
    ]
}

/// All of them, for one session.
fn rows(session: &Session, joined: &Joined, me: DeviceId) -> Vec<Row> {
    let rows = [ways_out(joined, me), lies(session, joined, me), bombs(joined)];
    rows.into_iter().flatten().collect()
}

#[test]
fn frames_that_break_a_rule_end_the_session_and_do_nothing() {
    let mut siege = Siege::new();
    let me = siege.hostile.id();
    let mut at = 0;
    loop {
        let mut session = siege.session();
        let joined = session.join(FOLDER, 1);
        let Some(Row { lane, frame, because }) = rows(&session, &joined, me).into_iter().nth(at)
        else {
            break;
        };
        session.send_bytes(lane, &frame);
        assert!(session.is_cut(), "the session goes on after {because}");
        at += 1;
    }
    assert!(at > 50, "{at} rows");
    siege.assert_unharmed("frames that break a rule", RESIDENT_BYTES_MAX);
    siege.agree();
}
