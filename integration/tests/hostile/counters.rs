//! Counters of others: nobody's word on what somebody else has written counts against that one.

use syncd_core::model::{Dot, Version, Writer};
use syncd_core::protocol::Frame;
use syncd_integration::hostile::{Forger, Lane, Siege, id};
use syncd_integration::process::{FOLDER, write};

use crate::RESIDENT_BYTES_MAX;

#[test]
fn counters_near_the_end_of_all_numbers_are_only_numbers() {
    let mut siege = Siege::new();
    let mut forger = Forger::new(siege.hostile.id());
    let mut session = siege.session();
    let mut joined = session.join(FOLDER, 1);
    for (counter, name) in [(u64::MAX, "last"), (u64::MAX - 1, "before"), (1 << 63, "half")] {
        let (path, mut record) = forger.file(name, b"x");
        record.dot.counter = counter;
        record.version = Version::of(record.dot);
        record.mtime_ns = if counter % 2 == 0 { i64::MIN } else { i64::MAX };
        assert!(session.settled(&joined.offer(vec![(path, record)], &[b"x"])), "{name}");
        // An edit above it is an edit as any other.
        write(&siege.victim.path(name), "edited");
    }
    siege.assert_unharmed("great counters", RESIDENT_BYTES_MAX);
    siege.agree();
    assert_eq!(std::fs::read(siege.honest.path("last")).unwrap(), b"edited");
}

#[test]
fn counters_of_the_victim_that_it_never_gave_out_end_the_session() {
    let mut siege = Siege::new();
    write(&siege.victim.path("shared"), "for all");
    siege.settle();
    let victim = id(&siege.victim);
    for (counter, because) in [(u64::MAX, "the last"), (1 << 50, "one to come")] {
        let mut session = siege.session();
        let mut joined = session.join(FOLDER, 1);
        let listed = session.list(FOLDER).unwrap().records;
        let ours = listed.iter().find(|(_, record)| record.dot.writer.device == victim).unwrap();
        let writer: Writer = ours.1.dot.writer;
        let (path, mut record) = Forger::new(siege.hostile.id()).file("forged", b"x");
        record.version.raise(Dot { writer, counter });
        session.send(Lane::Interactive, &joined.offer(vec![(path, record)], &[b"x"]));
        assert!(session.is_cut(), "{because}");
    }
    siege.assert_unharmed("counters of the victim", RESIDENT_BYTES_MAX);
    assert!(!siege.victim.path("forged").exists());
}

#[test]
fn offers_that_come_twice_or_in_other_sessions_do_nothing() {
    let mut siege = Siege::new();
    let mut forger = Forger::new(siege.hostile.id());
    let mut session = siege.session();
    let mut joined = session.join(FOLDER, 1);
    let first = forger.file("f", b"first");
    let offer = joined.offer(vec![first.clone()], &[b"first"]);
    assert!(session.settled(&offer));
    let second = Forger::above(forger.file("f", b"second"), &first);
    assert!(session.settled(&joined.offer(vec![second], &[b"second"])));
    session.send(Lane::Interactive, &offer);
    assert!(session.is_cut(), "a number that came before");
    drop(session);

    // The whole of it again, in a session of its own.
    let mut session = siege.session();
    let mut joined = session.join(FOLDER, 1);
    session.send(Lane::Interactive, &offer);
    let Frame::Offer { offer: mut again, inline, .. } = offer else { unreachable!() };
    again.number = joined.next_number();
    let tag = joined.tag.clone();
    assert!(session.settled(&Frame::Offer { tag, offer: again, inline }), "an old record is known");
    siege.assert_unharmed("replays", RESIDENT_BYTES_MAX);
    assert_eq!(std::fs::read(siege.victim.path("f")).unwrap(), b"second", "newer than the replay");
}

/// Does not hold: the honest device takes the victim for one that breaks the protocol, and the two
/// meet no more until the forged record is gone.
#[test]
#[ignore = "a forged counter of a third device, handed on by the victim, cuts that one off"]
fn forged_counters_of_a_third_device_do_not_part_the_honest_ones() {
    let mut siege = Siege::new();
    write(&siege.honest.path("theirs"), "of the honest one");
    siege.honest.ok(&["flush", "--device", "victim", "--timeout", "2m"]);
    let honest = id(&siege.honest);
    let mut session = siege.session();
    let mut joined = session.join(FOLDER, 1);
    let listed = session.list(FOLDER).unwrap().records;
    let theirs = listed.iter().find(|(_, record)| record.dot.writer.device == honest).unwrap();
    let writer: Writer = theirs.1.dot.writer;
    let (path, mut record) = Forger::new(siege.hostile.id()).file("forged", b"x");
    record.version.raise(Dot { writer, counter: u64::MAX });
    let _ = session.settled(&joined.offer(vec![(path, record)], &[b"x"]));
    siege.assert_unharmed("counters of a third device", RESIDENT_BYTES_MAX);
    siege.settle();
    siege.assert_unharmed("counters of a third device", RESIDENT_BYTES_MAX);
}
