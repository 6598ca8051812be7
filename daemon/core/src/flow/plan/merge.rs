//! Merging two records of one path.

use crate::model::record::newest_first;
use crate::model::{Causality, ContentId, Dot, Kind, Record};
use crate::mutant::{self, Mutant};

/// Which of two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one in our index.
    Ours,
    /// The one that came.
    Theirs,
}

/// What becomes of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Ours has seen theirs: nothing changes.
    Keep,
    /// Theirs has seen ours: it is taken as it is.
    Take,
    /// They look alike, stem from one write (or from two that had seen nothing), and neither has
    /// seen the other: one record that has seen both, without a new counter, since everyone who
    /// merges the two gets this same one.
    Join(Record),
    /// They differ and neither has seen the other: one wins, and the resolver raises its own
    /// counter in the winner's vector.
    Resolve(Resolution),
}

/// How two concurrent, different records become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Whose content stands.
    pub winner: Side,
    /// The winner with both vectors and both heritages; the resolver's counter is not in it yet.
    pub record: Record,
    /// Whether the loser's content must live on as a conflict copy.
    pub copy: bool,
}

/// Decides between our record and one that came.
///
/// The rules, between two concurrent records, in this order:
/// 1. tombstone against edit: the tombstone wins exactly when it has seen the edit's write, or
///    when that was nobody's write but something *found*, or a copy, with the very content that
///    was deleted (a store that was rebuilt finds what everybody else has deleted: without this it
///    would come back everywhere)
/// 2. exactly one has seen the other's write: that one wins
/// 3. both have: the greater wins, by mtime, whether it was written, dot and content
/// 4. same content: the greater wins; and then, when exactly one was made on top of
///    the other's present content, that one wins (the only sign left across incarnations)
/// 5. else the greater wins and the loser becomes a conflict copy
///
/// A directory that meets a file or symlink under rules 3 to 5 keeps the name. Of two derived
/// copies that were given one name, the lesser content keeps it, whatever their times; where both
/// have seen the other, the greater one: whoever has seen the lesser and holds the greater all the
/// same holds it because the lesser was deleted.
#[must_use]
pub fn reconcile(ours: &Record, theirs: &Record) -> Verdict {
    match ours.version.compare(&theirs.version) {
        Causality::Equal | Causality::After => Verdict::Keep,
        Causality::Before => Verdict::Take,
        Causality::Concurrent if ours.looks_like(theirs) && joins(ours, theirs) => {
            Verdict::Join(joined(ours, theirs))
        }
        Causality::Concurrent => Verdict::Resolve(resolve(ours, theirs)),
    }
}

/// Tells whether two records that look alike can merge without a new counter: they stem from one
/// write, or each is a write that has seen nothing else.
///
/// Every record of one vector must name one write. Take a latest counter of the vector: all that
/// merged to it without a counter hold the record of that counter, and so name its write; and a
/// vector of two lone writes can come about in one way only. With any other two writes the one
/// named would depend on the order of arrival.
fn joins(ours: &Record, theirs: &Record) -> bool {
    let lone = |record: &Record| record.version.counters().len() == 1;
    ours.dot == theirs.dot || lone(ours) && lone(theirs)
}

/// Returns the record that both look like, having seen what both have seen. It names the write
/// rather than what was only found: whoever deletes the file has seen the write.
fn joined(ours: &Record, theirs: &Record) -> Record {
    let rank = |record: &Record| (!record.found, record.dot);
    let (first, second) = if rank(ours) >= rank(theirs) { (ours, theirs) } else { (theirs, ours) };
    Record {
        ancestors: newest_first(first.ancestors.iter().chain(&second.ancestors).copied()),
        version: ours.version.joined(&theirs.version),
        found: ours.found && theirs.found,
        ..first.clone()
    }
}

fn resolve(ours: &Record, theirs: &Record) -> Resolution {
    let (winner, copy) = choose(ours, theirs);
    let (won, lost) = match winner {
        Side::Ours => (ours, theirs),
        Side::Theirs => (theirs, ours),
    };
    let heritage = lost.heritage().into_iter().chain(won.ancestors.iter().copied());
    // Where somebody wrote what another found, the record names the write, whosever looks it has:
    // whoever deletes the file has seen the write.
    let named = if won.found && !lost.found && won.same_content(lost) { lost } else { won };
    let record = Record {
        ancestors: newest_first(heritage.filter(|id| *id != won.content.ancestor())),
        version: ours.version.joined(&theirs.version),
        dot: named.dot,
        author: named.author,
        actor: named.actor.clone(),
        found: named.found,
        ..won.clone()
    };
    Resolution { winner, record, copy }
}

