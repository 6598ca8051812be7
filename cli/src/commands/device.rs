//! `pair`, `pending`, `devices`, `unpair`: which devices are trusted.

use clap::{Args, Subcommand};
use hyper::Method;
use jiff::Timestamp;
use syncd_api::{
    AddressesRequest, ApiError, Device, LinkPath, OfferedFolder, PairRequest, PendingDevice,
    RenameRequest, Unpaired,
};
use syncd_core::model::DeviceId;
use syncd_home::near_id;

use super::{Outcome, Session, mistyped};
use crate::args;
use crate::client::{Patience, part};
use crate::render::{Cell, Tone, ago, escaped, wrapped};

/// Trust another device of yours
///
/// Both devices must pair with each other, in any order; neither waits for the other. Done
/// again, it changes the name or the addresses.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  syncctl pair DEVICE-ID --name devbox
  syncctl pair DEVICE-ID --name devbox --address /ip4/192.0.2.7/tcp/24110
  syncctl pair DEVICE-ID --name devbox --address ssh://me@devbox

The other device prints its id with: syncctl id")]
pub(crate) struct Pair {
    /// The other device's id, or its PeerId (12D3Koo...)
    device_id: String,
    /// What to call it here; what it calls itself if not given
    #[arg(long)]
    name: Option<String>,
    /// Where to find it: a multiaddress or ssh://user@host; may be repeated
    #[arg(long = "address", value_name = "ADDRESS", value_parser = args::address)]
    addresses: Vec<String>,
}

impl Pair {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let device_id = self.other(session)?;
        if session.home.identity().is_ok_and(|own| own.device_id == device_id) {
            let sentence = "this is this device's own id; print the other's with: syncctl id";
            return Err(ApiError::usage(sentence));
        }
        let request = PairRequest {
            device_id: device_id.to_string(),
            name: self.name.clone(),
            addresses: self.addresses.clone(),
        };
        // Before it is trusted, for who is trusted does not ask any more.
        let has_asked = asking(session).contains(&device_id);
        let answer =
            session.client.send(Method::POST, "/v1/devices", &request, Patience::Question)?;
        session.show(&answer, |_| {
            let device = answer.read::<Device>()?;
            let stands = match (device.connected, has_asked) {
                (true, _) => " and connected".to_owned(),
                (false, true) => ", as this device is there; they connect by themselves".to_owned(),
                (false, false) => match session.home.identity() {
                    Ok(own) => {
                        format!("; unless it was done, say there: syncctl pair {}", own.device_id)
                    }
                    Err(_) => "; it must pair with this device too".to_owned(),
                },
            };
            let (name, kept) = (escaped(&device.name), kept_only(&self.addresses));
            let said = format!("{name} is trusted here{stands}");
            Ok(format!("{}\n{kept}", wrapped(&said, 0, session.columns)))
        })
    }
}

impl Pair {
    /// Reads the id. With a typing error it is compared with those that ask to be paired.
    fn other(&self, session: &Session) -> Result<DeviceId, ApiError> {
        args::device_id(&self.device_id).map_err(|what| {
            let meant = near_id(&self.device_id, asking(session));
            mistyped(&what, meant.map(|id| format!("{id}, which asks to be paired")))
        })
    }
}

/// Lists the devices that ask to be paired, as far as they can be known.
fn asking(session: &Session) -> Vec<DeviceId> {
    let asking = session.client.get("/v1/pending");
    let asking = asking.and_then(|answer| answer.read::<Vec<PendingDevice>>()).unwrap_or_default();
    asking.iter().filter_map(|device| DeviceId::parse(&device.device_id).ok()).collect()
}

/// Says which of the addresses are kept but not dialled by this version.
fn kept_only(addresses: &[String]) -> String {
    let later =
        |address: &&String| address.starts_with("ssh://") || address.contains("/p2p-circuit");
    let line = |address: &String| {
        format!(
            "{} is kept, but this version does not dial it yet: it reaches devices by TCP and \
             QUIC only; give such an address too, or let the other device dial\n",
            escaped(address)
        )
    };
    addresses.iter().filter(later).map(line).collect()
}

/// List the devices that ask to be trusted, and the folders that are offered
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  syncctl pending
  syncctl pair DEVICE-ID           trusts one of the devices
  syncctl folder accept ID PATH    takes one of the folders

With --json: the devices. The folders: syncctl folder ls --offered --json")]
pub(crate) struct Pending {}

