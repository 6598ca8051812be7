//! Other devices: trusted ones and those that ask.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A device that is trusted here. This device itself is never one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// The full device id.
    pub device_id: String,
    /// The name given at pairing, or what the device calls itself.
    pub name: String,
    /// Whether there is a connection right now.
    pub connected: bool,
    /// How it is connected; null when it is not.
    pub path: Option<LinkPath>,
    /// The last measured round trip in milliseconds; null when not connected or not measured.
    pub rtt_ms: Option<f64>,
    /// When it was last heard of; null for never.
    pub last_seen: Option<Timestamp>,
    /// The addresses that were given for it, in the order they are tried.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// How far its clock was ahead of this device's when they last greeted each other, in
    /// seconds; null when they have not since this daemon started.
    #[serde(default)]
    pub clock_ahead_s: Option<i64>,
}

/// How two devices are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkPath {
    /// TCP, straight to the device.
    DirectTcp,
    /// QUIC, straight to the device.
    DirectQuic,
    /// Through a relay of one's own, encrypted end to end.
    Relay,
    /// Through ssh.
    Ssh,
}

/// A device that asks to be trusted. Everything but its id is its own claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingDevice {
    /// The full device id, proven by its key.
    pub device_id: String,
    /// What it calls itself.
    pub name: String,
    /// From where it last asked; null when that is not known.
    pub address: Option<String>,
    /// When it first asked.
    pub first_seen: Timestamp,
    /// When it last asked.
    pub last_seen: Timestamp,
}

/// Trusts a device. Done again with another name or other addresses, it changes them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairRequest {
    /// The full device id or the PeerId.
    pub device_id: String,
    /// What to call it; what it calls itself, if not given.
    #[serde(default)]
    pub name: Option<String>,
    /// Where to look for it: multiaddresses, or `ssh://user@host`.
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// Calls a device something else, here alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenameRequest {
    /// Its new name: 1 to 64 bytes, which no other device has.
    pub name: String,
}

/// Replaces the addresses at which a device is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressesRequest {
    /// Multiaddresses, or `ssh://user@host`, in the order they are to be tried.
    pub addresses: Vec<String>,
}

/// A device that is no longer trusted. Its connections are closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpaired {
    /// The full device id.
    pub device_id: String,
    /// The name it had.
    pub name: String,
    /// The folders that are no longer shared with it, by id.
    pub folders: Vec<String>,
}
