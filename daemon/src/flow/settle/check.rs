//! Checking: what lies at a path right before it is changed, and what was displaced right after.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;
use rustix::io::Errno;
use syncd_core::flow::settle::{SettleError, Trouble};
use syncd_core::model::{ContentId, Kind, StatKey};

use super::{Hands, Spot, fill};
use crate::world::disk::system;

/// How recent a time stamp may be, in nanoseconds, before two writes within one tick of the
/// kernel's clock (1 to 10 ms) could carry the same one; ten ticks to be safe.
const RACY_NS: i64 = 100_000_000;

/// What lies at a path, held so that it can be asked again after its name moved.
pub(super) struct Held {
    pub(super) fd: OwnedFd,
    pub(super) stat: Stat,
    /// Whether its stamps are too young to tell two writes apart.
    is_young: bool,
    /// The same file, open to be read if its bytes must speak.
    bytes: Option<OwnedFd>,
}

impl Held {
    /// Asks again: is it still as when it was taken hold of? The change time counts, as no
    /// program can set it back.
    pub(super) fn is_unchanged(&self) -> rustix::io::Result<bool> {
        let now = system::stat_of(&self.fd)?;
        Ok(system::key_of(&now) == system::key_of(&self.stat))
    }
}

impl Hands {
    /// Takes hold of what lies at a path if it is exactly what the plan saw.
    pub(super) fn hold(&self, spot: &Spot, kind: Kind, key: &StatKey) -> Result<Held, SettleError> {
        let fd = match system::open_at(spot.way(), spot.name(), system::HANDLE, 0) {
            Err(Errno::NOENT) => return Err(spot.overtaken()),
            answer => answer.map_err(|errno| self.said(&spot.path, 0, errno))?,
        };
        let stat = system::stat_of(&fd).map_err(|errno| self.said(&spot.path, 0, errno))?;
        self.is_ours_to_replace(spot, &stat)?;
        if !is_as_known(&stat, kind, key) {
            return Err(spot.overtaken());
        }
        let is_young = is_racy(&stat);
        Ok(Held { fd, stat, is_young, bytes: None })
    }

    /// Takes hold of what is about to be displaced, like [`Hands::hold`], and of all that is needed
    /// to look at it afterwards: with the new version in its place nothing may be in the way of
    /// that, such as that no descriptor is left.
    pub(super) fn hold_whole(
        &self,
        spot: &Spot,
        kind: Kind,
        key: &StatKey,
    ) -> Result<Held, SettleError> {
        let mut held = self.hold(spot, kind, key)?;
        if held.is_young && kind == Kind::File {
            held.bytes = Some(self.open_same(spot, &held.stat)?);
        }
        Ok(held)
    }

    /// Opens the file at a path to be read, if it still is the one of `stat`.
    fn open_same(&self, spot: &Spot, stat: &Stat) -> Result<OwnedFd, SettleError> {
        let fd = match system::open_at(spot.way(), spot.name(), system::READ, 0) {
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Err(spot.overtaken()),
            answer => answer.map_err(|errno| self.said(&spot.path, 0, errno))?,
        };
        let opened = system::stat_of(&fd).map_err(|errno| self.said(&spot.path, 0, errno))?;
        if is_same_version(&opened, stat) { Ok(fd) } else { Err(spot.overtaken()) }
    }

    /// Makes sure that nothing lies at a path.
    pub(super) fn is_free(&self, spot: &Spot) -> Result<(), SettleError> {
        match spot.stat().map_err(|errno| self.said(&spot.path, 0, errno))? {
            None => Ok(()),
            Some(stat) => {
                self.has_no_twin(spot)?;
                self.is_ours_to_replace(spot, &stat)?;
                Err(spot.overtaken())
            }
        }
    }

    /// Makes sure that no pipe, socket, device or mount point lies at a path: no look would find
    /// anything there that could be reconciled.
    fn is_ours_to_replace(&self, spot: &Spot, stat: &Stat) -> Result<(), SettleError> {
        match self.root().lstat_of(stat).kind {
            Some(_) => Ok(()),
            None => {
                Err(SettleError::Trouble { path: spot.path.clone(), trouble: Trouble::Occupied })
            }
        }
    }

    /// Tells whether what was moved out of the way is what had been held: the same inode, size
    /// and modification time, and the known bytes where the stamps are too young to tell.
    ///
    /// The change time is left out: the move itself set it.
    pub(super) fn is_expected(
        &self,
        moved: std::os::fd::BorrowedFd<'_>,
        name: &str,
        held: &Held,
        content: ContentId,
    ) -> bool {
        let Ok(Some(now)) = system::stat_at(moved, name.as_bytes()) else { return false };
        if !is_same_version(&now, &held.stat) {
            return false;
        }
        // Two writes within a tick look alike, so the bytes must speak; unreadable ones do not.
        let found = match &held.bytes {
            Some(fd) => fill::hash_of(fd.as_fd()).map(|(found, _)| Some(found)),
            None if held.is_young => fill::hash_at(moved, name.as_bytes()),
            None => return true,
        };
        matches!(found, Ok(Some(found)) if found == content)
    }
}

/// Tells whether a `stat` is what the index remembers. Of a directory only inode and mode count:
/// its times and size change with its children.
pub(super) fn is_as_known(stat: &Stat, kind: Kind, key: &StatKey) -> bool {
    let now = system::key_of(stat);
    if system::kind_of(stat) != Some(kind) {
        return false;
    }
    if kind == Kind::Directory {
        return (now.inode, now.mode) == (key.inode, key.mode);
    }
    now == *key
}

/// Tells whether two `stat`s of one inode, before and after it was moved, show the same bytes.
pub(super) fn is_same_version(now: &Stat, before: &Stat) -> bool {
    let (n, b) = (system::key_of(now), system::key_of(before));
    system::kind_of(now) == system::kind_of(before)
        && (n.inode, n.size, n.mtime_ns) == (b.inode, b.size, b.mtime_ns)
}

fn is_racy(stat: &Stat) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
    let key = system::key_of(stat);
    key.mtime_ns.max(key.ctime_ns) > now.saturating_sub(RACY_NS)
}
