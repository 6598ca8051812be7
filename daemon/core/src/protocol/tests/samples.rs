//! Frames to test with: one fixed of each kind, and any.

use proptest::prelude::*;
use proptest::{collection, option, sample};

use super::super::peer::WantedItem;
use super::super::peer::{
    Body, Frame, Have, Hello, Holds, List, Listed, Need, PROTOCOL_VERSION, Ready, Tag, Want,
};
use crate::flow::digest::{Block, BlockList};
use crate::flow::index::Cursor;
use crate::flow::offer::{More, Offer, Upto};
use crate::model::limits::COUNTER_MAX;
use crate::model::{
    Actor, AncestorId, BlockId, ContentId, DeviceId, Dot, FolderId, Incarnation, Kind, Record,
    RelPath, StoreId, Version, Writer,
};

pub(super) fn folder() -> FolderId {
    FolderId::parse("work").unwrap()
}

pub(super) fn tag() -> Tag {
    Tag { folder: folder(), from: 1, to: 2 }
}

pub(super) fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

pub(super) fn writer(name: u8) -> Writer {
    Writer { device: DeviceId([name; 32]), incarnation: Incarnation(u64::from(name)) }
}

/// A small file of an agent that a store found anew, merged with another device's record.
pub(super) fn file() -> Record {
    let dot = Dot { writer: writer(1), counter: 300 };
    Record {
        kind: Kind::File,
        size: 5,
        mtime_ns: 1_700_000_000_000_000_001,
        mode: 0o644,
        content: ContentId::of(b"hello"),
        ancestors: vec![ContentId::of(b"hi").ancestor()],
        dot,
        version: Version::from_counters([(writer(1), 300), (writer(2), 7)]),
        author: DeviceId([1; 32]),
        actor: Actor::Agent("bot".to_owned()),
        found: true,
    }
}

pub(super) fn tombstone() -> Record {
    let dot = Dot { writer: writer(2), counter: 8 };
    Record {
        kind: Kind::Tombstone,
        size: 0,
        mtime_ns: 0,
        mode: 0,
        content: ContentId::NONE,
        ancestors: Vec::new(),
        dot,
        version: Version::of(dot),
        author: DeviceId([2; 32]),
        actor: Actor::Person,
        found: false,
    }
}

pub(super) fn offer(records: Vec<(RelPath, Record)>) -> Frame {
    let offer = Offer { number: 3, after: 1, records, upto: None, more: More::Nothing };
    Frame::Offer { tag: tag(), offer, inline: Vec::new() }
}

pub(super) fn want(items: Vec<WantedItem>) -> Frame {
    Frame::Want(Want { request: 9, folder: folder(), items })
}

pub(super) fn wanted(path: RelPath, need: Need) -> WantedItem {
    WantedItem { path, kind: Kind::File, content: ContentId::of(b"hello"), need }
}

pub(super) fn have(body: Body) -> Frame {
    Frame::Have(vec![Have { request: 9, item: 0, body }])
}

fn acked(frames: Vec<(u64, u64)>, aside: Vec<(u64, u64)>) -> Frame {
    Frame::Ack { tag: tag(), frames, aside, sent: 2 }
}

/// One frame of each kind, with every optional part in one of them.
pub(super) fn one_of_each() -> Vec<(&'static str, Frame)> {
    let covered = Version::from_counters([(writer(1), 300), (writer(2), 8)]);
    let block = |name, size| Block { id: BlockId([name; 32]), size };
    let blocks = vec![block(1, 70_000), block(2, 200)];
    let full = Offer {
        number: 3,
        after: 1,
        records: vec![(path("a/b.txt"), file()), (path("gone"), tombstone())],
        upto: Some(Upto { seq: 1_048_577, covered: Some(covered) }),
        more: More::Burst,
    };
    vec![
        ("hello", hello(PROTOCOL_VERSION)),
        (
            "ready",
            Frame::Ready(Ready {
                folder: folder(),
                label: "Work".to_owned(),
                single_file: Some(b"notes.txt".to_vec()),
                epoch: 4,
                store: StoreId(5),
                cursor: Some(Cursor { store: StoreId(6), seq: 77 }),
                seen_of_you: vec![(Incarnation(1), 300)],
            }),
        ),
        ("unready", Frame::Unready { folder: folder() }),
        (
            "offer",
            Frame::Offer {
                tag: tag(),
                offer: full,
                inline: vec![(ContentId::of(b"hello"), b"hello".to_vec())],
            },
        ),
        ("ack", acked(vec![(1, 3), (5, 5)], vec![(4, 4)])),
        (
            "want",
            want(vec![
                wanted(path("a"), Need::Whole),
                wanted(path("b"), Need::Blocks),
                wanted(path("c"), Need::Ranges(vec![(70_000, 200)])),
            ]),
        ),
        ("have", answers(blocks)),
        ("list", Frame::List(List { request: 10, folder: folder(), after: 7 })),
        (
            "listed",
            Frame::Listed(Listed {
                request: 10,
                records: vec![(path("a/b.txt"), file())],
                next: Some(300),
            }),
        ),
        (
            "holds",
            Frame::Holds(Holds {
                folder: folder(),
                files: 3,
                bytes: 300,
                ignored: 2,
                unsupported: 1,
                not_taken: 4,
            }),
        ),
    ]
}

