//! Contents that this disk cannot hold at their paths, kept for the other devices.
//!
//! `.syncd/kept/HEX` holds a content that hashes to HEX. It is there as long as the index knows
//! a path of that content which this file system cannot hold.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs;
use rustix::io::{self, Errno};
use syncd_core::flow::settle::SettleError;
use syncd_core::model::{ContentId, RelPath};

use super::staging::StageError;
use super::{Hands, ready};
use crate::world::disk::system;

impl Hands {
    /// Moves a staged content to the kept ones, durably.
    pub(super) fn keep_for_others(
        &self,
        path: &RelPath,
        content: ContentId,
        size: u64,
    ) -> Result<(), SettleError> {
        let said = |errno| self.said(path, size, errno);
        let name = content.hex();
        if system::stat_at(self.kept(), name.as_bytes()).map_err(said)?.is_some() {
            self.discard(content);
            return Ok(());
        }
        let staged = match system::open_at(self.staging(), name.as_bytes(), system::READ, 0) {
            Err(Errno::NOENT) => return Err(SettleError::NotStaged { path: path.clone() }),
            answer => answer.map_err(said)?,
        };
        io::retry_on_intr(|| fs::fsync(&staged)).map_err(said)?;
        fs::renameat(self.staging(), name.as_str(), self.kept(), name.as_str()).map_err(said)?;
        system::sync_directory(self.kept()).map_err(said)
    }

    /// Opens a kept content; `None` when it is not kept. Whoever reads it compares the bytes.
    #[must_use]
    pub fn open_kept(&self, content: ContentId) -> Option<OwnedFd> {
        system::open_at(self.kept(), content.hex().as_bytes(), system::READ, 0).ok()
    }

    /// Stages a content from the kept ones, which keep it.
    ///
    /// # Errors
    /// [`StageError::Missing`] when it is not kept, and those of [`Hands::from_local`].
    pub fn from_kept(&self, content: ContentId) -> Result<(), StageError> {
        let kept = self.open_kept(content).ok_or(StageError::Missing { content })?;
        self.stage_copy(&kept, content)
    }

    /// Ends what is kept but for `wanted`. `None` when nothing is kept: then nobody need find out
    /// what is wanted.
    ///
    /// # Errors
    /// What the system said; the rest is ended by the next call.
    pub fn sweep_kept(
        &self,
        wanted: impl FnOnce() -> Option<BTreeSet<ContentId>>,
    ) -> io::Result<()> {
        let names = system::names_in(self.kept())?;
        let Some(wanted) = (!names.is_empty()).then(wanted).flatten() else { return Ok(()) };
        for (name, _) in names {
            let name = String::from_utf8_lossy(&name).into_owned();
            if ContentId::from_hex(&name).is_some_and(|content| !wanted.contains(&content)) {
                ready::clear(self.kept(), &name)?;
            }
        }
        Ok(())
    }

    fn kept(&self) -> BorrowedFd<'_> {
        self.inner.kept.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use syncd_core::flow::settle::Step;

    use super::super::testing::{Folder, path};
    use super::*;

    #[test]
    fn what_is_kept_comes_back_until_nobody_wants_it() {
        let folder = Folder::new();
        let keep = |content| Step::KeepForOthers { path: path("a"), content, size: 4 };
        let one = folder.stage("once");
        folder.take(vec![keep(one)]).unwrap();
        let again = folder.stage("once");
        folder.take(vec![keep(again)]).unwrap();
        assert_eq!((folder.names(), folder.staging_names()), (vec![], vec![]), "out of sight");
        let other = folder.stage("other");
        folder.take(vec![keep(other)]).unwrap();
        let gone = ContentId::of(b"gone");
        let missing = Err(SettleError::NotStaged { path: path("a") });
        assert_eq!(folder.take(vec![keep(gone)]), missing);

        let hands = folder.restarted();
        hands.recover(super::super::now_ms()).unwrap();
        hands.from_kept(one).unwrap();
        assert!(hands.has(one) && hands.open_kept(one).is_some());
        hands.sweep_kept(|| None).unwrap();
        assert!(hands.open_kept(other).is_some(), "whoever does not know ends nothing");
        hands.sweep_kept(|| Some(BTreeSet::from([one]))).unwrap();
        assert_eq!(hands.open_kept(other).map(drop), None);
        assert!(hands.open_kept(one).is_some());
    }
}
