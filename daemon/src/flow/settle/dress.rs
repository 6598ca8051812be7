//! The smaller steps: a second name for a conflict's loser, mode and time, directories.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags};
use rustix::io::{self, Errno};
use syncd_core::flow::settle::{Expect, SettleError};
use syncd_core::model::{ContentId, Kind, RelPath};

use super::check::{Held, is_same_version};
use super::fill::{copy_bytes, hash_at, hash_of};
use super::ready::{clear, create, times};
use super::take::Run;
use super::{Hands, Moment, Spot};
use crate::world::disk::system;

impl Hands {
    /// Gives a conflict's loser a second name beside its first. The copy is an inode of its own
    /// with verified bytes, sharing blocks where the file system can, so that later writes to
    /// one name do not show under the other. A copy that is there already with these bytes is
    /// taken for it.
    pub(super) fn keep_as(
        &self,
        run: &mut Run,
        path: &RelPath,
        expect: &Expect,
        copy: &RelPath,
    ) -> Result<(), SettleError> {
        let (spot, copy) = (self.spot(path)?, self.spot(copy)?);
        let Expect::Known { kind, stat, content } = run.expected(path, expect) else {
            return Err(spot.overtaken());
        };
        let held = self.hold(&spot, kind, &stat)?;
        self.pass(Moment::Checked);
        if copy.stat().map_err(|e| self.said(&copy.path, 0, e))?.is_none() {
            let name = format!("{}.part", self.fresh_name(content));
            let made = self.copy_loser(&spot, &held, kind, content, &name);
            let made = made.and_then(|()| self.install_copy(&name, &copy, stat.size));
            if made.is_err() {
                let _ = clear(self.staging(), &name);
            }
            made?;
            run.will_touch(&copy.path);
        }
        self.pass(Moment::Copied);
        self.has_no_twin(&copy)?;
        let there = copy.stat().map_err(|e| self.said(&copy.path, 0, e))?;
        let there = there.ok_or_else(|| copy.overtaken())?;
        let found = hash_at(copy.way(), copy.name()).map_err(|e| self.said(&copy.path, 0, e))?;
        if found != Some(content) || system::kind_of(&there) != Some(kind) {
            return Err(copy.overtaken());
        }
        run.left(&copy.path, kind, Some(system::key_of(&there)));
        run.will_sync(&copy.path);
        Ok(())
    }

    fn install_copy(&self, name: &str, copy: &Spot, size: u64) -> Result<(), SettleError> {
        match self.install(self.staging(), name, copy.way(), copy.name()) {
            Ok(()) => Ok(()),
            // Somebody made it meanwhile; whether it is the same is asked by the caller.
            Err(Errno::EXIST) => {
                clear(self.staging(), name).map_err(|e| self.said(&copy.path, 0, e))
            }
            Err(errno) => Err(self.said(&copy.path, size, errno)),
        }
    }

    fn copy_loser(
        &self,
        spot: &Spot,
        held: &Held,
        kind: Kind,
        content: ContentId,
        name: &str,
    ) -> Result<(), SettleError> {
        let key = system::key_of(&held.stat);
        let said = |errno| self.said(&spot.path, key.size, errno);
        let at = AtFlags::SYMLINK_NOFOLLOW;
        if kind == Kind::Symlink {
            let target = io::retry_on_intr(|| fs::readlinkat(spot.way(), spot.name(), Vec::new()));
            let target = target.map_err(said)?;
            if ContentId::of(target.as_bytes()) != content {
                return Err(spot.overtaken());
            }
            fs::symlinkat(&target, self.staging(), name).map_err(said)?;
        } else {
            let from = system::open_at(spot.way(), spot.name(), system::READ, 0).map_err(said)?;
            self.room_for_copy(&spot.path, &from)?;
            let to = create(self.staging(), name).map_err(said)?;
            copy_bytes(&from, &to).map_err(said)?;
            if hash_of(to.as_fd()).map_err(said)?.0 != content {
                return Err(spot.overtaken());
            }
            fs::fchmod(&to, system::mode(key.mode)).map_err(said)?;
        }
        fs::utimensat(self.staging(), name, &times(key.mtime_ns), at).map_err(said)
    }

