//! The network: opaque frames between paired devices.
//!
//! [`start`] listens, dials every paired device wherever it may be, and keeps one [`Session`]
//! with each that can be reached. A session carries frames on three lanes that do not hold each
//! other up. Who is not paired can leave a card, shown as [`Pending`], and nothing else.
//!
//! The device id is the ed25519 key that TLS 1.3 proves on every connection, TCP or QUIC.
//!
//! # Invariants
//! - No frame of an unpaired device reaches anybody; when [`Net::distrust`] returns, the device's
//!   connections are gone.
//! - At most one session with a device at a time, up and down in turns.
//! - Memory is bounded for each device and for all strangers together: per lane and direction 64
//!   frames and 8 MiB (data 16 MiB), per QUIC connection 32 MiB unread. The windows of yamux grow
//!   with the line's capacity and can hold up to 1 GiB of a connection for a lane that is not read
//!   (libp2p has no knob for it). Above three quarters of the machine's memory no connection is
//!   accepted or made.
//! - A peer that is gone without a word is noticed within 15 s.

mod behaviour;
mod conn;
#[doc(hidden)]
pub mod decoders;
mod dial;
mod gate;
mod handler;
mod lanes;
mod link;
mod links;
mod listen;
mod pair;
mod rate;
mod session;
mod swarm;
#[cfg(test)]
mod tests;
mod upkeep;

use std::sync::Arc;
use std::{fmt, io};

use libp2p::identity::{Keypair, ed25519};
use syncd_core::model::DeviceId;
use tokio::sync::{mpsc, oneshot};

pub use self::lanes::{Gone, Inbox, NotSent, Outbox};
use self::listen::parse;
use self::rate::Rates;
pub use self::rate::{Rate, RateLimits};
use self::swarm::{Command, Runner};

/// Events that wait for their receiver before new connections wait.
const EVENTS_MAX: usize = 64;
/// Calls that wait for the swarm's task.
const COMMANDS_MAX: usize = 64;

/// How to take part in the network.
pub struct NetConfig {
    /// The ed25519 seed that is this device's identity.
    pub seed: [u8; 32],
    /// Multiaddrs to listen on: TCP, and UDP with QUIC.
    pub listen: Vec<String>,
    /// The user did not choose `listen`: an address whose family this machine lacks is a warning.
    /// A port in use is an error all the same.
    pub listen_is_default: bool,
    /// Find paired devices on the local network, and be found.
    pub mdns: bool,
    /// This device's name, told to those that are asked to pair.
    pub name: String,
    /// The paired devices, each with the addresses that were given or that worked before.
    pub trusted: Vec<(DeviceId, Vec<String>)>,
    /// How fast bytes may come and go.
    pub limits: RateLimits,
}

/// Why the network could not be started, or not be changed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Not a multiaddr: the user should correct it.
    #[error("{address:?} is not a multiaddr such as /ip4/0.0.0.0/tcp/22000")]
    Address {
        /// The text.
        address: String,
        /// What is wrong with it.
        #[source]
        source: libp2p::multiaddr::Error,
    },
    /// Another program listens there: stop it, or choose another port.
    #[error(
        "the port of {address} is in use by another program; end that one, or choose another \
         port with: syncctl config set listen ADDRESS"
    )]
    PortInUse {
        /// The address.
        address: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The certificate could not be made.
    #[error("cannot set up TLS")]
    Tls(#[source] libp2p::tls::certificate::GenError),
    /// The network was shut down.
    #[error("the network is shut down")]
    Stopped,
}

/// A lane of a session. Frames of one lane keep their order; lanes do not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Control, acknowledgements, small offers; over TCP on a connection of its own.
    Interactive,
    /// Offers in bulk.
    Bulk,
    /// Contents.
    Data,
}

impl Lane {
    const fn index(self) -> usize {
        match self {
            Self::Interactive => 0,
            Self::Bulk => 1,
            Self::Data => 2,
        }
    }
}

/// What happens on the network.
#[derive(Debug)]
pub enum NetEvent {
    /// A session with a paired device is up.
    Up(Session),
    /// A session is over: its lanes are closed and its tasks have ended.
    Down {
        /// The device.
        device: DeviceId,
        /// [`Session::id`].
        session: u64,
    },
    /// A device asks to be paired, or has changed its name or address since it first did.
    Pending(Pending),
    /// This device listens on this multiaddr.
    Listening(String),
    /// A multiaddr led to a session, and should be remembered and given at the next start.
    AddressWorked {
        /// The device.
        device: DeviceId,
        /// The multiaddr.
        address: String,
    },
    /// A device came by itself, and this is where it says it can be reached. To be remembered too:
    /// tried at the next start, believed never.
    AddressesHeard {
        /// Whose they are.
        device: DeviceId,
        /// Multiaddrs, the latest first; at most a few.
        addresses: Vec<String>,
    },
    /// Something does not work and should be shown.
    Warning(String),
}

/// How a device is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkPath {
    /// TCP without anybody between.
    DirectTcp,
    /// QUIC without anybody between.
    DirectQuic,
}

/// A session with a paired device.
pub struct Session {
    /// The device.
    pub device: DeviceId,
    /// The session's number, the same on both sides and never used again between the two.
    pub id: u64,
    /// How the device is reached.
    pub path: LinkPath,
    /// The device's multiaddr; its port means nothing if the device dialled.
    pub address: String,
    /// Frames to the device.
    pub send: Outbox,
    /// Frames from the device.
    pub recv: Inbox,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, id, path, address, .. } = self;
        write!(f, "session {id} with {device:?} over {path:?} at {address}")
    }
}

