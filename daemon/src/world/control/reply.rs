//! From a desk's answer to an HTTP answer, and from an HTTP request to what the desk is asked.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use syncd_api::{ApiError, Exit, PathText};

/// How long a request's body may take to come, in milliseconds. All of it fits into one packet
/// or a few.
const BODY_WAIT_MS_MAX: u64 = 10_000;

/// An answer of the desk.
pub(super) struct Reply<T>(pub(super) Result<T, ApiError>);

/// A refusal and the HTTP status it has.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: ApiError,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: ApiError) -> Self {
        Self { status, error }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        let status = match error.exit {
            Exit::CouldNot => StatusCode::UNPROCESSABLE_ENTITY,
            Exit::Usage => StatusCode::BAD_REQUEST,
            Exit::NotRunning => StatusCode::SERVICE_UNAVAILABLE,
            Exit::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Exit::NeedsPerson => StatusCode::CONFLICT,
        };
        Self { status, error }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, axum::Json(self.error)).into_response()
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        match self.0 {
            Ok(answer) => axum::Json(answer).into_response(),
            Err(error) => Refusal::from(error).into_response(),
        }
    }
}

/// A request's JSON body; one that is empty says nothing, like `{}`. That any other says it is
/// JSON has been checked before.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let reading = Bytes::from_request(request, state);
        let bytes = tokio::time::timeout(Duration::from_millis(BODY_WAIT_MS_MAX), reading)
            .await
            .map_err(|_| {
                let error = ApiError::timed_out("the request's body did not come; send it again");
                Refusal::new(StatusCode::REQUEST_TIMEOUT, error)
            })?
            .map_err(|rejection| {
                let error = ApiError::usage(format!(
                    "the request's body cannot be taken ({}); the most is {} bytes",
                    rejection.body_text(),
                    syncd_api::BODY_BYTES_MAX
                ));
                Refusal::new(rejection.status(), error)
            })?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map(Body).map_err(|error| {
            let sentence = format!("the request's body is not what this route takes: {error}");
            Refusal::from(ApiError::usage(sentence))
        })
    }
}

/// A request's query.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(ApiError::usage(format!(
                "the query is not what this route takes: {}",
                rejection.body_text()
            ))
            .into()),
        }
    }
}

/// The one name in a route's path: a device, a folder, held changes.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(_) => Err(ApiError::usage("the name in the address is not UTF-8").into()),
        }
    }
}

/// Lets only absolute paths through: the daemon's working directory is nobody's business.
pub(super) fn absolute(path: &PathText) -> Result<(), ApiError> {
    let file = path.file().map_err(|error| ApiError::usage(error.to_string()))?;
    if file.is_absolute() {
        return Ok(());
    }
    Err(ApiError::usage(format!("{:?} is not an absolute path; begin it with '/'", path.path)))
}

/// The answer where there is no such route.
pub(super) async fn no_such_route(uri: Uri) -> Refusal {
    let sentence = format!(
        "this syncd {} has no {:?}; are syncctl and syncd of the same version?",
        env!("CARGO_PKG_VERSION"),
        uri.path()
    );
    Refusal::new(StatusCode::NOT_FOUND, ApiError::could_not(sentence))
}

/// The answer where a route does not take this method.
pub(super) async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    let sentence = format!("{:?} does not take {method}; see /v1/openapi.json", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, ApiError::usage(sentence))
}
