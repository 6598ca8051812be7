//! Who has which files open for writing, as far as the kernel tells.

#[cfg(target_os = "linux")]
pub use walk::open_for_writing;

/// A file: the device that it lies on, and its inode there.
pub type FileAt = (u64, u64);

/// Finds which of the `inodes`, on whatever device, other processes have open for writing.
///
/// Nothing tells it here.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn open_for_writing(
    _inodes: &std::collections::BTreeSet<u64>,
) -> std::collections::BTreeSet<FileAt> {
    std::collections::BTreeSet::new()
}

#[cfg(target_os = "linux")]
mod walk {
    use std::collections::BTreeSet;
    use std::ffi::CStr;
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    use rustix::fs::{self, AtFlags, Mode, RawDir, StatxFlags};
    use rustix::io;

    use super::FileAt;
    use crate::world::disk::system;

    /// Room for the names of one directory that are asked for at once.
    const NAMES_BYTES: usize = 8 << 10;

    /// The bit of a link in `/proc/PID/fd` that says that its file is open for writing.
    const WRITES: u16 = 0o200;

    /// Finds which of the `inodes`, on whatever device, other processes have open for writing:
    /// one walk over the descriptors of all processes. What this user may not see, another user's
    /// processes above all, is left out, and so is a file that is only mapped.
    ///
    /// Takes about 3 microseconds for each descriptor of the machine: a few milliseconds. Never
    /// waits for a file system.
    #[must_use]
    pub fn open_for_writing(inodes: &BTreeSet<u64>) -> BTreeSet<FileAt> {
        let mut found = BTreeSet::new();
        // Without /proc nothing is known.
        let Ok(proc) = fs::open("/proc", system::DIRECTORY, Mode::empty()) else { return found };
        let me = std::process::id().to_string();
        each_number(&proc, |pid| {
            if pid.to_bytes() == me.as_bytes() {
                return;
            }
            let descriptors = [pid.to_bytes(), b"/fd"].concat();
            // It ended, or it is another user's.
            let open = system::open_at(proc.as_fd(), &descriptors, system::DIRECTORY, 0);
            let Ok(descriptors) = open else { return };
            each_number(&descriptors, |number| {
                found.extend(written(descriptors.as_fd(), number, inodes));
            });
        });
        found
    }

    /// Returns the file of a descriptor if it is one of the `inodes` and open for writing.
    fn written(dir: BorrowedFd<'_>, number: &CStr, inodes: &BTreeSet<u64>) -> Option<FileAt> {
        // What the kernel knows already: a file system that does not answer is not asked.
        let known = AtFlags::STATX_DONT_SYNC;
        let there = fs::statx(dir, number, known, StatxFlags::INO).ok()?;
        if !inodes.contains(&there.stx_ino) {
            return None;
        }
        let itself = known.union(AtFlags::SYMLINK_NOFOLLOW);
        let link = fs::statx(dir, number, itself, StatxFlags::MODE).ok()?;
        let device = fs::makedev(there.stx_dev_major, there.stx_dev_minor);
        (link.stx_mode & WRITES != 0).then_some((device, there.stx_ino))
    }

    /// Calls `take` for each name of a directory that begins with a digit. A list that breaks off
    /// is one that ended: the process did.
    fn each_number(dir: &OwnedFd, mut take: impl FnMut(&CStr)) {
        let mut buffer = [MaybeUninit::uninit(); NAMES_BYTES];
        let mut entries = RawDir::new(dir, &mut buffer);
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) if entry.file_name().to_bytes()[..].first().is_some_and(is_digit) => {
                    take(entry.file_name());
                }
                Ok(_) | Err(io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn is_digit(byte: &u8) -> bool {
        byte.is_ascii_digit()
    }
}

/// Another process that has a file open until it is dropped.
#[cfg(test)]
pub(crate) struct Holder(std::process::Child);

#[cfg(test)]
impl Holder {
    /// Hands a file to a process: as what it writes to, or as what it reads.
    pub(crate) fn of(file: std::fs::File, writes: bool) -> Self {
        let mut command = std::process::Command::new("sleep");
        command.arg("600");
        match writes {
            true => command.stdout(file),
            false => command.stdin(file),
        };
        Self(command.stderr(std::process::Stdio::null()).spawn().unwrap())
    }
}

#[cfg(test)]
impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
