//! Session tokens: how two devices notice that one of them is a copy, or was set back.
//!
//! In each Hello a device hands out a token that the peer keeps durably and shows in the next one.
//! A device that runs from an older copy of its home shows a token that has been replaced, and is
//! shown one that it does not remember: the latter tells it that it is the one that is behind.
//!
//! # Invariants
//! - Only what was made with this device's own key says anything of it: a peer can keep a token to
//!   itself or show an old one, and make none.
//! - A session that breaks off anywhere is never taken for a copy: what was handed out and may
//!   not have arrived is handed out again, and until it is known to have arrived the one before
//!   it is as good.

use std::fmt;

use crate::model::DeviceId;

/// Bytes of a token.
pub const TOKEN_BYTES: usize = 32;

/// Where the code begins: behind the count and the random bytes.
const CODE_AT: usize = 16;

/// What keys of tokens are derived for.
const CONTEXT: &str = "syncd 2026-11-21 session tokens";

/// What a session is known by until the next one: a count that grows, eight random bytes, and a
/// code over both that only the device that made it can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub [u8; TOKEN_BYTES]);

/// What a device makes its tokens with.
#[derive(Clone)]
pub struct Mint {
    key: [u8; 32],
    first: u64,
}

/// The tokens shared with one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tokens {
    /// The one of ours that the peer is known to keep.
    pub kept: Option<Token>,
    /// The one we handed out after that; it may not have arrived.
    pub handed: Option<Token>,
    /// The one that the peer handed to us last: we must show it.
    pub theirs: Option<Token>,
}

/// What a shown token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The peer goes on where it was, or forgot all, or this is the first session.
    Fits,
    /// The peer shows one that it had replaced: it was set back, or is a copy.
    PeerIsBehind,
    /// The peer shows one of ours that we do not know of: somebody with our identity has spoken
    /// to it since. This device was set back, or there is a copy of it.
    WeAreBehind,
}

impl Mint {
    /// Makes the mint of a device from its secret. Counts begin at `first`, which is greater in
    /// each run of the device: whatever it has handed out in an earlier one is old, also where it
    /// has forgotten that.
    #[must_use]
    pub fn new(secret: &[u8; 32], first: u64) -> Self {
        Self { key: blake3::derive_key(CONTEXT, secret), first }
    }

    fn token(&self, peer: DeviceId, count: u64, random: [u8; 8]) -> Token {
        let mut bytes = [0; TOKEN_BYTES];
        bytes[..8].copy_from_slice(&count.to_be_bytes());
        bytes[8..CODE_AT].copy_from_slice(&random);
        let code = self.code(peer, &bytes[..CODE_AT]);
        bytes[CODE_AT..].copy_from_slice(&code);
        Token(bytes)
    }

    fn code(&self, peer: DeviceId, said: &[u8]) -> [u8; TOKEN_BYTES - CODE_AT] {
        let mut code = [0; TOKEN_BYTES - CODE_AT];
        let whole = blake3::keyed_hash(&self.key, &[&peer.0[..], said].concat());
        code.copy_from_slice(&whole.as_bytes()[..TOKEN_BYTES - CODE_AT]);
        code
    }

    /// Tells whether this device made `token` for `peer`.
    fn made(&self, peer: DeviceId, token: Token) -> bool {
        let (said, shown) = token.0.split_at(CODE_AT);
        let pairs = self.code(peer, said).into_iter().zip(shown);
        // Looks at all bytes, so that the time it takes says nothing of the code.
        pairs.fold(0, |differs, (ours, theirs)| differs | (ours ^ theirs)) == 0
    }
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mint").field("first", &self.first).finish_non_exhaustive()
    }
}

impl Token {
    fn count(self) -> u64 {
        let mut count = [0; 8];
        count.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(count)
    }
}

impl Tokens {
    /// Returns the token to hand out to `peer` in the next Hello; keep `self` durably before it is
    /// sent. `random` is used if a new one is made.
    pub fn hand_out(&mut self, mint: &Mint, peer: DeviceId, random: [u8; 8]) -> Token {
        let next = self.kept.map_or(0, Token::count).saturating_add(1).max(mint.first);
        *self.handed.get_or_insert_with(|| mint.token(peer, next, random))
    }

    /// Takes the Hello of `peer`: what it shows, and what it hands out. Keep `self` durably before
    /// anything else is sent.
    /// Shown one that this device never made counts as showing none.
    pub fn greeted(
        &mut self,
        mint: &Mint,
        peer: DeviceId,
        shown: Option<Token>,
        given: Token,
    ) -> Shown {
        let shown = shown.filter(|token| mint.made(peer, *token));
        let verdict = self.judged(shown);
        if shown.is_some() && shown == self.handed {
            self.arrived();
        }
        self.theirs = Some(given);
        verdict
    }

    /// Takes note that the peer has kept what was handed out last: it has sent something after it
    /// had read our Hello. Returns whether that is news.
    pub fn arrived(&mut self) -> bool {
        match self.handed.take() {
            Some(handed) => {
                self.kept = Some(handed);
                true
            }
            None => false,
        }
    }

