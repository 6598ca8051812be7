//! Moving bytes between two descriptors, and naming what a descriptor holds.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs;
use rustix::io::{self, Errno};
use syncd_core::model::{ContentId, Kind};

use crate::world::disk::system;

/// Bytes read at once when hashing or copying: large enough to keep both cores hashing.
const READ_BYTES: usize = 1 << 20;

/// From this many bytes at once hashing on several threads pays.
const PARALLEL_BYTES_MIN: usize = 256 << 10;

/// Bytes that the kernel is asked to copy at once.
const COPY_BYTES: usize = 64 << 20;

/// Computes the content id of a file from its start, and how long it is.
pub(super) fn hash_of(fd: BorrowedFd<'_>) -> io::Result<(ContentId, u64)> {
    let mut hasher = blake3::Hasher::new();
    let size = u64::try_from(fs::fstat(fd)?.st_size).unwrap_or_default();
    let want = usize::try_from(size).unwrap_or(READ_BYTES).clamp(1, READ_BYTES);
    let mut buffer = vec![0; want];
    let mut offset = 0;
    loop {
        let read = io::retry_on_intr(|| io::pread(fd, &mut buffer[..], offset))?;
        if read == 0 {
            return Ok((ContentId(*hasher.finalize().as_bytes()), offset));
        }
        offset += read as u64;
        if read >= PARALLEL_BYTES_MIN {
            hasher.update_rayon(&buffer[..read]);
        } else {
            hasher.update(&buffer[..read]);
        }
    }
}

/// Computes the content id of the file or symlink at a name; nothing for other kinds.
pub(super) fn hash_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<ContentId>> {
    let Some(stat) = system::stat_at(dir, name)? else { return Ok(None) };
    match system::kind_of(&stat) {
        Some(Kind::File) => {
            let fd = system::open_at(dir, name, system::READ, 0)?;
            hash_of(fd.as_fd()).map(|(content, _)| Some(content))
        }
        Some(Kind::Symlink) => {
            let target = io::retry_on_intr(|| fs::readlinkat(dir, name, Vec::new()))?;
            Ok(Some(ContentId::of(target.as_bytes())))
        }
        Some(Kind::Directory | Kind::Tombstone) | None => Ok(None),
    }
}

/// Makes the empty file `to` hold what `from` holds: sharing blocks, else copied by the kernel,
/// else by hand.
pub(super) fn copy_bytes(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    if system::clone_bytes(from.as_fd(), to.as_fd()).is_ok() {
        return Ok(());
    }
    let mut copied = 0_u64;
    loop {
        match system::copy_range(from.as_fd(), to.as_fd(), COPY_BYTES) {
            Ok(0) if copied == 0 => return copy_by_hand(from, to),
            Ok(0) => return Ok(()),
            Ok(count) => copied += count as u64,
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM)
                if copied == 0 =>
            {
                return copy_by_hand(from, to);
            }
            Err(errno) => return Err(errno),
        }
    }
}

fn copy_by_hand(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    loop {
        let read = io::retry_on_intr(|| io::pread(from, &mut buffer[..], offset))?;
        if read == 0 {
            return Ok(());
        }
        write_at(to.as_fd(), offset, &buffer[..read])?;
        offset += read as u64;
    }
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_at(fd: BorrowedFd<'_>, offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    let mut offset = offset;
    while !bytes.is_empty() {
        let written = io::retry_on_intr(|| io::pwrite(fd, bytes, offset))?;
        if written == 0 {
            return Err(Errno::IO);
        }
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}
