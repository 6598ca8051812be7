//! The handler of one connection: opens and accepts the few fixed streams, and nothing else.
//!
//! It moves no bytes. A negotiated stream goes to the behaviour, whose tasks own it from then on.
//!
//! # Invariants
//! - A stranger's connection accepts `/syncd/pair/1`, once; a paired device's accepts the link
//!   and the lanes, each once. A further stream of the same kind is dropped as it comes.
//! - No stream keeps a connection alive; only [`ToHandler::HangUp`] ends it, and it ends at once,
//!   without waiting for a peer that may be gone.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::iter::Copied;
use std::slice::Iter;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use libp2p::Stream;
use libp2p::core::upgrade::{InboundUpgrade, ReadyUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
};

use super::Lane;

/// How long agreeing on one stream may take.
const NEGOTIATION_MAX: Duration = Duration::from_secs(10);

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// A device that is not paired here asks to be.
    Pair,
    /// Greeting, heartbeat and orders of one connection.
    Link,
    /// Frames of one lane.
    Lane(Lane),
}

impl AsRef<str> for Purpose {
    fn as_ref(&self) -> &str {
        match self {
            Self::Pair => "/syncd/pair/1",
            Self::Link => "/syncd/link/1",
            Self::Lane(Lane::Interactive) => "/syncd/lane/1/interactive",
            Self::Lane(Lane::Bulk) => "/syncd/lane/1/bulk",
            Self::Lane(Lane::Data) => "/syncd/lane/1/data",
        }
    }
}

const OF_STRANGERS: &[Purpose] = &[Purpose::Pair];
const OF_PAIRED: &[Purpose] = &[
    Purpose::Link,
    Purpose::Lane(Lane::Interactive),
    Purpose::Lane(Lane::Bulk),
    Purpose::Lane(Lane::Data),
];

/// What the behaviour orders.
#[derive(Debug)]
pub(super) enum ToHandler {
    /// Open a stream; answered by `Opened` or `Refused`.
    Open(Purpose),
    /// Drop the connection.
    HangUp,
}

/// What the behaviour hears.
#[derive(Debug)]
pub(super) enum FromHandler {
    /// A stream is there.
    Opened { purpose: Purpose, stream: Stream, by_us: bool },
    /// A stream that was ordered did not come about. `unknown`: the other side does not accept
    /// this kind, as it does with everybody it is not paired with.
    Refused { purpose: Purpose, unknown: bool },
}

/// Accepts one of the listed kinds of stream.
pub(super) struct Accept(&'static [Purpose]);

impl UpgradeInfo for Accept {
    type Info = Purpose;
    type InfoIter = Copied<Iter<'static, Purpose>>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.iter().copied()
    }
}

impl<C> InboundUpgrade<C> for Accept {
    type Output = (Purpose, C);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: C, purpose: Purpose) -> Self::Future {
        ready(Ok((purpose, stream)))
    }
}

/// The streams of one connection.
pub(super) struct Handler {
    accepted: &'static [Purpose],
    came: Vec<Purpose>,
    waiting: VecDeque<ConnectionHandlerEvent<ReadyUpgrade<Purpose>, Purpose, FromHandler>>,
    alive: bool,
    waker: Option<Waker>,
}

impl Handler {
    /// Returns the handler of a connection with a paired device.
    pub(super) fn paired() -> Self {
        Self::accepting(OF_PAIRED)
    }

    /// Returns the handler of a connection with anybody else.
    pub(super) fn stranger() -> Self {
        Self::accepting(OF_STRANGERS)
    }

    fn accepting(accepted: &'static [Purpose]) -> Self {
        let (came, waiting) = (Vec::new(), VecDeque::new());
        Self { accepted, came, waiting, alive: true, waker: None }
    }

    fn tell(&mut self, event: FromHandler) {
        self.waiting.push_back(ConnectionHandlerEvent::NotifyBehaviour(event));
    }

    fn opened(&mut self, purpose: Purpose, mut stream: Stream, by_us: bool) {
        stream.ignore_for_keep_alive();
        self.tell(FromHandler::Opened { purpose, stream, by_us });
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = ToHandler;
    type ToBehaviour = FromHandler;
    type InboundProtocol = Accept;
    type OutboundProtocol = ReadyUpgrade<Purpose>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Purpose;

    fn listen_protocol(&self) -> SubstreamProtocol<Accept, ()> {
        SubstreamProtocol::new(Accept(self.accepted), ()).with_timeout(NEGOTIATION_MAX)
    }

    fn connection_keep_alive(&self) -> bool {
        self.alive
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<ReadyUpgrade<Purpose>, Purpose, FromHandler>> {
        if let Some(event) = self.waiting.pop_front() {
            return Poll::Ready(event);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, order: ToHandler) {
        match order {
            ToHandler::Open(purpose) => {
                let protocol = SubstreamProtocol::new(ReadyUpgrade::new(purpose), purpose)
                    .with_timeout(NEGOTIATION_MAX);
                self.waiting
                    .push_back(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
            ToHandler::HangUp => {
                self.alive = false;
                self.waiting.clear();
            }
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Accept, ReadyUpgrade<Purpose>, (), Purpose>,
    ) {
        if !self.alive {
            return;
        }
        #[allow(clippy::wildcard_enum_match_arm, reason = "the enum is non-exhaustive")]
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (purpose, stream),
                ..
            }) if !self.came.contains(&purpose) => {
                self.came.push(purpose);
                self.opened(purpose, stream, false);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol,
                info,
            }) => self.opened(info, protocol, true),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let unknown = matches!(error, StreamUpgradeError::NegotiationFailed);
                self.tell(FromHandler::Refused { purpose: info, unknown });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_offered_its_one_stream() {
        let names = |handler: Handler| -> Vec<String> {
            let accept = handler.listen_protocol().into_upgrade().0;
            accept.protocol_info().map(|purpose| purpose.as_ref().to_owned()).collect()
        };
        assert_eq!(names(Handler::stranger()), ["/syncd/pair/1"]);
        let paired = names(Handler::paired());
        assert_eq!(paired.len(), 4);
        assert!(!paired.contains(&"/syncd/pair/1".to_owned()));
    }
}
