//! Counters of others: nobody's word on what somebody else has written counts against that one.

use syncd_core::flow::offer::Upto;
use syncd_core::model::limits::COUNTER_MAX;
use syncd_core::model::{Dot, Version, Writer};
use syncd_core::protocol::Frame;
use syncd_core::protocol::tokens::TOKEN_BYTES;
use syncd_integration::hostile::{Forger, Lane, Session, Siege};
use syncd_integration::process::{Device, FOLDER, write};

use crate::RESIDENT_BYTES_MAX;

#[test]
fn counters_near_the_end_of_all_numbers_are_only_numbers() {
    let mut siege = Siege::new();
    let mut forger = Forger::new(siege.hostile.id());
    let mut session = siege.session();
    let mut joined = session.join(FOLDER, 1);
    for (counter, name) in
        [(COUNTER_MAX, "last"), (COUNTER_MAX - 1, "before"), (COUNTER_MAX / 2, "half")]
    {
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
fn counters_and_incarnations_that_nobody_has_are_refused() {
    let mut siege = Siege::new();
    let nobody = Writer::untold(siege.hostile.id());
    let somebody = Forger::new(siege.hostile.id()).dot().writer;
    for (writer, counter, because) in [
        (somebody, u64::MAX, "nothing comes after the greatest number"),
        (somebody, COUNTER_MAX + 1, "nobody counts so far"),
        (nobody, 1, "what it writes is told to nobody"),
    ] {
        let mut session = siege.session();
        let mut joined = session.join(FOLDER, 1);
        let (path, mut record) = Forger::new(siege.hostile.id()).file("forged", b"x");
        record.version.raise(Dot { writer, counter });
        session.send(Lane::Interactive, &joined.offer(vec![(path, record)], &[b"x"]));
        assert!(session.is_cut(), "{because}");
    }
    siege.assert_unharmed("counters of nobody", RESIDENT_BYTES_MAX);
    assert!(!siege.victim.path("forged").exists());
    let log = siege.victim.log_end();
    for why in ["a counter that no device reaches", "a writer of whom nobody is ever told"] {
        assert!(log.contains(why), "it says why: {why}\n{log}");
    }
}

/// How a peer can speak of counters that somebody else never gave out.
#[derive(Debug, Clone, Copy)]
enum Claim {
    /// A record has seen them.
    Record,
    /// The peer covers them.
    Covered,
    /// The peer says so when it joins the folder.
    Ready,
}

/// Claims in a session of its own that `of` has counted to `counter`; `false` when the victim ends
/// the session.
fn claim(siege: &Siege, claim: Claim, of: Writer, counter: u64, name: &str) -> bool {
    let mut session = siege.session();
    let dot = Dot { writer: of, counter };
    let seen = match claim {
        Claim::Ready => vec![(of.incarnation, counter)],
        Claim::Record | Claim::Covered => Vec::new(),
    };
    let mut joined = session.join_having_seen(FOLDER, 1, seen);
    let (path, mut record) = Forger::new(siege.hostile.id()).file(name, name.as_bytes());
    if matches!(claim, Claim::Record) {
        record.version.raise(dot);
    }
    let mut frame = joined.offer(vec![(path, record)], &[name.as_bytes()]);
    if let (Claim::Covered, Frame::Offer { offer, .. }) = (claim, &mut frame) {
        offer.upto = Some(Upto { seq: 1, covered: Some(Version::of(dot)) });
    }
    session.settled(&frame)
}

/// Writes a file on a device, and returns as whom it does.
fn writer_after(siege: &Siege, device: &Device, name: &str) -> Writer {
    write(&device.path(name), name);
    siege.session().writer_of(FOLDER, name, name.as_bytes())
}

#[test]
fn claims_of_what_the_victim_never_wrote_are_of_a_writer_that_is_no_more() {
    let mut siege = Siege::new();
    for (number, how, because) in [
        (1, Claim::Record, "our next write would be one that this record has seen"),
        (2, Claim::Covered, "our next file would be one that was deleted"),
        (3, Claim::Ready, "it says that we were set back"),
    ] {
        let (ours, forged) = (format!("ours-{number}"), format!("forged-{number}"));
        let writer = writer_after(&siege, &siege.victim, &ours);
        assert!(claim(&siege, how, writer, 1 << 50, &forged), "{because}");
        siege.assert_unharmed(because, RESIDENT_BYTES_MAX);
        let later = writer_after(&siege, &siege.victim, &format!("later-{number}"));
        assert_ne!(later, writer, "{because}");
        // What came with it is a file as any other, and may be edited.
        write(&siege.victim.path(&forged), "edited");
        siege.agree();
        let there = std::fs::read_to_string(siege.honest.path(&forged)).unwrap();
        assert_eq!(there, "edited", "{because}");
    }
    siege.settle();
    assert_eq!(siege.victim.status(FOLDER)["conflicts"], 0, "nobody wrote at the same time");
}

#[test]
fn claims_of_what_a_third_device_never_wrote_do_not_part_the_honest_ones() {
    let mut siege = Siege::new();
    for (number, how) in [(1, Claim::Record), (2, Claim::Covered), (3, Claim::Record)] {
        let (theirs, forged) = (format!("theirs-{number}"), format!("forged-{number}"));
        let writer = writer_after(&siege, &siege.honest, &theirs);
        assert!(claim(&siege, how, writer, 1 << 50, &forged), "it is not the victim's to know");
        siege.assert_unharmed("counters of a third device", RESIDENT_BYTES_MAX);
        siege.settle();
        siege.agree();
        let later = writer_after(&siege, &siege.honest, &format!("later-{number}"));
        assert_ne!(later, writer, "what it writes now is nothing that was claimed");
        write(&siege.honest.path(&forged), "edited");
        siege.agree();
        let there = std::fs::read_to_string(siege.victim.path(&forged)).unwrap();
        assert_eq!(there, "edited");
    }
}

#[test]
fn claims_without_end_end_the_sessions_of_who_makes_them() {
    let mut siege = Siege::new();
    let kept = (0..40).find(|number| {
        let writer = writer_after(&siege, &siege.victim, &format!("ours-{number}"));
        !claim(&siege, Claim::Record, writer, 1 << 50, &format!("forged-{number}"))
    });
    assert!(kept.is_some_and(|count| count > 1), "a few are borne with: {kept:?}");
    siege.assert_unharmed("claims without end", RESIDENT_BYTES_MAX);
    siege.agree();
}

#[test]
fn tokens_that_nobody_handed_out_say_nothing() {
    let mut siege = Siege::new();
    let token = |session: &Session| session.theirs.as_ref().unwrap().token_given;
    let pid = siege.victim.pid();
    // What it was given once, it keeps; and then it goes on.
    let mut given = Vec::new();
    for _ in 0..3 {
        let mut session = match given.last() {
            Some(last) => siege.session_showing(*last),
            None => siege.session(),
        };
        given.push(token(&session));
        let _ = session.join(FOLDER, 1);
    }
    let mut greater = given[2];
    greater[0] = 0x7f;
    for (shown, because) in [
        (greater, "the same with a count that is yet to come"),
        ([0xff; TOKEN_BYTES], "the greatest of all"),
        ([0; TOKEN_BYTES], "none at all"),
        (given[0], "an old one"),
        (given[2], "the last one again"),
    ] {
        let mut session = siege.session_showing(shown);
        let mut joined = session.join(FOLDER, 1);
        let told = Forger::new(siege.hostile.id()).file("told", because.as_bytes());
        assert!(session.settled(&joined.offer(vec![told], &[because.as_bytes()])), "{because}");
    }
    siege.assert_unharmed("tokens that were made up", RESIDENT_BYTES_MAX);
    assert_eq!(siege.victim.pid(), pid, "it never ended");
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
