//! The server behind its real doors, asked as a client would.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

use super::canned::Canned;
use super::openapi::OPERATIONS;
use super::*;

/// A served home.
struct Served {
    dir: tempfile::TempDir,
    http: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: std::thread::JoinHandle<Result<(), ControlError>>,
}

fn serve() -> Served {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let (stop, stopped) = oneshot::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    let ended = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listen = "127.0.0.1:0".parse().unwrap();
            let http = Http { listen, or_free_port: false, token: "s3cret".into() };
            let control = Control::open(&socket, Some(http)).await.unwrap();
            tell.send(control.http_addr().unwrap()).unwrap();
            let stop = async { stopped.await.unwrap() };
            control.serve(Arc::new(Canned::default()), || false, stop).await
        })
    });
    let http = told.recv().unwrap();
    Served { dir, http, stop, ended }
}

impl Served {
    fn socket_path(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    fn socket(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket_path()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }
}

/// Sends one request and returns status and body.
fn ask(mut stream: impl Read + Write, head: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let request = format!("{head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer[9..12].parse().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    assert!(!head.to_lowercase().contains("access-control"), "{head}");
    (status, body.to_owned())
}

const JSON: &str = "\r\ncontent-type: application/json";

#[test]
fn every_route_answers_what_the_document_tells() {
    let served = serve();
    let path = r#""path":"/home/u/work/notes.txt""#;
    for operation in OPERATIONS.iter().filter(|op| op.answer != "object") {
        let verb = operation.verb.name().to_uppercase();
        let mut uri = operation.path.replace("{device}", "devbox").replace("{folder}", "work");
        uri = uri.replace("{id}", "h1");
        let body = match operation.path {
            "/v1/conflicts/resolve" => format!(r#"{{{path},"keep":"mine"}}"#),
            "/v1/devices" => format!(r#"{{"device_id":"{}"}}"#, canned::DEVBOX),
            "/v1/devices/{device}/addresses" => r#"{"addresses":[]}"#.into(),
            "/v1/devices/{device}/name" => r#"{"name":"buildbox"}"#.into(),
            "/v1/flush" => r#"{"timeout_ms":1000}"#.into(),
            "/v1/folders/{folder}/share" | "/v1/folders/{folder}/unshare" => {
                r#"{"with":["devbox"]}"#.into()
            }
            "/v1/folders/{folder}" | "/v1/scan" | "/v1/trash/empty" | "/v1/verify" => {
                "{}".to_owned()
            }
            "/v1/trash/restore" => r#"{"id":"t1"}"#.into(),
            _ => format!("{{{path}}}"),
        };
        if matches!(operation.path, "/v1/why" | "/v1/conflicts/show") {
            uri += "?path=%2Fhome%2Fu%2Fwork%2Fnotes.txt";
        }
        let head = format!("{verb} {uri} HTTP/1.1\r\nhost: syncd{JSON}");
        let (status, answer) = ask(served.socket(), &head, &body);
        assert_eq!(status, 200, "{verb} {uri}: {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let differing = schemas::differs(&answer, operation.answer, operation.answer);
        assert_eq!(differing, Vec::<String>::new(), "{verb} {uri}");
    }
}

#[test]
fn refusals_are_sentences_with_an_exit_code() {
    let served = serve();
    let long = "x".repeat(syncd_api::BODY_BYTES_MAX + 1);
    let post = |path: &str| format!("POST {path} HTTP/1.1\r\nhost: syncd{JSON}");
    for (head, body, status, exit, because) in [
        ("GET /v1/nothing HTTP/1.1\r\nhost: syncd".to_owned(), "", 404, 1, "no such route"),
        ("GET / HTTP/1.1\r\nhost: syncd".to_owned(), "", 404, 1, "no page here"),
        ("GET /v1/scan HTTP/1.1\r\nhost: syncd".to_owned(), "", 405, 2, "reading changes nothing"),
        (post("/v1/folders/gone/pause"), "{}", 422, 1, "the desk could not"),
        (post("/v1/flush"), r#"{"folder":"slow","timeout_ms":1}"#, 504, 4, "time is over"),
        (post("/v1/scan"), r#"{"folder":"full"}"#, 409, 5, "a person is needed"),
        (post("/v1/scan"), "{", 400, 2, "no JSON"),
        (post("/v1/scan"), r#"{"foldre":"x"}"#, 400, 2, "a field nobody knows"),
        (post("/v1/folders"), "{}", 400, 2, "a field is missing"),
        (post("/v1/folders"), "", 400, 2, "nothing was said"),
        (post("/v1/scan"), &long, 413, 2, "a body too long"),
        (post("/v1/folders"), r#"{"path":"work"}"#, 400, 2, "a relative path"),
        (post("/v1/folders"), r#"{"path":"/x","path_hex":"0"}"#, 400, 2, "half a byte of a path"),
        (post("/v1/folders/work/share"), r#"{"with":[]}"#, 400, 2, "nobody to share with"),
        (post("/v1/trash/restore"), "{}", 400, 2, "nothing to restore"),
        (
            post("/v1/conflicts/resolve"),
            r#"{"path":"/a","keep":"merged"}"#,
            400,
            2,
            "no merged file",
        ),
        (
            post("/v1/conflicts/resolve"),
            r#"{"path":"/a","keep":"mine","with":{"path":"/b"}}"#,
            400,
            2,
            "a merged file too many",
        ),
        ("POST /v1/scan HTTP/1.1\r\nhost: syncd".to_owned(), "{}", 415, 2, "no content type"),
        (
            "POST /v1/scan HTTP/1.1\r\nhost: syncd\r\ncontent-type: text/plain".to_owned(),
            "{}",
            415,
            2,
            "what a form can send",
        ),
        ("GET /v1/why HTTP/1.1\r\nhost: syncd".to_owned(), "", 400, 2, "no path"),
        ("GET /v1/why?path=a HTTP/1.1\r\nhost: syncd".to_owned(), "", 400, 2, "a relative path"),
        ("GET /v1/trash?x=1 HTTP/1.1\r\nhost: syncd".to_owned(), "", 400, 2, "an unknown filter"),
    ] {
        let (got, answer) = ask(served.socket(), &head, body);
        assert_eq!(got, status, "{because}: {answer}");
        let error: syncd_api::ApiError = serde_json::from_str(&answer).expect(because);
        assert_eq!(error.exit.code(), exit, "{because}: {answer}");
        assert!(error.error.len() > 10, "{because}: {answer}");
    }
}

#[test]
fn the_web_door_wants_host_and_token_for_everything() {
    let served = serve();
    let port = served.http.port();
    let token = "\r\nauthorization: Bearer s3cret";
    for (line, headers, status, because) in [
        ("GET /v1/status", format!("host: localhost:{port}{token}"), 200, "all is there"),
        ("GET /v1/status", format!("host: localhost:{port}"), 401, "no token"),
        ("GET /v1/nothing", format!("host: localhost:{port}"), 401, "not even what there is"),
        ("GET /v1/openapi.json", format!("host: localhost:{port}"), 401, "not even the document"),
        ("OPTIONS /v1/status", format!("host: localhost:{port}"), 401, "no preflight"),
        ("GET /v1/status", format!("host: evil.example:{port}{token}"), 421, "DNS rebinding"),
        ("GET /v1/status", format!("host: 127.0.0.1{token}"), 421, "without the port"),
    ] {
        let stream = TcpStream::connect(served.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = format!("{line} HTTP/1.1\r\n{headers}");
        let (got, answer) = ask(stream, &head, "");
        assert_eq!(got, status, "{because}: {answer}");
    }
}

#[test]
fn whoever_has_nothing_to_say_needs_no_body_and_no_content_type() {
    let served = serve();
    for (line, because) in [
        ("POST /v1/folders/work/pause", "there is nothing to say"),
        ("DELETE /v1/folders/work", "there is nothing to say"),
        ("POST /v1/scan", "all folders are meant"),
        ("POST /v1/flush", "all folders are meant, for the usual time"),
    ] {
        let head = format!("{line} HTTP/1.1\r\nhost: syncd");
        let (status, answer) = ask(served.socket(), &head, "");
        assert_eq!(status, 200, "{because}: {line}: {answer}");
    }
}

#[test]
fn events_are_a_list_unless_a_stream_is_asked_for() {
    for (accept, streams, because) in [
        ("", false, "nothing is said"),
        ("\r\naccept: */*", false, "anything will do"),
        ("\r\naccept: application/json, text/event-stream", false, "a list is liked better"),
        ("\r\naccept: text/event-stream", true, "what a browser's EventSource sends"),
        ("\r\naccept: Text/Event-Stream;q=1, */*", true, "in other letters"),
    ] {
        let served = serve();
        let mut stream = served.socket();
        let head = format!("GET /v1/events?since=1 HTTP/1.1\r\nhost: syncd{accept}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut got = String::new();
        while !got.contains("\r\n\r\n") {
            let mut part = [0; 4096];
            let length = stream.read(&mut part).unwrap();
            assert_ne!(length, 0, "{because}: the answer ended early: {got}");
            got += std::str::from_utf8(&part[..length]).unwrap();
        }
        assert_eq!(got.contains("content-type: text/event-stream"), streams, "{because}: {got}");
        served.stop.send(()).unwrap();
        served.ended.join().unwrap().unwrap();
    }
}

#[test]
fn events_follow_until_the_server_stops() {
    let served = serve();
    let mut stream = served.socket();
    let request = "GET /v1/events?since=1&follow=true HTTP/1.1\r\nhost: syncd\r\n\
                   last-event-id: 2\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut got = String::new();
    while !got.contains("\n\n") {
        let mut part = [0; 4096];
        let length = stream.read(&mut part).unwrap();
        assert_ne!(length, 0, "the stream ended early: {got}");
        got += std::str::from_utf8(&part[..length]).unwrap();
    }
    assert!(got.contains("content-type: text/event-stream"), "{got}");
    assert!(got.contains("id: 3") && !got.contains("id: 2"), "the browser knows better: {got}");
    served.stop.send(()).unwrap();
    served.ended.join().unwrap().unwrap();
    // Ended, not reset.
    stream.read_to_string(&mut got).unwrap();
    assert!(!served.dir.path().join("control.sock").exists(), "the socket goes with the server");
}

#[test]
fn a_request_that_does_not_end_does_not_keep_the_server() {
    let served = serve();
    let mut stream = served.socket();
    stream.write_all(b"POST /v1/scan HTTP/1.1\r\nhost: syncd\r\ncontent-le").unwrap();
    served.stop.send(()).unwrap();
    served.ended.join().unwrap().unwrap();
}

#[tokio::test]
async fn the_socket_is_the_users_alone_and_replaces_a_stale_one() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    // A socket whose listener is gone, as after a kill.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(UnixStream::connect(&socket).is_err(), "nobody listens there");
    let control = Control::open(&socket, None).await.unwrap();
    assert_eq!(control.http_addr(), None);
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(UnixStream::connect(&socket).is_ok());
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap()).collect();
    assert_eq!(names.len(), 1, "nothing else is left: {names:?}");
}

#[tokio::test]
async fn doors_that_cannot_be_opened_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = taken.local_addr().unwrap();
    let http = |listen, or_free_port| Http { listen, or_free_port, token: "t".into() };

    let refused = Control::open(&socket, Some(http(at, false))).await.err().unwrap();
    assert!(refused.to_string().contains(&at.to_string()), "it names the port: {refused}");
    let given = Control::open(&socket, Some(http(at, true))).await.unwrap();
    assert_ne!(given.http_addr(), Some(at), "another port was taken");

    let open = http("0.0.0.0:0".parse().unwrap(), true);
    let refused = Control::open(&socket, Some(open)).await.err().unwrap();
    assert!(matches!(refused, ControlError::NotLoopback(_)), "{refused}");

    let file = dir.path().join("file.sock");
    std::fs::write(&file, "somebody's").unwrap();
    let refused = Control::open(&file, None).await.err().unwrap();
    assert!(matches!(refused, ControlError::InTheWay(_)), "{refused}");
    assert_eq!(std::fs::read(&file).unwrap(), b"somebody's");

    let nowhere = dir.path().join("nowhere/control.sock");
    let refused = Control::open(&nowhere, None).await.err().unwrap();
    assert!(matches!(refused, ControlError::Socket { .. }), "{refused}");
}
