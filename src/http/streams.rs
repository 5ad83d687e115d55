//! `GET /jobs/{id}/stream`: joining a job as a watcher.

mod body;

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Extension,
    body::Bytes,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request::Parts,
    },
    response::{IntoResponse, Response},
};

use futures_util::FutureExt as _;
use http_body_util::Full;

use super::{
    ApiError, App, ErrorCode, Policy,
    client::Client,
    connection::{ConnectionHandle, HandedOver, asks_to_close, stand_in},
    envelope::panic_text,
    limits::{Holders, Seat},
    openapi::operations as op,
    permit::{PathId, Permit, Watch},
    query::Query,
    views::Spot,
};
use crate::{
    auth::Principal,
    frame::Ending,
    job::Seq,
    metrics::Join,
    registry::{Cursor, JobHandle},
    stream::{Blocks, JobStream, StreamOptions, refusal_block, refusal_through},
    view::{Control, Face, View, Views},
};

use body::{Seated, Streaming, closing};

/// The header that a reconnecting `EventSource` sends (WHATWG HTML, section 9.2.4).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Tells nginx not to buffer the answer.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Watch a job
///
/// Server-sent events: the status first, then every change, to the job's end. The cursor is the last `id`;
/// one that is malformed or unknown is as good as `0`.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/stream", operation_id = "watchJob", tag = "watching",
    params(op::Stream), responses(op::Stream), security((), ("bearer" = ["jobs:read"]), ("token" = ["jobs:read"]), ("ticket" = []), ("cookie" = [])),
)]
pub(super) async fn stream(
    permit: Result<Permit<Watch>, ApiError>,
    Extension(client): Extension<Client>,
    State(app): State<Arc<App>>,
    PathId(job_id): PathId,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let caller = permit.map(|permit| Caller {
        principal: permit.principal,
        policy: permit.policy,
        client,
    });
    watch(&app, caller, Wanted::Job(&job_id), &parts).await
}

/// A stream of one job, or what is said in its place.
pub(super) async fn watch(
    app: &Arc<App>,
    caller: Result<Caller, ApiError>,
    wanted: Wanted<'_>,
    parts: &Parts,
) -> Response {
    let is_head = parts.method == Method::HEAD;
    let query = Query::of(&parts.uri);
    let joining = async { join(app, &caller?, wanted, &query, &parts.headers, is_head).await };
    answer(app, parts, wanted.view(), joining).await
}

/// The answer to a request for a stream, whatever comes of joining it.
pub(super) async fn answer(
    app: &App,
    parts: &Parts,
    view: Option<&Arc<View>>,
    joining: impl Future<Output = Result<Joined, ApiError>>,
) -> Response {
    let headers = &parts.headers;
    let says_keep_alive = parts.version == Version::HTTP_11 && !asks_to_close(headers);
    // Caught here rather than around the router: an `EventSource` is told inside a stream.
    let joined = AssertUnwindSafe(joining)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| {
            tracing::error!(panic = panic_text(&*panic), "joining a stream panicked");
            Err(ApiError::new(ErrorCode::Internal))
        });
    let connection = parts.extensions.get::<ConnectionHandle>();
    // Called for streams alone: other answers leave the connection open.
    let close = || connection.map(ConnectionHandle::close_after_response);
    match joined {
        Ok(Joined::Stream(blocks, seat)) => {
            let blocks = Seated {
                blocks,
                _seat: seat,
            };
            let response = match connection {
                Some(connection) if connection.hands_over() => HandedOver::answer(Box::new(blocks)),
                _ => closing(Streaming(blocks), close()),
            };
            with_stream_headers(response, says_keep_alive)
        }
        Ok(Joined::Head) => with_stream_headers(Response::new(stand_in()), says_keep_alive),
        Ok(Joined::Over) => {
            // What one cursor is answered must not be kept for another one.
            let no_cache = HeaderValue::from_static("no-cache, no-transform");
            (StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, no_cache)]).into_response()
        }
        Err(error) if error.is_passing() && is_event_source(&parts.method, headers) => {
            let retry = app.streams.retry;
            let block = match view {
                Some(view) => refusal_through(view, control_of(error.code()), retry),
                None => refusal_block(error.message(), error.code().as_str(), retry),
            };
            if let Some(cause) = error.cause() {
                tracing::error!(error.code = error.code().as_str(), cause, "stream refused");
            }
            app.metrics.refused(error.code());
            app.metrics.streams.refused();
            let body = Full::new(Bytes::from(block));
            with_stream_headers(closing(body, close()), says_keep_alive)
        }
        Err(error) => error.into_response(),
    }
}

