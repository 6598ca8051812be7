//! What a page of the index looks like on disk, and the record inside it.
//!
//! A page is a version byte, the dictionaries of the devices, writers and agents that its
//! entries name, and the entries sorted by name. Each name shares a beginning with the one
//! before; times, sequences, counters and inodes are told as differences. A plain entry takes
//! about 80 bytes.
//!
//! # Invariants
//! - What is decoded is what was encoded; anything else is [`Malformed`], never a guess.
//! - A version byte above [`PAGE_VERSION`] is [`Malformed::Newer`]: refused, never rewritten.

use std::collections::BTreeMap;

use syncd_core::model::limits::{ANCESTORS_MAX, NAME_BYTES_MAX};
use syncd_core::model::{
    Actor, AncestorId, ContentId, DeviceId, Dot, Entry, Incarnation, Kind, Local, Record, Seq,
    Standing, StatKey, Version, Writer,
};
use syncd_core::protocol::limits::AGENT_BYTES_MAX;

use super::codec::{Malformed, Reader, put_bytes, put_int, put_uint};

/// The format of pages that this program writes.
pub(super) const PAGE_VERSION: u8 = 1;

/// One name of a directory and what is kept of it.
pub(super) type Named = (Box<[u8]>, Entry);

/// Bits of a record's first byte, above its kind.
mod record_bit {
    pub(super) const CONTENT: u8 = 1 << 2;
    /// The version has seen the dot and nothing else.
    pub(super) const PLAIN_VERSION: u8 = 1 << 3;
    /// The author is the dot's device.
    pub(super) const PLAIN_AUTHOR: u8 = 1 << 4;
    pub(super) const PERSON: u8 = 1 << 5;
    pub(super) const AGENT: u8 = 1 << 6;
    pub(super) const FOUND: u8 = 1 << 7;
}

/// Bits of the local columns' first byte.
mod local_bit {
    pub(super) const DURABLE: u8 = 1 << 0;
    pub(super) const SEEN: u8 = 1 << 1;
    pub(super) const SAME_SIZE: u8 = 1 << 2;
    pub(super) const SAME_MTIME: u8 = 1 << 3;
    pub(super) const SAME_MODE: u8 = 1 << 4;
    pub(super) const SOURCE: u8 = 1 << 5;
    pub(super) const STANDING: u8 = 1 << 6;
    pub(super) const UNKNOWN: u8 = 1 << 7;
}

/// The long values of a page, each written once. Filled while the entries are encoded.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    devices: Vec<DeviceId>,
    device_at: BTreeMap<DeviceId, u64>,
    writers: Vec<Writer>,
    writer_at: BTreeMap<Writer, u64>,
    agents: Vec<String>,
}

impl Dictionary {
    /// Returns the place of `device`, adding it at the end if it is new.
    pub(super) fn device(&mut self, device: DeviceId) -> u64 {
        *self.device_at.entry(device).or_insert_with(|| {
            self.devices.push(device);
            self.devices.len() as u64 - 1
        })
    }

    fn writer(&mut self, writer: Writer) -> u64 {
        if let Some(at) = self.writer_at.get(&writer) {
            return *at;
        }
        self.device(writer.device);
        self.writers.push(writer);
        let at = self.writers.len() as u64 - 1;
        self.writer_at.insert(writer, at);
        at
    }

    fn agent(&mut self, name: &str) -> u64 {
        let at = self.agents.iter().position(|known| known == name).unwrap_or_else(|| {
            self.agents.push(name.to_owned());
            self.agents.len() - 1
        });
        at as u64
    }

