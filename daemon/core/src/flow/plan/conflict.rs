//! Conflict copies: the name and the record of a loser.
//!
//! # Invariants
//! - Name and record come from the loser alone, never from a clock or from who makes the copy,
//!   so that every device that makes the copy makes the same one.
//! - A copy is an ordinary file afterwards.

use crate::model::limits::NAME_BYTES_MAX;
use crate::model::{ContentId, DeviceId, Dot, Incarnation, Record, RelPath, Version, Writer};

/// What stands between the stem and the time in a copy's name.
pub const MARK: &str = ".sync-conflict-";

/// Returns where the copy of `loser`, which lay at `path`, goes.
///
/// The name is `stem.sync-conflict-YYYYMMDD-HHMMSS-DEVICE.ext`: UTC time of the loser's
/// modification (1970-01-01 00:00:00 outside 1970 to 9999), the first group of its author's id,
/// and as extension what follows the last dot that is not the first character. The stem is cut
/// at a character boundary so that the name fits 255 bytes; an extension too long to leave room
/// for anything counts as part of the stem.
///
/// Returns `path` itself where the copy's path would get longer than a path may be: the loser
/// then stays in history alone.
#[must_use]
pub fn copy_path(path: &RelPath, loser: &Record) -> RelPath {
    copy_path_of(path, loser.mtime_ns, loser.author)
}

/// Returns where the copy goes of a version of `path` with this modification time by `author`.
#[must_use]
pub fn copy_path_of(path: &RelPath, mtime_ns: i64, author: DeviceId) -> RelPath {
    insert(path, &format!("{MARK}{}-{}", time(mtime_ns), author.short()))
}

/// Returns another name for a copy whose plain name `copy` is taken by other bytes: `-` and
/// `digits` (4 to 64) hexadecimal digits of the content before the extension.
#[must_use]
pub fn tell_apart(copy: &RelPath, content: ContentId, digits: usize) -> RelPath {
    insert(copy, &format!("-{}", &content.hex()[..digits]))
}

/// Returns another name for a copy where `copy` is taken: `-` and `number` before the extension.
#[must_use]
pub fn numbered(copy: &RelPath, number: u32) -> RelPath {
    insert(copy, &format!("-{number}"))
}

/// Puts `middle` before the extension of a path's name, cutting the stem to fit.
fn insert(path: &RelPath, middle: &str) -> RelPath {
    let copy = inserted(path.name(), middle.as_bytes());
    let dir = path.parent().unwrap_or_else(RelPath::root);
    dir.join(copy).unwrap_or_else(|_| path.clone())
}

/// Puts `middle`, which leaves room for a byte of the stem, before the extension of a name, and
/// cuts the stem at a character boundary so that all fits 255 bytes. An extension too long to
/// leave room for anything counts as part of the stem.
#[must_use]
pub fn inserted(name: &[u8], middle: &[u8]) -> Vec<u8> {
    // A copy of a name without an extension has none either: its last dot begins the mark.
    let is_mark = |at: usize| name[at..].starts_with(MARK.as_bytes());
    let dot = name.iter().rposition(|b| *b == b'.').filter(|at| *at > 0 && !is_mark(*at));
    let (stem, ext) = match dot {
        Some(at) if middle.len() + name.len() - at < NAME_BYTES_MAX => name.split_at(at),
        _ => (name, &b""[..]),
    };
    let room = NAME_BYTES_MAX.saturating_sub(middle.len() + ext.len());
    [cut(stem, room), middle, ext].concat()
}

/// Tells whether a name has the form of a conflict copy.
#[must_use]
pub fn is_copy_name(name: &[u8]) -> bool {
    let mark = MARK.as_bytes();
    let Some(at) = name.windows(mark.len()).rposition(|w| w == mark) else { return false };
    let tail = &name[at + mark.len()..];
    tail.len() >= 23
        && tail[..23].iter().enumerate().all(|(at, b)| match at {
            8 | 15 => *b == b'-',
            0..8 | 9..15 => b.is_ascii_digit(),
            _ => b.is_ascii_uppercase() || b.is_ascii_digit(),
        })
}

/// Returns the record of a copy at `copy`: the loser's bytes and metadata under a dot that
/// follows from the name and the content, so that whoever makes it makes the same.
#[must_use]
pub fn copy_record(copy: &RelPath, loser: &Record) -> Record {
    let dot = copy_dot(copy, loser.content);
    let version = Version::of(dot);
    Record { ancestors: Vec::new(), dot, version, found: false, ..loser.clone() }
}

/// Returns the dot of the copy of `content` at `copy`: device nil, incarnation the first 8 bytes
/// of BLAKE3 over path and content, counter 1.
#[must_use]
pub fn copy_dot(copy: &RelPath, content: ContentId) -> Dot {
    let mut hasher = blake3::Hasher::new();
    hasher.update(copy.as_bytes());
    hasher.update(&content.0);
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    let incarnation = Incarnation(u64::from_be_bytes(first));
    Dot { writer: Writer { device: DeviceId::NIL, incarnation }, counter: 1 }
}

/// Writes a time as `YYYYMMDD-HHMMSS` in UTC.
fn time(mtime_ns: i64) -> String {
    let shown = jiff::Timestamp::from_nanosecond(i128::from(mtime_ns.max(0)))
        .ok()
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_zoned(jiff::tz::TimeZone::UTC);
    shown.strftime("%Y%m%d-%H%M%S").to_string()
}

