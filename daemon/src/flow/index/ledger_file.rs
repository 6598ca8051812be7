//! The ledger's file: appended to, cut where it is torn, written anew when it is long.
//!
//! # Invariants
//! - Nothing is learnt before it is on the disk.
//! - After a failed fsync nothing more is written: what the disk holds is not known any more.
//! - A ledger that does not read is moved aside as `<path>.broken-<n>`, never deleted; one of a
//!   newer format is left alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::ledger::{LedgerError, LedgerOpened};
use super::ledger_format::{self, Line, State, Unreadable};
use crate::world::spare;

/// A ledger is looked at for compacting from this size on.
const COMPACT_BYTES: u64 = 1 << 20;

/// It is compacted when it is so many times greater than what it says.
const COMPACT_FACTOR: u64 = 4;

/// Counters skipped when the end of the ledger was torn: it cannot be told from a reservation
/// that rotted away. 2^34 such gaps fit in a `u64`.
const TORN_GAP: u64 = 1 << 30;

/// An open ledger file and what it says.
#[derive(Debug)]
pub(super) struct Book {
    path: PathBuf,
    file: File,
    /// How much of the file is good; the next frame goes there.
    end: u64,
    /// Compacting is considered once the file is this great.
    compact_at: u64,
    /// All it says.
    pub(super) state: State,
    /// An fsync has failed.
    pub(super) poisoned: bool,
}

impl Book {
    /// Opens the ledger at `path`, making it if there is none.
    pub(super) fn open(path: &Path) -> Result<(Self, LedgerOpened), LedgerError> {
        let unavailable = |source| LedgerError::Unavailable { path: path.to_owned(), source };
        let (state, good, opened) = match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                (State::default(), None, LedgerOpened::New)
            }
            Err(error) => return Err(unavailable(error)),
            Ok(bytes) => match ledger_format::read(&bytes) {
                Ok((state, good)) => (state, Some((good, bytes.len())), LedgerOpened::Existing),
                Err(Unreadable::Newer(found)) => {
                    return Err(LedgerError::Newer { path: path.to_owned(), found });
                }
                Err(Unreadable::Damaged(why)) => {
                    let to = move_aside(path)?;
                    (State::default(), None, LedgerOpened::MovedAside { to, why })
                }
            },
        };
        let (file, end) = match good {
            None => write_whole(path, &state).map_err(unavailable)?,
            Some((good, _)) => {
                let file = OpenOptions::new().read(true).write(true).open(path);
                (file.map_err(unavailable)?, good as u64)
            }
        };
        let path = path.to_owned();
        let mut book = Self { path, file, end, compact_at: COMPACT_BYTES, state, poisoned: false };
        if good.is_some_and(|(good, len)| good < len) {
            book.file.set_len(end).map_err(LedgerError::NotDurable)?;
            let gap = book.state.reserved_end.saturating_add(TORN_GAP);
            book.tell(vec![Line::Reserved { end: gap }])?;
        }
        Ok((book, opened))
    }

    /// Appends lines and makes them durable; nothing is learnt before that.
    pub(super) fn tell(&mut self, lines: Vec<Line>) -> Result<(), LedgerError> {
        if self.poisoned {
            return Err(LedgerError::Poisoned);
        }
        if lines.is_empty() {
            return Ok(());
        }
        let frame = ledger_format::frame(self.end, &lines);
        if let Err(error) = self.file.write_all_at(&frame, self.end) {
            // What was written of it has no checksum that fits and is overwritten by the next.
            self.poisoned = self.file.set_len(self.end).is_err();
            return Err(LedgerError::NotDurable(error));
        }
        if let Err(error) = self.file.sync_data() {
            self.poisoned = true;
            return Err(LedgerError::NotDurable(error));
        }
        self.end += frame.len() as u64;
        for line in lines {
            self.state.learn(line);
        }
        if self.end >= self.compact_at {
            self.compact()?;
        }
        Ok(())
    }

    /// Writes the ledger anew if most of it says what is over.
    fn compact(&mut self) -> Result<(), LedgerError> {
        let live = ledger_format::frame(0, &self.state.lines()).len() as u64;
        self.compact_at = COMPACT_BYTES.max(live.saturating_mul(COMPACT_FACTOR) + 1);
        if self.end < self.compact_at {
            return Ok(());
        }
        spare::make_room();
        // What was told is safe already: a full disk only means that the file stays long.
        let Ok((file, end)) = write_new(&self.path, &self.state) else {
            self.compact_at = self.end + COMPACT_BYTES;
            return Ok(());
        };
        if fs::rename(self.path.with_extension("new"), &self.path).is_err() {
            self.compact_at = self.end + COMPACT_BYTES;
            return Ok(());
        }
        (self.file, self.end) = (file, end);
        sync_parent(&self.path).map_err(|error| {
            // After a power loss the name may stand for the old file.
            self.poisoned = true;
            LedgerError::NotDurable(error)
        })
    }
}

/// Writes a ledger that says `state` and gives it the name `path`.
fn write_whole(path: &Path, state: &State) -> io::Result<(File, u64)> {
    let written = write_new(path, state)?;
    fs::rename(path.with_extension("new"), path)?;
    sync_parent(path)?;
    Ok(written)
}

