//! The swarm's task: builds the swarm, and passes between it, the tasks and the user.
//!
//! # Invariants
//! - One task polls the swarm and does nothing slow; frames never pass through it.
//! - When the user does not take events, new connections wait; sessions go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::identity::Keypair;
use libp2p::swarm::SwarmEvent;
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder, connection_limits, mdns, memory_connection_limits, tcp, tls,
    yamux,
};
use syncd_core::model::DeviceId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::behaviour::{Node, NodeEvent};
use super::conn::Report;
use super::links::{Links, bare, device_of};
use super::listen::Listeners;
use super::rate::Rates;
use super::{Link, NetConfig, NetError, NetEvent, Pending};

/// Incoming connections that are still shaking hands.
const HANDSHAKES_MAX: u32 = 64;
/// Connections with one device: two in use, two that come while it is not noticed yet that those
/// in use are dead.
const PER_DEVICE_MAX: u32 = 4;
/// Incoming connections in all.
const INCOMING_MAX: u32 = 2048;
/// Above this share of the machine's memory no connection is accepted or made any more.
const MEMORY_SHARE_MAX: f64 = 0.75;
/// Streams of one connection: a link, three lanes, and some that are refused.
const STREAMS_MAX: usize = 16;
/// Streams of one connection that are being agreed on.
const NEGOTIATING_MAX: usize = 8;
/// Unread bytes of one QUIC stream, and of one QUIC connection.
const QUIC_STREAM_BYTES_MAX: u32 = 16 << 20;
const QUIC_BYTES_MAX: u32 = 32 << 20;
/// A QUIC connection on which nothing arrives for this long is dead, in milliseconds.
const QUIC_SILENCE_MS_MAX: u32 = 12_000;
/// How long making a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Events that may wait for the user before the swarm waits too.
const EVENTS_MAX: usize = 256;
/// How long the start waits for the first address of each listener.
const LISTEN_WAIT_MAX: Duration = Duration::from_secs(2);
/// Addresses that come this soon after listening began are no change of the network.
const SETTLING: Duration = Duration::from_secs(2);
/// Changes of addresses come in bursts; this is waited for their end.
const CHANGES_WAIT: Duration = Duration::from_millis(200);

/// What the user orders.
pub(super) enum Command {
    Trust(DeviceId, Vec<Multiaddr>, oneshot::Sender<()>),
    Distrust(DeviceId, oneshot::Sender<()>),
    Wake,
    ListenAddrs(oneshot::Sender<Vec<String>>),
    Links(oneshot::Sender<Vec<Link>>),
    Pending(oneshot::Sender<Vec<Pending>>),
    Relisten(Vec<String>, oneshot::Sender<Result<(), NetError>>),
    Shutdown(oneshot::Sender<()>),
}

/// The swarm and what goes with it.
pub(super) struct Runner {
    swarm: Swarm<Node>,
    listeners: Listeners,
    listening_since: Instant,
    changed_at: Option<Instant>,
    reports: mpsc::UnboundedReceiver<Report>,
    events: mpsc::Sender<NetEvent>,
}

impl Runner {
    /// Builds the swarm and binds its addresses.
    pub(super) async fn start(
        config: &NetConfig,
        rates: Arc<Rates>,
        events: mpsc::Sender<NetEvent>,
    ) -> Result<Self, NetError> {
        let keypair = super::keypair(config.seed);
        let (reporter, reports) = mpsc::unbounded_channel();
        let (swarm, warnings) = build(keypair, config, rates, reporter)?;
        let (listeners, listening_since) = (Listeners::default(), Instant::now());
        let mut runner =
            Self { swarm, listeners, listening_since, changed_at: None, reports, events };
        warnings.into_iter().for_each(|warning| runner.warn(warning));
        runner.listen(&config.listen, config.listen_is_default)?;
        runner.wait_for_addresses().await;
        Ok(runner)
    }

