//! Many records at once, and what needs a fetch under way to go wrong.

mod brake;
mod held;
mod rush;

use std::collections::BTreeSet;

use super::{Action, Engine, EngineConfig, Event, FolderHello, Notice, PullError};
use crate::flow::index::{Known, MemIndex};
use crate::flow::offer::{More, Offer, Upto};
use crate::flow::settle::{Job, Placed, Step};
use crate::model::limits::OFFER_RECORDS_MAX;
use crate::model::{
    Actor, ContentId, DeviceId, Dot, Incarnation, Kind, Record, RelPath, StatKey, StoreId, Tick,
    Version, Writer,
};

const THEM: Writer = Writer { device: DeviceId([2; 32]), incarnation: Incarnation(1) };

/// Files in one directory.
const FILES_PER_DIR: u64 = 50;

struct Folder {
    engine: Engine,
    index: MemIndex,
    settled: usize,
    now: Tick,
    acked: BTreeSet<u64>,
    /// Frames that were said to be put aside.
    aside: BTreeSet<u64>,
    /// How often a person was told that a peer's deletes wait.
    asked: usize,
    /// What was told: the count of records of each frame, and what it says is coming.
    told: Vec<(usize, More)>,
    /// Contents that the peer does not have.
    gone: Vec<ContentId>,
}

impl Folder {
    fn new() -> Self {
        Self::braked(None)
    }

    /// A folder whose brake stops what deletes more files than so many at once.
    fn braked(brake_files: Option<usize>) -> Self {
        let index = MemIndex::default();
        let config = EngineConfig {
            me: Writer { device: DeviceId([1; 32]), incarnation: Incarnation(1) },
            store: StoreId(1),
            counters: 1..1 << 40,
            shared: [THEM.device].into(),
            rule_files: BTreeSet::new(),
            shaken: false,
            brake_files,
            taken_from: None,
        };
        let engine = Engine::new(config, &index).unwrap();
        let (acked, aside) = (BTreeSet::new(), BTreeSet::new());
        let (told, gone) = (Vec::new(), Vec::new());
        Self { engine, index, settled: 0, now: Tick(0), acked, aside, asked: 0, told, gone }
    }

    /// Tells the engine something and does all it orders.
    fn tell(&mut self, event: Event) {
        self.engine.handle(self.now, event, &mut self.index).unwrap();
        self.obey();
    }

    /// Lets time pass until nothing is due any more.
    fn rest(&mut self) {
        while self.pass() {}
    }

    /// Lets time pass until something is due; `false` when nothing is.
    fn pass(&mut self) -> bool {
        let Some(due) = self.engine.next_deadline() else { return false };
        self.now = due;
        self.engine.wake(due, &mut self.index).unwrap();
        self.obey();
        true
    }

    fn obey(&mut self) {
        while let Some(action) = self.engine.next_action() {
            let answer = match action {
                Action::Fetch { ticket, content, .. } => {
                    let is_gone = self.gone.contains(&content);
                    let outcome = if is_gone { Err(PullError::NotThere) } else { Ok(()) };
                    Event::Fetched { ticket, outcome }
                }
                Action::Settle { jobs } => {
                    self.settled += jobs.len();
                    let outcomes = jobs.iter().map(|job| (job.ticket, Ok(placed(job)))).collect();
                    Event::Settled { outcomes }
                }
                Action::Persist { seq } => Event::Persisted { seq },
                Action::Ack { frames, aside, .. } => {
                    let all = |ranges: Vec<(u64, u64)>| {
                        ranges.into_iter().flat_map(|(first, last)| first..=last)
                    };
                    self.acked.extend(all(frames));
                    self.aside.extend(all(aside));
                    continue;
                }
                Action::Tell(Notice::HeldOf { .. }) => {
                    self.asked += 1;
                    continue;
                }
                Action::Offer { offer, .. } => {
                    self.told.push((offer.records.len(), offer.more));
                    continue;
                }
                Action::Look { .. }
                | Action::ReserveCounters
                | Action::ReadRules
                | Action::Cut { .. }
                | Action::Halt
                | Action::Tell(_) => continue,
            };
            self.engine.handle(self.now, answer, &mut self.index).unwrap();
        }
    }

