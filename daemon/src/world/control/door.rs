//! The two doors: a Unix socket for this user, loopback TCP for who knows the token.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{ControlError, Http};

/// Connections through one door at a time. More wait outside; a stranger who fills the TCP door
/// does not fill the socket's.
const CONNECTIONS_MAX: usize = 128;

/// The wait before the next try where nobody could be let in, as with no descriptor left.
const REFUSED_WAIT: Duration = Duration::from_secs(1);

/// A listener that lets in a limited number, and only whom it admits.
pub(super) struct Door<L: Accepts> {
    listener: L,
    seats: Arc<Semaphore>,
    admits: fn(&L::Io) -> bool,
    lends: Lends,
}

/// Gives up a descriptor that was kept in reserve; `false` when there is none.
pub(super) type Lends = fn() -> bool;

/// What can be listened at.
pub(super) trait Accepts: Send + 'static {
    /// A connection.
    type Io: Send;
    /// Where one comes from.
    type Addr: Send;

    /// Waits for a connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Io, Self::Addr)>> + Send;

    /// Returns where it listens.
    fn local_addr(&self) -> io::Result<Self::Addr>;
}

impl Accepts for UnixListener {
    type Io = UnixStream;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&self) -> io::Result<(Self::Io, Self::Addr)> {
        Self::accept(self).await
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Self::local_addr(self)
    }
}

impl Accepts for TcpListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&self) -> io::Result<(Self::Io, Self::Addr)> {
        Self::accept(self).await
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Self::local_addr(self)
    }
}

/// A connection and its place among [`CONNECTIONS_MAX`], given back when it closes.
pub(super) struct Seated<S> {
    stream: S,
    _seat: Option<OwnedSemaphorePermit>,
}

impl Door<UnixListener> {
    /// The socket's door: for this user and for root, who are let in with a descriptor that `lends`
    /// gives up when there are no others.
    pub(super) fn local(listener: UnixListener, lends: Lends) -> Self {
        Self { listener, seats: seats(), admits: same_user, lends }
    }
}

impl Door<TcpListener> {
    /// The browser's door. Who comes in still has to show the token; any program on this machine
    /// may come, and gets no descriptor out of a reserve.
    pub(super) fn web(listener: TcpListener) -> Self {
        Self { listener, seats: seats(), admits: |_: &TcpStream| true, lends: || false }
    }
}

fn seats() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONNECTIONS_MAX))
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// The socket's mode keeps others out already; this holds where a file system ignores modes.
fn same_user(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

impl<L: Accepts> Listener for Door<L>
where
    Seated<L::Io>: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Io = Seated<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // The semaphore is never closed, so there always is a seat in the end.
            let seat = self.seats.clone().acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, addr)) if (self.admits)(&stream) => {
                    return (Seated { stream, _seat: seat }, addr);
                }
                Ok(_) => {}
                Err(error) if !is_out_of_descriptors(&error) => {
                    // Whoever came has gone again, most likely.
                    tracing::debug!(%error, "nobody was let in");
                    tokio::task::yield_now().await;
                }
                Err(_) if (self.lends)() => {}
                Err(error) => {
                    tracing::debug!(%error, "nobody can be let in");
                    tokio::time::sleep(REFUSED_WAIT).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Seated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Seated<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Makes the socket with mode 0600 in place of a stale one.
///
/// It is bound under another name, closed to others, and then renamed: under its own name it was
/// never open to anybody else, and at no moment is there none.
pub(super) fn open_socket(path: &Path) -> Result<UnixListener, ControlError> {
    let failed = |source| ControlError::Socket { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(ControlError::InTheWay(path.to_owned()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    // No longer than the socket's own name: the kernel takes about a hundred bytes.
    let staged = path.with_extension("new");
    if let Err(error) = fs::remove_file(&staged)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(failed(error));
    }
    let socket = UnixListener::bind(&staged).map_err(failed)?;
    fs::set_permissions(&staged, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&staged, path).map_err(failed)?;
    Ok(socket)
}

/// Listens on loopback.
pub(super) async fn listen(http: &Http) -> Result<TcpListener, ControlError> {
    let at = http.listen;
    if !at.ip().is_loopback() {
        return Err(ControlError::NotLoopback(at));
    }
    let bound = match TcpListener::bind(at).await {
        Err(error) if http.or_free_port && error.kind() == io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::new(at.ip(), 0)).await
        }
        bound => bound,
    };
    bound.map_err(|source| ControlError::Listen { at, source })
}
