//! Moving bytes between two descriptors, and naming what a descriptor holds.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs;
use rustix::io::{self, Errno};
use syncd_core::model::{ContentId, Kind};

use crate::world::disk::{holes, system};

/// Bytes read at once when hashing or copying: large enough to keep both cores hashing.
const READ_BYTES: usize = 1 << 20;

/// From this many bytes at once hashing on several threads pays.
const PARALLEL_BYTES_MIN: usize = 256 << 10;

/// What a hole reads as.
static ZEROS: [u8; READ_BYTES] = [0; READ_BYTES];

/// Fewer zeros than this are written: a hole must be worth its place in the file's map.
const HOLE_BYTES_MIN: usize = 16 << 10;

/// Bytes that the kernel is asked to copy at once.
const COPY_BYTES: usize = 64 << 20;

/// Computes the content id of a file from its start, and how long it is.
pub(super) fn hash_of(fd: BorrowedFd<'_>) -> io::Result<(ContentId, u64)> {
    let mut hasher = blake3::Hasher::new();
    let size = u64::try_from(fs::fstat(fd)?.st_size).unwrap_or_default();
    let want = usize::try_from(size).unwrap_or(READ_BYTES).clamp(1, READ_BYTES);
    let mut buffer = vec![0; want];
    let mut offset = 0;
    let mut hash = |bytes: &[u8]| {
        if bytes.len() >= PARALLEL_BYTES_MIN {
            hasher.update_rayon(bytes);
        } else {
            hasher.update(bytes);
        }
    };
    for hole in holes::stretches(fd, size).filter(|stretch| stretch.is_hole) {
        read_until(fd, &mut offset, hole.offset, &mut buffer, &mut hash)?;
        if offset < hole.offset {
            // It was cut short meanwhile; what follows finds its end.
            break;
        }
        let end = hole.offset + hole.bytes;
        while offset < end {
            let count = usize::try_from(end - offset).unwrap_or(READ_BYTES).min(READ_BYTES);
            hash(&ZEROS[..count]);
            offset += count as u64;
        }
    }
    read_until(fd, &mut offset, u64::MAX, &mut buffer, &mut hash)?;
    Ok((ContentId(*hasher.finalize().as_bytes()), offset))
}

/// Reads from `offset` up to `end` or the end of the file, and moves `offset` there.
fn read_until(
    fd: BorrowedFd<'_>,
    offset: &mut u64,
    end: u64,
    buffer: &mut [u8],
    take: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    while *offset < end {
        let want = usize::try_from(end - *offset).unwrap_or(usize::MAX).min(buffer.len());
        let read = io::retry_on_intr(|| io::pread(fd, &mut buffer[..want], *offset))?;
        if read == 0 {
            return Ok(());
        }
        take(&buffer[..read]);
        *offset += read as u64;
    }
    Ok(())
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
/// else by hand. What is a hole stays one.
pub(super) fn copy_bytes(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    if system::clone_bytes(from.as_fd(), to.as_fd()).is_ok() {
        return Ok(());
    }
    let size = u64::try_from(fs::fstat(from)?.st_size).unwrap_or_default();
    let mut end = 0;
    for bytes in holes::stretches(from.as_fd(), size).filter(|stretch| !stretch.is_hole) {
        end = copy_stretch(from, to, bytes.offset, bytes.offset + bytes.bytes)?;
    }
    // What was appended meanwhile comes along; whoever must know compares the bytes.
    let appended = copy_stretch(from, to, size, u64::MAX)? > size;
    if end < size && !appended {
        // It ends in a hole.
        fs::ftruncate(to, size)?;
    }
    Ok(())
}

/// Copies the bytes from `begin` up to `end` or the end of the file to the same place; returns
/// where it stopped.
fn copy_stretch(from: &OwnedFd, to: &OwnedFd, begin: u64, end: u64) -> io::Result<u64> {
    let mut offset = begin;
    while offset < end {
        let want = usize::try_from(end - offset).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        match system::copy_range(from.as_fd(), to.as_fd(), offset, want) {
            // Some file systems copy nothing where they should say that they cannot.
            Ok(0) if offset == begin => return copy_by_hand(from, to, offset, end),
            Ok(0) => break,
            Ok(count) => offset += count as u64,
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                return copy_by_hand(from, to, offset, end);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(offset)
}

fn copy_by_hand(from: &OwnedFd, to: &OwnedFd, mut offset: u64, end: u64) -> io::Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    while offset < end {
        let want = usize::try_from(end - offset).unwrap_or(READ_BYTES).min(READ_BYTES);
        let read = io::retry_on_intr(|| io::pread(from, &mut buffer[..want], offset))?;
        if read == 0 {
            break;
        }
        write_at(to.as_fd(), offset, &buffer[..read])?;
        offset += read as u64;
    }
    Ok(offset)
}

/// Writes all of `bytes` at `offset`; a long run of zeros as a hole, where the file system can.
pub(super) fn write_sparse(fd: BorrowedFd<'_>, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let is_zero = bytes.len() >= HOLE_BYTES_MIN && bytes.iter().all(|byte| *byte == 0);
    if is_zero && holes::punch(fd, offset, bytes.len() as u64).is_ok() {
        return Ok(());
    }
    write_at(fd, offset, bytes)
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
