//! Which directory a root is: that no other one is ever taken for it.
//!
//! Within a run the held descriptor's device and inode rule; across runs a random token, kept in
//! `.syncd/id` and in an attribute of the root, together with the inode. The device number is
//! never compared across runs: it changes at reboot.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, OFlags, XattrFlags};
use rustix::io::{self, Errno};
use syncd_core::model::{FolderId, RelPath};

use super::{Abilities, DiskError, OWN_NAME, OWNER_NAME, Root, system};

/// What is remembered of a root from one run to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootToken {
    /// 128 random bits, made when the root was prepared.
    pub token: [u8; 16],
    /// The root's inode number.
    pub inode: u64,
}

/// How a root was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attested {
    /// Token and inode are the remembered ones.
    Known(RootToken),
    /// The token file was gone, but inode and attribute proved the root; the file is back.
    Recreated(RootToken),
    /// Nothing was remembered; this is what to remember. `None` before [`Root::prepare`].
    First(Option<RootToken>),
}

/// Why a root is not the one it should be. The folder halts and deletes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootProblem {
    /// Nothing lies at the root's path.
    #[error("the folder's root is gone; it syncs again when the same directory is back")]
    Missing,
    /// Another directory lies at the root's path.
    #[error(
        "another directory lies where the folder's root was (is its disk mounted?); bring the \
         old one back, or take this one with 'syncctl folder adopt'"
    )]
    Replaced,
    /// The root's path leads to a symlink or a file.
    #[error("the folder's root is no directory")]
    NotADirectory,
    /// The token file holds another token than remembered.
    #[error(
        "the folder's root belongs to another folder or device; take it with 'syncctl folder \
         adopt' if that is meant"
    )]
    TokenForeign,
    /// The token file is gone and nothing else proves the root.
    #[error(
        "the folder's root has lost its '.syncd/id'; take it with 'syncctl folder adopt' if it \
         is the right one"
    )]
    TokenGone,
    /// The token is right but the inode is not: a copy or a restored backup.
    #[error(
        "the folder's root is a copy of the one that was synced; take it with 'syncctl folder \
         adopt' if that is meant"
    )]
    Copied,
    /// The root could not be looked at. Not absence: nothing is concluded.
    #[error("the folder's root cannot be looked at")]
    Unreadable(#[source] DiskError),
}

impl fmt::Display for RootToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.token))
    }
}

impl Root {
    /// Makes the folder's own place in the root and tries out the file system. What is there
    /// already stays; a token is made only when none is there. For a root that was prepared
    /// before, ask [`Root::attest`] first: this does not compare.
    ///
    /// `.syncd/` (mode 0700) gets `id`, `staging/`, `trash/`, `history/` and a minimal
    /// `.git`, so that `git clean -fdx` takes it for a nested repository and spares it.
    ///
    /// # Errors
    /// [`DiskError`] about `.syncd`: [`DiskError::NoWay`] when a symlink or file has its name.
    pub fn prepare(&self, folder: &FolderId) -> Result<RootToken, DiskError> {
        let own = self.own().clone();
        let failed = |errno| DiskError::of(&own, errno);
        let outer = self.prepare_outer()?;
        if own.depth() > 1 {
            make_directory(outer.as_fd(), folder.as_str()).map_err(failed)?;
        }
        let fd = self.open_dir(&own)?;
        for name in ["staging", "trash", "history", "kept"] {
            make_directory(fd.as_fd(), name).map_err(failed)?;
        }
        let probed = Abilities::probe(self.fd(), &fd).map_err(failed)?;
        // A second preparation keeps what the first one found.
        let _ = self.held.abilities.set(probed);
        let token = match read_token(&fd).map_err(failed)? {
            Some(token) => token,
            None => fresh_token().map_err(failed)?,
        };
        self.write_token(&fd, token).map_err(failed)?;
        Ok(RootToken { token, inode: self.held.inode })
    }

