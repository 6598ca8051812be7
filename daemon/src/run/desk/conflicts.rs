//! Conflict copies: listed, and shown beside the file they are versions of.

use std::fs::File;
use std::io::Read;

use syncd_api::{ApiError, Conflict, ConflictView, FolderQuery, PathText, Side};
use syncd_core::flow::index::{IndexError, Known};
use syncd_core::flow::plan::conflict::{MARK, is_copy_name};
use syncd_core::model::{ContentId, DeviceId, Entry, Record, RelPath};
use syncd_home::Config;

use super::places::{Spot, absolute, shown};
use super::{FrontDesk, at_work, blocking, shown_time, unreadable};
use crate::flow::index::FolderIndex;
use crate::flow::settle::{BASE_BYTES_MAX, Base, TrashEntry, is_text};
use crate::run::folder::{Folder, Parts};

/// Bytes of `YYYYMMDD-HHMMSS-DEVICEX`.
const STAMP_BYTES: usize = 23;

/// A file and one conflict copy of it.
pub(super) struct Pair {
    pub(super) folder: Folder,
    pub(super) parts: Parts,
    pub(super) file: RelPath,
    /// What the index knows of the file; `None` when nothing lies there.
    pub(super) file_entry: Option<Entry>,
    pub(super) copy: RelPath,
    pub(super) copy_entry: Entry,
    /// Other copies of the file, when the file was named and not one of its copies.
    pub(super) others: Vec<RelPath>,
}

impl Pair {
    /// Tells whether the copy, and not the file, is what this device wrote.
    pub(super) fn mine_is_the_copy(&self, me: DeviceId) -> bool {
        let by = self.file_entry.as_ref().map(|entry| entry.record.author);
        self.copy_entry.record.author == me && by != Some(me)
    }
}

impl FrontDesk {
    pub(super) async fn list_conflicts(
        &self,
        query: FolderQuery,
    ) -> Result<Vec<Conflict>, ApiError> {
        let config = self.daemon.config();
        let mut conflicts = Vec::new();
        for folder in self.chosen(query.folder.as_deref())? {
            let index = self.daemon.store.folder(folder.id());
            let copies = blocking(move || copies_in(&index)).await?;
            for (copy, entry) in copies.map_err(|error| unreadable(&error))? {
                conflicts.push(Conflict {
                    folder: folder.id().to_string(),
                    path: shown(&folder, &original(&copy).unwrap_or_else(|| copy.clone())),
                    copy: shown(&folder, &copy),
                    device: self.known_name(&config, entry.record.author),
                    time: shown_time(entry.record.mtime_ns),
                    size: entry.record.size,
                });
            }
        }
        Ok(conflicts)
    }

    pub(super) async fn show_conflict(&self, path: PathText) -> Result<ConflictView, ApiError> {
        let pair = self.pair_at(&path).await?;
        let config = self.daemon.config();
        let me = self.daemon.me;
        let (base, file_text, copy_text, pair) = blocking(move || {
            let texts = (text_at(&pair.parts, &pair.file), text_at(&pair.parts, &pair.copy));
            (base_of(&pair), texts.0, texts.1, pair)
        })
        .await?;
        let file = pair.file_entry.as_ref();
        let at_file = self.side(&config, &pair, &pair.file, file, file_text);
        let at_copy = self.side(&config, &pair, &pair.copy, Some(&pair.copy_entry), copy_text);
        let (mine, theirs) = match pair.mine_is_the_copy(me) {
            true => (at_copy, at_file),
            false => (at_file, at_copy),
        };
        Ok(ConflictView {
            folder: pair.folder.id().to_string(),
            path: shown(&pair.folder, &pair.file),
            copy: shown(&pair.folder, &pair.copy),
            base: base.map(|begun| Side {
                file: None,
                device: None,
                time: begun.time,
                size: begun.size,
                content: Some(begun.content.hex()),
                text: begun.text,
            }),
            mine,
            theirs,
        })
    }

    fn side(
        &self,
        config: &Config,
        pair: &Pair,
        path: &RelPath,
        entry: Option<&Entry>,
        text: Option<String>,
    ) -> Side {
        let record = entry.map(|entry| &entry.record);
        Side {
            file: record.map(|_| PathText::of_file(&absolute(&pair.folder, path))),
            device: record.and_then(|record| self.known_name(config, record.author)),
            time: shown_time(record.map_or(0, |record| record.mtime_ns)),
            size: record.map_or(0, |record| record.size),
            content: record.map(|record| record.content.hex()),
            text,
        }
    }

