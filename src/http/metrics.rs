//! `GET /metrics`, and what requests count.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use strum::{IntoStaticStr, VariantArray};

use super::{
    App, ErrorCode,
    openapi::operations as op,
    permit::{Admin, Permit},
};
use crate::{
    job::State as JobState,
    metrics::{Counters, Gauge, Histograms, Meter, StreamMetrics, TEXT_FORMAT, WorkState},
    runner::Runners,
};

/// What requests count, and what is asked when somebody reads the metrics.
#[derive(Debug)]
pub struct Metrics {
    /// What streams count.
    pub streams: Arc<StreamMetrics>,
    meter: Meter,
    requests: Vec<(MethodClass, Counters<StatusClass>)>,
    request_seconds: Histograms<AnswerKind>,
    refusals: Counters<ErrorCode>,
    jobs: [(JobState, Gauge); JobState::ALL.len()],
    jobs_limit: Gauge,
    watchers: Gauge,
    watchers_limit: Gauge,
    body_bytes: Gauge,
    body_bytes_limit: Gauge,
    runner_jobs: Vec<(&'static str, WorkState, Gauge)>,
}

/// How the head of an answer came about, so that waiting on purpose does not look slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(super) enum AnswerKind {
    /// At once; the rest of a long answer may take longer.
    Plain,
    /// A poll was asked to wait.
    Wait,
    /// A stream begins.
    Stream,
}

/// A method as a label; what a client makes up counts as other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "UPPERCASE")]
enum MethodClass {
    Get,
    Post,
    Patch,
    Delete,
    Head,
    Options,
    #[strum(serialize = "other")]
    Other,
}

/// The first digit of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
enum StatusClass {
    #[strum(serialize = "2xx")]
    Success,
    #[strum(serialize = "3xx")]
    Redirection,
    #[strum(serialize = "4xx")]
    ClientError,
    #[strum(serialize = "5xx")]
    ServerError,
}

/// Metrics
///
/// In the text format of Prometheus. On `server.admin_listen` alone, without a credential, when that is set.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    tag = "server",
    params(op::Metrics),
    responses(op::Metrics),
    security((), ("bearer" = ["admin"]))
)]
pub(super) async fn metrics(_: Permit<Admin>, State(app): State<Arc<App>>) -> Response {
    scrape(&app).await
}

/// `GET /metrics` on the address for operators.
pub(super) async fn open_metrics(State(app): State<Arc<App>>) -> Response {
    scrape(&app).await
}

async fn scrape(app: &App) -> Response {
    let metrics = &app.metrics;
    match app.registry.counts().await {
        Ok(counts) => {
            for (state, gauge) in &metrics.jobs {
                gauge.set(counts.of(*state) as f64);
            }
        }
        // Everything else is worth reading all the more.
        Err(error) => tracing::warn!(%error, "the jobs could not be counted"),
    }
    metrics
        .jobs_limit
        .set(app.registry.settings().max_jobs as f64);
    let (usage, limits) = (&app.usage, &app.policy().limits);
    for (gauge, number) in [
        (&metrics.watchers, usage.seats_taken()),
        (&metrics.watchers_limit, limits.max_streams),
        (&metrics.body_bytes, usage.body_bytes_held()),
        (&metrics.body_bytes_limit, limits.bodies_in_flight_bytes),
    ] {
        gauge.set(number as f64);
    }
    for (kind, state, gauge) in &metrics.runner_jobs {
        let load = app.runners.load(kind);
        gauge.set(match state {
            WorkState::Queued => load.queued as f64,
            WorkState::Running => load.running as f64,
        });
    }
    let headers = [
        (header::CONTENT_TYPE, TEXT_FORMAT),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, metrics.meter.render()).into_response()
}

impl Metrics {
    /// Registers everything that requests count, and gauges for what `runners` do.
    pub fn new(meter: Meter, runners: &Runners) -> Self {
        let requests = |method: &MethodClass| {
            let name: &'static str = (*method).into();
            let counters = meter.counters_beside(
                "requests_total",
                "Requests that were answered, by method and status.",
                ("method", name),
                "status",
            );
            (*method, counters)
        };
        let jobs = |state: JobState| {
            let gauge =
                meter.gauge_with("jobs", "Jobs that are kept.", &[("status", state.as_str())]);
            (state, gauge)
        };
        let runner_jobs = |kind: &'static str| {
            WorkState::VARIANTS
                .iter()
                .map(|state| {
                    let labels = [("kind", kind), ("state", (*state).into())];
                    let help = "Jobs of built-in workers that wait or are worked on.";
                    (kind, *state, meter.gauge_with("runner_jobs", help, &labels))
                })
                .collect::<Vec<_>>()
        };
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        meter
            .gauge_with("build_info", "Always 1.", &version)
            .set(1.0);
        Self {
            streams: StreamMetrics::new(&meter),
            requests: MethodClass::VARIANTS.iter().map(requests).collect(),
            request_seconds: meter.histograms(
                "request_seconds",
                "From a request's head to its answer's head.",
                "answer",
            ),
            refusals: meter.counters(
                "refusals_total",
                "Errors told to clients, in answers, streams and lines of reports.",
                "code",
            ),
            jobs: JobState::ALL.map(jobs),
            jobs_limit: meter.gauge("jobs_limit", "Unfinished jobs that may be kept."),
            watchers: meter.gauge("watchers", "Streams and waiting polls that are open."),
            watchers_limit: meter.gauge(
                "watchers_limit",
                "Streams and waiting polls that may be open at a time.",
            ),
            body_bytes: meter.gauge("body_bytes", "Bytes of request bodies that are held."),
            body_bytes_limit: meter.gauge(
                "body_bytes_limit",
                "Bytes of request bodies that may be held at a time.",
            ),
            runner_jobs: runners.kinds().flat_map(runner_jobs).collect(),
            meter,
        }
    }

    /// A client was told an error.
    pub(super) fn refused(&self, code: ErrorCode) {
        self.refusals.of(code).increment(1);
    }

    /// The head of an answer is ready, so long after the request's.
    pub(super) fn answered(
        &self,
        method: &Method,
        status: StatusCode,
        kind: AnswerKind,
        time: Duration,
    ) {
        let class = MethodClass::of(method);
        let requests = self.requests.iter().find(|(known, _)| *known == class);
        if let Some((_, counters)) = requests {
            counters.of(StatusClass::of(status)).increment(1);
        }
        self.request_seconds.of(kind).record(time);
    }
}

impl MethodClass {
    fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::POST => Self::Post,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            Method::HEAD => Self::Head,
            Method::OPTIONS => Self::Options,
            _ => Self::Other,
        }
    }
}

impl StatusClass {
    fn of(status: StatusCode) -> Self {
        match status.as_u16() / 100 {
            // An answer of ours is never an interim one.
            0..=2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

impl AnswerKind {
    /// That of an answer; who waits says so among its extensions.
    pub(super) fn of(response: &Response) -> Self {
        if let Some(kind) = response.extensions().get::<Self>() {
            return *kind;
        }
        let media = response.headers().get(header::CONTENT_TYPE);
        if media.is_some_and(|media| media == "text/event-stream") {
            Self::Stream
        } else {
            Self::Plain
        }
    }
}
