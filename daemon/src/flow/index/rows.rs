//! What the smaller trees of the store hold: buckets of changes, buckets of holders, a folder's
//! tally and marks, and parts of block lists.
//!
//! # Invariants
//! - Buckets are sorted and never empty; a tree of single rows would cost sled a hundred times
//!   the memory.
//! - Every value begins with [`ROW_VERSION`].

use std::collections::BTreeMap;

use syncd_core::flow::digest::{Block, BlockList};
use syncd_core::flow::index::{Brake, Cursor, Marks};
use syncd_core::model::{BlockId, Entry, Kind, RelPath, Seq, StoreId};

use super::codec::{Malformed, Reader, put_bytes, put_uint};
use super::format::{Dictionary, put_version, read_version};
use super::keys::Holding;
use super::summary::Summary;

/// The format of rows that this program writes.
pub(super) const ROW_VERSION: u8 = 1;

/// A bucket of changes is full at this many.
pub(super) const CHANGES_MAX: usize = 128;

/// A bucket of changes is full once it takes this much.
pub(super) const CHANGES_BYTES_MAX: usize = 8 << 10;

/// A bucket of holders is full at this many; it then takes 4 KiB. Few in tests, so that they get
/// there.
pub(super) const HOLDERS_MAX: usize = if cfg!(test) { 8 } else { 256 };

/// Blocks in one part of a block list; a part takes about 18 KiB.
pub(super) const BLOCKS_IN_PART: usize = 512;

/// Encodes a bucket of changes, sorted by sequence; each path shares a beginning with the one
/// before.
pub(super) fn encode_changes(changes: &[(Seq, RelPath)]) -> Vec<u8> {
    let mut out = vec![ROW_VERSION];
    put_uint(&mut out, changes.len() as u64);
    let (mut seq_before, mut path_before): (Seq, &[u8]) = (0, &[]);
    for (seq, path) in changes {
        put_uint(&mut out, seq.wrapping_sub(seq_before));
        let path = path.as_bytes();
        let shared = path_before.iter().zip(path).take_while(|(a, b)| a == b).count();
        put_uint(&mut out, shared as u64);
        put_bytes(&mut out, &path[shared..]);
        (seq_before, path_before) = (*seq, path);
    }
    out
}

/// Decodes a bucket of changes.
pub(super) fn decode_changes(bytes: &[u8]) -> Result<Vec<(Seq, RelPath)>, Malformed> {
    let mut from = Reader::versioned(bytes, ROW_VERSION)?;
    let count = from.count(3)?;
    let mut changes: Vec<(Seq, RelPath)> = Vec::with_capacity(count);
    for _ in 0..count {
        let (seq_before, path_before) =
            changes.last().map_or((0, &[][..]), |(seq, path)| (*seq, path.as_bytes()));
        let seq = seq_before.checked_add(from.uint()?).filter(|seq| *seq > seq_before);
        let seq = seq.ok_or(Malformed::Wrong("the changes are not in order"))?;
        let shared = usize::try_from(from.uint()?).unwrap_or(usize::MAX);
        let start = path_before.get(..shared);
        let start = start.ok_or(Malformed::Wrong("a path shares too much"))?;
        let path = RelPath::parse([start, from.bytes()?].concat())
            .map_err(|_| Malformed::Wrong("a changed path is none"))?;
        changes.push((seq, path));
    }
    from.end()?;
    Ok(changes)
}

/// Encodes a bucket of holders, sorted.
pub(super) fn encode_holders(holders: &[Holding]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + holders.len() * 16);
    out.push(ROW_VERSION);
    for holding in holders {
        out.extend_from_slice(holding);
    }
    out
}

/// Decodes a bucket of holders.
pub(super) fn decode_holders(bytes: &[u8]) -> Result<Vec<Holding>, Malformed> {
    let mut from = Reader::versioned(bytes, ROW_VERSION)?;
    let mut holders = Vec::with_capacity(bytes.len() / 16);
    while !from.is_empty() {
        let holding: Holding = from.array()?;
        if holders.last().is_some_and(|before| *before >= holding) {
            return Err(Malformed::Wrong("the holders are not in order"));
        }
        holders.push(holding);
    }
    Ok(holders)
}

/// What is counted of a folder, kept with every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// The greatest sequence ever written.
    pub(super) last_seq: Seq,
    /// Entries that are files, wherever they stand.
    pub(super) live_files: u64,
    /// How much there is.
    pub(super) summary: Summary,
}

impl Tally {
    /// Counts an entry named `name` in.
    pub(super) fn add(&mut self, name: &[u8], entry: &Entry) {
        self.live_files = self.live_files.saturating_add(is_file(entry));
        self.summary.add(name, entry);
    }

    /// Counts an entry named `name` out.
    pub(super) fn remove(&mut self, name: &[u8], entry: &Entry) {
        self.live_files = self.live_files.saturating_sub(is_file(entry));
        self.summary.remove(name, entry);
    }
}

fn is_file(entry: &Entry) -> u64 {
    u64::from(entry.record.kind == Kind::File)
}

