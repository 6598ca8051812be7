//! Where one instance of syncd lives: its places, its lock, its identity and its settings.
//!
//! Works on the disk alone, so that `syncctl init`, `id`, `config` and `doctor` need no daemon.
//!
//! # Invariants
//! - One daemon to a home: [`HomeLock`] is held by the kernel and dies with its process.
//! - Nothing secret is ever readable by others, nor printed by [`std::fmt::Debug`].
//! - A file of a home is replaced whole or not at all; a bad setting changes nothing.

#![forbid(unsafe_code)]

mod config;
mod disk;
mod error;
mod identity;
mod lock;
mod near;
mod place;
mod socket;

pub use config::{
    Config, ConfigError, ConfigFile, DeviceConfig, Discovery, FolderConfig, FolderLimits,
    HISTORY_DAYS_DEFAULT, HISTORY_PERCENT_DEFAULT, HISTORY_VERSIONS_DEFAULT, HTTP_LISTEN_DEFAULT,
    HttpConfig, LISTEN_DEFAULT, Limits, Listen, Place, RESCAN_S_MAX, Rates, Role, Topology,
    VERIFY_DAYS_MAX,
};
pub use error::HomeError;
pub use identity::Identity;
pub use lock::HomeLock;
pub use near::{near, near_device, near_id};
pub use place::{HOME_VARIABLE, Home, quoted};
