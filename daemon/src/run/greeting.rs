//! Greeting a peer: session tokens, and what becomes of a device that was set back or copied.

use syncd_core::model::DeviceId;
use syncd_core::protocol::Hello;
use syncd_core::protocol::peer::PROTOCOL_VERSION;
use syncd_core::protocol::tokens::{Shown, Token};

use super::{Daemon, Happening, locked};
use crate::flow::index::{LedgerError, REINCARNATE};

impl Daemon {
    /// Returns what to greet `to` with.
    ///
    /// # Errors
    /// [`LedgerError`] when the token that it hands out cannot be kept: greet nobody.
    pub(super) fn hello(&self, to: DeviceId) -> Result<Hello, LedgerError> {
        let mut tokens = self.ledger.peer_tokens(to);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|_| LedgerError::NoRandom)?;
        let given = tokens.hand_out(random);
        self.ledger.set_peer_tokens(to, tokens)?;
        Ok(Hello {
            version: PROTOCOL_VERSION,
            name: self.config().name,
            incarnation: self.incarnation,
            boot_nonce: self.boot_nonce,
            token_shown: tokens.theirs.map(|token| token.0),
            token_given: given.0,
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
        locked(&self.heard).entry(device).or_default().name = name.to_owned();
        let mut tokens = self.ledger.peer_tokens(device);
        match tokens.greeted(hello.token_shown.map(Token), Token(hello.token_given)) {
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

    /// Ends the daemon: a peer has heard of this device what it does not remember, so it was set
    /// back to an older state, or there is a copy of it. The next start takes a new incarnation,
    /// under which no counter can name two contents.
    pub fn set_back(&self, peer: DeviceId, why: &str) {
        tracing::error!(peer = %peer.short(), "{why}");
        if let Err(error) = self.ledger.set_fact(REINCARNATE, Some(b"1")) {
            tracing::error!(%error, "that could not be written down");
        }
        self.rolled_back.notify_one();
    }
}