    /// Sets mode and time of what keeps its bytes. setuid, setgid and sticky stay as they are.
    pub(super) fn dress(
        &self,
        run: &mut Run,
        path: &RelPath,
        expect: &Expect,
        mtime_ns: i64,
        mode: u32,
    ) -> Result<(), SettleError> {
        let spot = self.spot(path)?;
        let said = |errno| self.said(path, 0, errno);
        let Expect::Known { kind, stat, content } = run.expected(path, expect) else {
            return Err(spot.overtaken());
        };
        let held = self.hold(&spot, kind, &stat)?;
        self.pass(Moment::Checked);
        run.will_touch(path);
        if kind != Kind::Symlink && mode & system::MODE_SYNCED != stat.mode {
            self.set_mode(&held, mode).map_err(said)?;
        }
        if kind != Kind::Directory && mtime_ns != stat.mtime_ns {
            let now = system::stat_of(&held.fd).map_err(said)?;
            if !is_same_version(&now, &held.stat) {
                return Err(spot.overtaken());
            }
            let at = AtFlags::SYMLINK_NOFOLLOW;
            fs::utimensat(spot.way(), spot.name(), &times(mtime_ns), at).map_err(said)?;
            // RACE: a write just before this call had its time hidden by it, so the bytes must
            // speak.
            if hash_at(spot.way(), spot.name()).map_err(said)? != Some(content) {
                return Err(spot.overtaken());
            }
        }
        self.pass(Moment::Dressed);
        let now = spot.stat().map_err(said)?.ok_or_else(|| spot.overtaken())?;
        let key = system::key_of(&now);
        let is_file = kind != Kind::Directory;
        // RACE: a write since then shows in size or time, and must not be reported as ours.
        if key.inode != stat.inode || (is_file && (key.size, key.mtime_ns) != (stat.size, mtime_ns))
        {
            return Err(spot.overtaken());
        }
        run.left(path, kind, Some(key));
        run.will_sync(path);
        Ok(())
    }

    /// Changes the mode of exactly the held inode, whatever its name means by now.
    fn set_mode(&self, held: &Held, mode: u32) -> io::Result<()> {
        let mode = (mode & system::MODE_SYNCED) | system::extra_mode_of(&held.stat);
        set_mode_of(&held.fd, mode)
    }

    /// Makes a directory; one that is there stays as it is.
    pub(super) fn make_directory(
        &self,
        run: &mut Run,
        path: &RelPath,
        mode: u32,
    ) -> Result<(), SettleError> {
        let spot = self.spot(path)?;
        let said = |errno| self.said(path, 0, errno);
        self.has_no_twin(&spot)?;
        self.keeps_name(&spot)?;
        match fs::mkdirat(spot.way(), spot.name(), system::mode(0o700)) {
            Ok(()) => {
                let fd = system::open_at(spot.way(), spot.name(), system::DIRECTORY, 0);
                let fd = fd.map_err(|_| spot.overtaken())?;
                let stat = system::stat_of(&fd).map_err(said)?;
                // A setgid bit inherited from the directory above stays.
                let mode = (mode & system::MODE_SYNCED) | system::extra_mode_of(&stat);
                fs::fchmod(&fd, system::mode(mode)).map_err(said)?;
                run.will_touch(path);
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(said(errno)),
        }
        let stat = spot.stat().map_err(said)?.ok_or_else(|| spot.overtaken())?;
        if system::kind_of(&stat) != Some(Kind::Directory) {
            return Err(spot.overtaken());
        }
        run.left(path, Kind::Directory, Some(system::key_of(&stat)));
        Ok(())
    }

    /// Removes an empty directory; one that is gone is fine.
    pub(super) fn remove_directory(
        &self,
        run: &mut Run,
        path: &RelPath,
    ) -> Result<(), SettleError> {
        let spot = match self.spot(path) {
            // Its parent is gone, and with it this.
            Err(SettleError::NoWay { .. }) => {
                run.left(path, Kind::Tombstone, None);
                return Ok(());
            }
            answer => answer?,
        };
        if self.twin_of(&spot)?.is_some() {
            // What the file system answers with is another path's.
            run.left(path, Kind::Tombstone, None);
            return Ok(());
        }
        match fs::unlinkat(spot.way(), spot.name(), AtFlags::REMOVEDIR) {
            Ok(()) => run.will_touch(path),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                return Err(SettleError::NotEmpty { path: path.clone() });
            }
            Err(Errno::NOTDIR) => return Err(spot.overtaken()),
            Err(errno) => return Err(self.said(path, 0, errno)),
        }
        run.left(path, Kind::Tombstone, None);
        Ok(())
    }
}

/// Changes the mode of what a handle holds. A handle cannot be changed itself, but the kernel
/// shows the inode behind it.
#[cfg(target_os = "linux")]
fn set_mode_of(fd: &OwnedFd, mode: u32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let shown = format!("/proc/self/fd/{}", fd.as_raw_fd());
    fs::chmodat(fs::CWD, shown, system::mode(mode), AtFlags::empty())
}

