//! The device's secret key, and the token for browsers.
//!
//! `identity.key` is text of three lines:
//!
//! ```text
//! syncd identity 1
//! seed 64 lower-case hexadecimal digits: the ed25519 secret key
//! device the device id that belongs to it
//! ```
//!
//! The first line names the version of the format; a reader refuses one it does not know. The
//! last line is there for people and notices damage: a key is never used under a wrong name.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use data_encoding::HEXLOWER;
use ed25519_dalek::SigningKey;
use syncd_core::model::DeviceId;

use crate::config::ConfigFile;
use crate::{Home, HomeError, disk};

/// The first line of a key file.
const HEADER: &str = "syncd identity 1";

/// Longest secret file that is read: ours have some 150 bytes.
const SECRET_BYTES_MAX: u64 = 4096;

/// Random bytes in the browsers' token.
const TOKEN_BYTES: usize = 32;

/// Who this device is.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The public key.
    pub device_id: DeviceId,
    seed: [u8; 32],
}

impl Identity {
    /// Returns the identity whose secret key is `seed`.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let key = SigningKey::from_bytes(&seed).verifying_key();
        Self { device_id: DeviceId(key.to_bytes()), seed }
    }

    /// Returns the secret key.
    #[must_use]
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    fn encode(&self) -> String {
        format!("{HEADER}\nseed {}\ndevice {}\n", HEXLOWER.encode(&self.seed), self.device_id)
    }

    fn decode(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines();
        match lines.next() {
            Some(HEADER) => {}
            Some(line) if line.starts_with("syncd identity ") => {
                return Err("a newer version of syncd wrote it");
            }
            Some(_) | None => return Err("its first line is not that of a key file"),
        }
        let seed = lines
            .next()
            .and_then(|line| line.strip_prefix("seed "))
            .and_then(|digits| HEXLOWER.decode(digits.as_bytes()).ok())
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or("its second line holds no seed")?;
        let device = lines
            .next()
            .and_then(|line| line.strip_prefix("device "))
            .and_then(|id| DeviceId::parse(id).ok())
            .ok_or("its third line holds no device id")?;
        let identity = Self::from_seed(seed);
        if identity.device_id == device { Ok(identity) } else { Err("seed and device id differ") }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("device_id", &self.device_id).finish_non_exhaustive()
    }
}

impl Home {
    /// Makes `identity.key` and `config.toml` where they are missing, and the directories for
    /// them. `name` is written into the settings even if they exist; a new `config.toml` without
    /// it names the host. May be repeated, also by several processes at once.
    ///
    /// # Errors
    /// [`HomeError::Name`] when `name` is no name; [`HomeError::NoRandomness`]; else as
    /// [`Home::create`], [`Home::identity`] and [`ConfigFile::save`].
    pub fn init(&self, name: Option<&str>) -> Result<Identity, HomeError> {
        self.create()?;
        let identity = self.identity_or_new()?;
        ConfigFile::begin(self, name)?;
        Ok(identity)
    }

    /// Refuses a home that was in use and has lost its identity or its settings, so that nobody
    /// gets new ones unasked: for the daemon, before [`Home::init`].
    ///
    /// # Errors
    /// [`HomeError::IdentityLost`], [`HomeError::SettingsLost`].
    pub fn check_whole(&self) -> Result<(), HomeError> {
        let is_gone = |path: &Path| matches!(path.try_exists(), Ok(false));
        let (path, config) = (self.identity_path(), self.config_path());
        if is_gone(&self.ledger_path()) {
            return Ok(());
        }
        if is_gone(&path) {
            return Err(HomeError::IdentityLost { init: self.command("syncctl", "init"), path });
        }
        if is_gone(&config) {
            return Err(HomeError::SettingsLost {
                init: self.command("syncctl", "init"),
                path: config,
            });
        }
        Ok(())
    }

