//! What one root's file system can do, tried out rather than guessed from its name.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{self, AtFlags, OFlags, RenameFlags};
use rustix::io::{self, Errno};

use super::system;

/// What a root's file system can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    /// The kernel resolves paths beneath a descriptor in one call.
    pub openat2: bool,
    /// Two names can be exchanged atomically.
    pub exchange: bool,
    /// A rename can refuse to replace.
    pub no_replace: bool,
    /// An inode can have two names.
    pub hard_links: bool,
    /// Files can share blocks.
    pub clone: bool,
    /// Symbolic links can be made.
    pub symlinks: bool,
    /// The executable bit is kept.
    pub exec_bit: bool,
    /// Names that differ only in case are different names.
    pub case_sensitive: bool,
    /// A composed and a decomposed character are different names.
    pub form_sensitive: bool,
    /// Names are listed as they were given.
    pub keeps_names: bool,
    /// Directories can be made durable by themselves.
    pub directory_sync: bool,
}

impl Abilities {
    /// Tells whether every name has a place of its own: what is found at one is not another's.
    #[must_use]
    pub fn tells_names_apart(&self) -> bool {
        self.case_sensitive && self.form_sensitive && self.keeps_names
    }

    /// Returns what can be known without touching the file system.
    pub(super) fn of_kernel(root: BorrowedFd<'_>) -> Self {
        Self { openat2: kernel_has_openat2(root), ..Self::default() }
    }

    /// Tries everything out with files in `dir`, a directory of our own, and removes them.
    pub(super) fn probe(root: BorrowedFd<'_>, dir: &OwnedFd) -> io::Result<Self> {
        sweep(dir)?;
        let result = probe_in(root, dir);
        sweep(dir)?;
        result
    }
}

/// Names used while probing; nothing else in the directory is touched.
const NAMES: [&str; 10] = [
    "probe-a",
    "probe-b",
    "probe-c",
    "probe-link",
    "probe-shared",
    "probe-case",
    "PROBE-CASE",
    COMPOSED,
    DECOMPOSED,
    DOTTED,
];

/// One name in the two forms of Unicode.
const COMPOSED: &str = "probe-\u{e9}";
const DECOMPOSED: &str = "probe-e\u{301}";

/// A name whose end some file systems cut off.
const DOTTED: &str = "probe-dot.";

fn probe_in(root: BorrowedFd<'_>, dir: &OwnedFd) -> io::Result<Abilities> {
    let a = make(dir, "probe-a", 0o600)?;
    make(dir, "probe-b", 0o700)?;
    make(dir, "probe-case", 0o600)?;
    let exec = system::stat_at(dir.as_fd(), b"probe-b")?.is_some_and(|s| s.st_mode & 0o100 != 0)
        && system::stat_of(&a)?.st_mode & 0o100 == 0;
    let exchange = fs::renameat_with(dir, "probe-a", dir, "probe-b", RenameFlags::EXCHANGE).is_ok();
    // It must both work and refuse: some file systems ignore the flag.
    let refuses = fs::renameat_with(dir, "probe-a", dir, "probe-b", RenameFlags::NOREPLACE)
        == Err(Errno::EXIST);
    let no_replace = refuses
        && fs::renameat_with(dir, "probe-a", dir, "probe-c", RenameFlags::NOREPLACE).is_ok();
    let hard_links = fs::linkat(dir, "probe-b", dir, "probe-link", AtFlags::empty()).is_ok();
    if hard_links {
        fs::unlinkat(dir, "probe-link", AtFlags::empty())?;
    }
    let symlinks = fs::symlinkat("nowhere", dir, "probe-link").is_ok();
    // The names above have changed hands.
    let shared = make(dir, "probe-shared", 0o600)?;
    io::write(&shared, b"x")?;
    Ok(Abilities {
        openat2: kernel_has_openat2(root),
        exchange,
        no_replace,
        hard_links,
        clone: system::clone_bytes(shared.as_fd(), a.as_fd()).is_ok(),
        symlinks,
        exec_bit: exec,
        case_sensitive: system::stat_at(dir.as_fd(), b"PROBE-CASE")?.is_none(),
        form_sensitive: form_sensitive(dir),
        keeps_names: [COMPOSED, DOTTED].iter().all(|name| keeps_name(dir, name)),
        directory_sync: fs::fsync(dir).is_ok(),
    })
}

/// Tells whether both forms of a name lead to files of their own. Where they cannot even be made
/// the answer is the safe one.
fn form_sensitive(dir: &OwnedFd) -> bool {
    make(dir, COMPOSED, 0o600).is_ok()
        && matches!(system::stat_at(dir.as_fd(), DECOMPOSED.as_bytes()), Ok(None))
}

fn keeps_name(dir: &OwnedFd, name: &str) -> bool {
    let listed = || system::names_in(dir.as_fd()).unwrap_or_default();
    make(dir, name, 0o600).is_ok() && listed().iter().any(|(n, _)| n == name.as_bytes())
}

fn make(dir: &OwnedFd, name: &str, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    system::open_at(dir.as_fd(), name.as_bytes(), flags, mode)
}

fn sweep(dir: &OwnedFd) -> io::Result<()> {
    for name in NAMES {
        match fs::unlinkat(dir, name, AtFlags::empty()) {
            // Some cannot even be asked for.
            Ok(()) | Err(Errno::NOENT | Errno::INVAL | Errno::ILSEQ) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Asks the kernel once per process; a sandbox that forbids the call counts as a lack.
fn kernel_has_openat2(root: BorrowedFd<'_>) -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let tried = system::open_beneath(root, b".", system::WAY);
        !matches!(tried, Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probing_leaves_nothing_behind_and_agrees_with_itself() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            system::open_at(
                fs::CWD,
                dir.path().as_os_str().as_encoded_bytes(),
                system::DIRECTORY,
                0,
            )
            .unwrap()
        };
        std::fs::write(dir.path().join("probe-a"), "left by a crash").unwrap();
        let first = Abilities::probe(open().as_fd(), &open()).unwrap();
        assert_eq!(Abilities::probe(open().as_fd(), &open()), Ok(first));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(first.tells_names_apart() && first.exec_bit && first.symlinks, "{first:?}");
    }
}
