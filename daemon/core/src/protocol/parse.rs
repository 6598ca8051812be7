//! From a serialized twin to a frame: every value of a peer is checked here, once.

use super::DecodeError;
use super::limits::{
    AGENT_BYTES_MAX, BLOCK_BYTES_MAX, FILE_BYTES_MAX, NAME_BYTES_MAX, WANT_RANGES_MAX,
};
use super::peer::{Body, Frame, Have, Hello, Holds, Need, Ready, Tag, Want, WantedItem};
use super::raw::{Bytes, List};
use super::twins::{
    ActorTwin, BodyTwin, Counters, FrameTwin, HaveTwin, NeedTwin, RecordTwin, TagTwin, WantedTwin,
    WriterTwin,
};
use crate::flow::digest::{Block, BlockList};
use crate::flow::index::Cursor;
use crate::flow::offer::{Offer, Upto};
use crate::model::limits::{
    COUNTER_MAX, INLINE_BYTES_MAX, INLINE_IN_FLIGHT_BYTES_MAX, PATH_BYTES_MAX, WHOLE_BYTES_MAX,
};
use crate::model::{
    Actor, AncestorId, BlockId, ContentId, Counter, DeviceId, Dot, FolderId, Incarnation, Kind,
    Record, RelPath, StoreId, Version, Writer,
};

type Parsed<T> = Result<T, DecodeError>;

/// Checks a twin, and returns the frame it stands for.
///
/// # Errors
/// [`DecodeError::Value`] naming what is wrong.
pub(super) fn frame(twin: FrameTwin<'_>) -> Parsed<Frame> {
    Ok(match twin {
        FrameTwin::Hello {
            version,
            name,
            incarnation,
            boot_nonce,
            token_shown,
            token_given,
            clock_ms,
        } => Frame::Hello(Hello {
            version,
            name: short(name)?,
            incarnation: Incarnation(incarnation),
            boot_nonce,
            token_shown,
            token_given,
            clock_ms,
        }),
        FrameTwin::Ready { folder: id, label, single_file, epoch, store, cursor, seen_of_you } => {
            let seen = |(of, count)| Ok((Incarnation(of), counter(count)?));
            Frame::Ready(Ready {
                folder: folder(id)?,
                label: short(label)?,
                single_file: single_file.map(name).transpose()?,
                epoch,
                store: StoreId(store),
                cursor: cursor.map(|(store, seq)| Cursor { store: StoreId(store), seq }),
                seen_of_you: seen_of_you.0.into_iter().map(seen).collect::<Parsed<_>>()?,
            })
        }
        FrameTwin::Unready { folder: id } => Frame::Unready { folder: folder(id)? },
        FrameTwin::Offer { tag: t, number, after, writers, records, upto, more, inline: bytes } => {
            let inline = inline(&bytes.0)?;
            let records = named(records.0, &writers.0)?;
            let upto = upto.map(|(seq, covered)| {
                let covered = covered.map(|counters| version(&writers.0, counters)).transpose();
                Ok(Upto { seq: counter(seq)?, covered: covered? })
            });
            check(after < number, "an offer that is to wait for itself")?;
            let offer =
                Offer { number, after, records, upto: upto.transpose()?, more: more.into() };
            Frame::Offer { tag: tag(t)?, offer, inline }
        }
        FrameTwin::Ack { tag: t, frames, aside, sent } => {
            let mut ranges = frames.0.iter().chain(&aside.0);
            let ordered = ranges.all(|(first, last)| first <= last);
            check(ordered, "a range that ends before it begins")?;
            Frame::Ack { tag: tag(t)?, frames: frames.0, aside: aside.0, sent }
        }
        FrameTwin::Want { request, folder: id, items } => {
            Frame::Want(Want { request, folder: folder(id)?, items: items_of(items.0)? })
        }
        FrameTwin::List { request, folder: id, after } => {
            Frame::List(super::List { request, folder: folder(id)?, after })
        }
        FrameTwin::Listed { request, writers, records, next } => {
            let records = named(records.0, &writers.0)?;
            Frame::Listed(super::Listed { request, records, next })
        }
        FrameTwin::Holds { folder: id, files, bytes, ignored, unsupported, not_taken } => {
            let folder = folder(id)?;
            Frame::Holds(Holds { folder, files, bytes, ignored, unsupported, not_taken })
        }
        FrameTwin::Have(haves) => {
            Frame::Have(haves.0.into_iter().map(have).collect::<Parsed<_>>()?)
        }
    })
}

