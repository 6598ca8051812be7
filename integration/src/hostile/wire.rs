//! Connections: TLS or QUIC with a key of one's own, and streams of any name.

use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{Stream, StreamProtocol, SwarmEvent};
use libp2p::{Multiaddr, PeerId, SwarmBuilder, tcp, tls, yamux};
use syncd_core::model::DeviceId;
use syncd_core::protocol::tokens::TOKEN_BYTES;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::session::Ears;
use super::{Session, WAIT_MAX};

/// Between two heartbeats of a link.
const BEAT: Duration = Duration::from_secs(2);

/// Which of the three streams of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Control and small offers.
    Interactive,
    /// Offers and wants.
    Bulk,
    /// Contents.
    Data,
}

impl Lane {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Bulk, Self::Data];

    fn protocol(self) -> &'static str {
        match self {
            Self::Interactive => "/syncd/lane/1/interactive",
            Self::Bulk => "/syncd/lane/1/bulk",
            Self::Data => "/syncd/lane/1/data",
        }
    }
}

/// Somebody with a key.
#[derive(Debug)]
pub struct Hostile {
    runtime: Arc<Runtime>,
    seed: [u8; 32],
    id: DeviceId,
}

/// One connection; closed when it is dropped.
pub struct Wire {
    pub(super) runtime: Arc<Runtime>,
    control: libp2p_stream::Control,
    peer: PeerId,
    swarm: tokio::task::JoinHandle<()>,
}

