//! The settings: what `config.toml` may say and what holds when it does not.
//!
//! [`Config`] is the file as checked values. It is read only; [`ConfigFile`] edits the text and
//! keeps the user's comments and order.

mod edit;
mod error;
mod keys;
mod members;
mod read;
mod section;
mod values;

use std::path::PathBuf;

use syncd_core::model::{DeviceId, FolderId};

pub use self::edit::ConfigFile;
pub use self::error::{ConfigError, Place};
use crate::Home;

/// Where a device listens when `listen` is not set.
pub const LISTEN_DEFAULT: [&str; 4] = [
    "/ip4/0.0.0.0/tcp/24110",
    "/ip4/0.0.0.0/udp/24110/quic-v1",
    "/ip6/::/tcp/24110",
    "/ip6/::/udp/24110/quic-v1",
];

/// Where browsers are served when `http.listen` is not set.
pub const HTTP_LISTEN_DEFAULT: &str = "127.0.0.1:8385";

/// How long replaced and deleted files are kept, in days.
pub const HISTORY_DAYS_DEFAULT: u32 = 30;

/// How many earlier versions of one path are kept.
pub const HISTORY_VERSIONS_DEFAULT: u32 = 100;

/// How much of the disk the history may fill, in percent.
pub const HISTORY_PERCENT_DEFAULT: u32 = 10;

/// Everything a user can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What this device is called; the host's name when not set.
    pub name: String,
    /// Where it listens for peers.
    pub listen: Listen,
    /// Own relays as multiaddresses ending in `/p2p/ID`, in the order to try them.
    pub relays: Vec<String>,
    /// How peers are found besides remembered and given addresses.
    pub discovery: Vec<Discovery>,
    /// Who may connect.
    pub topology: Topology,
    /// The directories below which folders may lie; where there are some, the daemon confines
    /// itself to them and to its home from its next start on.
    pub confine: Vec<PathBuf>,
    /// The API for browsers.
    pub http: HttpConfig,
    /// What may be used up.
    pub limits: Limits,
    /// The trusted devices, in the file's order. No two share an id or a name.
    pub devices: Vec<DeviceConfig>,
    /// The shared folders, in the file's order. No two share an id or a path.
    pub folders: Vec<FolderConfig>,
}

/// Where a device listens for peers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Listen {
    /// At [`LISTEN_DEFAULT`]; an address family that the host lacks is only a warning.
    #[default]
    Default,
    /// At exactly these multiaddresses; none means outbound only.
    Given(Vec<String>),
}

impl Listen {
    /// Lists the multiaddresses to listen at.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        match self {
            Self::Default => LISTEN_DEFAULT.map(str::to_owned).to_vec(),
            Self::Given(addresses) => addresses.clone(),
        }
    }
}

/// A way of finding peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Discovery {
    /// Multicast in the local network.
    Mdns,
    /// Rendezvous at one's own relays.
    Relay,
}

/// Who may connect to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Topology {
    /// Every paired device.
    #[default]
    Mesh,
    /// This device talks to its hub alone.
    Hub {
        /// The hub.
        hub: DeviceId,
    },
}

/// The API for browsers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpConfig {
    /// `IP:PORT` on the loopback interface, to be had or an error; `None` is
    /// [`HTTP_LISTEN_DEFAULT`], or a free port if that is taken.
    pub listen: Option<String>,
}

/// What may be used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Days that replaced and deleted files are kept, 0 to 36 500.
    pub history_days: u32,
    /// Earlier versions of one path that are kept, 0 to 1 000 000.
    pub history_versions: u32,
    /// Percent of the disk that the history may fill, 0 to 90.
    pub history_percent: u32,
    /// Mebibytes to leave free on a folder's disk; `None` is 1 % of it, at most 1 GiB.
    pub free_mib: Option<u64>,
    /// How fast bytes may come and go, over all devices together.
    pub rates: Rates,
    /// Whether the rates also bind devices in the local network.
    pub limit_lan: bool,
}

/// How fast bytes may come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Kibibytes a second that go out, 1 to 2^30; `None` is as many as fit.
    pub send_kib_per_s: Option<u64>,
    /// Kibibytes a second that come in, 1 to 2^30; `None` is as many as fit.
    pub receive_kib_per_s: Option<u64>,
}

/// Longest time between two scans of a folder: a year of 365 days, in seconds.
pub const RESCAN_S_MAX: u32 = 365 * 24 * 60 * 60;

/// Longest time between two readings of all files of a folder, in days.
pub const VERIFY_DAYS_MAX: u32 = 3_650;

/// Most that stays free where [`Limits::free_mib`] says nothing, in bytes.
const FLOOR_BYTES_MAX: u64 = 1 << 30;

impl Limits {
    /// Returns how many bytes must stay free on a disk of `disk_bytes`.
    #[must_use]
    pub fn floor_bytes(&self, disk_bytes: u64) -> u64 {
        match self.free_mib {
            Some(mebibytes) => mebibytes.saturating_mul(1 << 20),
            None => (disk_bytes / 100).min(FLOOR_BYTES_MAX),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            history_days: HISTORY_DAYS_DEFAULT,
            history_versions: HISTORY_VERSIONS_DEFAULT,
            history_percent: HISTORY_PERCENT_DEFAULT,
            free_mib: None,
            rates: Rates::default(),
            limit_lan: false,
        }
    }
}

