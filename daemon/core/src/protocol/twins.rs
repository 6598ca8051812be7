//! Serialized twins of the frames, and the codec: bincode 2, little endian, variable integers,
//! with a limit on what a length may claim.
//!
//! # Evolution
//! Enum variants are numbered by their order here: new ones go at the end, none is removed. A
//! field is never added to a twin: a new variant carries the new shape, and [`super::peer::Hello`]
//! says which are understood. A frame that does not decode ends the session.

use bincode::config::{Configuration, Limit, LittleEndian, Varint, standard};
use serde::{Deserialize, Serialize};

use super::peer::{Body, Frame, Have, Hello, Need, Ready, Tag, Want, WantedItem};
use crate::flow::digest::{Block, BlockList};
use crate::flow::index::Cursor;
use crate::flow::offer::{Offer, Upto};
use crate::model::limits::{ANCESTORS_MAX, FRAME_BYTES_MAX, VERSION_WRITERS_MAX};
use crate::model::{
    Actor, AncestorId, BlockId, ContentId, DeviceId, Dot, FolderId, Incarnation, Kind, Record,
    RelPath, StoreId, Version, Writer,
};

/// Why bytes are no frame. The peer is cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They do not decode at all.
    #[error("the frame does not decode")]
    Bytes,
    /// Something is left over.
    #[error("the frame has {0} bytes too many")]
    Surplus(usize),
    /// A value decodes but is none.
    #[error("the frame holds {0}")]
    Value(&'static str),
}

type Codec = Configuration<LittleEndian, Varint, Limit<FRAME_BYTES_MAX>>;

fn codec() -> Codec {
    standard().with_limit::<FRAME_BYTES_MAX>()
}

/// Writes a frame.
#[must_use]
pub fn encode(frame: &Frame) -> Vec<u8> {
    let twin = FrameTwin::from(frame);
    // Writing into memory fails only for types that serde cannot describe; these it can.
    bincode::serde::encode_to_vec(&twin, codec()).unwrap_or_default()
}

/// Reads a frame.
///
/// # Errors
/// [`DecodeError`] for anything that [`encode`] did not write.
pub fn decode(bytes: &[u8]) -> Result<Frame, DecodeError> {
    let (twin, used): (FrameTwin, usize) =
        bincode::serde::decode_from_slice(bytes, codec()).map_err(|_| DecodeError::Bytes)?;
    match bytes.len() - used {
        0 => twin.frame(),
        surplus => Err(DecodeError::Surplus(surplus)),
    }
}

/// Writes one record by itself.
#[must_use]
pub fn encode_record(record: &Record) -> Vec<u8> {
    let mut writers = Writers::default();
    let twin = RecordTwin::new(record, &mut writers);
    bincode::serde::encode_to_vec((writers.0, twin), codec()).unwrap_or_default()
}

/// Reads what [`encode_record`] wrote.
///
/// # Errors
/// [`DecodeError`] for anything else.
pub fn decode_record(bytes: &[u8]) -> Result<Record, DecodeError> {
    let ((writers, twin), _): ((Vec<WriterTwin>, RecordTwin), usize) =
        bincode::serde::decode_from_slice(bytes, codec()).map_err(|_| DecodeError::Bytes)?;
    twin.record(&writers)
}

#[derive(Serialize, Deserialize)]
enum FrameTwin {
    Hello {
        version: u16,
        name: String,
        incarnation: u64,
        boot_nonce: u64,
        token_shown: Option<[u8; 16]>,
        token_given: [u8; 16],
    },
    Ready {
        folder: String,
        label: String,
        single_file: bool,
        epoch: u32,
        store: u64,
        cursor: Option<(u64, u64)>,
        seen_of_you: Vec<(u64, u64)>,
    },
    Unready {
        folder: String,
    },
    Offer {
        tag: TagTwin,
        number: u64,
        after: u64,
        writers: Vec<WriterTwin>,
        records: Vec<(Bytes, RecordTwin)>,
        upto: Option<(u64, Option<Vec<(u16, u64)>>)>,
        inline: Vec<([u8; 32], Bytes)>,
    },
    Ack {
        tag: TagTwin,
        frames: Vec<(u64, u64)>,
        sent: u64,
    },
    Want {
        request: u64,
        folder: String,
        items: Vec<(Bytes, u8, [u8; 32], NeedTwin)>,
    },
    Have(Vec<(u64, u32, BodyTwin)>),
}

