//! How silence ends a request, on a clock of the test's own.

use arc_swap::ArcSwap;
use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, Method, StatusCode},
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_service::Service as _;

use super::*;
use crate::{
    config::Config,
    http::{Metrics, Passes, Policy, Usage, router},
    job::{Bounds, Defaults},
    metrics::{Meter, RegistryMetrics},
    registry::{Registry, Settings},
    runner::Runners,
    store::{Memory, MemoryLimits},
    stream::StreamSettings,
};

/// The routes over an empty memory; the guard ends what runs behind them.
fn app() -> (Router, DropGuard) {
    let config = Config::from_toml("").expect("the defaults are valid");
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
        streams: StreamSettings {
            retry: config.stream.retry(),
            heartbeat: config.stream.heartbeat(),
            max_duration: config.stream.max_duration(),
            drain: config.stream.drain(),
        },
    };
    (router(Arc::new(app)), timers.drop_guard())
}

/// The answer to pieces that come one by one, this many seconds apart, and then nothing more;
/// and for how many seconds the request stayed open.
async fn silent_after(pieces: &'static [&'static str], seconds: u64) -> (Vec<Value>, u64) {
    let (mut app, _timers) = app();
    let pieces = stream::iter(pieces).then(move |piece| async move {
        sleep(Duration::from_secs(seconds)).await;
        Ok::<_, Infallible>(Bytes::from_static(piece.as_bytes()))
    });
    let mut request = Request::new(Body::from_stream(pieces.chain(stream::pending())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "/api/v1/reports".parse().expect("a path");
    let host = HeaderValue::from_static("localhost");
    request.headers_mut().insert(header::HOST, host);
    let begun = Instant::now();
    let response = app.call(request).await.expect("the router answers always");
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.expect("a whole body");
    let text = String::from_utf8(body.to_bytes().to_vec()).expect("text");
    let lines = text.lines().map(serde_json::from_str);
    let lines = lines.collect::<Result<_, _>>().expect("lines of JSON");
    (lines, begun.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn five_minutes_of_silence_end_the_request() {
    let (lines, seconds) = silent_after(&[], 0).await;
    assert_eq!(lines, [json!({"accepted": 0, "refused": 0})]);
    assert_eq!(seconds, 300);
}

#[tokio::test(start_paused = true)]
async fn blank_lines_and_halves_of_lines_keep_it_alive() {
    let (lines, seconds) = silent_after(&["\n", "\r\n", "{", "}", "\n"], 299).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["line"], 3);
    assert_eq!(lines[1], json!({"accepted": 0, "refused": 1}));
    assert_eq!(seconds, 5 * 299 + 300);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_never_ended_is_not_taken() {
    let (lines, _) = silent_after(&["{\"job_id\":"], 1).await;
    assert_eq!(lines, [json!({"accepted": 0, "refused": 0})]);
}
