//! Inheriting: what the old version of a file had that no peer decides goes to the new one, which
//! is another inode.

use std::os::fd::AsFd;

use rustix::fs::{self, AtFlags};
use rustix::io;
use syncd_core::model::Kind;

use super::Hands;
use super::check::Held;
use super::ready::Readied;
use crate::world::disk::system;

impl Hands {
    /// Lets the new version have what the old one had: its owner, its extended attributes and
    /// access lists, and with the same owner its setuid, setgid and sticky bits. Where the system
    /// refuses, the new version goes without. Tells whether anything was set.
    pub(super) fn inherit(&self, readied: &Readied, held: &Held) -> bool {
        let old = &held.stat;
        let (staging, name) = (self.staging(), readied.name.as_str());
        let Ok(Some(new)) = system::stat_at(staging, name.as_bytes()) else { return false };
        let at = AtFlags::SYMLINK_NOFOLLOW;
        let differs = (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid);
        let mut is_same_owner = !differs;
        if differs {
            let (uid, gid) = (fs::Uid::from_raw(old.st_uid), fs::Gid::from_raw(old.st_gid));
            is_same_owner = fs::chownat(staging, name, Some(uid), Some(gid), at).is_ok();
        }
        if readied.kind != Kind::File || system::kind_of(old) != Some(Kind::File) {
            return differs;
        }
        let carried = self.carry_attributes(readied, held).unwrap_or_else(|errno| {
            tracing::debug!(%errno, "attributes of a replaced file were not carried over");
            false
        });
        let extra = if is_same_owner { system::extra_mode_of(old) } else { 0 };
        if extra != 0 || carried {
            // Last: a change of owner takes these bits away, and an access list has a say in the
            // mode.
            let mode = system::mode(readied.key.mode | extra);
            let _ = fs::chmodat(staging, name, mode, AtFlags::empty());
        }
        differs || carried || extra != 0
    }

    /// Copies extended attributes; tells whether there were any.
    fn carry_attributes(&self, readied: &Readied, held: &Held) -> io::Result<bool> {
        let carried: Vec<_> = system::attributes_of(&held.fd)?
            .into_iter()
            .filter(|(name, _)| is_carried(name))
            .collect();
        if carried.is_empty() {
            return Ok(false);
        }
        let new = system::open_at(self.staging(), readied.name.as_bytes(), system::READ, 0)?;
        for (name, value) in &carried {
            system::set_attribute(new.as_fd(), name, value)?;
        }
        Ok(true)
    }
}

/// Tells whether an attribute belongs to the file rather than to its bytes: a capability or a
/// signature of the old bytes says nothing of the new ones.
fn is_carried(name: &[u8]) -> bool {
    let of_a_user = name.starts_with(b"user.") || name.starts_with(b"trusted.");
    of_a_user || name == b"system.posix_acl_access" || name == b"security.selinux"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_bytes_is_not_carried() {
        for (name, carried) in [
            ("user.note", true),
            ("trusted.overlay.opaque", true),
            ("system.posix_acl_access", true),
            ("security.selinux", true),
            ("security.capability", false),
            ("security.ima", false),
        ] {
            assert_eq!(is_carried(name.as_bytes()), carried, "{name}");
        }
    }
}
