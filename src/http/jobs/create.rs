//! `POST /jobs`: creating a job, and watching it in the same request.
//!
//! A client that talks to such services through `fetch` has one address: it posts the work and reads the stream
//! of it as the answer. Cut off, it posts the same again with the last id, and goes on where it was. So both
//! answers have one beginning, [`Creation`], which refuses before anything is made, and the stream is joined like
//! any other.

use std::{panic::resume_unwind, sync::Arc};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tracing::Instrument as _;

use super::super::{
    ApiError, App, ErrorCode,
    accept::prefers_stream,
    body::{BodyReader, Media, report_id, too_large, unsupported},
    client::Client,
    limits::Holders,
    openapi::operations as op,
    permit::{Permit, Read, Write},
    query::Query,
    streams::{self, Joining},
    tickets::bond_of,
};
use crate::{
    config::AuthMode,
    job::{Job, JobId, NewJob, ReportId, Status},
    registry::JobHandle,
    store::{Input, InputFormat},
};

/// A job that is asked for, and that nothing in the request stands against.
struct Creation {
    new_job: NewJob,
    input: Option<Input>,
    owner: Option<String>,
    /// The client's own name for the request.
    key: Option<ReportId>,
    is_run_here: bool,
}

/// A job that is there now.
struct Made {
    job: JobHandle,
    /// Whether it was not there before.
    is_new: bool,
}

/// Create a job
///
/// Every field may be left out. When `kind` names a built-in worker the server runs the job itself on
/// `input`; with `?kind=` the body may be that input. The same `job_id` or `Idempotency-Key` with the same
/// body, by the same owner: 200 and the job as it is, or 410 when that is gone; otherwise 409 `JOB_EXISTS`,
/// and nothing of the job. A gone `job_id` may be created anew.
///
/// A request that prefers `text/event-stream` in `Accept` is answered with the job's stream. It needs
/// `jobs:read` besides, and a `job_id` or an `Idempotency-Key`: the same request again finds the job, and with
/// the last id goes on behind that. Refusals have their status codes. Whoever leaves cancels nothing.
#[utoipa::path(
    post, path = "/api/v1/jobs", operation_id = "createJob", tag = "jobs",
    params(op::Create), responses(op::Create), security((), ("bearer" = ["jobs:write"])),
)]
pub(in crate::http) async fn create(
    permit: Permit<Write>,
    Extension(client): Extension<Client>,
    State(app): State<Arc<App>>,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    if prefers_stream(&parts.headers) {
        return Ok(create_and_watch(&app, &permit, client, &query, &parts, body).await);
    }
    app.refuse_while_draining()?;
    let creation = Creation::read(&app, &permit, &query, &parts.headers, body).await?;
    // Before the job is there: nobody needs one whose watch token cannot be made.
    let mint = match permit.policy.authenticator.mode() {
        AuthMode::Open => None,
        AuthMode::Keys => Some(app.passes.mint(app.registry.now()).await?),
    };
    let made = creation.carry_out(&app).await?;
    let job = made.job.job();
    let now = app.registry.now().as_seconds();
    let watch_token = mint.map(|mint| mint.watch_token(&bond_of(&job.origin), now));
    Ok(creation_answer(made.status(), &job, watch_token.as_deref()))
}

