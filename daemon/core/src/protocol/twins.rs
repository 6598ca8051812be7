//! Serialized twins of the frames, and how a frame becomes one.
//!
//! Written with bincode 2: little endian, variable integers, counts before lists, enum variants
//! by their place here.
//!
//! # Evolution
//! New variants go to the end, none is removed or moved. A field is never added to a variant that
//! was released: a new variant carries the new shape, and is sent only to a peer whose Hello
//! names a version that knows it. Hello alone grows at its end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limits::{
    ACK_RANGES_MAX, BLOCKS_MAX, HAVES_MAX, WANT_ITEMS_MAX, WANT_RANGES_MAX, WRITERS_MAX,
};
use super::peer::{Body, Frame, Have, Listed, Need, PROTOCOL_VERSION, Tag, WantedItem};
use super::raw::{Bytes, List};
use super::tokens::TOKEN_BYTES;
use crate::flow::offer::{More, Offer};
use crate::model::limits::{ANCESTORS_MAX, OFFER_RECORDS_MAX, VERSION_WRITERS_MAX};
use crate::model::{Actor, ContentId, Kind, Record, Version, Writer};

#[derive(Serialize, Deserialize)]
pub(super) enum FrameTwin<'a> {
    Hello {
        version: u16,
        name: &'a str,
        incarnation: u64,
        boot_nonce: u64,
        token_shown: Option<[u8; TOKEN_BYTES]>,
        token_given: [u8; TOKEN_BYTES],
        clock_ms: i64,
    },
    Ready {
        folder: &'a str,
        label: &'a str,
        #[serde(borrow)]
        single_file: Option<Bytes<'a>>,
        epoch: u32,
        store: u64,
        cursor: Option<(u64, u64)>,
        seen_of_you: List<(u64, u64), VERSION_WRITERS_MAX>,
    },
    Unready {
        folder: &'a str,
    },
    Offer {
        #[serde(borrow)]
        tag: TagTwin<'a>,
        number: u64,
        after: u64,
        writers: List<WriterTwin, WRITERS_MAX>,
        #[serde(borrow)]
        records: List<(Bytes<'a>, RecordTwin<'a>), OFFER_RECORDS_MAX>,
        upto: Option<(u64, Option<Counters>)>,
        more: MoreTwin,
        #[serde(borrow)]
        inline: List<([u8; 32], Bytes<'a>), OFFER_RECORDS_MAX>,
    },
    Ack {
        #[serde(borrow)]
        tag: TagTwin<'a>,
        frames: List<(u64, u64), ACK_RANGES_MAX>,
        aside: List<(u64, u64), ACK_RANGES_MAX>,
        sent: u64,
    },
    Want {
        request: u64,
        folder: &'a str,
        #[serde(borrow)]
        items: List<WantedTwin<'a>, WANT_ITEMS_MAX>,
    },
    Have(#[serde(borrow)] List<HaveTwin<'a>, HAVES_MAX>),
    List {
        request: u64,
        folder: &'a str,
        after: u64,
    },
    Listed {
        request: u64,
        writers: List<WriterTwin, WRITERS_MAX>,
        #[serde(borrow)]
        records: List<(Bytes<'a>, RecordTwin<'a>), OFFER_RECORDS_MAX>,
        next: Option<u64>,
    },
    Holds {
        folder: &'a str,
        files: u64,
        bytes: u64,
        ignored: u64,
        unsupported: u64,
        not_taken: u64,
    },
}

/// Folder, the sender's epoch, the receiver's epoch.
pub(super) type TagTwin<'a> = (&'a str, u32, u32);

/// Device and incarnation.
pub(super) type WriterTwin = ([u8; 32], u64);

/// Places of writers in the offer's list, each with its counter.
pub(super) type Counters = List<(u16, u64), VERSION_WRITERS_MAX>;

/// Path, kind, content, and which part of it.
pub(super) type WantedTwin<'a> = (Bytes<'a>, u8, [u8; 32], NeedTwin);

/// Request, item, answer.
pub(super) type HaveTwin<'a> = (u64, u32, BodyTwin<'a>);