    /// Appends the dictionary; it goes before what names its places.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_uint(out, self.devices.len() as u64);
        for device in &self.devices {
            out.extend_from_slice(&device.0);
        }
        put_uint(out, self.writers.len() as u64);
        for writer in &self.writers {
            put_uint(out, self.device_at.get(&writer.device).copied().unwrap_or_default());
            out.extend_from_slice(&writer.incarnation.0.to_le_bytes());
        }
        put_uint(out, self.agents.len() as u64);
        for agent in &self.agents {
            put_bytes(out, agent.as_bytes());
        }
    }

    /// Reads a dictionary.
    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut dictionary = Self::default();
        for _ in 0..from.count(32)? {
            dictionary.devices.push(DeviceId(from.array()?));
        }
        for _ in 0..from.count(9)? {
            let device = dictionary.device_in(from)?;
            let incarnation = Incarnation(u64::from_le_bytes(from.array()?));
            dictionary.writers.push(Writer { device, incarnation });
        }
        for _ in 0..from.count(1)? {
            let name = std::str::from_utf8(from.bytes()?)
                .ok()
                // Every record that names it has a copy of its own.
                .filter(|name| name.len() <= AGENT_BYTES_MAX)
                .ok_or(Malformed::Wrong("an agent's name is none"))?;
            dictionary.agents.push(name.to_owned());
        }
        Ok(dictionary)
    }

    /// Reads the place of a device.
    pub(super) fn device_in(&self, from: &mut Reader<'_>) -> Result<DeviceId, Malformed> {
        place(&self.devices, from).copied()
    }
}

fn place<'a, T>(list: &'a [T], from: &mut Reader<'_>) -> Result<&'a T, Malformed> {
    let at = usize::try_from(from.uint()?).unwrap_or(usize::MAX);
    list.get(at).ok_or(Malformed::Wrong("a place lies outside its dictionary"))
}

/// What the next entry is told as a difference from.
#[derive(Debug, Default)]
pub(super) struct Before {
    mtime_ns: i64,
    counter: u64,
    seq: u64,
    inode: u64,
}

/// Appends `now` as the difference from `before`, which becomes `now`.
fn put_step(out: &mut Vec<u8>, before: &mut u64, now: u64) {
    put_int(out, now.wrapping_sub(*before) as i64);
    *before = now;
}

fn step(from: &mut Reader<'_>, before: &mut u64) -> Result<u64, Malformed> {
    *before = before.wrapping_add(from.int()? as u64);
    Ok(*before)
}

/// Tells the kinds whose times are near their neighbours'; those of the rest are zero.
fn has_time(kind: Kind) -> bool {
    matches!(kind, Kind::File | Kind::Symlink)
}

/// Appends a version; its writers go into the dictionary.
pub(super) fn put_version(out: &mut Vec<u8>, words: &mut Dictionary, version: &Version) {
    let counters = version.counters();
    put_uint(out, counters.len() as u64);
    for (writer, counter) in counters {
        put_uint(out, words.writer(writer));
        put_uint(out, counter);
    }
}

/// Reads what [`put_version`] wrote.
pub(super) fn read_version(
    from: &mut Reader<'_>,
    words: &Dictionary,
) -> Result<Version, Malformed> {
    let mut counters = Vec::new();
    for _ in 0..from.count(2)? {
        counters.push((*place(&words.writers, from)?, from.uint()?));
    }
    Ok(Version::from_counters(counters))
}

/// Appends a record.
pub(super) fn put_record(
    out: &mut Vec<u8>,
    words: &mut Dictionary,
    before: &mut Before,
    record: &Record,
) {
    let plain_version = record.version == Version::of(record.dot);
    let plain_author = record.author == record.dot.writer.device;
    let mut bits = match record.kind {
        Kind::File => 0,
        Kind::Directory => 1,
        Kind::Symlink => 2,
        Kind::Tombstone => 3,
    };
    for (set, bit) in [
        (record.content != ContentId::NONE, record_bit::CONTENT),
        (plain_version, record_bit::PLAIN_VERSION),
        (plain_author, record_bit::PLAIN_AUTHOR),
        (record.actor == Actor::Person, record_bit::PERSON),
        (matches!(record.actor, Actor::Agent(_)), record_bit::AGENT),
        (record.found, record_bit::FOUND),
    ] {
        bits |= if set { bit } else { 0 };
    }
    out.push(bits);
    put_uint(out, record.size);
    if has_time(record.kind) {
        put_int(out, record.mtime_ns.wrapping_sub(before.mtime_ns));
        before.mtime_ns = record.mtime_ns;
    } else {
        put_int(out, record.mtime_ns);
    }
    put_uint(out, u64::from(record.mode));
    if record.content != ContentId::NONE {
        out.extend_from_slice(&record.content.0);
    }
    put_uint(out, record.ancestors.len() as u64);
    for ancestor in &record.ancestors {
        out.extend_from_slice(&ancestor.0);
    }
    put_uint(out, words.writer(record.dot.writer));
    put_step(out, &mut before.counter, record.dot.counter);
    if !plain_version {
        put_version(out, words, &record.version);
    }
    if !plain_author {
        put_uint(out, words.device(record.author));
    }
    if let Actor::Agent(name) = &record.actor {
        put_uint(out, words.agent(name));
    }
}