/// The job's stream as the answer; nothing is made before it is sure that there is a seat for its watcher.
async fn create_and_watch(
    app: &Arc<App>,
    permit: &Permit<Write>,
    client: Client,
    query: &Query,
    parts: &Parts,
    body: Body,
) -> Response {
    let mut found = None;
    let joining = async {
        permit.also_needs::<Read>()?;
        app.refuse_while_draining()?;
        let joining = Joining::read(None, query, &parts.headers)?;
        let creation = Creation::read(app, permit, query, &parts.headers, body).await?;
        let wanted = creation.new_job.job_id.clone();
        if wanted.is_none() && creation.key.is_none() {
            return Err(ApiError::invalid(
                "job_id",
                "must be given, or an Idempotency-Key, when a stream is the answer: a request that is sent again \
                 would create another job",
            ));
        }
        let principal = &permit.principal;
        if let Some(job_id) = &wanted
            && joining.is_resumed()
        {
            // Its watcher goes on, and begins nothing anew when it was removed meanwhile.
            let found = app.job(&permit.policy, principal, job_id.as_str()).await;
            let gone = found
                .err()
                .filter(|error| error.code() == ErrorCode::JobGone);
            gone.map_or(Ok(()), Err)?;
        }
        let holders = Holders {
            account: principal.account(),
            client,
            job_id: wanted.clone(),
        };
        let limits = &permit.policy.limits;
        let mut seat = app.usage.take_seat(limits, holders)?;
        let made = creation.carry_out(app).await?;
        if wanted.is_none() {
            // Whoever has made the job is never one too many.
            let limits = (!made.is_new).then_some(limits);
            app.usage.place(&mut seat, made.job.id(), limits)?;
        }
        found = Some((path_of(made.job.id()), made.status()));
        joining.attach(app, principal, made.job, seat).await
    };
    let mut response = streams::answer(app, parts, None, joining).await;
    if let Some((path, status)) = found
        && response.status().is_success()
    {
        if response.status() == StatusCode::OK {
            *response.status_mut() = status;
        }
        if let Ok(path) = HeaderValue::from_str(&path) {
            response.headers_mut().insert(header::LOCATION, path);
        }
    }
    response
}

impl Creation {
    /// Reads what is asked for, and asks everybody who may refuse it but the registry.
    async fn read(
        app: &App,
        permit: &Permit<Write>,
        query: &Query,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Self, ApiError> {
        let (mut new_job, mut input) =
            read_body(app, &permit.reader(app), query, headers, body).await?;
        new_job.check(&app.registry.settings().bounds)?;
        let runner = new_job
            .kind
            .as_deref()
            .filter(|kind| app.runners.knows(kind));
        let is_run_here = runner.is_some();
        if let Some(kind) = runner {
            new_job.unit = new_job
                .unit
                .take()
                .or_else(|| app.runners.unit(kind).map(str::to_owned));
        } else if new_job.input.is_some() || input.is_some() {
            return Err(input_for_nobody());
        }
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
                ApiError::new(ErrorCode::Forbidden)
                    .because("A job is created for its creator alone")
            })?;
        Ok(Self {
            key: report_id(headers, None)?,
            new_job,
            input,
            owner,
            is_run_here,
        })
    }

    /// Makes the job and puts it into its runner's queue, or finds the one that the same request made before.
    ///
    /// In a task of its own: a client that leaves halfway would otherwise leave a job behind that is stored and
    /// that nobody does.
    async fn carry_out(self, app: &Arc<App>) -> Result<Made, ApiError> {
        let app = Arc::clone(app);
        let making = async move {
            let (new_job, key) = (self.new_job, self.key.as_ref());
            let created = app.registry.create(new_job, self.owner, key, self.input);
            let (job, is_new) = created.await?;
            if is_new && self.is_run_here {
                app.runners.start(job.clone());
            }
            Ok(Made { job, is_new })
        };
        let ended = match tokio::spawn(making.in_current_span()).await {
            Ok(made) => return made,
            Err(ended) => ended,
        };
        match ended.try_into_panic() {
            // Answered, and told to the log, where every handler's is.
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(ApiError::new(ErrorCode::Draining)),
        }
    }
}

impl Made {
    fn status(&self) -> StatusCode {
        match self.is_new {
            true => StatusCode::CREATED,
            false => StatusCode::OK,
        }
    }
}

/// What a creation asks for: a JSON object, or, with `?kind=K`, the input itself.
async fn read_body(
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
    let path = path_of(job.id());
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

fn path_of(job_id: &JobId) -> String {
    format!("/api/v1/jobs/{job_id}")
}
