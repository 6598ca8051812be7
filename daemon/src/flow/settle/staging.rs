//! Staging: bytes on their way, verified before they get a name that says what they hold.
//!
//! `.syncd/staging/` holds `HEX.part` (being written, any bytes), `HEX` (verified to hash to
//! HEX) and `HEX.NUMBER` (the same, dressed for one step of one job). All are 0600 from their
//! first moment.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, OFlags};
use rustix::io::{self, Errno};
use syncd_core::flow::settle::SettleError;
use syncd_core::model::{ContentId, Kind, RelPath};

use super::durable::is_synced_at_once;
use super::fill::{copy_bytes, hash_of, write_sparse};
use super::{Hands, LARGE_BYTES_MIN, locked};
use crate::world::disk::{self, DiskError, holes, system};

/// Why bytes could not be staged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// The bytes are others than promised. They were dropped; pull from someone else.
    #[error("the bytes came out as {found}, not {promised}")]
    WrongContent {
        /// What they should be.
        promised: ContentId,
        /// What they are.
        found: ContentId,
    },
    /// A write beyond the promised size.
    #[error("{content} has {size} bytes; a block ends at {end}")]
    TooLong {
        /// Of what.
        content: ContentId,
        /// The promised count of bytes.
        size: u64,
        /// Where the block would end.
        end: u64,
    },
    /// Another writer has the same content in work.
    #[error("{content} is being staged already")]
    Busy {
        /// Which.
        content: ContentId,
    },
    /// Neither here nor in the trash.
    #[error("{content} is not here")]
    Missing {
        /// Which.
        content: ContentId,
    },
    /// The disk is full, or would fall below its floor.
    #[error("{needed_bytes} bytes are needed; {free_bytes} are free")]
    NoRoom {
        /// How many are needed.
        needed_bytes: u64,
        /// How many are free.
        free_bytes: u64,
    },
    /// A local file that should be copied could not be read.
    #[error("the local file cannot be copied")]
    Local(#[source] DiskError),
    /// The system refused.
    #[error("{content} cannot be staged")]
    Refused {
        /// Which.
        content: ContentId,
        /// What it said.
        #[source]
        source: Errno,
    },
}

impl StageError {
    /// Returns the same as the error of a job on `path`.
    #[must_use]
    pub fn at(&self, path: &RelPath) -> SettleError {
        let path = path.clone();
        match self {
            Self::NoRoom { needed_bytes, free_bytes } => {
                SettleError::NoRoom { path, needed_bytes: *needed_bytes, free_bytes: *free_bytes }
            }
            Self::Refused { source, .. } => {
                SettleError::Trouble { path, trouble: disk::trouble_of(*source) }
            }
            Self::Busy { .. } => SettleError::Busy { path },
            Self::WrongContent { .. }
            | Self::TooLong { .. }
            | Self::Missing { .. }
            | Self::Local(_) => SettleError::NotStaged { path },
        }
    }
}

/// A content being written. Dropped without [`StagedWriter::finish`], what came stays for
/// [`Hands::begin`] to go on with.
pub struct StagedWriter {
    hands: Hands,
    content: ContentId,
    size: u64,
    fd: OwnedFd,
    resumed: bool,
}

impl Hands {
    /// Begins, or goes on, writing a content of `size` bytes. What an earlier writer left is
    /// still there and may be read back, block by block, before asking the network.
    ///
    /// # Errors
    /// [`StageError::Busy`] while another writer has it, [`StageError::NoRoom`] when it does
    /// not fit, [`StageError::Refused`].
    pub fn begin(&self, content: ContentId, size: u64) -> Result<StagedWriter, StageError> {
        self.begin_sparse(content, size, size)
    }

    /// Does what [`Hands::begin`] does for a content of which `needed_bytes` take room on the
    /// disk: the rest is zeros that are never written.
    ///
    /// # Errors
    /// Those of [`Hands::begin`].
    pub fn begin_sparse(
        &self,
        content: ContentId,
        size: u64,
        needed_bytes: u64,
    ) -> Result<StagedWriter, StageError> {
        {
            let mut writing = locked(&self.inner.writing);
            if writing.contains_key(&content) {
                return Err(StageError::Busy { content });
            }
            writing.insert(content, needed_bytes);
        }
        let opened = self.open_part(content, needed_bytes);
        if opened.is_err() {
            locked(&self.inner.writing).remove(&content);
        }
        let (fd, resumed) = opened?;
        Ok(StagedWriter { hands: self.clone(), content, size, fd, resumed })
    }

