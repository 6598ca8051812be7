//! What devices tell each other about one path.

use super::limits::ANCESTORS_MAX;
use super::{AncestorId, ContentId, DeviceId, Dot, Incarnation, Version, Writer};

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; its content is the target's bytes. Never followed.
    Symlink,
    /// Nothing any more.
    Tombstone,
}

/// Who made a change, as far as known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Actor {
    /// Nobody said.
    #[default]
    Unknown,
    /// A person.
    Person,
    /// A program that named itself, 1 to 64 bytes.
    Agent(String),
}

/// One path's synced state: the same on every device that has the same version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What lies there.
    pub kind: Kind,
    /// Bytes of a file or of a symlink's target; 0 for the rest.
    pub size: u64,
    /// Modification time in nanoseconds since 1970; 0 for directories and tombstones, whose
    /// times tell nothing that a user set.
    pub mtime_ns: i64,
    /// Permission bits masked to `0o777`, for files and directories; 0 for the rest.
    pub mode: u32,
    /// The bytes; [`ContentId::NONE`] for directories and tombstones.
    pub content: ContentId,
    /// Earlier contents of the path, newest first, without repeats, at most [`ANCESTORS_MAX`].
    pub ancestors: Vec<AncestorId>,
    /// The user's write that made this content.
    pub dot: Dot,
    /// What this record has seen.
    pub version: Version,
    /// The device on which the write was made.
    pub author: DeviceId,
    /// Who made it.
    pub actor: Actor,
    /// Whether nobody saw the write being made: it lay there when a store that knew nothing yet
    /// looked at its folder for the first time, or after a power loss. Belongs to the dot; `false`
    /// for tombstones.
    pub found: bool,
}

impl Record {
    /// Tells whether something lies at the path.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.kind != Kind::Tombstone
    }

    /// Tells whether the content is a conflict copy as it was made, not written since.
    #[must_use]
    pub fn is_derived(&self) -> bool {
        self.dot.writer.device == DeviceId::NIL
    }

    /// Returns the record of a path of which nobody has ever told anything: every other has seen
    /// more. It is never told.
    #[must_use]
    pub fn void() -> Self {
        let writer = Writer { device: DeviceId::NIL, incarnation: Incarnation(0) };
        Self {
            kind: Kind::Tombstone,
            size: 0,
            mtime_ns: 0,
            mode: 0,
            content: ContentId::NONE,
            ancestors: Vec::new(),
            dot: Dot { writer, counter: 0 },
            version: Version::NEW,
            author: DeviceId::NIL,
            actor: Actor::Unknown,
            found: false,
        }
    }

    /// Tells whether it is [`Record::void`].
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.version == Version::NEW
    }

    /// Tells whether a withheld record is of a path at which no peer was ever told of anything:
    /// a conflict copy that was made here, or nothing but untold writes.
    #[must_use]
    pub fn is_unheard_of(&self) -> bool {
        self.is_derived() || self.version.counters().all(|(writer, _)| writer.is_untold())
    }

    /// Tells whether the record's content is bytes that must be fetched.
    #[must_use]
    pub fn has_bytes(&self) -> bool {
        matches!(self.kind, Kind::File | Kind::Symlink)
    }

    /// Tells whether a reader of the disk could not tell the two apart: same kind, content, mode
    /// and modification time.
    #[must_use]
    pub fn looks_like(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.content == other.content
            && self.mode == other.mode
            && self.mtime_ns == other.mtime_ns
    }

    /// Tells whether the two hold the same bytes in the same kind of thing.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.kind == other.kind && self.content == other.content
    }

    /// Tells whether this path once held `content`.
    #[must_use]
    pub fn descends_from(&self, content: ContentId) -> bool {
        self.ancestors.contains(&content.ancestor())
    }

    /// Returns the ancestors of a write made on top of this record: its content first, then its
    /// own ancestors, cut to [`ANCESTORS_MAX`].
    #[must_use]
    pub fn heritage(&self) -> Vec<AncestorId> {
        let own = Some(self.content).filter(|c| *c != ContentId::NONE).map(|c| c.ancestor());
        newest_first(own.into_iter().chain(self.ancestors.iter().copied()))
    }
}

/// Drops repeats, keeping the first of each, and cuts the list to [`ANCESTORS_MAX`].
pub(crate) fn newest_first(ids: impl IntoIterator<Item = AncestorId>) -> Vec<AncestorId> {
    let mut kept: Vec<AncestorId> = Vec::with_capacity(ANCESTORS_MAX);
    for id in ids {
        if kept.len() == ANCESTORS_MAX {
            break;
        }
        if !kept.contains(&id) {
            kept.push(id);
        }
    }
    kept
}