    fn greet(&mut self) {
        let hello = FolderHello { store: StoreId(9), cursor: None };
        self.tell(Event::PeerUp { peer: THEM.device, hello });
    }

    /// Offers records in frames of a thousand, from frame `number` on.
    fn offer(&mut self, mut number: u64, records: &[(RelPath, Record)]) {
        for records in records.chunks(OFFER_RECORDS_MAX) {
            let seq = records.last().unwrap().1.dot.counter;
            let upto = Some(Upto { seq, covered: None });
            let offer =
                Offer { number, after: 0, records: records.to_vec(), upto, more: More::Nothing };
            self.tell(Event::Offered { peer: THEM.device, offer });
            number += 1;
        }
    }
}

fn placed(job: &Job) -> Vec<Placed> {
    let stat = |path: &RelPath| StatKey {
        inode: path.as_bytes().len() as u64,
        size: 1,
        mtime_ns: 1,
        ctime_ns: 1,
        mode: 0o644,
    };
    let place = |step: &Step| match step {
        Step::Place { path, .. } | Step::MakeDirectory { path, .. } => {
            Some(Placed { path: path.clone(), stat: Some(stat(path)), durable: true })
        }
        Step::KeepForOthers { .. }
        | Step::KeepAs { .. }
        | Step::Dress { .. }
        | Step::Trash { .. }
        | Step::RemoveDirectory { .. } => None,
    };
    job.steps.iter().filter_map(place).collect()
}

fn record(kind: Kind, counter: u64, seen: &Version) -> Record {
    let dot = Dot { writer: THEM, counter };
    let mut version = seen.clone();
    version.raise(dot);
    let is_file = kind == Kind::File;
    Record {
        kind,
        size: u64::from(is_file),
        mtime_ns: i64::from(is_file),
        mode: if kind == Kind::Tombstone { 0 } else { 0o644 },
        content: if is_file { ContentId::of(&counter.to_be_bytes()) } else { ContentId::NONE },
        ancestors: Vec::new(),
        dot,
        version,
        author: THEM.device,
        actor: Actor::Unknown,
        found: false,
    }
}

/// A tree of `count` files, directories first, as a peer tells it.
fn tree(count: u64) -> Vec<(RelPath, Record)> {
    let mut records = Vec::new();
    let mut counter = 0;
    for dir in 0..count.div_ceil(FILES_PER_DIR) {
        let above = RelPath::parse(format!("d{dir}")).unwrap();
        counter += 1;
        records.push((above.clone(), record(Kind::Directory, counter, &Version::NEW)));
        for file in 0..FILES_PER_DIR {
            counter += 1;
            let path = above.join(format!("f{file}")).unwrap();
            records.push((path, record(Kind::File, counter, &Version::NEW)));
        }
    }
    records
}

#[test]
fn twenty_thousand_files_come_and_go() {
    let mut folder = Folder::new();
    folder.greet();
    let tree = tree(20_000);
    folder.offer(1, &tree);
    assert_eq!(folder.settled, tree.len(), "each record is settled once");
    let frames = tree.len().div_ceil(OFFER_RECORDS_MAX) as u64;
    assert_eq!(folder.acked.len() as u64, frames, "each frame is acknowledged");

    let mut counter = tree.len() as u64;
    let deletes: Vec<_> = tree
        .iter()
        .rev()
        .map(|(path, before)| {
            counter += 1;
            (path.clone(), record(Kind::Tombstone, counter, &before.version))
        })
        .collect();
    folder.offer(frames + 1, &deletes);
    for (path, _) in &tree {
        let entry = folder.index.get(path).unwrap();
        assert!(entry.is_none_or(|e| !e.record.is_live()), "{path} stayed");
    }
    assert!(folder.engine.is_idle(), "nothing is left to do");
}

