//! The connections with other devices: what each is for, and what becomes of it.
//!
//! A connection begins as a stranger's (which may leave a card) or a paired device's (whose link
//! is then set up by the side that dialled). `session` makes sessions of linked connections.
//!
//! # Invariants
//! - Nothing that comes from a connection that is being closed has any effect.
//! - Every connection that is in no session ends after a bounded time.
//! - The swarm is told through `orders` and the user through `events`; nothing here waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use libp2p::multiaddr::{Multiaddr, Protocol};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{CloseConnection, ConnectionId, NotifyHandler, ToSwarm};
use libp2p::{PeerId, Stream};
use syncd_core::model::DeviceId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::behaviour::Moved;
use super::conn::{Conn, LinkEnd, Peer, Report, Role};
use super::dial::{Attempt, Origin, is_quic};
use super::gate::Gate;
use super::handler::{FromHandler, Purpose, ToHandler};
use super::link::{self, Pulse, millis_since};
use super::pair::{self, Card, ip_of};
use super::rate::Rates;
use super::session::read_session;
use super::{Link, NetEvent};

/// Addresses of one attempt that are dialled at the same time: all.
const DIALS_AT_ONCE: NonZeroU8 = NonZeroU8::new(16).unwrap();

/// All devices and connections.
pub(super) struct Links {
    pub(super) own: DeviceId,
    name: String,
    pub(super) base: Instant,
    pub(super) gate: Gate,
    pub(super) peers: BTreeMap<DeviceId, Peer>,
    pub(super) conns: BTreeMap<ConnectionId, Conn>,
    pub(super) orders: VecDeque<ToSwarm<Moved, ToHandler>>,
    /// Something happened that the swarm's task has not looked at yet.
    pub(super) moved: bool,
    pub(super) events: VecDeque<NetEvent>,
    pub(super) reports: mpsc::UnboundedSender<Report>,
    pub(super) listen: BTreeSet<Multiaddr>,
    pub(super) next_session: u64,
    pub(super) rates: Arc<Rates>,
}

