//! Creating, changing and removing jobs.

pub(super) mod create;

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    ApiError, App,
    body::report_id,
    openapi::operations as op,
    permit::{Cancel, Change, Target, Write},
};
use crate::job::{Answer, Command, JobId, Report, Seq, parse_events};

/// The answer to a report.
#[derive(Serialize)]
struct ReportAnswer {
    #[serde(flatten)]
    answer: Answer,
    watchers: usize,
}

/// The answer to events.
#[derive(Serialize)]
struct EventsAnswer {
    job_id: JobId,
    seq: Seq,
}

/// Report on a job
///
/// Any report without `status` moves a pending job to `processing`; `{}` is a sign of life. Counts and
/// percentage never go down within an attempt: a late, lower value is accepted and ignored.
#[utoipa::path(
    patch, path = "/api/v1/jobs/{id}", operation_id = "report", tag = "jobs",
    params(op::Report), responses(op::Report), security((), ("bearer" = ["jobs:write"])),
)]
pub(super) async fn report(
    mut target: Target<Change>,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    app.usage.take_reports(target.principal.account(), 1)?;
    let body = target.reader(&app).read_json(&headers, body).await?;
    let read = || {
        let addressed = Report::parse(&body, &app.registry.bounds())?;
        if addressed.job_id.is_some() {
            let rule = "stands in the path and not in the body";
            return Err(ApiError::invalid("job_id", rule));
        }
        let report_id = report_id(&headers, addressed.report_id)?;
        Ok((Command::Report(Box::new(addressed.report)), report_id))
    };
    let answer = target.apply(&app, read()?, read).await?;
    let body = ReportAnswer {
        answer,
        watchers: target.job.watchers(),
    };
    Ok(Json(body).into_response())
}

/// Send events
///
/// One, or up to 1,000 of which all are taken or none. Each is sent to the watchers at once, under its own
/// name, and kept for those who resume.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/events", operation_id = "sendEvents", tag = "jobs",
    params(op::Events), responses(op::Events), security((), ("bearer" = ["jobs:write"])),
)]
pub(super) async fn events(
    mut target: Target<Change>,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = target.reader(&app).read_json(&headers, body).await?;
    let read = || parse_events(&body, &app.registry.bounds());
    let (events, from_body) = read()?;
    app.usage
        .take_reports(target.principal.account(), events.len())?;
    let first = (Command::Events(events), report_id(&headers, from_body)?);
    let again = || {
        let (events, from_body) = read()?;
        Ok((Command::Events(events), report_id(&headers, from_body)?))
    };
    let Answer { job_id, seq, .. } = target.apply(&app, first, again).await?;
    Ok(Json(EventsAnswer { job_id, seq }).into_response())
}

/// Ask for a job's cancellation
///
/// A built-in worker stops at its next step; another one reads `cancel_requested` in the answer to its
/// next report. A pending job that nobody has started is cancelled at once.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/cancel", operation_id = "cancelJob", tag = "jobs",
    params(op::Cancel), responses(op::Cancel), security((), ("bearer" = ["jobs:cancel"])),
)]
pub(super) async fn cancel(
    target: Target<Cancel>,
    State(app): State<Arc<App>>,
    body: Body,
) -> Result<Response, ApiError> {
    target.reader(&app).read_nothing(body).await?;
    let answer = target.job.apply(Command::Cancel, None).await?;
    let body = ReportAnswer {
        answer,
        watchers: target.job.watchers(),
    };
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// Remove a job
///
/// Its streams end; then every call on it is answered with 410 for a day.
#[utoipa::path(
    delete, path = "/api/v1/jobs/{id}", operation_id = "removeJob", tag = "jobs",
    params(op::Remove), responses(op::Remove), security((), ("bearer" = ["jobs:write"])),
)]
pub(super) async fn remove(Target { job, .. }: Target<Write>) -> Result<StatusCode, ApiError> {
    job.remove().await?;
    Ok(StatusCode::NO_CONTENT)
}
