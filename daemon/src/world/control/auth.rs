//! Who may ask: the checks before any route, and the headers after it.
//!
//! Pages in the same browser can send requests to loopback too, and a name that resolves to
//! 127.0.0.1 can pretend to be of the same origin. So every request over TCP, reading ones too,
//! must name one of our own hosts exactly, come from no other page, and show the token. The
//! token is only ever taken from the `Authorization` header, which no page can have sent for it.

use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use syncd_api::ApiError;

use super::reply::Refusal;

/// What a request over TCP is held against.
pub(super) struct Gate {
    hosts: [String; 3],
    token: String,
}

impl Gate {
    pub(super) fn new(port: u16, token: &str) -> Self {
        let hosts = ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}"));
        Self { hosts, token: token.to_owned() }
    }

    /// Tells what is wrong with a request, if anything.
    fn judge(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(host) = only(headers, &HOST).filter(|host| self.hosts.contains(host)) else {
            let sentence = format!("ask for http://{} by exactly this name", self.hosts[0]);
            return Err(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                ApiError::could_not(sentence),
            ));
        };
        let from_here = match headers.contains_key(ORIGIN) {
            true => only(headers, &ORIGIN).is_some_and(|origin| origin == format!("http://{host}")),
            false => true,
        };
        let site = HeaderName::from_static("sec-fetch-site");
        let same_site = match headers.contains_key(&site) {
            true => only(headers, &site).is_some_and(|s| s == "same-origin" || s == "none"),
            false => true,
        };
        if !from_here || !same_site {
            let sentence = "other pages may not ask syncd; open its own page";
            return Err(Refusal::new(StatusCode::FORBIDDEN, ApiError::could_not(sentence)));
        }
        let shown = only(headers, &AUTHORIZATION);
        let token = shown.as_deref().and_then(|shown| shown.strip_prefix("Bearer "));
        if !token.is_some_and(|token| same(token.as_bytes(), self.token.as_bytes())) {
            let sentence = "show the token of this home's http.token as 'Authorization: Bearer'";
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, ApiError::could_not(sentence)));
        }
        Ok(())
    }
}

/// Lets through what [`Gate`] finds nothing wrong with.
pub(super) async fn check(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    match gate.judge(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => harden(refusal.into_response()).await,
    }
}

/// Lets through requests that change something only if their body, where they have one, says it
/// is JSON: a form or a plain text is what a page can send without asking first.
pub(super) async fn only_json(request: Request, next: Next) -> Response {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let says_nothing = request.body().is_end_stream();
    if reads
        || says_nothing
        || only(request.headers(), &CONTENT_TYPE).is_some_and(|kind| is_json(&kind))
    {
        return next.run(request).await;
    }
    let sentence = "send the body as 'Content-Type: application/json'";
    Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ApiError::usage(sentence)).into_response()
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// Tells the browser to keep, frame, sniff and run nothing.
pub(super) async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Returns the header's text if it is there exactly once: of two, each reader may pick another.
fn only(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok().map(str::to_owned)
}

/// Compares without telling by its duration where the two differ.
fn same(shown: &[u8], token: &[u8]) -> bool {
    if shown.len() != token.len() || token.is_empty() {
        return false;
    }
    let differing =
        shown.iter().zip(token).fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
    differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST_OK: (&str, &str) = ("host", "127.0.0.1:8385");
    const TOKEN_OK: (&str, &str) = ("authorization", "Bearer s3cret");

    #[test]
    fn only_our_own_pages_with_the_token_come_in() {
        let gate = Gate::new(8385, "s3cret");
        for (headers, verdict, because) in [
            (&[HOST_OK, TOKEN_OK][..], 200, "a script of this user"),
            (&[("host", "localhost:8385"), TOKEN_OK], 200, "the other name"),
            (&[("host", "[::1]:8385"), TOKEN_OK], 200, "the IPv6 name"),
            (&[TOKEN_OK], 421, "no host"),
            (&[("host", "evil.example:8385"), TOKEN_OK], 421, "DNS rebinding"),
            (&[("host", "127.0.0.1"), TOKEN_OK], 421, "no port"),
            (&[("host", "127.0.0.1:80"), TOKEN_OK], 421, "another port"),
            (&[("host", "LOCALHOST:8385"), TOKEN_OK], 421, "exactly means exactly"),
            (&[("host", "localhost.:8385"), TOKEN_OK], 421, "a dotted name"),
            (&[("host", "0.0.0.0:8385"), TOKEN_OK], 421, "the address of nobody"),
            (&[HOST_OK, HOST_OK, TOKEN_OK], 421, "two hosts"),
            (&[HOST_OK], 401, "no token"),
            (&[HOST_OK, ("authorization", "Bearer s3cre")], 401, "a shorter token"),
            (&[HOST_OK, ("authorization", "Bearer s3creT")], 401, "another token"),
            (&[HOST_OK, ("authorization", "Bearer ")], 401, "an empty token"),
            (&[HOST_OK, ("authorization", "Basic s3cret")], 401, "another scheme"),
            (&[HOST_OK, ("cookie", "token=s3cret")], 401, "a cookie comes by itself"),
            (&[HOST_OK, TOKEN_OK, TOKEN_OK], 401, "two tokens"),
            (&[HOST_OK, TOKEN_OK, ("origin", "http://127.0.0.1:8385")], 200, "our own page"),
            (&[HOST_OK, TOKEN_OK, ("origin", "http://localhost:8385")], 403, "not this host"),
            (&[HOST_OK, TOKEN_OK, ("origin", "https://evil.example")], 403, "another page"),
            (&[HOST_OK, TOKEN_OK, ("origin", "null")], 403, "a sandboxed page"),
            (&[HOST_OK, TOKEN_OK, ("sec-fetch-site", "same-origin")], 200, "our own page"),
            (&[HOST_OK, TOKEN_OK, ("sec-fetch-site", "none")], 200, "typed by a person"),
            (&[HOST_OK, TOKEN_OK, ("sec-fetch-site", "cross-site")], 403, "another page"),
            (&[HOST_OK, TOKEN_OK, ("sec-fetch-site", "same-site")], 403, "another port's page"),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let status = gate.judge(&map).map_or_else(|refusal| refusal.status.as_u16(), |()| 200);
            assert_eq!(status, verdict, "{because}");
        }
    }

    #[test]
    fn an_empty_token_opens_nothing() {
        assert!(!same(b"", b""));
    }

    #[test]
    fn json_says_that_it_is_json() {
        for (kind, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("text/plain; application/json", false),
            ("", false),
        ] {
            assert_eq!(is_json(kind), json, "{kind}");
        }
    }
}
