//! How much may still be written: the disk is never filled to the brim.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs;
use rustix::io::Errno;
use syncd_core::flow::settle::SettleError;
use syncd_core::model::RelPath;

use super::Hands;
use crate::world::disk::{holes, system};

/// Most that stays free for others, in bytes. On disks below 100 GiB it is 1 % of the disk.
pub(super) const FLOOR_BYTES_MAX: u64 = 1 << 30;

impl Hands {
    /// Checks that `bytes` more fit for `path` with the floor left free: 1 % of the disk or
    /// 1 GiB, whichever is less.
    ///
    /// # Errors
    /// [`SettleError::NoRoom`] when they do not, [`SettleError::Trouble`] when the disk does not
    /// say.
    pub fn room_for(&self, path: &RelPath, bytes: u64) -> Result<(), SettleError> {
        let (free_bytes, floor) = self.free_and_floor().map_err(|e| self.said(path, bytes, e))?;
        if free_bytes.saturating_sub(floor) >= bytes {
            return Ok(());
        }
        Err(SettleError::NoRoom { path: path.clone(), needed_bytes: bytes, free_bytes })
    }

    /// Checks that a copy of `from` fits for `path`: what is a hole takes no room.
    ///
    /// # Errors
    /// Those of [`Hands::room_for`].
    pub(super) fn room_for_copy(&self, path: &RelPath, from: &OwnedFd) -> Result<(), SettleError> {
        let stat = system::stat_of(from).map_err(|errno| self.said(path, 0, errno))?;
        let size = system::key_of(&stat).size;
        let held = holes::held_bytes(from.as_fd()).unwrap_or(size);
        self.room_for(path, held.min(size))
    }

    /// Returns how many bytes of the disk are free to this user.
    pub(super) fn free_bytes(&self) -> Result<u64, Errno> {
        self.free_and_floor().map(|(free, _)| free)
    }

    /// Returns free bytes and the floor.
    pub(super) fn free_and_floor(&self) -> Result<(u64, u64), Errno> {
        let disk = fs::fstatvfs(self.root().fd())?;
        let whole = disk.f_blocks.saturating_mul(disk.f_frsize);
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        Ok((free, (whole / 100).min(FLOOR_BYTES_MAX)))
    }

    /// Returns the size of the whole disk in bytes.
    pub(super) fn disk_bytes(&self) -> Result<u64, Errno> {
        let disk = fs::fstatvfs(self.root().fd())?;
        Ok(disk.f_blocks.saturating_mul(disk.f_frsize))
    }
}