/// A trusted device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Its key.
    pub id: DeviceId,
    /// What it is called here: 1 to 64 bytes without control characters.
    pub name: String,
    /// Where to call it: multiaddresses or `ssh://user@host[:port]`.
    pub addresses: Vec<String>,
    /// How fast bytes may come from it and go to it, within what holds for all together.
    pub rates: Rates,
}

/// A shared folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderConfig {
    /// Its name among the devices.
    pub id: FolderId,
    /// What it is called here; the id when not set.
    pub label: Option<String>,
    /// The directory, or the single file, as an absolute path.
    pub path: PathBuf,
    /// Which way changes go.
    pub role: Role,
    /// With whom it is shared.
    pub devices: Vec<DeviceId>,
    /// Whether it rests until resumed.
    pub paused: bool,
    /// Patterns of `.stignore`'s language for files that are rewritten where they are, instead of
    /// another inode taking their name.
    pub in_place: Vec<String>,
    /// Seconds between two scans of the whole, 1 to 31 536 000; `None` is an hour, or a minute
    /// where not everything can be watched.
    pub rescan_s: Option<u32>,
    /// After how many days every file is read again, 1 to [`VERIFY_DAYS_MAX`]; `None` is never.
    pub verify_days: Option<u32>,
    /// What of [`Config::limits`] is otherwise here.
    pub limits: FolderLimits,
}

/// What may be used up by one folder, where it is not what holds for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FolderLimits {
    /// As [`Limits::history_days`].
    pub history_days: Option<u32>,
    /// As [`Limits::history_versions`].
    pub history_versions: Option<u32>,
    /// As [`Limits::history_percent`].
    pub history_percent: Option<u32>,
    /// As [`Limits::free_mib`].
    pub free_mib: Option<u64>,
}

impl FolderLimits {
    /// Returns what holds for the folder where `all` holds for the device.
    #[must_use]
    pub fn within(&self, all: &Limits) -> Limits {
        Limits {
            history_days: self.history_days.unwrap_or(all.history_days),
            history_versions: self.history_versions.unwrap_or(all.history_versions),
            history_percent: self.history_percent.unwrap_or(all.history_percent),
            free_mib: self.free_mib.or(all.free_mib),
            ..*all
        }
    }
}

impl FolderConfig {
    /// Makes the settings of a folder of which nothing is known but its id and place.
    #[must_use]
    pub fn new(id: FolderId, path: PathBuf) -> Self {
        Self {
            id,
            label: None,
            path,
            role: Role::default(),
            devices: Vec::new(),
            paused: false,
            in_place: Vec::new(),
            rescan_s: None,
            verify_days: None,
            limits: FolderLimits::default(),
        }
    }
}

/// Which way a folder's changes go on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Role {
    /// Both ways.
    #[default]
    SendReceive,
    /// Out only.
    SendOnly,
    /// In only.
    ReceiveOnly,
}

impl Role {
    /// Returns the word used in `config.toml` and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendReceive => "sendreceive",
            Self::SendOnly => "sendonly",
            Self::ReceiveOnly => "receiveonly",
        }
    }

    /// Reads what [`Role::as_str`] writes; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::SendReceive, Self::SendOnly, Self::ReceiveOnly]
            .into_iter()
            .find(|role| role.as_str() == text)
    }
}

impl Discovery {
    /// Returns the word used in `config.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mdns => "mdns",
            Self::Relay => "relay",
        }
    }

    /// Reads what [`Discovery::as_str`] writes; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Mdns, Self::Relay].into_iter().find(|way| way.as_str() == text)
    }
}

impl Config {
    /// Reads the settings of `home`. A home without `config.toml` has the defaults.
    ///
    /// # Errors
    /// [`ConfigError`] naming file and line: the file cannot be read, is no TOML, has a key that
    /// nobody knows, or a value that its key cannot have.
    pub fn load(home: &Home) -> Result<Self, ConfigError> {
        ConfigFile::open(home)?.config()
    }

    /// Returns the paired device that `text` means: its full id or PeerId, its name, or a
    /// beginning of the id, of at least 7 characters, that no other has.
    ///
    /// # Errors
    /// One sentence saying why it is none: unknown, ambiguous, or with a typing error.
    pub fn device(&self, text: &str) -> Result<&DeviceConfig, String> {
        let id = values::device_ref(text, &self.devices)?;
        let found = self.devices.iter().find(|device| device.id == id);
        // No check digits guard a PeerId: with a typing error it may be another's.
        found.ok_or_else(|| {
            let what = format!("{} is not paired", id.short());
            values::with_near(what, text, &self.devices)
        })
    }

    /// Reads settings from `text`.
    ///
    /// # Errors
    /// As [`Config::load`], without the file's name.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        read::read(text)
    }
}