    /// Makes `.syncd/` with what guards it, and opens it: all that [`Root::prepare`] makes around
    /// the place of a single-file folder.
    ///
    /// # Errors
    /// As those of [`Root::prepare`].
    pub fn prepare_outer(&self) -> Result<OwnedFd, DiskError> {
        let outer = RelPath::parse(OWN_NAME).unwrap_or_else(|_| self.own().clone());
        let failed = |errno| DiskError::of(self.own(), errno);
        make_directory(self.fd(), OWN_NAME).map_err(failed)?;
        let outer = self.open_dir(&outer)?;
        guard_from_git(&outer).map_err(failed)?;
        Ok(outer)
    }

    /// Writes into the folder's own place whose folder it is, so that no other device takes the
    /// same tree.
    ///
    /// # Errors
    /// [`DiskError`] when it cannot be written.
    pub fn sign(&self, owner: &str) -> Result<(), DiskError> {
        let failed = |errno| DiskError::of(self.own(), errno);
        let fd = self.open_dir(self.own())?;
        write_new(&fd, "owner.new", owner.as_bytes()).map_err(failed)?;
        fs::renameat(&fd, "owner.new", &fd, OWNER_NAME).map_err(failed)
    }

    /// Writes whose folder it is where nobody has written that yet; `false` where somebody has. Of
    /// several that try at once exactly one succeeds.
    ///
    /// # Errors
    /// [`DiskError`] when it cannot be written.
    pub fn claim(&self, owner: &str) -> Result<bool, DiskError> {
        let failed = |errno| DiskError::of(self.own(), errno);
        make_directory(self.fd(), OWN_NAME).map_err(failed)?;
        let fd = self.open_dir(self.own())?;
        let token = data_encoding::HEXLOWER.encode(&fresh_token().map_err(failed)?);
        let name = format!("owner.{token}");
        write_new(&fd, &name, owner.as_bytes()).map_err(failed)?;
        let swap = fs::RenameFlags::NOREPLACE;
        match fs::renameat_with(&fd, name.as_str(), &fd, OWNER_NAME, swap) {
            Ok(()) => return Ok(true),
            Err(Errno::EXIST) => {}
            // Where names cannot be kept from being replaced, a second one for a file can.
            Err(Errno::INVAL | Errno::NOSYS) => {
                let linked = fs::linkat(&fd, name.as_str(), &fd, OWNER_NAME, AtFlags::empty());
                if linked != Err(Errno::EXIST) {
                    linked.map_err(failed)?;
                    fs::unlinkat(&fd, name.as_str(), AtFlags::empty()).map_err(failed)?;
                    return Ok(true);
                }
            }
            Err(errno) => return Err(failed(errno)),
        }
        fs::unlinkat(&fd, name.as_str(), AtFlags::empty()).map_err(failed)?;
        Ok(false)
    }

    /// Tells whether the root is still the held one and, when something is `remembered` from an
    /// earlier run, the one of then. Ask before and after a scan and before each batch.
    ///
    /// # Errors
    /// [`RootProblem`] saying what is wrong; its text is for the user.
    pub fn attest(&self, remembered: Option<&RootToken>) -> Result<Attested, RootProblem> {
        self.is_in_place()?;
        let unreadable = |errno| RootProblem::Unreadable(DiskError::of(self.own(), errno));
        let found = match self.open_dir(self.own()) {
            Ok(fd) => read_token(&fd).map_err(unreadable)?,
            Err(DiskError::Missing { .. }) => None,
            Err(error) => return Err(RootProblem::Unreadable(error)),
        };
        let inode = self.held.inode;
        let Some(known) = remembered else {
            return Ok(Attested::First(found.map(|token| RootToken { token, inode })));
        };
        match found {
            Some(token) if token != known.token => Err(RootProblem::TokenForeign),
            Some(_) if inode != known.inode => Err(RootProblem::Copied),
            Some(_) => Ok(Attested::Known(*known)),
            None if inode == known.inode && self.attribute() == Some(known.token) => {
                make_directory(self.fd(), OWN_NAME).map_err(unreadable)?;
                if let Some(name) = self.own().parts().nth(1) {
                    let outer = self.own().parent().unwrap_or_else(RelPath::root);
                    let outer = self.open_dir(&outer).map_err(RootProblem::Unreadable)?;
                    let name = String::from_utf8_lossy(name);
                    make_directory(outer.as_fd(), &name).map_err(unreadable)?;
                }
                let fd = self.open_dir(self.own()).map_err(RootProblem::Unreadable)?;
                self.write_token(&fd, known.token).map_err(unreadable)?;
                Ok(Attested::Recreated(*known))
            }
            None if inode != known.inode => Err(RootProblem::Replaced),
            None => Err(RootProblem::TokenGone),
        }
    }

