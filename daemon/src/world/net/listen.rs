//! Listening: which addresses are bound, and what is said when one cannot be.
//!
//! # Invariants
//! - A port that somebody else listens on is an error that names the address, also where the
//!   system would let both bind it (libp2p sets `SO_REUSEPORT`).
//! - New addresses are all bound before any old one is given up.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::{self, Multiaddr, Protocol};
use libp2p::{Swarm, TransportError};
use rustix::io::Errno;
use tokio::net::TcpSocket;

use super::NetError;
use super::behaviour::Node;

/// The listeners that were asked for.
#[derive(Default)]
pub(super) struct Listeners {
    bound: BTreeMap<Multiaddr, ListenerId>,
    /// Closed on purpose: their end is no news.
    dropped: Vec<ListenerId>,
}

impl Listeners {
    /// Binds what is new in `wanted`, then gives up what is not in it. Returns a warning for each
    /// address that was passed over. With `lenient` an address whose family this machine lacks is
    /// passed over, as long as another can be bound.
    ///
    /// # Errors
    /// [`NetError::Address`], [`NetError::PortInUse`] or [`NetError::Listen`]; nothing has
    /// changed then.
    pub(super) fn set(
        &mut self,
        swarm: &mut Swarm<Node>,
        wanted: &[String],
        lenient: bool,
    ) -> Result<Vec<String>, NetError> {
        let wanted: Vec<Multiaddr> =
            wanted.iter().map(|text| parse(text)).collect::<Result<_, _>>()?;
        let mut added = BTreeMap::new();
        let mut passed_over = Vec::new();
        for address in wanted.iter().filter(|address| !self.bound.contains_key(*address)) {
            match bind(swarm, address) {
                Ok(id) => drop(added.insert(address.clone(), id)),
                Err(NetError::Listen { source, .. }) if lenient && lacks_family(&source) => {
                    passed_over.push((address, source));
                }
                Err(error) => return Err(undo(swarm, &added, error)),
            }
        }
        let kept = self.bound.keys().any(|address| wanted.contains(address));
        if added.is_empty()
            && !kept
            && let Some((address, source)) = passed_over.pop()
        {
            return Err(NetError::Listen { address: address.to_string(), source });
        }
        let unwanted = self.bound.extract_if(.., |address, _| !wanted.contains(address));
        for (_, id) in unwanted {
            swarm.remove_listener(id);
            self.dropped.push(id);
        }
        self.bound.extend(added);
        let warn = |(address, source)| format!("not listening on {address}: {source}");
        Ok(passed_over.into_iter().map(warn).collect())
    }

    /// Returns the listeners in use.
    pub(super) fn ids(&self) -> Vec<ListenerId> {
        self.bound.values().copied().collect()
    }

    /// Notes that a listener is gone. Returns what it listened on if nobody wanted that.
    pub(super) fn closed(&mut self, id: ListenerId) -> Option<Multiaddr> {
        if let Some(at) = self.dropped.iter().position(|dropped| *dropped == id) {
            self.dropped.swap_remove(at);
            return None;
        }
        let address = self.bound.iter().find(|(_, bound)| **bound == id)?.0.clone();
        self.bound.remove(&address);
        Some(address)
    }
}

/// Reads a multiaddr. One with blanks or control characters, which names of hosts might hold for
/// all that the library says, could not be kept as a line of text.
pub(super) fn parse(text: &str) -> Result<Multiaddr, NetError> {
    let is_plain = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    let read = if is_plain { text.parse() } else { Err(multiaddr::Error::InvalidMultiaddr) };
    read.map_err(|source| NetError::Address { address: text.to_owned(), source })
}

fn undo(
    swarm: &mut Swarm<Node>,
    added: &BTreeMap<Multiaddr, ListenerId>,
    error: NetError,
) -> NetError {
    for id in added.values() {
        swarm.remove_listener(*id);
    }
    error
}

fn bind(swarm: &mut Swarm<Node>, address: &Multiaddr) -> Result<ListenerId, NetError> {
    let bound = check_free(address).and_then(|()| {
        swarm.listen_on(address.clone()).map_err(|error| match error {
            TransportError::Other(error) => error,
            TransportError::MultiaddrNotSupported(_) => io::ErrorKind::Unsupported.into(),
        })
    });
    bound.map_err(|source| {
        let address = address.to_string();
        if is(&source, Errno::ADDRINUSE) {
            NetError::PortInUse { address }
        } else {
            NetError::Listen { address, source }
        }
    })
}

/// Says whether an error is one of the system's. Transports wrap it in types that are not public,
/// so that beyond the first layer only its text is left.
fn is(error: &io::Error, of: Errno) -> bool {
    let number = of.raw_os_error();
    error.raw_os_error() == Some(number)
        || error.to_string().contains(&format!("(os error {number})"))
}

fn lacks_family(error: &io::Error) -> bool {
    is(error, Errno::AFNOSUPPORT) || is(error, Errno::ADDRNOTAVAIL)
}

/// Fails if a TCP port is listened on, by binding it for a moment without `SO_REUSEPORT`.
fn check_free(address: &Multiaddr) -> io::Result<()> {
    let parts: Vec<_> = address.iter().take(2).collect();
    let (ip, port) = match parts[..] {
        [Protocol::Ip4(ip), Protocol::Tcp(port @ 1..)] => (IpAddr::from(ip), port),
        [Protocol::Ip6(ip), Protocol::Tcp(port @ 1..)] => (IpAddr::from(ip), port),
        _ => return Ok(()),
    };
    let socket = if ip.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if ip.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(ip, port))
}