#[derive(Serialize, Deserialize)]
pub(super) enum MoreTwin {
    Nothing,
    Burst,
    Backlog,
}

#[derive(Serialize, Deserialize)]
pub(super) enum NeedTwin {
    Whole,
    Blocks,
    Ranges(List<(u64, u32), WANT_RANGES_MAX>),
}

#[derive(Serialize, Deserialize)]
pub(super) enum BodyTwin<'a> {
    Whole(#[serde(borrow)] Bytes<'a>),
    Blocks(u32, List<([u8; 32], u32), BLOCKS_MAX>),
    Range(u64, #[serde(borrow)] Bytes<'a>),
    NotThere,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RecordTwin<'a> {
    pub(super) kind: u8,
    pub(super) size: u64,
    pub(super) mtime_ns: i64,
    pub(super) mode: u16,
    pub(super) content: Option<[u8; 32]>,
    pub(super) ancestors: List<[u8; 8], ANCESTORS_MAX>,
    /// A writer's place and the counter.
    pub(super) dot: (u16, u64),
    pub(super) version: Counters,
    /// A writer's place, of which only the device counts.
    pub(super) author: u16,
    #[serde(borrow)]
    pub(super) actor: ActorTwin<'a>,
    pub(super) found: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) enum ActorTwin<'a> {
    Unknown,
    Person,
    Agent(&'a str),
}

/// The writers that an offer speaks of, each once.
#[derive(Default)]
struct Writers {
    list: Vec<WriterTwin>,
    places: BTreeMap<WriterTwin, u16>,
}

impl Writers {
    fn place(&mut self, writer: Writer) -> u16 {
        let twin = (writer.device.0, writer.incarnation.0);
        *self.places.entry(twin).or_insert_with(|| {
            self.list.push(twin);
            // Beyond the limit of the list the frame is refused as a whole.
            u16::try_from(self.list.len() - 1).unwrap_or(u16::MAX)
        })
    }

    fn counters(&mut self, version: &Version) -> Counters {
        version.counters().map(|(writer, counter)| (self.place(writer), counter)).collect()
    }

    fn record<'a>(&mut self, record: &'a Record) -> RecordTwin<'a> {
        let author = Writer { device: record.author, incarnation: record.dot.writer.incarnation };
        RecordTwin {
            kind: kind_number(record.kind),
            size: record.size,
            mtime_ns: record.mtime_ns,
            mode: u16::try_from(record.mode & 0o777).unwrap_or_default(),
            content: (record.content != ContentId::NONE).then_some(record.content.0),
            ancestors: record.ancestors.iter().map(|id| id.0).collect(),
            dot: (self.place(record.dot.writer), record.dot.counter),
            version: self.counters(&record.version),
            author: self.place(author),
            actor: match &record.actor {
                Actor::Unknown => ActorTwin::Unknown,
                Actor::Person => ActorTwin::Person,
                Actor::Agent(name) => ActorTwin::Agent(name),
            },
            found: record.found,
        }
    }
}

impl FrameTwin<'_> {
    /// Tells whether it is the Hello of a later version, at whose end may stand what is not known
    /// here.
    pub(super) fn is_later_hello(&self) -> bool {
        matches!(self, Self::Hello { version, .. } if *version > PROTOCOL_VERSION)
    }
}

