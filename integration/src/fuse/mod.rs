//! A small file system in memory, mounted by FUSE, for tests of how syncd lives on disks that
//! are not as one would like them: that take names for one another ([`Form`]), that fail, and
//! whose machine loses its power in the middle ([`Mounted::strike_at`], [`Loss`]).
//!
//! # Invariants
//! - Nothing here shares code with the daemon, which finds out by itself what the disk does.
//! - A name is found however the form lets it be spelt, and listed as it was given (or
//!   decomposed). Names that are no text are refused, as the file systems that fold names do.
//! - What is struck changes nothing any more until it is told to go on.

mod faults;
mod fs;
mod names;
mod platter;
mod tree;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use fuser::{BackgroundSession, Config, Errno, INodeNo, MountOption};

use self::faults::Faults;
pub use self::faults::Strike;
use self::platter::Platter;
pub use self::platter::{Contents, Loss};
use self::tree::Tree;

/// What a file system does with the names it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Keeps them and tells all of them apart, like ext4.
    Exact,
    /// Keeps them and folds case and Unicode's forms, like APFS and NTFS.
    Kept,
    /// Writes them decomposed, like HFS+.
    Decomposed,
}

/// A mounted file system; it is gone when this is dropped.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    disk: Arc<Mutex<Disk>>,
    _session: BackgroundSession,
}

impl Drop for Mounted {
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

impl Mounted {
    /// Mounts an empty one at a directory; `None` where that is not allowed.
    #[must_use]
    pub fn mount(at: &Path, form: Form) -> Option<Self> {
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("syncd-test".to_owned()), MountOption::DefaultPermissions];
        let tree = Tree::new(form);
        let platter = Platter::new(&tree);
        let disk = Arc::new(Mutex::new(Disk { tree, platter, faults: Faults::default() }));
        match fuser::spawn_mount(Asked(Arc::clone(&disk)), at, &config) {
            Ok(session) => Some(Self { at: at.to_owned(), disk, _session: session }),
            Err(error) => {
                eprintln!("no FUSE here: {error}");
                None
            }
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Disk) -> T) -> T {
        act(&mut self.disk.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets `strike` come before the change of the disk that is the `nth` from now on, the first
    /// being 1. Changes are all that write, and what asks for durability.
    pub fn strike_at(&self, nth: u64, strike: Strike) {
        self.with(|disk| disk.faults.arm(nth, strike));
    }

    /// Tells whether the strike has come.
    #[must_use]
    pub fn is_struck(&self) -> bool {
        self.with(|disk| disk.faults.is_struck())
    }

    /// Lets no strike come any more, and the disk go on; returns how many changes there were
    /// since it was armed.
    pub fn calm(&self) -> u64 {
        self.with(|disk| {
            disk.platter.sweep(&mut disk.tree);
            disk.faults.calm()
        })
    }

    /// Takes from the disk what a power loss may take from it now. Nobody may be using it.
    pub fn lose_power(&self, loss: Loss) {
        self.with(|disk| disk.platter.lose(&mut disk.tree, loss));
    }
}

/// What is there, what of it would survive a power loss, and what goes wrong.
#[derive(Debug)]
struct Disk {
    tree: Tree,
    platter: Platter,
    faults: Faults,
}

/// The file system as the kernel asks it.
#[derive(Debug)]
struct Asked(Arc<Mutex<Disk>>);

impl Asked {
    fn with<T>(&self, look: impl FnOnce(&mut Tree) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).tree)
    }

    /// Makes a change that may enter or take away names in `dirs`.
    fn change<T>(
        &self,
        dirs: &[INodeNo],
        act: impl FnOnce(&mut Tree) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut disk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        disk.faults.pass()?;
        let before: Vec<_> = dirs.iter().map(|dir| (dir.0, disk.tree.names(*dir))).collect();
        let done = act(&mut disk.tree)?;
        let Disk { tree, platter, .. } = &mut *disk;
        platter.note(&before, tree);
        Ok(done)
    }

    /// Makes a file, or the names in a directory, durable.
    fn sync(&self, ino: INodeNo) -> Result<(), Errno> {
        let mut disk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        disk.faults.pass()?;
        let Disk { tree, platter, .. } = &mut *disk;
        platter.sync(tree, ino)
    }
}