/// Chooses the winner of two concurrent, different records, and whether the loser needs a copy.
fn choose(ours: &Record, theirs: &Record) -> (Side, bool) {
    let we_saw_it = ours.version.contains(theirs.dot);
    let they_saw_it = theirs.version.contains(ours.dot);
    match (ours.is_live(), theirs.is_live()) {
        (false, true) if mutant::on(Mutant::EditAlwaysWins) => return (Side::Theirs, false),
        (true, false) if mutant::on(Mutant::EditAlwaysWins) => return (Side::Ours, false),
        (false, true) if we_saw_it || deleted(ours, theirs) => return (Side::Ours, false),
        (false, true) => return (Side::Theirs, false),
        (true, false) if they_saw_it || deleted(theirs, ours) => return (Side::Theirs, false),
        (true, false) => return (Side::Ours, false),
        (true, true) | (false, false) => {}
    }
    match (we_saw_it, they_saw_it) {
        (true, false) => (Side::Ours, false),
        (false, true) => (Side::Theirs, false),
        (true, true) => (standing(ours, theirs), false),
        (false, false) if ours.same_content(theirs) => (greater(ours, theirs), false),
        (false, false) => {
            match (ours.descends_from(theirs.content), theirs.descends_from(ours.content)) {
                (true, false) if same_shape(ours, theirs) => (Side::Ours, false),
                (false, true) if same_shape(ours, theirs) => (Side::Theirs, false),
                _ if mutant::on(Mutant::HadIsSeen) && share_a_base(ours, theirs) => {
                    (greater(ours, theirs), false)
                }
                _ => (greater(ours, theirs), !mutant::on(Mutant::NoCopies)),
            }
        }
    }
}

/// Tells whether both were made on some content that both paths once held.
fn share_a_base(ours: &Record, theirs: &Record) -> bool {
    ours.ancestors.iter().any(|base| theirs.ancestors.contains(base))
}

/// Tells whether `live` is nobody's write, and `tombstone` deleted the very content that it holds:
/// what a store that was lost finds on its disk again, or a conflict copy that somebody else made
/// too. Of a directory nothing is left to compare, but that the path never held anything else.
pub(super) fn deleted(tombstone: &Record, live: &Record) -> bool {
    let same = match live.kind {
        Kind::File | Kind::Symlink => tombstone.descends_from(live.content),
        Kind::Directory => tombstone.ancestors.is_empty(),
        Kind::Tombstone => false,
    };
    (live.found || live.is_derived()) && same
}

/// Returns the side that wins where both have seen the other's write.
fn standing(ours: &Record, theirs: &Record) -> Side {
    match (copies(ours, theirs), greater(ours, theirs)) {
        (false, side) => side,
        (true, Side::Ours) => Side::Theirs,
        (true, Side::Theirs) => Side::Ours,
    }
}

/// Tells whether they are two different conflict copies that were given one name.
fn copies(ours: &Record, theirs: &Record) -> bool {
    ours.is_derived() && theirs.is_derived() && ours.content != theirs.content
}

/// Returns the side that wins a tie: a directory over anything else, a write over a conflict copy,
/// then the later, then what was written over what was found, then the greater dot, then the
/// greater content.
///
/// What two records become must never rank below one of them: it would lose to a third that the
/// other had beaten, and three devices would exchange the three without end.
fn greater(ours: &Record, theirs: &Record) -> Side {
    if copies(ours, theirs) {
        return if ours.content < theirs.content { Side::Ours } else { Side::Theirs };
    }
    if rank(ours) >= rank(theirs) { Side::Ours } else { Side::Theirs }
}

/// What [`greater`] compares.
type Rank = (bool, bool, i64, bool, Dot, ContentId);

fn rank(record: &Record) -> Rank {
    let is_directory = record.kind == Kind::Directory;
    let (mtime_ns, dot, content) = (record.mtime_ns, record.dot, record.content);
    (is_directory, !record.is_derived(), mtime_ns, !record.found, dot, content)
}