/// Changes the mode of what a handle holds.
#[cfg(not(target_os = "linux"))]
fn set_mode_of(fd: &OwnedFd, mode: u32) -> io::Result<()> {
    fs::fchmod(fd, system::mode(mode))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use syncd_core::flow::settle::Step;

    use super::super::testing::{Folder, MTIME_NS, path};
    use super::*;

    #[test]
    fn setuid_never_comes_from_a_peer_and_never_goes() {
        let folder = Folder::new();
        folder.write("a", "old");
        let at = folder.root().join("a");
        std::fs::set_permissions(&at, PermissionsExt::from_mode(0o4755)).unwrap();
        let mode = || std::fs::metadata(&at).unwrap().mode() & 0o7777;
        let dress = Step::Dress {
            path: path("a"),
            expect: folder.known("a"),
            mtime_ns: MTIME_NS,
            mode: 0o7700,
        };
        folder.take(vec![dress]).unwrap();
        assert_eq!(mode(), 0o4700, "dressed");
        folder.take(vec![folder.place("a", folder.known("a"), "new")]).unwrap();
        assert_eq!(mode(), 0o4640, "replaced");
        let mut new = folder.place("b", Expect::Nothing, "new");
        if let Step::Place { mode, .. } = &mut new {
            *mode = 0o7777;
        }
        folder.take(vec![new]).unwrap();
        let mode = std::fs::metadata(folder.root().join("b")).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o777, "sent");
    }

    #[test]
    fn directories_are_made_kept_and_removed() {
        let folder = Folder::new();
        let make = |name: &str| Step::MakeDirectory { path: path(name), mode: 0o7750 };
        let remove = |name: &str| Step::RemoveDirectory { path: path(name) };
        folder.write("file", "x");
        std::fs::create_dir_all(folder.root().join("full/child")).unwrap();
        for (step, error, because) in [
            (make("d"), None, "made"),
            (make("d"), None, "there already"),
            (make("d/e"), None, "in the one just made"),
            (make("x/y"), Some(SettleError::NoWay { path: path("x/y") }), "no parent"),
            (make("file/y"), Some(SettleError::NoWay { path: path("file/y") }), "parent is a file"),
            (make("file"), Some(SettleError::Overtaken { path: path("file") }), "a file is there"),
            (remove("d"), Some(SettleError::NotEmpty { path: path("d") }), "not empty"),
            (remove("d/e"), None, "empty"),
            (remove("d/e"), None, "gone already"),
            (remove("x/y/z"), None, "gone with its parents"),
            (remove("file"), Some(SettleError::Overtaken { path: path("file") }), "a file"),
            (remove("full"), Some(SettleError::NotEmpty { path: path("full") }), "children"),
        ] {
            assert_eq!(folder.take(vec![step]).err(), error, "{because}");
        }
        let mode = std::fs::metadata(folder.root().join("d")).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o750, "masked, whatever the umask");
    }

    #[test]
    fn a_copy_that_is_there_is_taken_for_it_only_with_the_same_bytes() {
        for (there, good, because) in [
            (None, true, "made anew"),
            (Some("mine"), true, "made before a crash"),
            (Some("else"), false, "somebody's file"),
        ] {
            let folder = Folder::new();
            folder.write("a", "mine");
            if let Some(bytes) = there {
                folder.write("a.loser", bytes);
            }
            let expect = folder.known("a");
            let step = Step::KeepAs { path: path("a"), expect, copy: path("a.loser") };
            let answer = folder.take(vec![step]);
            assert_eq!(answer.is_ok(), good, "{because}: {answer:?}");
            assert_eq!(folder.read("a.loser").as_deref(), there.or(Some("mine")), "{because}");
        }
    }

    #[test]
    fn a_write_while_being_dressed_is_never_taken_for_ours() {
        for (bytes, moment) in [
            ("unseen", Moment::Checked),
            ("OLD", Moment::Checked),
            ("unseen", Moment::Dressed),
            ("OLD", Moment::Dressed),
        ] {
            let folder = Folder::new();
            folder.write("a", "old");
            let expect = folder.known("a");
            let user = folder.root().join("a");
            folder.at(moment, move || std::fs::write(&user, bytes).unwrap());
            let step = Step::Dress { path: path("a"), expect, mtime_ns: MTIME_NS, mode: 0o600 };
            assert_eq!(
                folder.take(vec![step]),
                Err(SettleError::Overtaken { path: path("a") }),
                "{bytes} at {moment:?}"
            );
            assert_eq!(folder.read("a").as_deref(), Some(bytes));
        }
    }

    #[test]
    fn a_directory_that_may_not_be_written_stays_as_it_is() {
        if rustix::process::geteuid().is_root() {
            return; // Nothing is denied to root.
        }
        let folder = Folder::new();
        std::fs::create_dir(folder.root().join("d")).unwrap();
        folder.write("d/a", "old");
        let expect = folder.known("d/a");
        let d = folder.root().join("d");
        std::fs::set_permissions(&d, PermissionsExt::from_mode(0o555)).unwrap();
        let steps = [
            folder.place("d/a", expect, "new"),
            folder.place("d/b", Expect::Nothing, "new"),
            Step::Trash { path: path("d/a"), expect },
            Step::MakeDirectory { path: path("d/c"), mode: 0o755 },
            Step::KeepAs { path: path("d/a"), expect, copy: path("d/a.loser") },
        ];
        for step in steps {
            let answer = folder.take(vec![step.clone()]);
            let denied = matches!(
                answer,
                Err(SettleError::Trouble {
                    trouble: syncd_core::flow::settle::Trouble::Denied,
                    ..
                })
            );
            assert!(denied, "{step:?}: {answer:?}");
        }
        assert_eq!(std::fs::metadata(&d).unwrap().mode() & 0o777, 0o555, "no chmod games");
        assert_eq!(folder.read("d/a").as_deref(), Some("old"));
        assert_eq!(folder.trashed(), []);
    }
}
