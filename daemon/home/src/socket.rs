//! Where the control socket is bound, and where it is found.
//!
//! The kernel takes socket paths of about a hundred bytes. A longer home keeps a link in its
//! place, and the socket lies in the user's runtime directory.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use syncd_core::model::ContentId;

use crate::{Home, HomeError, HomeLock};

/// Homes up to this long hold their socket themselves: with `/control.sock` and the final NUL
/// that is 104 bytes, what the strictest kernel takes.
const HOME_BYTES_MAX: usize = 90;

/// Longest path of a socket, without the final NUL.
const SOCKET_BYTES_MAX: usize = 103;

impl Home {
    /// Returns where the socket is to be bound. For a home longer than 90 bytes that is in the
    /// runtime directory, and `control.sock` in the home is made a link to it; the directories
    /// are made where they are missing.
    ///
    /// A socket that lies there already is left alone: see [`HomeLock::prepare_socket`].
    ///
    /// # Errors
    /// [`HomeError::NoSocketPlace`] when there is no private directory with a short enough path;
    /// [`HomeError::NoSocket`] when something else lies where the link belongs;
    /// [`HomeError::Disk`] when the link cannot be made.
    pub fn bind_path(&self) -> Result<PathBuf, HomeError> {
        if self.dir().as_os_str().len() <= HOME_BYTES_MAX {
            return Ok(self.socket_path());
        }
        let target = self.short_socket_path(&runtime_dirs())?;
        let link = self.socket_path();
        if fs::read_link(&link).is_ok_and(|found| found == target) {
            return Ok(target);
        }
        remove_socket(&link)?;
        symlink(&target, &link).map_err(|source| disk_error("make", &link, source))?;
        Ok(target)
    }

    /// Returns where to connect to: [`Home::socket_path`], or what it is a link to.
    #[must_use]
    pub fn connect_path(&self) -> PathBuf {
        let path = self.socket_path();
        fs::read_link(&path).unwrap_or(path)
    }

    fn short_socket_path(&self, dirs: &[PathBuf]) -> Result<PathBuf, HomeError> {
        let home = fs::canonicalize(self.dir()).unwrap_or_else(|_| self.dir().to_path_buf());
        let name = &ContentId::of(home.as_os_str().as_bytes()).hex()[..16];
        dirs.iter()
            .map(|dir| (dir, dir.join(format!("{name}.sock"))))
            .filter(|(_, path)| path.as_os_str().len() <= SOCKET_BYTES_MAX)
            .find(|(dir, _)| {
                // One that is there already is looked at like a new one.
                let _ = DirBuilder::new().mode(0o700).create(dir);
                is_private(dir)
            })
            .map(|(_, path)| path)
            .ok_or_else(|| HomeError::NoSocketPlace { home: self.dir().to_path_buf() })
    }
}

impl HomeLock {
    /// Returns [`Home::bind_path`] with what an earlier holder left there removed, so that a
    /// socket can be bound at once. Whoever has the lock knows that nobody listens there.
    ///
    /// # Errors
    /// As [`Home::bind_path`]; [`HomeError::NoSocket`] when what lies there is no socket.
    pub fn prepare_socket(&self) -> Result<PathBuf, HomeError> {
        let path = self.home().bind_path()?;
        remove_socket(&path)?;
        Ok(path)
    }
}

/// Lists where sockets of long homes may lie, best first.
fn runtime_dirs() -> Vec<PathBuf> {
    let owned = format!("syncd-{}", rustix::process::geteuid().as_raw());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("syncd"))
        .into_iter()
        .chain([std::env::temp_dir().join(&owned), Path::new("/tmp").join(&owned)])
        .collect()
}

/// Tells whether `dir` is a directory, no link, of this user and closed to all others. In a
/// directory for everybody somebody else may have made it first.
fn is_private(dir: &Path) -> bool {
    fs::symlink_metadata(dir).is_ok_and(|meta| {
        meta.is_dir()
            && meta.uid() == rustix::process::geteuid().as_raw()
            && meta.mode() & 0o077 == 0
    })
}