impl Links {
    /// Returns a device's links to nobody. Tasks report to `reports`.
    pub(super) fn new(
        own: DeviceId,
        name: String,
        rates: Arc<Rates>,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Self {
        Self {
            own,
            name,
            base: Instant::now(),
            gate: Gate::default(),
            peers: BTreeMap::new(),
            conns: BTreeMap::new(),
            orders: VecDeque::new(),
            moved: false,
            events: VecDeque::new(),
            reports,
            listen: BTreeSet::new(),
            // Numbers must not repeat after a restart, or an old stream could pass for a new one.
            next_session: unix_ms() << 20,
            rates,
        }
    }

    /// Returns the milliseconds since the start.
    pub(super) fn now_ms(&self) -> u64 {
        millis_since(self.base)
    }

    /// Pairs a device, or gives a paired one more addresses, and dials it.
    pub(super) fn trust(&mut self, device: DeviceId, given: &[Multiaddr]) {
        let Some(peer) = peer_of(device).filter(|_| device != self.own) else {
            return;
        };
        let heard = self.gate.pair(device);
        let strangers = self.ids(|conn| conn.device == device && conn.is_stranger());
        strangers.into_iter().for_each(|id| self.hang_up(id));
        let now_ms = self.now_ms();
        let spread = self.own.0[0] ^ device.0[1];
        let peer = self.peers.entry(device).or_insert_with(|| Peer::new(peer, spread));
        peer.leaving.clear();
        for address in given {
            peer.dialer.learn(address, Origin::Given);
        }
        for address in heard {
            peer.dialer.learn(&address, Origin::Heard);
        }
        peer.dialer.nudge(now_ms);
    }

    /// Ends a pairing. `done` is told when the device's last connection is gone.
    pub(super) fn distrust(&mut self, device: DeviceId, done: oneshot::Sender<()>) {
        self.gate.unpair(device);
        if let Some(peer) = self.peers.get_mut(&device) {
            peer.leaving.push(done);
            self.end_session(device);
            let all = self.ids(|conn| conn.device == device);
            all.into_iter().for_each(|id| self.hang_up(id));
            self.see_off(device);
        }
    }

    /// Forgets a device that is not paired any more once nothing is left of it.
    pub(super) fn see_off(&mut self, device: DeviceId) {
        let gone = self.peers.get(&device).is_some_and(|peer| peer.live.is_none())
            && !self.gate.is_paired(device)
            && !self.conns.values().any(|conn| conn.device == device);
        if gone && let Some(peer) = self.peers.remove(&device) {
            for done in peer.leaving {
                let _ = done.send(());
            }
        }
    }

    /// Notes an address at which a device was seen. A new one is dialled at once.
    pub(super) fn seen(&mut self, device: DeviceId, address: &Multiaddr) {
        let now_ms = self.now_ms();
        if self.gate.is_paired(device)
            && let Some(peer) = self.peers.get_mut(&device)
            && peer.dialer.learn(address, Origin::Heard)
            && peer.live.is_none()
        {
            peer.dialer.nudge(now_ms);
        }
    }

    /// The network may have changed: every session must prove itself, and every other device is
    /// dialled now.
    pub(super) fn wake(&mut self) {
        let now_ms = self.now_ms();
        let mut devices: Vec<_> = self.peers.keys().copied().collect();
        devices.retain(|device| self.gate.is_paired(*device));
        for device in devices {
            if self.peers.get(&device).is_some_and(|peer| peer.live.is_some()) {
                self.probe(device, now_ms);
            } else if let Some(peer) = self.peers.get_mut(&device) {
                peer.dialer.nudge(now_ms);
            }
        }
    }

    /// Takes a new connection.
    pub(super) fn established(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: Multiaddr,
        we_dialled: bool,
    ) {
        let Some(device) = device_of(&peer) else {
            return;
        };
        let paired = self.gate.is_paired(device);
        let role = if paired { Role::Paired(None) } else { Role::Stranger };
        let (opened_ms, quic) = (self.now_ms(), is_quic(&address));
        let closing_ms = None;
        let conn = Conn { device, peer, we_dialled, quic, address, opened_ms, role, closing_ms };
        self.conns.insert(id, conn);
        if we_dialled {
            if let Some(peer) = self.peers.get_mut(&device) {
                peer.dialer.connected();
            }
            self.order(id, ToHandler::Open(Purpose::Link));
        }
        tracing::debug!(%id, ?device, we_dialled, paired, "connected");
    }

    /// Forgets a connection that is gone.
    pub(super) fn closed(&mut self, id: ConnectionId) {
        self.release(id);
        let Some(conn) = self.conns.remove(&id) else {
            return;
        };
        tracing::debug!(%id, device = ?conn.device, "disconnected");
        self.maybe_lost(conn.device, None);
        self.see_off(conn.device);
    }

    /// Dials again if nothing is left of a device's connections.
    pub(super) fn maybe_lost(&mut self, device: DeviceId, held_ms: Option<u64>) {
        let (now_ms, idle) = (self.now_ms(), !self.is_connected(device));
        if let Some(peer) = self.peers.get_mut(&device)
            && idle
            && self.gate.is_paired(device)
        {
            peer.second_ms = None;
            peer.choose_ms = None;
            peer.dialer.lost(now_ms, held_ms);
        }
    }

    /// Notes a failed attempt; `wrong` is the address where somebody else answered.
    pub(super) fn dial_failed(
        &mut self,
        id: ConnectionId,
        peer: &PeerId,
        wrong: Option<&Multiaddr>,
    ) {
        let Some(device) = device_of(peer) else {
            return;
        };
        let (now_ms, idle) = (self.now_ms(), !self.is_connected(device));
        if let Some(peer) = self.peers.get_mut(&device) {
            peer.dialer.failed(id, wrong.map(bare).as_ref(), now_ms, idle);
        }
    }

    /// Says whether there is anything open with a device.
    pub(super) fn is_connected(&self, device: DeviceId) -> bool {
        self.peers.get(&device).is_some_and(|peer| peer.live.is_some())
            || self.conns.values().any(|conn| conn.device == device && conn.is_open())
    }

    /// Takes what a connection's handler says.
    pub(super) fn handler_said(&mut self, id: ConnectionId, said: FromHandler) {
        let Some(conn) = self.conns.get(&id).filter(|conn| conn.is_open()) else {
            return;
        };
        let (device, we_dialled) = (conn.device, conn.we_dialled);
        match said {
            FromHandler::Opened { purpose: Purpose::Link, stream, by_us }
                if by_us == we_dialled =>
            {
                self.start_link(id, stream);
            }
            FromHandler::Opened { purpose: Purpose::Pair, stream, by_us: true } => {
                let (card, reports) = (self.card(), self.reports.clone());
                tokio::spawn(async move {
                    pair::ask(stream, card).await;
                    let _ = reports.send(Report::Asked(id));
                });
            }
            FromHandler::Opened { purpose: Purpose::Pair, stream, by_us: false } => {
                let reports = self.reports.clone();
                tokio::spawn(async move {
                    let _ = reports.send(Report::Knocked(id, pair::hear(stream).await));
                });
            }
            FromHandler::Opened { purpose: Purpose::Lane(lane), stream, by_us: true } => {
                self.lane_opened(device, id, lane, stream);
            }
            FromHandler::Opened { purpose: Purpose::Lane(lane), stream, by_us: false }
                if device < self.own =>
            {
                let reports = self.reports.clone();
                tokio::spawn(async move {
                    let _ = reports.send(read_session(id, lane, stream).await);
                });
            }
            FromHandler::Refused { purpose: Purpose::Link, unknown: true } => self.ask(id),
            FromHandler::Opened { .. } | FromHandler::Refused { .. } => self.hang_up(id),
        }
    }

    fn start_link(&mut self, id: ConnectionId, stream: Stream) {
        let card = self.card();
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let (orders, receiver) = mpsc::channel(4);
        let pulse = Arc::new(Pulse::new(self.base));
        let reports = self.reports.clone();
        conn.role =
            Role::Paired(Some(LinkEnd { orders, pulse: Arc::clone(&pulse), linked_ms: None }));
        tokio::spawn(link::run(id, stream, card, pulse, receiver, reports));
    }

    /// Asks to be paired by a device that does not know us.
    fn ask(&mut self, id: ConnectionId) {
        let now_ms = self.now_ms();
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.role = Role::Asking;
            if let Some(peer) = self.peers.get_mut(&conn.device) {
                peer.dialer.refused(now_ms);
            }
            self.order(id, ToHandler::Open(Purpose::Pair));
        }
    }

