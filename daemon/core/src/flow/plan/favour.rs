//! Deciding between a version that no peer was told of and one that a peer has.
//!
//! Such versions are changes made in a folder that only receives, and files that were there
//! before a folder was joined. Nobody has seen them, so they may be given up, or written anew
//! above what the peers have, without breaking a rule of merging.

use super::merge::deleted;
use super::order::is_directory;
use crate::model::record::newest_first;
use crate::model::{Causality, Favour, Record};

/// On whose word it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// The folder only receives: the peers' version takes the name.
    Role,
    /// A person said who wins when the folder was joined.
    Joining(Favour),
    /// A person gave up what was changed here.
    Reverting,
}

/// What becomes of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// Theirs is taken as it is.
    Theirs {
        /// Whether ours lives on as a conflict copy; else it goes into the trash.
        copy: bool,
    },
    /// Ours is written anew above theirs, and told.
    OursAbove,
    /// Ours stays and has seen theirs; it is still told nobody.
    OursUntold,
    /// As between any two.
    AsAny,
}

/// Decides between `ours`, which no peer was told of, and `theirs`.
#[must_use]
pub fn rule(ours: &Record, theirs: &Record, by: By) -> Ruling {
    let known = matches!(ours.version.compare(&theirs.version), Causality::After);
    let plain = Ruling::Theirs { copy: false };
    match by {
        By::Reverting => plain,
        _ if known => Ruling::AsAny,
        // With theirs alone, what else was deleted here would come back.
        By::Role
            if both_gone(ours, theirs) && !theirs.version.covers(&ours.version.of_others()) =>
        {
            Ruling::OursUntold
        }
        _ if ours.looks_like(theirs) => plain,
        By::Role => match (ours.is_live(), theirs.is_live()) {
            (false, true) if ours.version.contains(theirs.dot) || deleted(ours, theirs) => {
                Ruling::OursUntold
            }
            (false, _) => plain,
            (true, false) if deleted(theirs, ours) => plain,
            (true, false) => Ruling::OursUntold,
            (true, true) if replaced(ours, theirs) => Ruling::OursUntold,
            (true, true) => Ruling::Theirs { copy: ours.has_bytes() && !ours.same_content(theirs) },
        },
        By::Joining(_) if is_directory(ours) != is_directory(theirs) && theirs.is_live() => {
            Ruling::AsAny
        }
        By::Joining(Favour::Here) => Ruling::OursAbove,
        By::Joining(_) if !ours.is_live() || !theirs.is_live() => Ruling::AsAny,
        By::Joining(Favour::Newer) if ours.mtime_ns > theirs.mtime_ns => Ruling::OursAbove,
        By::Joining(Favour::There | Favour::Newer) => plain,
    }
}

/// Tells whether nothing is left on either side.
fn both_gone(ours: &Record, theirs: &Record) -> bool {
    !ours.is_live() && !theirs.is_live()
}

/// Tells whether `ours` was written over `theirs`, though its vector does not say so: over the
/// same write, which was only merged there since, or over the very bytes that a store that was
/// lost has found again.
fn replaced(ours: &Record, theirs: &Record) -> bool {
    let found_again = theirs.found && theirs.has_bytes() && ours.descends_from(theirs.content);
    ours.version.contains(theirs.dot) || found_again
}