    fn judged(&self, shown: Option<Token>) -> Shown {
        let (Some(kept), Some(shown)) = (self.kept, shown) else { return Shown::Fits };
        if shown == kept || Some(shown) == self.handed {
            Shown::Fits
        } else if shown.count() < kept.count() {
            Shown::PeerIsBehind
        } else {
            Shown::WeAreBehind
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn device(name: u8) -> DeviceId {
        DeviceId([name; 32])
    }

    /// The mint of the device `name` in its first run.
    fn mint(name: u8) -> Mint {
        Mint::new(&[name; 32], 1)
    }

    /// How far a session comes before it breaks off.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Reach {
        /// Neither Hello arrives.
        Nowhere,
        /// Only the first device's Hello arrives.
        First,
        /// Only the second one's.
        Second,
        /// Both Hellos arrive.
        Greeted,
        /// And what each sends after it.
        Through,
    }

    /// Lets two devices meet; returns what each made of what the other showed.
    fn meet(a: &mut Tokens, b: &mut Tokens, reach: Reach, number: u64) -> (Shown, Shown) {
        let (a_shows, b_shows) = (a.theirs, b.theirs);
        let random = |by: u64| (number * 2 + by).to_be_bytes();
        let (of_a, of_b) = (mint(1), mint(2));
        let (to_a, to_b) = (device(1), device(2));
        let (a_gives, b_gives) =
            (a.hand_out(&of_a, to_b, random(0)), b.hand_out(&of_b, to_a, random(1)));
        let (mut at_a, mut at_b) = (Shown::Fits, Shown::Fits);
        if matches!(reach, Reach::First | Reach::Greeted | Reach::Through) {
            at_b = b.greeted(&of_b, to_a, a_shows, a_gives);
        }
        if matches!(reach, Reach::Second | Reach::Greeted | Reach::Through) {
            at_a = a.greeted(&of_a, to_b, b_shows, b_gives);
        }
        if reach == Reach::Through {
            a.arrived();
            b.arrived();
        }
        (at_a, at_b)
    }

    #[test]
    fn whoever_is_behind_learns_of_it() {
        let (mut a, mut b) = (Tokens::default(), Tokens::default());
        meet(&mut a, &mut b, Reach::Through, 1);
        let old = b;
        for number in 2..4 {
            assert_eq!(meet(&mut a, &mut b, Reach::Through, number), (Shown::Fits, Shown::Fits));
        }
        let mut copy = old;
        let verdicts = meet(&mut a, &mut copy, Reach::Greeted, 4);
        assert_eq!(verdicts, (Shown::PeerIsBehind, Shown::WeAreBehind), "an older home");
        let mut copy = Tokens::default();
        let verdicts = meet(&mut a, &mut copy, Reach::Through, 5);
        assert_eq!(verdicts, (Shown::Fits, Shown::Fits), "one that forgot all");
        let verdicts = meet(&mut a, &mut b, Reach::Greeted, 6);
        assert_ne!(verdicts.1, Shown::Fits, "the original, after its copy was here");
    }

    #[test]
    fn a_peer_makes_nobody_believe_that_it_is_behind() {
        let given = Token([7; TOKEN_BYTES]);
        let (ours, peer) = (mint(1), device(2));
        let mut tokens = Tokens::default();
        let mut handed = Vec::new();
        for number in 0..3 {
            let shown = handed.last().copied();
            handed.push(tokens.hand_out(&ours, peer, [number; 8]));
            assert_eq!(tokens.greeted(&ours, peer, shown, given), Shown::Fits);
            tokens.arrived();
        }
        let mut raised = handed[2];
        raised.0[0] = 0x7f;
        for (shown, verdict, because) in [
            (handed[2], Shown::Fits, "the one it was given"),
            (raised, Shown::Fits, "the same with a greater count"),
            (Token([0xff; TOKEN_BYTES]), Shown::Fits, "one that it made up"),
            (mint(3).token(peer, 9, [0; 8]), Shown::Fits, "one that another device gave it"),
            (ours.token(device(3), 9, [0; 8]), Shown::Fits, "one that we gave another"),
            (handed[0], Shown::PeerIsBehind, "an old one"),
            (ours.token(peer, 9, [0; 8]), Shown::WeAreBehind, "one that a copy of us has made"),
        ] {
            let mut tokens = tokens;
            assert_eq!(tokens.greeted(&ours, peer, Some(shown), given), verdict, "{because}");
        }
        // All is forgotten under a new incarnation, and none of the old ones is newer than it.
        let later = Mint { first: 1 << 20, ..ours };
        let mut tokens = Tokens::default();
        tokens.hand_out(&later, peer, [1; 8]);
        tokens.arrived();
        for shown in handed {
            assert_eq!(tokens.greeted(&later, peer, Some(shown), given), Shown::PeerIsBehind);
        }
    }

    fn reaches() -> impl Strategy<Value = Reach> {
        use Reach::{First, Greeted, Nowhere, Second, Through};
        prop::sample::select(vec![Nowhere, First, Second, Greeted, Through])
    }

    proptest! {
        #[test]
        fn sessions_that_break_off_are_no_copies(all in prop::collection::vec(reaches(), 0..40)) {
            let (mut a, mut b) = (Tokens::default(), Tokens::default());
            for (number, reach) in (0..).zip(all) {
                let verdicts = meet(&mut a, &mut b, reach, number);
                prop_assert_eq!(verdicts, (Shown::Fits, Shown::Fits), "session {}", number);
            }
        }

        #[test]
        fn a_copy_is_noticed_once_the_original_has_gone_on(
            before in prop::collection::vec(reaches(), 0..10),
            between in prop::collection::vec(reaches(), 0..10),
        ) {
            let (mut a, mut b) = (Tokens::default(), Tokens::default());
            let mut number = 0;
            let mut through = |a: &mut Tokens, b: &mut Tokens, reach| {
                number += 1;
                meet(a, b, reach, number)
            };
            for reach in before.into_iter().chain([Reach::Through]) {
                through(&mut a, &mut b, reach);
            }
            let mut copy = b;
            for reach in between.into_iter().chain([Reach::Through]) {
                through(&mut a, &mut b, reach);
            }
            let verdicts = through(&mut a, &mut copy, Reach::Greeted);
            prop_assert_eq!(verdicts, (Shown::PeerIsBehind, Shown::WeAreBehind));
        }
    }
}
