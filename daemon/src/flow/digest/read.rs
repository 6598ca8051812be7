//! Stable reads: the digest of a file that stood still while it was read.
//!
//! # Invariants
//! - A digest is never of a mix of two versions, as far as `stat` can tell: size, times and inode
//!   are the same before and after.
//! - Files are read with `pread`, never mapped: another process may truncate them at any moment.
//! - A hole is hashed as the zeros it stands for, and not read.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io;
use syncd_core::flow::digest::{BlockList, Cutter, average_for};
use syncd_core::flow::settle::Trouble;
use syncd_core::model::{ContentId, StatKey};

use super::trust::{is_fresh, now_ns};
use crate::world::disk::{holes, system, trouble_of};

/// What a file held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// BLAKE3 of all its bytes.
    pub content: ContentId,
    /// What `stat` said, before and after the bytes were read.
    pub stat: StatKey,
    /// Its blocks, if it has more than one.
    pub blocks: Option<BlockList>,
    /// Whether the file was so new that `stat` might not show the next write. Its `stat` must not
    /// be remembered as proof of its content; read it again a little later.
    pub fresh: bool,
}

/// Why a file has no digest now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// It changed while it was being read. Look again when it is quiet.
    #[error("it changed while it was being read")]
    Changed,
    /// It was deleted or replaced while it was being read. Look again.
    #[error("it was deleted while it was being read")]
    Gone,
    /// The system refused to read it.
    #[error("{0}")]
    Trouble(Trouble),
}

/// Bytes read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// What a hole reads as.
static ZEROS: [u8; BUFFER_BYTES] = [0; BUFFER_BYTES];

/// After so many buffers the file is asked whether it still is the same, so that one which is
/// being written is not read in vain to its end.
const BUFFERS_UNASKED: u64 = 64;

/// A fresh file of more than this is waited for rather than read twice.
const WAIT_BYTES_MIN: u64 = 4 << 20;

/// Reads a regular file from its begin to its end and digests it in the one pass. `average_before`
/// is the average block size its last version was cut with; `window_ns` is what
/// [`super::window_ns`] found for its file system. The file's offset stays where it is.
///
/// # Errors
/// [`DigestError`]: the file changed or was deleted meanwhile, or could not be read.
pub fn digest_file(
    fd: &OwnedFd,
    average_before: Option<u32>,
    window_ns: i64,
) -> Result<Digest, DigestError> {
    digest_in_steps(fd, average_before, window_ns, &mut || {})
}

/// Does what [`digest_file`] does and calls `step` after each read.
pub(crate) fn digest_in_steps(
    fd: &OwnedFd,
    average_before: Option<u32>,
    window_ns: i64,
    step: &mut dyn FnMut(),
) -> Result<Digest, DigestError> {
    let (mut stat, mut fresh) = look(fd, window_ns)?;
    if fresh && stat.size > WAIT_BYTES_MIN {
        std::thread::sleep(Duration::from_nanos(window_ns.unsigned_abs()));
        (stat, fresh) = look(fd, window_ns)?;
    }
    let (content, blocks) = match average_for(stat.size, average_before) {
        None => (read_whole(fd, &stat, step)?, None),
        Some(average) => {
            let (content, blocks) = read_blocks(fd, &stat, average, step)?;
            (content, (blocks.blocks.len() > 1).then_some(blocks))
        }
    };
    unchanged(fd, &stat)?;
    Ok(Digest { content, stat, blocks, fresh })
}

fn look(fd: &OwnedFd, window_ns: i64) -> Result<(StatKey, bool), DigestError> {
    let now = now_ns();
    let stat = system::key_of(&system::stat_of(fd).map_err(trouble)?);
    Ok((stat, is_fresh(&stat, now, window_ns)))
}

/// Reads a file that is one block.
fn read_whole(
    fd: &OwnedFd,
    stat: &StatKey,
    step: &mut dyn FnMut(),
) -> Result<ContentId, DigestError> {
    // One block is 64 KiB at most.
    let mut bytes = vec![0; usize::try_from(stat.size).unwrap_or_default()];
    fill(fd, &mut bytes, 0)?;
    step();
    Ok(ContentId::of(&bytes))
}

