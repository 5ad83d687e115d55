//! Reading a request's body: what it is, and no more of it than allowed.

use std::{ops::Deref, pin::pin, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    http::{HeaderMap, header},
};
use bytes::BytesMut;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::{ApiError, ErrorCode, Usage, credentials::ended, limits::BodyShare};
use crate::{
    auth::Principal,
    config::LimitsConfig,
    job::{ReportId, parse_json},
};

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

/// A whole body, counted among all that are held as long as it is there.
#[derive(Debug)]
pub(super) struct WholeBody {
    bytes: Bytes,
    _share: BodyShare,
}

/// Reads the body of one request.
#[derive(Debug)]
pub(super) struct BodyReader<'r> {
    /// Where all bodies are counted.
    pub(super) usage: &'r Usage,
    pub(super) limits: &'r LimitsConfig,
    /// Whose body it is.
    pub(super) principal: &'r Principal,
}

impl BodyReader<'_> {
    /// Reads a JSON body.
    ///
    /// # Errors
    /// `UNSUPPORTED_MEDIA_TYPE`, and those of [`BodyReader::read`].
    pub(super) async fn read_json(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<WholeBody, ApiError> {
        match Media::of(headers) {
            Media::Unnamed | Media::Json => self.read(body, self.limits.json_body_bytes).await,
            _ => Err(unsupported("application/json")),
        }
    }

    /// Reads a body of at most `most` bytes.
    ///
    /// # Errors
    /// `PAYLOAD_TOO_LARGE`; `INVALID_REQUEST` when the client breaks off, falls silent or takes too
    /// long; `RATE_LIMITED` when all bodies together would be too many; `UNAUTHORIZED` when its
    /// credential ends meanwhile.
    pub(super) async fn read(&self, body: Body, most: usize) -> Result<WholeBody, ApiError> {
        let mut reading = pin!(read_within(
            self.limits,
            self.usage.body_share(),
            body,
            most
        ));
        // Most bodies have come with their heads: for those there is nothing to wait for.
        if let Some(whole) = reading.as_mut().now_or_never() {
            return whole;
        }
        tokio::select! {
            biased;
            whole = reading => whole,
            () = self.principal.ended() => Err(ended(self.principal)),
        }
    }

    /// Reads the body of a call with which nothing can be said: none at all, or `{}`.
    ///
    /// # Errors
    /// As [`BodyReader::read`]; `INVALID_REQUEST` when something is said.
    pub(super) async fn read_nothing(&self, body: Body) -> Result<(), ApiError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}

        let body = self.read(body, self.limits.json_body_bytes).await?;
        if !body.is_empty() {
            let Nothing {} = parse_json(&body)?;
        }
        Ok(())
    }
}

async fn read_within(
    limits: &LimitsConfig,
    mut share: BodyShare,
    body: Body,
    most: usize,
) -> Result<WholeBody, ApiError> {
    if body.size_hint().lower() > most as u64 {
        // Its length stands in the header: nothing of it needs to be sent.
        return Err(too_large(most));
    }
    let invalid = |message| ApiError::new(ErrorCode::InvalidRequest).because(message);
    let latest_end = Instant::now() + limits.body_timeout();
    let mut body = Limited::new(body, most);
    let mut whole = BytesMut::new();
    while !body.is_end_stream() {
        let mut frame = pin!(body.frame());
        let come = match frame.as_mut().now_or_never() {
            Some(come) => come,
            None => {
                let patience = (Instant::now() + LONGEST_PAUSE).min(latest_end);
                let come = timeout_at(patience, frame).await;
                come.map_err(|_| invalid("The body did not come in time"))?
            }
        };
        match come {
            // Trailers say nothing to us.
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                share.resize(whole.len() + data.len(), limits.bodies_in_flight_bytes)?;
                whole.extend_from_slice(&data);
            }
            None => break,
            Some(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large(most)),
            Some(Err(_)) => return Err(invalid("The body ended early")),
        }
    }
    Ok(WholeBody {
        bytes: whole.freeze(),
        _share: share,
    })
}

impl Deref for WholeBody {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
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
    use crate::{config::Config, http::Usage};

    fn limits() -> LimitsConfig {
        let toml = "[limits]\nbody_timeout_seconds = 100\njson_body_bytes = 9\nupload_bytes = 9\nndjson_line_bytes = 9\n\
                    bodies_in_flight_bytes = 10";
        Config::from_toml(toml)
            .expect("a valid configuration")
            .limits
    }

    /// Reads a body of these pieces, which come with pauses of so many seconds; at most 100 bytes.
    async fn read_slowly(
        usage: &Usage,
        pieces: &[&'static str],
        pause: u64,
    ) -> Result<WholeBody, ApiError> {
        let pieces = stream::iter(pieces.to_vec()).then(move |piece| async move {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            Ok::<_, Infallible>(piece)
        });
        let body = Body::from_stream(pieces);
        read_within(&limits(), usage.body_share(), body, 100).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_falls_silent_in_a_body_is_turned_away() {
        let usage = Usage::new(&limits());
        let error = read_slowly(&usage, &["{", "}"], 31)
            .await
            .expect_err("a long pause");
        assert_eq!(error.code(), ErrorCode::InvalidRequest);
        assert_eq!(error.message(), "The body did not come in time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_read_as_long_as_it_goes_on_but_not_for_ever() {
        let usage = Usage::new(&limits());
        let body = read_slowly(&usage, &["s", "l", "o"], 29).await;
        assert_eq!(*body.expect("three pieces come in 87 seconds"), "slo");
        let error = read_slowly(&usage, &["s", "l", "o", "w"], 29).await;
        let error = error.expect_err("four pieces take 116 seconds");
        assert_eq!(error.message(), "The body did not come in time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_held_as_long_as_it_is_needed_and_all_together_are_bounded() {
        let usage = Usage::new(&limits());
        let first = read_slowly(&usage, &["123", "456"], 1)
            .await
            .expect("six bytes");
        assert_eq!(usage.body_bytes_held(), 6);
        let error = read_slowly(&usage, &["1234", "5"], 1)
            .await
            .expect_err("eleven in all");
        assert_eq!(error.code(), ErrorCode::RateLimited);
        assert_eq!(usage.body_bytes_held(), 6);
        drop(first);
        assert_eq!(usage.body_bytes_held(), 0);
        read_slowly(&usage, &["1234", "5"], 1)
            .await
            .expect("there is room again");
    }
}