/// Who asks, by which policy, and from where.
pub(super) struct Caller {
    pub(super) principal: Principal,
    /// By which the request is served to its end.
    pub(super) policy: Arc<Policy>,
    pub(super) client: Client,
}

/// What somebody wants to watch.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'r> {
    /// The job of this id.
    Job(&'r str),
    /// Whatever is found where a view has its stream.
    At(&'r Spot<'r>),
}

impl<'r> Wanted<'r> {
    fn view(self) -> Option<&'r Arc<View>> {
        match self {
            Self::Job(_) => None,
            Self::At(spot) => Some(spot.route.view()),
        }
    }

    /// The job; `None` for one that a HEAD does not begin.
    async fn find(
        self,
        app: &App,
        caller: &Caller,
        cursor: Cursor,
        is_head: bool,
    ) -> Result<Option<JobHandle>, ApiError> {
        match self {
            Self::Job(job_id) => {
                let found = app.job(&caller.policy, &caller.principal, job_id).await;
                found.map(Some)
            }
            Self::At(spot) => spot.find(app, caller, Some(cursor), is_head).await,
        }
    }
}

/// What joining came to.
pub(super) enum Joined {
    /// A stream, and its place among all that are open.
    Stream(Box<dyn Blocks>, Seat),
    /// The request is a HEAD: no subscription begins.
    Head,
    /// The watcher has seen the end.
    Over,
}

async fn join(
    app: &Arc<App>,
    caller: &Caller,
    wanted: Wanted<'_>,
    query: &Query,
    headers: &HeaderMap,
    is_head: bool,
) -> Result<Joined, ApiError> {
    let Caller {
        principal,
        policy,
        client,
    } = caller;
    app.refuse_while_draining()?;
    let joining = Joining::read(wanted.view(), query, headers)?;
    let cursor = joining.cursor;
    let Some(job) = wanted.find(app, caller, cursor, is_head).await? else {
        return Ok(Joined::Head);
    };
    if is_head {
        let shown = job.job();
        let is_over = shown.is_finished() && cursor == Cursor::At(shown.seq);
        return Ok(if is_over { Joined::Over } else { Joined::Head });
    }
    let holders = Holders {
        account: principal.account(),
        client: *client,
        job_id: Some(job.id().clone()),
    };
    let seat = app.usage.take_seat(&policy.limits, holders)?;
    joining.attach(app, principal, job, seat).await
}

/// Where a watcher stands and how it watches, as the request says it.
pub(super) struct Joining {
    cursor: Cursor,
    has_visible_heartbeat: bool,
    view: Option<Arc<View>>,
}

