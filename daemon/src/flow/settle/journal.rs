//! The trash's journal: what was moved there from where, written before it is moved.
//!
//! `.syncd/trash/journal` has one JSON object a line: a [`Moved`] before the move, then a mark
//! that it was verified and kept, or that it left the trash. A torn last line is dropped, a
//! damaged one skipped; the file it spoke of is still listed, without its path.
//!
//! It is open for writing only while something is displaced: a descriptor that is kept would keep
//! the file system from being remounted read-only.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, OFlags};
use rustix::io;
use serde::{Deserialize, Serialize};
use syncd_core::model::{AncestorId, ContentId, Kind, RelPath};

use super::fill::write_at;
use super::trash::Why;
use crate::world::disk::system;

const NAME: &str = "journal";
/// Room set aside for the journal, in bytes: about a thousand displacements can be written down
/// on a full disk, since deleting must work there.
const RESERVED_BYTES: u64 = 512 << 10;

/// Displacements by number, and whether each was verified.
pub(super) type Noted = BTreeMap<u64, (Moved, bool)>;

const NEW_NAME: &str = "journal.new";

/// One displacement, as written before it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moved {
    /// Numbers displacements; part of the name in the trash.
    pub(super) seq: u64,
    path: Text,
    content: String,
    link: bool,
    /// The count of bytes.
    pub(super) size: u64,
    /// The modification time, nanoseconds since 1970.
    pub(super) mtime_ns: i64,
    /// When it was displaced, milliseconds since 1970.
    pub(super) at_ms: u64,
    /// Why it was displaced.
    pub(super) why: Why,
    /// Its inode.
    pub(super) inode: u64,
    /// The name in staging under which it lies right after the move, if not in the trash.
    pub(super) via: Option<String>,
    /// The inode of our own file that had the name `via` before an exchange.
    pub(super) ours: u64,
    /// The name in staging of the bytes that are written over it in place: then what lies in the
    /// trash is a copy, and the inode stays where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rewrite: Option<String>,
}

/// A path as text where it is text, else as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Bytes { hex: String },
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Moved(Moved),
    Kept { kept: u64 },
    Dropped { dropped: u64 },
    Next { next: u64 },
}

impl Moved {
    /// Describes a displacement that is about to be made.
    pub(super) fn new(path: &RelPath, content: ContentId, kind: Kind, why: Why) -> Self {
        Self {
            seq: 0,
            path: match std::str::from_utf8(path.as_bytes()) {
                Ok(text) => Text::Plain(text.to_owned()),
                Err(_) => Text::Bytes { hex: data_encoding::HEXLOWER.encode(path.as_bytes()) },
            },
            content: content.hex(),
            link: kind == Kind::Symlink,
            size: 0,
            mtime_ns: 0,
            at_ms: super::now_ms(),
            why,
            inode: 0,
            via: None,
            ours: 0,
            rewrite: None,
        }
    }

    /// Returns where it lay; `None` when the line was damaged.
    pub(super) fn path(&self) -> Option<RelPath> {
        match &self.path {
            Text::Plain(text) => RelPath::parse(text).ok(),
            Text::Bytes { hex } => {
                RelPath::parse(data_encoding::HEXLOWER.decode(hex.as_bytes()).ok()?).ok()
            }
        }
    }

    /// Returns what it was known to hold.
    pub(super) fn content(&self) -> ContentId {
        ContentId::from_hex(&self.content).unwrap_or(ContentId::NONE)
    }

    /// Returns whether it is a file or a symlink.
    pub(super) fn kind(&self) -> Kind {
        if self.link { Kind::Symlink } else { Kind::File }
    }

    /// Returns its name in the trash.
    pub(super) fn name(&self) -> String {
        trash_name(self.content(), self.seq)
    }
}

/// The name of a displaced version in the trash.
pub(super) fn trash_name(content: ContentId, seq: u64) -> String {
    format!("{}-{seq:x}", content.hex())
}

/// Reads what [`trash_name`] wrote.
pub(super) fn parse_trash_name(name: &[u8]) -> Option<(ContentId, u64)> {
    let (hex, seq) = std::str::from_utf8(name).ok()?.split_once('-')?;
    Some((ContentId::from_hex(hex)?, u64::from_str_radix(seq, 16).ok()?))
}

