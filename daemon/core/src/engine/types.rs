//! What the engine hears and what it orders.

use std::collections::BTreeSet;

use super::Scope;
use crate::flow::detect::{Look, Seen};
use crate::flow::index::Cursor;
use crate::flow::offer::{Lane, Offer};
use crate::flow::settle::{Becoming, Job, Placed, SettleError, Ticket};
use crate::model::{
    ContentId, Counter, DeviceId, Favour, Kind, RelPath, Role, Seq, StatKey, StoreId, Writer,
};

/// Names one look from its order or its begin to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LookId {
    /// Ordered by the engine.
    Ordered(u64),
    /// Begun by the daemon: a hint of the watcher, or a scan.
    Begun(u64),
}

/// Why somebody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The watcher saw something there: what is gone was deleted while we watched.
    Watched,
    /// A scan: what is gone may have gone in any way, and the brake applies.
    Scanned,
}

/// What a peer says of the folder when a session begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderHello {
    /// The peer's store.
    pub store: StoreId,
    /// How far the peer has settled our changes, if ever.
    pub cursor: Option<Cursor>,
}

/// Why bytes did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// The session ended. The record is offered again in the next one.
    #[error("the peer is gone")]
    PeerGone,
    /// The peer does not hold these bytes any more; a newer offer is on its way.
    #[error("the peer no longer has this version")]
    NotThere,
    /// Bytes came that are not what they were said to be.
    #[error("the peer sent bytes that are not what it offered")]
    Wrong,
    /// No room on the disk.
    #[error("there is no room on the disk")]
    NoRoom,
    /// The local disk failed.
    #[error("the disk reported an error")]
    Disk,
}

/// What happened. The engine learns of the world only through these.
#[derive(Debug, Clone)]
pub enum Event {
    /// The daemon is about to look somewhere by itself. Comes before the first `stat`.
    LookBegun {
        /// Repeated in what follows.
        look: LookId,
        /// Why.
        cause: Cause,
        /// Whether it is a look at the whole folder.
        whole: bool,
    },
    /// A look saw something.
    Seen {
        /// Which look.
        look: LookId,
        /// What.
        seen: Seen,
    },
    /// A look is over.
    LookDone {
        /// Which look.
        look: LookId,
        /// Whether the root was the same one before and after it, and nothing hid an error:
        /// else what is gone counts for nothing.
        attested: bool,
    },
    /// A peer that shares the folder is connected and has said where it stands.
    PeerUp {
        /// Who.
        peer: DeviceId,
        /// What it said.
        hello: FolderHello,
    },
    /// A session ended. What it offered and was not settled will be offered again.
    PeerDown {
        /// Who.
        peer: DeviceId,
    },
    /// A peer has news. Inline bytes are staged already.
    Offered {
        /// Who.
        peer: DeviceId,
        /// What.
        offer: Offer,
    },
    /// A peer holds frames of ours durably.
    Acked {
        /// Who.
        peer: DeviceId,
        /// Ranges of frame numbers, both ends included.
        frames: Vec<(u64, u64)>,
        /// Ranges of frames that it has put aside, until a person has decided there.
        aside: Vec<(u64, u64)>,
        /// How many frames the peer itself had sent by then.
        sent: u64,
    },
    /// The answer to [`Action::Fetch`].
    Fetched {
        /// Which fetch.
        ticket: Ticket,
        /// The bytes are staged and checked, or why not.
        outcome: Result<(), PullError>,
    },
    /// The answer to [`Action::Settle`].
    Settled {
        /// One outcome for each job of the batch.
        outcomes: Vec<(Ticket, Result<Vec<Placed>, SettleError>)>,
    },
    /// The answer to [`Action::Persist`].
    Persisted {
        /// The store is durable up to here.
        seq: Seq,
    },
    /// All that lay on the disk when our log ended at `seq` is durable, users' bytes too.
    BytesDurable {
        /// A sequence of our log.
        seq: Seq,
    },
    /// Somebody has read a file whose `stat` is as the index says, and its bytes are not: the disk
    /// has lost them. They are asked for.
    Rotten {
        /// Where.
        path: RelPath,
        /// What `stat` said before and after the bytes were read.
        stat: StatKey,
        /// What they are now.
        content: ContentId,
        /// Whether the right ones lie in staging already: then no device is needed.
        staged: bool,
    },
    /// After a crash: a job was under way. Comes before the first look.
    IntentFound {
        /// All that the job would have made true.
        intended: Vec<Intended>,
    },
    /// The rules were read and are good.
    RulesChanged {
        /// What they say.
        scope: Scope,
        /// The files they were read from.
        rule_files: BTreeSet<RelPath>,
    },
    /// The folder is shared with these devices from now on.
    SharedWith {
        /// Without this device.
        devices: BTreeSet<DeviceId>,
    },
    /// The answer to [`Action::ReserveCounters`].
    CountersReserved {
        /// A fresh range.
        counters: std::ops::Range<Counter>,
    },
    /// This device writes under another incarnation from now on, one that nobody has heard of.
    /// Comes before what [`Engine::disowns`](super::Engine::disowns) is true of.
    LifeBegun {
        /// This device, and its new incarnation.
        me: Writer,
    },
    /// A person says that the held deletes are meant.
    Approved,
    /// A person says that the held deletes are not meant: the files come back from peers.
    Rejected,
    /// A person says whether the deletes of a peer that wait here are meant.
    Decided {
        /// Whose.
        peer: DeviceId,
        /// Whether they are; if not, what they would have deleted is written above them.
        approved: bool,
    },
    /// The root that was lost is there again, attested.
    RootIsBack,
    /// What this device does in the folder. Comes before the first look.
    RoleIs {
        /// The role.
        role: Role,
    },
    /// The folder is joined, and a person has said who wins where files differ. Holds until
    /// [`Notice::Joined`]; comes before [`Event::RoleIs`] when it was so in an earlier run.
    Joining {
        /// Who wins.
        favour: Favour,
    },
    /// A person says that what lies here wins over all that waits, in a folder that only sends.
    Overruled,
    /// A person gives up what was changed here in a folder that only receives. All sessions are
    /// over with it: the peers tell all they have in new ones.
    Reverted,
    /// Nothing is placed while paused.
    Paused {
        /// Whether it is.
        paused: bool,
    },
}