    fn open_part(&self, content: ContentId, size: u64) -> Result<(OwnedFd, bool), StageError> {
        let refused = |source| self.unstaged(content, size, source);
        let name = part_name(content);
        let open = |flags| system::open_at(self.staging(), name.as_bytes(), flags, 0o600);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (free_bytes, floor) = self.free_and_floor().map_err(refused)?;
        // Of this one and of all that are being written, what is still to come.
        let needed_bytes = self.to_come();
        if free_bytes.saturating_sub(floor) < needed_bytes {
            return Err(StageError::NoRoom { needed_bytes, free_bytes });
        }
        match open(flags | OFlags::CREATE | OFlags::EXCL) {
            Ok(fd) => Ok((fd, false)),
            Err(Errno::EXIST) => open(flags).map(|fd| (fd, true)).map_err(refused),
            Err(errno) => Err(refused(errno)),
        }
    }

    /// Stages a whole small content at once.
    ///
    /// # Errors
    /// [`StageError::WrongContent`] when `bytes` are others, and those of [`Hands::begin`].
    pub fn put_small(&self, content: ContentId, bytes: &[u8]) -> Result<(), StageError> {
        let found = ContentId::of(bytes);
        if found != content {
            return Err(StageError::WrongContent { promised: content, found });
        }
        let writer = self.begin(content, bytes.len() as u64)?;
        writer.cut(0)?;
        writer.write_at(0, bytes)?;
        // Zeros at the end were left out.
        writer.cut(bytes.len() as u64)?;
        writer.adopt()
    }

    /// Tells whether a content is staged whole and verified.
    #[must_use]
    pub fn has(&self, content: ContentId) -> bool {
        let stat = system::stat_at(self.staging(), content.hex().as_bytes());
        matches!(stat, Ok(Some(stat)) if system::kind_of(&stat) == Some(Kind::File))
    }

    /// Returns how long the beginning of a content is that was staged in part; it may have holes.
    #[must_use]
    pub fn partial(&self, content: ContentId) -> Option<u64> {
        let stat = system::stat_at(self.staging(), part_name(content).as_bytes()).ok()??;
        Some(system::key_of(&stat).size)
    }

    /// Reads from a staged content, to hand it on or to merge it; the count of bytes read.
    ///
    /// # Errors
    /// [`StageError::Missing`] when it is not staged, [`StageError::Refused`].
    pub fn read_staged(
        &self,
        content: ContentId,
        offset: u64,
        into: &mut [u8],
    ) -> Result<usize, StageError> {
        let refused = |source| self.unstaged(content, 0, source);
        let fd = system::open_at(self.staging(), content.hex().as_bytes(), system::READ, 0);
        let fd = match fd {
            Err(Errno::NOENT) => return Err(StageError::Missing { content }),
            answer => answer.map_err(refused)?,
        };
        io::retry_on_intr(|| io::pread(&fd, &mut *into, offset)).map_err(refused)
    }

    /// Drops what was staged of a content that is no longer wanted.
    pub fn discard(&self, content: ContentId) {
        for name in [content.hex(), part_name(content)] {
            // Gone already is as good; anything else shows on the next restart.
            let _ = fs::unlinkat(self.staging(), name.as_str(), AtFlags::empty());
        }
    }

    /// Stages what a local file holds, if it still holds `content`: blocks are shared where the
    /// file system can. The copy is verified, so the file may change meanwhile.
    ///
    /// # Errors
    /// [`StageError::Local`] when it cannot be opened, [`StageError::WrongContent`] when it holds
    /// something else by now, and those of [`Hands::begin`].
    pub fn from_local(&self, path: &RelPath, content: ContentId) -> Result<(), StageError> {
        let from = self.root().open_file(path).map_err(StageError::Local)?;
        self.stage_copy(&from, content)
    }

    /// Stages a content from the trash.
    ///
    /// # Errors
    /// [`StageError::Missing`] when it is not there, and those of [`Hands::from_local`].
    pub fn from_trash(&self, content: ContentId) -> Result<(), StageError> {
        let names = self.journal().names_of(content);
        for name in names {
            let Ok(from) = system::open_at(self.trash(), name.as_bytes(), system::READ, 0) else {
                continue;
            };
            match self.stage_copy(&from, content) {
                // Written to through an old descriptor; another version may still be whole.
                Err(StageError::WrongContent { .. }) => {}
                answer => return answer,
            }
        }
        Err(StageError::Missing { content })
    }

    pub(super) fn stage_copy(&self, from: &OwnedFd, content: ContentId) -> Result<(), StageError> {
        let stat = system::stat_of(from).map_err(|e| self.unstaged(content, 0, e))?;
        let size = system::key_of(&stat).size;
        let needed_bytes = holes::held_bytes(from.as_fd()).map_or(size, |held| held.min(size));
        let writer = self.begin_sparse(content, size, needed_bytes)?;
        writer.cut(0)?;
        copy_bytes(from, &writer.fd).map_err(|e| self.unstaged(content, writer.size, e))?;
        writer.verify_and_adopt(None)
    }