/// A session as shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The device.
    pub device: DeviceId,
    /// How the device is reached.
    pub path: LinkPath,
    /// The last round trip of the interactive connection in milliseconds, once there was one.
    pub rtt_ms: Option<f64>,
    /// The device's multiaddr.
    pub address: String,
}

/// A device that asks to be paired. Nothing in it but `device` is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The device.
    pub device: DeviceId,
    /// The name it gave itself: at most 64 characters, none of them invisible.
    pub name: String,
    /// The multiaddr where it may be reached.
    pub address: String,
    /// When it first asked, in milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// The running network. Clones are the same one; it ends with the last clone.
#[derive(Clone)]
pub struct Net {
    commands: mpsc::Sender<Command>,
    rates: Arc<Rates>,
}

/// Starts to listen and to dial. Returns when the addresses are bound.
///
/// Must be called within a tokio runtime. Events must be received: while they are not, nothing new
/// comes up.
///
/// # Errors
/// [`NetError`] when an address cannot be bound or the configuration makes no sense. Addresses
/// of trusted devices that are not multiaddrs are warnings.
pub async fn start(config: NetConfig) -> Result<(Net, mpsc::Receiver<NetEvent>), NetError> {
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let rates = Arc::new(Rates::default());
    rates.set(&config.limits);
    let mut runner = Runner::start(&config, Arc::clone(&rates), sender).await?;
    for (device, addresses) in config.trusted {
        runner.trust(device, &readable(device, &addresses));
    }
    let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
    tokio::spawn(runner.run(receiver));
    Ok((Net { commands, rates }, events))
}

impl Net {
    /// Pairs a device, or adds addresses to one that is paired, and dials it at once. Texts that
    /// are no multiaddrs are skipped. The own device is never paired.
    pub async fn trust(&self, device: DeviceId, addresses: Vec<String>) {
        let addresses = readable(device, &addresses);
        let _ = self.ask(|done| Command::Trust(device, addresses, done)).await;
    }

    /// Ends a pairing. When this returns, the device's connections are gone and its `Down` event
    /// is on its way; frames already in an [`Inbox`] are still there.
    pub async fn distrust(&self, device: DeviceId) {
        let _ = self.ask(|done| Command::Distrust(device, done)).await;
    }

    /// Sets anew how fast bytes may come and go; it counts at once, also for sessions that are up.
    pub fn limit(&self, limits: &RateLimits) {
        self.rates.set(limits);
    }

    /// Says that the network may have changed (resume from sleep, another network): sessions must
    /// prove themselves within 3 s, all other devices are dialled at once.
    pub fn wake(&self) {
        // A full queue means that the task is busy with what would also wake it.
        let _ = self.commands.try_send(Command::Wake);
    }

    /// Returns the multiaddrs this device listens on, one for each interface, sorted.
    pub async fn listen_addrs(&self) -> Vec<String> {
        self.ask(Command::ListenAddrs).await.unwrap_or_default()
    }

    /// Returns the sessions that are up, sorted by device.
    pub async fn links(&self) -> Vec<Link> {
        self.ask(Command::Links).await.unwrap_or_default()
    }

    /// Returns the devices that asked to be paired within the last ten minutes, sorted by device.
    pub async fn pending(&self) -> Vec<Pending> {
        self.ask(Command::Pending).await.unwrap_or_default()
    }

    /// Listens on these multiaddrs instead. Sessions stay.
    ///
    /// # Errors
    /// [`NetError`] when one cannot be bound; nothing has changed then.
    pub async fn relisten(&self, listen: Vec<String>) -> Result<(), NetError> {
        self.ask(|answer| Command::Relisten(listen, answer)).await.ok_or(NetError::Stopped)?
    }

    /// Ends all sessions and stops listening. Returns when that is done, after a second at most.
    pub async fn shutdown(&self) {
        let _ = self.ask(Command::Shutdown).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.commands.send(command(sender)).await.ok()?;
        answer.await.ok()
    }
}

/// Returns the id of the device with this seed.
#[must_use]
pub fn device_id(seed: [u8; 32]) -> DeviceId {
    DeviceId(ed25519::Keypair::from(secret(seed)).public().to_bytes())
}

/// Says whether `SSLKEYLOGFILE` is set. libp2p would write every connection's keys there: the
/// program must remove it from its environment before [`start`].
#[must_use]
pub fn keylog_is_set() -> bool {
    std::env::var_os("SSLKEYLOGFILE").is_some()
}

fn keypair(seed: [u8; 32]) -> Keypair {
    ed25519::Keypair::from(secret(seed)).into()
}

fn secret(mut seed: [u8; 32]) -> ed25519::SecretKey {
    match ed25519::SecretKey::try_from_bytes(&mut seed) {
        Ok(secret) => secret,
        Err(_) => unreachable!("any 32 bytes are an ed25519 seed"),
    }
}

/// Returns the multiaddrs among `addresses`, without a peer at their end.
fn readable(device: DeviceId, addresses: &[String]) -> Vec<libp2p::Multiaddr> {
    addresses
        .iter()
        .filter_map(|text| {
            parse(text)
                .map_err(|error| tracing::warn!(%device, %error, "an address was skipped"))
                .ok()
        })
        .map(|address| links::bare(&address))
        .collect()
}