/// One answer of each kind.
fn answers(blocks: Vec<Block>) -> Frame {
    Frame::Have(vec![
        Have { request: 9, item: 0, body: Body::Whole(b"hello".to_vec()) },
        Have {
            request: 9,
            item: 1,
            body: Body::Blocks(BlockList { average_bytes: 32 << 10, blocks }),
        },
        Have { request: 9, item: 2, body: Body::Range { offset: 70_000, bytes: vec![7; 3] } },
        Have { request: 9, item: 3, body: Body::NotThere },
    ])
}

pub(super) fn hello(version: u16) -> Frame {
    Frame::Hello(Hello {
        version,
        name: "laptop".to_owned(),
        incarnation: Incarnation(0x0102_0304_0506_0708),
        boot_nonce: 9,
        token_shown: Some([1; 32]),
        token_given: [2; 32],
        clock_ms: 1_700_000_000_001,
    })
}

fn folders() -> impl Strategy<Value = FolderId> {
    "[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,20}".prop_map(|text| FolderId::parse(&text).unwrap())
}

fn tags() -> impl Strategy<Value = Tag> {
    (folders(), any::<u32>(), any::<u32>()).prop_map(|(folder, from, to)| Tag { folder, from, to })
}

fn paths() -> impl Strategy<Value = RelPath> {
    let part = collection::vec(1u8..=255, 1..12).prop_map(|mut part| {
        part.retain(|byte| *byte != b'/');
        part
    });
    collection::vec(part, 1..4).prop_filter_map("no path", |parts| {
        RelPath::parse(parts.join(&b'/')).ok().filter(|path| !path.is_reserved())
    })
}

fn writers() -> impl Strategy<Value = Writer> {
    (0u8..4, prop_oneof![Just(0), Just(1), 0..u64::MAX]).prop_map(|(name, incarnation)| Writer {
        device: DeviceId([name; 32]),
        incarnation: Incarnation(incarnation),
    })
}

fn versions() -> impl Strategy<Value = Version> {
    collection::vec((writers(), 1..=COUNTER_MAX), 0..5).prop_map(Version::from_counters)
}

fn actors() -> impl Strategy<Value = Actor> {
    prop_oneof![
        Just(Actor::Unknown),
        Just(Actor::Person),
        "[a-z\u{e4}]{1,32}".prop_map(Actor::Agent)
    ]
}

fn records() -> impl Strategy<Value = Record> {
    let kinds = sample::select(vec![Kind::File, Kind::Directory, Kind::Symlink, Kind::Tombstone]);
    let ancestors = collection::vec(any::<[u8; 8]>().prop_map(AncestorId), 0..=8);
    let dots = (writers(), 1..=COUNTER_MAX).prop_map(|(writer, counter)| Dot { writer, counter });
    let looks = (kinds, 0u64..=4096, any::<i64>(), 0u32..=0o777, 1u8..);
    let history = (ancestors, dots, versions(), writers(), actors(), any::<bool>());
    (looks, history).prop_map(|((kind, size, mtime_ns, mode, content), history)| {
        let (ancestors, dot, mut version, author, actor, found) = history;
        version.raise(dot);
        let has_bytes = matches!(kind, Kind::File | Kind::Symlink);
        Record {
            kind,
            size: if has_bytes { size } else { 0 },
            mtime_ns,
            mode,
            content: if has_bytes { ContentId([content; 32]) } else { ContentId::NONE },
            ancestors,
            dot,
            version,
            author: author.device,
            actor,
            found: found && kind != Kind::Tombstone,
        }
    })
}

fn offers() -> impl Strategy<Value = Frame> {
    let upto =
        (0..=COUNTER_MAX, option::of(versions())).prop_map(|(seq, covered)| Upto { seq, covered });
    let inline = collection::vec((any::<[u8; 32]>(), collection::vec(any::<u8>(), 0..99)), 0..3);
    let told = collection::vec((paths(), records()), 0..5);
    let numbers = (1u64.., any::<u64>()).prop_map(|(number, after)| (number, after % number));
    let more = sample::select(vec![More::Nothing, More::Burst, More::Backlog]);
    (tags(), numbers, told, option::of(upto), inline, more).prop_map(|parts| {
        let (tag, (number, after), records, upto, inline, more) = parts;
        let inline = inline.into_iter().map(|(id, bytes)| (ContentId(id), bytes)).collect();
        Frame::Offer { tag, offer: Offer { number, after, records, upto, more }, inline }
    })
}