fn read_blocks(
    fd: &OwnedFd,
    stat: &StatKey,
    average: u32,
    step: &mut dyn FnMut(),
) -> Result<(ContentId, BlockList), DigestError> {
    let mut cutter = Cutter::new(average);
    let mut whole = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut asked = 0;
    for stretch in holes::stretches(fd.as_fd(), stat.size) {
        let (mut at, end) = (stretch.offset, stretch.offset + stretch.bytes);
        if stretch.is_hole {
            cutter.feed_zeros(stretch.bytes);
        }
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let bytes = &mut buffer[..left.min(BUFFER_BYTES)];
            if stretch.is_hole {
                whole.update_rayon(&ZEROS[..bytes.len()]);
            } else {
                fill(fd, bytes, at)?;
                step();
                whole.update(bytes);
                cutter.feed(bytes);
            }
            at += bytes.len() as u64;
            if at - asked >= BUFFER_BYTES as u64 * BUFFERS_UNASKED {
                asked = at;
                unchanged(fd, stat)?;
            }
        }
    }
    Ok((ContentId(*whole.finalize().as_bytes()), cutter.finish()))
}

/// Fills `bytes` from offset `at`; a file that ends before was truncated.
fn fill(fd: &OwnedFd, bytes: &mut [u8], at: u64) -> Result<(), DigestError> {
    let mut done = 0;
    while done < bytes.len() {
        let offset = at + done as u64;
        match io::retry_on_intr(|| io::pread(fd.as_fd(), &mut bytes[done..], offset)) {
            Ok(0) => return Err(DigestError::Changed),
            Ok(count) => done += count,
            Err(errno) => return Err(trouble(errno)),
        }
    }
    Ok(())
}

fn unchanged(fd: &OwnedFd, before: &StatKey) -> Result<(), DigestError> {
    let stat = system::stat_of(fd).map_err(trouble)?;
    if system::links_of(&stat) == 0 {
        return Err(DigestError::Gone);
    }
    if system::key_of(&stat) == *before { Ok(()) } else { Err(DigestError::Changed) }
}

