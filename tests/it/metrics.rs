//! What operators measure: each series, who may read them, and what they never hold.

mod access;
mod streams;

use prometheus_parse::Value;
use reqwest::Method;
use serde_json::json;

use crate::support::{
    in_time, people,
    scrape::Scrape,
    server::{Answer, TestServer},
    staged_store::{Fate, StagedStore},
};

/// Waits until the metrics say so.
async fn until(server: &TestServer, what: &str, holds: impl Fn(&Scrape) -> bool) -> Scrape {
    let waiting = async {
        loop {
            let scrape = Scrape::of(server).await;
            if holds(&scrape) {
                return scrape;
            }
            tokio::task::yield_now().await;
        }
    };
    in_time(what, waiting).await
}

#[tokio::test]
async fn every_series_is_there_from_the_start_with_its_help_and_type() {
    let server = TestServer::start().await;
    let answer = server.get("/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
    let scrape = Scrape::read(answer.text);
    assert!(scrape.samples().len() > 100);
    for sample in scrape.samples() {
        let name = &sample.metric;
        assert!(name.starts_with("progressd_"), "{name}");
        let of_a_histogram = name.strip_suffix("_sum").or(name.strip_suffix("_count"));
        let described = of_a_histogram.unwrap_or(name);
        assert!(
            scrape.text.contains(&format!("# HELP {described} ")),
            "{name}"
        );
        assert!(
            scrape.text.contains(&format!("# TYPE {described} ")),
            "{name}"
        );
        if of_a_histogram.is_none() {
            assert!(!matches!(sample.value, Value::Untyped(_)), "{name}");
        }
    }
    for (name, labels) in [
        ("progressd_jobs", &[("status", "pending")][..]),
        ("progressd_reports_total", &[("outcome", "accepted")]),
        ("progressd_frames_total", &[]),
        ("progressd_streams_open", &[]),
        ("progressd_stream_ends_total", &[("reason", "client_gone")]),
        ("progressd_refusals_total", &[("code", "RATE_LIMITED")]),
        ("progressd_joins_total", &[("cursor", "over")]),
        ("progressd_lagged_total", &[]),
        ("progressd_delivery_lag_seconds", &[]),
        ("progressd_store_errors_total", &[("operation", "commit")]),
        (
            "progressd_runner_jobs",
            &[("kind", "demo"), ("state", "queued")],
        ),
        (
            "progressd_requests_total",
            &[("method", "other"), ("status", "5xx")],
        ),
    ] {
        assert_eq!(scrape.value(name, labels), 0.0, "{name}");
    }
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(scrape.value("progressd_build_info", &version), 1.0);
    assert!(scrape.value("progressd_connections_limit", &[]) > 0.0);
    assert_eq!(scrape.value("progressd_jobs_limit", &[]), 1_000_000.0);
    assert!(scrape.value("progressd_process_resident_memory_bytes", &[]) > 0.0);
}

#[tokio::test]
async fn jobs_are_counted_by_state_through_their_whole_life() {
    let server = TestServer::start().await;
    let states = async || {
        let scrape = Scrape::of(&server).await;
        ["pending", "processing", "completed", "failed", "cancelled"]
            .map(|state| scrape.value("progressd_jobs", &[("status", state)]))
    };
    for job_id in ["a", "b", "c", "d"] {
        server
            .create(json!({"job_id": job_id, "ttl_seconds": 3_600}))
            .await;
    }
    assert_eq!(states().await, [4.0, 0.0, 0.0, 0.0, 0.0]);
    for job_id in ["a", "b"] {
        server.report(job_id, json!({"processed_count": 1})).await;
    }
    assert_eq!(states().await, [2.0, 2.0, 0.0, 0.0, 0.0]);
    server.report("a", json!({"status": "completed"})).await;
    server.report("b", json!({"status": "failed"})).await;
    server.post("/api/v1/jobs/c/cancel", json!({})).await;
    assert_eq!(states().await, [1.0, 0.0, 1.0, 1.0, 1.0]);
    for job_id in ["a", "d"] {
        server.delete(&format!("/api/v1/jobs/{job_id}")).await;
    }
    assert_eq!(states().await, [0.0, 0.0, 0.0, 1.0, 1.0]);
    server
        .create(json!({"job_id": "e", "ttl_seconds": 1}))
        .await;
    server.report("e", json!({"status": "completed"})).await;
    until(&server, "the end of its retention", |scrape| {
        scrape.value("progressd_jobs", &[("status", "completed")]) == 0.0
    })
    .await;
}

#[tokio::test]
async fn reports_events_and_refusals_are_counted_once_each() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "j"})).await;
    server
        .report("j", json!({"processed_count": 1, "report_id": "once"}))
        .await;
    server
        .report("j", json!({"processed_count": 1, "report_id": "once"}))
        .await;
    server.report("j", json!({})).await;
    let events = json!([{"event": "a", "data": 1}, {"event": "b", "data": 2}]);
    server.post("/api/v1/jobs/j/events", events).await;
    let lines = "{\"job_id\":\"j\"}\n{\"job_id\":\"no\"}\nno json\n{\"job_id\":\"j\",\"status\":\"completed\"}\n{\"job_id\":\"j\"}\n";
    let request = server.request(Method::POST, "/api/v1/reports").body(lines);
    Answer::of(request).await;
    let request = server.request(Method::HEAD, "/api/v1/jobs/no");
    Answer::of(request).await;
    let scrape = Scrape::of(&server).await;
    for (outcome, count) in [("accepted", 4.0), ("refused", 1.0)] {
        let labels = [("outcome", outcome)];
        assert_eq!(scrape.value("progressd_reports_total", &labels), count);
    }
    assert_eq!(scrape.value("progressd_events_total", &[]), 2.0);
    for (code, count) in [
        ("JOB_NOT_FOUND", 2.0),
        ("INVALID_REQUEST", 1.0),
        ("JOB_FINISHED", 1.0),
    ] {
        let labels = [("code", code)];
        assert_eq!(
            scrape.value("progressd_refusals_total", &labels),
            count,
            "{code}"
        );
    }
    assert_eq!(scrape.sum("progressd_refusals_total"), 4.0);
    let head = [("method", "HEAD"), ("status", "4xx")];
    assert_eq!(scrape.value("progressd_requests_total", &head), 1.0);
    assert_eq!(scrape.sum("progressd_requests_total"), 7.0);
    let plain = [("answer", "plain")];
    assert_eq!(scrape.value("progressd_request_seconds_count", &plain), 7.0);
}

