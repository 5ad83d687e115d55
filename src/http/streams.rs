//! `GET /jobs/{id}/stream`: joining a job as a watcher.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header},
    response::{IntoResponse, Response},
};

use futures_util::stream::empty;

use super::{
    ApiError, App,
    connection::{CloseGuard, ConnectionHandle},
    permit::{PathId, Permit, Read},
    query::Query,
};
use crate::{
    auth::Principal,
    registry::Cursor,
    stream::{JobStream, StreamOptions, refusal_block},
};

/// The header that a reconnecting `EventSource` sends (WHATWG HTML, section 9.2.4).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Tells nginx not to buffer the answer.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A stream together with what closes its connection when it ends.
struct ClosingStream {
    stream: JobStream,
    _close: Option<CloseGuard>,
}

/// `GET /jobs/{id}/stream`
pub(super) async fn stream(
    Permit { principal, .. }: Permit<Read>,
    State(app): State<Arc<App>>,
    connection: Option<Extension<ConnectionHandle>>,
    PathId(job_id): PathId,
    query: Query,
    method: Method,
    version: Version,
    headers: HeaderMap,
) -> Response {
    let connection = connection.map(|Extension(connection)| connection);
    let is_head = method == Method::HEAD;
    let joined = join(&app, &principal, &job_id, &query, &headers, is_head).await;
    let close = |has_body: bool| {
        connection
            .filter(|_| has_body)
            .map(|it| it.close_after_response())
    };
    match joined {
        Ok(Joined::Stream(stream)) => {
            let body = Body::new(ClosingStream {
                stream: *stream,
                _close: close(true),
            });
            with_stream_headers(body, version)
        }
        Ok(Joined::Head) => {
            // Of unknown length, as the stream's own body is.
            let body = Body::from_stream(empty::<Result<Bytes, Infallible>>());
            with_stream_headers(body, version)
        }
        Ok(Joined::Over) => StatusCode::NO_CONTENT.into_response(),
        Err(error) if error.is_passing() && is_event_source(&headers) && !is_head => {
            let block = refusal_block(error.message(), error.code().as_str(), app.streams.retry);
            if let Some(cause) = error.cause() {
                tracing::error!(error.code = error.code().as_str(), cause, "stream refused");
            }
            with_stream_headers(Body::from(block), version)
        }
        Err(error) => error.into_response(),
    }
}

enum Joined {
    Stream(Box<JobStream>),
    /// The request is a HEAD: no subscription begins.
    Head,
    /// The watcher has seen the end.
    Over,
}

async fn join(
    app: &Arc<App>,
    principal: &Principal,
    job_id: &str,
    query: &Query,
    headers: &HeaderMap,
    is_head: bool,
) -> Result<Joined, ApiError> {
    app.refuse_while_draining()?;
    let cursor = read_cursor(headers, query)?;
    let options = StreamOptions {
        has_visible_heartbeat: read_heartbeat(query)?,
        expires_in: principal.expires_at().map(time_until),
    };
    let job = app.job(principal, job_id).await?;
    if is_head {
        let shown = job.job();
        let is_over = shown.is_finished() && cursor == Cursor::At(shown.seq);
        return Ok(if is_over { Joined::Over } else { Joined::Head });
    }
    let attachment = job.attach(cursor).await?;
    if attachment.is_over {
        return Ok(Joined::Over);
    }
    let stream = JobStream::new(job, attachment, app.streams, options);
    Ok(Joined::Stream(Box::new(stream)))
}

/// The header wins over the query, where clients put the cursor that cannot set headers.
fn read_cursor(headers: &HeaderMap, query: &Query) -> Result<Cursor, ApiError> {
    let in_header = headers
        .get(LAST_EVENT_ID)
        .map(|value| value.to_str().unwrap_or("?"));
    let in_query = || {
        query
            .get("last_event_id")
            .or_else(|| query.get("lastEventId"))
    };
    Ok(match in_header.or_else(in_query) {
        // No id at all, as clients write it that have not seen one.
        None | Some("") => Cursor::Absent,
        Some(text) => Cursor::parse(text),
    })
}

fn read_heartbeat(query: &Query) -> Result<bool, ApiError> {
    match query.get("heartbeat") {
        None | Some("comment") => Ok(false),
        Some("event") => Ok(true),
        Some(_) => Err(ApiError::invalid("heartbeat", "must be comment or event")),
    }
}

/// How long until a token's `exp`, in seconds since the epoch; nothing when it has passed.
pub(super) fn time_until(expires_at: u64) -> Duration {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // A token without end in sight: far more than the longest stream, and no overflow.
    let most = Duration::from_secs(366 * 86_400);
    Duration::from_secs(expires_at)
        .saturating_sub(now)
        .min(most)
}

/// Whether the client is an `EventSource`, which gives up for good on any status but 200.
fn is_event_source(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept == "text/event-stream")
}

fn with_stream_headers(body: Body, version: Version) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (X_ACCEL_BUFFERING, "no"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if version == Version::HTTP_11 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    response
}

impl http_body::Body for ClosingStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.stream).poll_frame(context)
    }
}
