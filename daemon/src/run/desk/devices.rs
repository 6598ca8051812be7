//! Trusting devices, and how they are reached.

use jiff::Timestamp;
use syncd_api::{
    AddressesRequest, ApiError, Device, LinkPath, PairRequest, PendingDevice, RenameRequest,
    Unpaired,
};
use syncd_core::model::DeviceId;
use syncd_core::model::shown::is_harmful;
use syncd_core::protocol::tokens::Tokens;
use syncd_home::{Config, DeviceConfig, Topology};

use super::FrontDesk;
use crate::run::folder::take_settings;
use crate::run::{Ailment, Happening};
use crate::world::net::{self, Link};

/// Longest name of a device, in bytes.
const NAME_BYTES_MAX: usize = 64;

impl FrontDesk {
    pub(super) async fn list_devices(&self) -> Result<Vec<Device>, ApiError> {
        let config = self.daemon.config();
        let links = self.daemon.net.links().await;
        let mut devices: Vec<Device> =
            config.devices.iter().map(|device| self.shown(device, &links)).collect();
        devices.sort_by(|a, b| (&a.name, &a.device_id).cmp(&(&b.name, &b.device_id)));
        Ok(devices)
    }

    fn shown(&self, device: &DeviceConfig, links: &[Link]) -> Device {
        let connected = self.is_connected(device.id);
        let link = links.iter().find(|link| link.device == device.id).filter(|_| connected);
        let last_seen = match connected {
            true => Some(Timestamp::now()),
            false => self.daemon.heard_of(device.id).last_seen,
        };
        Device {
            device_id: device.id.to_string(),
            name: device.name.clone(),
            connected,
            path: link.map(|link| match link.path {
                net::LinkPath::DirectTcp => LinkPath::DirectTcp,
                net::LinkPath::DirectQuic => LinkPath::DirectQuic,
            }),
            rtt_ms: link.and_then(|link| link.rtt_ms),
            last_seen,
            addresses: device.addresses.clone(),
            clock_ahead_s: self.daemon.heard_of(device.id).clock_ahead_s,
        }
    }

    pub(super) async fn list_pending(&self) -> Result<Vec<PendingDevice>, ApiError> {
        let config = self.daemon.config();
        let mut pending: Vec<PendingDevice> = Vec::new();
        for asking in self.daemon.net.pending().await {
            if config.devices.iter().any(|device| device.id == asking.device) {
                continue;
            }
            let since = i64::try_from(asking.since_unix_ms).unwrap_or(i64::MAX);
            let first_seen = Timestamp::from_millisecond(since).unwrap_or(Timestamp::UNIX_EPOCH);
            pending.push(PendingDevice {
                device_id: asking.device.to_string(),
                name: asking.name,
                address: Some(asking.address).filter(|address| !address.is_empty()),
                first_seen,
                // The network forgets who has not asked for some minutes.
                last_seen: Timestamp::now().max(first_seen),
            });
        }
        pending.sort_by(|a, b| a.device_id.cmp(&b.device_id));
        Ok(pending)
    }

    /// Trusts a device, or changes what is known of it.
    pub(super) async fn trust(self, request: PairRequest) -> Result<Device, ApiError> {
        let id = DeviceId::parse(&request.device_id).map_err(|error| {
            ApiError::usage(format!("{error}; see the id with 'syncctl id' on that device"))
        })?;
        if id == self.daemon.me {
            return Err(ApiError::could_not(
                "that is this device's own id; give the id that 'syncctl id' shows on the other \
                 device",
            ));
        }
        let _turn = self.editing.lock().await;
        let config = self.daemon.config();
        let earlier = config.devices.iter().find(|device| device.id == id);
        let name = match &request.name {
            Some(name) => given_name(&config, id, name)?,
            None => match earlier {
                Some(earlier) => earlier.name.clone(),
                None => free_name(&config, &self.own_word(id).await),
            },
        };
        let addresses = match (request.addresses.is_empty(), earlier) {
            (true, Some(earlier)) => earlier.addresses.clone(),
            (true, None) | (false, _) => request.addresses,
        };
        let rates = earlier.map(|earlier| earlier.rates).unwrap_or_default();
        let device = DeviceConfig { id, name, addresses, rates };
        self.keep(&device).await?;
        if earlier.is_none() {
            let text = format!("'{}' is trusted now", device.name);
            self.daemon.tell(Happening::device(id, "device-paired", &text));
        }
        Ok(self.shown(&device, &self.daemon.net.links().await))
    }

    /// Writes a device into the settings and tells the network.
    async fn keep(&self, device: &DeviceConfig) -> Result<(), ApiError> {
        let stored = device.clone();
        self.edit(move |file| {
            file.put_device(&stored);
            Ok(())
        })
        .await?;
        let talks = match self.daemon.config().topology {
            Topology::Mesh => true,
            Topology::Hub { hub } => hub == device.id,
        };
        if talks {
            self.daemon.net.trust(device.id, device.addresses.clone()).await;
        }
        Ok(())
    }