/// Dropping the second peer's news because the first one's waits would settle its frame and adopt
/// what it covers; the first one's news would then be taken for a forgotten delete, and the only
/// write of a single writer be lost.
#[test]
fn news_of_two_peers_is_not_settled_by_halves() {
    let other = DeviceId([3; 32]);
    let path = RelPath::parse("p").unwrap();
    let news = record(Kind::File, 1, &Version::NEW);
    let upto = |covered| Some(Upto { seq: 1, covered: Some(covered) });
    let offer = |covered| Offer {
        number: 1,
        after: 0,
        records: vec![(path.clone(), news.clone())],
        upto: upto(covered),
        more: More::Nothing,
    };
    let mut folder = Folder::new();
    folder.greet();
    let hello = FolderHello { store: StoreId(8), cursor: None };
    folder.tell(Event::PeerUp { peer: other, hello });
    let mut hear = |event| {
        folder.engine.handle(Tick(0), event, &mut folder.index).unwrap();
        let orders = std::iter::from_fn(|| folder.engine.next_action());
        orders.filter(|o| matches!(o, Action::Fetch { .. })).collect::<Vec<_>>()
    };
    let covered = news.version.clone();
    let fetch = hear(Event::Offered { peer: THEM.device, offer: offer(Version::NEW) });
    assert!(hear(Event::Offered { peer: other, offer: offer(covered) }).is_empty());
    let [Action::Fetch { ticket, .. }] = fetch.as_slice() else { panic!("{fetch:?}") };
    folder.tell(Event::Fetched { ticket: *ticket, outcome: Ok(()) });
    let entry = folder.index.get(&path).unwrap().expect("it was placed");
    assert_eq!(entry.record, news, "not taken for a forgotten delete");
    assert!(folder.engine.is_idle(), "both frames are settled");
}

#[test]
fn rotten_bytes_that_lie_here_are_put_back_without_a_device() {
    for (staged, settled, because) in
        [(true, 2, "they are put back"), (false, 1, "a device is waited for")]
    {
        let mut folder = Folder::new();
        folder.greet();
        let path = RelPath::parse("p").unwrap();
        folder.offer(1, &[(path.clone(), record(Kind::File, 1, &Version::NEW))]);
        folder.rest();
        folder.tell(Event::PeerDown { peer: THEM.device });
        let entry = folder.index.get(&path).unwrap().expect("it was placed");
        let (stat, content) = (entry.local.seen.unwrap(), ContentId::of(b"rot"));
        folder.tell(Event::Rotten { path: path.clone(), stat, content, staged });
        folder.rest();
        assert_eq!(folder.settled, settled, "{because}");
        let after = folder.index.get(&path).unwrap().expect("it is there");
        assert_eq!(after.record, entry.record, "{because}, and it is nobody's edit");
    }
}

/// A peer that lost a file's bytes to a power loss tells of what it has found there instead, which
/// has seen nothing: in the order of its log, or first, on the other lane.
#[test]
fn what_a_peer_has_lost_is_not_asked_for_without_end() {
    let path = RelPath::parse("p").unwrap();
    let lost = record(Kind::File, 1, &Version::NEW);
    let again = Writer { incarnation: Incarnation(2), ..THEM };
    let dot = Dot { writer: again, counter: 9 };
    let found = Record { dot, version: Version::of(dot), found: true, ..lost.clone() };
    let found = Record { content: ContentId::of(b"what is left"), ..found };
    for (words, because) in [
        ([(1, &lost), (2, &found)], "in the order of the log"),
        ([(2, &found), (1, &lost)], "the later one on the quicker lane"),
    ] {
        let mut folder = Folder::new();
        folder.gone = vec![lost.content];
        folder.greet();
        for (number, record) in words {
            folder.offer(number, &[(path.clone(), record.clone())]);
        }
        for _ in 0..3 {
            folder.pass();
        }
        let entry = folder.index.get(&path).unwrap().expect("it was placed");
        assert_eq!(entry.record.content, found.content, "{because}");
        assert_eq!(folder.acked.len(), 2, "{because}: nothing is waited for");
        assert!(folder.engine.is_idle(), "{because}");
    }
}