fn check(holds: bool, what: &'static str) -> Parsed<()> {
    if holds { Ok(()) } else { Err(DecodeError::Value(what)) }
}

fn short(name: &str) -> Parsed<String> {
    check(name.len() <= NAME_BYTES_MAX, "a name without end")?;
    Ok(name.to_owned())
}

/// Checks a name that a file may have on a disk.
fn name(bytes: Bytes<'_>) -> Parsed<Vec<u8>> {
    let is_name = RelPath::root().join(bytes.0).is_ok();
    check(is_name, "a name that no file can have")?;
    Ok(bytes.0.to_vec())
}

fn folder(text: &str) -> Parsed<FolderId> {
    FolderId::parse(text).map_err(|_| DecodeError::Value("a folder id that is none"))
}

fn path(bytes: Bytes<'_>) -> Parsed<RelPath> {
    let path = RelPath::parse(bytes.0)
        .map_err(|_| DecodeError::Value("a path that no folder can hold"))?;
    check(!path.is_reserved(), "a path of syncd's own")?;
    Ok(path)
}

fn tag((id, from, to): TagTwin<'_>) -> Parsed<Tag> {
    Ok(Tag { folder: folder(id)?, from, to })
}

fn kind(number: u8) -> Parsed<Kind> {
    match number {
        0 => Ok(Kind::File),
        1 => Ok(Kind::Directory),
        2 => Ok(Kind::Symlink),
        3 => Ok(Kind::Tombstone),
        _ => Err(DecodeError::Value("an unknown kind")),
    }
}

/// Tells whether `count` bytes from `offset` on lie within the greatest file.
fn fits(offset: u64, count: u64) -> bool {
    offset.checked_add(count).is_some_and(|end| end <= FILE_BYTES_MAX)
}