    /// Takes what a task reports.
    pub(super) fn reported(&mut self, report: Report) {
        match report {
            Report::Linked(id, card) => self.linked(id, &card),
            Report::LaneCame { id, lane, session, stream } => {
                self.lane_came(id, lane, session, stream);
            }
            Report::SecondAsked(id) => self.second_asked(id),
            Report::Knocked(id, card) => self.knocked(id, card),
            Report::LinkEnded(id) | Report::Asked(id) | Report::Broke(id) => self.hang_up(id),
            Report::Over(device, session) => self.session_over(device, session),
        }
    }

    fn linked(&mut self, id: ConnectionId, card: &Card) {
        let now_ms = self.now_ms();
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.is_open()) else {
            return;
        };
        if let Role::Paired(Some(link)) = &mut conn.role {
            link.linked_ms = Some(now_ms);
        }
        let device = conn.device;
        if let Some(peer) = self.peers.get_mut(&device) {
            for address in card.candidates(ip_of(&conn.address)) {
                peer.dialer.learn(&address, Origin::Heard);
            }
        }
        self.advance(device);
    }

    fn knocked(&mut self, id: ConnectionId, card: Option<Card>) {
        let Some(conn) = self.conns.get(&id).filter(|conn| conn.is_open()) else {
            return;
        };
        if let Some(card) = card
            && !self.gate.is_paired(conn.device)
        {
            let now_ms = self.now_ms();
            let shown = self.gate.knock(conn.device, &card, &conn.address, now_ms, unix_ms());
            self.events.extend(shown.map(NetEvent::Pending));
        }
        self.hang_up(id);
    }

    /// Ends a connection and whatever uses it.
    pub(super) fn hang_up(&mut self, id: ConnectionId) {
        let now_ms = self.now_ms();
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.is_open()) else {
            return;
        };
        conn.closing_ms = Some(now_ms);
        if conn.is_stranger() {
            self.close(id);
        } else {
            conn.role = Role::Paired(None);
            self.order(id, ToHandler::HangUp);
        }
        self.release(id);
    }

    /// Closes a connection in order: what was written still goes out.
    pub(super) fn close(&mut self, id: ConnectionId) {
        if let Some(conn) = self.conns.get(&id) {
            let connection = CloseConnection::One(id);
            self.orders.push_back(ToSwarm::CloseConnection { peer_id: conn.peer, connection });
        }
    }

    pub(super) fn order(&mut self, id: ConnectionId, event: ToHandler) {
        if let Some(conn) = self.conns.get(&id) {
            let handler = NotifyHandler::One(id);
            self.orders.push_back(ToSwarm::NotifyHandler { peer_id: conn.peer, handler, event });
        }
    }

    /// Dials a device. An own port for each connection: with the listener's port reused, two
    /// devices that dial each other at once meet in a TCP simultaneous open, where both would be
    /// the TLS client. (A relay must be dialled with the port reused, or hole punching fails.)
    pub(super) fn dial(&mut self, device: DeviceId, attempt: Attempt) -> Option<ConnectionId> {
        let opts = DialOpts::peer_id(self.peers.get(&device)?.peer)
            .addresses(attempt.addresses)
            .condition(PeerCondition::Always)
            .override_dial_concurrency_factor(DIALS_AT_ONCE);
        let opts = if attempt.quic { opts } else { opts.allocate_new_port() }.build();
        let id = opts.connection_id();
        self.orders.push_back(ToSwarm::Dial { opts });
        Some(id)
    }

    pub(super) fn ids(&self, of: impl Fn(&Conn) -> bool) -> Vec<ConnectionId> {
        self.conns.iter().filter(|(_, conn)| of(conn)).map(|(id, _)| *id).collect()
    }

    /// Returns the sessions that are up.
    pub(super) fn up(&self) -> Vec<Link> {
        let shown = |(device, peer): (&DeviceId, &Peer)| {
            let live = peer.live.as_ref().filter(|live| !live.over.is_cancelled())?;
            let pulse = self.conns.get(&live.interactive)?.pulse()?;
            let (path, address) = (live.path, live.address.clone());
            Some(Link { device: *device, path, rtt_ms: pulse.round_ms(), address })
        };
        self.peers.iter().filter_map(shown).collect()
    }

    /// Ends everything and dials nobody any more.
    pub(super) fn end_all(&mut self) {
        let devices: Vec<_> = self.peers.keys().copied().collect();
        for device in devices {
            self.gate.unpair(device);
            self.end_session(device);
        }
        let all = self.ids(Conn::is_open);
        all.into_iter().for_each(|id| self.hang_up(id));
    }

    /// Says whether all connections are gone and all sessions over.
    pub(super) fn is_quiet(&self) -> bool {
        self.conns.is_empty() && self.peers.values().all(|peer| peer.live.is_none())
    }

    /// Returns how we introduce ourselves. Loopback stands last: it is seldom of use.
    fn card(&self) -> Card {
        let mut listen: Vec<_> = self.listen.iter().cloned().collect();
        listen.sort_by_key(|address| ip_of(address).is_none_or(|ip| ip.is_loopback()));
        Card { name: self.name.clone(), listen }
    }
}

/// Returns the device of a libp2p peer; `None` if its key is not ed25519.
pub(super) fn device_of(peer: &PeerId) -> Option<DeviceId> {
    DeviceId::parse(&peer.to_base58()).ok()
}

/// Returns a device as libp2p knows it.
pub(super) fn peer_of(device: DeviceId) -> Option<PeerId> {
    device.peer_id().parse().ok()
}

/// Returns an address without the peer at its end.
pub(super) fn bare(address: &Multiaddr) -> Multiaddr {
    address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}