/// Removes the socket or link at `path`, and nothing else.
fn remove_socket(path: &Path) -> Result<(), HomeError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() || meta.is_symlink() => {
            fs::remove_file(path).map_err(|source| disk_error("remove", path, source))
        }
        Ok(_) => Err(HomeError::NoSocket { path: path.to_path_buf() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(disk_error("look at", path, source)),
    }
}

fn disk_error(action: &'static str, path: &Path, source: io::Error) -> HomeError {
    HomeError::Disk { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    /// Returns a home whose path has exactly `bytes` bytes.
    fn home_of_length(root: &Path, bytes: usize) -> Home {
        let fill = bytes - root.as_os_str().len() - 1;
        let home = Home::at(&root.join("h".repeat(fill)));
        home.create().unwrap();
        assert_eq!(home.dir().as_os_str().len(), bytes);
        home
    }

    #[test]
    fn homes_of_every_length_can_be_listened_in() {
        let root = tempfile::tempdir().unwrap();
        for (bytes, inside) in [(60, true), (90, true), (91, false), (230, false)] {
            let home = home_of_length(root.path(), bytes);
            let lock = home.lock().unwrap();
            let path = lock.prepare_socket().unwrap();
            assert_eq!(path == home.socket_path(), inside, "{bytes} bytes");
            let _listener = UnixListener::bind(&path).unwrap();
            assert_eq!(home.connect_path(), path);
            UnixStream::connect(home.connect_path()).expect("what is bound can be reached");
            assert_eq!(home.bind_path().unwrap(), path, "asking again changes nothing");
            UnixStream::connect(home.connect_path()).expect("nor does it take the socket away");
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_a_killed_daemon_left_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        for bytes in [60, 91] {
            let home = home_of_length(root.path(), bytes);
            let lock = home.lock().unwrap();
            for _ in 0..2 {
                // Dropping a listener leaves its socket, as a kill does.
                drop(UnixListener::bind(lock.prepare_socket().unwrap()).unwrap());
            }
            fs::remove_file(home.bind_path().unwrap()).unwrap();
        }
    }

    #[test]
    fn a_file_of_the_users_is_not_taken_for_a_stale_socket() {
        let root = tempfile::tempdir().unwrap();
        for bytes in [60, 91] {
            let home = home_of_length(root.path(), bytes);
            fs::write(home.socket_path(), "precious").unwrap();
            let error = home.lock().unwrap().prepare_socket().unwrap_err();
            assert!(matches!(error, HomeError::NoSocket { .. }), "{error}");
            assert_eq!(fs::read_to_string(home.socket_path()).unwrap(), "precious");
        }
    }

    #[test]
    fn a_socket_goes_only_where_nobody_else_can() {
        let root = tempfile::tempdir().unwrap();
        let dir = |name: &str, mode| {
            let dir = root.path().join(name);
            fs::create_dir(&dir).unwrap();
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
            dir
        };
        let (open, closed) = (dir("open", 0o755), dir("closed", 0o700));
        let (link, file) = (root.path().join("link"), root.path().join("file"));
        symlink(&closed, &link).unwrap();
        fs::write(&file, "").unwrap();
        let long = root.path().join("x".repeat(100));
        let home = Home::at(&root.path().join("home"));
        for (candidate, good, because) in [
            (&open, false, "others can look into it"),
            (&link, false, "a link may be bent"),
            (&file, false, "no directory"),
            (&long, false, "too long for the kernel"),
            (&root.path().join("gone/new"), false, "nothing is made above it"),
            (&root.path().join("new"), true, "made on the way"),
            (&closed, true, "ours alone"),
        ] {
            let found = home.short_socket_path(std::slice::from_ref(candidate));
            assert_eq!(found.is_ok(), good, "{because}: {found:?}");
            let next = home.short_socket_path(&[candidate.clone(), closed.clone()]);
            assert!(next.is_ok(), "the next place is tried: {because}");
        }
        let other = Home::at(&root.path().join("other"));
        let dirs = [closed];
        let both = [home, other].map(|home| home.short_socket_path(&dirs).unwrap());
        assert_ne!(both[0], both[1], "homes do not share a socket");
    }
}
