//! Rewriting: new bytes go into the inode that is there, for paths that the user asked it for.
//!
//! A program that holds the file open, a bind mount, a second name of the inode: all see the new
//! bytes. What differs is written, no more, so that a file which only grew is only appended to.
//!
//! # Invariants
//! - The old bytes lie in the trash, durably, before the first one is overwritten.
//! - Until the end the new bytes lie in staging too, durably: a restart finishes what a crash
//!   tore, or puts the old bytes back, and nobody takes the torn file for a user's.
//! - A file that changed since the plan saw it is not written to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, OFlags};
use rustix::io::{self, Errno};
use syncd_core::flow::settle::SettleError;
use syncd_core::model::{ContentId, RelPath, StatKey};

use super::check::Held;
use super::fill::{copy_bytes, hash_at, hash_of, write_at};
use super::journal::Moved;
use super::ready::{Readied, clear, create, times};
use super::replace::Known;
use super::restart::Recovered;
use super::trash::Why;
use super::{Hands, Moment, Spot};
use crate::world::disk::system;

/// How much is compared and written at once.
const PIECE_BYTES: usize = 64 << 10;

/// How a file is opened to be rewritten.
const WRITE: OFlags =
    OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

impl Hands {
    /// Writes readied bytes into the file at `spot` and returns its new stat; `None` where it
    /// cannot be written to, so that another inode must take its name.
    pub(super) fn rewrite(
        &self,
        spot: &Spot,
        readied: &Readied,
        known: &Known,
    ) -> Result<Option<StatKey>, SettleError> {
        let said = |errno| self.said(&spot.path, readied.key.size, errno);
        let held = self.hold(spot, known.kind, &known.stat)?;
        self.pass(Moment::Checked);
        let file = match system::open_at(spot.way(), spot.name(), WRITE, 0) {
            Err(Errno::ACCESS | Errno::PERM | Errno::TXTBSY | Errno::ROFS) => return Ok(None),
            Err(Errno::NOENT) => return Err(spot.overtaken()),
            answer => answer.map_err(said)?,
        };
        if system::key_of(&system::stat_of(&file).map_err(said)?) != known.stat {
            return Err(spot.overtaken());
        }
        let new = system::open_at(self.staging(), readied.name.as_bytes(), system::READ, 0);
        let new = new.map_err(said)?;
        let moved = self.keep_aside(spot, readied, known, &held, &file)?;
        self.pass(Moment::Noted);
        if !held.is_unchanged().map_err(said)? {
            clear(self.trash(), &moved.name()).map_err(said)?;
            return self.give_up(&moved, spot.overtaken()).map(|()| None);
        }
        self.pass(Moment::Asked);
        // RACE: a program that writes from here on mixes its bytes with ours, as it would with
        // those of any other program. The bytes tell, and count as its own.
        self.overwrite(&file, &new).map_err(said)?;
        let mode = readied.key.mode | system::extra_mode_of(&held.stat);
        let left = dress(&file, mode, readied.key.mtime_ns).map_err(said)?;
        self.journal().keep(&moved).map_err(said)?;
        self.pass(Moment::Filed);
        self.count_displaced(&moved);
        let found = hash_of(file.as_fd()).map_err(said)?.0;
        let now = system::key_of(&system::stat_of(&file).map_err(said)?);
        if found != readied.content || now != left {
            return Err(spot.overtaken());
        }
        // A leftover is found by the next restart.
        let _ = clear(self.staging(), &readied.name);
        Ok(Some(left))
    }

    /// Puts a copy of what lies there into the trash, durably, with a note of what is about to
    /// be written over it.
    fn keep_aside(
        &self,
        spot: &Spot,
        readied: &Readied,
        known: &Known,
        held: &Held,
        file: &OwnedFd,
    ) -> Result<Moved, SettleError> {
        let said = |errno| self.said(&spot.path, known.stat.size, errno);
        self.room_for(&spot.path, known.stat.size)?;
        let name = format!("{}.part", self.fresh_name(known.content));
        let copied = self.copy_old(file, &name, &known.stat);
        let copied = copied.map_err(said).and_then(|content| match content == known.content {
            true => Ok(()),
            false => Err(spot.overtaken()),
        });
        if copied.is_err() {
            let _ = clear(self.staging(), &name);
        }
        copied?;
        let mut moved = Moved::new(&spot.path, known.content, known.kind, Why::Replaced);
        self.describe(&mut moved, held);
        moved.rewrite = Some(readied.name.clone());
        let moved = self.journal().begin(moved).map_err(said)?;
        let filed = moved.name();
        fs::renameat(self.staging(), name.as_str(), self.trash(), filed.as_str()).map_err(said)?;
        self.journal().sync().map_err(said)?;
        Ok(moved)
    }