impl Joining {
    /// Reads it.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for an unknown sort of heartbeat.
    pub(super) fn read(
        view: Option<&Arc<View>>,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            cursor: read_cursor(headers, query),
            // A view sends no event that it does not define.
            has_visible_heartbeat: view.is_none() && read_heartbeat(query)?,
            view: view.cloned(),
        })
    }

    /// Whether the watcher has seen something of the job already.
    pub(super) fn is_resumed(&self) -> bool {
        is_resumed(self.cursor)
    }

    /// Joins `job`, which is within reach of `principal`, in a seat that is taken.
    ///
    /// # Errors
    /// `JOB_GONE`, `STORE_UNAVAILABLE`.
    pub(super) async fn attach(
        self,
        app: &App,
        principal: &Principal,
        job: JobHandle,
        seat: Seat,
    ) -> Result<Joined, ApiError> {
        let Self { cursor, .. } = self;
        let options = StreamOptions {
            has_visible_heartbeat: self.has_visible_heartbeat,
            expires_in: principal.expires_in(),
            revoked: principal.revoked().map(|revoked| Box::pin(revoked) as _),
            view: self.view,
        };
        let attachment = job.attach_through(options.view.as_ref(), cursor).await?;
        let seq = attachment.snapshot.job.seq;
        let metrics = &app.metrics.streams;
        metrics.joined(match cursor {
            _ if attachment.is_over => Join::Over,
            Cursor::Absent => Join::Fresh,
            Cursor::At(cursor) if cursor <= seq => Join::Resumed,
            Cursor::At(_) | Cursor::Malformed => Join::Malformed,
        });
        if attachment.is_over {
            return Ok(Joined::Over);
        }
        if attachment.snapshot.ending == Some(Ending::Removed) {
            // It was removed between being found and being joined.
            return Err(ApiError::new(ErrorCode::JobGone));
        }
        let settings = Arc::clone(&app.streams);
        let stream = JobStream::new(job, attachment, settings, options, metrics.open());
        Ok(Joined::Stream(Box::new(stream), seat))
    }
}

/// The header wins over the query, where clients put the cursor that cannot set headers.
pub(super) fn read_cursor(headers: &HeaderMap, query: &Query) -> Cursor {
    let in_header = headers
        .get(LAST_EVENT_ID)
        .map(|value| value.to_str().unwrap_or("?"));
    let in_query = ["last_event_id", "lastEventId"].map(|name| query.get(name));
    let mut all = [in_header].into_iter().chain(in_query).flatten();
    match all.find(|cursor| !cursor.is_empty()) {
        Some(cursor) => Cursor::parse(cursor),
        // A client that has seen no id leaves the header out; one that forgot its id must not lose
        // what it has missed.
        None if in_header.is_some() => Cursor::Malformed,
        // An empty value in a query is no value, as pages write it.
        None => Cursor::Absent,
    }
}

/// Whether the watcher has seen something already.
pub(super) fn is_resumed(cursor: Cursor) -> bool {
    matches!(cursor, Cursor::At(seq) if seq > Seq::ZERO)
}

pub(super) fn read_heartbeat(query: &Query) -> Result<bool, ApiError> {
    match query.get("heartbeat") {
        None | Some("comment") => Ok(false),
        Some("event") => Ok(true),
        Some(_) => Err(ApiError::invalid("heartbeat", "must be comment or event")),
    }
}

/// Whether the client is an `EventSource`, which gives up for good on any status but 200. It can only GET: whoever
/// posts reads the status, and to them 200 would say that all went well.
fn is_event_source(method: &Method, headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT);
    method == Method::GET && accept.is_some_and(|accept| accept == "text/event-stream")
}

/// How a view says a refusal that passes, when it has words for that.
fn control_of(code: ErrorCode) -> Option<Control> {
    match code {
        ErrorCode::Draining => Some(Control::Drain),
        ErrorCode::Internal | ErrorCode::StoreUnavailable => Some(Control::Internal),
        _ => None,
    }
}

/// Whether an `EventSource` asks for a job's stream, and nothing else.
pub(super) fn is_asked_by_event_source(request: &Request, views: &Views) -> bool {
    let is_stream = || {
        let path = request.uri().path();
        let id = path.strip_prefix("/api/v1/jobs/");
        let id = id.and_then(|rest| rest.strip_suffix("/stream"));
        let is_of_job = id.is_some_and(|id| !id.is_empty() && !id.contains('/'));
        let is_of_view = || {
            let route = views.at(path);
            route.is_some_and(|route| route.face == Face::Stream)
        };
        path == "/api/v1/stream" || is_of_job || is_of_view()
    };
    is_event_source(request.method(), request.headers()) && is_stream()
}

fn with_stream_headers(mut response: Response, says_keep_alive: bool) -> Response {
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
    if says_keep_alive {
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    response
}
