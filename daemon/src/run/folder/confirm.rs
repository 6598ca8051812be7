//! Rules that a person has confirmed, and another device's that wait for one.
//!
//! # Invariants
//! - A rule change of another device that cannot be shown to leave out as much as before is held:
//!   the confirmed rules stay in force until a person of this device has decided.
//! - What this device's own user writes into a rule file is confirmed by that, once the index says
//!   that it was he.

use std::collections::BTreeMap;

use syncd_core::flow::index::{Index, IndexError, Known};
use syncd_core::model::{ContentId, DeviceId, RelPath};

use crate::flow::index::FolderIndex;

/// The synced rule files and what they say; a file that is not there has no entry.
pub(super) type Texts = BTreeMap<RelPath, Vec<u8>>;

/// More is not kept over a restart, in bytes: then the rules that are found count as confirmed.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// Rules of another device that wait for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRules {
    /// Who wrote them.
    pub by: DeviceId,
    /// The lines that come (`+`) and go (`-`), each with its file.
    pub lines: Vec<String>,
    /// What the files said that are other now, as it was confirmed; `None` for no file.
    pub before: Vec<(RelPath, Option<Vec<u8>>)>,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
}

/// Whose rules were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    /// This device's user's, or such as let nothing more through: they are in force.
    Ours,
    /// Another device's, at least in part, which wait for a person.
    Others(HeldRules),
    /// The index does not know yet what lies there: it may have been placed a moment ago. They are
    /// read again as soon as it does.
    Unknown,
}

/// Compares what rule files say with what was confirmed. `is_synced` tells of a path whether
/// another device can have written it at all.
pub(super) fn whose(
    confirmed: &Texts,
    now: &Texts,
    me: DeviceId,
    is_synced: &dyn Fn(&RelPath) -> bool,
    index: &impl Known,
) -> Result<Whose, IndexError> {
    let paths: std::collections::BTreeSet<&RelPath> = confirmed.keys().chain(now.keys()).collect();
    let (mut by, mut lines, mut before) = (None, Vec::new(), Vec::new());
    for path in paths {
        let (old, new) = (confirmed.get(path), now.get(path));
        if old == new {
            continue;
        }
        lines.extend(difference(path, old, new));
        before.push((path.clone(), old.cloned()));
        let content = new.map(|text| ContentId::of(text));
        let record = index.get(path)?.map(|entry| entry.record);
        let told = record.as_ref().filter(|r| r.is_live()).map(|r| r.content);
        match record {
            _ if told != content && is_synced(path) => return Ok(Whose::Unknown),
            Some(record) if told == content && record.author != me => {
                by = by.or(Some(record.author));
            }
            Some(_) | None => {}
        }
    }
    let since_ms = crate::run::now_unix_ms();
    let held = |by| Whose::Others(HeldRules { by, lines, before, since_ms });
    Ok(by.map_or(Whose::Ours, held))
}

/// Tells whether the folder has been in sync with another device and holds more than its
/// `rule_count` rule files. Until then the rules are those that it is taken with.
pub(super) fn is_joined(index: &FolderIndex, rule_count: usize) -> Result<bool, IndexError> {
    let in_sync = index.marks()?.covered.counters().next().is_some();
    Ok(in_sync && index.live_files()? > rule_count)
}

/// Lists the lines that go and come.
fn difference(path: &RelPath, old: Option<&Vec<u8>>, new: Option<&Vec<u8>>) -> Vec<String> {
    let lines = |text: Option<&Vec<u8>>| -> Vec<String> {
        let text = String::from_utf8_lossy(text.map_or(&[][..], |text| text)).into_owned();
        text.lines().map(str::to_owned).filter(|line| !line.trim().is_empty()).collect()
    };
    let (old, new) = (lines(old), lines(new));
    let gone = old.iter().filter(|line| !new.contains(line)).map(|line| ('-', line));
    let come = new.iter().filter(|line| !old.contains(line)).map(|line| ('+', line));
    let mut all: Vec<String> =
        gone.chain(come).map(|(sign, line)| format!("{path}: {sign} {line}")).collect();
    if all.is_empty() {
        all.push(format!("{path}: the same lines in another order"));
    }
    all
}

/// Writes texts as one value; `None` when they are too long to be kept.
pub(super) fn encode(texts: &Texts) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for part in texts.iter().flat_map(|(path, text)| [path.as_bytes(), text]) {
        bytes.extend(u32::try_from(part.len()).ok()?.to_le_bytes());
        bytes.extend(part);
    }
    (bytes.len() <= KEPT_BYTES_MAX).then_some(bytes)
}