/// Tells whether an ancestor can say anything: between bytes and bytes, not with a directory.
fn same_shape(ours: &Record, theirs: &Record) -> bool {
    ours.has_bytes() && theirs.has_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Actor, DeviceId, Incarnation, Version, Writer};

    fn writer(name: u8) -> Writer {
        Writer { device: DeviceId([name; 32]), incarnation: Incarnation(1) }
    }

    /// A directory that `name` made with its `counter`, having seen `seen`.
    fn directory(name: u8, counter: u64, seen: &[(u8, u64)]) -> Record {
        let dot = Dot { writer: writer(name), counter };
        let seen = seen.iter().map(|(name, counter)| (writer(*name), *counter));
        Record {
            kind: Kind::Directory,
            size: 0,
            mtime_ns: 0,
            mode: 0o755,
            content: ContentId::NONE,
            ancestors: Vec::new(),
            dot,
            version: Version::from_counters(seen.chain([(dot.writer, counter)])),
            author: dot.writer.device,
            actor: Actor::Unknown,
            found: false,
        }
    }

    #[test]
    fn only_one_write_or_two_lone_ones_merge_without_a_counter() {
        for (ours, theirs, joins, because) in [
            (directory(1, 1, &[]), directory(2, 1, &[]), true, "two lone writes"),
            (directory(1, 1, &[(2, 1)]), directory(1, 1, &[(3, 1)]), true, "one write"),
            (
                directory(1, 12, &[(2, 3)]),
                directory(2, 1, &[(2, 7)]),
                false,
                "a made it again having seen b's, b's went on: with the greater dot, this vector \
                 named b's write here and a's where it came in another order",
            ),
            (directory(1, 1, &[]), directory(2, 1, &[(3, 1)]), false, "one is not lone"),
        ] {
            let verdict = reconcile(&ours, &theirs);
            assert_eq!(matches!(verdict, Verdict::Join(_)), joins, "{because}");
        }
    }

    /// A file that `name` wrote with its first counter, or found, with one byte of content.
    fn file(name: u8, content: u8, found: bool) -> Record {
        let content = ContentId::of(&[content]);
        Record { kind: Kind::File, size: 1, content, found, ..directory(name, 1, &[]) }
    }

    /// What is left when `name` has deleted what held `content`.
    fn tombstone(name: u8, content: Option<u8>, seen: &[(u8, u64)]) -> Record {
        let ancestors = content.map(|content| ContentId::of(&[content]).ancestor());
        let ancestors = ancestors.into_iter().collect();
        Record { kind: Kind::Tombstone, mode: 0, ancestors, ..directory(name, 9, seen) }
    }

    #[test]
    fn a_delete_takes_what_it_saw_or_what_was_only_found() {
        let derived = Writer { device: DeviceId::NIL, incarnation: Incarnation(3) };
        let dot = Dot { writer: derived, counter: 1 };
        let copy = Record { dot, version: Version::of(dot), ..file(1, 7, false) };
        let found_dir = Record { found: true, ..directory(1, 1, &[]) };
        for (live, tombstone, lives, because) in [
            (file(1, 7, false), tombstone(2, Some(7), &[(1, 1)]), false, "it has seen the write"),
            (file(1, 7, false), tombstone(2, Some(7), &[]), true, "the same bytes, written anew"),
            (file(1, 7, true), tombstone(2, Some(7), &[]), false, "found, as it was deleted"),
            (file(1, 8, true), tombstone(2, Some(7), &[]), true, "found, but something else"),
            (copy, tombstone(2, Some(7), &[]), false, "a copy that another device made too"),
            (found_dir.clone(), tombstone(2, None, &[]), false, "a directory that was deleted"),
            (found_dir, tombstone(2, Some(7), &[]), true, "what was deleted was a file"),
            (directory(1, 1, &[]), tombstone(2, None, &[]), true, "a directory made anew"),
        ] {
            for (ours, theirs) in [(&live, &tombstone), (&tombstone, &live)] {
                let Verdict::Resolve(resolution) = reconcile(ours, theirs) else {
                    let taken = reconcile(ours, theirs);
                    let kept = if ours.is_live() { Verdict::Take } else { Verdict::Keep };
                    assert_eq!((lives, taken), (false, kept), "{because}");
                    continue;
                };
                assert_eq!(resolution.record.is_live(), lives, "{because}");
                assert!(!resolution.copy, "{because}");
            }
        }
    }

    #[test]
    fn of_two_copies_of_one_name_the_lesser_keeps_it_unless_it_was_deleted() {
        let dot = |content: u8| {
            let writer = Writer { device: DeviceId::NIL, incarnation: Incarnation(content.into()) };
            Dot { writer, counter: 1 }
        };
        let copy = |content: u8, seen: &[u8], by: u8| {
            let seen = seen.iter().chain([&content]).map(|content| (dot(*content).writer, 1));
            let own = (by > 0).then_some((writer(by), 1));
            let version = Version::from_counters(seen.chain(own));
            Record { dot: dot(content), version, ..file(9, content, false) }
        };
        let (lesser, greater) =
            if ContentId::of(&[1]) < ContentId::of(&[2]) { (1, 2) } else { (2, 1) };
        for (ours, theirs, stays, is_kept, because) in [
            (copy(lesser, &[], 0), copy(greater, &[], 0), lesser, true, "two of one name"),
            (
                copy(lesser, &[greater], 1),
                copy(greater, &[lesser], 2),
                greater,
                false,
                "whoever has seen both and holds the greater deleted the lesser",
            ),
        ] {
            for (ours, theirs) in [(&ours, &theirs), (&theirs, &ours)] {
                let Verdict::Resolve(resolution) = reconcile(ours, theirs) else {
                    panic!("{because}");
                };
                assert_eq!(resolution.record.content, ContentId::of(&[stays]), "{because}");
                assert_eq!(resolution.copy, is_kept, "{because}");
            }
        }
    }

    #[test]
    fn what_one_found_and_another_wrote_was_written() {
        for (ours, theirs, found, because) in [
            (file(1, 7, true), file(2, 7, true), true, "two found it"),
            (file(1, 7, true), file(2, 7, false), false, "one wrote it"),
            (file(1, 7, false), file(2, 7, true), false, "the other wrote it"),
        ] {
            let Verdict::Join(record) = reconcile(&ours, &theirs) else { panic!("{because}") };
            assert_eq!(record.found, found, "{because}");
            let named = if theirs.found && !ours.found { &ours } else { &theirs };
            assert_eq!(record.dot, named.dot, "{because}: the write, else the greater");
            let later = Record { mtime_ns: 5, ..theirs };
            let Verdict::Resolve(one) = reconcile(&ours, &later) else { panic!("{because}") };
            assert_eq!(one.record.found, found, "{because}: with another time");
            assert_eq!(one.record.mtime_ns, 5, "{because}: the later looks");
            let named = if found || !later.found { &later } else { &ours };
            assert_eq!(one.record.dot, named.dot, "{because}: the write, else the later");
        }
    }

    fn records() -> impl Strategy<Value = Record> {
        let kinds = prop::sample::select(vec![Kind::File, Kind::Directory, Kind::Tombstone]);
        let seen = prop::collection::vec((1u8..4, 1u64..4), 0..3);
        let ancestors = prop::collection::vec(0u8..3, 0..3);
        (kinds, 1u8..4, 1u64..4, seen, 0u8..3, 1i64..3, ancestors, any::<bool>()).prop_map(
            |(kind, name, counter, seen, content, mtime_ns, ancestors, found)| {
                let id = |content: u8| ContentId::of(&[content]);
                let is_file = kind == Kind::File;
                Record {
                    kind,
                    mtime_ns: if is_file { mtime_ns } else { 0 },
                    content: if is_file { id(content) } else { ContentId::NONE },
                    ancestors: ancestors
                        .into_iter()
                        .map(|content| id(content).ancestor())
                        .collect(),
                    found: found && kind != Kind::Tombstone,
                    ..directory(name, counter, &seen)
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_two_become_ranks_below_neither(ours in records(), theirs in records()) {
            prop_assume!(ours.is_live() && theirs.is_live() && ours.dot != theirs.dot);
            let all = ours.version.joined(&theirs.version);
            let seen = |record: Record| Record { version: all.clone(), ..record };
            let (ours, theirs) = (seen(ours), seen(theirs));
            let became = rank(&resolve(&ours, &theirs).record);
            prop_assert!(became >= rank(&ours) && became >= rank(&theirs));
        }

        #[test]
        fn both_sides_name_the_same_winner(ours in records(), theirs in records()) {
            match (reconcile(&ours, &theirs), reconcile(&theirs, &ours)) {
                (Verdict::Resolve(one), Verdict::Resolve(other)) => {
                    prop_assert_eq!(one.winner == Side::Ours, other.winner == Side::Theirs);
                    prop_assert_eq!(one.copy, other.copy);
                    prop_assert_eq!(one.record, other.record);
                }
                (Verdict::Join(one), Verdict::Join(other)) => {
                    prop_assert!(one.looks_like(&other));
                    prop_assert_eq!((one.dot, one.version), (other.dot, other.version));
                }
                (one, other) => {
                    let same = ours.version == theirs.version;
                    let kept = other == Verdict::Take || same;
                    let taken = other == Verdict::Keep && !same;
                    prop_assert_eq!((one == Verdict::Keep, one == Verdict::Take), (kept, taken));
                }
            }
        }
    }
}
