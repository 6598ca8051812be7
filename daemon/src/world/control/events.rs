//! Events: a list of those that are known, or a stream of server-sent events.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use syncd_api::{Event, EventsQuery};

use super::Office;
use super::reply::{Asked, Refusal, Reply};

/// What asks for the stream in `Accept`, as every browser's `EventSource` does.
const STREAM: &str = "text/event-stream";

/// Answers `GET /v1/events`. A browser that lost the stream says in `Last-Event-ID` where it was.
pub(super) async fn events(
    State(office): State<Office>,
    headers: HeaderMap,
    Asked(mut query): Asked<EventsQuery>,
) -> Response {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    query.since = last.or(query.since);
    query.follow |= wants_stream(&headers);
    let stream = match office.desk.events(query).await {
        Ok(stream) => stream,
        Err(error) => return Refusal::from(error).into_response(),
    };
    if !query.follow {
        return Reply(Ok(stream.collect::<Vec<_>>().await)).into_response();
    }
    let told = stream.map(|event| Ok::<_, Infallible>(told(&event)));
    let until = told.take_until(super::stopped(office.stopping));
    Sse::new(until).keep_alive(KeepAlive::default()).into_response()
}

/// Tells whether the asker takes server-sent events and names no other type before them.
fn wants_stream(headers: &HeaderMap) -> bool {
    let taken = headers.get(ACCEPT).and_then(|kinds| kinds.to_str().ok()).unwrap_or_default();
    let first = taken.split([',', ';']).next().unwrap_or_default();
    first.trim().eq_ignore_ascii_case(STREAM)
}

fn told(event: &Event) -> sse::Event {
    let told = sse::Event::default().id(event.id.to_string());
    // An event is plain data, which always becomes JSON of one line.
    told.json_data(event).unwrap_or_default()
}