/// The journal and what is in the trash by content.
pub(super) struct Journal {
    dir: OwnedFd,
    /// Open for writing; `None` at rest.
    file: Option<OwnedFd>,
    /// Whether it was written to since it was last asked to rest.
    was_written: bool,
    end: u64,
    reserved_end: u64,
    next_seq: u64,
    contents: BTreeSet<(AncestorId, u64)>,
    /// Whether anything was written since it was last made durable.
    is_dirty: bool,
}

impl Journal {
    /// Opens the journal in the trash directory, or begins one.
    pub(super) fn open(trash: &OwnedFd) -> io::Result<Self> {
        let dir = trash.try_clone().map_err(|_| rustix::io::Errno::MFILE)?;
        let (file, end) = open_file(&dir)?;
        let mut journal = Self {
            dir,
            file: Some(file),
            was_written: false,
            end,
            reserved_end: 0,
            next_seq: 1,
            contents: BTreeSet::new(),
            is_dirty: false,
        };
        journal.reserve();
        journal.next_seq = journal.read_all()?.1;
        for (name, _) in system::names_in(journal.dir.as_fd())? {
            if let Some((content, seq)) = parse_trash_name(&name) {
                journal.next_seq = journal.next_seq.max(seq.saturating_add(1));
                journal.contents.insert((content.ancestor(), seq));
            }
        }
        Ok(journal)
    }

    /// Writes down a displacement before it is made and returns it with its number.
    pub(super) fn begin(&mut self, mut moved: Moved) -> io::Result<Moved> {
        moved.seq = self.next_seq;
        self.append(&Line::Moved(moved.clone()))?;
        self.next_seq += 1;
        Ok(moved)
    }

    /// Writes down that a displaced version is in the trash and is what it was taken for.
    pub(super) fn keep(&mut self, moved: &Moved) -> io::Result<()> {
        self.contents.insert((moved.content().ancestor(), moved.seq));
        self.append(&Line::Kept { kept: moved.seq })
    }

    /// Writes down that a version is not, or no longer, in the trash.
    pub(super) fn drop_entry(&mut self, content: ContentId, seq: u64) -> io::Result<()> {
        self.contents.remove(&(content.ancestor(), seq));
        self.append(&Line::Dropped { dropped: seq })
    }

    /// Lists the names in the trash that may hold a content, newest first.
    pub(super) fn names_of(&self, content: ContentId) -> Vec<String> {
        let short = content.ancestor();
        let range = self.contents.range((short, 0)..=(short, u64::MAX));
        range.rev().map(|(_, seq)| trash_name(content, *seq)).collect()
    }

    /// Reads all displacements that did not leave the trash, by number, and whether each was
    /// verified.
    pub(super) fn read(&self) -> io::Result<Noted> {
        self.read_all().map(|(found, _)| found)
    }

    /// Reads what [`Journal::read`] does, and the first number that was never given.
    fn read_all(&self) -> io::Result<(Noted, u64)> {
        let mut bytes = vec![0; usize::try_from(self.end).unwrap_or_default()];
        let filled = self.fill(&mut bytes)?;
        Ok(noted(&bytes[..filled]))
    }

    /// Writes the journal anew with only what is still in the trash.
    pub(super) fn compact(&mut self) -> io::Result<()> {
        let live = self.read()?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
        let new = NEW_NAME.as_bytes();
        let file = system::open_at(self.dir.as_fd(), new, flags | OFlags::CLOEXEC, 0o600)?;
        let text = told(live, self.next_seq);
        write_at(file.as_fd(), 0, &text)?;
        fs::fsync(&file)?;
        fs::renameat(&self.dir, NEW_NAME, &self.dir, NAME)?;
        system::sync_directory(self.dir.as_fd())?;
        (self.file, self.end, self.reserved_end) = (Some(file), text.len() as u64, 0);
        self.reserve();
        Ok(())
    }

