//! Cards: how a device introduces itself, to strangers on `/syncd/pair/1` and to paired devices
//! as the first frame of a link.
//!
//! On the wire: length as a little-endian `u16`, at most [`CARD_BYTES_MAX`]; then the version (1),
//! the name (`u16` length, UTF-8) and the number of addresses (`u8`), each a `u16` length and a
//! binary multiaddr. What follows is left to later versions and skipped.
//!
//! # Invariants
//! - Nothing a card says is believed: names are made harmless, addresses are only tried.
//! - A card costs its receiver at most 4 KiB and [`CARD_WAIT_MAX`].

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;
use libp2p::multiaddr::{Multiaddr, Protocol};
use syncd_core::model::shown::is_harmful;
use tokio::time::timeout;

/// Longest card, in bytes.
pub(super) const CARD_BYTES_MAX: usize = 4096;
/// How long a card may take to arrive, or an answer to it.
pub(super) const CARD_WAIT_MAX: Duration = Duration::from_secs(10);
/// Addresses taken from a card.
const ADDRESSES_MAX: usize = 16;
/// Characters of a name that are kept.
const NAME_CHARS_MAX: usize = 64;
const VERSION: u8 = 1;
/// The answer to every request to be paired, whatever becomes of it.
const SEEN: u8 = 0;

/// A device's name and the addresses it says it listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) name: String,
    pub(super) listen: Vec<Multiaddr>,
}

impl Card {
    /// Returns the card as sent. Addresses that do not fit are left out.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut card = vec![VERSION];
        let name = harmless(&self.name);
        put(&mut card, name.as_bytes());
        let count_at = card.len();
        card.push(0);
        for address in self.listen.iter().take(ADDRESSES_MAX).map(Multiaddr::to_vec) {
            if card.len() + 2 + address.len() <= CARD_BYTES_MAX {
                put(&mut card, &address);
                card[count_at] += 1;
            }
        }
        card
    }

    /// Reads a card. Addresses that are none are left out.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (name, rest) = take(rest)?;
        let (count, mut rest) = rest.split_first()?;
        let mut listen = Vec::new();
        for _ in 0..usize::from(*count).min(ADDRESSES_MAX) {
            let (address, after) = take(rest)?;
            rest = after;
            listen.extend(Multiaddr::try_from(address.to_vec()));
        }
        let name = harmless(std::str::from_utf8(name).ok()?);
        (*version == VERSION).then_some(Self { name, listen })
    }

    /// Returns where the device of this card may be reached, given the address it came from: its
    /// ports at that address first, then the addresses it named. Sorted within each part; loopback
    /// is kept only for what came over loopback.
    pub(super) fn candidates(&self, from: Option<IpAddr>) -> Vec<Multiaddr> {
        let plain: BTreeSet<&Multiaddr> =
            self.listen.iter().filter(|address| is_plain(address)).collect();
        let local = from.is_some_and(|ip| ip.is_loopback());
        let seen: BTreeSet<Multiaddr> = from
            .iter()
            .flat_map(|ip| plain.iter().filter_map(|address| at_ip(address, *ip)))
            .collect();
        let named = plain
            .into_iter()
            .filter(|address| ip_of(address).is_some_and(|ip| local || !ip.is_loopback()))
            .filter(|address| !seen.contains(address))
            .cloned();
        seen.iter().cloned().chain(named).collect()
    }
}

/// Writes a card.
pub(super) async fn send_card(
    stream: &mut (impl AsyncWriteExt + Unpin),
    card: &Card,
) -> io::Result<()> {
    let bytes = card.encode();
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_le_bytes()).await?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Reads a card.
///
/// # Errors
/// `InvalidData` for a card that is too long or makes no sense, else the stream's error.
pub(super) async fn receive_card(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Card> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let length = usize::from(u16::from_le_bytes(length));
    if length > CARD_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Card::decode(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Asks to be paired: hands over the card and waits until it was seen.
pub(super) async fn ask(mut stream: Stream, card: Card) {
    let asked = timeout(CARD_WAIT_MAX, async {
        send_card(&mut stream, &card).await?;
        stream.read_exact(&mut [0; 1]).await
    });
    let answer = asked.await;
    tracing::debug!(?answer, "asked to be paired");
}

/// Takes the card of a device that asks to be paired.
pub(super) async fn hear(mut stream: Stream) -> Option<Card> {
    let heard = timeout(CARD_WAIT_MAX, async {
        let card = receive_card(&mut stream).await?;
        stream.write_all(&[SEEN]).await?;
        stream.close().await?;
        io::Result::Ok(card)
    });
    heard.await.ok()?.ok()
}

/// Returns the address's IP, if it begins with one.
pub(super) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    let first = address.iter().next()?;
    if let Protocol::Ip4(ip) = first {
        Some(ip.into())
    } else if let Protocol::Ip6(ip) = first {
        Some(ip.into())
    } else {
        None
    }
}

/// Says whether an address is an IP with a TCP port, or a UDP port and QUIC, and no more.
fn is_plain(address: &Multiaddr) -> bool {
    let parts: Vec<_> = address.iter().collect();
    matches!(
        parts[..],
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(1..)]
            | [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Udp(1..), Protocol::QuicV1]
    )
}