/// Bytes that serde writes in one piece.
#[derive(Serialize, Deserialize)]
struct Bytes(#[serde(with = "in_one_piece")] Vec<u8>);

mod in_one_piece {
    use serde::de::{Deserializer, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Taker;
        impl Visitor<'_> for Taker {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        from.deserialize_byte_buf(Taker)
    }
}

type TagTwin = (String, u32, u32);
type WriterTwin = ([u8; 32], u64);

#[derive(Serialize, Deserialize)]
enum NeedTwin {
    Whole,
    Blocks,
    Ranges(Vec<(u64, u32)>),
}

#[derive(Serialize, Deserialize)]
enum BodyTwin {
    Whole(Bytes),
    Blocks(u32, Vec<([u8; 32], u32)>),
    Range(u64, Bytes),
    NotThere,
}

#[derive(Serialize, Deserialize)]
struct RecordTwin {
    kind: u8,
    size: u64,
    mtime_ns: i64,
    mode: u16,
    content: Option<[u8; 32]>,
    ancestors: Vec<[u8; 8]>,
    dot: (u16, u64),
    version: Vec<(u16, u64)>,
    author: u16,
    actor: ActorTwin,
}

#[derive(Serialize, Deserialize)]
enum ActorTwin {
    Unknown,
    Person,
    Agent(String),
}

/// The writers that a frame speaks of, each once.
#[derive(Default)]
struct Writers(Vec<WriterTwin>);

impl Writers {
    fn at(&mut self, writer: Writer) -> u16 {
        let twin = (writer.device.0, writer.incarnation.0);
        let found = self.0.iter().rposition(|known| *known == twin);
        let at = found.unwrap_or_else(|| {
            self.0.push(twin);
            self.0.len() - 1
        });
        // A frame holds at most a thousand records; more writers than that are not in use.
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    fn counters(&mut self, version: &Version) -> Vec<(u16, u64)> {
        version.counters().map(|(writer, counter)| (self.at(writer), counter)).collect()
    }
}

fn writer_at(writers: &[WriterTwin], at: u16) -> Result<Writer, DecodeError> {
    let twin = writers.get(usize::from(at)).ok_or(DecodeError::Value("a writer that it does not name"))?;
    Ok(Writer { device: DeviceId(twin.0), incarnation: Incarnation(twin.1) })
}

fn version_of(writers: &[WriterTwin], counters: &[(u16, u64)]) -> Result<Version, DecodeError> {
    if counters.len() > VERSION_WRITERS_MAX {
        return Err(DecodeError::Value("a version of too many writers"));
    }
    let named: Result<Vec<_>, _> =
        counters.iter().map(|(at, counter)| Ok((writer_at(writers, *at)?, *counter))).collect();
    Ok(Version::from_counters(named?))
}

fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::File => 0,
        Kind::Directory => 1,
        Kind::Symlink => 2,
        Kind::Tombstone => 3,
    }
}

fn kind_of(number: u8) -> Result<Kind, DecodeError> {
    match number {
        0 => Ok(Kind::File),
        1 => Ok(Kind::Directory),
        2 => Ok(Kind::Symlink),
        3 => Ok(Kind::Tombstone),
        _ => Err(DecodeError::Value("an unknown kind")),
    }
}

fn folder_of(text: &str) -> Result<FolderId, DecodeError> {
    FolderId::parse(text).map_err(|_| DecodeError::Value("a folder id that is none"))
}

fn path_of(bytes: &Bytes) -> Result<RelPath, DecodeError> {
    RelPath::parse(&bytes.0).map_err(|_| DecodeError::Value("a path that leaves the folder"))
}

fn tag_of(tag: &TagTwin) -> Result<Tag, DecodeError> {
    Ok(Tag { folder: folder_of(&tag.0)?, from: tag.1, to: tag.2 })
}

fn tag_twin(tag: &Tag) -> TagTwin {
    (tag.folder.as_str().to_owned(), tag.from, tag.to)
}

