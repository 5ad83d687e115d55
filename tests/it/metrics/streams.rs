//! Streams: how many are open, how they joined, what they were sent, and how each ended.

use std::{
    task::{Context, Waker},
    time::Instant,
};

use jsonwebtoken::get_current_timestamp;
use progressd::{
    job::{Command, JobId, parse_events},
    metrics::{Meter, StreamMetrics},
    registry::Cursor,
    stream::{Blocks as _, JobStream, StreamOptions, StreamSettings},
};
use reqwest::Method;
use serde_json::{Value, json};

use super::until;
use crate::support::{
    people,
    scrape::Scrape,
    server::TestServer,
    sse::SseStream,
    staged_store::{Fate, StagedStore},
};

const PATH: &str = "/api/v1/jobs/j/stream";

/// Every reason in alphabetical order, with how often a stream has ended by it.
fn ends(scrape: &Scrape) -> Vec<(String, f64)> {
    let samples = scrape.samples().iter();
    let of_ends = samples.filter(|sample| sample.metric == "progressd_stream_ends_total");
    let reason = |sample: &prometheus_parse::Sample| {
        let reason = sample.labels.get("reason").expect("a reason").to_owned();
        let count = scrape.value("progressd_stream_ends_total", &[("reason", &reason)]);
        (reason, count)
    };
    let mut ends: Vec<_> = of_ends
        .map(reason)
        .filter(|(_, count)| *count > 0.0)
        .collect();
    ends.sort_by(|left, right| left.0.cmp(&right.0));
    ends
}

/// Waits until no stream is open; exactly one has ended, by this.
async fn expect_end(server: &TestServer, reason: &str) {
    let scrape = until(server, "the end of the stream", |scrape| {
        scrape.sum("progressd_stream_ends_total") > 0.0
    })
    .await;
    assert_eq!(ends(&scrape), [(reason.to_owned(), 1.0)]);
    assert_eq!(scrape.value("progressd_streams_open", &[]), 0.0);
}

/// Those of the default configuration.
fn stream_settings() -> StreamSettings {
    let config = progressd::config::Config::from_toml("").expect("the defaults");
    config.stream.settings()
}

async fn server_with_job(toml: &str) -> (TestServer, SseStream) {
    let server = TestServer::with(toml).await;
    server.create(json!({"job_id": "j"})).await;
    let mut stream = server.watch("j").await;
    stream.next_status().await;
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.value("progressd_streams_open", &[]), 1.0);
    assert_eq!(ends(&scrape), []);
    (server, stream)
}

#[tokio::test]
async fn one_ends_with_its_job() {
    let (server, mut stream) = server_with_job("").await;
    server.report("j", json!({"status": "completed"})).await;
    stream.rest().await;
    expect_end(&server, "finished").await;
    server.watch("j").await.rest().await;
    let finished = [("reason", "finished")];
    until(
        &server,
        "the end of a stream that was one block",
        |scrape| scrape.value("progressd_stream_ends_total", &finished) == 2.0,
    )
    .await;
}

#[tokio::test]
async fn one_ends_since_its_job_is_removed() {
    let (server, mut stream) = server_with_job("").await;
    server.delete("/api/v1/jobs/j").await;
    stream.rest().await;
    expect_end(&server, "removed").await;
}

#[tokio::test]
async fn one_ends_since_it_has_lasted_long_enough() {
    let (server, mut stream) = server_with_job("stream.max_duration_seconds = 1").await;
    stream.rest().await;
    expect_end(&server, "timeout").await;
}

#[tokio::test]
async fn one_ends_since_the_server_shuts_down_and_the_next_is_refused() {
    let (server, mut stream) = server_with_job("").await;
    server.registry().drain();
    stream.rest().await;
    expect_end(&server, "draining").await;
    let request = server.request(Method::GET, PATH);
    let mut refused = SseStream::open(request.header("accept", "text/event-stream")).await;
    assert_eq!(refused.next().await.json()["code"], "DRAINING");
    refused.expect_end().await;
    let scrape = Scrape::of(&server).await;
    assert_eq!(
        ends(&scrape),
        [("draining".to_owned(), 1.0), ("refused".to_owned(), 1.0)]
    );
    let draining = [("code", "DRAINING")];
    assert_eq!(scrape.value("progressd_refusals_total", &draining), 1.0);
    assert_eq!(scrape.value("progressd_streams_open", &[]), 0.0);
}

#[tokio::test]
async fn one_ends_with_its_token() {
    let server = TestServer::with(&people::configuration()).await;
    server
        .as_bearer("key-ann")
        .create(json!({"job_id": "j"}))
        .await;
    let claims = json!({"sub": "ann", "exp": get_current_timestamp() + 2});
    let mut stream = server.as_bearer(&people::token(&claims)).watch("j").await;
    stream.rest().await;
    expect_end(&server.as_bearer("key-admin"), "token_expired").await;
}

