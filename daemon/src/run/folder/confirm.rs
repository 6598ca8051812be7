//! Rules that a person has confirmed, and another device's that wait for one.
//!
//! # Invariants
//! - A rule change of another device that cannot be shown to leave out as much as before is held:
//!   the confirmed rules stay in force until a person of this device has decided.
//! - What this device's own user writes into a rule file is confirmed by that.

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

/// Compares what rule files say with what was confirmed; `None` when nothing of it is another
/// device's doing.
pub(super) fn change_of_others(
    confirmed: &Texts,
    now: &Texts,
    me: DeviceId,
    index: &FolderIndex,
) -> Result<Option<HeldRules>, IndexError> {
    let paths: std::collections::BTreeSet<&RelPath> = confirmed.keys().chain(now.keys()).collect();
    let (mut by, mut lines, mut before) = (None, Vec::new(), Vec::new());
    for path in paths {
        let (old, new) = (confirmed.get(path), now.get(path));
        if old == new {
            continue;
        }
        lines.extend(difference(path, old, new));
        before.push((path.clone(), old.cloned()));
        let content = new.map_or(ContentId::NONE, |text| ContentId::of(text));
        // What the index does not know like this was written here a moment ago.
        let theirs = index.get(path)?.map(|entry| entry.record).filter(|record| {
            record.author != me && record.content == content && record.is_live() == new.is_some()
        });
        by = by.or(theirs.map(|record| record.author));
    }
    let since_ms = crate::run::now_unix_ms();
    Ok(by.map(|by| HeldRules { by, lines, before, since_ms }))
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

#[cfg(test)]
mod tests {
    use super::*;

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