impl Hostile {
    /// Makes the `number`th somebody whose id is less than `victim`, so that it is the one who
    /// opens the lanes of their sessions.
    ///
    /// # Panics
    /// When the system gives no threads.
    #[must_use]
    pub fn before(victim: DeviceId, number: u8) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build();
        let runtime = Arc::new(runtime.expect("threads can be started"));
        let keys = (0_u64..).map(|at| {
            let mut seed = [number; 32];
            seed[..8].copy_from_slice(&at.to_le_bytes());
            (seed, id_of(seed))
        });
        let mut fitting = keys.filter(|(_, id)| *id < victim);
        let (seed, id) = fitting.next().expect("there are many keys");
        Self { runtime, seed, id }
    }

    /// Returns its id, as people are shown it.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        self.id
    }

    /// Connects with `victim` at the multiaddr `address`; `None` when it is not let in.
    ///
    /// # Panics
    /// When the address is none.
    #[must_use]
    pub fn try_dial(&self, victim: DeviceId, address: &str) -> Option<Wire> {
        let address: Multiaddr = address.parse().expect("a multiaddr");
        let peer: PeerId = victim.peer_id().parse().expect("a device has a peer id");
        let _inside = self.runtime.enter();
        let mut swarm = SwarmBuilder::with_existing_identity(keypair(self.seed))
            .with_tokio()
            .with_tcp(tcp::Config::default(), tls::Config::new, yamux::Config::default)
            .expect("TLS can be set up")
            .with_quic()
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .expect("a behaviour")
            .with_swarm_config(|config| config.with_idle_connection_timeout(WAIT_MAX * 10))
            .build();
        let control = swarm.behaviour().new_control();
        let opts = DialOpts::peer_id(peer).addresses(vec![address]).allocate_new_port().build();
        swarm.dial(opts).ok()?;
        let connected = async {
            loop {
                #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is non-exhaustive")]
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { .. } => return true,
                    SwarmEvent::OutgoingConnectionError { .. } => return false,
                    _ => {}
                }
            }
        };
        let is_in = self.runtime.block_on(async { timeout(WAIT_MAX, connected).await });
        is_in.ok().filter(|is_in| *is_in)?;
        let swarm = self.runtime.spawn(async move { while swarm.next().await.is_some() {} });
        Some(Wire { runtime: Arc::clone(&self.runtime), control, peer, swarm })
    }

    /// Opens a session with `victim`, to which it is paired, and greets it.
    ///
    /// # Panics
    /// When that does not come about within the usual time.
    #[track_caller]
    #[must_use]
    pub fn session(&self, victim: DeviceId, address: &str, ears: Ears) -> Session {
        Session::greeted(self.lanes(victim, address, ears), self.id, None)
    }

    /// As [`Hostile::session`], showing a session token.
    #[track_caller]
    #[must_use]
    pub fn session_showing(
        &self,
        victim: DeviceId,
        address: &str,
        token: [u8; TOKEN_BYTES],
    ) -> Session {
        Session::greeted(self.lanes(victim, address, Ears::Open), self.id, Some(token))
    }

    /// Opens the three lanes of a session with `victim`, and says nothing.
    ///
    /// # Panics
    /// When that does not come about within the usual time.
    #[track_caller]
    #[must_use]
    pub fn lanes(&self, victim: DeviceId, address: &str, ears: Ears) -> Session {
        let began = std::time::Instant::now();
        loop {
            let session = self.try_dial(victim, address).and_then(|wire| wire.session(ears));
            if let Some(session) = session {
                return session;
            }
            assert!(began.elapsed() < WAIT_MAX, "a paired device is not let in");
            // Its last session may not be over yet on the other side.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Wire {
    /// Opens a stream; `None` when the other side takes none of this name.
    #[must_use]
    pub fn open(&mut self, protocol: &'static str) -> Option<Stream> {
        let opened = self.control.open_stream(self.peer, StreamProtocol::new(protocol));
        self.runtime.block_on(async { timeout(WAIT_MAX, opened).await }).ok()?.ok()
    }

    /// Writes bytes to a stream; `false` when it is gone.
    pub fn write(&self, stream: &mut Stream, bytes: &[u8]) -> bool {
        let written = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        self.runtime.block_on(async { timeout(WAIT_MAX, written).await }).is_ok_and(|w| w.is_ok())
    }

    /// Reads up to `count` bytes from a stream; fewer when it ends.
    ///
    /// # Panics
    /// When neither comes within the usual time.
    #[must_use]
    pub fn read(&self, stream: &mut Stream, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut limited = stream.take(count as u64);
        let read = limited.read_to_end(&mut bytes);
        // A stream that is reset has ended too.
        let _ = self.runtime.block_on(async { timeout(WAIT_MAX, read).await }).expect("an end");
        bytes
    }

    /// Links the connection and opens the lanes, in the order in which a daemon does.
    fn session(mut self, ears: Ears) -> Option<Session> {
        let mut link = self.open("/syncd/link/1")?;
        let card = card("hostile");
        if !self.write(&mut link, &card) || self.read(&mut link, 2).len() < 2 {
            return None;
        }
        let (mut reader, mut writer) = link.split();
        self.runtime.spawn(async move {
            // Whatever it says is of no interest; that it is read lets it go on.
            let _ = futures::io::copy(&mut reader, &mut futures::io::sink()).await;
        });
        self.runtime.spawn(async move {
            let ping = [1; 9];
            while writer.write_all(&ping).await.is_ok() && writer.flush().await.is_ok() {
                // The beat itself; nobody waits for it.
                tokio::time::sleep(BEAT).await;
            }
        });
        let number = std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos());
        let number = u64::try_from(number).unwrap_or(1).to_le_bytes();
        let mut lanes = Vec::new();
        for lane in Lane::ALL {
            let mut stream = self.open(lane.protocol())?;
            if !self.write(&mut stream, &number) {
                return None;
            }
            lanes.push(stream);
        }
        Some(Session::over(self, lanes, ears))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

/// Returns a card with this name and no addresses, with its length before it.
#[must_use]
pub(super) fn card(name: &str) -> Vec<u8> {
    let length = |count: usize| u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes();
    let body = [&[1][..], &length(name.len()), name.as_bytes(), &[0]].concat();
    [&length(body.len())[..], &body].concat()
}

fn keypair(seed: [u8; 32]) -> Keypair {
    Keypair::ed25519_from_bytes(seed).expect("any 32 bytes are a seed")
}

fn id_of(seed: [u8; 32]) -> DeviceId {
    let peer = keypair(seed).public().to_peer_id();
    DeviceId::parse(&peer.to_base58()).expect("a peer id of ed25519 names a device")
}