    fn copy_old(&self, file: &OwnedFd, name: &str, stat: &StatKey) -> io::Result<ContentId> {
        let copy = create(self.staging(), name)?;
        copy_bytes(file, &copy)?;
        dress(&copy, stat.mode, stat.mtime_ns)?;
        hash_of(copy.as_fd()).map(|(content, _)| content)
    }

    /// Writes what differs, from the beginning to the end, then cuts what is too long.
    fn overwrite(&self, file: &OwnedFd, new: &OwnedFd) -> io::Result<()> {
        let (mut here, mut wanted) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
        let mut offset = 0;
        loop {
            let count = read_at(new.as_fd(), offset, &mut wanted)?;
            if count == 0 {
                break;
            }
            let same = read_at(file.as_fd(), offset, &mut here[..count])?;
            if here[..same] != wanted[..count] {
                // Of a piece that only grew, only what is new.
                let skip = if here[..same] == wanted[..same] { same } else { 0 };
                write_at(file.as_fd(), offset + skip as u64, &wanted[skip..count])?;
                self.pass(Moment::Rewriting);
            }
            offset += count as u64;
        }
        if size_of(file)? > offset {
            fs::ftruncate(file, offset)?;
        }
        Ok(())
    }

    /// Finishes a rewriting that was cut short, or puts the old bytes back, if the file is still
    /// the torn one; what a user made of it since stays.
    pub(super) fn recover_rewrite(
        &self,
        moved: &Moved,
        staged: &str,
        found: &mut Recovered,
    ) -> io::Result<()> {
        let name = moved.name();
        if hash_at(self.trash(), name.as_bytes())? != Some(moved.content()) {
            // Nothing was overwritten before this copy was whole.
            clear(self.trash(), &name)?;
            return self.journal().drop_entry(moved.content(), moved.seq);
        }
        if let Some(path) = moved.path() {
            self.mend_torn(moved, staged, &path)?;
            found.restored.push(path);
        }
        self.journal().keep(moved)?;
        found.trashed.push(moved.seq);
        Ok(())
    }

    fn mend_torn(&self, moved: &Moved, staged: &str, path: &RelPath) -> io::Result<()> {
        let Ok(spot) = self.spot(path) else { return Ok(()) };
        let Ok(file) = system::open_at(spot.way(), spot.name(), WRITE, 0) else { return Ok(()) };
        let stat = system::stat_of(&file)?;
        if stat.st_ino != moved.inode {
            return Ok(());
        }
        let old = system::open_at(self.trash(), moved.name().as_bytes(), system::READ, 0)?;
        let wanted = staged.split('.').next().and_then(ContentId::from_hex);
        let new = system::open_at(self.staging(), staged.as_bytes(), system::READ, 0).ok();
        let new = new.filter(|new| hash_of(new.as_fd()).is_ok_and(|(c, _)| Some(c) == wanted));
        let here = hash_of(file.as_fd())?.0;
        if here == moved.content() || new.is_none() && Some(here) == wanted {
            return Ok(());
        }
        let source = match &new {
            Some(new) if Some(here) == wanted || is_torn(&file, &old, new)? => new,
            Some(_) => return Ok(()),
            None => {
                // Somebody emptied staging: nobody can tell a torn file from an edited one.
                let name = format!("{}.part", self.fresh_name(moved.content()));
                copy_bytes(&file, &create(self.staging(), &name)?)?;
                self.file_found(self.staging(), &name, Some(path))?;
                &old
            }
        };
        self.overwrite(&file, source)?;
        let dressed = system::key_of(&system::stat_of(source)?);
        dress(&file, dressed.mode | system::extra_mode_of(&stat), dressed.mtime_ns)?;
        Ok(())
    }
}

/// Sets mode and time, makes the file durable and returns what `stat` says then.
fn dress(file: &OwnedFd, mode: u32, mtime_ns: i64) -> io::Result<StatKey> {
    if system::key_of(&system::stat_of(file)?).mode != mode {
        fs::fchmod(file, system::mode(mode))?;
    }
    fs::futimens(file, &times(mtime_ns))?;
    io::retry_on_intr(|| fs::fsync(file))?;
    Ok(system::key_of(&system::stat_of(file)?))
}