impl<'a> From<&'a Frame> for FrameTwin<'a> {
    fn from(frame: &'a Frame) -> Self {
        match frame {
            Frame::Hello(hello) => Self::Hello {
                version: hello.version,
                name: &hello.name,
                incarnation: hello.incarnation.0,
                boot_nonce: hello.boot_nonce,
                token_shown: hello.token_shown,
                token_given: hello.token_given,
                clock_ms: hello.clock_ms,
            },
            Frame::Ready(ready) => Self::Ready {
                folder: ready.folder.as_str(),
                label: &ready.label,
                single_file: ready.single_file.as_deref().map(Bytes),
                epoch: ready.epoch,
                store: ready.store.0,
                cursor: ready.cursor.map(|c| (c.store.0, c.seq)),
                seen_of_you: ready.seen_of_you.iter().map(|(i, c)| (i.0, *c)).collect(),
            },
            Frame::Unready { folder } => Self::Unready { folder: folder.as_str() },
            Frame::Offer { tag, offer, inline } => offer_twin(tag, offer, inline),
            Frame::Ack { tag, frames, aside, sent } => {
                let frames = frames.iter().copied().collect();
                let aside = aside.iter().copied().collect();
                Self::Ack { tag: tag_twin(tag), frames, aside, sent: *sent }
            }
            Frame::Want(want) => Self::Want {
                request: want.request,
                folder: want.folder.as_str(),
                items: want.items.iter().map(wanted_twin).collect(),
            },
            Frame::Have(haves) => Self::Have(haves.iter().map(have_twin).collect()),
            Frame::List(list) => Self::List {
                request: list.request,
                folder: list.folder.as_str(),
                after: list.after,
            },
            Frame::Listed(listed) => listed_twin(listed),
            Frame::Holds(holds) => Self::Holds {
                folder: holds.folder.as_str(),
                files: holds.files,
                bytes: holds.bytes,
                ignored: holds.ignored,
                unsupported: holds.unsupported,
                not_taken: holds.not_taken,
            },
        }
    }
}

fn tag_twin(tag: &Tag) -> TagTwin<'_> {
    (tag.folder.as_str(), tag.from, tag.to)
}

fn offer_twin<'a>(
    tag: &'a Tag,
    offer: &'a Offer,
    inline: &'a [(ContentId, Vec<u8>)],
) -> FrameTwin<'a> {
    let mut writers = Writers::default();
    let records = offer
        .records
        .iter()
        .map(|(path, record)| (Bytes(path.as_bytes()), writers.record(record)))
        .collect();
    let upto = offer
        .upto
        .as_ref()
        .map(|upto| (upto.seq, upto.covered.as_ref().map(|covered| writers.counters(covered))));
    FrameTwin::Offer {
        tag: tag_twin(tag),
        number: offer.number,
        after: offer.after,
        writers: List(writers.list),
        records,
        upto,
        more: MoreTwin::from(offer.more),
        inline: inline.iter().map(|(id, bytes)| (id.0, Bytes(bytes))).collect(),
    }
}

fn listed_twin(listed: &Listed) -> FrameTwin<'_> {
    let mut writers = Writers::default();
    let records = listed.records.iter();
    let records =
        records.map(|(path, record)| (Bytes(path.as_bytes()), writers.record(record))).collect();
    FrameTwin::Listed {
        request: listed.request,
        writers: List(writers.list),
        records,
        next: listed.next,
    }
}

fn wanted_twin(item: &WantedItem) -> WantedTwin<'_> {
    let need = match &item.need {
        Need::Whole => NeedTwin::Whole,
        Need::Blocks => NeedTwin::Blocks,
        Need::Ranges(ranges) => NeedTwin::Ranges(ranges.iter().copied().collect()),
    };
    (Bytes(item.path.as_bytes()), kind_number(item.kind), item.content.0, need)
}

fn have_twin(have: &Have) -> HaveTwin<'_> {
    let body = match &have.body {
        Body::Whole(bytes) => BodyTwin::Whole(Bytes(bytes)),
        Body::Blocks(list) => BodyTwin::Blocks(
            list.average_bytes,
            list.blocks.iter().map(|block| (block.id.0, block.size)).collect(),
        ),
        Body::Range { offset, bytes } => BodyTwin::Range(*offset, Bytes(bytes)),
        Body::NotThere => BodyTwin::NotThere,
    };
    (have.request, have.item, body)
}

fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::File => 0,
        Kind::Directory => 1,
        Kind::Symlink => 2,
        Kind::Tombstone => 3,
    }
}

impl From<More> for MoreTwin {
    fn from(more: More) -> Self {
        match more {
            More::Nothing => Self::Nothing,
            More::Burst => Self::Burst,
            More::Backlog => Self::Backlog,
        }
    }
}

impl From<MoreTwin> for More {
    fn from(more: MoreTwin) -> Self {
        match more {
            MoreTwin::Nothing => Self::Nothing,
            MoreTwin::Burst => Self::Burst,
            MoreTwin::Backlog => Self::Backlog,
        }
    }
}
