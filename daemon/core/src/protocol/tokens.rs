//! Session tokens: how two devices notice that one of them is a copy, or was set back.
//!
//! In each Hello a device hands out a token that the peer keeps durably and shows in the next one.
//! A device that runs from an older copy of its home shows a token that has been replaced, and is
//! shown one that it never handed out: the latter tells it that it is the one that is behind.
//!
//! # Invariants
//! - A session that breaks off anywhere is never taken for a copy: what was handed out and may
//!   not have arrived is handed out again, and until it is known to have arrived the one before
//!   it is as good.

/// What a session is known by until the next one: a count that grows, and eight random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub [u8; 16]);

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
    /// The peer shows one that we do not know of: somebody with our identity has spoken to it
    /// since. This device was set back, or there is a copy of it.
    WeAreBehind,
}

impl Token {
    fn new(count: u64, random: [u8; 8]) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&count.to_be_bytes());
        bytes[8..].copy_from_slice(&random);
        Self(bytes)
    }

    fn count(self) -> u64 {
        let mut count = [0; 8];
        count.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(count)
    }
}

impl Tokens {
    /// Returns the token to hand out in the next Hello; keep `self` durably before it is sent.
    /// `random` is used if a new one is made.
    pub fn hand_out(&mut self, random: [u8; 8]) -> Token {
        let next = self.kept.map_or(0, Token::count).saturating_add(1);
        *self.handed.get_or_insert(Token::new(next, random))
    }

    /// Takes the peer's Hello: what it shows, and what it hands out. Keep `self` durably before
    /// anything else is sent.
    pub fn greeted(&mut self, shown: Option<Token>, given: Token) -> Shown {
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
        let (a_gives, b_gives) = (a.hand_out(random(0)), b.hand_out(random(1)));
        let (mut at_a, mut at_b) = (Shown::Fits, Shown::Fits);
        if matches!(reach, Reach::First | Reach::Greeted | Reach::Through) {
            at_b = b.greeted(a_shows, a_gives);
        }
        if matches!(reach, Reach::Second | Reach::Greeted | Reach::Through) {
            at_a = a.greeted(b_shows, b_gives);
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
