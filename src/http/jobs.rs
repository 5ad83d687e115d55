//! Creating, changing and removing jobs.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    ApiError, App, ErrorCode,
    body::{BodyReader, Media, report_id, too_large, unsupported},
    openapi::operations as op,
    permit::{Cancel, Permit, Target, Write},
    query::Query,
    tickets::bond_of,
};
use crate::{
    config::AuthMode,
    job::{Answer, Command, Job, JobId, NewJob, Report, Seq, Status, parse_events},
    store::{Input, InputFormat},
};

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

/// Create a job
///
/// Every field may be left out. When `kind` names a built-in worker the server runs the job itself on
/// `input`; with `?kind=` the body may be that input. The same `job_id` or `Idempotency-Key` with the same
/// body, by the same owner: 200 and the job as it is, or 410 when that is gone; otherwise 409 `JOB_EXISTS`,
/// and nothing of the job. A gone `job_id` may be created anew.
#[utoipa::path(
    post, path = "/jobs", operation_id = "createJob", tag = "jobs",
    params(op::Create), responses(op::Create), security((), ("bearer" = ["jobs:write"])),
)]
pub(super) async fn create(
    permit: Permit<Write>,
    State(app): State<Arc<App>>,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    app.refuse_while_draining()?;
    let (mut new_job, mut input) =
        read_creation(&app, &permit.reader(&app), &query, &headers, body).await?;
    new_job.check(&app.registry.settings().bounds)?;
    let runner = new_job
        .kind
        .as_deref()
        .filter(|kind| app.runners.knows(kind));
    if let Some(kind) = runner {
        new_job.unit = new_job
            .unit
            .take()
            .or_else(|| app.runners.unit(kind).map(str::to_owned));
    } else if new_job.input.is_some() || input.is_some() {
        return Err(input_for_nobody());
    }
    let is_run_here = runner.is_some();
    if let Some(json) = new_job.input.take() {
        let content = json.as_str().as_bytes().into();
        input = Some(Input {
            format: InputFormat::Json,
            content,
        });
    }
    let owner = permit
        .principal
        .may_create_for(new_job.owner.as_deref())
        .map_err(|_| {
            ApiError::new(ErrorCode::Forbidden).because("A job is created for its creator alone")
        })?;
    let key = report_id(&headers, None)?;
    // Before the job is there: nobody needs one whose watch token cannot be made.
    let mint = match permit.policy.authenticator.mode() {
        AuthMode::Open => None,
        AuthMode::Keys => Some(app.passes.mint(app.registry.now()).await?),
    };
    let (job, is_new) = app
        .registry
        .create(new_job, owner, key.as_ref(), input)
        .await?;
    if is_new && is_run_here {
        app.runners.start(job.clone());
    }
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let job = job.job();
    let now = app.registry.now().as_seconds();
    let watch_token = mint.map(|mint| mint.watch_token(&bond_of(&job.origin), now));
    Ok(creation_answer(status, &job, watch_token.as_deref()))
}

/// Report on a job
///
/// Any report without `status` moves a pending job to `processing`; `{}` is a sign of life. Counts and
/// percentage never go down within an attempt: a late, lower value is accepted and ignored.
#[utoipa::path(
    patch, path = "/jobs/{id}", operation_id = "report", tag = "jobs",
    params(op::Report), responses(op::Report), security((), ("bearer" = ["jobs:write"])),
)]
pub(super) async fn report(
    target: Target<Write>,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    app.usage.take_reports(target.principal.account(), 1)?;
    let body = target.reader(&app).read_json(&headers, body).await?;
    let addressed = Report::parse(&body, &app.registry.settings().bounds)?;
    if addressed.job_id.is_some() {
        return Err(ApiError::invalid(
            "job_id",
            "stands in the path and not in the body",
        ));
    }
    let report_id = report_id(&headers, addressed.report_id)?;
    let command = Command::Report(Box::new(addressed.report));
    let answer = target.job.apply(command, report_id).await?;
    Ok(Json(ReportAnswer {
        answer,
        watchers: target.job.watchers(),
    })
    .into_response())
}