    fn listen(&mut self, wanted: &[String], lenient: bool) -> Result<(), NetError> {
        let warnings = self.listeners.set(&mut self.swarm, wanted, lenient)?;
        warnings.into_iter().for_each(|warning| self.warn(warning));
        self.listening_since = Instant::now();
        Ok(())
    }

    async fn wait_for_addresses(&mut self) {
        let mut silent: Vec<ListenerId> = self.listeners.ids();
        let all = async {
            while !silent.is_empty() {
                let event = self.swarm.select_next_some().await;
                if let SwarmEvent::NewListenAddr { listener_id, .. }
                | SwarmEvent::ListenerClosed { listener_id, .. } = &event
                {
                    silent.retain(|id| id != listener_id);
                }
                self.happened(event);
            }
        };
        if timeout(LISTEN_WAIT_MAX, all).await.is_err() {
            self.warn("a listener has no address yet".to_owned());
        }
    }

    fn links(&mut self) -> &mut Links {
        &mut self.swarm.behaviour_mut().links
    }

    fn warn(&mut self, warning: String) {
        self.links().events.push_back(NetEvent::Warning(warning));
    }

    /// Pairs devices at the start.
    pub(super) fn trust(&mut self, device: DeviceId, addresses: &[Multiaddr]) {
        self.links().trust(device, addresses);
    }

    /// Runs until it is told to stop or nobody can tell it anything any more.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let events = self.events.clone();
        loop {
            self.links().tick();
            let next = self.next_tick();
            let waiting = self.links().events.len();
            let tick = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Shutdown(done)) => return self.stop(Some(done)).await,
                    Some(command) => self.obey(command),
                    None => return self.stop(None).await,
                },
                Some(report) = self.reports.recv() => self.links().reported(report),
                permit = events.reserve(), if waiting > 0 => {
                    let event = self.swarm.behaviour_mut().links.events.pop_front();
                    // With nobody listening, events are dropped.
                    if let (Ok(permit), Some(event)) = (permit, event) {
                        permit.send(event);
                    }
                }
                event = self.swarm.select_next_some(), if waiting < EVENTS_MAX => {
                    self.happened(event);
                }
                () = tick => self.look_for_changes(),
            }
        }
    }

    fn next_tick(&mut self) -> Option<Instant> {
        let links = self.links();
        let due = links.next_ms().map(|at_ms| links.base + Duration::from_millis(at_ms));
        due.into_iter().chain(self.changed_at.map(|at| at + CHANGES_WAIT)).min()
    }

    fn look_for_changes(&mut self) {
        if self.changed_at.take_if(|at| at.elapsed() >= CHANGES_WAIT).is_some() {
            self.links().wake();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Trust(device, addresses, done) => {
                self.links().trust(device, &addresses);
                let _ = done.send(());
            }
            Command::Distrust(device, done) => self.links().distrust(device, done),
            Command::Wake => self.links().wake(),
            Command::ListenAddrs(answer) => {
                let addresses: BTreeSet<_> = self.swarm.listeners().cloned().collect();
                let _ = answer.send(addresses.iter().map(ToString::to_string).collect());
            }
            Command::Links(answer) => drop(answer.send(self.links().up())),
            Command::Pending(answer) => {
                let now_ms = self.links().now_ms();
                let _ = answer.send(self.links().gate.pending(now_ms));
            }
            Command::Relisten(wanted, answer) => {
                let _ = answer.send(self.listen(&wanted, false));
            }
            Command::Shutdown(done) => drop(done.send(())),
        }
    }

    fn happened(&mut self, event: SwarmEvent<NodeEvent>) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the enum is non-exhaustive")]
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                self.links().events.push_back(NetEvent::Listening(address.to_string()));
                self.addresses_changed();
            }
            SwarmEvent::ExpiredListenAddr { .. } => self.addresses_changed(),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                if let Some(address) = self.listeners.closed(listener_id) {
                    let why = reason.err().map(|error| format!(": {error}")).unwrap_or_default();
                    self.warn(format!("no longer listening on {address}{why}"));
                }
            }
            SwarmEvent::ListenerError { error, .. } => {
                self.warn(format!("a listener has trouble: {error}"));
            }
            SwarmEvent::Behaviour(NodeEvent::Mdns(mdns::Event::Discovered(seen))) => {
                for (peer, address) in seen {
                    if let Some(device) = device_of(&peer) {
                        self.links().seen(device, &bare(&address));
                    }
                }
            }
            _ => {}
        }
    }

    fn addresses_changed(&mut self) {
        if self.listening_since.elapsed() > SETTLING {
            self.changed_at = Some(Instant::now());
        }
    }

    /// Ends every session and connection, then the swarm.
    async fn stop(mut self, done: Option<oneshot::Sender<()>>) {
        self.links().end_all();
        let ended = async {
            while !self.links().is_quiet() {
                tokio::select! {
                    Some(report) = self.reports.recv() => self.links().reported(report),
                    event = self.swarm.select_next_some() => drop(event),
                }
            }
        };
        let _ = timeout(Duration::from_secs(1), ended).await;
        drop(self);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}

