//! The control server: how `syncctl`, scripts and the browser's dashboard talk to the daemon.
//!
//! HTTP with JSON under `/v1`, on a Unix socket that only this user can open and, if wanted, on
//! loopback TCP for whoever knows the token. It decides nothing: every route asks the [`Desk`].
//!
//! # Invariants
//! - Nothing is answered over TCP without the token, to a foreign `Host`, or to a foreign page.
//! - Every refusal is an [`syncd_api::ApiError`] in JSON.
//! - Every route stands in `/v1/openapi.json`, and nothing else does.
//! - It stops within [`STOP_MS_MAX`], whoever is still listening.

mod auth;
mod desk;
mod door;
mod events;
mod openapi;
mod reply;
mod routes;
mod schemas;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

pub use self::desk::{Answer, Desk};
use self::door::Door;

/// How long open requests may go on after the stop, in milliseconds. The daemon as a whole has
/// five seconds.
pub const STOP_MS_MAX: u64 = 1_000;

/// Why the control server could not begin or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Something that is no socket has the socket's name. Look at it and move it away.
    #[error("{} is in the way: it is no socket; move it away", .0.display())]
    InTheWay(PathBuf),
    /// The socket could not be made. Look at the directory it lies in.
    #[error("cannot make the control socket {}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The control API is for this machine alone. Choose `127.0.0.1` or `[::1]`.
    #[error("[http] listen must be a loopback address such as 127.0.0.1:8385, not {0}")]
    NotLoopback(SocketAddr),
    /// The port is in use or forbidden. Choose another one.
    #[error(
        "cannot listen on {at} for the control API (choose another address with: syncctl config \
         set http.listen 127.0.0.1:PORT)"
    )]
    Listen {
        /// The address.
        at: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A listener broke. Start the daemon again.
    #[error("the control API cannot be served any more")]
    Serve(#[source] std::io::Error),
}

/// How the control API is reached over TCP.
#[derive(Clone)]
pub struct Http {
    /// The loopback address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether a free port is taken when that one is in use.
    pub or_free_port: bool,
    /// What every request has to show as `Authorization: Bearer TOKEN`. Not empty.
    pub token: String,
}

/// A control server whose doors are open and that does not answer yet.
pub struct Control {
    socket_path: PathBuf,
    socket: UnixListener,
    http: Option<(TcpListener, SocketAddr, String)>,
}

/// What all routes share.
#[derive(Clone)]
struct Office {
    desk: Arc<dyn Desk>,
    /// Changes, or loses its sender, when the server stops.
    stopping: watch::Receiver<bool>,
}

impl Control {
    /// Makes the socket, open to this user alone, in place of a stale one, and listens on TCP if
    /// `http` says so. To be called by the one daemon that holds the home's lock.
    ///
    /// # Errors
    /// [`ControlError`] when a door cannot be opened: something is in the way, the directory is
    /// not writable, the address is not loopback, or its port is taken.
    pub async fn open(socket_path: &Path, http: Option<Http>) -> Result<Self, ControlError> {
        let http = match http {
            Some(http) => {
                let listener = door::listen(&http).await?;
                let at = listener
                    .local_addr()
                    .map_err(|source| ControlError::Listen { at: http.listen, source })?;
                Some((listener, at, http.token))
            }
            None => None,
        };
        let socket = door::open_socket(socket_path)?;
        Ok(Self { socket_path: socket_path.to_owned(), socket, http })
    }

    /// Returns the TCP address that was taken, for `http.addr`.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|(_, at, _)| *at)
    }

    /// Answers until `stop` is ready, then lets open requests end within [`STOP_MS_MAX`] and
    /// removes the socket. With no descriptor left, `lends` gives up one that was kept in reserve,
    /// and says whether there was one, so that this user still gets answers.
    ///
    /// # Errors
    /// [`ControlError::Serve`] when a listener broke before `stop`.
    pub async fn serve(
        self,
        desk: Arc<dyn Desk>,
        lends: fn() -> bool,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ControlError> {
        let (stopper, stopping) = watch::channel(false);
        let office = Office { desk, stopping: stopping.clone() };
        let local = axum::serve(Door::local(self.socket, lends), router(office.clone()))
            .with_graceful_shutdown(stopped(stopping.clone()));
        let web = async move {
            let Some((listener, at, token)) = self.http else { return Ok(()) };
            let gate = Arc::new(auth::Gate::new(at.port(), &token));
            let guarded =
                router(office).layer(axum::middleware::from_fn_with_state(gate, auth::check));
            axum::serve(Door::web(listener), guarded)
                .with_graceful_shutdown(stopped(stopping))
                .await
        };
        let doors = async { tokio::try_join!(local.into_future(), web).map(|_| ()) };
        let patience = async {
            stop.await;
            // Nobody may be left to hear it: then both doors are closed already.
            let _ = stopper.send(true);
            tokio::time::sleep(Duration::from_millis(STOP_MS_MAX)).await;
        };
        let ended = tokio::select! {
            ended = doors => ended.map_err(ControlError::Serve),
            () = patience => Ok(()),
        };
        if let Err(error) = std::fs::remove_file(&self.socket_path) {
            // A socket that stays is stale and will be replaced by the next start.
            tracing::debug!(%error, "the control socket could not be removed");
        }
        ended
    }
}

/// Is ready when the server stops.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the sender is gone, and the server with it.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// All routes, as they are served behind any door.
fn router(office: Office) -> Router {
    routes::table()
        .router
        .fallback(reply::no_such_route)
        .method_not_allowed_fallback(reply::no_such_method)
        .layer(DefaultBodyLimit::max(syncd_api::BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn(auth::only_json))
        .layer(axum::middleware::map_response(auth::harden))
        .with_state(office)
}

#[cfg(test)]
pub mod canned;
#[cfg(test)]
mod tests;
