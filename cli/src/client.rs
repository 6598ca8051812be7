//! The way to the daemon: HTTP over the home's control socket, one connection a request.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use syncd_api::{ApiError, Exit, PathText};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// How long a question that the daemon answers at once may take, in milliseconds.
const QUESTION_MS_MAX: u64 = 30_000;

/// How long to wait for an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    /// As long as a question takes that is answered at once.
    Question,
    /// As long as it takes: the daemon works until it answers.
    Work,
    /// A little longer than the daemon was told to wait.
    Told(Duration),
}

/// An answer, word for word.
#[derive(Debug)]
pub(crate) struct Answered(pub(crate) String);

impl Answered {
    /// Reads the answer.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_str(&self.0).map_err(|error| {
            ApiError::could_not(format!(
                "syncd's answer makes no sense here ({error}); are syncctl and syncd of the same \
                 version? see: syncctl doctor"
            ))
        })
    }
}

/// Asks the daemon of one home.
#[derive(Debug)]
pub(crate) struct Client {
    socket_path: PathBuf,
    /// What is said when no daemon answers.
    absent: String,
    /// How to start the daemon of this home.
    start: String,
    runtime: Runtime,
}

impl Client {
    /// Makes a client; `absent` is said when no daemon answers, `start` is what a person types to
    /// start it.
    pub(crate) fn new(
        socket_path: PathBuf,
        absent: String,
        start: String,
    ) -> Result<Self, ApiError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            ApiError::could_not(format!("cannot begin ({error}); close some programs, try again"))
        })?;
        Ok(Self { socket_path, absent, start, runtime })
    }

    /// Asks a question.
    pub(crate) fn get(&self, route: &str) -> Result<Answered, ApiError> {
        self.ask(Method::GET, route, Bytes::new(), Patience::Question)
    }

    /// Has something done that `body` says more about.
    pub(crate) fn send(
        &self,
        method: Method,
        route: &str,
        body: &impl Serialize,
        patience: Patience,
    ) -> Result<Answered, ApiError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| ApiError::could_not(format!("cannot say this in JSON: {error}")))?;
        self.ask(method, route, body.into(), patience)
    }

    /// Has something done that needs no more words.
    pub(crate) fn order(&self, method: Method, route: &str) -> Result<Answered, ApiError> {
        self.ask(method, route, Bytes::from_static(b"{}"), Patience::Question)
    }

    /// Reads server-sent events and hands each one's data to `each`, until the daemon stops or
    /// `each` fails.
    pub(crate) fn follow(
        &self,
        route: &str,
        mut each: impl FnMut(&str) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        self.runtime.block_on(async {
            let response = self.request(Method::GET, route, Bytes::new()).await?;
            if !response.status().is_success() {
                return Err(refusal(&self.body(response).await?));
            }
            let mut body = response.into_body();
            let mut lines = Lines::default();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| self.went_away())?;
                for event in lines.feed(frame.data_ref().map_or(&[][..], |data| data)) {
                    each(&event)?;
                }
            }
            Err(self.went_away())
        })
    }

    fn ask(
        &self,
        method: Method,
        route: &str,
        body: Bytes,
        patience: Patience,
    ) -> Result<Answered, ApiError> {
        let asking = async {
            let response = self.request(method, route, body).await?;
            let good = response.status().is_success();
            let text = self.body(response).await?;
            if good { Ok(Answered(text)) } else { Err(refusal(&text)) }
        };
        let wait = match patience {
            Patience::Question => Duration::from_millis(QUESTION_MS_MAX),
            Patience::Work => Duration::MAX,
            Patience::Told(told) => told.saturating_add(Duration::from_millis(QUESTION_MS_MAX)),
        };
        self.runtime.block_on(async {
            // Inside the runtime, whose clock the wait needs.
            tokio::time::timeout(wait, asking).await.unwrap_or_else(|_| {
                Err(ApiError::timed_out(format!(
                    "syncd did not answer within {} s; look at its log",
                    wait.as_secs()
                )))
            })
        })
    }

    async fn request(
        &self,
        method: Method,
        route: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ApiError> {
        let stream =
            UnixStream::connect(&self.socket_path).await.map_err(|error| self.no_way(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|_| self.went_away())?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(route)
            .header(HOST, "syncd")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| ApiError::could_not(format!("cannot ask for {route}: {error}")))?;
        sender.send_request(request).await.map_err(|_| self.went_away())
    }

    async fn body(&self, response: Response<Incoming>) -> Result<String, ApiError> {
        let body = response.into_body().collect().await.map_err(|_| self.went_away())?;
        Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
    }

    fn no_way(&self, error: &io::Error) -> ApiError {
        let nobody = [
            io::ErrorKind::NotFound,
            io::ErrorKind::NotADirectory,
            io::ErrorKind::ConnectionRefused,
        ];
        if nobody.contains(&error.kind()) {
            return ApiError::new(Exit::NotRunning, &self.absent);
        }
        ApiError::could_not(format!(
            "cannot reach syncd at {} ({error}); it answers only the user it runs as",
            self.socket_path.display()
        ))
    }

    fn went_away(&self) -> ApiError {
        let sentence =
            format!("syncd stopped before it had answered; start it with: {}", self.start);
        ApiError::new(Exit::NotRunning, sentence)
    }
}

