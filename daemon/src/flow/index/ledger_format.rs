//! What the ledger looks like on disk.
//!
//! A head of 16 bytes (`syncd-ledger` and a format number), then frames: a marker byte, the
//! length of the payload, 8 bytes of BLAKE3 over the frame's offset and payload, the payload.
//! One append is one frame, so that only the last can be torn. A payload is a count and that
//! many [`Line`]s.
//!
//! # Invariants
//! - A frame that does not check out and has no good one behind it is a torn append and is cut
//!   off; with a good one behind it, the ledger is damaged.
//! - Lines only ever set: reading a ledger twice, or its compacted form, gives the same state.

use std::collections::BTreeMap;

use syncd_core::flow::settle::Stamp;
use syncd_core::model::{
    ContentId, DeviceId, FolderId, Incarnation, Record, RelPath, Seq, StoreId,
};
use syncd_core::protocol::tokens::{Token, Tokens};

use super::codec::{Malformed, Reader, put_bytes, put_uint};
use super::format::{Before, Dictionary, put_record, read_record};

/// The format that this program writes.
pub(super) const LEDGER_VERSION: u32 = 1;

const MAGIC: &[u8; 12] = b"syncd-ledger";

/// Bytes before the first frame.
pub(super) const HEAD_BYTES: usize = 16;

/// Bytes of a frame before its payload: marker, length, checksum.
const FRAME_HEAD_BYTES: usize = 1 + 4 + 8;

const MARKER: u8 = 0xa5;

/// How a folder's root is told from another directory put in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootToken {
    /// The random token that lies in the root.
    pub token: [u8; 16],
    /// The root's inode number.
    pub inode: u64,
}

/// What is about to be done to a path: written down first, so that after a crash our own work is
/// not taken for a user's edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// In which folder.
    pub folder: FolderId,
    /// Which job of the folder: intents of one job count only together.
    pub job: u64,
    /// Where.
    pub path: RelPath,
    /// The record that holds once it is done.
    pub record: Record,
    /// The staged bytes that will be placed, if any.
    pub staged: Option<ContentId>,
    /// Which counter the record gets when it goes into the index.
    pub stamp: Stamp,
}

/// One thing that the ledger was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// The life that runs, and the store it belongs to.
    Life { incarnation: Incarnation, store: StoreId },
    /// All counters below are given out.
    Reserved { end: u64 },
    /// Everything up to `seq` of that store is on the disk.
    Watermark { store: StoreId, seq: Seq },
    /// Which boot of the machine it ran under, and whether it ended in order.
    Boot { id: String, clean: bool },
    /// Intents were opened under this number.
    Opened { batch: u64, intents: Vec<Intent> },
    /// These numbers are done.
    Closed { batches: Vec<u64> },
    /// The tokens shared with a peer.
    Tokens { peer: DeviceId, tokens: Tokens },
    /// A folder's root.
    Root { folder: FolderId, root: Option<RootToken> },
    /// Anything else.
    Fact { key: String, value: Option<Vec<u8>> },
}

/// All that the ledger knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct State {
    pub(super) life: Option<(Incarnation, StoreId)>,
    pub(super) reserved_end: u64,
    pub(super) watermark: Option<(StoreId, Seq)>,
    pub(super) boot: Option<(String, bool)>,
    pub(super) intents: BTreeMap<u64, Vec<Intent>>,
    pub(super) tokens: BTreeMap<DeviceId, Tokens>,
    pub(super) roots: BTreeMap<FolderId, RootToken>,
    pub(super) facts: BTreeMap<String, Vec<u8>>,
    /// The greatest number that intents were opened under.
    pub(super) last_batch: u64,
}

impl State {
    /// Learns one line.
    pub(super) fn learn(&mut self, line: Line) {
        match line {
            Line::Life { incarnation, store } => self.life = Some((incarnation, store)),
            Line::Reserved { end } => self.reserved_end = self.reserved_end.max(end),
            Line::Watermark { store, seq } => {
                let known = self.watermark.filter(|(known, _)| *known == store);
                self.watermark = Some((store, known.map_or(seq, |(_, known)| known.max(seq))));
            }
            Line::Boot { id, clean } => self.boot = Some((id, clean)),
            Line::Opened { batch, intents } => {
                self.last_batch = self.last_batch.max(batch);
                self.intents.insert(batch, intents);
            }
            Line::Closed { batches } => {
                for batch in batches {
                    self.intents.remove(&batch);
                }
            }
            Line::Tokens { peer, tokens } => set(
                &mut self.tokens,
                peer,
                Some(tokens).filter(|tokens| *tokens != Tokens::default()),
            ),
            Line::Root { folder, root } => set(&mut self.roots, folder, root),
            Line::Fact { key, value } => set(&mut self.facts, key, value),
        }
    }