impl Pending {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let answer = session.client.get("/v1/pending")?;
        session.show(&answer, |session| {
            let now = Timestamp::now();
            let rows: Vec<Vec<Cell>> = answer
                .read::<Vec<PendingDevice>>()?
                .iter()
                .map(|device| {
                    let address = device.address.as_deref().unwrap_or_default();
                    vec![
                        Cell::from(&device.device_id),
                        Cell::from(&device.name),
                        Cell::from(address),
                        Cell::from(ago(device.last_seen, now)),
                    ]
                })
                .collect();
            let heads = ["DEVICE", "CALLS ITSELF", "FROM", "ASKED"];
            let mut text = session.table(&heads, &rows, "no device asks to be trusted");
            let offers = session.client.get("/v1/offers")?.read::<Vec<OfferedFolder>>()?;
            if !offers.is_empty() {
                text += &format!("\n{}", super::folder::offered(session, &offers));
            }
            Ok(text)
        })
    }
}

/// List the trusted devices
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Devices {
    #[command(subcommand)]
    action: Option<DevicesAction>,
}

#[derive(Debug, Subcommand)]
enum DevicesAction {
    /// Call a device something else, on this device alone
    #[command(after_long_help = "Example:\n  syncctl devices rename devbox buildbox")]
    Rename {
        /// The device: its name, id, PeerId or the first 7 characters of its id
        device: String,
        /// Its new name
        name: String,
    },
    /// Replace the addresses at which a device is looked for
    Address {
        /// The device: its name, id, PeerId or the first 7 characters of its id
        device: String,
        /// Multiaddresses or ssh://user@host, in the order to try them; none to forget all
        #[arg(value_name = "ADDRESS", value_parser = args::address)]
        addresses: Vec<String>,
    },
}

impl Devices {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        match &self.action {
            None => list(session),
            Some(DevicesAction::Rename { device, name }) => {
                let route = format!("/v1/devices/{}/name", part(&session.device(device)?));
                let request = RenameRequest { name: name.clone() };
                let answer =
                    session.client.send(Method::PUT, &route, &request, Patience::Question)?;
                session.show(&answer, |_| {
                    let name = escaped(&answer.read::<Device>()?.name);
                    Ok(format!("{} is called {name} now\n", escaped(device)))
                })
            }
            Some(DevicesAction::Address { device, addresses }) => {
                let route = format!("/v1/devices/{}/addresses", part(&session.device(device)?));
                let request = AddressesRequest { addresses: addresses.clone() };
                let answer =
                    session.client.send(Method::PUT, &route, &request, Patience::Question)?;
                session.show(&answer, |_| {
                    let device = answer.read::<Device>()?;
                    let where_to = match device.addresses.is_empty() {
                        true => "looked for only where it was last found".to_owned(),
                        false => format!("looked for at {}", device.addresses.join(", ")),
                    };
                    let kept = kept_only(&device.addresses);
                    Ok(format!("{} is {}\n{kept}", escaped(&device.name), escaped(&where_to)))
                })
            }
        }
    }
}

fn list(session: &Session) -> Outcome {
    let answer = session.client.get("/v1/devices")?;
    session.show(&answer, |session| {
        let now = Timestamp::now();
        let rows: Vec<Vec<Cell>> = answer
            .read::<Vec<Device>>()?
            .iter()
            .map(|device| {
                let (tone, how) = match (device.connected, device.path) {
                    (false, _) => (Tone::Dim, "not connected"),
                    (true, None) => (Tone::Good, "connected"),
                    (true, Some(LinkPath::DirectTcp)) => (Tone::Good, "direct (tcp)"),
                    (true, Some(LinkPath::DirectQuic)) => (Tone::Good, "direct (quic)"),
                    (true, Some(LinkPath::Relay)) => (Tone::Warn, "through a relay"),
                    (true, Some(LinkPath::Ssh)) => (Tone::Good, "through ssh"),
                };
                let trip = device.rtt_ms.map(|ms| format!("{ms:.1} ms")).unwrap_or_default();
                let seen = device.last_seen.map_or("never".into(), |time| ago(time, now));
                vec![
                    Cell::from(&device.name),
                    Cell::from(device.device_id.get(..7).unwrap_or(&device.device_id)),
                    Cell::toned(tone, how),
                    Cell::from(trip),
                    Cell::from(seen),
                ]
            })
            .collect();
        let heads = ["NAME", "ID", "CONNECTION", "ROUND TRIP", "LAST SEEN"];
        Ok(session.table(&heads, &rows, "no trusted devices yet; trust one with: syncctl pair ID"))
    })
}

/// Stop trusting a device; its connections are closed at once
///
/// Files that are there already stay on both sides.
#[derive(Debug, Args)]
pub(crate) struct Unpair {
    /// The device: its name, id, PeerId or the first 7 characters of its id
    device: String,
}

impl Unpair {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let route = format!("/v1/devices/{}", part(&session.device(&self.device)?));
        let answer = session.client.order(Method::DELETE, &route)?;
        session.show(&answer, |_| {
            let device = answer.read::<Unpaired>()?;
            let mut text = format!("{} is not trusted any more", device.name);
            if !device.folders.is_empty() {
                text += &format!("; not shared with it any more: {}", device.folders.join(", "));
            }
            Ok(format!("{}\n", escaped(&text)))
        })
    }
}