/// One path of a job that a crash cut short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intended {
    /// What would have been true.
    pub becomes: Becoming,
    /// What lies there now.
    pub there: Option<There>,
}

/// What a crash has left at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct There {
    /// Its kind.
    pub kind: Kind,
    /// What it holds.
    pub content: ContentId,
    /// Its modification time, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Its mode; only the permission bits count.
    pub mode: u32,
}

/// What to do next. Each order with a ticket is answered once.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look there and answer with [`Event::Seen`] and [`Event::LookDone`].
    Look {
        /// Repeated in the answers.
        look: LookId,
        /// Where.
        what: Vec<Look>,
    },
    /// Bring the bytes of `content` into staging: from what lies here, or from the peer.
    Fetch {
        /// Repeated in the answer.
        ticket: Ticket,
        /// Who offered it.
        peer: DeviceId,
        /// The path under which the peer offered it.
        path: RelPath,
        /// File or symlink.
        kind: Kind,
        /// The bytes.
        content: ContentId,
        /// Their count.
        size: u64,
    },
    /// Take the steps of these jobs, in this order.
    Settle {
        /// At most a thousand, or those of one burst.
        jobs: Vec<Job>,
    },
    /// Make the store durable up to `seq` and close the intents of settled jobs.
    Persist {
        /// Repeated in the answer.
        seq: Seq,
    },
    /// Send news.
    Offer {
        /// To whom.
        peer: DeviceId,
        /// How.
        lane: Lane,
        /// What.
        offer: Offer,
    },
    /// Acknowledge frames.
    Ack {
        /// To whom.
        peer: DeviceId,
        /// Ranges of frame numbers, both ends included.
        frames: Vec<(u64, u64)>,
        /// Ranges of frames that are put aside, until a person has decided here.
        aside: Vec<(u64, u64)>,
        /// How many frames we have sent so far.
        sent: u64,
    },
    /// Reserve another range of counters.
    ReserveCounters,
    /// Read the rules again: a rule file changed.
    ReadRules,
    /// The peer breaks the protocol: end the session.
    Cut {
        /// Who.
        peer: DeviceId,
        /// What it did.
        why: &'static str,
    },
    /// The root is lost: stop touching it until it is attested again.
    Halt,
    /// Something a person may want to know.
    Tell(Notice),
}

/// Something a person may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A user's write or delete was taken into the index.
    Changed {
        /// Where.
        path: RelPath,
        /// What lies there now.
        kind: Kind,
    },
    /// A peer's version was placed.
    Placed {
        /// Where.
        path: RelPath,
        /// What lies there now.
        kind: Kind,
        /// Whose write it was.
        author: DeviceId,
    },
    /// Two writes met; the loser lives on as a copy.
    Conflict {
        /// Where the winner lies.
        path: RelPath,
        /// Where the loser lies.
        copy: RelPath,
    },
    /// All that was there before the folder was joined has been joined.
    Joined,
    /// All that a stop of the machine without warning has left here is known, durably.
    Steady,
    /// A peer deletes so much at once that a person must say whether that is meant.
    HeldOf {
        /// Who.
        peer: DeviceId,
        /// How many files.
        files: u64,
    },
    /// A scan found so much gone that a person must say whether that is meant.
    Held {
        /// How many paths.
        count: usize,
    },
}

/// Why a path does not become what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A step failed; it is tried again.
    Settle(SettleError),
    /// Its bytes did not come; they are asked for again.
    Pull(PullError),
    /// A power loss has emptied it before its bytes were durable; peers are asked for them.
    Emptied,
    /// The disk gives back other bytes than were written; peers are asked for the right ones.
    Rotten,
}

/// How far a peer and we are apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerState {
    /// Whether a session is open.
    pub connected: bool,
    /// The peer durably holds our changes up to here.
    pub acked: Seq,
    /// Whether all its news is settled here.
    pub settled: bool,
    /// How many of our changes it has put aside, until a person has decided there.
    pub aside: usize,
}