/// Writes a ledger that says `state` beside `path`, durably.
fn write_new(path: &Path, state: &State) -> io::Result<(File, u64)> {
    let mut bytes = ledger_format::head();
    bytes.extend(ledger_format::frame(bytes.len() as u64, &state.lines()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path.with_extension("new"))?;
    file.write_all_at(&bytes, 0)?;
    file.sync_all()?;
    Ok((file, bytes.len() as u64))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(home) if !home.as_os_str().is_empty() => File::open(home)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn move_aside(path: &Path) -> Result<PathBuf, LedgerError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stuck = |source| LedgerError::Stuck { path: path.to_owned(), source };
    let to = (1..)
        .map(|n| path.with_file_name(format!("{name}.broken-{n}")))
        .find(|to| to.symlink_metadata().is_err())
        .ok_or_else(|| stuck(ErrorKind::AlreadyExists.into()))?;
    fs::rename(path, &to).map_err(stuck)?;
    sync_parent(path).map_err(stuck)?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::super::ledger::tests::{intent, open, tell_all};
    use super::super::ledger::{Intent, Ledger};
    use super::*;

    #[test]
    fn a_ledger_cut_anywhere_keeps_what_came_before_and_repeats_no_counter() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("ledger");
        let (ledger, _) = Ledger::open(&file).unwrap();
        let mut ends = vec![(fs::metadata(&file).unwrap().len(), 1)];
        for _ in 0..4 {
            let given = ends.last().unwrap().1;
            ledger.open_intents(&[intent("a")]).unwrap();
            ends.push((fs::metadata(&file).unwrap().len(), given));
            let given = ledger.reserve().unwrap().end;
            ends.push((fs::metadata(&file).unwrap().len(), given));
        }
        drop(ledger);
        let whole = fs::read(&file).unwrap();
        for cut in ends[0].0..whole.len() as u64 {
            for garbage in [0, 300] {
                let mut bytes = whole[..cut as usize].to_vec();
                bytes.extend(std::iter::repeat_n(0, garbage));
                fs::write(&file, bytes).unwrap();
                let ledger = open(&file);
                let is_torn = garbage > 0 || ends.iter().all(|(end, _)| *end != cut);
                // A torn end hides what was reserved behind it; a clean one is all there was.
                let kept = ends.iter().rfind(|(end, _)| is_torn || *end <= cut).unwrap();
                let (before, next) = (kept.1, ledger.reserve().unwrap());
                assert!(next.start >= before, "cut at {cut}: {next:?} after {before}");
                assert!(open(&file).reserve().unwrap().start >= next.end, "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_ledger_damaged_in_its_middle_is_moved_aside() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("ledger");
        tell_all(&Ledger::open(&file).unwrap().0);
        let whole = fs::read(&file).unwrap();
        let rows = [
            (3, "its name"),
            (ledger_format::HEAD_BYTES, "the first frame's marker"),
            (ledger_format::HEAD_BYTES + 2, "a length"),
            (ledger_format::HEAD_BYTES + 7, "a checksum"),
            (whole.len() / 2, "a payload"),
        ];
        for (n, (at, because)) in (1..).zip(rows) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&file, &bytes).unwrap();
            let (ledger, opened) = Ledger::open(&file).unwrap();
            let to = home.path().join(format!("ledger.broken-{n}"));
            assert!(
                matches!(&opened, LedgerOpened::MovedAside { to: at, .. } if *at == to),
                "{because}: {opened:?}"
            );
            assert_eq!(fs::read(to).unwrap(), bytes, "{because}: nothing of it is lost");
            assert_eq!(ledger.life(), None, "{because}");
        }
    }

    #[test]
    fn a_newer_ledger_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("ledger");
        drop(Ledger::open(&file).unwrap());
        let mut bytes = fs::read(&file).unwrap();
        bytes[12] = 2;
        fs::write(&file, &bytes).unwrap();
        let refused = Ledger::open(&file).unwrap_err();
        assert!(matches!(refused, LedgerError::Newer { found: 2, .. }), "{refused}");
        assert_eq!(fs::read(&file).unwrap(), bytes);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_long_ledger_becomes_short_and_says_the_same() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("ledger");
        let (ledger, _) = Ledger::open(&file).unwrap();
        tell_all(&ledger);
        let many: Vec<Intent> = (0..500).map(|n| intent(&format!("file-{n}"))).collect();
        let mut greatest = 0;
        for _ in 0..40 {
            let batch = ledger.open_intents(&many).unwrap();
            ledger.close_intents(&[batch], None).unwrap();
            greatest = greatest.max(fs::metadata(&file).unwrap().len());
        }
        assert!(greatest < 2 * COMPACT_BYTES, "{greatest} bytes");
        let state = ledger.book().state.clone();
        drop(ledger);
        let reopened = open(&file);
        let mut known = reopened.book().state.clone();
        known.last_batch = state.last_batch;
        assert_eq!(known, state);
    }

    #[test]
    fn a_ledger_that_is_all_alive_is_not_written_again_and_again() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("ledger");
        let (ledger, _) = Ledger::open(&file).unwrap();
        let value = vec![7; 200 << 10];
        for n in 0..20 {
            ledger.set_fact(&format!("fact {n}"), Some(&value)).unwrap();
        }
        let length = fs::metadata(&file).unwrap().len();
        assert!(length > 20 * (200 << 10) && length < 21 * (200 << 10), "{length} bytes");
        assert_eq!(open(&file).facts("fact").len(), 20);
    }

    #[test]
    fn a_write_that_fails_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("ledger");
        let (ledger, _) = Ledger::open(&file).unwrap();
        let given = ledger.reserve().unwrap();
        ledger.book().file = File::open(&file).unwrap();
        let refused = ledger.reserve().unwrap_err();
        assert!(matches!(refused, LedgerError::NotDurable(_)), "{refused}");
        assert!(matches!(ledger.reserve(), Err(LedgerError::Poisoned)), "it could not be cut");
        drop(ledger);
        assert_eq!(open(&file).reserve().unwrap().start, given.end);
    }
}