/// Reads a refusal; what is none was not said by syncd's API.
fn refusal(body: &str) -> ApiError {
    serde_json::from_str(body).unwrap_or_else(|_| {
        ApiError::could_not(
            "syncd said no in words that syncctl does not know; are both of the same version?",
        )
    })
}

/// Cuts a stream of server-sent events into the data of each.
#[derive(Debug, Default)]
struct Lines {
    /// The bytes of a line that has not ended yet.
    rest: Vec<u8>,
    /// The data of the event that has not ended yet.
    data: String,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if let Some(data) = line.strip_prefix("data:") {
                self.data += data.strip_prefix(' ').unwrap_or(data);
            } else if line.is_empty() && !self.data.is_empty() {
                events.push(std::mem::take(&mut self.data));
            }
        }
        events
    }
}

/// Writes a name as one part of a route's path.
pub(crate) fn part(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text += &format!("%{byte:02X}");
        }
        text
    })
}

/// Writes a route's query from the fields that are there.
pub(crate) fn query(route: &str, fields: &[(&str, Option<&str>)]) -> String {
    let there = fields.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let pairs: Vec<String> = there.map(|(name, value)| format!("{name}={}", part(value))).collect();
    if pairs.is_empty() { route.to_owned() } else { format!("{route}?{}", pairs.join("&")) }
}

/// Writes a route's query about one path.
pub(crate) fn query_path(route: &str, path: &PathText) -> String {
    query(route, &[("path", Some(&path.path)), ("path_hex", path.path_hex.as_deref())])
}

/// Makes a path absolute as the daemon knows it: links on the way are followed, the last name is
/// not, and what does not exist is taken as it is written.
pub(crate) fn absolute(path: &Path) -> Result<PathText, ApiError> {
    let whole = std::path::absolute(path).map_err(|error| {
        ApiError::usage(format!("{:?} is no path ({error})", path.to_string_lossy()))
    })?;
    let mut parts = whole.components().peekable();
    let mut real = PathBuf::new();
    while let Some(part) = parts.next() {
        if part == Component::ParentDir {
            real.pop();
            continue;
        }
        real.push(part);
        if parts.peek().is_some()
            && let Ok(followed) = real.canonicalize()
        {
            real = followed;
        }
    }
    Ok(PathText::of_file(&real))
}

/// Makes the path of a folder's root absolute, with the last name followed too if it is a link.
pub(crate) fn absolute_root(path: &Path) -> Result<PathText, ApiError> {
    path.canonicalize().map_or_else(|_| absolute(path), |real| Ok(PathText::of_file(&real)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_wherever_the_stream_is() {
        let stream = ": keep-alive\n\nid: 1\ndata: {\"a\":1}\n\nid: 2\r\n\
                      data:{\"b\":\"\u{fc}\"}\r\n\r\ndata: x";
        for step in 1..stream.len() {
            let mut lines = Lines::default();
            let events: Vec<String> =
                stream.as_bytes().chunks(step).flat_map(|chunk| lines.feed(chunk)).collect();
            assert_eq!(events, ["{\"a\":1}", "{\"b\":\"\u{fc}\"}"], "in steps of {step}");
        }
    }

    #[test]
    fn queries_hold_any_text() {
        for (fields, written) in [
            (&[("a", None)][..], "/v1/x"),
            (&[("a", Some("b"))], "/v1/x?a=b"),
            (
                &[("a", Some("/b c&d=\u{fc}%")), ("e", Some("f"))],
                "/v1/x?a=%2Fb%20c%26d%3D%C3%BC%25&e=f",
            ),
        ] {
            assert_eq!(query("/v1/x", fields), written);
        }
    }

    #[test]
    fn paths_become_absolute_without_following_the_last_name() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("there")).unwrap();
        std::os::unix::fs::symlink(real.join("there"), real.join("link")).unwrap();
        for (path, becomes, because) in [
            ("there/a", "there/a", "a file that is not there"),
            ("link/a", "there/a", "links on the way are followed"),
            ("link", "link", "the last name is what is asked about"),
            ("there/x/y/z", "there/x/y/z", "nothing of it is there"),
            ("there/..", "", "up again"),
            ("none/../link/../there", "there", "up from where nothing is"),
            ("there/../link/.", "link", "a dot says nothing"),
        ] {
            let expected = real.join(becomes);
            let expected = expected.to_str().unwrap().trim_end_matches('/');
            assert_eq!(absolute(&real.join(path)).unwrap().path, expected, "{because}");
        }
        let root = absolute_root(&real.join("link")).unwrap();
        assert_eq!(root.path, real.join("there").to_str().unwrap());
    }
}