/// Cuts to at most `room` bytes, not within a character of UTF-8.
fn cut(stem: &[u8], room: usize) -> &[u8] {
    if stem.len() <= room {
        return stem;
    }
    let mut end = room;
    while end > 0 && stem[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &stem[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, Kind};

    /// 2026-11-20 19:24:02 UTC.
    const THEN: i64 = 1_795_202_642_000_000_000;

    fn loser(mtime_ns: i64) -> Record {
        let dot = Dot {
            writer: Writer { device: DeviceId([7; 32]), incarnation: Incarnation(1) },
            counter: 1,
        };
        Record {
            kind: Kind::File,
            size: 1,
            mtime_ns,
            mode: 0o644,
            content: ContentId::of(b"x"),
            ancestors: Vec::new(),
            dot,
            version: Version::of(dot),
            author: DeviceId([7; 32]),
            actor: Actor::Unknown,
            found: false,
        }
    }

    fn named(path: &str, mtime_ns: i64) -> String {
        copy_path(&RelPath::parse(path).unwrap(), &loser(mtime_ns)).to_string()
    }

    #[test]
    fn a_copy_is_named_after_its_loser() {
        let who = DeviceId([7; 32]).short();
        let hex = &ContentId::of(b"x").hex()[..4];
        for (path, copy, because) in [
            ("a.txt", format!("a.sync-conflict-20261120-192402-{who}.txt"), "an extension"),
            ("d/e.f/a", format!("d/e.f/a.sync-conflict-20261120-192402-{who}"), "none"),
            (".bashrc", format!(".bashrc.sync-conflict-20261120-192402-{who}"), "hidden"),
            (".a.b", format!(".a.sync-conflict-20261120-192402-{who}.b"), "hidden with one"),
            ("a.tar.gz", format!("a.tar.sync-conflict-20261120-192402-{who}.gz"), "the last dot"),
            ("a.", format!("a.sync-conflict-20261120-192402-{who}."), "a dot at the end"),
        ] {
            assert_eq!(named(path, THEN), copy, "{because}");
            assert!(is_copy_name(copy.rsplit('/').next().unwrap().as_bytes()), "{because}");
        }
        let plain = RelPath::parse(named("a.txt", THEN)).unwrap();
        assert_eq!(
            tell_apart(&plain, ContentId::of(b"x"), 4).to_string(),
            format!("a.sync-conflict-20261120-192402-{who}-{hex}.txt")
        );
    }

    #[test]
    fn a_copy_without_an_extension_gets_none() {
        let plain = RelPath::parse(named("README", THEN)).unwrap();
        let apart = tell_apart(&plain, ContentId::of(b"x"), 4).to_string();
        assert_eq!(apart, format!("{plain}-{}", &ContentId::of(b"x").hex()[..4]));
        let again = copy_path(&plain, &loser(THEN)).to_string();
        assert!(again.starts_with(&format!("{plain}.sync-conflict-")), "{again}");
    }

    #[test]
    fn a_second_try_for_a_name_keeps_the_extension_and_fits() {
        let long = format!("{}.txt", "x".repeat(251));
        let copy = named("README", THEN);
        for (name, number, expected) in [
            ("d/a.txt", 2, "d/a-2.txt".to_owned()),
            ("noext", 13, "noext-13".to_owned()),
            (".hidden", 2, ".hidden-2".to_owned()),
            (&long, 2, format!("{}-2.txt", "x".repeat(249))),
            (&copy, 2, format!("{copy}-2")),
        ] {
            let path = RelPath::parse(name).unwrap();
            assert_eq!(numbered(&path, number).to_string(), expected, "{name}");
        }
    }

    #[test]
    fn times_nobody_can_read_are_the_epoch() {
        for (mtime_ns, shown) in [
            (0, "19700101-000000"),
            (-1, "19700101-000000"),
            (i64::MIN, "19700101-000000"),
            (i64::MAX, "2262"),
        ] {
            assert!(named("a", mtime_ns).contains(shown), "{mtime_ns}");
        }
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let umlauts = "ü".repeat(126);
        let long_ext = format!("a.{}", "e".repeat(250));
        for (path, ends, because) in [
            (format!("{umlauts}.rs"), ".rs", "the extension stays"),
            (umlauts.clone(), "", "no extension"),
            (long_ext, "", "an extension that leaves no room is cut like a stem"),
        ] {
            let copy = named(&path, THEN);
            assert!(copy.len() <= 255 && copy.ends_with(ends), "{because}: {copy}");
            assert!(!copy.contains("\\x"), "{because}: cut within a character: {copy}");
            assert!(is_copy_name(copy.as_bytes()), "{because}");
        }
    }

    #[test]
    fn only_copies_look_like_copies() {
        for name in ["a.sync-conflict-", "a.sync-conflict-2026-a", "sync-conflict", "a.txt"] {
            assert!(!is_copy_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn whoever_makes_a_copy_makes_the_same() {
        let path = RelPath::parse("a").unwrap();
        let mut other = loser(THEN);
        other.version.raise(Dot {
            writer: Writer { device: DeviceId([9; 32]), incarnation: Incarnation(3) },
            counter: 5,
        });
        other.ancestors = vec![ContentId::of(b"before").ancestor()];
        assert_eq!(copy_record(&path, &loser(THEN)), copy_record(&path, &other));
        assert_ne!(
            copy_dot(&path, ContentId::of(b"x")),
            copy_dot(&path, ContentId::of(b"y")),
            "other bytes are another copy"
        );
    }
}
