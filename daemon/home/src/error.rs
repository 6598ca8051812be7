//! Why a home could not be used.

use std::io;
use std::path::{Path, PathBuf};

use crate::{ConfigError, quoted};

/// Why a home could not be used. The text is one sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// `--home` was given without a place. Name a directory.
    #[error("the home directory has an empty name")]
    Unnamed,
    /// Neither a home was given nor is it known where the user's files lie. Set `HOME`, or give
    /// `--home`.
    #[error("cannot tell where to keep state: give --home DIR, or set HOME")]
    NoPlace,
    /// Something else than a directory lies where the home should be. Name another place.
    #[error("{} is a file, not a home; name a directory with --home", path.display())]
    NoDirectory {
        /// The place.
        path: PathBuf,
    },
    /// Another process works in this home. Stop it, or choose another home.
    #[error(
        "{} is in use by {}; end that one first, or give this one another --home",
        home.display(), holder(*pid)
    )]
    Busy {
        /// The holder; `None` if it has not said who it is.
        pid: Option<u32>,
        /// The home's directory.
        home: PathBuf,
    },
    /// A directory in which others may put and swap files cannot keep a key.
    #[error("others may write to {}; {}", path.display(), remedy("go-w", path))]
    OpenToOthers {
        /// The directory.
        path: PathBuf,
    },
    /// There is no identity yet. `syncctl init` or the first start of the daemon makes it.
    #[error("there is no identity at {} yet; make one with: {init}", path.display())]
    NoIdentity {
        /// What makes it.
        init: String,
        /// Where it would lie.
        path: PathBuf,
    },
    /// The key is gone from a home that was in use: without it this is another device. Restore
    /// it, or make a new one on purpose.
    #[error(
        "the key of this device, {}, is gone; bring it back from a backup, or begin as a new \
         device, which the others must pair anew, with: {init}",
        path.display()
    )]
    IdentityLost {
        /// What makes a new one.
        init: String,
        /// Where it lay.
        path: PathBuf,
    },
    /// The settings are gone from a home that was in use: its devices and folders stand in them.
    /// Restore them, or begin anew on purpose.
    #[error(
        "the settings of this device, {}, are gone; bring them back from a backup, or begin with \
         no devices and no folders, with: {init}",
        path.display()
    )]
    SettingsLost {
        /// What makes new ones.
        init: String,
        /// Where they lay.
        path: PathBuf,
    },
    /// Others may read a secret. It is not used until that is mended.
    #[error("others may read {} (mode {mode:03o}); {}", path.display(), remedy("600", path))]
    SecretExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret is not what was once written there. Restore it from a backup, or move it aside
    /// (other devices must then pair anew).
    #[error("{} is damaged: {why}", path.display())]
    SecretDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A name that cannot be shown or typed. Choose another.
    #[error("the name cannot be {name:?}: {why}")]
    Name {
        /// The name that was given.
        name: String,
        /// What a name is.
        why: String,
    },
    /// Something else lies where the control socket belongs. Move it away.
    #[error("{} is no socket; move it away", path.display())]
    NoSocket {
        /// The place.
        path: PathBuf,
    },
    /// No directory for sockets is short enough for the kernel and private. Use a shorter home.
    #[error("no place for a socket: the path of {} is too long", home.display())]
    NoSocketPlace {
        /// The home's directory.
        home: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness(#[source] getrandom::Error),
    /// The disk refused.
    #[error("cannot {action} {}", path.display())]
    Disk {
        /// What was tried, as a verb: `read`, `write`, `make`, `lock`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The settings could not be read or written.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl HomeError {
    /// Tells whether the disk has no room left, or the user's share of it is used up.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Disk { source, .. }
            if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// Names the command that closes `path`, so that a shell takes the path as one word.
fn remedy(mode: &str, path: &Path) -> String {
    format!("mend it with: chmod {mode} {}", quoted(&path.to_string_lossy()))
}