#[tokio::test]
async fn many_whose_clients_leave_are_counted_and_nothing_stays_open() {
    let (server, stream) = server_with_job("").await;
    let mut streams = vec![stream];
    for _ in 1..20 {
        streams.push(server.watch("j").await);
    }
    for stream in &mut streams[1..] {
        stream.next_status().await;
    }
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.value("progressd_streams_open", &[]), 20.0);
    assert!(scrape.value("progressd_connections_open", &[]) > 20.0);
    drop(streams);
    let scrape = until(&server, "the end of every stream", |scrape| {
        // The one connection that is left is the one that asks.
        scrape.value("progressd_streams_open", &[]) == 0.0
            && scrape.value("progressd_connections_open", &[]) == 1.0
    })
    .await;
    assert_eq!(ends(&scrape), [("client_gone".to_owned(), 20.0)]);
}

#[tokio::test]
async fn joins_are_counted_by_their_cursor_and_blocks_by_their_delivery() {
    let (server, mut stream) = server_with_job("stream.update_interval_ms = 0").await;
    let event = json!({"event": "a", "data": 1});
    server.post("/api/v1/jobs/j/events", event).await;
    stream.next().await;
    drop(stream);
    server.resume("j", "0").await.next().await;
    server.resume("j", "later").await.next().await;
    let end = server.report("j", json!({"status": "completed"})).await;
    server.resume("j", &end["seq"].to_string()).await;
    // A HEAD is no watcher.
    let head = server.request(Method::HEAD, PATH).send().await;
    assert!(head.is_ok());
    let scrape = Scrape::of(&server).await;
    for cursor in ["fresh", "resumed", "malformed", "over"] {
        let labels = [("cursor", cursor)];
        assert_eq!(
            scrape.value("progressd_joins_total", &labels),
            1.0,
            "{cursor}"
        );
    }
    // The status and the event, one after the other, then both together twice. What else the two
    // that left were given before they were noticed is open.
    assert!(scrape.value("progressd_frames_total", &[]) >= 6.0);
}

#[tokio::test]
async fn whoever_falls_behind_is_counted_and_so_is_who_cannot_catch_up() {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), "").await;
    server.create(json!({"job_id": "j"})).await;
    let job_id = JobId::parse("j").expect("a name");
    let job = server.registry().find(&job_id).await.expect("the job");
    let meter = Meter::new();
    let metrics = StreamMetrics::new(&meter);
    let settings = stream_settings();
    let attachment = job.attach(Cursor::Absent).await.expect("it answers");
    let options = StreamOptions::default();
    let mut stream = JobStream::new(job.clone(), attachment, settings, options, metrics.open());
    let mut context = Context::from_waker(Waker::noop());
    let mut poll = || stream.poll_next(&mut context);
    assert!(poll().is_ready());
    let events = Value::from(vec![json!({"event": "line", "data": 1}); 1_000]);
    let bounds = server.registry().settings().bounds;
    let events = parse_events(events.to_string().as_bytes(), &bounds);
    let events = events.expect("events").0;
    // More in all than the frames that are kept for a reader.
    for _ in 0..9 {
        let command = Command::Events(events.clone());
        job.apply(command, None).await.expect("they are applied");
    }
    store.every_call(Fate::Failed);
    assert!(poll().is_ready(), "the last block");
    drop(stream);
    let scrape = Scrape::read(meter.render());
    assert_eq!(scrape.value("progressd_lagged_total", &[]), 1.0);
    assert_eq!(ends(&scrape), [("internal".to_owned(), 1.0)]);
    assert_eq!(scrape.value("progressd_frames_total", &[]), 2.0);
}

#[tokio::test]
async fn the_lag_is_that_of_what_was_delivered_and_not_of_what_was_left_out() {
    let server = TestServer::with("stream.update_interval_ms = 0").await;
    server.create(json!({"job_id": "j"})).await;
    let job_id = JobId::parse("j").expect("a name");
    let job = server.registry().find(&job_id).await.expect("the job");
    let meter = Meter::new();
    let metrics = StreamMetrics::new(&meter);
    let mut context = Context::from_waker(Waker::noop());
    // One in 16 is timed.
    let mut streams = Vec::new();
    for _ in 0..16 {
        let attachment = job.attach(Cursor::Absent).await.expect("it answers");
        let (settings, options) = (stream_settings(), StreamOptions::default());
        let open = metrics.open();
        let mut stream = JobStream::new(job.clone(), attachment, settings, options, open);
        assert!(stream.poll_next(&mut context).is_ready());
        streams.push(stream);
    }
    let report = async |count| server.report("j", json!({"processed_count": count})).await;
    for count in 1..=20 {
        report(count).await;
    }
    let newest = Instant::now();
    report(21).await;
    for stream in &mut streams {
        assert!(stream.poll_next(&mut context).is_ready());
    }
    let longest = newest.elapsed().as_secs_f64();
    let scrape = Scrape::read(meter.render());
    assert_eq!(scrape.value("progressd_frames_total", &[]), 32.0);
    assert_eq!(
        scrape.value("progressd_delivery_lag_seconds_count", &[]),
        1.0
    );
    let lag = scrape.value("progressd_delivery_lag_seconds_sum", &[]);
    assert!(lag <= longest, "{lag} of at most {longest}");
}