/// Builds the swarm. Returns with it what had to be done without.
fn build(
    keypair: Keypair,
    config: &NetConfig,
    rates: Arc<Rates>,
    reporter: mpsc::UnboundedSender<Report>,
) -> Result<(Swarm<Node>, Vec<String>), NetError> {
    let mut warnings = Vec::new();
    let own = super::device_id(config.seed);
    let peer = keypair.public().to_peer_id();
    let mdns = if config.mdns {
        mdns::tokio::Behaviour::new(mdns::Config::default(), peer)
            .map_err(|error| warnings.push(format!("no discovery by mDNS: {error}")))
            .ok()
    } else {
        None
    };
    let limits = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(HANDSHAKES_MAX))
        .with_max_established_incoming(Some(INCOMING_MAX))
        .with_max_established_per_peer(Some(PER_DEVICE_MAX));
    let node = Node {
        links: Links::new(own, config.name.clone(), rates, reporter),
        limits: connection_limits::Behaviour::new(limits),
        memory: memory_connection_limits::Behaviour::with_max_percentage(MEMORY_SHARE_MAX),
        mdns: mdns.into(),
    };
    let transports = || {
        let builder = SwarmBuilder::with_existing_identity(keypair.clone())
            .with_tokio()
            .with_tcp(tcp::Config::default(), tls::Config::new, muxer)?
            .with_quic_config(quic);
        Ok(builder)
    };
    let swarm = match transports().map_err(NetError::Tls)?.with_dns() {
        Ok(builder) => builder
            .with_behaviour(|_| node)
            .unwrap_or_else(|never| match never {})
            .with_swarm_config(tune)
            .with_connection_timeout(CONNECT_MAX)
            .build(),
        Err(error) => {
            warnings.push(format!("addresses with names cannot be dialled: {error}"));
            transports()
                .map_err(NetError::Tls)?
                .with_behaviour(|_| node)
                .unwrap_or_else(|never| match never {})
                .with_swarm_config(tune)
                .with_connection_timeout(CONNECT_MAX)
                .build()
        }
    };
    Ok((swarm, warnings))
}

fn muxer() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(STREAMS_MAX);
    config
}

fn quic(mut config: libp2p::quic::Config) -> libp2p::quic::Config {
    config.max_stream_data = QUIC_STREAM_BYTES_MAX;
    config.max_connection_data = QUIC_BYTES_MAX;
    config.max_idle_timeout = QUIC_SILENCE_MS_MAX;
    config.max_concurrent_stream_limit = u32::try_from(STREAMS_MAX).unwrap_or(u32::MAX);
    config
}

fn tune(config: libp2p::swarm::Config) -> libp2p::swarm::Config {
    // A connection ends when we hang up, and then at once.
    config
        .with_idle_connection_timeout(Duration::ZERO)
        .with_max_negotiating_inbound_streams(NEGOTIATING_MAX)
}
