//! What operators measure: each series, who may read them, and what they never hold.

mod access;
mod streams;

use std::collections::BTreeSet;

use futures_util::future::join_all;
use prometheus_parse::Value;
use reqwest::Method;
use serde_json::json;

use crate::support::{
    in_time, people,
    raw_client::RawClient,
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
    assert_eq!(scrape.value("progressd_watchers_limit", &[]), 100_000.0);
    assert_eq!(
        scrape.value("progressd_body_bytes_limit", &[]),
        f64::from(1 << 28)
    );
    assert_eq!(scrape.value("progressd_jobs_limit", &[]), 1_000_000.0);
    assert!(scrape.value("progressd_process_resident_memory_bytes", &[]) > 0.0);
}

#[tokio::test]
async fn the_readme_names_exactly_the_metrics() {
    let readme = include_str!("../../README.md");
    let table = readme
        .lines()
        .skip_while(|line| !line.starts_with("| metric |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let column = table.flat_map(|row| row.split('|').nth(1).unwrap_or_default().split(','));
    let in_readme: BTreeSet<_> = column.map(|name| name.trim().trim_matches('`')).collect();
    let scrape = Scrape::of(&TestServer::start().await).await;
    let types = scrape.text.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        let is_of_the_process = name.starts_with("progressd_process_");
        Some(if is_of_the_process {
            "progressd_process_*"
        } else {
            name
        })
    });
    assert_eq!(in_readme, types.collect());
}

#[tokio::test]
async fn what_watchers_and_bodies_hold_is_shown_beside_its_limit() {
    let toml = "[limits]\nmax_streams = 3\nbodies_in_flight_bytes = 1000\nndjson_line_bytes = 1000\nupload_bytes = 1000\njson_body_bytes = 1000\n";
    let server = TestServer::with(toml).await;
    server.create(json!({"job_id": "j"})).await;
    let mut watcher = server.watch("j").await;
    watcher.next_status().await;
    let wait = server.request(Method::GET, "/api/v1/jobs/j/status?wait=60");
    let poll = tokio::spawn(Answer::of(wait));
    let headers = [("Content-Length", "900")];
    let mut body = RawClient::request(&server.url, "POST /api/v1/jobs HTTP/1.1", &headers).await;
    body.send("x".repeat(800)).await;
    let scrape = until(&server, "all three", |scrape| {
        scrape.value("progressd_watchers", &[]) == 2.0
            && scrape.value("progressd_body_bytes", &[]) == 800.0
    })
    .await;
    assert_eq!(scrape.value("progressd_streams_open", &[]), 1.0);
    assert_eq!(scrape.value("progressd_watchers_limit", &[]), 3.0);
    assert_eq!(scrape.value("progressd_body_bytes_limit", &[]), 1_000.0);
    server.reload("limits.max_streams = 4");
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.value("progressd_watchers_limit", &[]), 4.0);
    drop(body);
    server.report("j", json!({"status": "completed"})).await;
    in_time("the poll", poll).await.expect("no panic");
    watcher.rest().await;
    until(&server, "the end", |scrape| {
        scrape.value("progressd_watchers", &[]) == 0.0
            && scrape.value("progressd_body_bytes", &[]) == 0.0
    })
    .await;
}

#[tokio::test]
async fn connections_that_come_to_no_request_are_counted_by_why() {
    let toml = "[limits]\nmax_connections_per_address = 6\nheader_timeout_seconds = 1\n";
    let server = TestServer::with(toml).await;
    let refused = |scrape: &Scrape| {
        ["address_limit", "header_timeout"].map(|reason| {
            scrape.value("progressd_connections_refused_total", &[("reason", reason)])
        })
    };
    // One that idles after its answer was served, and is not among them.
    let mut served = RawClient::connect(&server.url).await;
    served
        .send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    served.read_until("200 OK").await;
    assert_eq!(refused(&Scrape::of(&server).await), [0.0, 0.0]);
    let mut slow = Vec::new();
    let http2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for begin in ["", "G", "GET / HTTP/1.1\r\nHo", http2] {
        let mut client = RawClient::connect(&server.url).await;
        client.send(begin).await;
        slow.push(client);
    }
    served.read_to_end().await;
    until(&server, "the end of the slow ones", |scrape| {
        refused(scrape) == [0.0, 4.0]
    })
    .await;
    drop(slow);
    let crowd = join_all((0..20).map(async |_| RawClient::connect(&server.url).await)).await;
    // The crowd's own are closed in time too, so that somebody can ask.
    crate::support::until("a refusal that is counted", async || {
        let Ok(answer) = server.request(Method::GET, "/metrics").send().await else {
            return false;
        };
        let text = answer.text().await.expect("a text");
        refused(&Scrape::read(text))[0] > 0.0
    })
    .await;
    drop(crowd);
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