    fn identity_or_new(&self) -> Result<Identity, HomeError> {
        let path = self.edit_lock_path();
        let _held = disk::hold(&path).map_err(disk_error("lock", &path))?;
        match self.identity() {
            Err(HomeError::NoIdentity { .. }) => {
                let identity = Identity::from_seed(random_bytes()?);
                self.write_secret(&self.identity_path(), &identity.encode())?;
                Ok(identity)
            }
            found => found,
        }
    }

    /// Reads who this device is.
    ///
    /// # Errors
    /// [`HomeError::NoIdentity`] before [`Home::init`]; [`HomeError::SecretExposed`], with the
    /// command that mends it, when others may read the key; [`HomeError::SecretDamaged`] when it
    /// is none; [`HomeError::Disk`] when it cannot be read.
    pub fn identity(&self) -> Result<Identity, HomeError> {
        let path = self.identity_path();
        let text = read_secret(&path)?.ok_or_else(|| HomeError::NoIdentity {
            init: self.command("syncctl", "init"),
            path: path.clone(),
        })?;
        Identity::decode(&text).map_err(|why| HomeError::SecretDamaged { path, why })
    }

    /// Returns the token that a browser must show, making one where there is none.
    ///
    /// # Errors
    /// As [`Home::identity`].
    pub fn http_token(&self) -> Result<String, HomeError> {
        self.create()?;
        let path = self.http_token_path();
        let lock = self.edit_lock_path();
        let _held = disk::hold(&lock).map_err(disk_error("lock", &lock))?;
        if let Some(text) = read_secret(&path)? {
            let token = text.trim();
            if token.len() == 2 * TOKEN_BYTES && token.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Ok(token.to_owned());
            }
        }
        let token = HEXLOWER.encode(&random_bytes::<TOKEN_BYTES>()?);
        self.write_secret(&path, &format!("{token}\n"))?;
        Ok(token)
    }

    fn write_secret(&self, path: &Path, text: &str) -> Result<(), HomeError> {
        disk::replace(path, text.as_bytes(), 0o600).map_err(disk_error("write", path))
    }
}

/// Reads a file that only its owner may read; `None` if there is none.
fn read_secret(path: &Path) -> Result<Option<String>, HomeError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk_error("read", path)(error)),
    };
    // Asked of the opened file, so that nobody can swap it after the question.
    let meta = file.metadata().map_err(disk_error("read", path))?;
    let damaged = |why| HomeError::SecretDamaged { path: path.to_path_buf(), why };
    if !meta.is_file() {
        return Err(damaged("it is no regular file"));
    }
    if meta.mode() & 0o077 != 0 {
        let mode = meta.mode() & 0o777;
        return Err(HomeError::SecretExposed { path: path.to_path_buf(), mode });
    }
    if meta.len() > SECRET_BYTES_MAX {
        return Err(damaged("it is far too long"));
    }
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX).read_to_end(&mut bytes).map_err(disk_error("read", path))?;
    String::from_utf8(bytes).map(Some).map_err(|_| damaged("it is no text"))
}

fn random_bytes<const N: usize>() -> Result<[u8; N], HomeError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(HomeError::NoRandomness)?;
    Ok(bytes)
}

