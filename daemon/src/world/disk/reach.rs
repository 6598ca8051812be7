//! Reaching what lies below the root: opening, asking, listing.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, OFlags};
use rustix::io::{self, Errno};
use syncd_core::model::{Kind, RelPath, StatKey};

use super::system;
use super::{DiskError, Odd, Root};

/// What `lstat` said about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lstat {
    /// What lies there; `None` for what is never synced: FIFOs, sockets, devices, and directories
    /// on another file system.
    pub kind: Option<Kind>,
    /// What it is if it is none of these.
    pub odd: Option<Odd>,
    /// What the index remembers of it.
    pub key: StatKey,
    /// How many names the inode has.
    pub nlink: u64,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The name's bytes.
    pub name: Vec<u8>,
    /// What the directory says of it, where it does; only a hint. `None` when a `stat` must tell.
    pub kind: Option<Kind>,
}

impl Root {
    /// Opens a directory to be listed or synced; the root itself for [`RelPath::root`].
    ///
    /// # Errors
    /// [`DiskError::Missing`] when it is not there, [`DiskError::NoWay`] when a name of it is a
    /// symlink or file, [`DiskError::OtherDevice`] across a mount, else [`DiskError::Refused`].
    pub fn open_dir(&self, dir: &RelPath) -> Result<OwnedFd, DiskError> {
        self.reach(dir, system::DIRECTORY)
    }

    /// Opens a directory only to use names in it, which needs no permission to list it.
    ///
    /// # Errors
    /// Those of [`Root::open_dir`].
    pub fn open_way(&self, dir: &RelPath) -> Result<OwnedFd, DiskError> {
        self.reach(dir, system::WAY)
    }

    /// Opens a regular file to be read, leaving its access time alone where allowed.
    ///
    /// # Errors
    /// Those of [`Root::open_dir`], and [`DiskError::OtherKind`] for anything but a regular file,
    /// which is then never opened.
    pub fn open_file(&self, path: &RelPath) -> Result<OwnedFd, DiskError> {
        let other = || DiskError::OtherKind { path: path.clone() };
        let parent = path.parent().ok_or_else(other)?;
        let way = self.open_way(&parent)?;
        let name = self.name_of(path)?;
        let failed = |errno| DiskError::of(path, errno);
        // Asked before opening: the mere opening of a device may do something.
        match system::stat_at(way.as_fd(), &name).map_err(failed)? {
            None => return Err(DiskError::Missing { path: path.clone() }),
            Some(stat) if system::kind_of(&stat) == Some(Kind::File) => {}
            Some(_) => return Err(other()),
        }
        let quiet = system::READ.union(system::NO_ATIME);
        let opened = match system::open_at(way.as_fd(), &name, quiet, 0) {
            // Not the owner: the access time will move.
            Err(Errno::PERM) => system::open_at(way.as_fd(), &name, system::READ, 0),
            answer => answer,
        };
        let fd = match opened {
            Err(Errno::LOOP | Errno::NXIO) => return Err(other()),
            answer => answer.map_err(failed)?,
        };
        let stat = system::stat_of(&fd).map_err(failed)?;
        if system::kind_of(&stat) == Some(Kind::File) { Ok(fd) } else { Err(other()) }
    }

    /// Asks what lies at a path, without following it; `None` when nothing does, be it that the
    /// name is missing or that a name on the way is missing or no directory.
    ///
    /// # Errors
    /// Any [`DiskError`] but [`DiskError::Missing`] and [`DiskError::NoWay`]. An error never
    /// means that the path is absent.
    pub fn stat(&self, path: &RelPath) -> Result<Option<Lstat>, DiskError> {
        let Some(parent) = path.parent() else {
            let stat = system::stat_of(self.fd()).map_err(|errno| DiskError::of(path, errno))?;
            return Ok(Some(self.lstat_of(&stat)));
        };
        let way = match self.open_way(&parent) {
            Err(DiskError::Missing { .. } | DiskError::NoWay { .. }) => return Ok(None),
            answer => answer?,
        };
        self.stat_in(&way, path)
    }

    /// Asks what lies at a path whose directory was opened, without following it.
    ///
    /// # Errors
    /// [`DiskError::Foreign`] when the path does not belong to the folder, else
    /// [`DiskError::Refused`].
    pub fn stat_in(&self, dir: &OwnedFd, path: &RelPath) -> Result<Option<Lstat>, DiskError> {
        let stat = system::stat_at(dir.as_fd(), &self.name_of(path)?);
        Ok(stat.map_err(|errno| DiskError::of(path, errno))?.map(|stat| self.lstat_of(&stat)))
    }