    /// Tells whether the root's path still leads to the held descriptor. One `stat`.
    ///
    /// # Errors
    /// [`RootProblem::Missing`], [`RootProblem::NotADirectory`], [`RootProblem::Replaced`] or
    /// [`RootProblem::Unreadable`].
    pub fn is_in_place(&self) -> Result<(), RootProblem> {
        let stat = match io::retry_on_intr(|| fs::lstat(self.path())) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Err(RootProblem::Missing),
            Err(Errno::NOTDIR) => return Err(RootProblem::NotADirectory),
            Err(errno) => {
                return Err(RootProblem::Unreadable(DiskError::of(&RelPath::root(), errno)));
            }
        };
        if system::kind_of(&stat) != Some(syncd_core::model::Kind::Directory) {
            return Err(RootProblem::NotADirectory);
        }
        if (system::device_of(&stat), stat.st_ino) == self.device_inode() {
            Ok(())
        } else {
            Err(RootProblem::Replaced)
        }
    }

    /// Writes the token where it is not yet, and makes it durable.
    fn write_token(&self, own: &OwnedFd, token: [u8; 16]) -> io::Result<()> {
        if read_token(own)? != Some(token) {
            let text = format!("{}\n", data_encoding::HEXLOWER.encode(&token));
            write_new(own, "id.new", text.as_bytes())?;
            fs::renameat(own, "id.new", own, "id")?;
        }
        if self.attribute() != Some(token) {
            // Where attributes are not kept the file alone proves the root.
            let name = self.attribute_name();
            let _ = fs::fsetxattr(self.fd(), name.as_str(), &token, XattrFlags::empty());
        }
        system::sync_directory(own.as_fd())?;
        system::sync_directory(self.fd())
    }

    fn attribute(&self) -> Option<[u8; 16]> {
        let mut token = [0; 17];
        let name = self.attribute_name();
        let read = fs::fgetxattr(self.fd(), name.as_str(), &mut token[..]).ok()?;
        token[..read].try_into().ok()
    }

    /// `user.syncd.id`; with the folder's name behind it for a single-file folder.
    fn attribute_name(&self) -> String {
        match self.own().parts().nth(1) {
            Some(folder) => format!("user.syncd.id.{}", String::from_utf8_lossy(folder)),
            None => "user.syncd.id".to_owned(),
        }
    }
}

/// Reads `id`; `None` when it is not there. A damaged one reads as a token that nobody has.
fn read_token(own: &OwnedFd) -> io::Result<Option<[u8; 16]>> {
    let fd = match system::open_at(own.as_fd(), b"id", system::READ, 0) {
        Err(Errno::NOENT) => return Ok(None),
        answer => answer?,
    };
    let mut text = [0; 64];
    let read = io::retry_on_intr(|| io::read(&fd, &mut text[..]))?;
    let digits = text[..read].trim_ascii();
    let token = data_encoding::HEXLOWER.decode(digits).ok().and_then(|bytes| bytes.try_into().ok());
    Ok(Some(token.unwrap_or_default()))
}

