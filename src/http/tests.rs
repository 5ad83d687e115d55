//! A server for tests of what takes long, on a clock of their own.

use std::{convert::Infallible, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, header},
    response::Response,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_service::Service as _;

use super::*;
use crate::{
    config::Config,
    job::{Bounds, Defaults, JobId, NewJob},
    metrics::{Meter, RegistryMetrics},
    registry::{JobHandle, Registry, Settings},
    runner::Runners,
    store::{Memory, MemoryLimits},
};

/// A server over an empty memory; the guard ends what runs behind it.
pub(super) fn app(settings: &str) -> (Arc<App>, DropGuard) {
    let config = Config::from_toml(settings).expect("valid settings");
    let timers = CancellationToken::new();
    let store = Arc::new(Memory::new(MemoryLimits {
        events_per_job: 1,
        event_bytes_per_job: 1,
        event_bytes: 1,
        finished_jobs: 1,
        row_bytes: 1,
    }));
    let settings = Settings {
        bounds: Bounds::default(),
        defaults: Defaults {
            lease_seconds: 0,
            ttl_seconds: 60,
            abandon_after_seconds: 0,
        },
        update_interval: Duration::ZERO,
        max_jobs: 1,
        gone_seconds: 60,
        check_interval: Duration::from_secs(1),
    };
    let meter = Meter::new();
    let runners = Runners::new(&config.runner);
    let metrics = RegistryMetrics::new(&meter);
    let app = App {
        registry: Registry::start(store.clone(), settings, metrics, timers.clone()),
        metrics: Metrics::new(meter, &runners),
        has_admin_listener: false,
        runners,
        policy: ArcSwap::from_pointee(Policy::new(&config)),
        passes: Passes::new(store),
        usage: Usage::new(&config.limits),
        views: config.views.clone(),
        streams: Arc::new(config.stream.settings()),
    };
    (Arc::new(app), timers.drop_guard())
}

/// The job `a` of it.
pub(super) async fn job(app: &App) -> JobHandle {
    let new_job = NewJob {
        job_id: JobId::parse("a").ok(),
        ..NewJob::default()
    };
    let created = app.registry.create(new_job, None, None, None).await;
    created.expect("there is room for a job").0
}

/// Sends a request to it.
pub(super) async fn send(app: &Arc<App>, mut request: Request<Body>) -> Response {
    let host = HeaderValue::from_static("localhost");
    request.headers_mut().insert(header::HOST, host);
    let answer: Result<_, Infallible> = router(Arc::clone(app)).call(request).await;
    answer.expect("the router answers always")
}
