//! Where the files of one instance lie.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use etcetera::base_strategy::{BaseStrategy, Xdg};

use crate::{HomeError, disk};

/// The environment variable that names the home when `--home` does not.
pub const HOME_VARIABLE: &str = "SYNCD_HOME";

/// The places of one instance: one directory for all, or the XDG base directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    config_dir: PathBuf,
    state_dir: PathBuf,
}

impl Home {
    /// Finds the home: `flag` if given, else `SYNCD_HOME` unless empty, else `syncd` in
    /// `XDG_CONFIG_HOME` and `XDG_STATE_HOME`, on every system.
    ///
    /// # Errors
    /// [`HomeError::Unnamed`] when `flag` is empty; [`HomeError::NoPlace`] when nothing says
    /// where the user's files lie.
    pub fn resolve(flag: Option<&Path>) -> Result<Self, HomeError> {
        let named = std::env::var_os(HOME_VARIABLE);
        Self::choose(flag, named, || Xdg::new().map_err(|_| HomeError::NoPlace))
    }

    fn choose<P: BaseStrategy>(
        flag: Option<&Path>,
        named: Option<OsString>,
        places: impl FnOnce() -> Result<P, HomeError>,
    ) -> Result<Self, HomeError> {
        match (flag, named.filter(|dir| !dir.is_empty())) {
            (Some(dir), _) if dir.as_os_str().is_empty() => Err(HomeError::Unnamed),
            (Some(dir), _) => Ok(Self::at(dir)),
            (None, Some(dir)) => Ok(Self::at(Path::new(&dir))),
            (None, None) => Ok(Self::among(&places()?)),
        }
    }

    /// Returns the home with everything under `dir`; a relative `dir` is taken from where the
    /// process stands now.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
        Self { config_dir: dir.clone(), state_dir: dir }
    }

    fn among(places: &impl BaseStrategy) -> Self {
        let state = places.state_dir().unwrap_or_else(|| places.data_dir());
        Self { config_dir: places.config_dir().join("syncd"), state_dir: state.join("syncd") }
    }

    /// Returns what a person types to run `program` with `words` on this home: with `--home` unless
    /// it is the usual place. `words` may be empty.
    #[must_use]
    pub fn command(&self, program: &str, words: &str) -> String {
        let option = match self.config_dir == self.state_dir {
            true => format!("--home {}", quoted(&self.state_dir.to_string_lossy())),
            false => String::new(),
        };
        let parts = [program, &option, words].into_iter().filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join(" ")
    }

    /// Returns the directory in which state lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.state_dir
    }

    /// Returns the settings' file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.config_dir.join("config.toml")
    }

    /// Returns the file of the device's secret key.
    #[must_use]
    pub fn identity_path(&self) -> PathBuf {
        self.state_dir.join("identity.key")
    }

    /// Returns the ledger's file.
    #[must_use]
    pub fn ledger_path(&self) -> PathBuf {
        self.state_dir.join("ledger")
    }

    /// Returns the directory of the index store.
    #[must_use]
    pub fn index_dir(&self) -> PathBuf {
        self.state_dir.join("index")
    }

    /// Returns where the control socket, or a link to it, lies. Too long for `connect` in a long
    /// home: see [`Home::connect_path`].
    #[must_use]
    pub fn socket_path(&self) -> PathBuf {
        self.state_dir.join("control.sock")
    }

    /// Returns the file that says where browsers are served.
    #[must_use]
    pub fn http_addr_path(&self) -> PathBuf {
        self.state_dir.join("http.addr")
    }

    /// Returns the file of the browsers' token.
    #[must_use]
    pub fn http_token_path(&self) -> PathBuf {
        self.state_dir.join("http.token")
    }

    /// Returns the file whose lock says that a daemon works here.
    pub(crate) fn lock_path(&self) -> PathBuf {
        self.state_dir.join("lock")
    }

    /// Returns the file whose lock orders those who change settings or make the identity.
    pub(crate) fn edit_lock_path(&self) -> PathBuf {
        self.config_dir.join("config.lock")
    }

    /// Tries whether the disk takes `bytes` more of state. Blocks.
    ///
    /// # Errors
    /// [`HomeError::Disk`] saying why not.
    pub fn try_room(&self, bytes: usize) -> Result<(), HomeError> {
        let path = self.dir().to_path_buf();
        disk::try_room(&path, bytes).map_err(|source| HomeError::Disk {
            action: "write to",
            path,
            source,
        })
    }

    /// Makes the home's directories, readable by the owner alone. Existing ones stay as they
    /// are.
    ///
    /// # Errors
    /// [`HomeError::NoDirectory`] when a file lies there; [`HomeError::Disk`] when a directory
    /// cannot be made; [`HomeError::OpenToOthers`] when everybody may write to one that exists.
    pub fn create(&self) -> Result<(), HomeError> {
        for dir in [&self.config_dir, &self.state_dir] {
            if dir.is_file() {
                return Err(HomeError::NoDirectory { path: dir.clone() });
            }
            disk::make_private_dir(dir).map_err(|source| HomeError::Disk {
                action: "make",
                path: dir.clone(),
                source,
            })?;
            if disk::mode_of(dir).is_some_and(|mode| mode & 0o002 != 0) {
                return Err(HomeError::OpenToOthers { path: dir.clone() });
            }
        }
        Ok(())
    }
}

