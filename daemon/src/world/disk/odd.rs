//! What is never synced because of what it is.

use std::fmt;

use rustix::fs::{FileType, Stat};

/// What a thing is that is neither a file, a directory of the folder's own nor a symlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Odd {
    /// A named pipe.
    Fifo,
    /// A socket of a program.
    Socket,
    /// A character or block device.
    Device,
    /// A directory at which another file system is mounted, or the same one a second time.
    Mount,
    /// Something that this kernel has and syncd does not know.
    Unknown,
}

impl Odd {
    /// Returns what a `stat` speaks of, given that it is nothing to sync.
    #[must_use]
    pub fn of(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice | FileType::BlockDevice => Self::Device,
            FileType::Directory => Self::Mount,
            FileType::RegularFile | FileType::Symlink | FileType::Unknown => Self::Unknown,
        }
    }
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fifo => "a named pipe is never synced",
            Self::Socket => "a socket is never synced",
            Self::Device => "a device is never synced",
            Self::Mount => "another file system is mounted there; what it holds is not synced",
            Self::Unknown => "it is neither a file, a directory nor a symlink",
        })
    }
}