    /// Tells the same state in as few lines as it takes.
    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = vec![Line::Reserved { end: self.reserved_end }];
        lines.extend(self.life.map(|(incarnation, store)| Line::Life { incarnation, store }));
        lines.extend(self.watermark.map(|(store, seq)| Line::Watermark { store, seq }));
        lines.extend(self.boot.clone().map(|(id, clean)| Line::Boot { id, clean }));
        for (batch, intents) in &self.intents {
            lines.push(Line::Opened { batch: *batch, intents: intents.clone() });
        }
        for (peer, tokens) in &self.tokens {
            lines.push(Line::Tokens { peer: *peer, tokens: *tokens });
        }
        for (folder, root) in &self.roots {
            lines.push(Line::Root { folder: folder.clone(), root: Some(*root) });
        }
        for (key, value) in &self.facts {
            lines.push(Line::Fact { key: key.clone(), value: Some(value.clone()) });
        }
        lines
    }
}

fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

/// Why a ledger is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A newer program wrote it.
    Newer(u32),
    /// It is damaged elsewhere than at its end.
    Damaged(String),
}

/// Returns the head of a new ledger.
pub(super) fn head() -> Vec<u8> {
    [&MAGIC[..], &LEDGER_VERSION.to_le_bytes()].concat()
}

/// Returns the frame that holds `lines`, for the place `offset` of the file.
pub(super) fn frame(offset: u64, lines: &[Line]) -> Vec<u8> {
    let mut payload = payload(lines);
    let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + payload.len());
    frame.push(MARKER);
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.extend_from_slice(&checksum(offset, &payload));
    frame.append(&mut payload);
    frame
}

/// Returns what a frame with `lines` holds.
pub(super) fn payload(lines: &[Line]) -> Vec<u8> {
    let mut payload = Vec::new();
    put_uint(&mut payload, lines.len() as u64);
    for line in lines {
        put_line(&mut payload, line);
    }
    payload
}

/// Reads a whole ledger: its state, and how many of its bytes are good.
pub(super) fn read(bytes: &[u8]) -> Result<(State, usize), Unreadable> {
    let damaged = |what: &str| Unreadable::Damaged(what.to_owned());
    let (magic, version) = bytes
        .get(..HEAD_BYTES)
        .map(|head| head.split_at(MAGIC.len()))
        .ok_or(damaged("its head is cut short"))?;
    if magic != MAGIC {
        return Err(damaged("it does not begin like a ledger"));
    }
    let version = u32::from_le_bytes([version[0], version[1], version[2], version[3]]);
    if version > LEDGER_VERSION {
        return Err(Unreadable::Newer(version));
    }
    let mut state = State::default();
    let mut at = HEAD_BYTES;
    while at < bytes.len() {
        let Some(payload) = payload_at(bytes, at) else {
            if (at + 1..bytes.len()).any(|later| payload_at(bytes, later).is_some()) {
                return Err(damaged("a frame in its middle does not check out"));
            }
            break;
        };
        let lines = read_lines(payload).map_err(|malformed| match malformed {
            Malformed::Newer(version) => Unreadable::Newer(version.into()),
            Malformed::Wrong(what) => damaged(what),
        })?;
        for line in lines {
            state.learn(line);
        }
        at += FRAME_HEAD_BYTES + payload.len();
    }
    Ok((state, at))
}

/// Returns the payload of the frame at `at`, if there is one and it checks out.
fn payload_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let mut from = Reader::new(bytes.get(at..)?);
    if from.byte() != Ok(MARKER) {
        return None;
    }
    let length = u32::from_le_bytes(from.array().ok()?);
    let sum: [u8; 8] = from.array().ok()?;
    let payload = from.take(usize::try_from(length).ok()?).ok()?;
    (checksum(at as u64, payload) == sum).then_some(payload)
}

fn checksum(offset: u64, payload: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&offset.to_le_bytes()).update(payload);
    let mut sum = [0; 8];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    sum
}

fn put_line(out: &mut Vec<u8>, line: &Line) {
    match line {
        Line::Life { incarnation, store } => {
            out.push(1);
            out.extend_from_slice(&incarnation.0.to_le_bytes());
            out.extend_from_slice(&store.0.to_le_bytes());
        }
        Line::Reserved { end } => {
            out.push(2);
            put_uint(out, *end);
        }
        Line::Watermark { store, seq } => {
            out.push(3);
            out.extend_from_slice(&store.0.to_le_bytes());
            put_uint(out, *seq);
        }
        Line::Boot { id, clean } => {
            out.push(4);
            put_bytes(out, id.as_bytes());
            out.push(u8::from(*clean));
        }
        Line::Opened { batch, intents } => {
            out.push(5);
            put_uint(out, *batch);
            put_intents(out, intents);
        }
        Line::Closed { batches } => {
            out.push(6);
            put_uint(out, batches.len() as u64);
            for batch in batches {
                put_uint(out, *batch);
            }
        }
        Line::Tokens { peer, tokens } => {
            out.push(7);
            out.extend_from_slice(&peer.0);
            for token in [tokens.kept, tokens.handed, tokens.theirs] {
                put_option(out, token.as_ref().map(|token| &token.0[..]));
            }
        }
        Line::Root { folder, root } => {
            out.push(8);
            put_bytes(out, folder.as_str().as_bytes());
            let root = root.map(|root| [&root.token[..], &root.inode.to_le_bytes()].concat());
            put_option(out, root.as_deref());
        }
        Line::Fact { key, value } => {
            out.push(9);
            put_bytes(out, key.as_bytes());
            out.push(u8::from(value.is_some()));
            put_bytes(out, value.as_deref().unwrap_or_default());
        }
    }
}