#[tokio::test]
async fn a_poll_that_waits_does_not_look_slow() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "j"})).await;
    let status = "/api/v1/jobs/j/status";
    server.get(status).await;
    server.get(&format!("{status}?wait=60&after=0")).await;
    let scrape = Scrape::of(&server).await;
    for (answer, count) in [("plain", 2.0), ("wait", 1.0), ("stream", 0.0)] {
        let labels = [("answer", answer)];
        assert_eq!(
            scrape.value("progressd_request_seconds_count", &labels),
            count
        );
    }
}

#[tokio::test]
async fn a_store_that_fails_is_counted_and_the_metrics_are_still_there() {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), "").await;
    server.create(json!({"job_id": "j"})).await;
    store.every_call(Fate::Failed);
    let answer = server.get("/api/v1/jobs/other").await;
    answer.error(503, "STORE_UNAVAILABLE");
    let scrape = Scrape::of(&server).await;
    let load = [("operation", "load")];
    assert_eq!(scrape.value("progressd_store_errors_total", &load), 1.0);
    assert_eq!(scrape.value("progressd_store_seconds_count", &load), 2.0);
    let create = [("operation", "create")];
    assert_eq!(scrape.value("progressd_store_errors_total", &create), 0.0);
    let code = [("code", "STORE_UNAVAILABLE")];
    assert_eq!(scrape.value("progressd_refusals_total", &code), 1.0);
}

#[tokio::test]
async fn neither_ids_nor_names_nor_credentials_are_in_the_text() {
    let server = TestServer::with(&people::configuration()).await;
    let token = people::token(&json!({"sub": "needle-owner", "scope": "jobs:read jobs:write"}));
    let ann = server.as_bearer(&token);
    ann.create(json!({
        "job_id": "needle-job", "kind": "needle-kind", "unit": "needle-unit", "tags": ["needle-tag"],
    }))
    .await;
    let event = json!({"event": "needle-event", "data": "needle-data"});
    ann.post("/api/v1/jobs/needle-job/events", event).await;
    ann.get("/api/v1/needle-route?token=needle-query").await;
    let method = Method::from_bytes(b"NEEDLE").expect("a token");
    Answer::of(ann.request(method, "/api/v1/jobs/needle-job")).await;
    ann.watch("needle-job").await.next().await;
    server.as_bearer("needle-key").get("/metrics").await;
    let text = Scrape::of(&server.as_bearer("key-admin")).await.text;
    for secret in ["needle", "NEEDLE", &token, people::SECRET, "key-"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}