fn fresh_token() -> io::Result<[u8; 16]> {
    let mut token = [0; 16];
    getrandom::fill(&mut token).map_err(|_| Errno::IO)?;
    Ok(token)
}

/// Makes a directory of our own, or tightens the one that is there.
fn make_directory(dir: std::os::fd::BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match fs::mkdirat(dir, name, system::mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let fd = system::open_at(dir, name.as_bytes(), system::DIRECTORY, 0)?;
    if system::stat_of(&fd)?.st_mode & 0o7777 != 0o700 {
        fs::fchmod(&fd, system::mode(0o700))?;
    }
    Ok(())
}

/// Lays out the least that git takes for a repository; `git clean` spares nested repositories.
fn guard_from_git(own: &OwnedFd) -> io::Result<()> {
    make_directory(own.as_fd(), ".git")?;
    let git = system::open_at(own.as_fd(), b".git", system::DIRECTORY, 0)?;
    for name in ["objects", "refs"] {
        make_directory(git.as_fd(), name)?;
    }
    if system::stat_at(git.as_fd(), b"HEAD")?.is_none() {
        write_new(&git, "HEAD", b"ref: refs/heads/none\n")?;
    }
    Ok(())
}

/// Writes a small file of our own anew and makes it durable.
fn write_new(dir: &OwnedFd, name: &str, bytes: &[u8]) -> io::Result<()> {
    match fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = system::open_at(dir.as_fd(), name.as_bytes(), flags, 0o600)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = io::retry_on_intr(|| io::write(&fd, rest))?;
        rest = &rest[written..];
    }
    fs::fsync(&fd)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn folder() -> FolderId {
        FolderId::parse("test").unwrap()
    }

    fn prepared(at: &Path) -> (Root, RootToken) {
        std::fs::create_dir_all(at).unwrap();
        let root = Root::open(at).unwrap();
        let token = root.prepare(&folder()).unwrap();
        (root, token)
    }

    #[test]
    fn a_prepared_root_is_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("r");
        let (root, token) = prepared(&at);
        assert_eq!(root.attest(Some(&token)), Ok(Attested::Known(token)));
        assert_eq!(root.attest(None), Ok(Attested::First(Some(token))));
        let again = Root::open(&at).unwrap();
        assert_eq!(again.attest(Some(&token)), Ok(Attested::Known(token)));
        assert_eq!(again.prepare(&folder()), Ok(token), "a second preparation keeps the token");
        assert_eq!(Root::open(dir.path()).unwrap().attest(None), Ok(Attested::First(None)));
        for (name, mode) in [(".syncd", 0o700), (".syncd/staging", 0o700), (".syncd/id", 0o600)] {
            let meta = std::fs::symlink_metadata(at.join(name)).unwrap();
            let found = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o7777;
            assert_eq!(found, mode, "{name}");
        }
    }

    #[test]
    fn of_many_that_claim_a_root_at_once_one_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let claim = |owner: usize| {
            let root = Root::open(dir.path()).unwrap();
            root.claim(&format!("{owner}\n")).unwrap()
        };
        let won: Vec<usize> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8).map(|owner| scope.spawn(move || claim(owner))).collect();
            let done = tries.into_iter().map(|one| one.join().unwrap());
            done.enumerate().filter(|(_, got)| *got).map(|(owner, _)| owner).collect()
        });
        let [winner] = won[..] else { panic!("{won:?}") };
        let owner = std::fs::read_to_string(dir.path().join(".syncd").join(OWNER_NAME)).unwrap();
        assert_eq!(owner, format!("{winner}\n"));
        assert_eq!(std::fs::read_dir(dir.path().join(".syncd")).unwrap().count(), 1);
    }

    /// Does something to the root at a path.
    type Act = fn(&Path);

    /// What is then said of it.
    type Verdict = fn(RootToken) -> Result<Attested, RootProblem>;

    #[test]
    fn another_root_is_never_taken_for_this_one() {
        let rows: [(Act, Verdict, &str); 8] = [
            (|_| {}, |t| Ok(Attested::Known(t)), "nothing happened"),
            (
                |at| std::fs::remove_dir_all(at.join(".syncd")).unwrap(),
                |t| Ok(Attested::Recreated(t)),
                "our place was removed; inode and attribute prove the root",
            ),
            (
                |at| {
                    std::fs::write(at.join(".syncd/id"), "00112233445566778899aabbccddeeff")
                        .unwrap()
                },
                |_| Err(RootProblem::TokenForeign),
                "made by hand, or another folder's",
            ),
            (
                |at| std::fs::write(at.join(".syncd/id"), "").unwrap(),
                |_| Err(RootProblem::TokenForeign),
                "emptied",
            ),
            (
                |at| std::fs::rename(at, at.with_extension("old")).unwrap(),
                |_| Err(RootProblem::Missing),
                "moved away, or not mounted",
            ),
            (
                |at| {
                    std::fs::rename(at, at.with_extension("old")).unwrap();
                    std::fs::create_dir(at).unwrap();
                },
                |_| Err(RootProblem::Replaced),
                "an empty mount point",
            ),
            (
                |at| {
                    std::fs::rename(at, at.with_extension("old")).unwrap();
                    std::os::unix::fs::symlink(at.with_extension("old"), at).unwrap();
                },
                |_| Err(RootProblem::NotADirectory),
                "a symlink, even to the right one",
            ),
            (
                |at| {
                    std::fs::remove_dir_all(at.join(".syncd")).unwrap();
                    let root = Root::open(at).unwrap();
                    let _ = fs::fremovexattr(root.fd(), "user.syncd.id");
                },
                |_| Err(RootProblem::TokenGone),
                "nothing proves it",
            ),
        ];
        for (act, expected, because) in rows {
            let dir = tempfile::tempdir().unwrap();
            let at = dir.path().join("r");
            let (root, token) = prepared(&at);
            act(&at);
            assert_eq!(root.attest(Some(&token)), expected(token), "{because}");
        }
    }

    #[test]
    fn a_copy_of_the_root_is_not_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let (at, old) = (dir.path().join("r"), dir.path().join("old"));
        let (_, token) = prepared(&at);
        std::fs::rename(&at, &old).unwrap();
        prepared(&at);
        std::fs::copy(old.join(".syncd/id"), at.join(".syncd/id")).unwrap();
        let next_run = Root::open(&at).unwrap();
        assert_eq!(next_run.attest(Some(&token)), Err(RootProblem::Copied));
        assert_eq!(Root::open(&old).unwrap().attest(Some(&token)), Ok(Attested::Known(token)));
    }

    #[test]
    fn a_planted_symlink_is_not_prepared_through() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("r");
        std::fs::create_dir_all(&at).unwrap();
        std::os::unix::fs::symlink(dir.path(), at.join(OWN_NAME)).unwrap();
        let root = Root::open(&at).unwrap();
        let own = RelPath::parse(OWN_NAME).unwrap();
        assert_eq!(root.prepare(&folder()), Err(DiskError::NoWay { path: own }));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing written outside");
    }

    #[test]
    fn git_clean_spares_our_place() {
        let dir = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let mut command = Command::new("git");
            command.args(args).current_dir(dir.path()).env("GIT_CONFIG_GLOBAL", "/dev/null");
            command.output()
        };
        if git(&["init", "-q"]).is_err() {
            return; // There is no git to be spared from.
        }
        let (root, token) = prepared(dir.path());
        std::fs::write(dir.path().join(".syncd/staging/kept"), "x").unwrap();
        std::fs::write(dir.path().join("untracked"), "x").unwrap();
        assert!(git(&["clean", "-fdx", "-q"]).unwrap().status.success());
        assert!(!dir.path().join("untracked").exists(), "the cleaning was in earnest");
        assert!(dir.path().join(".syncd/staging/kept").exists());
        assert_eq!(root.attest(Some(&token)), Ok(Attested::Known(token)));
    }
}
