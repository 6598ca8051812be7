//! The disk below one folder root, reached only through the root's held descriptor.
//!
//! # Invariants
//! - No call here follows a symlink, leaves the root or crosses into another mount.
//! - An error is never absence: only a name that the file system says is not there is missing.
//! - Nothing here changes what is the user's; [`Root::prepare`] writes below `.syncd/` alone.

mod abilities;
mod error;
pub mod holes;
mod identity;
mod odd;
mod reach;
mod single;
pub mod system;
mod unclosed;
pub mod writers;

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{self, Mode};
use rustix::io::Errno;
use syncd_core::model::{FolderId, RelPath};

use super::spare;

pub use abilities::Abilities;
pub use error::{DiskError, trouble_of};
pub use identity::{Attested, RootProblem, RootToken};
pub use odd::Odd;
pub use reach::{Listed, Lstat};
pub use single::Single;
pub use unclosed::Unclosed;

/// The directory in each root where syncd keeps what must lie on the same file system.
pub const OWN_NAME: &str = ".syncd";

/// The file in [`OWN_NAME`] that says whose folder it is: device id, name and home, a line each.
pub const OWNER_NAME: &str = "owner";

/// A folder's root: its descriptor, held open for as long as any clone of this lives.
#[derive(Debug, Clone)]
pub struct Root {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    fd: Arc<OwnedFd>,
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Where this folder's own things lie: `.syncd`, or `.syncd/FOLDER` for a single file.
    own: RelPath,
    /// The names of a single-file folder.
    single: Option<Single>,
    abilities: OnceLock<Abilities>,
}

impl Root {
    /// Opens a folder's root and holds it.
    ///
    /// # Errors
    /// [`DiskError`] about the root: [`DiskError::Missing`] when nothing is there,
    /// [`DiskError::NoWay`] when it is a symlink or no directory, [`DiskError::Refused`] when
    /// the system says no.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let own = RelPath::parse(OWN_NAME).map_err(|_| refused(Errno::INVAL))?;
        Self::hold(path, own, None)
    }

    /// Opens the directory of a single-file folder. Only the file called `name` in it belongs to
    /// the folder, with its conflict copies, and the folder's own things lie in `.syncd/FOLDER`,
    /// since several such folders may share a directory.
    ///
    /// # Errors
    /// Those of [`Root::open`], and [`DiskError::Refused`] when [`Single`] refuses the name.
    pub fn open_single(path: &Path, name: &[u8], folder: &FolderId) -> Result<Self, DiskError> {
        let own = RelPath::parse(format!("{OWN_NAME}/{folder}"));
        let own = own.map_err(|_| refused(Errno::INVAL))?;
        let single = Single::new(name).ok_or_else(|| refused(Errno::INVAL))?;
        Self::hold(path, own, Some(single))
    }

    fn hold(path: &Path, own: RelPath, single: Option<Single>) -> Result<Self, DiskError> {
        let held = spare::lending(|| fs::open(path, system::DIRECTORY, Mode::empty()));
        let fd = held.map_err(|errno| DiskError::of(&RelPath::root(), errno))?;
        let stat = system::stat_of(&fd).map_err(refused)?;
        Ok(Self {
            held: Arc::new(Held {
                fd: Arc::new(fd),
                path: path.to_owned(),
                device: system::device_of(&stat),
                inode: stat.st_ino,
                own,
                single,
                abilities: OnceLock::new(),
            }),
        })
    }

    /// Returns the held descriptor of the root.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.held.fd.as_fd()
    }

    /// Tells whether the file system takes no writes, as after `mount -o remount,ro` or an error
    /// of its disk. What cannot be asked counts as writable: the next write tells.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        let flags = fs::fstatvfs(self.fd()).map(|stat| stat.f_flag);
        flags.is_ok_and(|flags| flags.contains(fs::StatVfsMountFlags::RDONLY))
    }

    /// Returns the path that the root was opened by, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.held.path
    }

    /// Returns device and inode number of the held root. The device changes at reboot.
    #[must_use]
    pub fn device_inode(&self) -> (u64, u64) {
        (self.held.device, self.held.inode)
    }

    /// Returns where the folder's own things lie: `.syncd`, or `.syncd/FOLDER`.
    #[must_use]
    pub fn own(&self) -> &RelPath {
        &self.held.own
    }

    /// Returns what the file system can do. Before [`Root::prepare`] has tried it out, only what
    /// the kernel says is known and the rest counts as missing.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        self.held.abilities.get().copied().unwrap_or_else(|| Abilities::of_kernel(self.fd()))
    }

    /// Returns the same root as if the file system could do no more than `abilities`, to take
    /// the road of lesser file systems.
    #[must_use]
    pub fn limited_to(&self, abilities: Abilities) -> Self {
        let held = &self.held;
        Self {
            held: Arc::new(Held {
                fd: Arc::clone(&held.fd),
                path: held.path.clone(),
                device: held.device,
                inode: held.inode,
                own: held.own.clone(),
                single: held.single.clone(),
                abilities: OnceLock::from(abilities),
            }),
        }
    }

    /// Returns the names of a single-file folder; `None` for a directory.
    #[must_use]
    pub fn single(&self) -> Option<&Single> {
        self.held.single.as_ref()
    }

    /// Tells whether `path` is the user's and part of this folder: not below `.syncd` and, in a
    /// single-file folder, the file or a conflict copy of it.
    #[must_use]
    pub fn is_ours(&self, path: &RelPath) -> bool {
        !path.is_reserved() && self.single().is_none_or(|single| single.name_here(path).is_some())
    }

    /// Returns the name under which `path` lies in its directory. Other than its own last name
    /// only in a single-file folder.
    ///
    /// # Errors
    /// [`DiskError::Foreign`] when it does not belong to the folder.
    pub fn name_of<'a>(&self, path: &'a RelPath) -> Result<Cow<'a, [u8]>, DiskError> {
        match self.single().filter(|_| !path.is_reserved()) {
            None => Ok(Cow::Borrowed(path.name())),
            Some(single) => {
                let name = single.name_here(path).map(Cow::Owned);
                name.ok_or_else(|| DiskError::Foreign { path: path.clone() })
            }
        }
    }

    /// Returns `path` with the names that it has on this disk, for people.
    #[must_use]
    pub fn path_here<'a>(&self, path: &'a RelPath) -> Cow<'a, RelPath> {
        let here = self.single().and_then(|single| single.name_here(path));
        let here = here.and_then(|name| RelPath::parse(name).ok());
        here.map_or(Cow::Borrowed(path), Cow::Owned)
    }

    /// Returns the last name of the path of what a listing of `dir` calls `name`; `None` when it
    /// does not belong to the folder.
    pub(super) fn listed_as(&self, dir: &RelPath, name: Vec<u8>) -> Option<Vec<u8>> {
        match self.single().filter(|_| dir.is_root()) {
            None => Some(name),
            Some(single) => single.path_of(&name).map(|path| path.name().to_vec()),
        }
    }
}

