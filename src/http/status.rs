//! The status: with an entity tag, and as a long poll.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    ApiError, App,
    client::Client,
    credentials::ended,
    error::whole_seconds,
    limits::Holders,
    metrics::AnswerKind,
    openapi::operations as op,
    permit::{Target, Watch},
    query::Query,
    streams::Caller,
};
use crate::{
    hub::{Snapshot, as_text},
    job::Seq,
    registry::JobHandle,
    view::View,
};

/// The longest a poll waits, in seconds; whoever asks for more waits this long.
const LONGEST_WAIT: u64 = 60;

/// Read a job
///
/// The same as `/jobs/{id}/status`.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}", operation_id = "getJob", tag = "watching",
    params(op::Status), responses(op::Status), security((), ("bearer" = ["jobs:read"]), ("token" = ["jobs:read"]), ("ticket" = []), ("cookie" = [])),
)]
pub(super) async fn job(
    target: Target<Watch>,
    client: Extension<Client>,
    app: State<Arc<App>>,
    method: Method,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    status(target, client, app, method, query, headers).await
}

/// Read a job's status
///
/// With `wait` it is a long poll: it waits for something newer than `after`, at the stream's pace, and
/// answers at once when the job is finished, or with what is there when the time is up.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/status", operation_id = "getStatus", tag = "watching",
    params(op::Status), responses(op::Status), security((), ("bearer" = ["jobs:read"]), ("token" = ["jobs:read"]), ("ticket" = []), ("cookie" = [])),
)]
pub(super) async fn status(
    Target {
        job,
        principal,
        policy,
        ..
    }: Target<Watch>,
    Extension(client): Extension<Client>,
    State(app): State<Arc<App>>,
    method: Method,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let caller = Caller {
        principal,
        policy,
        client,
    };
    read(&app, &caller, &job, None, &method, &query, &headers).await
}

/// A job's status, in the words of a view if there is one.
pub(super) async fn read(
    app: &App,
    caller: &Caller,
    job: &JobHandle,
    view: Option<&View>,
    method: &Method,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let principal = &caller.principal;
    let wait = query
        .number("wait", 0, Seq::MAX.get())?
        .unwrap_or(0)
        .min(LONGEST_WAIT);
    let after = query.number("after", 0, Seq::MAX.get())?.and_then(Seq::new);
    let is_poll = wait > 0 && *method == Method::GET;
    let snapshot = if is_poll {
        let holders = Holders {
            account: principal.account(),
            client: caller.client,
            job_id: Some(job.id().clone()),
        };
        let _seat = app.usage.take_seat(&caller.policy.limits, holders)?;
        // Without `after` the wait is for whatever comes next.
        let after = after.unwrap_or_else(|| job.job().seq);
        tokio::select! {
            snapshot = job.wait(after, Duration::from_secs(wait)) => snapshot?,
            () = principal.ended() => return Err(ended(principal)),
        }
    } else {
        job.snapshot()
    };
    let mut response = answer(app, snapshot, view, headers);
    if is_poll {
        response.extensions_mut().insert(AnswerKind::Wait);
    }
    Ok(response)
}

fn answer(app: &App, snapshot: Snapshot, view: Option<&View>, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", snapshot.job.seq);
    let is_known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .any(|value| names(value, &tag));
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let json = match view {
            Some(view) => view.answer(&snapshot.job, as_text(&snapshot.json)).into(),
            None => snapshot.json,
        };
        ([(header::CONTENT_TYPE, "application/json")], json).into_response()
    };
    let answer = response.headers_mut();
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answer.insert(header::ETAG, tag);
    }
    if !snapshot.job.is_finished() {
        answer.insert(header::RETRY_AFTER, whole_seconds(app.retry_after()));
    }
    response
}

/// Whether an `If-None-Match` names the tag; weakly, as the header is to be compared (RFC 9110, section 13.1.2).
pub(super) fn names(value: &HeaderValue, tag: &str) -> bool {
    let value = value.to_str().unwrap_or_default();
    let mut tags = value.split(',').map(str::trim);
    tags.any(|candidate| {
        candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == tag
    })
}

#[cfg(test)]
mod tests;
