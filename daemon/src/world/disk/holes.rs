//! Holes: stretches of a file for which the disk holds no bytes, and which read as zeros.

use std::os::fd::BorrowedFd;

use rustix::fs::{self, SeekFrom};
use rustix::io::Errno;

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
    /// How long it is, in bytes; at least 1.
    pub bytes: u64,
    /// Whether it reads as zeros without being read.
    pub is_hole: bool,
}

/// The stretches of a file from its start, without a gap.
///
/// RACE: a stretch may be written to right after it was told. Whoever must know asks for the
/// times of the file before and after.
#[derive(Debug)]
pub struct Stretches<'a> {
    fd: BorrowedFd<'a>,
    at: u64,
    size: u64,
    /// The descriptor's offset before, which asking moves; `None` where nothing is asked.
    offset: Option<u64>,
}

/// A file below this size is read whole: asking costs as much.
const ASKED_BYTES_MIN: u64 = 128 << 10;

/// Lists the stretches of the first `size` bytes of a file. Where the file system knows no holes
/// all is one stretch of bytes. The descriptor's offset is put back when the list is dropped.
pub fn stretches(fd: BorrowedFd<'_>, size: u64) -> Stretches<'_> {
    let offset = may_have_holes(fd, size).then(|| fs::tell(fd).ok()).flatten();
    Stretches { fd, at: 0, size, offset }
}

/// Tells whether the disk holds fewer bytes than the file is long.
fn may_have_holes(fd: BorrowedFd<'_>, size: u64) -> bool {
    size >= ASKED_BYTES_MIN && held_bytes(fd).is_some_and(|held| held < size)
}

/// Returns how many bytes of the disk a file takes; `None` when the system does not tell.
#[must_use]
pub fn held_bytes(fd: BorrowedFd<'_>) -> Option<u64> {
    let blocks = fs::fstat(fd).ok()?.st_blocks;
    // POSIX counts in 512 bytes, whatever the file system's own blocks are.
    u64::try_from(blocks).ok().map(|blocks| blocks.saturating_mul(512))
}

/// Makes a stretch of a file of our own a hole, within the file or beyond its end.
///
/// # Errors
/// `EOPNOTSUPP` and its kin where the file system has no holes.
#[cfg(target_os = "linux")]
pub fn punch(fd: BorrowedFd<'_>, offset: u64, bytes: u64) -> rustix::io::Result<()> {
    let flags = fs::FallocateFlags::PUNCH_HOLE | fs::FallocateFlags::KEEP_SIZE;
    fs::fallocate(fd, flags, offset, bytes)
}

/// Makes a stretch of a file of our own a hole, where the kernel can.
///
/// # Errors
/// Always `EOPNOTSUPP`.
#[cfg(not(target_os = "linux"))]
pub fn punch(_fd: BorrowedFd<'_>, _offset: u64, _bytes: u64) -> rustix::io::Result<()> {
    Err(Errno::OPNOTSUPP)
}

impl Stretches<'_> {
    /// Finds where the stretch that begins at `at` ends, and whether it is a hole.
    fn end(&self) -> (u64, bool) {
        if self.offset.is_none() {
            return (self.size, false);
        }
        match fs::seek(self.fd, SeekFrom::Data(self.at)) {
            Ok(data) if data > self.at => (data, true),
            Ok(_) => {
                let hole = fs::seek(self.fd, SeekFrom::Hole(self.at));
                (hole.ok().filter(|hole| *hole > self.at).unwrap_or(self.size), false)
            }
            // Nothing but a hole from here on.
            Err(Errno::NXIO) => (self.size, true),
            Err(_) => (self.size, false),
        }
    }
}

impl Iterator for Stretches<'_> {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        if self.at >= self.size {
            return None;
        }
        let (end, is_hole) = self.end();
        let (offset, end) = (self.at, end.min(self.size));
        self.at = end;
        Some(Stretch { offset, bytes: end - offset, is_hole })
    }
}

impl Drop for Stretches<'_> {
    fn drop(&mut self) {
        if let Some(offset) = self.offset {
            // Nobody here reads by the offset; it stays only out of courtesy.
            let _ = fs::seek(self.fd, SeekFrom::Start(offset));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn stretches_cover_the_file_and_tell_its_holes() {
        for (size, written, holes, because) in [
            (0, &[][..], &[][..], "empty"),
            (MIB, &[][..], &[(0, MIB)][..], "nothing but a hole"),
            (3 * MIB, &[MIB][..], &[(0, MIB), (2 * MIB, MIB)][..], "bytes in the middle"),
            (2 * MIB, &[0, MIB][..], &[][..], "no hole"),
            (1000, &[][..], &[][..], "too small to ask"),
        ] {
            let file = tempfile::tempfile().unwrap();
            file.set_len(size).unwrap();
            for at in written {
                file.write_all_at(&vec![7; MIB as usize], *at).unwrap();
            }
            let all: Vec<Stretch> = stretches(file.as_fd(), size).collect();
            let mut at = 0;
            for stretch in &all {
                assert_eq!(stretch.offset, at, "{because}: {all:?}");
                at += stretch.bytes;
            }
            assert_eq!(at, size, "{because}: {all:?}");
            let found: Vec<(u64, u64)> =
                all.iter().filter(|s| s.is_hole).map(|s| (s.offset, s.bytes)).collect();
            assert_eq!(found, holes, "{because}");
        }
    }

    #[test]
    fn a_hole_is_punched_and_the_offset_stays() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![7; 2 * MIB as usize], 0).unwrap();
        punch(file.as_fd(), 0, MIB).unwrap();
        assert!(held_bytes(file.as_fd()).unwrap() < 2 * MIB);
        let first = stretches(file.as_fd(), 2 * MIB).next().unwrap();
        assert_eq!(first, Stretch { offset: 0, bytes: MIB, is_hole: true });
        assert_eq!(fs::tell(File::as_fd(&file)), Ok(0));
    }
}
