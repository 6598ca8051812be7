//! Files to try things with.

use std::fs::{self, File, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Tells whether tests that take minutes are wanted: `SYNCD_LONG` is set and not `0`.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("SYNCD_LONG").is_some_and(|value| value != "0")
}

/// Bytes that no compression shortens, the same for the same seed (xorshift64*).
#[derive(Debug, Clone)]
pub struct Noise(u64);

impl Noise {
    /// Begins at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns the next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Fills `buffer`.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for piece in buffer.chunks_mut(8) {
            let number = self.next_u64().to_le_bytes();
            piece.copy_from_slice(&number[..piece.len()]);
        }
    }

    /// Returns `count` bytes.
    #[must_use]
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.fill(&mut bytes);
        bytes
    }
}

/// Writes a file, and the directories above it if they are missing.
///
/// # Panics
/// When the disk does not take it.
#[track_caller]
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).expect("directories can be made");
    }
    fs::write(path, bytes).expect("a file can be written");
}

/// Writes `size` bytes of noise.
///
/// # Panics
/// When the disk does not take it.
#[track_caller]
pub fn write_noise(path: &Path, seed: u64, size: u64) {
    let mut noise = Noise::new(seed);
    let mut file = File::create(path).expect("a file can be made");
    let mut left = size;
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        let take = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        noise.fill(&mut buffer[..take]);
        file.write_all(&buffer[..take]).expect("a file can be written");
        left -= take as u64;
    }
}

/// Writes `size` bytes of which each MiB begins with 64 KiB of noise and is a hole otherwise, so
/// that a large file of blocks that all differ takes little room and time.
///
/// # Panics
/// When the disk does not take it.
#[track_caller]
pub fn write_sparse(path: &Path, seed: u64, size: u64) {
    let mut noise = Noise::new(seed);
    let mut file = File::create(path).expect("a file can be made");
    file.set_len(size).expect("a file can grow");
    let mut buffer = vec![0; 64 << 10];
    for at in (0..size.saturating_sub(buffer.len() as u64)).step_by(1 << 20) {
        noise.fill(&mut buffer);
        file.seek(SeekFrom::Start(at)).expect("a file can be sought in");
        file.write_all(&buffer).expect("a file can be written");
    }
}

/// Sets a file's permissions.
///
/// # Panics
/// When the disk does not take it.
#[track_caller]
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode can be set");
}

/// Sets a file's modification time, in seconds and nanoseconds since 1970.
///
/// # Panics
/// When the disk does not take it.
#[track_caller]
pub fn set_mtime(path: &Path, seconds: u64, nanoseconds: u32) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    let file = File::options().write(true).open(path).expect("a file can be opened");
    file.set_modified(time).expect("a time can be set");
}
