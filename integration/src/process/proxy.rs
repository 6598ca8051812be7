//! A TCP proxy that counts, slows down and cuts what passes between two daemons.
//!
//! # Invariants
//! - A byte is counted before it is passed on: what arrived was counted.
//! - After [`Proxy::cut`] has returned nothing more is taken up, until [`Proxy::mend`].

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How much is passed on at once: small, so that a slow proxy is slow evenly.
const PIECE_BYTES: usize = 64 << 10;

/// A running proxy in front of one port of this machine.
#[derive(Debug)]
pub struct Proxy {
    listening: SocketAddr,
    line: Arc<Line>,
}

/// What all threads of a proxy share.
#[derive(Debug)]
struct Line {
    target: SocketAddr,
    passed_bytes: AtomicU64,
    /// 0: as fast as it goes.
    bytes_per_second: AtomicU64,
    is_cut: AtomicBool,
    is_over: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Starts a proxy to `port` on this machine.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let listening = listener.local_addr().expect("a listener has an address");
        let line = Arc::new(Line {
            target: (Ipv4Addr::LOCALHOST, port).into(),
            passed_bytes: AtomicU64::new(0),
            bytes_per_second: AtomicU64::new(0),
            is_cut: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = Arc::clone(&line);
        thread::spawn(move || accepting.accept(&listener));
        Self { listening, line }
    }

    /// Returns where to dial, as a multiaddress.
    #[must_use]
    pub fn address(&self) -> String {
        format!("/ip4/{}/tcp/{}", self.listening.ip(), self.listening.port())
    }

    /// Returns how many bytes have passed, both ways together.
    #[must_use]
    pub fn passed_bytes(&self) -> u64 {
        self.line.passed_bytes.load(Ordering::SeqCst)
    }

    /// Lets at most so many bytes a second pass on each connection and way; 0: all.
    pub fn slow_down(&self, bytes_per_second: u64) {
        self.line.bytes_per_second.store(bytes_per_second, Ordering::SeqCst);
    }

    /// Closes all connections and lets none come about.
    pub fn cut(&self) {
        self.line.is_cut.store(true, Ordering::SeqCst);
        self.line.close_all();
    }

    /// Lets connections come about again.
    pub fn mend(&self) {
        self.line.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.line.is_over.store(true, Ordering::SeqCst);
        self.line.close_all();
        // Wakes the thread that accepts; if that is gone already, all the better.
        let _ = TcpStream::connect(self.listening);
    }
}

impl Line {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming().flatten() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            // A client that cannot be served sees its connection closed.
            let _ = self.join(client);
        }
    }

    fn join(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect(self.target)?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        let ways = [
            (client.try_clone()?, server.try_clone()?),
            (server.try_clone()?, client.try_clone()?),
        ];
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked while holding the lock: `cut` either sees this connection or is seen by it.
        if self.is_cut.load(Ordering::SeqCst) {
            return Ok(());
        }
        open.extend([client, server]);
        drop(open);
        for (from, to) in ways {
            let line = Arc::clone(self);
            thread::spawn(move || line.pump(from, to));
        }
        Ok(())
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            self.passed_bytes.fetch_add(count as u64, Ordering::SeqCst);
            let rate = self.bytes_per_second.load(Ordering::SeqCst);
            let pause_ns = (count as u64 * 1_000_000_000).checked_div(rate).unwrap_or_default();
            // This is what makes the line slow.
            thread::sleep(Duration::from_nanos(pause_ns));
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        // Either end may be closed already.
        let _ = from.shutdown(Shutdown::Read);
        let _ = to.shutdown(Shutdown::Write);
    }

    fn close_all(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..) {
            // Closed already is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::eventually;
    use super::*;

    /// Answers each connection with what it hears, until it hears no more.
    fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        port
    }

    fn ask(proxy: &Proxy) -> io::Result<[u8; 5]> {
        let mut stream = TcpStream::connect(proxy.listening)?;
        stream.write_all(b"hello")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).map(|()| answer)
    }

    #[test]
    fn what_passes_is_counted_and_can_be_cut() {
        let proxy = Proxy::to(echo());
        assert_eq!(&ask(&proxy).unwrap(), b"hello");
        assert_eq!(proxy.passed_bytes(), 10, "both ways count");
        let mut open = TcpStream::connect(proxy.listening).unwrap();
        open.write_all(b"x").unwrap();
        open.read_exact(&mut [0]).unwrap();
        proxy.cut();
        assert!(matches!(open.read(&mut [0]), Ok(0) | Err(_)), "open connections end");
        assert!(ask(&proxy).is_err(), "and none comes about");
        proxy.mend();
        let again = eventually(Duration::from_secs(10), "it is mended", || {
            ask(&proxy).map_err(|error| error.to_string())
        });
        assert_eq!(&again, b"hello");
    }
}