    /// Makes all that was written durable, and the names in the trash.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.is_dirty {
            fs::fdatasync(self.opened()?)?;
            system::sync_directory(self.dir.as_fd())?;
            self.is_dirty = false;
        }
        Ok(())
    }

    /// Closes it when nothing was written since this was last called; to be called every second
    /// or so. What cannot be made durable now is tried again then.
    pub(super) fn rest(&mut self) {
        if !std::mem::take(&mut self.was_written) && self.file.is_some() && self.sync().is_ok() {
            self.file = None;
        }
    }

    fn append(&mut self, line: &Line) -> io::Result<()> {
        let text = line_of(line);
        self.opened()?;
        let end = self.end;
        write_at(self.opened()?, end, &text)?;
        self.end += text.len() as u64;
        (self.is_dirty, self.was_written) = (true, true);
        if self.end + RESERVED_BYTES / 2 > self.reserved_end {
            self.reserve();
        }
        Ok(())
    }

    /// Opens it for writing, if it rests.
    fn opened(&mut self) -> io::Result<BorrowedFd<'_>> {
        let file = match self.file.take() {
            Some(file) => file,
            None => match system::open_at(self.dir.as_fd(), NAME.as_bytes(), WRITING, 0) {
                Err(io::Errno::NOENT) => self.begin_anew()?,
                opened => opened?,
            },
        };
        let file: &OwnedFd = self.file.insert(file);
        Ok(file.as_fd())
    }

    /// Begins another one, where somebody has removed it; what lies in the trash is listed without
    /// paths from then on. Where the trash itself was removed this fails too.
    fn begin_anew(&mut self) -> io::Result<OwnedFd> {
        let flags = WRITING | OFlags::CREATE;
        let file = system::open_at(self.dir.as_fd(), NAME.as_bytes(), flags, 0o600)?;
        let text = line_of(&Line::Next { next: self.next_seq });
        write_at(file.as_fd(), 0, &text)?;
        (self.end, self.reserved_end, self.is_dirty) = (text.len() as u64, 0, true);
        Ok(file)
    }

    /// Reads from its begin as far as there is room for, and returns how much it was. Needs no
    /// right to write: a file system that is mounted read-only has a trash too.
    fn fill(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = system::open_at(self.dir.as_fd(), NAME.as_bytes(), flags, 0)?;
        let mut filled = 0;
        while filled < bytes.len() {
            let into = &mut bytes[filled..];
            match io::retry_on_intr(|| io::pread(&file, &mut *into, filled as u64))? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    /// Sets room aside behind the end. Where that is refused, a full disk stops deletes too.
    fn reserve(&mut self) {
        // Not asked for again before it was used up, be it given or refused.
        self.reserved_end = self.end + RESERVED_BYTES;
        let end = self.end;
        if let Ok(file) = self.opened() {
            let _ = system::reserve(file, end, RESERVED_BYTES);
        }
    }
}

/// How it is opened to be written to.
const WRITING: OFlags = OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Reads a journal: what did not leave the trash, and the first number that was never given.
pub(super) fn noted(text: &[u8]) -> (Noted, u64) {
    let mut found = BTreeMap::new();
    let mut next_seq = 1;
    for line in text.split(|b| *b == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Line::Moved(moved)) => {
                next_seq = next_seq.max(moved.seq.saturating_add(1));
                found.insert(moved.seq, (moved, false));
            }
            Ok(Line::Kept { kept }) => {
                if let Some(entry) = found.get_mut(&kept) {
                    entry.1 = true;
                }
            }
            Ok(Line::Dropped { dropped }) => {
                found.remove(&dropped);
            }
            Ok(Line::Next { next }) => next_seq = next_seq.max(next),
            Err(_) => {}
        }
    }
    (found, next_seq)
}

/// Writes a journal that [`noted`] reads as the same.
pub(super) fn told(live: Noted, next_seq: u64) -> Vec<u8> {
    // Numbers are never given twice, even when what had them is gone.
    let mut text = line_of(&Line::Next { next: next_seq });
    for (seq, (moved, kept)) in live {
        text.extend(line_of(&Line::Moved(moved)));
        if kept {
            text.extend(line_of(&Line::Kept { kept: seq }));
        }
    }
    text
}

