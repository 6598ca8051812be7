//! Sessions: which connections carry the lanes of a device.
//!
//! The device with the lesser id leads: it chooses connections, opens the lanes and closes what
//! is left over. The other takes the lanes as they come, so that two devices that dial each other
//! at once end in one session whatever the order of events.
//!
//! # Invariants
//! - There is at most one session with a device; the next one is up only after the user was told
//!   that the last is down and its tasks have ended.
//! - Over TCP the interactive lane has its own connection when a second one comes in time.
//! - A connection that comes while a session is up means that the other side may have lost it:
//!   the session must then show a sign of life, or makes way.

use futures::io::AsyncReadExt;
use libp2p::Stream;
use libp2p::swarm::ConnectionId;
use syncd_core::model::DeviceId;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::conn::{Peer, Report};
use super::dial::{Attempt, Origin};
use super::handler::{Purpose, ToHandler};
use super::lanes::{self, Open, Terms};
use super::link::LinkOrder;
use super::links::Links;
use super::pair::CARD_WAIT_MAX;
use super::{Lane, LinkPath, NetEvent, Session};

/// How long connections that are just being made are waited for, in milliseconds.
const GRACE_MS: u64 = 150;
/// How long the second TCP connection may take, in milliseconds.
const SECOND_MS_MAX: u64 = 3000;
/// How long a doubted session has to show a sign of life, in milliseconds.
const PROBE_MS_MAX: u64 = 3000;
/// Addresses that are remembered of a device that came by itself.
const HEARSAY_MAX: usize = 4;
/// Between two looks at a doubted session, in milliseconds.
const PROBE_LOOK_MS: u64 = 50;

/// A session that is up, or whose tasks are ending.
pub(super) struct Live {
    pub(super) id: u64,
    pub(super) interactive: ConnectionId,
    pub(super) rest: ConnectionId,
    pub(super) over: CancellationToken,
    pub(super) path: LinkPath,
    pub(super) address: String,
    since_ms: u64,
}

/// A session whose lanes we are opening.
pub(super) struct Opening {
    id: u64,
    interactive: ConnectionId,
    rest: ConnectionId,
    lanes: [Option<Stream>; 3],
}

/// A session whose lanes the other side is opening.
pub(super) struct Gathering {
    id: u64,
    lanes: [Option<(ConnectionId, Stream)>; 3],
}

/// A linked connection that could be used.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: ConnectionId,
    quic: bool,
    linked_ms: u64,
}

/// What to do with the linked connections.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Nothing,
    WaitUntil(u64),
    AskSecond(ConnectionId),
    Use { interactive: ConnectionId, rest: ConnectionId },
}

/// Chooses among linked connections, in the order in which they were linked. `more` says that
/// others are being made; `second_ms` is when a second one was asked for.
fn choose(linked: &[Candidate], more: bool, second_ms: Option<u64>, now_ms: u64) -> Choice {
    let Some(first) = linked.first() else {
        return Choice::Nothing;
    };
    let tcp: Vec<_> = linked.iter().filter(|candidate| !candidate.quic).collect();
    let grace_ms = first.linked_ms + GRACE_MS;
    match (&tcp[..], second_ms) {
        ([rest, interactive, ..], _) => Choice::Use { interactive: interactive.id, rest: rest.id },
        (_, None) if more && now_ms < grace_ms => Choice::WaitUntil(grace_ms),
        ([only], None) => Choice::AskSecond(only.id),
        ([_], Some(second_ms)) if now_ms < second_ms + SECOND_MS_MAX => {
            Choice::WaitUntil(second_ms + SECOND_MS_MAX)
        }
        ([only], Some(_)) => Choice::Use { interactive: only.id, rest: only.id },
        ([], _) => Choice::Use { interactive: first.id, rest: first.id },
    }
}

/// Reads which session a lane that came belongs to.
pub(super) async fn read_session(id: ConnectionId, lane: Lane, mut stream: Stream) -> Report {
    let mut session = [0; 8];
    match timeout(CARD_WAIT_MAX, stream.read_exact(&mut session)).await {
        Ok(Ok(())) => Report::LaneCame { id, lane, session: u64::from_le_bytes(session), stream },
        Ok(Err(_)) | Err(_) => Report::Broke(id),
    }
}

