//! What is around every answer: request ids, the error envelope, and what OPTIONS answers.

use std::{any::Any, panic::AssertUnwindSafe, time::Instant};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use tracing::{Instrument as _, Span, level_filters::LevelFilter};
use uuid::{NoContext, Timestamp, Uuid};

use super::{ApiError, ErrorCode, Metrics, metrics::AnswerKind};

/// The header that carries a request's id.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken over from a client or a proxy.
const REQUEST_ID_BYTES: usize = 128;

/// How much of a path is logged: a job's longest name and more.
const LOGGED_PATH_BYTES: usize = 256;

/// The answer to an unknown path.
pub(super) async fn unknown_route() -> ApiError {
    ApiError::new(ErrorCode::RouteNotFound)
}

/// The answer to a known path with another method; the router adds `Allow`.
pub(super) async fn wrong_method() -> ApiError {
    ApiError::new(ErrorCode::MethodNotAllowed)
}

/// Gives every request an id and every error the one body.
pub(super) async fn seal<F: Future<Output = Response>>(
    metrics: &Metrics,
    request: Request,
    inner: impl FnOnce(Request) -> F,
) -> Response {
    let begin = Instant::now();
    let id = request_id_of(&request);
    let request_id = id.to_str().expect("an id is visible ASCII");
    let (method, uri) = (request.method().clone(), request.uri().clone());
    // The path without its query, which may hold a token.
    let span = || {
        tracing::info_span!(
            "request",
            request.id = %request_id,
            http.method = %method,
            http.path = beginning_of(uri.path()),
        )
    };
    // Of reports there may be a hundred thousand a second, and a span costs a tenth of one: those have theirs when there
    // is something to tell at the end. What is told on their way, a warning of the store's, say, names the job, and the
    // request only at the level `debug`.
    let is_told_of = method != Method::PATCH || LevelFilter::current() >= LevelFilter::DEBUG;
    let around = if is_told_of { span() } else { Span::none() };
    let handled = AssertUnwindSafe(inner(request)).catch_unwind();
    let handled = handled.instrument(around.clone()).await;
    let mut response = match handled {
        Ok(response) if !is_told_of && is_fine(&response) => response,
        handled => {
            let span = if is_told_of { around } else { span() };
            span.in_scope(|| sealed(handled, request_id, &method, metrics))
        }
    };
    let (status, kind) = (response.status(), AnswerKind::of(&response));
    metrics.answered(&method, status, kind, begin.elapsed());
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}

/// Whether there is nothing to add to an answer, and nothing to tell of it.
fn is_fine(response: &Response) -> bool {
    response.status().is_success() && response.extensions().get::<ApiError>().is_none()
}

/// What a handler has come to, as the client is to have it.
fn sealed(
    handled: Result<Response, Box<dyn Any + Send>>,
    request_id: &str,
    method: &Method,
    metrics: &Metrics,
) -> Response {
    let response = match handled {
        Ok(response) => with_options(response, method),
        Err(panic) => {
            tracing::error!(panic = panic_text(&*panic), "a handler panicked");
            ApiError::new(ErrorCode::Internal).into_response()
        }
    };
    let response = with_body(response, request_id, method, metrics);
    tracing::debug!(http.status = response.status().as_u16(), "request answered");
    response
}

/// As much of a path as a log line needs: whoever sends long ones fills no disk with them.
fn beginning_of(path: &str) -> &str {
    path.get(..LOGGED_PATH_BYTES).unwrap_or(path)
}

/// The id that a proxy in front has given, if it is a plain word, else a new one.
fn request_id_of(request: &Request) -> HeaderValue {
    let is_plain = |id: &&HeaderValue| {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/=+".contains(byte);
        (1..=REQUEST_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(allowed)
    };
    let given = request.headers().get(X_REQUEST_ID);
    given.filter(is_plain).cloned().unwrap_or_else(|| {
        // Without the counter that orders those of one millisecond: all threads would share it.
        let id = Uuid::new_v7(Timestamp::now(NoContext)).to_string();
        HeaderValue::try_from(id).expect("a UUID is visible ASCII")
    })
}

/// OPTIONS works on every path and has no handlers of its own: what a wrong method is told is
/// what it asks for.
fn with_options(mut response: Response, method: &Method) -> Response {
    let is_known = response.status() == StatusCode::METHOD_NOT_ALLOWED;
    let Some(allow) = response.headers().get(header::ALLOW).filter(|_| is_known) else {
        return response;
    };
    let allow = format!("{},OPTIONS", allow.to_str().unwrap_or_default());
    if method == Method::OPTIONS {
        response = StatusCode::NO_CONTENT.into_response();
    }
    if let Ok(allow) = HeaderValue::from_str(&allow.replace(',', ", ")) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Fills an error's body in, counts it, and logs what the client is not told.
fn with_body(
    mut response: Response,
    request_id: &str,
    method: &Method,
    metrics: &Metrics,
) -> Response {
    let Some(error) = response.extensions_mut().remove::<ApiError>() else {
        return response;
    };
    metrics.refused(error.code());
    let code = error.code().as_str();
    match error.cause() {
        Some(cause) if response.status().is_server_error() => {
            tracing::error!(error.code = code, cause, "request failed");
        }
        // Anybody at all can cause these: whoever likes to would fill a disk with them.
        Some(cause) if error.code() == ErrorCode::Unauthorized => {
            tracing::debug!(error.code = code, cause, "request refused");
        }
        Some(cause) => tracing::info!(error.code = code, cause, "request refused"),
        None => tracing::debug!(
            error.code = code,
            error.message = error.message(),
            "request refused"
        ),
    }
    let body = error.body(Some(request_id));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    if method != Method::HEAD {
        *response.body_mut() = Body::from(body);
    }
    response
}

/// What a panic says.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a message")
}