    /// Makes staged contents durable: each by itself up to 8, else all of the disk at once.
    ///
    /// # Errors
    /// [`StageError::Missing`] when one is not staged. [`StageError::Refused`] when the disk
    /// failed; then the files concerned are dropped, since the kernel forgets what it could not
    /// write, and must be fetched again.
    pub fn make_durable(&self, contents: &[ContentId]) -> Result<(), StageError> {
        for content in contents {
            if !self.has(*content) {
                return Err(StageError::Missing { content: *content });
            }
        }
        let failed = |content: ContentId, source| StageError::Refused { content, source };
        if is_synced_at_once(contents.len()) {
            return system::sync_file_system(self.staging()).map_err(|errno| {
                contents.iter().for_each(|content| self.discard(*content));
                failed(contents[0], errno)
            });
        }
        for content in contents {
            let fd = self.open_staged(*content).map_err(|e| failed(*content, e))?;
            if let Err(errno) = io::retry_on_intr(|| fs::fsync(&fd)) {
                self.discard(*content);
                return Err(failed(*content, errno));
            }
        }
        let last = contents.last().copied().unwrap_or(ContentId::NONE);
        system::sync_directory(self.staging()).map_err(|e| failed(last, e))
    }

    fn open_staged(&self, content: ContentId) -> io::Result<OwnedFd> {
        system::open_at(self.staging(), content.hex().as_bytes(), system::READ, 0)
    }

    fn unstaged(&self, content: ContentId, needed_bytes: u64, source: Errno) -> StageError {
        if matches!(source, Errno::NOSPC | Errno::DQUOT) {
            let free_bytes = self.free_bytes().unwrap_or_default();
            return StageError::NoRoom { needed_bytes, free_bytes };
        }
        StageError::Refused { content, source }
    }
}

impl StagedWriter {
    /// Tells whether an earlier writer had begun.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Writes a block at its offset, in any order. One of zeros becomes a hole.
    ///
    /// # Errors
    /// [`StageError::TooLong`] beyond the promised size, [`StageError::NoRoom`],
    /// [`StageError::Refused`].
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StageError> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.size {
            return Err(StageError::TooLong { content: self.content, size: self.size, end });
        }
        write_sparse(self.fd.as_fd(), offset, bytes).map_err(|e| self.refused(e))
    }

    /// Reads back what lies at an offset, to find out what an earlier writer left; the count of
    /// bytes read, less than asked at the end. Holes read as zeros.
    ///
    /// # Errors
    /// [`StageError::Refused`].
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, StageError> {
        io::retry_on_intr(|| io::pread(&self.fd, &mut *into, offset)).map_err(|e| self.refused(e))
    }

    /// Returns the descriptor, for bytes that come from another file by clone or copy.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Checks all bytes against the content id and gives the file its name. A large
    /// one is made durable here, where that holds up no other job.
    ///
    /// # Errors
    /// [`StageError::WrongContent`] when they are others; they are dropped. Else
    /// [`StageError::Refused`].
    pub fn finish(self) -> Result<(), StageError> {
        let size = self.size;
        if size > LARGE_BYTES_MIN {
            io::retry_on_intr(|| fs::fdatasync(&self.fd)).map_err(|e| self.refused(e))?;
        }
        self.verify_and_adopt(Some(size))
    }

    fn verify_and_adopt(self, size: Option<u64>) -> Result<(), StageError> {
        if let Some(size) = size {
            // An earlier writer may have been promised another length.
            self.cut(size)?;
        }
        let (found, _) = hash_of(self.fd.as_fd()).map_err(|e| self.refused(e))?;
        if found != self.content {
            let name = part_name(self.content);
            let _ = fs::unlinkat(self.hands.staging(), name.as_str(), AtFlags::empty());
            return Err(StageError::WrongContent { promised: self.content, found });
        }
        self.adopt()
    }

    /// Cuts or stretches the file to `size` bytes.
    fn cut(&self, size: u64) -> Result<(), StageError> {
        fs::ftruncate(&self.fd, size).map_err(|e| self.refused(e))
    }

    /// Gives verified bytes their name.
    fn adopt(&self) -> Result<(), StageError> {
        let (staging, part) = (self.hands.staging(), part_name(self.content));
        fs::renameat(staging, part.as_str(), staging, self.content.hex().as_str())
            .map_err(|e| self.refused(e))
    }

    fn refused(&self, source: Errno) -> StageError {
        self.hands.unstaged(self.content, self.size, source)
    }
}

impl Drop for StagedWriter {
    fn drop(&mut self) {
        locked(&self.hands.inner.writing).remove(&self.content);
    }
}

