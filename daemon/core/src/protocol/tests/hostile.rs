//! What a peer must not send, and is told apart from what it may.

use super::super::limits::{
    ACK_RANGES_MAX, BLOCK_BYTES_MAX, FILE_BYTES_MAX, NAME_BYTES_MAX, WANT_ITEMS_MAX,
    WANT_RANGES_MAX,
};
use super::samples::{
    file, folder, have, hello, offer, one_of_each, path, tag, tombstone, want, wanted, writer,
};
use super::*;
use crate::flow::digest::{Block, BlockList};
use crate::flow::offer::{More, Offer};
use crate::model::limits::{
    ANCESTORS_MAX, COUNTER_MAX, INLINE_BYTES_MAX, OFFER_RECORDS_MAX, VERSION_WRITERS_MAX,
    WHOLE_BYTES_MAX,
};
use crate::model::{
    Actor, AncestorId, BlockId, ContentId, Dot, Incarnation, Kind, Record, Version, Writer,
};

const TOO_MANY: &str = "more of something than its limit allows";

/// Asserts that a frame goes through, or which value of it does not.
fn verdict(frame: &Frame, wrong: Option<&'static str>, because: &str) {
    let came = decode(&encode(frame));
    match wrong {
        None => assert_eq!(came.as_ref(), Ok(frame), "{because}"),
        Some(what) => assert_eq!(came, Err(DecodeError::Value(what)), "{because}"),
    }
}

/// Puts `with` in the place of the only `what` in the bytes.
fn replaced(frame: &Frame, what: &[u8], with: &[u8]) -> Vec<u8> {
    let bytes = encode(frame);
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(what)).collect();
    let [at] = places[..] else { panic!("{what:?} stands at {places:?}") };
    [&bytes[..at], with, &bytes[at + what.len()..]].concat()
}

#[test]
fn every_frame_cut_anywhere_is_none() {
    for (name, frame) in one_of_each() {
        let bytes = encode(&frame);
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Err(DecodeError::Bytes), "{name} at {end}");
        }
    }
}

#[test]
fn a_path_leads_nowhere_but_into_the_folder() {
    let long_name = [&b"x/"[..], &[b'n'; 256]].concat();
    let outside = "a path that no folder can hold";
    let own = "a path of syncd's own";
    for (bytes, wrong, because) in [
        (&b"ok"[..], None, "a name"),
        (b"", Some(outside), "the root itself"),
        (b"../../etc/passwd", Some(outside), "the way out"),
        (b"a/../../b", Some(outside), "the way out, hidden"),
        (b"/etc/passwd", Some(outside), "absolute"),
        (b"a//b", Some(outside), "an empty part"),
        (b"a\0b", Some(outside), "a NUL"),
        (&long_name, Some(outside), "a name of 256 bytes"),
        (&[b'a'; 4097], Some(outside), "longer than PATH_MAX"),
        (b".syncd/id", Some(own), "where syncd keeps its own"),
        (b".SyncD", Some(own), "the same on a disk that folds cases"),
        (b"a/.syncd", None, "below the top it is anybody's name"),
    ] {
        let mut with = Vec::new();
        match bytes.len() {
            short @ ..251 => with.push(u8::try_from(short).unwrap()),
            long => {
                with.push(251);
                with.extend(u16::try_from(long).unwrap().to_le_bytes());
            }
        }
        with.extend(bytes);
        for frame in
            [offer(vec![(path("PLACE"), file())]), want(vec![wanted(path("PLACE"), Need::Whole)])]
        {
            let came = decode(&replaced(&frame, b"\x05PLACE", &with));
            let found = came.as_ref().err();
            assert_eq!(found, wrong.map(DecodeError::Value).as_ref(), "{because}");
        }
    }
}