/// Send events
///
/// One, or up to 1,000 of which all are taken or none. Each is sent to the watchers at once, under its own
/// name, and kept for those who resume.
#[utoipa::path(
    post, path = "/jobs/{id}/events", operation_id = "sendEvents", tag = "jobs",
    params(op::Events), responses(op::Events), security((), ("bearer" = ["jobs:write"])),
)]
pub(super) async fn events(
    target: Target<Write>,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = target.reader(&app).read_json(&headers, body).await?;
    let (events, from_body) = parse_events(&body, &app.registry.settings().bounds)?;
    app.usage
        .take_reports(target.principal.account(), events.len())?;
    let report_id = report_id(&headers, from_body)?;
    let Answer { job_id, seq, .. } = target.job.apply(Command::Events(events), report_id).await?;
    Ok(Json(EventsAnswer { job_id, seq }).into_response())
}

/// Ask for a job's cancellation
///
/// A built-in worker stops at its next step; another one reads `cancel_requested` in the answer to its
/// next report. A pending job that nobody has started is cancelled at once.
#[utoipa::path(
    post, path = "/jobs/{id}/cancel", operation_id = "cancelJob", tag = "jobs",
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
    delete, path = "/jobs/{id}", operation_id = "removeJob", tag = "jobs",
    params(op::Remove), responses(op::Remove), security((), ("bearer" = ["jobs:write"])),
)]
pub(super) async fn remove(Target { job, .. }: Target<Write>) -> Result<StatusCode, ApiError> {
    job.remove().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a creation asks for: a JSON object, or, with `?kind=K`, the input itself.
async fn read_creation(
    app: &App,
    reader: &BodyReader<'_>,
    query: &Query,
    headers: &HeaderMap,
    body: Body,
) -> Result<(NewJob, Option<Input>), ApiError> {
    let kind = query.get("kind").map(str::to_owned);
    let is_run_here = kind.as_deref().is_some_and(|kind| app.runners.knows(kind));
    let format = match Media::of(headers) {
        Media::Unnamed | Media::Json => InputFormat::Json,
        // Said before megabytes of it are read.
        Media::Text | Media::Csv if kind.is_some() && !is_run_here => {
            return Err(input_for_nobody());
        }
        Media::Text if kind.is_some() => InputFormat::Text,
        Media::Csv if kind.is_some() => InputFormat::Csv,
        _ if kind.is_some() => return Err(unsupported("application/json, text/plain or text/csv")),
        _ => return Err(unsupported("application/json")),
    };
    let json_bytes = reader.limits.json_body_bytes;
    let upload_bytes = reader.limits.upload_bytes;
    let most = if is_run_here {
        upload_bytes.max(json_bytes)
    } else {
        json_bytes
    };
    let body = reader.read(body, most).await?;
    let is_input = kind.is_some() && (format != InputFormat::Json || is_array(&body));
    if is_input {
        if body.len() > upload_bytes {
            return Err(too_large(upload_bytes));
        }
        let input = Input {
            format,
            content: Arc::from(&body[..]),
        };
        return Ok((
            NewJob {
                kind,
                ..NewJob::default()
            },
            Some(input),
        ));
    }
    if body.len() > json_bytes {
        return Err(too_large(json_bytes));
    }
    let mut new_job = NewJob::parse(&body, &app.registry.settings().bounds)?;
    match (&new_job.kind, kind) {
        (Some(in_body), Some(in_query)) if *in_body != in_query => {
            return Err(ApiError::invalid(
                "kind",
                "must not differ from the one in the query",
            ));
        }
        (None, Some(in_query)) => new_job.kind = Some(in_query),
        _ => {}
    }
    Ok((new_job, None))
}

/// The error for an input that no worker of the server would ever read; most likely the kind is mistyped.
fn input_for_nobody() -> ApiError {
    ApiError::invalid("input", "needs a kind that this server runs itself")
}

fn is_array(body: &Bytes) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// The status, where to go on, and a token to watch with, in one flat object; the token is null on an open server.
fn creation_answer(status: StatusCode, job: &Job, watch_token: Option<&str>) -> Response {
    #[derive(Serialize)]
    struct Links {
        stream: String,
        status: String,
        results: String,
        download: String,
    }
    let path = format!("/api/v1/jobs/{}", job.id());
    let links = Links {
        stream: format!("{path}/stream"),
        status: format!("{path}/status"),
        results: format!("{path}/results"),
        download: format!("{path}/download"),
    };
    let links = serde_json::to_string(&links).expect("strings serialize");
    let watch_token = serde_json::to_string(&watch_token).expect("a string serializes");
    let fields = format!("\"links\":{links},\"watch_token\":{watch_token}");
    let body = Status::json_with(&Status(job).to_json(), &fields);
    let headers = [
        (header::LOCATION, path),
        (header::CONTENT_TYPE, "application/json".to_owned()),
        // It holds a token.
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (status, headers, body).into_response()
}