fn disk_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HomeError {
    let path = path.to_path_buf();
    move |source| HomeError::Disk { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn new_home() -> (tempfile::TempDir, Home) {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(&root.path().join("home"));
        (root, home)
    }

    #[test]
    fn the_public_key_is_that_of_the_standard() {
        // RFC 8032, section 7.1, test 1.
        let decode = |digits: &str| HEXLOWER.decode(digits.as_bytes()).unwrap().try_into().unwrap();
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(Identity::from_seed(decode(seed)).device_id, DeviceId(decode(key)));
    }

    #[test]
    fn init_may_be_repeated() {
        let (_root, home) = new_home();
        assert!(matches!(home.identity(), Err(HomeError::NoIdentity { .. })));
        let first = home.init(Some("laptop")).unwrap();
        let settings = fs::read_to_string(home.config_path()).unwrap();
        assert_eq!(home.init(None).unwrap(), first);
        assert_eq!(home.identity().unwrap(), first);
        assert_eq!(fs::read_to_string(home.config_path()).unwrap(), settings, "nothing changed");
        assert_eq!(home.init(Some("desk")).unwrap(), first, "a new name is no new key");
        assert_eq!(crate::Config::load(&home).unwrap().name, "desk");
        assert_eq!(disk::mode_of(&home.identity_path()), Some(0o600));
        assert_eq!(disk::mode_of(&home.config_path()), Some(0o600));
        let error = home.init(Some("a\tb")).unwrap_err();
        assert!(matches!(error, HomeError::Name { .. }), "{error}");
    }

    #[test]
    fn many_at_once_make_one_identity() {
        let (_root, home) = new_home();
        let ids: Vec<DeviceId> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| home.init(None).unwrap().device_id)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let mut left: Vec<_> =
            fs::read_dir(home.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["config.lock", "config.toml", "identity.key"], "no leftovers");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_remedy() {
        let (_root, home) = new_home();
        home.init(None).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o601] {
            fs::set_permissions(home.identity_path(), fs::Permissions::from_mode(mode)).unwrap();
            for error in [home.identity().unwrap_err(), home.init(None).unwrap_err()] {
                let text = error.to_string();
                assert!(text.contains("chmod 600 /") && text.contains("identity.key"), "{text}");
                assert!(text.contains(&format!("{mode:o}")), "{text}");
            }
        }
        fs::set_permissions(home.identity_path(), fs::Permissions::from_mode(0o400)).unwrap();
        home.identity().expect("less than 600 is fine");
    }

    #[test]
    fn a_damaged_key_is_never_used_and_never_replaced() {
        let (_root, home) = new_home();
        let good = home.init(None).unwrap().encode();
        let other = Identity::from_seed([1; 32]);
        let long = good.clone() + &"x".repeat(5000);
        for (text, why, because) in [
            (String::new(), "first line", "an empty file"),
            (good.replace("identity 1", "identity 2"), "newer", "a format from the future"),
            (good.replace("syncd identity 1", "PRIVATE KEY"), "first line", "some other key"),
            (good.replacen("seed ", "seed 0", 1), "second line", "a digit too many"),
            (good.replace("device ", "device x"), "third line", "no device id"),
            (good.lines().take(2).collect::<Vec<_>>().join("\n"), "third line", "cut short"),
            (
                good.replace(&good.lines().nth(2).unwrap()[7..], &other.device_id.to_string()),
                "differ",
                "another device's name",
            ),
            (long, "too long", "not our file at all"),
        ] {
            fs::write(home.identity_path(), &text).unwrap();
            for error in [home.identity().unwrap_err(), home.init(None).unwrap_err()] {
                let shown = error.to_string();
                assert!(shown.contains(why) && shown.contains("damaged"), "{because}: {shown}");
            }
            assert_eq!(fs::read_to_string(home.identity_path()).unwrap(), text, "{because}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let identity = Identity::from_seed([0xab; 32]);
        let shown = format!("{identity:?}");
        assert!(shown.contains(&identity.device_id.short()), "{shown}");
        assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
    }

    #[test]
    fn the_token_stays_and_is_private() {
        let (_root, home) = new_home();
        let token = home.http_token().unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(home.http_token().unwrap(), token);
        assert_eq!(disk::mode_of(&home.http_token_path()), Some(0o600));
        fs::write(home.http_token_path(), "short").unwrap();
        let renewed = home.http_token().unwrap();
        assert!(renewed != token && renewed.len() == 64, "a damaged one is made anew");
        fs::set_permissions(home.http_token_path(), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(home.http_token(), Err(HomeError::SecretExposed { .. })));
    }
}