fn line_of(line: &Line) -> Vec<u8> {
    // Numbers and strings always have a JSON form.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Opens the file and closes a torn last line, so that the next one begins afresh.
fn open_file(dir: &OwnedFd) -> io::Result<(OwnedFd, u64)> {
    let flags = WRITING | OFlags::CREATE;
    let file = system::open_at(dir.as_fd(), NAME.as_bytes(), flags, 0o600)?;
    let mut end = system::key_of(&system::stat_of(&file)?).size;
    let mut last = [b'\n'];
    if end > 0 {
        io::retry_on_intr(|| io::pread(&file, &mut last[..], end - 1))?;
    }
    if last != [b'\n'] {
        write_at(file.as_fd(), end, b"\n")?;
        end += 1;
    }
    Ok((file, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(dir: &std::path::Path) -> Journal {
        Journal::open(&std::fs::File::open(dir).unwrap().into()).unwrap()
    }

    fn moved(name: &str) -> Moved {
        let path = RelPath::parse(name).unwrap();
        Moved::new(&path, ContentId::of(b"x"), Kind::Symlink, Why::Deleted)
    }

    fn told(journal: &Journal) -> Vec<(u64, String, bool)> {
        let read = journal.read().unwrap().into_values();
        read.map(|(moved, kept)| (moved.seq, moved.path().unwrap().to_string(), kept)).collect()
    }

    #[test]
    fn a_torn_line_costs_itself_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = opened(dir.path());
        let first = journal.begin(moved("a")).unwrap();
        journal.keep(&first).unwrap();
        journal.begin(moved("b")).unwrap();
        drop(journal);
        let at = dir.path().join(NAME);
        let whole = std::fs::read(&at).unwrap();
        std::fs::write(&at, &whole[..whole.len() - 5]).unwrap();
        let mut journal = opened(dir.path());
        assert_eq!(told(&journal), [(1, "a".to_owned(), true)]);
        let next = journal.begin(moved("c")).unwrap();
        let expected = [(1, "a".to_owned(), true), (next.seq, "c".to_owned(), false)];
        assert_eq!(told(&journal), expected);
        assert_eq!(told(&opened(dir.path())), expected, "read again");
        assert_eq!(journal.read().unwrap()[&1].0, first, "every column is read back");
    }

    #[test]
    fn a_compacted_journal_tells_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = opened(dir.path());
        for name in ["a", "b", "c", "d"] {
            let moved = journal.begin(moved(name)).unwrap();
            match name {
                "a" | "b" => journal.keep(&moved).unwrap(),
                _ => {}
            }
            if name == "b" || name == "c" {
                journal.drop_entry(moved.content(), moved.seq).unwrap();
            }
        }
        let before = told(&journal);
        assert_eq!(before, [(1, "a".to_owned(), true), (4, "d".to_owned(), false)]);
        journal.compact().unwrap();
        assert_eq!(told(&journal), before);
        assert_eq!(journal.names_of(ContentId::of(b"x")), [trash_name(ContentId::of(b"x"), 1)]);
        assert_eq!(journal.begin(moved("e")).unwrap().seq, 5, "numbers go on");
        assert_eq!(told(&opened(dir.path())).len(), 3);
        for (seq, _, _) in told(&journal) {
            journal.drop_entry(ContentId::of(b"x"), seq).unwrap();
        }
        journal.compact().unwrap();
        let next = opened(dir.path()).begin(moved("f")).unwrap().seq;
        assert_eq!(next, 6, "not even when all is gone");
    }

    #[test]
    fn at_rest_it_is_closed_and_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = opened(dir.path());
        let first = journal.begin(moved("a")).unwrap();
        journal.rest();
        assert!(journal.file.is_some(), "it was written to a moment ago");
        journal.rest();
        assert!(journal.file.is_none() && !journal.is_dirty, "closed, and durable");
        assert_eq!(told(&journal), [(1, "a".to_owned(), false)], "it can be read");
        journal.keep(&first).unwrap();
        assert_eq!(told(&journal), [(1, "a".to_owned(), true)], "and be gone on with");
        journal.rest();
        journal.rest();
        std::fs::remove_file(dir.path().join(NAME)).unwrap();
        let next = journal.begin(moved("b")).unwrap();
        assert_eq!(next.seq, first.seq + 1, "numbers go on in a journal that somebody removed");
        assert_eq!(told(&journal), [(2, "b".to_owned(), false)]);
        let gone = dir.path().join("gone");
        std::fs::create_dir(&gone).unwrap();
        let mut journal = opened(&gone);
        journal.rest();
        std::fs::remove_dir_all(&gone).unwrap();
        assert!(journal.begin(moved("b")).is_err(), "nothing is displaced without a word");
    }

    #[test]
    fn trash_names_are_read_back() {
        let content = ContentId::of(b"x");
        assert_eq!(parse_trash_name(trash_name(content, 77).as_bytes()), Some((content, 77)));
        for (bad, because) in
            [("journal", "the journal"), (&content.hex()[..], "no number"), ("12-1", "no content")]
        {
            assert_eq!(parse_trash_name(bad.as_bytes()), None, "{because}");
        }
    }
}