/// Reads what [`put_record`] wrote.
pub(super) fn read_record(
    from: &mut Reader<'_>,
    words: &Dictionary,
    before: &mut Before,
) -> Result<Record, Malformed> {
    let bits = from.byte()?;
    let kind = match bits & 3 {
        0 => Kind::File,
        1 => Kind::Directory,
        2 => Kind::Symlink,
        _ => Kind::Tombstone,
    };
    let found = bits & record_bit::FOUND != 0;
    let size = from.uint()?;
    let mut mtime_ns = from.int()?;
    if has_time(kind) {
        mtime_ns = mtime_ns.wrapping_add(before.mtime_ns);
        before.mtime_ns = mtime_ns;
    }
    let mode = from.uint32()?;
    let content = match bits & record_bit::CONTENT {
        0 => ContentId::NONE,
        _ => ContentId(from.array()?),
    };
    let ancestor_count = from.count(8)?;
    if ancestor_count > ANCESTORS_MAX {
        return Err(Malformed::Wrong("a record has too many ancestors"));
    }
    let mut ancestors = Vec::with_capacity(ancestor_count);
    for _ in 0..ancestor_count {
        ancestors.push(AncestorId(from.array()?));
    }
    let writer = *place(&words.writers, from)?;
    let dot = Dot { writer, counter: step(from, &mut before.counter)? };
    let version = match bits & record_bit::PLAIN_VERSION {
        0 => read_version(from, words)?,
        _ => Version::of(dot),
    };
    let author = match bits & record_bit::PLAIN_AUTHOR {
        0 => words.device_in(from)?,
        _ => writer.device,
    };
    let actor = match (bits & record_bit::PERSON, bits & record_bit::AGENT) {
        (0, 0) => Actor::Unknown,
        (_, 0) => Actor::Person,
        (0, _) => Actor::Agent(place(&words.agents, from)?.clone()),
        _ => return Err(Malformed::Wrong("a record has two actors")),
    };
    Ok(Record {
        kind,
        size,
        mtime_ns,
        mode,
        content,
        ancestors,
        dot,
        version,
        author,
        actor,
        found,
    })
}

fn put_local(
    out: &mut Vec<u8>,
    words: &mut Dictionary,
    before: &mut Before,
    local: &Local,
    record: &Record,
) {
    let mut bits = 0;
    for (set, bit) in [
        (local.data_durable, local_bit::DURABLE),
        (local.seen.is_some(), local_bit::SEEN),
        (local.seen.is_some_and(|s| s.size == record.size), local_bit::SAME_SIZE),
        (local.seen.is_some_and(|s| s.mtime_ns == record.mtime_ns), local_bit::SAME_MTIME),
        (local.seen.is_some_and(|s| s.mode == record.mode), local_bit::SAME_MODE),
        (local.source.is_some(), local_bit::SOURCE),
        (local.standing != Standing::Settled, local_bit::STANDING),
    ] {
        bits |= if set { bit } else { 0 };
    }
    out.push(bits);
    if let Some(seen) = local.seen {
        put_step(out, &mut before.inode, seen.inode);
        if seen.size != record.size {
            put_uint(out, seen.size);
        }
        if seen.mtime_ns != record.mtime_ns {
            put_int(out, seen.mtime_ns.wrapping_sub(record.mtime_ns));
        }
        put_int(out, seen.ctime_ns.wrapping_sub(seen.mtime_ns));
        if seen.mode != record.mode {
            put_uint(out, u64::from(seen.mode));
        }
    }
    if let Some(source) = local.source {
        put_uint(out, words.device(source));
    }
    match local.standing {
        Standing::Settled => {}
        Standing::Ignored => out.push(1),
        Standing::Unsupported => out.push(2),
        Standing::Refused => out.push(3),
        Standing::Evicted => out.push(4),
        Standing::Withheld => out.push(5),
    }
}