    /// Returns how the directories themselves spell `path`: on a file system that folds names,
    /// what [`Root::stat`] finds may have another name. `None` when nothing lies there.
    ///
    /// # Errors
    /// Those of [`Root::list`].
    pub fn spelt(&self, path: &RelPath) -> Result<Option<RelPath>, DiskError> {
        if self.abilities().tells_names_apart() {
            return Ok(Some(path.clone()));
        }
        if self.single().is_some() && !path.is_reserved() {
            let name = self.name_of(path)?;
            let names = system::names_in(self.fd());
            let names =
                names.map_err(|source| DiskError::Refused { path: path.clone(), source })?;
            return Ok(names.iter().any(|(listed, _)| *listed == *name).then(|| path.clone()));
        }
        let mut real = RelPath::root();
        for name in path.parts() {
            let failed = |source| DiskError::Refused { path: path.clone(), source };
            let dir = self.open_dir(&real)?;
            let names = system::names_in(dir.as_fd()).map_err(failed)?;
            let listed = if names.iter().any(|(listed, _)| listed == name) {
                Some(name.to_vec())
            } else {
                system::spelling(dir.as_fd(), name, names).map_err(failed)?
            };
            let Some(next) = listed.and_then(|name| real.join(name).ok()) else { return Ok(None) };
            real = next;
        }
        Ok(Some(real))
    }

    /// Tells whether the directories themselves spell `path` like this.
    #[must_use]
    pub fn is_spelt_so(&self, path: &RelPath) -> bool {
        // What cannot be found out does not count against it.
        self.spelt(path).map_or(true, |spelt| spelt.as_ref() == Some(path))
    }

    /// Reads where a symlink points, without going there.
    ///
    /// # Errors
    /// Those of [`Root::open_dir`] for its parent, [`DiskError::Missing`] when it is not there,
    /// [`DiskError::OtherKind`] when it is no symlink.
    pub fn read_link(&self, path: &RelPath) -> Result<Vec<u8>, DiskError> {
        let other = || DiskError::OtherKind { path: path.clone() };
        let way = self.open_way(&path.parent().ok_or_else(other)?)?;
        let name = self.name_of(path)?;
        match io::retry_on_intr(|| fs::readlinkat(way.as_fd(), &*name, Vec::new())) {
            Ok(target) => Ok(target.into_bytes()),
            Err(Errno::INVAL) => Err(other()),
            Err(errno) => Err(DiskError::of(path, errno)),
        }
    }

    /// Lists the names in a directory, sorted by their bytes, without `.` and `..`; a folder's
    /// own `.syncd` is among them. A single-file folder lists the file and its conflict copies,
    /// by the names that all devices give them.
    ///
    /// # Errors
    /// Those of [`Root::open_dir`], and [`DiskError::Refused`] when the listing broke off; a part
    /// of it is never returned.
    pub fn list(&self, dir: &RelPath) -> Result<Vec<Listed>, DiskError> {
        let fd = self.open_dir(dir)?;
        self.names_in(dir, &fd)
    }

    /// Lists the names in a directory that was opened, as [`Root::list`] does.
    ///
    /// # Errors
    /// [`DiskError::Refused`] when the listing broke off; a part of it is never returned.
    pub fn names_in(&self, dir: &RelPath, fd: &OwnedFd) -> Result<Vec<Listed>, DiskError> {
        let names = system::names_in(fd.as_fd());
        // Whatever broke the listing off, it is never absence.
        let names = names.map_err(|source| DiskError::Refused { path: dir.clone(), source })?;
        let listed = names.into_iter().filter_map(|(name, is)| {
            Some(Listed { name: self.listed_as(dir, name)?, kind: system::kind_of_type(is) })
        });
        let mut listed: Vec<Listed> = listed.collect();
        listed.sort_unstable();
        Ok(listed)
    }

    fn reach(&self, dir: &RelPath, flags: OFlags) -> Result<OwnedFd, DiskError> {
        let failed = |errno| DiskError::of(dir, errno);
        if self.single().is_some() && !dir.is_root() && !dir.is_reserved() {
            return Err(DiskError::Foreign { path: dir.clone() });
        }
        if dir.is_root() {
            return system::open_at(self.fd(), b".", flags, 0).map_err(failed);
        }
        if !self.abilities().openat2 {
            return self.walk(dir, flags);
        }
        match system::open_beneath(self.fd(), dir.as_bytes(), flags) {
            // A longer path than the kernel takes at once can still be walked.
            Err(Errno::NAMETOOLONG) => self.walk(dir, flags),
            answer => answer.map_err(failed),
        }
    }

    /// Goes down name by name, each a directory itself and on the root's own file system.
    fn walk(&self, dir: &RelPath, last: OFlags) -> Result<OwnedFd, DiskError> {
        let failed = |errno| DiskError::of(dir, errno);
        let mut at = system::open_at(self.fd(), b".", system::WAY, 0).map_err(failed)?;
        let depth = dir.depth();
        for (nth, name) in dir.parts().enumerate() {
            let flags = if nth + 1 == depth { last } else { system::WAY };
            at = system::open_at(at.as_fd(), name, flags, 0).map_err(failed)?;
            let stat = system::stat_of(&at).map_err(failed)?;
            if system::device_of(&stat) != self.held.device {
                return Err(DiskError::OtherDevice { path: dir.clone() });
            }
        }
        Ok(at)
    }

    /// Returns what a `stat` says of something below the root.
    pub fn lstat_of(&self, stat: &rustix::fs::Stat) -> Lstat {
        // Files may show another device than their directory on overlays, so only directories
        // are compared.
        let kind = system::kind_of(stat)
            .filter(|kind| *kind != Kind::Directory || system::device_of(stat) == self.held.device);
        let odd = kind.is_none().then(|| Odd::of(stat));
        Lstat { kind, odd, key: system::key_of(stat), nlink: system::links_of(stat) }
    }
}
