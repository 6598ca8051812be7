//! How much may still be written: the disk is never filled to the brim.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs;
use rustix::io::Errno;
use syncd_core::flow::settle::SettleError;
use syncd_core::model::{ContentId, RelPath};

use super::staging::part_name;
use super::{Hands, locked};
use crate::world::disk::{holes, system};

impl Hands {
    /// Checks that `bytes` more fit for `path` with the floor of the limits left free.
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

    /// Returns how many bytes the contents that are being written will still take.
    pub(super) fn to_come(&self) -> u64 {
        let there = |content: &ContentId| {
            let stat = system::stat_at(self.staging(), part_name(*content).as_bytes());
            stat.ok().flatten().map_or(0, |stat| system::bytes_taken(&stat))
        };
        let writing = locked(&self.inner.writing).clone();
        let lacking = writing.iter().map(|(content, size)| size.saturating_sub(there(content)));
        lacking.fold(0, u64::saturating_add)
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
        Ok((free, self.limits().floor_bytes(whole)))
    }

    /// Returns the size of the whole disk in bytes.
    pub(super) fn disk_bytes(&self) -> Result<u64, Errno> {
        let disk = fs::fstatvfs(self.root().fd())?;
        Ok(disk.f_blocks.saturating_mul(disk.f_frsize))
    }
}
