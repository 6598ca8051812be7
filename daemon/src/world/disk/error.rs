//! What can go wrong between a path and its descriptor.

use rustix::io::Errno;
use syncd_core::flow::settle::Trouble;
use syncd_core::model::RelPath;

/// Why the disk did not answer as asked. None of these ever means that a path is absent, except
/// [`DiskError::Missing`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// Nothing lies there.
    #[error("{path} is not there")]
    Missing {
        /// Where.
        path: RelPath,
    },
    /// A name on the way is no directory; symlinks are never followed.
    #[error("{path} cannot be reached: a name on the way is no directory")]
    NoWay {
        /// Where.
        path: RelPath,
    },
    /// Something else than asked for lies there: a FIFO, a socket, a device, or a directory in
    /// place of a file.
    #[error("{path} is of another kind than expected")]
    OtherKind {
        /// Where.
        path: RelPath,
    },
    /// Another file system is mounted on the way. What lies there is not synced.
    #[error("{path} lies on another file system than the folder")]
    OtherDevice {
        /// Where.
        path: RelPath,
    },
    /// The path is outside of a single-file folder's one name.
    #[error("{path} does not belong to the folder")]
    Foreign {
        /// Where.
        path: RelPath,
    },
    /// The system refused; see [`DiskError::trouble`].
    #[error("{path} cannot be used")]
    Refused {
        /// Where.
        path: RelPath,
        /// What it said.
        #[source]
        source: Errno,
    },
}

impl DiskError {
    /// Names an errno of a call on `path`, with the ones that have a meaning of their own.
    pub fn of(path: &RelPath, source: Errno) -> Self {
        let path = path.clone();
        match source {
            Errno::NOENT => Self::Missing { path },
            Errno::NOTDIR | Errno::LOOP => Self::NoWay { path },
            Errno::XDEV => Self::OtherDevice { path },
            _ => Self::Refused { path, source },
        }
    }

    /// Returns the path it is about.
    #[must_use]
    pub fn path(&self) -> &RelPath {
        match self {
            Self::Missing { path }
            | Self::NoWay { path }
            | Self::OtherKind { path }
            | Self::OtherDevice { path }
            | Self::Foreign { path }
            | Self::Refused { path, .. } => path,
        }
    }

    /// Returns what it means for a decision.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Refused { source, .. } => trouble_of(*source),
            Self::Missing { .. } => Trouble::Other(Errno::NOENT.raw_os_error()),
            Self::NoWay { .. } => Trouble::Other(Errno::NOTDIR.raw_os_error()),
            Self::OtherKind { .. } => Trouble::Other(Errno::OPNOTSUPP.raw_os_error()),
            Self::OtherDevice { .. } => Trouble::Elsewhere,
            Self::Foreign { .. } => Trouble::Denied,
        }
    }
}

/// Sorts an errno into what a decision needs of it.
#[must_use]
pub fn trouble_of(errno: Errno) -> Trouble {
    match errno {
        Errno::ACCESS | Errno::PERM => Trouble::Denied,
        Errno::ROFS => Trouble::ReadOnly,
        Errno::XDEV | Errno::BUSY => Trouble::Elsewhere,
        Errno::IO | Errno::NXIO | Errno::NODEV | Errno::STALE | Errno::NOTCONN => Trouble::Disk,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => Trouble::Exhausted,
        Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ => Trouble::Name,
        other => Trouble::Other(other.raw_os_error()),
    }
}