    /// Finds the conflict that a path, the file's or the copy's, is part of.
    pub(super) async fn pair_at(&self, path: &PathText) -> Result<Pair, ApiError> {
        let Spot { folder, rel } = self.located(path).await?;
        let parts = at_work(&folder)?;
        let named = path.path.clone();
        let index = parts.index.clone();
        let found = blocking(move || find(&index, rel)).await?;
        let Some((file, file_entry, mut copies)) = found.map_err(|e| unreadable(&e))? else {
            return Err(ApiError::could_not(format!(
                "{named} has no conflict copy; see which files have: syncctl conflicts ls"
            )));
        };
        let (copy, copy_entry) = copies.remove(0);
        let others = copies.into_iter().map(|(copy, _)| copy).collect();
        Ok(Pair { folder, parts, file, file_entry, copy, copy_entry, others })
    }

    /// Counts the conflict copies of a file.
    pub(super) async fn copies_left(&self, folder: &Folder, file: &RelPath) -> u64 {
        let Some(index) = folder.parts().map(|parts| parts.index) else { return 0 };
        let file = file.clone();
        let copies = blocking(move || copies_of(&index, &file)).await;
        copies.ok().and_then(Result::ok).map_or(0, |copies| copies.len() as u64)
    }
}

/// A file, what is known of it, and its copies, or the one copy that was named; at least one.
type Found = (RelPath, Option<Entry>, Vec<(RelPath, Entry)>);

fn find(index: &FolderIndex, rel: RelPath) -> Result<Option<Found>, IndexError> {
    if let Some(file) = original(&rel)
        && let Some(entry) = index.get(&rel)?.filter(lies)
    {
        let file_entry = index.get(&file)?.filter(lies);
        return Ok(Some((file, file_entry, vec![(rel, entry)])));
    }
    let copies = copies_of(index, &rel)?;
    let file_entry = index.get(&rel)?.filter(lies);
    Ok((!copies.is_empty()).then_some((rel, file_entry, copies)))
}

/// Lists the conflict copies of a file, by path.
fn copies_of(index: &FolderIndex, file: &RelPath) -> Result<Vec<(RelPath, Entry)>, IndexError> {
    let mut copies = index.children(&file.parent().unwrap_or_else(RelPath::root))?;
    copies.retain(|(path, entry)| lies(entry) && original(path).as_ref() == Some(file));
    Ok(copies)
}

/// Lists all conflict copies, by path.
fn copies_in(index: &FolderIndex) -> Result<Vec<(RelPath, Entry)>, IndexError> {
    let mut copies = Vec::new();
    if index.summary()?.conflicts == 0 {
        return Ok(copies);
    }
    index.walk(&RelPath::root(), &mut |path, entry| {
        if lies(entry) && original(path).is_some() {
            copies.push((path.clone(), entry.clone()));
        }
        true
    })?;
    copies.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(copies)
}

/// Tells whether a file or symlink lies here by the index.
fn lies(entry: &Entry) -> bool {
    entry.record.has_bytes() && entry.local.is_here()
}

/// Returns the file that a conflict copy is a version of; `None` when the name is no copy's. A
/// stem that was cut for its length stays cut.
pub(super) fn original(copy: &RelPath) -> Option<RelPath> {
    let name = copy.name();
    if !is_copy_name(name) {
        return None;
    }
    let at = name.windows(MARK.len()).rposition(|window| window == MARK.as_bytes())?;
    let rest = &name[at + MARK.len() + STAMP_BYTES..];
    let told_apart = rest.strip_prefix(b"-").map_or(0, |rest| {
        let digits = rest.iter().take_while(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).count();
        let ends = matches!(rest.get(digits), None | Some(b'.'));
        // By its content, or by a number where a name was taken on this disk.
        let is_number = digits > 0 && rest[..digits].iter().all(u8::is_ascii_digit);
        if ends && (digits >= 4 || is_number) { digits + 1 } else { 0 }
    });
    let file = [&name[..at], &rest[told_apart..]].concat();
    copy.parent()?.join(file).ok()
}

/// Reads a text; `None` when it is none, or too long to be compared.
fn text_at(parts: &Parts, path: &RelPath) -> Option<String> {
    read_text(File::from(parts.root.open_file(path).ok()?))
}