/// Tells whether each byte is that of the old or of the new version at its place; behind the
/// end of the old one, zeros are what a lost write leaves.
fn is_torn(file: &OwnedFd, old: &OwnedFd, new: &OwnedFd) -> io::Result<bool> {
    if size_of(file)? > size_of(old)?.max(size_of(new)?) {
        return Ok(false);
    }
    let mut pieces = [vec![0; PIECE_BYTES], vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]];
    let mut offset = 0;
    loop {
        let [here, before, wanted] = &mut pieces;
        let count = read_at(file.as_fd(), offset, here)?;
        if count == 0 {
            return Ok(true);
        }
        let before_count = read_at(old.as_fd(), offset, before)?;
        let wanted_count = read_at(new.as_fd(), offset, wanted)?;
        let is_ours = |at: usize| match here[at] {
            byte if at < before_count && byte == before[at] => true,
            byte if at < wanted_count && byte == wanted[at] => true,
            byte => byte == 0 && at >= before_count,
        };
        if !(0..count).all(is_ours) {
            return Ok(false);
        }
        offset += count as u64;
    }
}

fn size_of(file: &OwnedFd) -> io::Result<u64> {
    Ok(system::key_of(&system::stat_of(file)?).size)
}

/// Reads until `into` is full or the file ends; the count of bytes.
fn read_at(file: BorrowedFd<'_>, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        let rest = &mut into[done..];
        match io::retry_on_intr(|| io::pread(file, &mut *rest, offset + done as u64))? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::super::now_ms;
    use super::super::testing::{Folder, MTIME_NS, path};
    use super::*;

    /// A path that the tests' folders rewrite.
    const NAME: &str = "log.live";

    /// Pairs of versions that differ in all the ways a file can.
    fn versions() -> Vec<(&'static str, String, String)> {
        let long = |mark: &str| format!("{mark:>9}\n").repeat(30_000);
        let mut edited = long("same");
        edited.replace_range(150_000..150_004, "EDIT");
        vec![
            ("small", "old".to_owned(), "newer".to_owned()),
            ("it grew", long("same"), long("same") + &long("more")),
            ("it shrank", long("same") + &long("more"), long("same")),
            ("all is other", long("old"), long("new")),
            ("a few bytes in the middle", long("same"), edited),
            ("it is empty now", long("old"), String::new()),
            ("it was empty", String::new(), long("new")),
        ]
    }

    #[test]
    fn the_inode_stays_and_the_old_bytes_are_in_the_trash() {
        for (because, old, new) in versions() {
            let folder = Folder::in_memory(|_| {});
            folder.write(NAME, &old);
            let at = folder.root().join(NAME);
            let inode = std::fs::metadata(&at).unwrap().ino();
            let mut open = File::open(&at).unwrap();
            let step = folder.place(NAME, folder.known(NAME), &new);
            let placed = folder.take(vec![step]).unwrap();
            let now = folder.hands.root().stat(&path(NAME)).unwrap().unwrap().key;
            assert_eq!(placed[0].stat, Some(now), "{because}");
            assert_eq!((now.inode, now.mtime_ns, now.mode), (inode, MTIME_NS, 0o640), "{because}");
            let mut seen = String::new();
            open.rewind().unwrap();
            open.read_to_string(&mut seen).unwrap();
            assert!(seen == new, "who has it open sees the new bytes: {because}");
            assert_eq!(folder.trashed(), [(NAME.to_owned(), old)], "{because}");
            assert_eq!(folder.staging_names(), [""; 0], "{because}");
        }
    }

    #[test]
    fn other_paths_and_files_that_cannot_be_written_to_are_exchanged() {
        for (name, mode, because) in
            [("other", 0o644, "nobody asked for it"), (NAME, 0o444, "not to be written to")]
        {
            let folder = Folder::in_memory(|_| {});
            folder.write(name, "old");
            let at = folder.root().join(name);
            std::fs::set_permissions(&at, PermissionsExt::from_mode(mode)).unwrap();
            let is_root = mode == 0o444 && File::options().write(true).open(&at).is_ok();
            let inode = std::fs::metadata(&at).unwrap().ino();
            let step = folder.place(name, folder.known(name), "new");
            folder.take(vec![step]).unwrap();
            assert_eq!(folder.read(name).as_deref(), Some("new"), "{because}");
            let is_same = std::fs::metadata(&at).unwrap().ino() == inode;
            assert_eq!(is_same, is_root, "{because}");
            assert_eq!(folder.trashed(), [(name.to_owned(), "old".to_owned())], "{because}");
        }
    }

    #[test]
    fn what_a_user_wrote_meanwhile_is_not_written_over() {
        for moment in [Moment::Checked, Moment::Noted] {
            let folder = Folder::in_memory(|_| {});
            folder.write(NAME, "old");
            let step = folder.place(NAME, folder.known(NAME), "new");
            let user = folder.root().join(NAME);
            folder.at(moment, move || std::fs::write(&user, "unseen").unwrap());
            let answer = folder.take(vec![step]);
            assert_eq!(answer, Err(SettleError::Overtaken { path: path(NAME) }), "{moment:?}");
            assert_eq!(folder.read(NAME).as_deref(), Some("unseen"), "{moment:?}");
            assert_eq!(folder.trashed(), [], "{moment:?}");
            assert!(folder.hands.has(ContentId::of(b"new")), "staged for the next try");
        }
    }

    #[test]
    fn a_write_between_ours_is_told_as_the_users() {
        let (_, old, new) = versions().remove(3);
        let folder = Folder::in_memory(|_| {});
        folder.write(NAME, &old);
        let step = folder.place(NAME, folder.known(NAME), &new);
        let user = folder.root().join(NAME);
        folder.at(Moment::Filed, move || {
            File::options().append(true).open(&user).unwrap().write_all(b"unseen").unwrap();
        });
        let answer = folder.take(vec![step]);
        assert_eq!(answer, Err(SettleError::Overtaken { path: path(NAME) }));
        assert!(folder.read(NAME).unwrap().ends_with("unseen"));
        assert_eq!(folder.trashed().len(), 1, "the old bytes are safe");
    }

    #[test]
    fn a_crash_at_any_moment_leaves_the_old_bytes_or_the_new_ones() {
        let moments = [Moment::Checked, Moment::Noted, Moment::Asked, Moment::Rewriting];
        let mut torn = 0;
        for moment in moments.into_iter().chain([Moment::Filed, Moment::Taken]) {
            for (what, old, new) in versions() {
                for is_staged in [true, false] {
                    let because = format!("{what}, crashed at {moment:?}, staged: {is_staged}");
                    let folder = Folder::in_memory(|_| {});
                    folder.write(NAME, &old);
                    let step = folder.place(NAME, folder.known(NAME), &new);
                    folder.at(moment, || std::panic::panic_any("the crash"));
                    if catch_unwind(AssertUnwindSafe(|| folder.take(vec![step]))).is_ok() {
                        continue;
                    }
                    let here = folder.read(NAME).unwrap();
                    torn += usize::from(here != old && here != new);
                    if !is_staged {
                        for name in folder.staging_names() {
                            let at = folder.root().join(".syncd/staging").join(name);
                            std::fs::remove_file(at).unwrap();
                        }
                    }
                    let hands = folder.restarted();
                    let found = hands.recover(now_ms()).unwrap();
                    assert_eq!((&found.stuck[..], &found.copies[..]), (&[][..], &[][..]));
                    let here = folder.read(NAME).unwrap();
                    assert!(here == old || here == new, "torn: {because}");
                    assert!(folder.all_bytes().contains(&old), "the old bytes: {because}");
                    if is_staged {
                        assert!(folder.all_bytes().contains(&new), "the new bytes: {because}");
                    }
                    if is_staged && here == new {
                        let now = hands.root().stat(&path(NAME)).unwrap().unwrap().key;
                        assert_eq!((now.mtime_ns, now.mode), (MTIME_NS, 0o640), "{because}");
                    }
                }
            }
        }
        assert!(torn > 3, "some crashes tore the file: {torn}");
    }

    #[test]
    fn what_a_user_made_of_a_torn_file_stays() {
        let (_, old, new) = versions().remove(3);
        let folder = Folder::in_memory(|_| {});
        folder.write(NAME, &old);
        let step = folder.place(NAME, folder.known(NAME), &new);
        folder.at(Moment::Rewriting, || std::panic::panic_any("the crash"));
        assert!(catch_unwind(AssertUnwindSafe(|| folder.take(vec![step]))).is_err());
        let mut edited = folder.read(NAME).unwrap();
        edited.replace_range(0..4, "mine");
        let at = folder.root().join(NAME);
        File::options().write(true).open(&at).unwrap().write_all(b"mine").unwrap();
        folder.restarted().recover(now_ms()).unwrap();
        assert!(folder.read(NAME).unwrap() == edited, "an edit is an edit");
        assert!(folder.all_bytes().contains(&old) && folder.all_bytes().contains(&new));
    }
}