#[test]
fn a_record_is_one_that_a_device_could_have_made() {
    let unfit = "a record whose kind and content do not fit";
    let (beyond, untold) =
        ("a counter that no device reaches", "a writer of whom nobody is ever told");
    let zero = Dot { writer: writer(1), counter: 0 };
    let dotted = |writer, counter| {
        let dot = Dot { writer, counter };
        Record { dot, version: Version::of(dot), ..file() }
    };
    let seen = |writer, counter| {
        let mut record = file();
        record.version.raise(Dot { writer, counter });
        record
    };
    let ids = |count| vec![AncestorId([1; 8]); count];
    let name = |count| Actor::Agent("n".repeat(count));
    for (record, wrong, because) in [
        (Record { content: ContentId::NONE, ..file() }, Some(unfit), "a file without content"),
        (Record { content: ContentId::of(b""), ..tombstone() }, Some(unfit), "a dead content"),
        (Record { size: 1, ..tombstone() }, Some(unfit), "a tombstone with a size"),
        (Record { size: FILE_BYTES_MAX, ..file() }, None, "the greatest file"),
        (Record { size: FILE_BYTES_MAX + 1, ..file() }, Some(unfit), "a sum could overflow"),
        (Record { kind: Kind::Symlink, size: 4096, ..file() }, None, "a long target"),
        (Record { kind: Kind::Symlink, size: 4097, ..file() }, Some(unfit), "no such target"),
        (
            Record { dot: zero, ..file() },
            Some("a write before the first"),
            "every version holds it",
        ),
        (dotted(writer(1), COUNTER_MAX), None, "the last write"),
        (dotted(writer(1), COUNTER_MAX + 1), Some(beyond), "one after the last"),
        (dotted(writer(1), u64::MAX), Some(beyond), "nothing comes after it"),
        (dotted(Writer::untold(writer(1).device), 1), Some(untold), "what is told to nobody"),
        (seen(Writer::untold(writer(1).device), 1), Some(untold), "nor seen by anybody"),
        (seen(writer(2), u64::MAX), Some(beyond), "all that somebody will ever write"),
        (Record { ancestors: ids(ANCESTORS_MAX), ..file() }, None, "all ancestors"),
        (Record { ancestors: ids(ANCESTORS_MAX + 1), ..file() }, Some(TOO_MANY), "one too many"),
        (Record { actor: name(64), ..file() }, None, "a long name"),
        (Record { actor: name(65), ..file() }, Some("an agent's name that is none"), "too long"),
        (Record { actor: name(0), ..file() }, Some("an agent's name that is none"), "nobody"),
        (Record { found: true, ..tombstone() }, Some("a delete that was found"), "nothing there"),
    ] {
        verdict(&offer(vec![(path("a"), record)]), wrong, because);
    }
}

#[test]
fn counts_end_where_they_must() {
    let strangers = |count: usize| {
        Version::from_counters((0..count as u64).map(|incarnation| {
            let incarnation = Incarnation(incarnation);
            (Writer { device: writer(1).device, incarnation }, 1)
        }))
    };
    let seen = |count| offer(vec![(path("a"), Record { version: strangers(count), ..file() })]);
    let told = |count| offer(vec![(path("a"), tombstone()); count]);
    let acked =
        |count| Frame::Ack { tag: tag(), frames: vec![(1, 1); count], aside: Vec::new(), sent: 0 };
    let items = |count| want(vec![wanted(path("a"), Need::Whole); count]);
    let ranges =
        |items, count| want(vec![wanted(path("a"), Need::Ranges(vec![(0, 1); count])); items]);
    for (frame, wrong, because) in [
        (seen(VERSION_WRITERS_MAX), None, "the longest version"),
        (seen(VERSION_WRITERS_MAX + 1), Some(TOO_MANY), "a longer version"),
        (told(OFFER_RECORDS_MAX), None, "the longest offer"),
        (told(OFFER_RECORDS_MAX + 1), Some(TOO_MANY), "a longer offer"),
        (acked(ACK_RANGES_MAX), None, "every frame that may be open"),
        (acked(ACK_RANGES_MAX + 1), Some(TOO_MANY), "more frames than may be open"),
        (items(WANT_ITEMS_MAX), None, "the longest want"),
        (items(WANT_ITEMS_MAX + 1), Some(TOO_MANY), "a longer want"),
        (ranges(1, WANT_RANGES_MAX), None, "the most ranges"),
        (ranges(1, WANT_RANGES_MAX + 1), Some(TOO_MANY), "more of one item"),
        (ranges(2, WANT_RANGES_MAX / 2 + 1), Some("too many ranges"), "more of two"),
    ] {
        verdict(&frame, wrong, because);
    }
}

#[test]
fn a_count_without_its_things_costs_nothing() {
    // Variants: 3 offer, 4 ack, 5 want, 6 have. 253 announces eight bytes of a number.
    let many = [&[253][..], &(1u64 << 60).to_le_bytes()].concat();
    for (head, wrong, because) in [
        (&b"\x03\x01f\x01\x01\x01\x00"[..], DecodeError::Value(TOO_MANY), "writers"),
        (b"\x04\x01f\x01\x01", DecodeError::Value(TOO_MANY), "acknowledged ranges"),
        (b"\x05\x01\x01f", DecodeError::Value(TOO_MANY), "wanted items"),
        (b"\x06", DecodeError::Value(TOO_MANY), "answers"),
        (b"\x06\x01\x01\x01\x00", DecodeError::Bytes, "the bytes of a content"),
        (b"\x06\x01\x01\x01\x01\x01", DecodeError::Value(TOO_MANY), "the blocks of a list"),
        (b"\x02", DecodeError::Bytes, "the name of a folder"),
    ] {
        assert_eq!(decode(&[head, &many].concat()), Err(wrong), "{because}");
    }
}