fn refused(source: Errno) -> DiskError {
    DiskError::Refused { path: RelPath::root(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use syncd_core::model::Kind;

    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    /// Both ways down: in one call, and name by name.
    fn roots(at: &Path) -> [(Root, &'static str); 2] {
        let root = Root::open(at).unwrap();
        let walked = root.limited_to(Abilities { openat2: false, ..root.abilities() });
        [(root, "in one call"), (walked, "name by name")]
    }

    #[test]
    fn a_root_is_a_directory_itself() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "x").unwrap();
        std::fs::create_dir(at("real")).unwrap();
        symlink("real", at("link")).unwrap();
        let root = RelPath::root();
        for (name, error, because) in [
            ("gone", DiskError::Missing { path: root.clone() }, "nothing there"),
            ("file", DiskError::NoWay { path: root.clone() }, "a file"),
            ("link", DiskError::NoWay { path: root.clone() }, "a symlink, even to a directory"),
        ] {
            assert_eq!(Root::open(&at(name)).unwrap_err(), error, "{because}");
        }
        assert!(Root::open(&at("real")).is_ok());
    }

    #[test]
    fn what_lies_at_a_path_is_told_without_following() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("d/e")).unwrap();
        std::fs::write(at("d/f"), "four").unwrap();
        std::fs::set_permissions(at("d/f"), PermissionsExt::from_mode(0o4751)).unwrap();
        symlink("/etc", at("out")).unwrap();
        fs::mkfifoat(fs::CWD, at("pipe"), Mode::RUSR).unwrap();
        for (root, how) in roots(dir.path()) {
            for (name, kind, because) in [
                ("d", Some(Some(Kind::Directory)), "a directory"),
                ("d/f", Some(Some(Kind::File)), "a file"),
                ("out", Some(Some(Kind::Symlink)), "the link, not its target"),
                ("pipe", Some(None), "never synced"),
                ("gone", None, "not there"),
                ("gone/x", None, "its parent is not there"),
                ("d/f/x", None, "below a file there is nothing"),
                ("out/passwd", None, "below a symlink there is nothing of ours"),
            ] {
                let told = root.stat(&path(name)).unwrap();
                assert_eq!(told.map(|told| told.kind), kind, "{because}, {how}");
            }
            let told = root.stat(&path("d/f")).unwrap().unwrap();
            assert_eq!((told.key.size, told.key.mode, told.nlink), (4, 0o751, 1), "{how}");
            assert_eq!(root.read_link(&path("out")), Ok(b"/etc".to_vec()), "{how}");
        }
    }

    #[test]
    fn only_regular_files_below_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("d")).unwrap();
        std::fs::write(at("d/f"), "x").unwrap();
        symlink("d/f", at("link")).unwrap();
        symlink("d", at("way")).unwrap();
        fs::mkfifoat(fs::CWD, at("pipe"), Mode::RUSR).unwrap();
        for (root, how) in roots(dir.path()) {
            assert!(root.open_file(&path("d/f")).is_ok(), "{how}");
            for (name, because) in [("d", "a directory"), ("link", "a symlink"), ("pipe", "a pipe")]
            {
                let error = DiskError::OtherKind { path: path(name) };
                assert_eq!(root.open_file(&path(name)).unwrap_err(), error, "{because}, {how}");
            }
            let missing = root.open_file(&path("gone")).unwrap_err();
            assert_eq!(missing, DiskError::Missing { path: path("gone") }, "{how}");
            let error = root.open_file(&path("way/f")).unwrap_err();
            assert_eq!(error, DiskError::NoWay { path: path("way") }, "{how}");
            let error = root.open_dir(&path("way")).unwrap_err();
            assert_eq!(error, DiskError::NoWay { path: path("way") }, "{how}");
        }
    }

    #[test]
    fn a_listing_is_sorted_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut names: Vec<String> = (0..3000).map(|n| format!("a rather long name {n}")).collect();
        names.iter().for_each(|name| std::fs::write(dir.path().join(name), "").unwrap());
        names.sort();
        let listed = Root::open(dir.path()).unwrap().list(&RelPath::root()).unwrap();
        assert!(listed.iter().all(|listed| listed.kind == Some(Kind::File)));
        let listed: Vec<String> =
            listed.into_iter().map(|listed| String::from_utf8(listed.name).unwrap()).collect();
        assert_eq!(listed, names);
    }

    #[test]
    fn a_single_file_folder_is_the_one_name() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["mine", "other"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("d")).unwrap();
        let folder = FolderId::parse("notes").unwrap();
        let root = Root::open_single(dir.path(), b"mine", &folder).unwrap();
        let token = root.prepare(&folder).unwrap();
        assert_eq!(root.own(), &path(".syncd/notes"));
        assert!(dir.path().join(".syncd/notes/staging").is_dir());
        let listed = root.list(&RelPath::root()).unwrap();
        assert_eq!(listed.iter().map(|l| &l.name[..]).collect::<Vec<_>>(), [b"file"]);
        assert!(root.is_ours(&path("file")) && root.stat(&path("file")).unwrap().is_some());
        assert_eq!(*root.path_here(&path("file")), path("mine"));
        for other in ["other", "mine"] {
            assert!(!root.is_ours(&path(other)));
            assert_eq!(root.stat(&path(other)), Err(DiskError::Foreign { path: path(other) }));
            assert_eq!(
                root.open_file(&path(other)).unwrap_err(),
                DiskError::Foreign { path: path(other) }
            );
        }
        assert_eq!(root.open_dir(&path("d")).unwrap_err(), DiskError::Foreign { path: path("d") });
        std::fs::remove_dir_all(dir.path().join(".syncd")).unwrap();
        assert_eq!(root.attest(Some(&token)), Ok(Attested::Recreated(token)));
    }

    #[test]
    fn a_mount_below_the_root_is_not_entered() {
        // Needs a mount that is always there; the proc file system below `/` is.
        let root = Root::open(Path::new("/")).unwrap();
        let walked = root.limited_to(Abilities::default());
        for root in [root, walked] {
            let error = root.open_dir(&path("proc")).unwrap_err();
            assert_eq!(error, DiskError::OtherDevice { path: path("proc") });
            assert_eq!(root.stat(&path("proc")).unwrap().unwrap().kind, None);
        }
    }
}
