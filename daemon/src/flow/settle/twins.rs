//! Names that a file system takes for one another, or does not keep as they are given.
//!
//! What lies at a name is asked for by that name, and a file system that folds case or normalises
//! answers with its twin. So wherever that is possible the directory's own listing is asked.

use rustix::fs::{self, AtFlags};
use rustix::io::{self, Errno};
use syncd_core::flow::settle::{SettleError, Trouble};
use syncd_core::model::RelPath;

use super::{Hands, Spot};
use crate::world::disk::system;

impl Hands {
    /// Returns the twin that the file system answers with for a name that is not there itself.
    pub(super) fn twin_of(&self, spot: &Spot) -> Result<Option<RelPath>, SettleError> {
        if self.root().abilities().tells_names_apart() {
            return Ok(None);
        }
        let said = |errno| self.said(&spot.path, 0, errno);
        if spot.stat().map_err(said)?.is_none() {
            return Ok(None);
        }
        let names = system::names_in(spot.way()).map_err(said)?;
        if names.iter().any(|(name, _)| name == spot.name()) {
            return Ok(None);
        }
        let twin = system::spelling(spot.way(), spot.name(), names).map_err(said)?;
        Ok(twin.and_then(|name| spot.path.parent()?.join(&name).ok()))
    }

    /// Makes sure that no twin lies at a name.
    pub(super) fn has_no_twin(&self, spot: &Spot) -> Result<(), SettleError> {
        match self.twin_of(spot)? {
            None => Ok(()),
            Some(with) => Err(SettleError::Collides { path: spot.path.clone(), with }),
        }
    }

    /// Makes sure that the file system would keep a name as it is, by trying it out in a
    /// directory of our own: one that is changed on its way would look like a rename by the user.
    pub(super) fn keeps_name(&self, spot: &Spot) -> Result<(), SettleError> {
        if self.root().abilities().keeps_names {
            return Ok(());
        }
        let probe = format!("name.{:x}", self.next_number());
        let kept = self.tries_name(&probe, spot.name());
        // What stays behind is found by the next start.
        let _ = self.empty_probe(&probe);
        let _ = fs::unlinkat(self.staging(), probe.as_str(), AtFlags::REMOVEDIR);
        match kept {
            Ok(true) => Ok(()),
            Ok(false) | Err(Errno::INVAL | Errno::ILSEQ | Errno::NAMETOOLONG) => {
                Err(SettleError::Trouble { path: spot.path.clone(), trouble: Trouble::Name })
            }
            Err(errno) => Err(self.said(&spot.path, 0, errno)),
        }
    }

    fn tries_name(&self, probe: &str, name: &[u8]) -> io::Result<bool> {
        fs::mkdirat(self.staging(), probe, system::mode(0o700))?;
        let dir = system::open_at(self.staging(), probe.as_bytes(), system::DIRECTORY, 0)?;
        let dir = std::os::fd::AsFd::as_fd(&dir);
        fs::mkdirat(dir, name, system::mode(0o700))?;
        Ok(system::names_in(dir)?.iter().any(|(listed, _)| listed == name))
    }

    fn empty_probe(&self, probe: &str) -> io::Result<()> {
        let dir = system::open_at(self.staging(), probe.as_bytes(), system::DIRECTORY, 0)?;
        let dir = std::os::fd::AsFd::as_fd(&dir);
        for (name, _) in system::names_in(dir)? {
            fs::unlinkat(dir, &name[..], AtFlags::REMOVEDIR)?;
        }
        Ok(())
    }
}