/// Reads what [`encode`] wrote; `None` when it is damaged.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Texts> {
    let mut part = || -> Option<Vec<u8>> {
        let (size, rest) = bytes.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        bytes = rest;
        Some(part.to_vec())
    };
    let mut texts = Texts::new();
    while let Some(path) = part() {
        texts.insert(RelPath::parse(path).ok()?, part()?);
    }
    bytes.is_empty().then_some(texts)
}

/// Reads rule texts and writes them again, for a test that sees only what is public.
#[must_use]
pub fn decode_again(bytes: &[u8]) -> Option<Vec<u8>> {
    encode(&decode(bytes)?)
}

#[cfg(test)]
mod tests {
    use syncd_core::flow::index::{Batch, MemIndex};
    use syncd_core::model::{Entry, Kind, Local, Record};

    use super::*;

    const ME: DeviceId = DeviceId([1; 32]);
    const OTHER: DeviceId = DeviceId([2; 32]);

    #[test]
    fn a_change_is_ours_only_when_the_index_says_so_or_nobody_else_can_have_made_it() {
        type Known = Option<(DeviceId, Option<&'static str>)>;
        let nobody: Known = None;
        for (known, now, is_synced, expected, because) in [
            (Some((ME, Some("new"))), Some("new"), true, "ours", "our user wrote it"),
            (Some((OTHER, Some("new"))), Some("new"), true, "others", "another device wrote it"),
            (Some((ME, Some("old"))), Some("new"), true, "unknown", "placed or written just now"),
            (Some((OTHER, Some("old"))), Some("new"), true, "unknown", "whoever wrote the last"),
            (nobody, Some("new"), true, "unknown", "a rule file that came just now"),
            (nobody, Some("new"), false, "ours", "no other device can have written it"),
            (Some((ME, None)), None, true, "ours", "our user removed it"),
            (Some((OTHER, None)), None, true, "others", "another device removed it"),
            (Some((ME, Some("old"))), None, true, "unknown", "removed just now"),
            (nobody, None, true, "ours", "forgotten long ago"),
        ] {
            let path = RelPath::parse(".stignore").unwrap();
            let mut index = MemIndex::default();
            if let Some((author, text)) = known {
                let kind = if text.is_some() { Kind::File } else { Kind::Tombstone };
                let content = text.map_or(ContentId::NONE, |text| ContentId::of(text.as_bytes()));
                let record = Record { kind, content, author, ..Record::void() };
                let entry = Entry { record, seq: 1, local: Local::default() };
                let puts = vec![(path.clone(), entry)];
                index.commit(Batch { puts, ..Batch::default() }).unwrap();
            }
            let texts = |text: Option<&str>| -> Texts {
                text.map(|text| (path.clone(), text.as_bytes().to_vec())).into_iter().collect()
            };
            let confirmed = texts(Some("old"));
            let whose = whose(&confirmed, &texts(now), ME, &|_| is_synced, &index).unwrap();
            let shown = match &whose {
                Whose::Ours => "ours",
                Whose::Others(held) => {
                    assert_eq!(held.by, OTHER, "{because}");
                    "others"
                }
                Whose::Unknown => "unknown",
            };
            assert_eq!(shown, expected, "{because}");
        }
    }

    #[test]
    fn texts_are_read_back() {
        let path = |text: &str| RelPath::parse(text).unwrap();
        let texts: Texts =
            [(path(".stignore"), b"*.log\n".to_vec()), (path("a/b"), Vec::new())].into();
        let bytes = encode(&texts).unwrap();
        assert_eq!(decode(&bytes), Some(texts));
        assert_eq!(decode(&[]), Some(Texts::new()), "no files at all");
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None, "cut short");
        let long = [(path("a"), vec![0; KEPT_BYTES_MAX])].into();
        assert_eq!(encode(&long), None);
    }

    #[test]
    fn a_difference_names_what_goes_and_comes() {
        let path = RelPath::parse(".stignore").unwrap();
        for (old, new, shown) in [
            (Some("a\nb\n"), Some("b\n!c\n"), &[".stignore: - a", ".stignore: + !c"][..]),
            (Some("a\n"), None, &[".stignore: - a"]),
            (Some("a\nb"), Some("b\na"), &[".stignore: the same lines in another order"]),
        ] {
            let text = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
            assert_eq!(difference(&path, text(old).as_ref(), text(new).as_ref()), shown);
        }
    }
}