/// The name of a content that is not whole yet.
pub(super) fn part_name(content: ContentId) -> String {
    format!("{}.part", content.hex())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, path};
    use super::*;

    #[test]
    fn blocks_come_in_any_order_and_are_verified_together() {
        let folder = Folder::new();
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let content = ContentId::of(&bytes);
        let writer = folder.hands.begin(content, bytes.len() as u64).unwrap();
        writer.write_at(1_000_000, &bytes[1_000_000..]).unwrap();
        assert_eq!(folder.hands.begin(content, 1).err(), Some(StageError::Busy { content }));
        drop(writer);
        assert_eq!(folder.hands.partial(content), Some(3_000_000));
        assert!(!folder.hands.has(content));

        let writer = folder.hands.begin(content, bytes.len() as u64).unwrap();
        assert!(writer.is_resumed());
        let mut back = vec![0; 100];
        assert_eq!(writer.read_at(1_000_000, &mut back), Ok(100));
        assert_eq!(back, bytes[1_000_000..1_000_100]);
        let end = 3_000_001;
        let too_long = StageError::TooLong { content, size: 3_000_000, end };
        assert_eq!(writer.write_at(end - 1, b"x"), Err(too_long));
        writer.write_at(0, &bytes[..1_000_000]).unwrap();
        writer.finish().unwrap();
        assert!(folder.hands.has(content));
        assert_eq!(folder.hands.read_staged(content, 2_999_999, &mut back), Ok(1));
        folder.hands.make_durable(&[content]).unwrap();
        assert_eq!(folder.staging_names(), [content.hex()]);
    }

    #[test]
    fn other_bytes_than_promised_are_dropped() {
        let folder = Folder::new();
        let content = ContentId::of(b"promised");
        for (bytes, because) in [
            (&b"pr0mised"[..], "one byte off"),
            (b"promise", "too short, filled with zeros"),
            (b"", "nothing came"),
        ] {
            let writer = folder.hands.begin(content, 8).unwrap();
            writer.write_at(0, bytes).unwrap();
            let finished = writer.finish();
            assert!(matches!(finished, Err(StageError::WrongContent { .. })), "{because}");
            assert_eq!(folder.staging_names(), [""; 0], "{because}");
        }
        let small = folder.hands.put_small(content, b"other");
        assert!(matches!(small, Err(StageError::WrongContent { .. })));
        let missing = folder.hands.make_durable(&[content]);
        assert_eq!(missing, Err(StageError::Missing { content }));
    }

    #[test]
    fn staged_bytes_are_nobody_elses_from_the_first_moment() {
        let folder = Folder::new();
        let mode = |name: &str| {
            let at = folder.root().join(".syncd/staging").join(name);
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(at).unwrap().permissions())
                & 0o777
        };
        let content = ContentId::of(b"secret");
        let writer = folder.hands.begin(content, 6).unwrap();
        assert_eq!(mode(&part_name(content)), 0o600);
        writer.write_at(0, b"secret").unwrap();
        writer.finish().unwrap();
        assert_eq!(mode(&content.hex()), 0o600);
    }

    #[test]
    fn what_is_here_already_is_staged_without_the_network() {
        let folder = Folder::new();
        folder.write("a", "here");
        let here = ContentId::of(b"here");
        folder.hands.from_local(&path("a"), here).unwrap();
        assert!(folder.hands.has(here));
        let other = ContentId::of(b"other");
        let wrong = folder.hands.from_local(&path("a"), other);
        assert_eq!(wrong, Err(StageError::WrongContent { promised: other, found: here }));
        let gone = folder.hands.from_local(&path("gone"), other);
        assert!(matches!(gone, Err(StageError::Local(_))));

        folder.hands.discard(here);
        assert_eq!(folder.hands.from_trash(here), Err(StageError::Missing { content: here }));
        folder.take(vec![folder.place("a", folder.known("a"), "new")]).unwrap();
        folder.hands.from_trash(here).unwrap();
        assert!(folder.hands.has(here));
        assert_eq!(folder.trashed().len(), 1, "the trash still has it");
        assert_eq!(folder.restarted().from_trash(here), Ok(()));
        folder.hands.from_local(&path("a"), ContentId::of(b"new")).unwrap();
    }

    #[test]
    fn what_does_not_fit_is_refused_before_the_first_byte() {
        let folder = Folder::new();
        let content = ContentId::of(b"huge");
        let huge = folder.hands.begin(content, u64::MAX / 2);
        assert!(matches!(huge.err(), Some(StageError::NoRoom { .. })));
        assert_eq!(folder.staging_names(), [""; 0]);
        let room = folder.hands.room_for(&path("a"), u64::MAX / 2);
        assert!(matches!(room, Err(SettleError::NoRoom { .. })), "{room:?}");
        assert_eq!(folder.hands.room_for(&path("a"), 1), Ok(()));
    }
}