fn read_text(file: File) -> Option<String> {
    let mut bytes = Vec::new();
    file.take(BASE_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    text_of(bytes)
}

fn text_of(bytes: Vec<u8>) -> Option<String> {
    if is_text(&bytes) { String::from_utf8(bytes).ok() } else { None }
}

/// What both sides began with.
struct Begun {
    content: ContentId,
    size: u64,
    /// When it was modified, or when it was kept where that is not known any more.
    time: jiff::Timestamp,
    text: Option<String>,
}

/// Finds what both sides began with: the last base of the file that was kept before its copy was
/// there, else the newest version in the trash that the file descends from. Neither side is one.
fn base_of(pair: &Pair) -> Option<Begun> {
    let record = pair.file_entry.as_ref().map(|entry| &entry.record);
    let mut sides = vec![pair.copy_entry.record.content];
    sides.extend(record.map(|record| record.content));
    let bases = pair.parts.hands.bases_of(&pair.file).unwrap_or_default();
    let before = |base: &&Base| base.seq < pair.copy_entry.seq && !sides.contains(&base.content);
    let kept = bases.iter().filter(before).find_map(|base| {
        let bytes = pair.parts.hands.read_base(base)?;
        let ms = i64::try_from(pair.parts.hands.base_kept_ms(base)).ok()?;
        Some(Begun {
            content: base.content,
            size: bytes.len() as u64,
            time: jiff::Timestamp::from_millisecond(ms).ok()?,
            text: text_of(bytes),
        })
    });
    kept.or_else(|| trashed_base(pair, record?, &sides))
}

fn trashed_base(pair: &Pair, file: &Record, sides: &[ContentId]) -> Option<Begun> {
    let fits = |entry: &TrashEntry| {
        entry.path.as_ref() == Some(&pair.file)
            && !sides.contains(&entry.content)
            && file.descends_from(entry.content)
    };
    let entry = pair.parts.hands.trash_list().ok()?.into_iter().rev().find(fits)?;
    Some(Begun {
        content: entry.content,
        size: entry.size,
        time: shown_time(entry.mtime_ns),
        text: staged_text(pair, entry.content, entry.size),
    })
}

/// Reads a version in the trash.
fn staged_text(pair: &Pair, content: ContentId, size: u64) -> Option<String> {
    if size > BASE_BYTES_MAX {
        return None;
    }
    let dir = pair.parts.root.own().join("trash").ok()?;
    let begins = format!("{}-", content.hex());
    let listed = pair.parts.root.list(&dir).ok()?;
    let name = listed.into_iter().find(|listed| listed.name.starts_with(begins.as_bytes()))?.name;
    let path = dir.join(name).ok()?;
    read_text(File::from(pair.parts.root.open_file(&path).ok()?))
}

#[cfg(test)]
mod tests {
    use syncd_core::flow::plan::conflict::{copy_path_of, tell_apart};

    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    #[test]
    fn a_copy_leads_back_to_its_file() {
        let author = DeviceId([7; 32]);
        for name in ["notes.txt", "a/b/notes.txt", "README", ".bashrc", "a.tar.gz", "x.", "a-b.c"] {
            let file = path(name);
            let copy = copy_path_of(&file, 1_795_202_642_000_000_000, author);
            assert_ne!(copy, file);
            assert_eq!(original(&copy), Some(file.clone()), "{copy}");
        }
        // Without an extension, what tells copies apart goes into the stem, where nothing says
        // that it does not belong to the name.
        for name in ["notes.txt", "a/b/notes.txt", "a.tar.gz", "x.", "a-b.c"] {
            let file = path(name);
            let copy = copy_path_of(&file, 0, author);
            let other = tell_apart(&copy, ContentId::of(b"x"), 4);
            assert_eq!(original(&other), Some(file), "{other}");
            let copied = copy_path_of(&copy, 0, author);
            assert_eq!(original(&copied), Some(copy), "a copy of a copy");
        }
    }

    #[test]
    fn what_is_no_copy_has_no_file() {
        for (name, file) in [
            ("notes.txt", None),
            ("a.sync-conflict-20260131.txt", None),
            ("a.sync-conflict-20260131-235959-ABCDEF2-draft.txt", Some("a-draft.txt")),
            ("a.sync-conflict-20260131-235959-ABCDEF2-abc.txt", Some("a-abc.txt")),
            (".sync-conflict-20260131-235959-ABCDEF2", None),
        ] {
            assert_eq!(original(&path(name)), file.map(path), "{name}");
        }
    }
}