fn read_local(
    from: &mut Reader<'_>,
    words: &Dictionary,
    before: &mut Before,
    record: &Record,
) -> Result<Local, Malformed> {
    let bits = from.byte()?;
    let has = |bit: u8| bits & bit != 0;
    if has(local_bit::UNKNOWN) {
        return Err(Malformed::Wrong("an entry has an unknown mark"));
    }
    let mut seen = None;
    if has(local_bit::SEEN) {
        let inode = step(from, &mut before.inode)?;
        let size = if has(local_bit::SAME_SIZE) { record.size } else { from.uint()? };
        let mtime_ns = if has(local_bit::SAME_MTIME) {
            record.mtime_ns
        } else {
            record.mtime_ns.wrapping_add(from.int()?)
        };
        let ctime_ns = mtime_ns.wrapping_add(from.int()?);
        let mode = if has(local_bit::SAME_MODE) { record.mode } else { from.uint32()? };
        seen = Some(StatKey { inode, size, mtime_ns, ctime_ns, mode });
    }
    let source = if has(local_bit::SOURCE) { Some(words.device_in(from)?) } else { None };
    let standing = match if has(local_bit::STANDING) { from.byte()? } else { 0 } {
        0 if !has(local_bit::STANDING) => Standing::Settled,
        1 => Standing::Ignored,
        2 => Standing::Unsupported,
        3 => Standing::Refused,
        4 => Standing::Evicted,
        5 => Standing::Withheld,
        _ => return Err(Malformed::Wrong("a path stands in an unknown way")),
    };
    Ok(Local { seen, source, data_durable: has(local_bit::DURABLE), standing })
}

/// Encodes the entries of one page, sorted by name.
pub(super) fn encode_page(entries: &[Named]) -> Vec<u8> {
    let mut words = Dictionary::default();
    let mut before = Before::default();
    let mut name_before: &[u8] = &[];
    let mut body = Vec::with_capacity(entries.len() * 96);
    for (name, entry) in entries {
        let shared = name_before.iter().zip(name.iter()).take_while(|(a, b)| a == b).count();
        put_uint(&mut body, shared as u64);
        put_bytes(&mut body, &name[shared..]);
        name_before = name;
        put_record(&mut body, &mut words, &mut before, &entry.record);
        put_step(&mut body, &mut before.seq, entry.seq);
        put_local(&mut body, &mut words, &mut before, &entry.local, &entry.record);
    }
    let mut page = Vec::with_capacity(body.len() + 128);
    page.push(PAGE_VERSION);
    words.put(&mut page);
    put_uint(&mut page, entries.len() as u64);
    page.append(&mut body);
    page
}

/// Decodes a page.
pub(super) fn decode_page(bytes: &[u8]) -> Result<Vec<Named>, Malformed> {
    let mut from = Reader::versioned(bytes, PAGE_VERSION)?;
    let words = Dictionary::read(&mut from)?;
    let count = from.count(8)?;
    let mut before = Before::default();
    let mut entries: Vec<Named> = Vec::with_capacity(count);
    for _ in 0..count {
        let name = read_name(&mut from, entries.last().map_or(&[], |(name, _)| name))?;
        let record = read_record(&mut from, &words, &mut before)?;
        let seq: Seq = step(&mut from, &mut before.seq)?;
        let local = read_local(&mut from, &words, &mut before, &record)?;
        entries.push((name, Entry { record, seq, local }));
    }
    from.end()?;
    Ok(entries)
}

/// Reads a name that must come after `before`.
fn read_name(from: &mut Reader<'_>, before: &[u8]) -> Result<Box<[u8]>, Malformed> {
    let shared = usize::try_from(from.uint()?).unwrap_or(usize::MAX);
    let start = before.get(..shared).ok_or(Malformed::Wrong("a name shares too much"))?;
    let rest = from.bytes()?;
    // Names that share a long beginning would take far more room than their bytes.
    if start.len() + rest.len() > NAME_BYTES_MAX {
        return Err(Malformed::Wrong("a name is too long"));
    }
    let name = [start, rest].concat();
    if *name <= *before {
        return Err(Malformed::Wrong("the names are not in order"));
    }
    Ok(name.into())
}
