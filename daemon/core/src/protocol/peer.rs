//! The frames of a session between two daemons.
//!
//! A session begins with [`Hello`] on the interactive lane from both sides. Each side then says
//! [`Ready`] for every folder it shares with the other; once both have, they exchange offers and
//! acknowledgements of that folder, tagged with both sides' epochs, so that what was under way
//! when one side began the folder anew is told from what came after. Contents are asked for by
//! [`Want`] on the bulk lane and come as [`Have`] on the data lane.

use super::tokens::TOKEN_BYTES;
use crate::flow::digest::BlockList;
use crate::flow::index::Cursor;
use crate::flow::offer::Offer;
use crate::model::{
    ContentId, Counter, FolderId, Incarnation, Kind, Record, RelPath, Seq, StoreId,
};

/// The newest version of the protocol that is spoken here.
pub const PROTOCOL_VERSION: u16 = 1;

/// The oldest version that is still spoken here. A peer whose newest is older is refused with a
/// sentence.
pub const PROTOCOL_VERSION_MIN: u16 = 1;

/// Returns the version in which two devices speak: the lower of their newest ones, or `None` when
/// this device has forgotten that one. Both sides reckon alike, each from the other's [`Hello`].
#[must_use]
pub fn agreed(theirs: u16) -> Option<u16> {
    let spoken = theirs.min(PROTOCOL_VERSION);
    (PROTOCOL_VERSION_MIN <= spoken).then_some(spoken)
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The first frame of a session, on the interactive lane.
    Hello(Hello),
    /// The sender shares a folder with the receiver. Interactive lane.
    Ready(Ready),
    /// The sender shares the folder no longer, or stops for now. Interactive lane.
    Unready {
        /// Which folder.
        folder: FolderId,
    },
    /// News. Either lane.
    Offer {
        /// Which folder, and which begin of it.
        tag: Tag,
        /// The news.
        offer: Offer,
        /// Bytes of small contents in it.
        inline: Vec<(ContentId, Vec<u8>)>,
    },
    /// Frames that are settled and durable, or put aside. Interactive lane.
    Ack {
        /// Which folder, and which begin of it.
        tag: Tag,
        /// Ranges of frame numbers, both ends included.
        frames: Vec<(u64, u64)>,
        /// Ranges of frames that are put aside, until a person has decided.
        aside: Vec<(u64, u64)>,
        /// How many offers the sender had sent by then.
        sent: u64,
    },
    /// Bytes that the sender wants. Bulk lane.
    Want(Want),
    /// Answers to wants. Data lane.
    Have(Vec<Have>),
    /// What does the receiver have in a folder? Asked before the folder is taken: nobody's
    /// cursor moves. Bulk lane.
    List(List),
    /// A part of what the sender has. Data lane.
    Listed(Listed),
    /// How much of a folder the sender holds, for people. Interactive lane.
    Holds(Holds),
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The newest version that the sender speaks, see [`agreed`].
    pub version: u16,
    /// The device's own name.
    pub name: String,
    /// The life of the sender's store.
    pub incarnation: Incarnation,
    /// Random, new at every start of the process.
    pub boot_nonce: u64,
    /// What the receiver handed out in the last session, if the sender remembers.
    pub token_shown: Option<[u8; TOKEN_BYTES]>,
    /// What the receiver is to show next time.
    pub token_given: [u8; TOKEN_BYTES],
    /// What the sender's clock says, in milliseconds since 1970: a clock that is far off is told
    /// to people, and decides nothing.
    pub clock_ms: i64,
}

/// A folder that the sender shares with the receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Which folder.
    pub folder: FolderId,
    /// What people call it.
    pub label: String,
    /// The name that a single file has on the sender's disk, if the folder is one: a proposal for
    /// what to call it elsewhere.
    pub single_file: Option<Vec<u8>>,
    /// Grows each time the sender begins the folder anew in this session; 0 for a folder that is
    /// only offered: the sender takes nothing and tells nothing yet.
    pub epoch: u32,
    /// The sender's store.
    pub store: StoreId,
    /// How far the sender has settled the receiver's changes.
    pub cursor: Option<Cursor>,
    /// The greatest counters of the receiver that the sender has seen, by incarnation.
    pub seen_of_you: Vec<(Incarnation, Counter)>,
}

/// How much of a folder the sender holds. People are told; nothing is decided by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holds {
    /// Which folder.
    pub folder: FolderId,
    /// Files and symlinks on the sender's disk.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that it knows of and its rules keep off its disk.
    pub ignored: u64,
    /// Files that it knows of and its disk cannot hold.
    pub unsupported: u64,
    /// Changes that it was told and does not take, since its folder only sends.
    pub not_taken: u64,
}

/// Ties a frame to one begin of a folder on both sides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// Which folder.
    pub folder: FolderId,
    /// The sender's epoch.
    pub from: u32,
    /// The receiver's epoch, as the sender knows it.
    pub to: u32,
}

/// A request for bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Repeated in the answers.
    pub request: u64,
    /// Which folder.
    pub folder: FolderId,
    /// What is wanted; one answer or more for each, in any order.
    pub items: Vec<WantedItem>,
}

/// A question for what lies in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Repeated in the answer.
    pub request: u64,
    /// Which folder.
    pub folder: FolderId,
    /// Only what changed after this place in the receiver's log; 0 for the beginning.
    pub after: Seq,
}

/// The answer to a [`List`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which request.
    pub request: u64,
    /// What lies there, by its place in the log.
    pub records: Vec<(RelPath, Record)>,
    /// From where to ask on; `None` when that was all.
    pub next: Option<Seq>,
}

/// One content that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedItem {
    /// Where the receiver offered it.
    pub path: RelPath,
    /// File or symlink.
    pub kind: Kind,
    /// Its id.
    pub content: ContentId,
    /// Which part of it.
    pub need: Need,
}

/// Which part of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// All of it: at most 64 KiB.
    Whole,
    /// Its block list.
    Blocks,
    /// These ranges: offset and count, each one block.
    Ranges(Vec<(u64, u32)>),
}

/// One answer to one item of a [`Want`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Have {
    /// Which request.
    pub request: u64,
    /// Which item of it, from 0.
    pub item: u32,
    /// The answer.
    pub body: Body,
}

/// What is had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The whole content.
    Whole(Vec<u8>),
    /// Its block list.
    Blocks(BlockList),
    /// One range.
    Range {
        /// Where it begins.
        offset: u64,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// The content is not there any more, or may not be had.
    NotThere,
}