impl RecordTwin {
    fn new(record: &Record, writers: &mut Writers) -> Self {
        let author = Writer { device: record.author, incarnation: record.dot.writer.incarnation };
        Self {
            kind: kind_number(record.kind),
            size: record.size,
            mtime_ns: record.mtime_ns,
            mode: u16::try_from(record.mode & 0o777).unwrap_or_default(),
            content: (record.content != ContentId::NONE).then_some(record.content.0),
            ancestors: record.ancestors.iter().map(|id| id.0).collect(),
            dot: (writers.at(record.dot.writer), record.dot.counter),
            version: writers.counters(&record.version),
            author: writers.at(author),
            actor: match &record.actor {
                Actor::Unknown => ActorTwin::Unknown,
                Actor::Person => ActorTwin::Person,
                Actor::Agent(name) => ActorTwin::Agent(name.clone()),
            },
        }
    }

    fn record(self, writers: &[WriterTwin]) -> Result<Record, DecodeError> {
        let kind = kind_of(self.kind)?;
        let bytes = matches!(kind, Kind::File | Kind::Symlink);
        if bytes != self.content.is_some() || !bytes && self.size > 0 {
            return Err(DecodeError::Value("a record whose kind and content do not fit"));
        }
        if self.ancestors.len() > ANCESTORS_MAX || self.mode > 0o777 {
            return Err(DecodeError::Value("a record beyond its limits"));
        }
        let (at, counter) = self.dot;
        Ok(Record {
            kind,
            size: self.size,
            mtime_ns: self.mtime_ns,
            mode: u32::from(self.mode),
            content: self.content.map_or(ContentId::NONE, ContentId),
            ancestors: self.ancestors.into_iter().map(AncestorId).collect(),
            dot: Dot { writer: writer_at(writers, at)?, counter },
            version: version_of(writers, &self.version)?,
            author: writer_at(writers, self.author)?.device,
            actor: match self.actor {
                ActorTwin::Unknown => Actor::Unknown,
                ActorTwin::Person => Actor::Person,
                ActorTwin::Agent(name) if name.len() <= 64 => Actor::Agent(name),
                ActorTwin::Agent(_) => return Err(DecodeError::Value("too long an agent's name")),
            },
        })
    }
}

impl From<&Frame> for FrameTwin {
    fn from(frame: &Frame) -> Self {
        match frame {
            Frame::Hello(hello) => Self::Hello {
                version: hello.version,
                name: hello.name.clone(),
                incarnation: hello.incarnation.0,
                boot_nonce: hello.boot_nonce,
                token_shown: hello.token_shown,
                token_given: hello.token_given,
            },
            Frame::Ready(ready) => Self::Ready {
                folder: ready.folder.as_str().to_owned(),
                label: ready.label.clone(),
                single_file: ready.single_file,
                epoch: ready.epoch,
                store: ready.store.0,
                cursor: ready.cursor.map(|c| (c.store.0, c.seq)),
                seen_of_you: ready.seen_of_you.iter().map(|(i, c)| (i.0, *c)).collect(),
            },
            Frame::Unready { folder } => Self::Unready { folder: folder.as_str().to_owned() },
            Frame::Offer { tag, offer, inline } => Self::offer(tag, offer, inline),
            Frame::Ack { tag, frames, sent } => {
                Self::Ack { tag: tag_twin(tag), frames: frames.clone(), sent: *sent }
            }
            Frame::Want(want) => Self::Want {
                request: want.request,
                folder: want.folder.as_str().to_owned(),
                items: want.items.iter().map(wanted_twin).collect(),
            },
            Frame::Have(haves) => Self::Have(haves.iter().map(have_twin).collect()),
        }
    }
}

fn wanted_twin(item: &WantedItem) -> (Bytes, u8, [u8; 32], NeedTwin) {
    let need = match &item.need {
        Need::Whole => NeedTwin::Whole,
        Need::Blocks => NeedTwin::Blocks,
        Need::Ranges(ranges) => NeedTwin::Ranges(ranges.clone()),
    };
    (Bytes(item.path.as_bytes().to_vec()), kind_number(item.kind), item.content.0, need)
}

fn have_twin(have: &Have) -> (u64, u32, BodyTwin) {
    let body = match &have.body {
        Body::Whole(bytes) => BodyTwin::Whole(Bytes(bytes.clone())),
        Body::Blocks(list) => BodyTwin::Blocks(
            list.average_bytes,
            list.blocks.iter().map(|block| (block.id.0, block.size)).collect(),
        ),
        Body::Range { offset, bytes } => BodyTwin::Range(*offset, Bytes(bytes.clone())),
        Body::NotThere => BodyTwin::NotThere,
    };
    (have.request, have.item, body)
}