/// Returns `ours` as having seen `theirs` too, by somebody's word: it is not only found any more.
/// The counter of the write or resolution that this is, is not in it yet.
#[must_use]
pub fn above(ours: &Record, theirs: &Record) -> Record {
    let heritage = theirs.heritage().into_iter().chain(ours.ancestors.iter().copied());
    Record {
        ancestors: newest_first(heritage.filter(|id| *id != ours.content.ancestor())),
        version: ours.version.joined(&theirs.version),
        found: false,
        ..ours.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, ContentId, DeviceId, Dot, Incarnation, Kind, Version, Writer};

    /// What lies somewhere: `d` a directory, `-` nothing any more, else a file of that content
    /// with the modification time behind it.
    fn record(text: &str, device: u8, seen: &[(u8, u64)]) -> Record {
        let writer = |name| Writer { device: DeviceId([name; 32]), incarnation: Incarnation(1) };
        let (kind, content, mtime_ns) = match text {
            "d" => (Kind::Directory, ContentId::NONE, 0),
            "-" => (Kind::Tombstone, ContentId::NONE, 0),
            _ => {
                let (name, time) = text.split_at(1);
                (Kind::File, ContentId::of(name.as_bytes()), time.parse().unwrap())
            }
        };
        let dot = Dot { writer: writer(device), counter: 5 };
        let seen = seen.iter().map(|(name, counter)| (writer(*name), *counter));
        Record {
            kind,
            size: 0,
            mtime_ns,
            mode: 0,
            content,
            ancestors: Vec::new(),
            dot,
            version: Version::from_counters(seen.chain([(dot.writer, 5)])),
            author: dot.writer.device,
            actor: Actor::Unknown,
            found: false,
        }
    }

    #[test]
    fn what_nobody_was_told_meets_what_a_peer_has() {
        use Ruling::{AsAny, OursAbove, OursUntold, Theirs};
        const PLAIN: Ruling = Theirs { copy: false };
        let join = By::Joining;
        for (by, ours, theirs, ruling, because) in [
            (By::Role, "x1", "y2", Theirs { copy: true }, "theirs takes the name, ours is kept"),
            (By::Role, "x2", "y1", Theirs { copy: true }, "whatever the times say"),
            (By::Role, "x1", "x2", PLAIN, "the same bytes need no copy"),
            (By::Role, "-", "y1", PLAIN, "what was deleted here is edited there: it is back"),
            (By::Role, "-", "-", OursUntold, "deleted on both sides, here more than there"),
            (By::Role, "x1", "-", OursUntold, "what was edited here is not deleted by others"),
            (By::Role, "x1", "d", Theirs { copy: true }, "a directory takes the name"),
            (By::Role, "d", "y1", PLAIN, "so does a file, unless something lives in ours"),
            (By::Reverting, "x2", "y1", PLAIN, "given up"),
            (By::Reverting, "x2", "-", PLAIN, "given up"),
            (join(Favour::Here), "x1", "y2", OursAbove, "ours wins"),
            (join(Favour::There), "x2", "y1", PLAIN, "theirs wins"),
            (join(Favour::Newer), "x2", "y1", OursAbove, "ours is newer"),
            (join(Favour::Newer), "x1", "y2", PLAIN, "theirs is newer"),
            (join(Favour::Newer), "x1", "y1", PLAIN, "equally old: nothing need be told"),
            (join(Favour::Here), "x1", "x1", PLAIN, "equal joins with nothing told"),
            (join(Favour::Newer), "x2", "x1", OursAbove, "only the time differs"),
            (join(Favour::Here), "x1", "-", OursAbove, "what lies here stays"),
            (join(Favour::There), "x1", "-", AsAny, "only differing files are decided on"),
            (join(Favour::Here), "x1", "d", AsAny, "a directory keeps the name, with a copy"),
            (join(Favour::There), "d", "y1", AsAny, "a directory keeps the name, with a copy"),
        ] {
            let (ours, theirs) = (record(ours, 1, &[]), record(theirs, 2, &[]));
            assert_eq!(rule(&ours, &theirs, by), ruling, "{because}");
        }
        let (deleted, resolved) = (record("-", 1, &[(2, 5)]), record("y2", 2, &[(3, 4)]));
        let ruling = rule(&deleted, &resolved, By::Role);
        assert_eq!(ruling, OursUntold, "what was deleted here was only merged there, not edited");
        let (edited, merged) = (record("x1", 1, &[(2, 5)]), record("y2", 2, &[(3, 4)]));
        let ruling = rule(&edited, &merged, By::Role);
        assert_eq!(ruling, OursUntold, "so it is with what was written over it here");
        let mut edited = record("x1", 1, &[]);
        edited.ancestors = vec![record("y2", 2, &[]).content.ancestor()];
        let found = Record { found: true, ..record("y2", 2, &[]) };
        let ruling = rule(&edited, &found, By::Role);
        assert_eq!(ruling, OursUntold, "a lost store found the bytes that were written over here");
        let mut found_again = record("-", 2, &[]);
        found_again.ancestors = vec![record("x1", 1, &[]).content.ancestor()];
        let found = Record { found: true, ..record("x1", 1, &[]) };
        let ruling = rule(&found, &found_again, By::Role);
        assert_eq!(ruling, PLAIN, "the very content that was deleted, found after a lost store");
        let untold = Writer::untold(DeviceId([1; 32]));
        let mut deleted = record("-", 2, &[]);
        deleted.version.raise(Dot { writer: untold, counter: 9 });
        let ruling = rule(&deleted, &record("-", 2, &[(3, 4)]), By::Role);
        assert_eq!(ruling, PLAIN, "deleted on both sides, there by whoever has seen all");
        let (ours, older) = (record("x1", 1, &[(2, 5)]), record("y2", 2, &[]));
        for by in [By::Role, join(Favour::There), join(Favour::Newer)] {
            assert_eq!(rule(&ours, &older, by), AsAny, "ours was made on top of theirs: {by:?}");
        }
        assert_eq!(rule(&ours, &older, By::Reverting), PLAIN, "that is what reverting undoes");
    }

    #[test]
    fn what_is_written_above_has_seen_both() {
        let (ours, theirs) = (record("x1", 1, &[]), record("y2", 2, &[(3, 4)]));
        let above = above(&ours, &theirs);
        assert!(above.version.covers(&ours.version) && above.version.covers(&theirs.version));
        assert!(above.descends_from(theirs.content) && above.looks_like(&ours));
    }
}