#[test]
fn bytes_come_in_sizes_that_were_asked_for() {
    let list = |average_bytes, sizes: &[u32]| {
        let block = |size: &u32| Block { id: BlockId([1; 32]), size: *size };
        have(Body::Blocks(BlockList { average_bytes, blocks: sizes.iter().map(block).collect() }))
    };
    let whole = |bytes: u64| have(Body::Whole(vec![0; usize::try_from(bytes).unwrap()]));
    let range = |offset, count: u32| have(Body::Range { offset, bytes: vec![0; count as usize] });
    let asked = |range| want(vec![wanted(path("a"), Need::Ranges(vec![range]))]);
    let (unsound, no_block) = ("a block list that no cutter made", "a range that is no block");
    for (frame, wrong, because) in [
        (whole(WHOLE_BYTES_MAX), None, "the longest whole"),
        (whole(WHOLE_BYTES_MAX + 1), Some("a whole content of many blocks"), "a longer one"),
        (list(32 << 10, &[1, 128 << 10]), None, "blocks of every size"),
        (list(32 << 10, &[]), Some(unsound), "no blocks"),
        (list(32 << 10, &[0]), Some(unsound), "an empty block"),
        (list(32 << 10, &[(128 << 10) + 1]), Some(unsound), "longer than the cutter cuts"),
        (list(33 << 10, &[1]), Some(unsound), "no average of the ladder"),
        (range(0, BLOCK_BYTES_MAX), None, "the longest block"),
        (range(0, BLOCK_BYTES_MAX + 1), Some(no_block), "a longer one"),
        (range(0, 0), Some(no_block), "nothing"),
        (range(u64::MAX, 1), Some(no_block), "its end overflows"),
        (range(FILE_BYTES_MAX - 1, 1), None, "the last byte of the greatest file"),
        (asked((0, BLOCK_BYTES_MAX)), None, "the longest block, asked for"),
        (asked((0, BLOCK_BYTES_MAX + 1)), Some(no_block), "a longer one"),
        (asked((0, 0)), Some(no_block), "nothing"),
        (asked((u64::MAX, 1)), Some(no_block), "its end overflows"),
        (asked((FILE_BYTES_MAX, 1)), Some(no_block), "behind every file"),
    ] {
        verdict(&frame, wrong, because);
    }
}

#[test]
fn inline_bytes_stay_few() {
    let inline = |sizes: &[u64]| {
        let bytes = |size: &u64| (ContentId([1; 32]), vec![0; usize::try_from(*size).unwrap()]);
        let offer =
            Offer { number: 1, after: 0, records: Vec::new(), upto: None, more: More::Nothing };
        Frame::Offer { tag: tag(), offer, inline: sizes.iter().map(bytes).collect() }
    };
    let most = INLINE_BYTES_MAX;
    for (sizes, wrong, because) in [
        (&[most; 4][..], None, "as many as may be in flight"),
        (&[most; 5], Some("too many inline bytes"), "more than may be in flight"),
        (&[most + 1], Some("too many inline bytes"), "one that is too long"),
    ] {
        verdict(&inline(sizes), wrong, because);
    }
}

#[test]
fn names_numbers_and_kinds_make_sense() {
    let offered = |number, after| {
        let offer = Offer { number, after, records: Vec::new(), upto: None, more: More::Nothing };
        Frame::Offer { tag: tag(), offer, inline: Vec::new() }
    };
    let named = |count| {
        let Frame::Hello(hello) = hello(1) else { panic!("hello is a hello") };
        Frame::Hello(Hello { name: "n".repeat(count), ..hello })
    };
    let acked = |range| Frame::Ack { tag: tag(), frames: vec![], aside: vec![range], sent: 0 };
    let directory = WantedItem { kind: Kind::Directory, ..wanted(path("a"), Need::Whole) };
    for (frame, wrong, because) in [
        (offered(1, 0), None, "waits for nothing"),
        (offered(2, 1), None, "waits for the rules"),
        (offered(1, 1), Some("an offer that is to wait for itself"), "for ever"),
        (offered(0, 0), Some("an offer that is to wait for itself"), "numbers begin at one"),
        (named(NAME_BYTES_MAX), None, "a long name"),
        (named(NAME_BYTES_MAX + 1), Some("a name without end"), "longer"),
        (acked((2, 1)), Some("a range that ends before it begins"), "backwards"),
        (acked((0, u64::MAX)), None, "numbers that were never sent are nothing"),
        (want(vec![directory]), Some("a want of what has no bytes"), "a directory"),
    ] {
        verdict(&frame, wrong, because);
    }
    let gone = Frame::Unready { folder: folder() };
    let came = decode(&replaced(&gone, b"\x04work", b"\x04.git"));
    assert_eq!(came, Err(DecodeError::Value("a folder id that is none")));
    let came = decode(&replaced(&gone, b"\x02", b"\x07"));
    assert_eq!(came, Err(DecodeError::Bytes), "a kind of frame that is not known");
}

#[test]
fn the_hello_of_a_later_version_may_say_more() {
    let more = |version| [encode(&hello(version)), b"what a later version adds".to_vec()].concat();
    assert_eq!(decode(&more(2)), Ok(hello(2)));
    assert_eq!(decode(&more(1)), Err(DecodeError::Surplus(25)), "of this one it may not");
}