fn inline(twins: &[([u8; 32], Bytes<'_>)]) -> Parsed<Vec<(ContentId, Vec<u8>)>> {
    let bytes = |(_, bytes): &([u8; 32], Bytes<'_>)| bytes.0.len() as u64;
    let small = twins.iter().all(|twin| bytes(twin) <= INLINE_BYTES_MAX);
    let all: u64 = twins.iter().map(bytes).sum();
    check(small && all <= INLINE_IN_FLIGHT_BYTES_MAX, "too many inline bytes")?;
    Ok(twins.iter().map(|(id, bytes)| (ContentId(*id), bytes.0.to_vec())).collect())
}

fn writer(writers: &[WriterTwin], place: u16) -> Parsed<Writer> {
    let twin = writers.get(usize::from(place));
    let (device, incarnation) = twin.ok_or(DecodeError::Value("a writer that it does not name"))?;
    let writer = Writer { device: DeviceId(*device), incarnation: Incarnation(*incarnation) };
    check(!writer.is_untold(), "a writer of whom nobody is ever told")?;
    Ok(writer)
}

/// Checks a counter, or a sequence, which is one.
fn counter(count: u64) -> Parsed<Counter> {
    check(count <= COUNTER_MAX, "a counter that no device reaches")?;
    Ok(count)
}

fn version(writers: &[WriterTwin], counters: Counters) -> Parsed<Version> {
    let counters = counters.0.into_iter();
    let named = counters.map(|(place, count)| Ok((writer(writers, place)?, counter(count)?)));
    Ok(Version::from_counters(named.collect::<Parsed<Vec<_>>>()?))
}

fn record(twin: RecordTwin<'_>, writers: &[WriterTwin]) -> Parsed<Record> {
    let kind = kind(twin.kind)?;
    let content = twin.content.map_or(ContentId::NONE, ContentId);
    let size_max = match kind {
        Kind::File => FILE_BYTES_MAX,
        Kind::Symlink => PATH_BYTES_MAX as u64,
        Kind::Directory | Kind::Tombstone => 0,
    };
    let has_bytes = matches!(kind, Kind::File | Kind::Symlink);
    let named = content != ContentId::NONE;
    let fits = named == has_bytes && twin.content.is_some() == named && twin.size <= size_max;
    check(fits, "a record whose kind and content do not fit")?;
    check(twin.mode <= 0o777, "a mode beyond the permissions")?;
    let (place, count) = twin.dot;
    check(count > 0, "a write before the first")?;
    check(!twin.found || kind != Kind::Tombstone, "a delete that was found")?;
    Ok(Record {
        kind,
        size: twin.size,
        mtime_ns: twin.mtime_ns,
        mode: u32::from(twin.mode),
        content,
        ancestors: twin.ancestors.0.into_iter().map(AncestorId).collect(),
        dot: Dot { writer: writer(writers, place)?, counter: counter(count)? },
        version: version(writers, twin.version)?,
        author: writer(writers, twin.author)?.device,
        actor: match twin.actor {
            ActorTwin::Unknown => Actor::Unknown,
            ActorTwin::Person => Actor::Person,
            ActorTwin::Agent(name) => {
                check((1..=AGENT_BYTES_MAX).contains(&name.len()), "an agent's name that is none")?;
                Actor::Agent(name.to_owned())
            }
        },
        found: twin.found,
    })
}

fn named(
    twins: Vec<(Bytes<'_>, RecordTwin<'_>)>,
    writers: &[WriterTwin],
) -> Parsed<Vec<(RelPath, Record)>> {
    twins.into_iter().map(|(at, twin)| Ok((path(at)?, record(twin, writers)?))).collect()
}

fn items_of(twins: Vec<WantedTwin<'_>>) -> Parsed<Vec<WantedItem>> {
    let items: Vec<WantedItem> = twins.into_iter().map(wanted).collect::<Parsed<_>>()?;
    let ranges = items.iter().map(|item| match &item.need {
        Need::Ranges(ranges) => ranges.len(),
        Need::Whole | Need::Blocks => 0,
    });
    check(ranges.sum::<usize>() <= WANT_RANGES_MAX, "too many ranges")?;
    Ok(items)
}

fn wanted((at, number, content, need): WantedTwin<'_>) -> Parsed<WantedItem> {
    let kind = kind(number)?;
    check(matches!(kind, Kind::File | Kind::Symlink), "a want of what has no bytes")?;
    let need = match need {
        NeedTwin::Whole => Need::Whole,
        NeedTwin::Blocks => Need::Blocks,
        NeedTwin::Ranges(List(ranges)) => {
            let sound = |(offset, count): &(u64, u32)| {
                (1..=BLOCK_BYTES_MAX).contains(count) && fits(*offset, u64::from(*count))
            };
            check(ranges.iter().all(sound), "a range that is no block")?;
            Need::Ranges(ranges)
        }
    };
    Ok(WantedItem { path: path(at)?, kind, content: ContentId(content), need })
}

fn have((request, item, body): HaveTwin<'_>) -> Parsed<Have> {
    let body = match body {
        BodyTwin::Whole(bytes) => {
            check(bytes.0.len() as u64 <= WHOLE_BYTES_MAX, "a whole content of many blocks")?;
            Body::Whole(bytes.0.to_vec())
        }
        BodyTwin::Blocks(average_bytes, blocks) => {
            let block = |(id, size)| Block { id: BlockId(id), size };
            let blocks: Vec<Block> = blocks.0.into_iter().map(block).collect();
            let list = BlockList { average_bytes, blocks };
            let sound = !list.blocks.is_empty() && list.is_sound(list.total_bytes());
            check(sound, "a block list that no cutter made")?;
            Body::Blocks(list)
        }
        BodyTwin::Range(offset, bytes) => {
            let count = bytes.0.len() as u64;
            let sound = (1..=u64::from(BLOCK_BYTES_MAX)).contains(&count) && fits(offset, count);
            check(sound, "a range that is no block")?;
            Body::Range { offset, bytes: bytes.0.to_vec() }
        }
        BodyTwin::NotThere => Body::NotThere,
    };
    Ok(Have { request, item, body })
}