    /// Returns what a device calls itself, else the beginning of its id.
    async fn own_word(&self, id: DeviceId) -> String {
        let heard = self.daemon.heard_of(id).name;
        if !heard.is_empty() {
            return heard;
        }
        let pending = self.daemon.net.pending().await;
        let asking = pending.into_iter().find(|asking| asking.device == id);
        asking.map(|asking| asking.name).filter(|n| !n.is_empty()).unwrap_or_else(|| id.short())
    }

    /// Trusts a device no longer.
    pub(super) async fn distrust(self, text: String) -> Result<Unpaired, ApiError> {
        let _turn = self.editing.lock().await;
        let id = self.device(&text)?;
        let name = self.name_of(&self.daemon.config(), id);
        self.edit(move |file| Ok(file.remove_device(id))).await?;
        let mut folders = Vec::new();
        for folder in self.daemon.folders() {
            let mut config = folder.config();
            if config.devices.contains(&id) {
                config.devices.retain(|device| *device != id);
                folders.push(folder.id().to_string());
                take_settings(&self.daemon, &folder, config).await;
            }
        }
        self.daemon.net.distrust(id).await;
        self.daemon.ailments.clear(Ailment::Clock(id));
        if let Err(error) = self.daemon.ledger.set_peer_tokens(id, Tokens::default()) {
            tracing::warn!(%error, "session tokens were not forgotten");
        }
        self.daemon.tell(Happening::device(
            id,
            "device-unpaired",
            &format!("'{name}' is not trusted any more"),
        ));
        Ok(Unpaired { device_id: id.to_string(), name, folders })
    }

    /// Calls a device something else; what is shared with it stays shared.
    pub(super) async fn rename(
        self,
        text: String,
        request: RenameRequest,
    ) -> Result<Device, ApiError> {
        let _turn = self.editing.lock().await;
        let config = self.daemon.config();
        let id = self.device(&text)?;
        let name = given_name(&config, id, &request.name)?;
        let known = config.devices.iter().find(|device| device.id == id).cloned();
        let Some(known) = known else {
            return Err(ApiError::could_not(format!(
                "the device {text:?} is not trusted any more"
            )));
        };
        let device = DeviceConfig { name, ..known };
        let folders = config.folders;
        let stored = device.clone();
        self.edit(move |file| {
            file.put_device(&stored);
            // A folder may name the device by the name that it had.
            for folder in &folders {
                file.put_folder(folder);
            }
            Ok(())
        })
        .await?;
        Ok(self.shown(&device, &self.daemon.net.links().await))
    }

    /// Replaces the addresses of a device.
    pub(super) async fn change_addresses(
        self,
        text: String,
        request: AddressesRequest,
    ) -> Result<Device, ApiError> {
        let _turn = self.editing.lock().await;
        let config = self.daemon.config();
        let known = config.device(&text).map_err(|why| {
            ApiError::could_not(format!("{why}; see the trusted ones with: syncctl devices"))
        })?;
        let device = DeviceConfig { addresses: request.addresses, ..known.clone() };
        self.keep(&device).await?;
        Ok(self.shown(&device, &self.daemon.net.links().await))
    }
}

fn given_name(config: &Config, id: DeviceId, name: &str) -> Result<String, ApiError> {
    match config.devices.iter().find(|device| device.name == name && device.id != id) {
        Some(other) => Err(ApiError::could_not(format!(
            "the device {} is called {name:?} already; choose another --name",
            other.id.short()
        ))),
        None => Ok(name.to_owned()),
    }
}

/// Makes a name that no other device has of what a device calls itself.
fn free_name(config: &Config, word: &str) -> String {
    let plain: String = word.chars().filter(|c| !is_harmful(*c)).collect();
    let plain = plain.trim();
    let taken = |name: &str| config.devices.iter().any(|device| device.name == name);
    let mut name = cut(plain, NAME_BYTES_MAX).to_owned();
    let mut number = 2;
    while name.is_empty() || taken(&name) {
        let end = format!("-{number}");
        let stem = if plain.is_empty() { "device" } else { plain };
        name = format!("{}{end}", cut(stem, NAME_BYTES_MAX - end.len()));
        number += 1;
    }
    name
}

/// Cuts to at most `room` bytes, between two characters.
fn cut(text: &str, room: usize) -> &str {
    text[..text.floor_char_boundary(room)].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        let mut config = Config::parse("").unwrap();
        for (key, name) in [(1, "box"), (2, "box-2")] {
            let id = DeviceId([key; 32]);
            config.devices.push(DeviceConfig {
                id,
                name: name.into(),
                addresses: Vec::new(),
                rates: Default::default(),
            });
        }
        let long = "\u{fc}".repeat(40);
        for (word, name, because) in [
            ("laptop", "laptop".to_owned(), "free"),
            ("box", "box-3".to_owned(), "taken twice"),
            (" a\u{7}b ", "ab".to_owned(), "nothing that steers a terminal"),
            ("", "device-2".to_owned(), "no name at all"),
            (&long, "\u{fc}".repeat(32), "cut between two characters"),
        ] {
            assert_eq!(free_name(&config, word), name, "{because}");
        }
        let (box1, other) = (DeviceId([1; 32]), DeviceId([9; 32]));
        assert!(given_name(&config, box1, "box").is_ok(), "its own name");
        assert!(given_name(&config, other, "box").is_err(), "another's name");
    }
}
