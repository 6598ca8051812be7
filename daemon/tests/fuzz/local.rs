//! What a program of this user may send to the control API: method, address, query and body.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use syncd::world::control::Control;
// `canned` takes them from the module above it.
use syncd::world::control::{Answer, Desk};
use tokio::sync::oneshot;

use super::target::{Law, Target};

#[path = "../../src/world/control/canned.rs"]
#[expect(unreachable_pub, reason = "it belongs to the daemon's own tests")]
mod canned;

/// How long an answer is waited for: longer than any machine stands still.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);

/// The first line is method and address, the rest is the body.
#[test]
fn requests() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let (stop, stopped) = oneshot::channel::<()>();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let desk = Arc::new(canned::Canned::default());
    let served = std::thread::spawn({
        let (socket, desk) = (socket.clone(), Arc::clone(&desk));
        move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let control = Control::open(&socket, None).await.unwrap();
                ready.send(()).unwrap();
                control.serve(desk, || false, async { drop(stopped.await) }).await.unwrap();
            });
        }
    });
    is_ready.recv().unwrap();
    let target = Target {
        name: "request",
        law: Law::Nothing,
        bytes_max: 16 << 10,
        room_each: 128,
        // The description of the whole API is made anew for each who asks.
        room_always: 4 << 20,
        inputs: 300,
    };
    target.run(|bytes| {
        let status = ask(&socket, bytes);
        drop(desk.asked());
        assert!((200..600).contains(&status), "an answer with status {status}");
        (status < 400).then(Vec::new)
    });
    drop(stop);
    served.join().unwrap();
}

/// Sends a request that is well-formed as HTTP, and returns its status; 0 when there was none.
fn ask(socket: &Path, bytes: &[u8]) -> u16 {
    let (line, body) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[][..]),
    };
    let (verb, address) = match line.iter().position(|byte| *byte == b' ') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (&b"GET"[..], line),
    };
    let is_verb = !verb.is_empty() && verb.iter().all(u8::is_ascii_alphabetic);
    let verb = if is_verb { verb } else { b"POST" };
    let address: String = address.iter().map(|byte| shown(*byte)).collect();
    let mut request = verb.to_vec();
    request.extend(
        format!(
            " /{} HTTP/1.1\r\nhost: syncd\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            address.trim_start_matches('/'),
            body.len()
        )
        .bytes(),
    );
    request.extend_from_slice(body);
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(ANSWER_WAIT_MAX)).unwrap();
    // It may be answered, and hung up on, before all of it is sent.
    let _ = stream.write_all(&request);
    let mut head = [0; 12];
    match stream.read_exact(&mut head) {
        Ok(()) => std::str::from_utf8(&head[9..]).unwrap().parse().unwrap(),
        Err(_) => 0,
    }
}

/// Writes a byte as an address may have it.
fn shown(byte: u8) -> String {
    match byte {
        b'!'..=b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02x}"),
    }
}
