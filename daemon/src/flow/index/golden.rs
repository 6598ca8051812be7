//! The formats on disk, pinned byte by byte, and what happens to bytes that are none of them.

use proptest::prelude::*;
use syncd_core::flow::digest::{Block, BlockList};
use syncd_core::flow::index::{Brake, Cursor, Marks};
use syncd_core::model::{
    Actor, BlockId, ContentId, Entry, Kind, Local, Standing, StoreId, Version,
};

use super::codec::Malformed;
use super::format::{Named, decode_page, encode_page};
use super::rows::{
    BLOCKS_IN_PART, Tally, decode_blocks, decode_changes, decode_holders, decode_marks,
    decode_tally, encode_blocks, encode_changes, encode_holders, encode_marks, encode_tally,
};
use super::sample::{self, Dice, device, dot, path};
use super::{Summary, keys};

fn named(name: &str, entry: Entry) -> Named {
    (name.as_bytes().into(), entry)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A page with one of everything.
fn page() -> Vec<Named> {
    let plain = sample::file("hello", 5);
    let mut edited = sample::file("hello again", 6);
    edited.record.kind = Kind::Symlink;
    edited.record.ancestors = vec![plain.record.content.ancestor()];
    edited.record.dot = dot(2, 9);
    edited.record.version = Version::from_counters(
        [(dot(1, 5), 5), (dot(2, 9), 9)].map(|(dot, counter)| (dot.writer, counter)),
    );
    edited.record.actor = Actor::Agent("claude".to_owned());
    edited.record.found = true;
    edited.local = Local {
        seen: None,
        source: Some(device(3)),
        data_durable: true,
        standing: Standing::Refused,
    };
    let gone = sample::tombstone(&plain, 7);
    vec![named("greet", plain), named("greeting", edited), named("z", gone)]
}

#[test]
fn a_page_has_these_bytes() {
    let bytes = encode_page(&page());
    assert_eq!(decode_page(&bytes).unwrap(), page());
    assert_eq!(hex(&bytes), include_str!("golden_page.hex").replace(char::is_whitespace, ""));
}

#[test]
fn rows_have_these_bytes() {
    let changes = vec![(300, path("src/a.rs")), (301, path("src/b.rs"))];
    let bytes = encode_changes(&changes);
    assert_eq!(hex(&bytes), "0102ac0200087372632f612e7273010404622e7273");
    assert_eq!(decode_changes(&bytes).unwrap(), changes);

    let holders = vec![keys::holding(ContentId([7; 32]), 258)];
    let bytes = encode_holders(&holders);
    assert_eq!(hex(&bytes), "0107070707070707070000000000000102");
    assert_eq!(decode_holders(&bytes).unwrap(), holders);

    let summary = Summary {
        files: 1,
        bytes: 300,
        directories: 2,
        tombstones: 3,
        conflicts: 4,
        ignored: 5,
        unsupported: 8,
        withheld: 7,
    };
    let tally = Tally { last_seq: 128, live_files: 6, summary };
    let bytes = encode_tally(&tally);
    assert_eq!(hex(&bytes), "0180010601ac02020304050807");
    assert_eq!(decode_tally(&bytes).unwrap(), tally);

    let mut marks = Marks { covered: Version::of(dot(1, 3)), ..Marks::default() };
    marks.cursors.insert(device(1), Cursor { store: StoreId(4), seq: 5 });
    marks.acked.insert(device(1), 6);
    marks.surveyed = true;
    marks.brakes.insert(device(1), Brake::Held { files: 3000 });
    let bytes = encode_marks(&marks);
    let (ones, store, incarnation) = ("01".repeat(32), "0400000000000000", "0700000000000000");
    let words = format!("01{ones}0100{incarnation}00");
    assert_eq!(
        hex(&bytes),
        format!("01{words}010003") + &format!("0100{store}0501000601010000b817")
    );
    assert_eq!(decode_marks(&bytes).unwrap(), marks);
}

#[test]
fn a_block_list_has_these_bytes_and_is_whole_or_nothing() {
    let block = |n: usize| Block { id: BlockId([n as u8; 32]), size: n as u32 + 1 };
    let small = BlockList { average_bytes: 32 << 10, blocks: vec![block(5)] };
    let parts = encode_blocks(&small);
    assert_eq!(parts.len(), 1);
    assert_eq!(hex(&parts[0]), format!("0180800201{}06", "05".repeat(32)));
    for count in [0, 1, BLOCKS_IN_PART, BLOCKS_IN_PART + 1, 3 * BLOCKS_IN_PART] {
        let list = BlockList { average_bytes: 1 << 20, blocks: (0..count).map(block).collect() };
        let parts = encode_blocks(&list);
        assert_eq!(parts.len(), count.div_ceil(BLOCKS_IN_PART).max(1));
        assert_eq!(decode_blocks(&parts).unwrap(), list);
        if parts.len() > 1 {
            assert!(decode_blocks(&parts[1..]).is_err(), "without its beginning");
            assert!(decode_blocks(&parts[..1]).is_err(), "without its end");
        }
    }
}

#[test]
fn a_plain_entry_takes_under_90_bytes() {
    let entries: Vec<Named> = (0..40)
        .map(|n| named(&format!("source_file_{n:03}.rs"), sample::file(&n.to_string(), 1000 + n)))
        .collect();
    let bytes = encode_page(&entries).len();
    assert!(bytes < 90 * entries.len(), "{} a record", bytes / entries.len());
}

#[test]
fn what_a_newer_program_wrote_is_told_apart_from_damage() {
    let mut bytes = encode_page(&page());
    bytes[0] = 2;
    assert_eq!(decode_page(&bytes), Err(Malformed::Newer(2)));
    bytes[0] = 0;
    assert!(matches!(decode_page(&bytes), Err(Malformed::Wrong(_))));
    assert_eq!(decode_tally(&[200, 1]), Err(Malformed::Newer(200)));
}

proptest! {
    #[test]
    fn any_entries_are_read_back(seed: u64, count in 0usize..40) {
        let mut dice = Dice::new(seed);
        let mut entries: Vec<Named> = Vec::new();
        for n in 0..count {
            let before = entries.last().map(|(_, entry)| entry.clone());
            let seq = dice.roll() >> 24;
            let mut entry = sample::entry(&mut dice, before.as_ref(), seq);
            entry.record.mtime_ns = dice.roll() as i64;
            (entry.record.size, entry.seq) = (dice.roll(), dice.roll());
            entries.push(named(&format!("{n:02}{}", dice.below(1000)), entry));
        }
        prop_assert_eq!(decode_page(&encode_page(&entries)).unwrap(), entries);
        let marks = sample::marks(&mut dice);
        prop_assert_eq!(decode_marks(&encode_marks(&marks)).unwrap(), marks);
    }

    #[test]
    fn bytes_cut_or_changed_never_panic(at: prop::sample::Index, byte: u8, cut: bool) {
        let mut bytes = encode_page(&page());
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
            prop_assert!(decode_page(&bytes).is_err());
        } else {
            bytes[at] = byte;
            let _ = decode_page(&bytes);
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes: Vec<u8>) {
        let _ = decode_page(&bytes);
        let _ = decode_changes(&bytes);
        let _ = decode_holders(&bytes);
        let _ = decode_marks(&bytes);
        let _ = decode_tally(&bytes);
        let _ = decode_blocks([&bytes, &bytes]);
    }
}