/// Encodes a tally.
pub(super) fn encode_tally(tally: &Tally) -> Vec<u8> {
    let mut out = vec![ROW_VERSION];
    let Summary {
        files,
        bytes,
        directories,
        tombstones,
        conflicts,
        ignored,
        unsupported,
        withheld,
    } = tally.summary;
    let (last_seq, live_files) = (tally.last_seq, tally.live_files);
    let counts = [files, bytes, directories, tombstones, conflicts, ignored, unsupported, withheld];
    for number in [last_seq, live_files].into_iter().chain(counts) {
        put_uint(&mut out, number);
    }
    out
}

/// Decodes a tally.
pub(super) fn decode_tally(bytes: &[u8]) -> Result<Tally, Malformed> {
    let mut from = Reader::versioned(bytes, ROW_VERSION)?;
    let (last_seq, live_files) = (from.uint()?, from.uint()?);
    let summary = Summary {
        files: from.uint()?,
        bytes: from.uint()?,
        directories: from.uint()?,
        tombstones: from.uint()?,
        conflicts: from.uint()?,
        ignored: from.uint()?,
        unsupported: from.uint()?,
        withheld: from.uint()?,
    };
    from.end()?;
    Ok(Tally { last_seq, live_files, summary })
}

/// Encodes marks.
pub(super) fn encode_marks(marks: &Marks) -> Vec<u8> {
    let mut words = Dictionary::default();
    let mut body = Vec::new();
    put_version(&mut body, &mut words, &marks.covered);
    put_uint(&mut body, marks.cursors.len() as u64);
    for (device, cursor) in &marks.cursors {
        put_uint(&mut body, words.device(*device));
        body.extend_from_slice(&cursor.store.0.to_le_bytes());
        put_uint(&mut body, cursor.seq);
    }
    put_uint(&mut body, marks.acked.len() as u64);
    for (device, seq) in &marks.acked {
        put_uint(&mut body, words.device(*device));
        put_uint(&mut body, *seq);
    }
    body.push(u8::from(marks.surveyed));
    put_uint(&mut body, marks.brakes.len() as u64);
    for (device, brake) in &marks.brakes {
        put_uint(&mut body, words.device(*device));
        let (state, files) = match brake {
            Brake::Held { files } => (0, *files),
            Brake::Approved => (1, 0),
            Brake::Rejected => (2, 0),
        };
        body.push(state);
        put_uint(&mut body, files);
    }
    let mut out = vec![ROW_VERSION];
    words.put(&mut out);
    out.append(&mut body);
    out
}

/// Decodes marks.
pub(super) fn decode_marks(bytes: &[u8]) -> Result<Marks, Malformed> {
    let mut from = Reader::versioned(bytes, ROW_VERSION)?;
    let words = Dictionary::read(&mut from)?;
    let covered = read_version(&mut from, &words)?;
    let mut cursors = BTreeMap::new();
    for _ in 0..from.count(10)? {
        let device = words.device_in(&mut from)?;
        let store = StoreId(u64::from_le_bytes(from.array()?));
        cursors.insert(device, Cursor { store, seq: from.uint()? });
    }
    let mut acked = BTreeMap::new();
    for _ in 0..from.count(2)? {
        acked.insert(words.device_in(&mut from)?, from.uint()?);
    }
    let surveyed = match from.byte()? {
        0 => false,
        1 => true,
        _ => return Err(Malformed::Wrong("a mark is neither set nor not")),
    };
    let mut brakes = BTreeMap::new();
    for _ in 0..from.count(3)? {
        let device = words.device_in(&mut from)?;
        let (state, files) = (from.byte()?, from.uint()?);
        let brake = match (state, files) {
            (0, files) => Brake::Held { files },
            (1, 0) => Brake::Approved,
            (2, 0) => Brake::Rejected,
            _ => return Err(Malformed::Wrong("a brake is in no known state")),
        };
        brakes.insert(device, brake);
    }
    from.end()?;
    Ok(Marks { covered, cursors, acked, surveyed, brakes })
}

/// Encodes a block list as parts; there is at least one.
pub(super) fn encode_blocks(list: &BlockList) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let mut rest = &list.blocks[..];
    loop {
        let (now, later) = rest.split_at(rest.len().min(BLOCKS_IN_PART));
        let mut out = vec![ROW_VERSION];
        if parts.is_empty() {
            put_uint(&mut out, u64::from(list.average_bytes));
            put_uint(&mut out, list.blocks.len() as u64);
        }
        for block in now {
            out.extend_from_slice(&block.id.0);
            put_uint(&mut out, u64::from(block.size));
        }
        parts.push(out);
        rest = later;
        if rest.is_empty() {
            return parts;
        }
    }
}

/// Puts a block list together from its parts in order.
pub(super) fn decode_blocks<B: AsRef<[u8]>>(
    parts: impl IntoIterator<Item = B>,
) -> Result<BlockList, Malformed> {
    let mut list = BlockList { average_bytes: 0, blocks: Vec::new() };
    let mut promised = None;
    for part in parts {
        let mut from = Reader::versioned(part.as_ref(), ROW_VERSION)?;
        if promised.is_none() {
            list.average_bytes = from.uint32()?;
            promised = Some(from.uint()?);
        }
        while !from.is_empty() {
            list.blocks.push(Block { id: BlockId(from.array()?), size: from.uint32()? });
        }
    }
    if promised == Some(list.blocks.len() as u64) {
        Ok(list)
    } else {
        Err(Malformed::Wrong("a block list is not whole"))
    }
}