/// Returns the same ports at another IP of the same family.
fn at_ip(address: &Multiaddr, ip: IpAddr) -> Option<Multiaddr> {
    (ip_of(address)?.is_ipv4() == ip.is_ipv4())
        .then(|| address.replace(0, |_| Some(Protocol::from(ip))))
        .flatten()
}

/// Returns a name that can be shown anywhere: no control characters, none that turn the direction
/// of writing, and not too long.
fn harmless(name: &str) -> String {
    let hidden = |c: char| {
        is_harmful(c) || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
    };
    name.chars().filter(|c| !hidden(*c)).take(NAME_CHARS_MAX).collect()
}

fn put(into: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or_default();
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(&bytes[..usize::from(length)]);
}

fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn card(name: &str, listen: &[&str]) -> Card {
        let listen = listen.iter().map(|address| address.parse().unwrap()).collect();
        Card { name: name.to_owned(), listen }
    }

    #[test]
    fn a_card_is_read_as_written() {
        let sent = card("devbox", &["/ip4/10.0.0.1/tcp/22000", "/ip6/::1/udp/1/quic-v1"]);
        assert_eq!(Card::decode(&sent.encode()), Some(sent.clone()));
        let mut later = sent.encode();
        later.extend(b"what a later version adds");
        assert_eq!(Card::decode(&later), Some(sent));
    }

    #[tokio::test]
    async fn a_card_that_is_too_long_is_not_read() {
        let bytes = u16::try_from(CARD_BYTES_MAX + 1).unwrap().to_le_bytes();
        let mut stream = futures::io::Cursor::new([&bytes[..], &[1; 5000]].concat());
        let refused = receive_card(&mut stream).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        assert_eq!(stream.position(), 2);
    }

    #[test]
    fn golden_bytes() {
        let bytes = card("a", &["/ip4/127.0.0.1/tcp/258"]).encode();
        let expected = [&[1, 1, 0, b'a', 1, 8, 0][..], &[4, 127, 0, 0, 1, 6, 1, 2]].concat();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn names_are_made_harmless() {
        for (name, shown, why) in [
            ("devbox", "devbox", "plain"),
            ("a\u{1b}[31m\nb", "a[31mb", "no escapes, no lines"),
            ("ab\u{202E}dc", "abdc", "no reversed text"),
        ] {
            assert_eq!(harmless(name), shown, "{why}");
        }
        assert_eq!(harmless(&"x".repeat(500)).len(), NAME_CHARS_MAX);
    }

    #[test]
    fn candidates_stand_where_the_device_came_from_first() {
        let listen = ["/ip4/127.0.0.1/tcp/5", "/ip4/10.0.0.7/tcp/5", "/dns4/evil.example/tcp/80"];
        for (from, expected, why) in [
            (
                "192.0.2.1",
                vec!["/ip4/192.0.2.1/tcp/5", "/ip4/10.0.0.7/tcp/5"],
                "loopback means nothing from elsewhere, names are not looked up",
            ),
            ("127.0.0.1", vec!["/ip4/127.0.0.1/tcp/5", "/ip4/10.0.0.7/tcp/5"], "same machine"),
            ("2001:db8::1", vec!["/ip4/10.0.0.7/tcp/5"], "no port known in that family"),
        ] {
            let found: Vec<String> = card("x", &listen)
                .candidates(from.parse().ok())
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, expected, "{why}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_bounded_card_or_none(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Some(card) = Card::decode(&bytes) {
                prop_assert!(card.listen.len() <= ADDRESSES_MAX);
                prop_assert!(card.encode().len() <= CARD_BYTES_MAX);
            }
        }
    }
}