impl Links {
    /// Takes the next step towards a session with a device, if there is one.
    pub(super) fn advance(&mut self, device: DeviceId) {
        let now_ms = self.now_ms();
        let Some(peer) = self.peers.get(&device) else {
            return;
        };
        if peer.live.is_some() {
            if self.own < device && !self.spares(device).is_empty() {
                self.probe(device, now_ms);
            }
        } else if self.own > device {
            self.take_gathered(device);
        } else if peer.opening.is_none() {
            self.choose(device, now_ms);
        }
    }

    fn choose(&mut self, device: DeviceId, now_ms: u64) {
        let mut linked: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.device == device)
            .filter_map(|(id, conn)| {
                let linked_ms = conn.link()?.linked_ms?;
                Some(Candidate { id: *id, quic: conn.quic, linked_ms })
            })
            .collect();
        linked.sort_by_key(|candidate| (candidate.linked_ms, candidate.id));
        let open = self.ids(|conn| conn.device == device && conn.is_open()).len();
        let Some(peer) = self.peers.get_mut(&device) else {
            return;
        };
        peer.choose_ms = None;
        match choose(&linked, open > linked.len(), peer.second_ms, now_ms) {
            Choice::Nothing => {}
            Choice::WaitUntil(at_ms) => peer.choose_ms = Some(at_ms),
            Choice::AskSecond(id) => {
                peer.second_ms = Some(now_ms);
                peer.choose_ms = Some(now_ms + SECOND_MS_MAX);
                self.make_second(device, id);
            }
            Choice::Use { interactive, rest } => {
                peer.second_ms = None;
                let id = self.next_session;
                self.next_session += 1;
                peer.opening = Some(Opening { id, interactive, rest, lanes: Default::default() });
                self.order(interactive, ToHandler::Open(Purpose::Lane(Lane::Interactive)));
                self.order(rest, ToHandler::Open(Purpose::Lane(Lane::Bulk)));
                self.order(rest, ToHandler::Open(Purpose::Lane(Lane::Data)));
            }
        }
    }

    /// Makes a second connection to where connection `id` leads: the side that dialled it knows
    /// an address that works.
    fn make_second(&mut self, device: DeviceId, id: ConnectionId) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        if conn.we_dialled {
            let addresses = vec![conn.address.clone()];
            self.dial(device, Attempt { quic: conn.quic, addresses });
        } else if let Some(link) = conn.link() {
            let _ = link.orders.try_send(LinkOrder::Second);
        }
    }

    /// The leading side wants a second connection.
    pub(super) fn second_asked(&mut self, id: ConnectionId) {
        if let Some(conn) = self.conns.get(&id).filter(|conn| conn.is_open() && conn.we_dialled) {
            let device = conn.device;
            if self.peers.get(&device).is_some_and(|peer| peer.live.is_none()) {
                self.make_second(device, id);
            }
        }
    }

    /// Takes a lane that we opened.
    pub(super) fn lane_opened(
        &mut self,
        device: DeviceId,
        id: ConnectionId,
        lane: Lane,
        stream: Stream,
    ) {
        let Some(peer) = self.peers.get_mut(&device) else {
            return;
        };
        let Some(opening) = &mut peer.opening else {
            return;
        };
        let on = if lane == Lane::Interactive { opening.interactive } else { opening.rest };
        if on != id {
            return;
        }
        opening.lanes[lane.index()] = Some(stream);
        if opening.lanes.iter().all(Option::is_some)
            && let Some(Opening { id, interactive, rest, lanes }) = peer.opening.take()
            && let [Some(first), Some(second), Some(third)] = lanes
        {
            let lanes = [(interactive, first), (rest, second), (rest, third)];
            self.begin(device, id, lanes, true);
            // They were linked before the other side took the lanes: it does not miss a session.
            self.spares(device).into_iter().for_each(|id| self.hang_up(id));
        }
    }

    /// Takes a lane that the leading side opened.
    pub(super) fn lane_came(&mut self, id: ConnectionId, lane: Lane, session: u64, stream: Stream) {
        let Some(conn) = self.conns.get(&id).filter(|conn| conn.pulse().is_some()) else {
            return self.hang_up(id);
        };
        let device = conn.device;
        if let Some(peer) = self.peers.get_mut(&device) {
            let gathering = peer
                .gathering
                .take_if(|gathering| gathering.id == session)
                .unwrap_or(Gathering { id: session, lanes: Default::default() });
            let gathering = peer.gathering.insert(gathering);
            gathering.lanes[lane.index()] = Some((id, stream));
            if gathering.lanes.iter().all(Option::is_some) {
                self.end_session(device);
                self.advance(device);
            }
        }
    }

    fn take_gathered(&mut self, device: DeviceId) {
        let gathered = self.peers.get_mut(&device).and_then(|peer| {
            peer.gathering.take_if(|gathering| gathering.lanes.iter().all(Option::is_some))
        });
        if let Some(Gathering { id, lanes: [Some(first), Some(second), Some(third)] }) = gathered {
            self.begin(device, id, [first, second, third], false);
        }
    }

    fn begin(
        &mut self,
        device: DeviceId,
        id: u64,
        lanes: [(ConnectionId, Stream); 3],
        announce: bool,
    ) {
        let (interactive, rest) = (lanes[0].0, lanes[2].0);
        let lanes = lanes.map(|(conn, stream)| {
            let pulse = self.conns.get(&conn)?.pulse()?.clone();
            Some(Open { stream, pulse })
        });
        let (Some(conn), [Some(first), Some(second), Some(third)]) =
            (self.conns.get(&interactive), lanes)
        else {
            return [interactive, rest].into_iter().for_each(|id| self.hang_up(id));
        };
        let path = if conn.quic { LinkPath::DirectQuic } else { LinkPath::DirectTcp };
        let address = conn.address.to_string();
        let over = CancellationToken::new();
        let reports = self.reports.clone();
        let terms = Terms {
            announce: announce.then_some(id),
            throttle: self.rates.throttle(device, &conn.address),
            over: over.clone(),
        };
        let (send, recv) = lanes::start([first, second, third], terms, move || {
            let _ = reports.send(Report::Over(device, id));
        });
        let since_ms = self.now_ms();
        if let Some(peer) = self.peers.get_mut(&device) {
            let address = address.clone();
            peer.live = Some(Live { id, interactive, rest, over, path, address, since_ms });
            (peer.probe_ms, peer.choose_ms, peer.second_ms) = (None, None, None);
        }
        tracing::debug!(?device, id, %address, "session up");
        self.events.push_back(NetEvent::Up(Session { device, id, path, address, send, recv }));
        self.remember(device, [interactive, rest]);
    }

    /// Keeps the address that led to a session; of a device that came by itself, where it says it
    /// can be reached, so that whichever of the two returns can dial.
    fn remember(&mut self, device: DeviceId, conns: [ConnectionId; 2]) {
        let worked = conns
            .iter()
            .filter_map(|id| self.conns.get(id))
            .find(|conn| conn.we_dialled)
            .map(|conn| conn.address.clone());
        let Some(peer) = self.peers.get_mut(&device) else { return };
        let event = if let Some(address) = worked {
            peer.dialer.learn(&address, Origin::Worked);
            NetEvent::AddressWorked { device, address: address.to_string() }
        } else {
            let heard = peer.dialer.hearsay(HEARSAY_MAX);
            let addresses = heard.iter().map(ToString::to_string).collect();
            NetEvent::AddressesHeard { device, addresses }
        };
        self.events.push_back(event);
    }

    /// Lets a session end; [`Self::session_over`] follows when its tasks have ended.
    pub(super) fn end_session(&mut self, device: DeviceId) {
        if let Some(live) = self.peers.get(&device).and_then(|peer| peer.live.as_ref()) {
            live.over.cancel();
        }
    }

    /// Tells the user that a session is over, and looks what comes next.
    pub(super) fn session_over(&mut self, device: DeviceId, session: u64) {
        let now_ms = self.now_ms();
        let Some(peer) = self.peers.get_mut(&device) else {
            return;
        };
        let Some(live) = peer.live.take_if(|live| live.id == session) else {
            return;
        };
        peer.probe_ms = None;
        tracing::debug!(?device, session, "session down");
        self.events.push_back(NetEvent::Down { device, session });
        self.hang_up(live.interactive);
        self.hang_up(live.rest);
        self.maybe_lost(device, Some(now_ms.saturating_sub(live.since_ms)));
        self.advance(device);
        self.see_off(device);
    }

    /// Doubts a session: it must show a sign of life.
    pub(super) fn probe(&mut self, device: DeviceId, now_ms: u64) {
        if let Some(peer) = self.peers.get_mut(&device)
            && let Some(live) = &peer.live
            && peer.probe_ms.is_none()
        {
            peer.probe_ms = Some(now_ms);
            let link = self.conns.get(&live.interactive).and_then(|conn| conn.link());
            if let Some(link) = link {
                let _ = link.orders.try_send(LinkOrder::Beat);
            }
        }
    }

    /// Looks whether a doubted session has shown a sign of life, and chooses when it is time.
    pub(super) fn check(&mut self, device: DeviceId, now_ms: u64) {
        let Some(peer) = self.peers.get_mut(&device) else {
            return;
        };
        if peer.choose_ms.take_if(|at_ms| *at_ms <= now_ms).is_some() {
            return self.advance(device);
        }
        let (Some(probe_ms), Some(live)) = (peer.probe_ms, &peer.live) else {
            return;
        };
        let heard_ms = self
            .conns
            .get(&live.interactive)
            .and_then(|conn| conn.pulse())
            .map_or(0, |pulse| pulse.heard_ms());
        if heard_ms >= probe_ms {
            peer.probe_ms = None;
            if self.own < device {
                self.spares(device).into_iter().for_each(|id| self.hang_up(id));
            }
        } else if now_ms >= probe_ms + PROBE_MS_MAX {
            self.end_session(device);
        }
    }

    /// Returns when [`Self::check`] has something to look at.
    pub(super) fn next_look_ms(&self, peer: &Peer) -> Option<u64> {
        let doubted = peer.live.as_ref().is_some_and(|live| !live.over.is_cancelled());
        peer.probe_ms.filter(|_| doubted).map(|_| self.now_ms() + PROBE_LOOK_MS)
    }

    /// Returns the linked connections that the session does not use.
    fn spares(&self, device: DeviceId) -> Vec<ConnectionId> {
        let mut ids = self.ids(|conn| conn.device == device && conn.link().is_some());
        ids.retain(|id| !self.is_in_session(*id, device));
        ids
    }

    pub(super) fn is_in_session(&self, id: ConnectionId, device: DeviceId) -> bool {
        self.peers
            .get(&device)
            .and_then(|peer| peer.live.as_ref())
            .is_some_and(|live| live.interactive == id || live.rest == id)
    }

    /// Ends whatever uses a connection that is going.
    pub(super) fn release(&mut self, id: ConnectionId) {
        let Some(device) = self.conns.get(&id).map(|conn| conn.device) else {
            return;
        };
        if self.is_in_session(id, device) {
            self.end_session(device);
        }
        let Some(peer) = self.peers.get_mut(&device) else {
            return;
        };
        peer.gathering
            .take_if(|gathering| gathering.lanes.iter().flatten().any(|(conn, _)| *conn == id));
        let opening =
            peer.opening.take_if(|opening| opening.interactive == id || opening.rest == id);
        if let Some(opening) = opening {
            self.hang_up(opening.interactive);
            self.hang_up(opening.rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> ConnectionId {
        ConnectionId::new_unchecked(n)
    }

    #[test]
    fn connections_are_chosen() {
        let tcp = |n| Candidate { id: id(n), quic: false, linked_ms: 0 };
        let quic = |n| Candidate { id: id(n), quic: true, linked_ms: 0 };
        let both = |interactive, rest| Choice::Use { interactive: id(interactive), rest: id(rest) };
        for (linked, more, second_ms, now_ms, expected, why) in [
            (vec![], true, None, 0, Choice::Nothing, "nothing is linked"),
            (vec![tcp(1)], false, None, 0, Choice::AskSecond(id(1)), "one, and no other coming"),
            (vec![tcp(1)], true, None, 0, Choice::WaitUntil(GRACE_MS), "another may come"),
            (vec![tcp(1)], true, None, GRACE_MS, Choice::AskSecond(id(1)), "it did not"),
            (vec![tcp(1)], true, Some(0), 9, Choice::WaitUntil(SECOND_MS_MAX), "asked for"),
            (vec![tcp(1)], true, Some(0), SECOND_MS_MAX, both(1, 1), "one must do"),
            (vec![tcp(1), tcp(2), tcp(3)], true, None, 0, both(2, 1), "the first two"),
            (vec![quic(1), tcp(2), tcp(3)], false, None, 0, both(3, 2), "TCP is preferred"),
            (vec![quic(1)], false, None, 0, both(1, 1), "QUIC needs one"),
            (vec![quic(1)], true, None, 0, Choice::WaitUntil(GRACE_MS), "TCP may come"),
            (vec![quic(1), tcp(2)], false, None, 0, Choice::AskSecond(id(2)), "TCP is preferred"),
        ] {
            assert_eq!(choose(&linked, more, second_ms, now_ms), expected, "{why}");
        }
    }
}
