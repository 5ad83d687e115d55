//! Listing jobs, page by page.

use std::{convert::Infallible, iter, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde_json::json;

use super::{
    ApiError, App, ErrorCode,
    openapi::operations as op,
    permit::{Permit, Read},
    query::Query,
};
use crate::{
    auth::Principal,
    job::{FieldError, Job, JobId, State as JobState, Status, Timestamp},
    registry::JobPage,
    store::{Filter, Position},
};

/// How many jobs a list shows unless asked otherwise, and at most.
const LIST_LIMITS: (usize, u64) = (50, 200);

/// Bytes from which on a piece of a page is sent before the next is made.
const PIECE_BYTES: usize = 64 * 1024;

/// List jobs
///
/// The newest first, page by page, of those that the caller may see.
#[utoipa::path(
    get, path = "/api/v1/jobs", operation_id = "listJobs", tag = "watching",
    params(op::List), responses(op::List), security((), ("bearer" = ["jobs:read"]), ("token" = ["jobs:read"])),
)]
pub(super) async fn list(
    Permit { principal, .. }: Permit<Read>,
    State(app): State<Arc<App>>,
    query: Query,
) -> Result<Response, ApiError> {
    app.refuse_while_draining()?;
    refuse_bound(&principal)?;
    let filter = read_filter(&query)?;
    let limit = query.number("limit", 1, LIST_LIMITS.1)?;
    let limit = limit.map_or(LIST_LIMITS.0, |limit| limit as usize);
    let before = query.get("cursor").map(parse_position).transpose()?;
    let may_see = |job: &Job| sees(&principal, job);
    let page = app.registry.list(&filter, may_see, before, limit).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "private, no-cache"),
    ];
    Ok((headers, body(page)).into_response())
}

/// The page in pieces, each made when the one before was taken: jobs can be large, and readers slow.
fn body(page: JobPage) -> Body {
    let next = page.next.map(|position| show_position(&position));
    let end = format!("],\"next_cursor\":{}}}", json!(next));
    let jobs = page.jobs.into_iter().enumerate().map(|(index, job)| {
        let separator = if index == 0 { "" } else { "," };
        format!("{separator}{}", Status(&job).to_json())
    });
    let beginning = iter::once("{\"jobs\":[".to_owned());
    let mut texts = beginning.chain(jobs).chain([end]);
    let mut pieces = iter::from_fn(move || {
        let mut piece = texts.next()?;
        while piece.len() < PIECE_BYTES
            && let Some(text) = texts.next()
        {
            piece.push_str(&text);
        }
        Some(Bytes::from(piece))
    });
    let first = pieces.next().unwrap_or_default();
    match pieces.next() {
        // Most pages are small, and have a length.
        None => Body::from(first),
        Some(second) => {
            let pieces = [first, second].into_iter().chain(pieces);
            Body::from_stream(stream::iter(pieces.map(Ok::<_, Infallible>)))
        }
    }
}

/// Refuses a token of one job, which selects among no others.
pub(super) fn refuse_bound(principal: &Principal) -> Result<(), ApiError> {
    match principal.bond() {
        None => Ok(()),
        Some(_) => {
            let message = "This token is for one job alone";
            Err(ApiError::new(ErrorCode::Forbidden).because(message))
        }
    }
}

/// Whether the job is one of those that the caller may act on.
pub(super) fn sees(principal: &Principal, job: &Job) -> bool {
    principal.may_act_on(job.id().as_str(), job.origin.owner.as_deref())
}

pub(super) fn read_filter(query: &Query) -> Result<Filter, ApiError> {
    let parse_state = |text: &str| {
        JobState::parse(text).map_err(|rule| ApiError::from(FieldError::new("status", rule)))
    };
    let parse_parent = |text: &str| {
        JobId::parse(text).map_err(|rule| ApiError::from(FieldError::new("parent_id", rule)))
    };
    Ok(Filter {
        states: query
            .all("status")
            .map(parse_state)
            .collect::<Result<_, _>>()?,
        kind: query.get("kind").map(str::to_owned),
        tag: query.get("tag").map(str::to_owned),
        owner: query.get("owner").map(str::to_owned),
        parent_id: query.get("parent_id").map(parse_parent).transpose()?,
    })
}

/// A cursor as clients carry it: opaque to them, to us the last job's place, `micros.job_id`.
fn show_position(position: &Position) -> String {
    format!("{}.{}", position.created_at.as_micros(), position.job_id)
}

fn parse_position(text: &str) -> Result<Position, ApiError> {
    let parts = text.split_once('.');
    let position = parts.and_then(|(micros, job_id)| {
        let created_at = Timestamp::from_micros(micros.parse().ok()?);
        let job_id = JobId::parse(job_id).ok()?;
        Some(Position { created_at, job_id })
    });
    position.ok_or_else(|| ApiError::invalid("cursor", "must be a next_cursor of this list"))
}