fn wants() -> impl Strategy<Value = Frame> {
    let ranges = collection::vec((0u64..1 << 40, 1u32..=4 << 20), 0..4);
    let needs = prop_oneof![Just(Need::Whole), Just(Need::Blocks), ranges.prop_map(Need::Ranges)];
    let kinds = sample::select(vec![Kind::File, Kind::Symlink]);
    let items = (paths(), kinds, any::<[u8; 32]>(), needs)
        .prop_map(|(path, kind, id, need)| WantedItem { path, kind, content: ContentId(id), need });
    (any::<u64>(), folders(), collection::vec(items, 0..5))
        .prop_map(|(request, folder, items)| Frame::Want(Want { request, folder, items }))
}

fn haves() -> impl Strategy<Value = Frame> {
    let bytes = || collection::vec(any::<u8>(), 1..200);
    let blocks = collection::vec((any::<[u8; 32]>(), 1u32..=128 << 10), 1..5).prop_map(|blocks| {
        let block = |(id, size)| Block { id: BlockId(id), size };
        let blocks = blocks.into_iter().map(block).collect();
        Body::Blocks(BlockList { average_bytes: 32 << 10, blocks })
    });
    let bodies = prop_oneof![
        bytes().prop_map(Body::Whole),
        blocks,
        (0u64..1 << 40, bytes()).prop_map(|(offset, bytes)| Body::Range { offset, bytes }),
        Just(Body::NotThere),
    ];
    let answers = (any::<u64>(), any::<u32>(), bodies).prop_map(|(request, item, body)| Have {
        request,
        item,
        body,
    });
    collection::vec(answers, 0..5).prop_map(Frame::Have)
}

fn greetings() -> impl Strategy<Value = Frame> {
    let tokens = (option::of(any::<[u8; 32]>()), any::<[u8; 32]>());
    (0..=PROTOCOL_VERSION, "\\PC{0,40}", any::<(u64, u64)>(), tokens).prop_map(
        |(version, name, (incarnation, boot_nonce), (token_shown, token_given))| {
            let incarnation = Incarnation(incarnation);
            let clock_ms = boot_nonce.cast_signed();
            Frame::Hello(Hello {
                version,
                name,
                incarnation,
                boot_nonce,
                token_shown,
                token_given,
                clock_ms,
            })
        },
    )
}

fn readies() -> impl Strategy<Value = Frame> {
    let cursors =
        (any::<u64>(), any::<u64>()).prop_map(|(store, seq)| Cursor { store: StoreId(store), seq });
    let seen = collection::vec((any::<u64>().prop_map(Incarnation), 0..=COUNTER_MAX), 0..4);
    let named = option::of(Just(b"a \xff".to_vec()));
    let standing = (named, any::<u32>(), any::<u64>());
    (folders(), "\\PC{0,40}", standing, option::of(cursors), seen).prop_map(
        |(folder, label, (single_file, epoch, store), cursor, seen_of_you)| {
            let store = StoreId(store);
            Frame::Ready(Ready { folder, label, single_file, epoch, store, cursor, seen_of_you })
        },
    )
}

/// Any frame that a device may send.
pub(super) fn frames() -> impl Strategy<Value = Frame> {
    let ranges = collection::vec((any::<u64>(), any::<u64>()), 0..5).prop_map(|ranges| {
        ranges.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect::<Vec<_>>()
    });
    let acks = (tags(), ranges.clone(), ranges, any::<u64>())
        .prop_map(|(tag, frames, aside, sent)| Frame::Ack { tag, frames, aside, sent });
    let lists = (any::<u64>(), folders(), any::<u64>())
        .prop_map(|(request, folder, after)| Frame::List(List { request, folder, after }));
    let told = collection::vec((paths(), records()), 0..5);
    let listings = (any::<u64>(), told, option::of(any::<u64>()))
        .prop_map(|(request, records, next)| Frame::Listed(Listed { request, records, next }));
    let holds = (folders(), any::<[u64; 5]>()).prop_map(|(folder, counts)| {
        let [files, bytes, ignored, unsupported, not_taken] = counts;
        Frame::Holds(Holds { folder, files, bytes, ignored, unsupported, not_taken })
    });
    prop_oneof![
        holds,
        lists,
        listings,
        greetings(),
        readies(),
        folders().prop_map(|folder| Frame::Unready { folder }),
        offers(),
        acks,
        wants(),
        haves(),
    ]
}
