//! Greeting a peer: session tokens, and what becomes of a device that was set back or copied.

use syncd_core::model::DeviceId;
use syncd_core::protocol::Hello;
use syncd_core::protocol::peer::PROTOCOL_VERSION;
use syncd_core::protocol::tokens::{Shown, Token};

use super::{Ailment, Daemon, Happening, locked};
use crate::flow::index::{LedgerError, REINCARNATE};

/// How far two clocks may be apart before people are told, in seconds.
const CLOCK_APART_S_MAX: i64 = 3600;

/// Returns the wall clock in milliseconds since 1970, before it too.
fn clock_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl Daemon {
    /// Returns what to greet `to` with.
    ///
    /// # Errors
    /// [`LedgerError`] when the token that it hands out cannot be kept: greet nobody.
    pub(super) fn hello(&self, to: DeviceId) -> Result<Hello, LedgerError> {
        let mut tokens = self.ledger.peer_tokens(to);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|_| LedgerError::NoRandom)?;
        let given = tokens.hand_out(&self.mint, to, random);
        self.ledger.set_peer_tokens(to, tokens)?;
        Ok(Hello {
            version: PROTOCOL_VERSION,
            name: self.config().name,
            incarnation: self.incarnation,
            boot_nonce: self.boot_nonce,
            token_shown: tokens.theirs.map(|token| token.0),
            token_given: given.0,
            clock_ms: clock_ms(),
        })
    }

    /// Takes the greeting of `device`, which calls itself `name`; `false` when this device turns
    /// out to be behind, and ends.
    ///
    /// # Errors
    /// [`LedgerError`] when what it hands out cannot be kept: say nothing more to it.
    pub(super) fn greeted(
        &self,
        device: DeviceId,
        name: &str,
        hello: &Hello,
    ) -> Result<bool, LedgerError> {
        let ahead_s = hello.clock_ms.saturating_sub(clock_ms()) / 1000;
        {
            let mut heard = locked(&self.heard);
            let heard = heard.entry(device).or_default();
            (heard.name, heard.clock_ahead_s) = (name.to_owned(), Some(ahead_s));
        }
        self.compare_clocks(device, ahead_s);
        let mut tokens = self.ledger.peer_tokens(device);
        let (shown, given) = (hello.token_shown.map(Token), Token(hello.token_given));
        match tokens.greeted(&self.mint, device, shown, given) {
            Shown::Fits => {}
            Shown::PeerIsBehind => {
                let text = "it was restored from an older copy, or a copy of it runs elsewhere";
                tracing::warn!(peer = %device.short(), "{text}");
                self.tell(Happening::device(device, "device-behind", text));
            }
            Shown::WeAreBehind => {
                self.set_back(device, "it knows a later session of this device than this one");
                return Ok(false);
            }
        }
        self.ledger.set_peer_tokens(device, tokens)?;
        Ok(true)
    }

    /// Tells people of clocks that are far apart, once. Sync goes on: no clock decides what is
    /// newer of two versions that follow each other.
    fn compare_clocks(&self, device: DeviceId, ahead_s: i64) {
        let name = self.name_of(device);
        if ahead_s.abs() <= CLOCK_APART_S_MAX {
            let text = format!("the clock of '{name}' is right again");
            return self.heal(Ailment::Clock(device), &text);
        }
        let way = if ahead_s > 0 { "ahead of" } else { "behind" };
        let what = format!(
            "the clock of '{name}' is {} {way} this device's",
            syncd_api::span(ahead_s.unsigned_abs())
        );
        let remedy = "set the wrong one, best by NTP: sudo timedatectl set-ntp true; until then \
                      sync goes on, and conflict copies bear wrong times";
        self.ail(Ailment::Clock(device), &what, remedy);
    }

    /// Takes note that `device` has read our greeting and kept what it handed out.
    pub(super) fn greeting_arrived(&self, device: DeviceId) {
        let mut tokens = self.ledger.peer_tokens(device);
        if tokens.arrived()
            && let Err(error) = self.ledger.set_peer_tokens(device, tokens)
        {
            // Then the token before it is as good as this one until the next session.
            tracing::warn!(%error, "a session token was not kept");
        }
    }

    /// Ends the daemon: a peer knows a session of this device that it does not remember, so it was
    /// set back to an older state, or there is a copy of it. The next start takes a new
    /// incarnation, under which no counter can name two contents.
    fn set_back(&self, peer: DeviceId, why: &str) {
        tracing::error!(peer = %peer.short(), "{why}");
        if let Err(error) = self.ledger.set_fact(REINCARNATE, Some(b"1")) {
            tracing::error!(%error, "that could not be written down");
        }
        self.rolled_back.notify_one();
    }
}
