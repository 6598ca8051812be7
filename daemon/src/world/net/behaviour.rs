//! What libp2p's swarm sees of us: the gate and the links first, then limits, then mDNS.
//!
//! # Invariants
//! - A connection of an unpaired device has no other handler than the one that takes its card.
//! - Nothing is kept of a connection before it is established: a later field may still deny it.

use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionId, DialError, DialFailure, FromSwarm,
    NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    behaviour::ConnectionEstablished,
};
use libp2p::{Multiaddr, PeerId, connection_limits, mdns, memory_connection_limits};
use syncd_core::model::DeviceId;

use super::gate::STRANGERS_MAX;
use super::handler::Handler;
use super::links::{Links, bare, device_of};

/// The parts of the swarm, in the order in which they are asked.
#[derive(NetworkBehaviour)]
pub(super) struct Node {
    pub(super) links: Links,
    pub(super) limits: connection_limits::Behaviour,
    pub(super) memory: memory_connection_limits::Behaviour,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
}

/// Something happened inside the swarm: there may be news for the user, or another time to wake.
#[derive(Debug)]
pub(super) struct Moved;

/// Why a connection was not let in. The other side only sees it closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("too many knocks from this address")]
    Knocks,
    #[error("too many strangers")]
    Strangers,
    #[error("no ed25519 key")]
    Key,
    #[error("this device's own id")]
    Own,
    #[error("not paired any more")]
    Unpaired,
}

impl Links {
    fn known(&self, peer: &PeerId) -> Result<DeviceId, ConnectionDenied> {
        let device = device_of(peer).ok_or_else(|| ConnectionDenied::new(Refusal::Key))?;
        if device == self.own {
            return Err(ConnectionDenied::new(Refusal::Own));
        }
        Ok(device)
    }
}

impl NetworkBehaviour for Links {
    type ConnectionHandler = Handler;
    type ToSwarm = Moved;

    fn handle_pending_inbound_connection(
        &mut self,
        _id: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let now_ms = self.now_ms();
        let admitted = self.gate.admit(remote, now_ms);
        admitted.then_some(()).ok_or_else(|| ConnectionDenied::new(Refusal::Knocks))
    }

    fn handle_established_inbound_connection(
        &mut self,
        _id: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let device = self.known(&peer)?;
        if self.gate.is_paired(device) {
            self.gate.forgive(remote);
            return Ok(Handler::paired());
        }
        let strangers: Vec<_> = self.conns.values().filter(|conn| conn.is_stranger()).collect();
        if strangers.len() >= STRANGERS_MAX
            || strangers.iter().any(|conn| conn.device == device && conn.is_open())
        {
            return Err(ConnectionDenied::new(Refusal::Strangers));
        }
        Ok(Handler::stranger())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _id: ConnectionId,
        peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let device = self.known(&peer)?;
        if !self.gate.is_paired(device) {
            return Err(ConnectionDenied::new(Refusal::Unpaired));
        }
        Ok(Handler::paired())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.moved = true;
        #[allow(clippy::wildcard_enum_match_arm, reason = "the enum is non-exhaustive")]
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => {
                let address = bare(endpoint.get_remote_address());
                self.established(connection_id, peer_id, address, endpoint.is_dialer());
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.closed(connection_id);
            }
            FromSwarm::DialFailure(DialFailure { peer_id: Some(peer), error, connection_id }) => {
                tracing::debug!(%peer, %error, "a dial failed");
                let wrong = match error {
                    DialError::WrongPeerId { address, .. } | DialError::LocalPeerId { address } => {
                        Some(address)
                    }
                    _ => None,
                };
                self.dial_failed(connection_id, &peer, wrong);
            }
            FromSwarm::NewListenAddr(new) => drop(self.listen.insert(new.addr.clone())),
            FromSwarm::ExpiredListenAddr(old) => drop(self.listen.remove(old.addr)),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _peer: PeerId,
        id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.moved = true;
        self.handler_said(id, event);
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Moved, THandlerInEvent<Self>>> {
        // No waker: whatever adds orders runs in the task that polls the swarm next.
        if let Some(order) = self.orders.pop_front() {
            return Poll::Ready(order);
        }
        if std::mem::take(&mut self.moved) {
            return Poll::Ready(ToSwarm::GenerateEvent(Moved));
        }
        Poll::Pending
    }
}
