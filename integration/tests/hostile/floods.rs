//! Without end: answers that nobody reads, questions, offers, folders, long frames in small bites.

use std::time::Duration;

use syncd_core::flow::offer::{More, Offer};
use syncd_core::model::FolderId;
use syncd_core::protocol::{self, Frame, List, Need, Want, WantedItem};
use syncd_integration::hostile::{Forger, Joined, Lane, Session, Siege, whole};
use syncd_integration::process::{FOLDER, Noise, write};

use crate::RESIDENT_BYTES_MAX;

/// How long a flooder waits for its bytes to be taken before it takes that for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a flood may take: beyond, something would have had to give way.
const FLOOD_BYTES: usize = 48 << 20;

/// As [`FLOOD_BYTES`], for small frames.
const FLOOD_FRAMES: usize = 30_000;

/// Sends frames until the victim ends the session, takes no more, or has taken a flood.
fn flood(session: &mut Session, lane: Lane, mut frame: impl FnMut() -> Vec<u8>) {
    let (mut sent, mut count) = (0, 0);
    while sent < FLOOD_BYTES && count < FLOOD_FRAMES {
        let frame = frame();
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        let bytes = [&length[..], &frame].concat();
        if session.send_within(lane, &bytes, PATIENCE) != Some(true) {
            break;
        }
        sent += bytes.len();
        count += 1;
    }
}

fn blocks_of(bytes: &[u8]) -> Vec<(u64, u32)> {
    let average = syncd_core::flow::digest::average_for(bytes.len() as u64, None).unwrap();
    let mut cutter = syncd_core::flow::digest::Cutter::new(average);
    cutter.feed(bytes);
    cutter.finish().placed().map(|(offset, block)| (offset, block.size)).collect()
}

#[test]
fn one_who_takes_no_answers_holds_up_nobody() {
    let mut siege = Siege::new();
    let bytes = Noise::new(1).bytes(8 << 20);
    write(&siege.victim.path("large"), &bytes);
    siege.settle();
    let mut session = siege.deaf_session();
    session.join(FOLDER, 1);
    let ranges = blocks_of(&bytes);
    let folder = FolderId::parse(FOLDER).unwrap();
    for request in 0..64 {
        let item = WantedItem { need: Need::Ranges(ranges.clone()), ..whole("large", &bytes) };
        let want = Frame::Want(Want { request, folder: folder.clone(), items: vec![item] });
        let frame = protocol::encode(&want);
        let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
        let bytes = [&length[..], &frame].concat();
        if session.send_within(Lane::Bulk, &bytes, PATIENCE) != Some(true) {
            break;
        }
    }
    // The honest one wants a large file too, while all those answers wait.
    write(&siege.victim.path("wanted"), Noise::new(2).bytes(3 << 20));
    siege.assert_unharmed("answers that are not read", RESIDENT_BYTES_MAX);
    siege.agree();
}

#[test]
fn floods_of_frames_take_no_more_room_than_one_peer_has() {
    let mut siege = Siege::new();
    for at in 0..1_000 {
        write(&siege.victim.path(format!("files/{at}")), "x");
    }
    siege.settle();
    let me = siege.hostile.id();
    let folder = FolderId::parse(FOLDER).unwrap();
    let empty = |joined: &mut Joined| {
        let number = joined.next_number();
        let (records, upto, after) = (Vec::new(), None, 0);
        let offer = Offer { number, after, records, upto, more: More::Backlog };
        protocol::encode(&Frame::Offer { tag: joined.tag.clone(), offer, inline: Vec::new() })
    };
    let many = |joined: &mut Joined, forger: &mut Forger| {
        let records = (0..1_000).map(|at| forger.file(&format!("never/{at}"), b"never")).collect();
        protocol::encode(&joined.offer(records, &[]))
    };
    for what in ["questions", "folders", "empty offers", "offers", "acknowledgements", "answers"] {
        let mut session = siege.deaf_session();
        let mut joined = session.join(FOLDER, 1);
        let mut forger = Forger::new(me);
        let mut count = 0_u64;
        let lane = match what {
            "questions" => Lane::Bulk,
            "answers" => Lane::Data,
            _ => Lane::Interactive,
        };
        flood(&mut session, lane, || {
            count += 1;
            match what {
                "questions" => {
                    let list = List { request: count, folder: folder.clone(), after: 0 };
                    protocol::encode(&Frame::List(list))
                }
                "folders" => {
                    let id = FolderId::parse(&format!("folder-{count}")).unwrap();
                    let seen = vec![(syncd_core::model::Incarnation(1), 1); 1];
                    let mut ready = joined.ready.clone();
                    (ready.folder, ready.epoch, ready.seen_of_you) = (id, 1, seen);
                    ready.label = "l".repeat(256);
                    protocol::encode(&Frame::Ready(ready))
                }
                "empty offers" => empty(&mut joined),
                "offers" => many(&mut joined, &mut forger),
                "acknowledgements" => {
                    let frames = (0..16_000).map(|at| (count + at, u64::MAX)).collect();
                    let tag = joined.tag.clone();
                    protocol::encode(&Frame::Ack { tag, frames, aside: vec![], sent: count })
                }
                _ => {
                    let body = protocol::Body::Whole(vec![7; 60_000]);
                    let have = protocol::Have { request: count % 4, item: 0, body };
                    protocol::encode(&Frame::Have(vec![have; 50]))
                }
            }
        });
        drop(session);
        siege.assert_unharmed(&format!("a flood of {what}"), RESIDENT_BYTES_MAX);
    }
}

#[test]
fn a_frame_that_never_ends_takes_its_own_room_only() {
    let mut siege = Siege::new();
    let mut session = siege.session();
    session.join(FOLDER, 1);
    for lane in Lane::ALL {
        session.send_raw(lane, &(8_u32 << 20).to_le_bytes());
    }
    for _ in 0..64 {
        for lane in Lane::ALL {
            assert!(session.send_raw(lane, &[0]), "a slow peer is a slow peer");
        }
    }
    siege.assert_unharmed("frames a byte at a time", RESIDENT_BYTES_MAX);
    for lane in Lane::ALL {
        let mut session = siege.session();
        session.send_raw(lane, &((8_u32 << 20) + 1).to_le_bytes());
        assert!(session.is_cut(), "a frame of more than 8 MiB on {lane:?}");
    }
    siege.assert_unharmed("frames that are too long", RESIDENT_BYTES_MAX);
}