fn trouble(errno: io::Errno) -> DigestError {
    DigestError::Trouble(trouble_of(errno))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::Path;
    use std::sync::mpsc;

    use super::super::COARSE_WINDOW_NS;
    use super::*;

    const MIB: usize = 1 << 20;

    fn open(at: &Path) -> OwnedFd {
        File::open(at).unwrap().into()
    }

    #[test]
    fn a_quiet_file_is_digested_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("f");
        for (size, blocks, because) in [
            (0, false, "empty"),
            (1, false, "one byte"),
            (64 << 10, false, "the greatest single block"),
            ((64 << 10) + 1, false, "cut, but no cut falls in bytes that are all alike"),
            (MIB, true, "exactly one buffer"),
            (MIB + 1, true, "a byte over the buffer"),
            (3 * MIB - 1, true, "a byte short of the buffer"),
        ] {
            let bytes = vec![7; size];
            fs::write(&at, &bytes).unwrap();
            let digest = digest_file(&open(&at), None, 0).unwrap();
            assert_eq!(digest.content, ContentId::of(&bytes), "{because}");
            assert_eq!(digest.blocks.is_some(), blocks, "{because}");
            assert_eq!(digest.stat.size, size as u64, "{because}");
            assert!(!digest.fresh && digest.blocks.is_none_or(|b| b.is_sound(size as u64)));
        }
    }

    #[test]
    fn a_new_file_is_fresh_and_a_large_one_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        for (size, fresh) in [(10, true), (5 * MIB, false)] {
            let at = dir.path().join("f");
            fs::write(&at, vec![7; size]).unwrap();
            let digest = digest_file(&open(&at), None, COARSE_WINDOW_NS).unwrap();
            // Should this machine have stalled for a tick, neither is fresh any more.
            let late = now_ns() - digest.stat.ctime_ns > COARSE_WINDOW_NS;
            assert!(digest.fresh == fresh || late, "{size} bytes");
        }
    }

    #[test]
    fn a_hole_is_digested_as_the_zeros_it_reads_as() {
        use std::os::unix::fs::FileExt;
        let dir = tempfile::tempdir().unwrap();
        let (sparse, dense) = (dir.path().join("sparse"), dir.path().join("dense"));
        for (size, written, because) in [
            (5 * MIB, &[][..], "nothing but a hole"),
            (5 * MIB + 1, &[MIB][..], "holes on both sides"),
            (40 * MIB, &[0, 30 * MIB + 7][..], "another rung, bytes at odd places"),
        ] {
            let file = File::create(&sparse).unwrap();
            file.set_len(size as u64).unwrap();
            for at in written {
                file.write_all_at(&[9; 5000], *at as u64).unwrap();
            }
            fs::write(&dense, fs::read(&sparse).unwrap()).unwrap();
            let [one, other] = [&sparse, &dense].map(|at| digest_file(&open(at), None, 0).unwrap());
            assert_eq!((one.content, one.blocks), (other.content, other.blocks), "{because}");
        }
    }

    /// Waits until the file system's clock has ticked since `at` was written.
    fn await_tick(at: &Path) {
        use std::os::unix::fs::MetadataExt;
        let stamp = |at: &Path| {
            let stat = fs::metadata(at).unwrap();
            (stat.ctime(), stat.ctime_nsec())
        };
        let (before, probe) = (stamp(at), at.with_extension("probe"));
        while {
            fs::write(&probe, "x").unwrap();
            stamp(&probe) <= before
        } {}
    }

    #[test]
    fn what_changes_while_it_is_read_has_no_digest() {
        type Do = fn(&Path);
        let append: Do = |at| {
            File::options().append(true).open(at).unwrap().write_all(b"more").unwrap();
        };
        let overwrite: Do = |at| {
            File::options().write(true).open(at).unwrap().write_all(b"other").unwrap();
        };
        let truncate: Do = |at| File::options().write(true).open(at).unwrap().set_len(9).unwrap();
        let touch: Do = |at| {
            let file = File::options().write(true).open(at).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        };
        let remove: Do = |at| fs::remove_file(at).unwrap();
        let replace: Do = |at| {
            fs::write(at.with_extension("new"), "new").unwrap();
            fs::rename(at.with_extension("new"), at).unwrap();
        };
        for (change, error, because) in [
            (append, DigestError::Changed, "grew"),
            (overwrite, DigestError::Changed, "same size, other bytes"),
            (truncate, DigestError::Changed, "shrank under the reader"),
            (touch, DigestError::Changed, "its time was set"),
            (remove, DigestError::Gone, "deleted"),
            (replace, DigestError::Gone, "replaced"),
        ] {
            for size in [1000, 3 * MIB] {
                let dir = tempfile::tempdir().unwrap();
                let at = dir.path().join("f");
                fs::write(&at, vec![7; size]).unwrap();
                let fd = open(&at);
                await_tick(&at);
                let (go, gone) = (mpsc::channel::<()>(), mpsc::channel::<()>());
                let writer = std::thread::spawn(move || {
                    go.1.recv().unwrap();
                    change(&at);
                    gone.0.send(()).unwrap();
                });
                let mut first = true;
                let mut step = || {
                    if std::mem::take(&mut first) {
                        go.0.send(()).unwrap();
                        gone.1.recv().unwrap();
                    }
                };
                let digest = digest_in_steps(&fd, None, 0, &mut step);
                assert_eq!(digest, Err(error), "{because}, {size} bytes");
                writer.join().unwrap();
            }
        }
    }

    #[test]
    fn the_offset_of_a_shared_descriptor_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "bytes").unwrap();
        let fd = open(&dir.path().join("f"));
        digest_file(&fd, None, 0).unwrap();
        assert_eq!(rustix::fs::tell(&fd), Ok(0));
    }
}