impl FrameTwin {
    fn offer(tag: &Tag, offer: &Offer, inline: &[(ContentId, Vec<u8>)]) -> Self {
        let mut writers = Writers::default();
        let records = offer
            .records
            .iter()
            .map(|(path, record)| {
                (Bytes(path.as_bytes().to_vec()), RecordTwin::new(record, &mut writers))
            })
            .collect();
        let upto = offer.upto.as_ref().map(|upto| {
            (upto.seq, upto.covered.as_ref().map(|covered| writers.counters(covered)))
        });
        Self::Offer {
            tag: tag_twin(tag),
            number: offer.number,
            after: offer.after,
            writers: writers.0,
            records,
            upto,
            inline: inline.iter().map(|(id, bytes)| (id.0, Bytes(bytes.clone()))).collect(),
        }
    }

    fn frame(self) -> Result<Frame, DecodeError> {
        Ok(match self {
            Self::Hello { version, name, incarnation, boot_nonce, token_shown, token_given } => {
                Frame::Hello(Hello {
                    version,
                    name,
                    incarnation: Incarnation(incarnation),
                    boot_nonce,
                    token_shown,
                    token_given,
                })
            }
            Self::Ready { folder, label, single_file, epoch, store, cursor, seen_of_you } => {
                Frame::Ready(Ready {
                    folder: folder_of(&folder)?,
                    label,
                    single_file,
                    epoch,
                    store: StoreId(store),
                    cursor: cursor.map(|(store, seq)| Cursor { store: StoreId(store), seq }),
                    seen_of_you: seen_of_you
                        .into_iter()
                        .map(|(incarnation, counter)| (Incarnation(incarnation), counter))
                        .collect(),
                })
            }
            Self::Unready { folder } => Frame::Unready { folder: folder_of(&folder)? },
            Self::Offer { tag, number, after, writers, records, upto, inline } => {
                let upto = match upto {
                    Some((seq, covered)) => {
                        let covered = covered.map(|c| version_of(&writers, &c)).transpose()?;
                        Some(Upto { seq, covered })
                    }
                    None => None,
                };
                let records: Result<Vec<_>, DecodeError> = records
                    .into_iter()
                    .map(|(path, record)| Ok((path_of(&path)?, record.record(&writers)?)))
                    .collect();
                Frame::Offer {
                    tag: tag_of(&tag)?,
                    offer: Offer { number, after, records: records?, upto },
                    inline: inline.into_iter().map(|(id, b)| (ContentId(id), b.0)).collect(),
                }
            }
            Self::Ack { tag, frames, sent } => Frame::Ack { tag: tag_of(&tag)?, frames, sent },
            Self::Want { request, folder, items } => {
                let items: Result<Vec<_>, _> = items.into_iter().map(wanted_of).collect();
                Frame::Want(Want { request, folder: folder_of(&folder)?, items: items? })
            }
            Self::Have(haves) => Frame::Have(haves.into_iter().map(have_of).collect()),
        })
    }
}

fn wanted_of(twin: (Bytes, u8, [u8; 32], NeedTwin)) -> Result<WantedItem, DecodeError> {
    let (path, kind, content, need) = twin;
    let need = match need {
        NeedTwin::Whole => Need::Whole,
        NeedTwin::Blocks => Need::Blocks,
        NeedTwin::Ranges(ranges) => Need::Ranges(ranges),
    };
    Ok(WantedItem { path: path_of(&path)?, kind: kind_of(kind)?, content: ContentId(content), need })
}

fn have_of((request, item, body): (u64, u32, BodyTwin)) -> Have {
    let body = match body {
        BodyTwin::Whole(bytes) => Body::Whole(bytes.0),
        BodyTwin::Blocks(average_bytes, blocks) => {
            let block = |(id, size)| Block { id: BlockId(id), size };
            Body::Blocks(BlockList { average_bytes, blocks: blocks.into_iter().map(block).collect() })
        }
        BodyTwin::Range(offset, bytes) => Body::Range { offset, bytes: bytes.0 },
        BodyTwin::NotThere => Body::NotThere,
    };
    Have { request, item, body }
}