/// Writes text so that a shell takes it as one word.
#[must_use]
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// XDG base directories under a place of the test's choice.
    struct Bases(PathBuf);

    impl BaseStrategy for Bases {
        fn home_dir(&self) -> &Path {
            &self.0
        }
        fn config_dir(&self) -> PathBuf {
            self.0.join("config")
        }
        fn data_dir(&self) -> PathBuf {
            self.0.join("data")
        }
        fn cache_dir(&self) -> PathBuf {
            self.0.join("cache")
        }
        fn state_dir(&self) -> Option<PathBuf> {
            Some(self.0.join("state"))
        }
        fn runtime_dir(&self) -> Option<PathBuf> {
            None
        }
    }

    #[test]
    fn a_home_is_chosen_by_flag_then_variable_then_xdg() {
        let xdg = Some("/xdg");
        for (flag, named, places, found, because) in [
            (Some("/flag"), Some("/named"), xdg, Some("/flag"), "the flag rules"),
            (None, Some("/named"), xdg, Some("/named"), "then the variable"),
            (None, Some(""), xdg, Some("/xdg/state/syncd"), "an empty variable is none"),
            (None, None, xdg, Some("/xdg/state/syncd"), "then the XDG places"),
            (Some(""), Some("/named"), xdg, None, "an empty flag is a mistake"),
            (None, None, None, None, "nowhere to go"),
        ] {
            let home = Home::choose(flag.map(Path::new), named.map(OsString::from), || {
                places.map(|dir| Bases(dir.into())).ok_or(HomeError::NoPlace)
            });
            let dir = home.ok().map(|home| home.dir().to_path_buf());
            assert_eq!(dir, found.map(PathBuf::from), "{because}");
        }
    }

    #[test]
    fn settings_and_state_lie_apart_only_in_xdg_places() {
        let xdg = Home::among(&Bases("/u".into()));
        assert_eq!(xdg.config_path(), Path::new("/u/config/syncd/config.toml"));
        assert_eq!(xdg.identity_path(), Path::new("/u/state/syncd/identity.key"));
        let home = Home::at(Path::new("/h"));
        for (path, name) in [
            (home.config_path(), "config.toml"),
            (home.identity_path(), "identity.key"),
            (home.ledger_path(), "ledger"),
            (home.index_dir(), "index"),
            (home.socket_path(), "control.sock"),
            (home.http_addr_path(), "http.addr"),
            (home.http_token_path(), "http.token"),
        ] {
            assert_eq!(path, Path::new("/h").join(name), "the interface names it");
        }
        assert!(Home::at(Path::new("here")).dir().is_absolute(), "the daemon may change directory");
    }

    #[test]
    fn what_is_typed_names_the_home_where_it_must() {
        let usual = Home::among(&Bases("/u".into()));
        for (home, program, words, typed, because) in [
            (&usual, "syncd", "", "syncd", "the usual place goes without saying"),
            (&usual, "syncctl", "init", "syncctl init", "so it does here"),
            (&Home::at("/h".as_ref()), "syncctl", "init", "syncctl --home /h init", "one's own"),
            (&Home::at("/h".as_ref()), "syncd", "", "syncd --home /h", "no words"),
            (&Home::at("/a b".as_ref()), "syncd", "", "syncd --home '/a b'", "one word"),
        ] {
            assert_eq!(home.command(program, words), typed, "{because}");
        }
    }

    #[test]
    fn a_new_home_is_private_and_an_open_one_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(&root.path().join("a/b"));
        home.create().unwrap();
        home.create().unwrap();
        assert_eq!(disk::mode_of(home.dir()), Some(0o700));

        for (mode, fits, because) in
            [(0o755, true, "others only look"), (0o777, false, "others could swap the key")]
        {
            fs::set_permissions(home.dir(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(home.create().is_ok(), fits, "{because}");
            assert_eq!(disk::mode_of(home.dir()), Some(mode), "a directory of the user's stays");
        }
        let error = home.create().unwrap_err().to_string();
        assert!(error.contains("chmod go-w /"), "{error}");
    }
}