/// Reads what [`payload`] wrote.
pub(super) fn read_lines(payload: &[u8]) -> Result<Vec<Line>, Malformed> {
    let mut from = Reader::new(payload);
    let count = from.count(2)?;
    let lines = (0..count).map(|_| read_line(&mut from)).collect::<Result<_, _>>()?;
    from.end()?;
    Ok(lines)
}

fn read_line(from: &mut Reader<'_>) -> Result<Line, Malformed> {
    Ok(match from.byte()? {
        1 => Line::Life {
            incarnation: Incarnation(u64::from_le_bytes(from.array()?)),
            store: StoreId(u64::from_le_bytes(from.array()?)),
        },
        2 => Line::Reserved { end: from.uint()? },
        3 => {
            Line::Watermark { store: StoreId(u64::from_le_bytes(from.array()?)), seq: from.uint()? }
        }
        4 => Line::Boot { id: text(from)?, clean: from.byte()? != 0 },
        5 => Line::Opened { batch: from.uint()?, intents: read_intents(from)? },
        6 => {
            let count = from.count(1)?;
            Line::Closed { batches: (0..count).map(|_| from.uint()).collect::<Result<_, _>>()? }
        }
        7 => {
            let peer = DeviceId(from.array()?);
            let mut token = || Ok(read_option(from)?.map(Token));
            let tokens = Tokens { kept: token()?, handed: token()?, theirs: token()? };
            Line::Tokens { peer, tokens }
        }
        8 => {
            let folder = folder(from)?;
            let root = read_option::<24>(from)?.map(|bytes| {
                let (mut token, mut inode) = ([0; 16], [0; 8]);
                token.copy_from_slice(&bytes[..16]);
                inode.copy_from_slice(&bytes[16..]);
                RootToken { token, inode: u64::from_le_bytes(inode) }
            });
            Line::Root { folder, root }
        }
        9 => {
            let key = text(from)?;
            let is_set = from.byte()? != 0;
            let value = from.bytes()?.to_vec();
            Line::Fact { key, value: is_set.then_some(value) }
        }
        _ => return Err(Malformed::Wrong("it holds an unknown line")),
    })
}

fn put_intents(out: &mut Vec<u8>, intents: &[Intent]) {
    let mut words = Dictionary::default();
    let mut before = Before::default();
    let mut body = Vec::with_capacity(intents.len() * 200);
    for intent in intents {
        put_bytes(&mut body, intent.folder.as_str().as_bytes());
        put_uint(&mut body, intent.job);
        put_bytes(&mut body, intent.path.as_bytes());
        put_record(&mut body, &mut words, &mut before, &intent.record);
        put_option(&mut body, intent.staged.as_ref().map(|content| &content.0[..]));
        body.push(match intent.stamp {
            Stamp::AsIs => 0,
            Stamp::Resolution => 1,
            Stamp::Write => 2,
        });
    }
    words.put(out);
    put_uint(out, intents.len() as u64);
    out.append(&mut body);
}

fn read_intents(from: &mut Reader<'_>) -> Result<Vec<Intent>, Malformed> {
    let words = Dictionary::read(from)?;
    let mut before = Before::default();
    let count = from.count(8)?;
    let mut intents = Vec::with_capacity(count);
    for _ in 0..count {
        let folder = folder(from)?;
        let job = from.uint()?;
        let path = RelPath::parse(from.bytes()?)
            .map_err(|_| Malformed::Wrong("an intent has an impossible path"))?;
        let record = read_record(from, &words, &mut before)?;
        let staged = read_option(from)?.map(ContentId);
        let stamp = match from.byte()? {
            0 => Stamp::AsIs,
            1 => Stamp::Resolution,
            2 => Stamp::Write,
            _ => return Err(Malformed::Wrong("an intent has an unknown stamp")),
        };
        intents.push(Intent { folder, job, path, record, staged, stamp });
    }
    Ok(intents)
}

fn put_option(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.push(u8::from(bytes.is_some()));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn read_option<const N: usize>(from: &mut Reader<'_>) -> Result<Option<[u8; N]>, Malformed> {
    if from.byte()? == 0 { Ok(None) } else { from.array().map(Some) }
}

fn text(from: &mut Reader<'_>) -> Result<String, Malformed> {
    let text = std::str::from_utf8(from.bytes()?);
    text.map(str::to_owned).map_err(|_| Malformed::Wrong("a text is none"))
}

fn folder(from: &mut Reader<'_>) -> Result<FolderId, Malformed> {
    FolderId::parse(&text(from)?).map_err(|_| Malformed::Wrong("a folder has an impossible name"))
}
