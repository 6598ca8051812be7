//! Upkeep: what becomes due by time alone, and when to look next.
//!
//! # Invariants
//! - [`Links::next_ms`] names a time that is past only if [`Links::tick`] then does something
//!   about it, so that nothing spins.

use libp2p::swarm::ConnectionId;

use super::conn::{Conn, Role};
use super::link::SILENCE_MS_MAX;
use super::links::Links;

/// A stranger's connection lasts no longer, in milliseconds.
const STRANGER_MS_MAX: u64 = 10_000;
/// A paired device's connection that got into no session lasts no longer, in milliseconds.
const UNUSED_MS_MAX: u64 = 15_000;
/// When hanging up did not end a connection, it is closed in order, in milliseconds.
const HANGING_MS_MAX: u64 = 1000;

impl Links {
    /// Does what has become due.
    pub(super) fn tick(&mut self) {
        let now_ms = self.now_ms();
        for id in self.ids(|conn| conn.closing_ms.is_some_and(|at| at + HANGING_MS_MAX <= now_ms)) {
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.closing_ms = Some(u64::MAX - HANGING_MS_MAX);
                self.close(id);
            }
        }
        let late = self.late(now_ms);
        late.into_iter().for_each(|id| self.hang_up(id));
        let devices: Vec<_> = self.peers.keys().copied().collect();
        for device in devices {
            self.check(device, now_ms);
            let connected = self.is_connected(device) || !self.gate.is_paired(device);
            let attempts =
                self.peers.get_mut(&device).map(|peer| peer.dialer.due(now_ms, connected));
            for attempt in attempts.unwrap_or_default() {
                let id = self.dial(device, attempt);
                if let (Some(id), Some(peer)) = (id, self.peers.get_mut(&device)) {
                    peer.dialer.began(id);
                }
            }
        }
    }

    /// Returns the open connections whose time is up.
    fn late(&self, now_ms: u64) -> Vec<ConnectionId> {
        self.conns
            .iter()
            .filter(|(id, conn)| self.deadline_ms(**id, conn).is_some_and(|at| at <= now_ms))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Returns when an open connection's time is up.
    fn deadline_ms(&self, id: ConnectionId, conn: &Conn) -> Option<u64> {
        if !conn.is_open() {
            return None;
        }
        let silent_ms = conn.pulse().map(|pulse| pulse.heard_ms() + SILENCE_MS_MAX);
        match conn.role {
            Role::Stranger => Some(conn.opened_ms + STRANGER_MS_MAX),
            Role::Paired(_) if self.is_in_session(id, conn.device) => silent_ms,
            Role::Paired(_) | Role::Asking => {
                let unused_ms = conn.opened_ms + UNUSED_MS_MAX;
                Some(silent_ms.map_or(unused_ms, |silent_ms| silent_ms.min(unused_ms)))
            }
        }
    }

    /// Returns when [`Self::tick`] is needed next.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let conns = self.conns.iter().filter_map(|(id, conn)| match conn.closing_ms {
            Some(at_ms) => Some(at_ms + HANGING_MS_MAX).filter(|at_ms| *at_ms < u64::MAX),
            None => self.deadline_ms(*id, conn),
        });
        let peers = self.peers.values().flat_map(|peer| {
            [peer.dialer.next_ms(), peer.choose_ms, self.next_look_ms(peer)].into_iter().flatten()
        });
        conns.chain(peers).min()
    }
}
