//! Entries for tests, made from a seed.

use syncd_core::flow::index::{Batch, Brake, Cursor, Marks};
use syncd_core::model::{
    Actor, ContentId, DeviceId, Dot, Entry, Incarnation, Kind, Local, Record, RelPath, Seq,
    Standing, StatKey, StoreId, Version, Writer,
};

/// Numbers that follow from a seed (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(super) fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize].clone()
    }
}

pub(super) fn path(text: impl AsRef<[u8]>) -> RelPath {
    RelPath::parse(text.as_ref()).unwrap()
}

pub(super) fn device(name: u8) -> DeviceId {
    DeviceId([name; 32])
}

pub(super) fn dot(name: u8, counter: u64) -> Dot {
    let writer = Writer { device: device(name), incarnation: Incarnation(7) };
    Dot { writer, counter }
}

/// A plain new file as a scan announces it.
pub(super) fn file(content: &str, seq: Seq) -> Entry {
    let dot = dot(1, seq);
    let mtime_ns = 1_700_000_000_000_000_000 + seq as i64 * 1_000_003;
    let record = Record {
        kind: Kind::File,
        size: content.len() as u64,
        mtime_ns,
        mode: 0o644,
        content: ContentId::of(content.as_bytes()),
        ancestors: Vec::new(),
        dot,
        version: Version::of(dot),
        author: dot.writer.device,
        actor: Actor::Unknown,
        found: false,
    };
    let seen = StatKey {
        inode: 1_000_000 + seq,
        size: record.size,
        mtime_ns,
        ctime_ns: mtime_ns + 40_000,
        mode: record.mode,
    };
    Entry { record, seq, local: Local { seen: Some(seen), ..Local::default() } }
}

/// What is left of `entry` once it is deleted.
pub(super) fn tombstone(entry: &Entry, seq: Seq) -> Entry {
    let record = Record {
        kind: Kind::Tombstone,
        size: 0,
        mtime_ns: 0,
        mode: 0,
        content: ContentId::NONE,
        ancestors: entry.record.heritage(),
        dot: dot(1, seq),
        version: entry.record.version.joined(&Version::of(dot(1, seq))),
        author: device(1),
        actor: Actor::Person,
        found: false,
    };
    Entry { record, seq, local: Local::default() }
}

/// Anything at all that a lawful put may hold, on top of `before`.
pub(super) fn entry(dice: &mut Dice, before: Option<&Entry>, seq: Seq) -> Entry {
    let content = if dice.one_in(2) { dice.below(5) } else { dice.roll() };
    let mut entry = file(&content.to_string(), seq);
    let record = &mut entry.record;
    if dice.one_in(6) {
        // Contents that begin alike.
        record.content = ContentId([7; 32]);
        record.content.0[31] = dice.below(3) as u8;
    }
    record.kind = dice.pick(&[Kind::File, Kind::File, Kind::File, Kind::Directory, Kind::Symlink]);
    record.kind = if dice.one_in(4) { Kind::Tombstone } else { record.kind };
    if !record.has_bytes() {
        (record.content, record.size, record.mtime_ns) = (ContentId::NONE, 0, 0);
    }
    record.mode = dice.pick(&[0o644, 0o755, 0o600, 0]);
    record.dot = dot(dice.below(3) as u8, seq);
    record.version = Version::of(record.dot);
    record.author = device(dice.below(3) as u8);
    record.actor = dice.pick(&[Actor::Unknown, Actor::Person, Actor::Agent("claude".to_owned())]);
    record.found = record.is_live() && dice.one_in(5);
    if let Some(before) = before {
        record.version.join(&before.record.version);
        record.ancestors = before.record.heritage();
    }
    entry.local = local(dice);
    entry
}

/// Any local columns.
pub(super) fn local(dice: &mut Dice) -> Local {
    let seen = StatKey {
        inode: dice.roll(),
        size: dice.below(1000),
        mtime_ns: dice.roll() as i64,
        ctime_ns: dice.roll() as i64,
        mode: 0o640,
    };
    Local {
        seen: Some(seen).filter(|_| !dice.one_in(3)),
        source: Some(device(9)).filter(|_| dice.one_in(3)),
        data_durable: dice.one_in(2),
        standing: dice.pick(&[
            Standing::Settled,
            Standing::Settled,
            Standing::Settled,
            Standing::Ignored,
            Standing::Unsupported,
            Standing::Refused,
            Standing::Evicted,
            Standing::Withheld,
        ]),
    }
}

/// Any marks.
pub(super) fn marks(dice: &mut Dice) -> Marks {
    let mut marks = Marks::default();
    for name in 0..dice.below(4) as u8 {
        marks.covered.raise(dot(name, dice.below(1 << 40)));
        let cursor = Cursor { store: StoreId(dice.roll()), seq: dice.below(1 << 40) };
        marks.cursors.insert(device(name), cursor);
        marks.acked.insert(device(name + 1), dice.below(1 << 40));
    }
    marks.surveyed = dice.one_in(2);
    let brakes = [Brake::Held { files: dice.below(1 << 40) }, Brake::Approved, Brake::Rejected];
    if dice.one_in(2) {
        marks.brakes.insert(device(7), brakes[dice.below(3) as usize]);
    }
    marks
}

/// A batch of puts alone.
pub(super) fn puts(puts: Vec<(RelPath, Entry)>) -> Batch {
    Batch { puts, ..Batch::default() }
}
