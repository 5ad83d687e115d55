//! Reading a request's body: what it is, and no more of it than allowed.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, HttpBody as _},
    http::{HeaderMap, header},
};
use bytes::BytesMut;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use tokio::time::timeout;

use super::{ApiError, ErrorCode};
use crate::job::{ReportId, parse_json};

/// How long a body may make no progress at all: a client that says nothing must not hold what it
/// has sent in memory for ever.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The sorts of body that calls take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// No `Content-Type` at all.
    Unnamed,
    /// `application/json`, or anything that ends in `+json`.
    Json,
    /// `text/plain`
    Text,
    /// `text/csv`
    Csv,
    /// `application/x-ndjson` and its other names.
    Ndjson,
    /// Anything else.
    Other,
}

impl Media {
    /// What the `Content-Type` says, parameters aside.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(header::CONTENT_TYPE) else {
            return Self::Unnamed;
        };
        let essence = value
            .to_str()
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        let essence = essence.trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Self::Json,
            "text/plain" => Self::Text,
            "text/csv" => Self::Csv,
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines" => Self::Ndjson,
            other if other.starts_with("application/") && other.ends_with("+json") => Self::Json,
            _ => Self::Other,
        }
    }
}

/// Reads a JSON body of at most `most` bytes.
///
/// # Errors
/// `UNSUPPORTED_MEDIA_TYPE`, `PAYLOAD_TOO_LARGE`.
pub(super) async fn read_json(
    headers: &HeaderMap,
    body: Body,
    most: usize,
) -> Result<Bytes, ApiError> {
    match Media::of(headers) {
        Media::Unnamed | Media::Json => read(body, most).await,
        _ => Err(unsupported("application/json")),
    }
}

/// Reads a body of at most `most` bytes.
///
/// # Errors
/// `PAYLOAD_TOO_LARGE`; `INVALID_REQUEST` when the client breaks off or falls silent.
pub(super) async fn read(body: Body, most: usize) -> Result<Bytes, ApiError> {
    if body.size_hint().lower() > most as u64 {
        // Its length stands in the header: nothing of it needs to be sent.
        return Err(too_large(most));
    }
    let invalid = |message| ApiError::new(ErrorCode::InvalidRequest).because(message);
    let mut body = Limited::new(body, most);
    let mut whole = BytesMut::new();
    loop {
        match timeout(LONGEST_PAUSE, body.frame()).await {
            // Trailers say nothing to us.
            Ok(Some(Ok(frame))) => whole.extend(frame.into_data().ok()),
            Ok(None) => return Ok(whole.freeze()),
            Ok(Some(Err(error))) if error.is::<LengthLimitError>() => return Err(too_large(most)),
            Ok(Some(Err(_))) => return Err(invalid("The body ended early")),
            Err(_) => return Err(invalid("The body did not come in time")),
        }
    }
}

/// Reads the body of a call with which nothing can be said: none at all, or `{}`.
///
/// # Errors
/// As [`read`]; `INVALID_REQUEST` when something is said.
pub(super) async fn read_nothing(body: Body, most: usize) -> Result<(), ApiError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    let body = read(body, most).await?;
    if !body.is_empty() {
        let Nothing {} = parse_json(&body)?;
    }
    Ok(())
}

/// The error for a body of more than `most` bytes.
pub(super) fn too_large(most: usize) -> ApiError {
    let message = format!("The body must have at most {most} bytes");
    ApiError::new(ErrorCode::PayloadTooLarge).because(message)
}

/// The error for a body of a kind other than `expected`.
pub(super) fn unsupported(expected: &str) -> ApiError {
    let message = format!("The Content-Type must be {expected}");
    ApiError::new(ErrorCode::UnsupportedMediaType).because(message)
}

/// The client's own name for a request: header `Idempotency-Key`, or what its body says.
///
/// # Errors
/// `INVALID_REQUEST` for a header that is no such name, or that differs from the body's.
pub(super) fn report_id(
    headers: &HeaderMap,
    from_body: Option<ReportId>,
) -> Result<Option<ReportId>, ApiError> {
    const HEADER: &str = "Idempotency-Key";
    let Some(value) = headers.get(HEADER) else {
        return Ok(from_body);
    };
    let from_header = ReportId::parse(value.to_str().unwrap_or_default())
        .map_err(|rule| ApiError::invalid(HEADER, rule))?;
    if from_body.is_some_and(|from_body| from_body != from_header) {
        return Err(ApiError::invalid(
            "report_id",
            "must not differ from the Idempotency-Key",
        ));
    }
    Ok(Some(from_header))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, stream};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_falls_silent_in_a_body_is_turned_away() {
        let beginning = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{\"kind\":"))]);
        let body = Body::from_stream(beginning.chain(stream::pending()));
        let error = read(body, 100).await.expect_err("the body never ends");
        assert_eq!(error.code(), ErrorCode::InvalidRequest);
        assert_eq!(error.message(), "The body did not come in time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_read_as_long_as_it_goes_on() {
        let pieces = stream::iter([b"slow".as_slice(), b"ly"]).then(|piece| async move {
            tokio::time::sleep(LONGEST_PAUSE - Duration::from_secs(1)).await;
            Ok::<_, Infallible>(Bytes::from_static(piece))
        });
        let body = read(Body::from_stream(pieces), 6).await;
        assert_eq!(body.expect("six bytes are allowed"), "slowly");
    }
}
