//! A small file system in memory that takes names for one another: it folds case and Unicode's
//! forms, and can write every name in one form. Mounted by FUSE, for tests of how syncd lives on
//! such disks.
//!
//! # Invariants
//! - Nothing here shares code with the daemon, which finds out by itself what the disk does.
//! - A name is found however it is spelt, and listed as it was given (or decomposed).
//! - Names that are no text are refused, as the file systems that fold names do.

mod fs;
mod names;
mod tree;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use fuser::{BackgroundSession, Config, MountOption};

use self::tree::Tree;

/// What a folding file system does with the names it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Keeps them, like APFS and NTFS.
    Kept,
    /// Writes them decomposed, like HFS+.
    Decomposed,
}

/// A mounted file system; it is gone when this is dropped.
#[derive(Debug)]
pub struct Folding {
    at: PathBuf,
    _session: BackgroundSession,
}

impl Drop for Folding {
    /// Takes it out of the tree while a daemon may still have it open, as it does when a test
    /// fails: the session cannot, and would leave a dead file system behind.
    fn drop(&mut self) {
        let attempts = [("fusermount3", ["-u", "-z"]), ("umount", ["--lazy", "--"])];
        for (program, options) in attempts {
            let mut command = Command::new(program);
            command.args(options).arg(&self.at).stdout(Stdio::null()).stderr(Stdio::null());
            if command.status().is_ok_and(|status| status.success()) {
                return;
            }
        }
    }
}

impl Folding {
    /// Mounts an empty one at a directory; `None` where that is not allowed.
    #[must_use]
    pub fn mount(at: &Path, form: Form) -> Option<Self> {
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("folding".to_owned()), MountOption::DefaultPermissions];
        let disk = Disk { tree: Mutex::new(Tree::new(form)) };
        match fuser::spawn_mount(disk, at, &config) {
            Ok(session) => Some(Self { at: at.to_owned(), _session: session }),
            Err(error) => {
                eprintln!("no FUSE here: {error}");
                None
            }
        }
    }
}

/// The file system as the kernel asks it.
#[derive(Debug)]
struct Disk {
    tree: Mutex<Tree>,
}

impl Disk {
    fn with<T>(&self, act: impl FnOnce(&mut Tree) -> T) -> T {
        act(&mut self.tree.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
