//! Connections and devices: what is known of each.
//!
//! # Invariants
//! - A connection's device is the one whose key TLS proved; that never changes.
//! - What a connection is for changes in one direction only: from paired to asking, and from
//!   either to closing.

use std::sync::Arc;

use libp2p::multiaddr::Multiaddr;
use libp2p::swarm::ConnectionId;
use libp2p::{PeerId, Stream};
use syncd_core::model::DeviceId;
use tokio::sync::{mpsc, oneshot};

use super::Lane;
use super::dial::Dialer;
use super::link::{LinkOrder, Pulse};
use super::pair::Card;
use super::session::{Gathering, Live, Opening};

/// What the tasks of connections report.
pub(super) enum Report {
    /// The greeting was exchanged.
    Linked(ConnectionId, Card),
    /// The link is gone, and so is its connection.
    LinkEnded(ConnectionId),
    /// The other side wants a second connection like this one.
    SecondAsked(ConnectionId),
    /// The other side opened a lane of a session.
    LaneCame { id: ConnectionId, lane: Lane, session: u64, stream: Stream },
    /// A stranger's card, if it was one.
    Knocked(ConnectionId, Option<Card>),
    /// Our card was handed over, or could not be.
    Asked(ConnectionId),
    /// A stream broke before it was of use.
    Broke(ConnectionId),
    /// All tasks of a session have ended.
    Over(DeviceId, u64),
}

/// What a connection is for.
pub(super) enum Role {
    /// Of a device that is not paired here.
    Stranger,
    /// Of a paired device that does not know us: we ask to be paired.
    Asking,
    /// Of a paired device, without and with its link.
    Paired(Option<LinkEnd>),
}

/// Our end of a link.
pub(super) struct LinkEnd {
    pub(super) orders: mpsc::Sender<LinkOrder>,
    pub(super) pulse: Arc<Pulse>,
    /// When the greeting was exchanged.
    pub(super) linked_ms: Option<u64>,
}

/// One connection.
pub(super) struct Conn {
    pub(super) device: DeviceId,
    pub(super) peer: PeerId,
    pub(super) we_dialled: bool,
    pub(super) quic: bool,
    pub(super) address: Multiaddr,
    pub(super) opened_ms: u64,
    pub(super) role: Role,
    pub(super) closing_ms: Option<u64>,
}

impl Conn {
    /// Says whether the connection is not being closed.
    pub(super) fn is_open(&self) -> bool {
        self.closing_ms.is_none()
    }

    /// Says whether the connection is of a device that is not paired.
    pub(super) fn is_stranger(&self) -> bool {
        matches!(self.role, Role::Stranger)
    }

    /// Returns the signs of life of a connection that has a link and is not being closed. The
    /// other side may be done with the greeting, and use the connection, before we are.
    pub(super) fn pulse(&self) -> Option<&Arc<Pulse>> {
        match &self.role {
            Role::Paired(Some(link)) if self.is_open() => Some(&link.pulse),
            Role::Paired(_) | Role::Stranger | Role::Asking => None,
        }
    }

    /// Returns the link if the greeting was exchanged and the connection is not being closed.
    pub(super) fn link(&self) -> Option<&LinkEnd> {
        match &self.role {
            Role::Paired(Some(link)) if self.is_open() && link.linked_ms.is_some() => Some(link),
            Role::Paired(_) | Role::Stranger | Role::Asking => None,
        }
    }
}

/// One paired device, or one that was until a moment ago.
pub(super) struct Peer {
    pub(super) peer: PeerId,
    pub(super) dialer: Dialer,
    pub(super) live: Option<Live>,
    pub(super) opening: Option<Opening>,
    pub(super) gathering: Option<Gathering>,
    /// When the session's life began to be doubted.
    pub(super) probe_ms: Option<u64>,
    /// When to think again about which connections to use.
    pub(super) choose_ms: Option<u64>,
    /// When a second connection was asked for.
    pub(super) second_ms: Option<u64>,
    /// Waiting for the last connection to be gone.
    pub(super) leaving: Vec<oneshot::Sender<()>>,
}

impl Peer {
    /// Returns a device that nothing is known of but its key. `spread` as in [`Dialer::new`].
    pub(super) fn new(peer: PeerId, spread: u8) -> Self {
        Self {
            peer,
            dialer: Dialer::new(spread),
            live: None,
            opening: None,
            gathering: None,
            probe_ms: None,
            choose_ms: None,
            second_ms: None,
            leaving: Vec::new(),
        }
    }
}
