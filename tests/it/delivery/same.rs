//! What a client reads, and what operators see of it, is the same for both deliveries.

use std::collections::BTreeMap;

use prometheus_parse::Value;
use serde_json::json;

use super::{Delivery, stream_of_j, watched_by};
use crate::support::{
    raw_client::RawClient, scrape::Scrape, server::TestServer, transcript::redact, until,
};

/// Names and values that differ by nature: times, and what is counted of the process or the machine.
const OF_THEIR_OWN: [&str; 3] = ["_seconds", "process_", "_bytes"];

/// A page of another origin may read the answer.
const ORIGIN: &str = "cors.allowed_origins = [\"https://app.example\"]";

async fn both(toml: &str) -> [TestServer; 2] {
    let servers = [Delivery::Body, Delivery::Handover].map(|delivery| delivery.server(toml));
    let [body, handover] = servers;
    [body.await, handover.await]
}

/// A job's whole story, from its first block to its end, as one client reads it.
async fn story(server: &TestServer, request: &str) -> String {
    let mut client = RawClient::connect(&server.url).await;
    client.send(request).await;
    client.read_until("\"status\":\"pending\"").await;
    watched_by(server, 1).await;
    server
        .report("j", json!({"status": "processing", "total_count": 2}))
        .await;
    client.read_until("\"status\":\"processing\"").await;
    server
        .post(
            "/api/v1/jobs/j/events",
            json!([{"event": "log", "data": "one"}, {"event": "log", "data": "two"}]),
        )
        .await;
    client.read_until("two").await;
    server
        .report(
            "j",
            json!({"status": "failed", "error": {"message": "no", "code": "NO"}}),
        )
        .await;
    client.read_to_end().await;
    redact(&unsized_chunks(client.transcript()))
}

/// Without the sizes of chunks, which depend on the digits of times and ids.
fn unsized_chunks(transcript: &str) -> String {
    let lines = transcript.split("\r\n").filter(|line| {
        let is_size = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        !is_size || *line == "0"
    });
    lines.collect::<Vec<_>>().join("\r\n")
}

#[tokio::test]
async fn a_story_is_the_same_to_the_byte_however_it_is_asked_for() {
    for request in [
        stream_of_j("HTTP/1.1", ""),
        stream_of_j("HTTP/1.0", ""),
        stream_of_j("HTTP/1.0", "Connection: keep-alive\r\n"),
        stream_of_j("HTTP/1.0", "Connection: close\r\n"),
        stream_of_j("HTTP/1.1", "Connection: close\r\n"),
        stream_of_j("HTTP/1.1", "Connection: TE, close\r\n"),
        stream_of_j(
            "HTTP/1.1",
            "Accept: text/event-stream\r\nOrigin: https://app.example\r\n",
        ),
        stream_of_j("HTTP/1.1", "Last-Event-ID: 7\r\nX-Request-Id: mine\r\n"),
        stream_of_j("HTTP/1.1", "Content-Length: 3\r\n") + "abc",
    ] {
        let mut stories = Vec::new();
        for server in both(ORIGIN).await {
            stories.push(story(&server, &request).await);
        }
        assert_eq!(stories[0], stories[1], "{request}");
        assert!(stories[0].contains("\"status\":\"failed\""), "{request}");
    }
}

#[tokio::test]
async fn what_is_no_subscription_is_the_same_to_the_byte() {
    let servers = both("limits.max_streams = 1").await;
    for request in [
        // The end of a job that is over, a place in it that was seen, and a HEAD.
        "GET /api/v1/jobs/over/stream HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine\r\nConnection: close\r\n\r\n",
        "GET /api/v1/jobs/over/stream HTTP/1.0\r\n\r\n",
        "HEAD /api/v1/jobs/over/stream HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine\r\nConnection: close\r\n\r\n",
        "GET /api/v1/jobs/nobody/stream HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine\r\nConnection: close\r\n\r\n",
        // Refused within a stream, and by a status.
        "GET /api/v1/jobs/j/stream HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
        "GET /api/v1/jobs/j/stream HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine\r\nConnection: close\r\n\r\n",
    ] {
        let mut answers = Vec::new();
        for server in &servers {
            if request.contains("over") {
                server.create(json!({"job_id": "over"})).await;
                server.report("over", json!({"status": "completed"})).await;
            }
            let watcher = match request.contains("/j/") {
                true => Some(super::joined(server).await),
                false => None,
            };
            let answer = RawClient::exchange(&server.url, request).await;
            answers.push(redact(&unsized_chunks(&answer)));
            drop(watcher);
            server.delete("/api/v1/jobs/over").await;
        }
        assert_eq!(answers[0], answers[1], "{request}");
    }
}

#[tokio::test]
async fn both_are_counted_alike() {
    let mut counted = Vec::new();
    for server in both("").await {
        story(&server, &stream_of_j("HTTP/1.1", "")).await;
        until("a closed connection", async || {
            let scrape = Scrape::of(&server).await;
            scrape.value("progressd_connections_open", &[]) == 1.0
        })
        .await;
        let scrape = Scrape::of(&server).await;
        let samples = scrape
            .samples()
            .iter()
            .filter(|sample| !OF_THEIR_OWN.iter().any(|part| sample.metric.contains(part)));
        let samples = samples.map(|sample| {
            let labels: BTreeMap<_, _> = sample.labels.iter().collect();
            (
                format!("{} {labels:?}", sample.metric),
                number(&sample.value),
            )
        });
        counted.push(samples.collect::<BTreeMap<_, _>>());
    }
    let [by_body, by_handover] = [&counted[0], &counted[1]];
    assert!(by_body.keys().eq(by_handover.keys()));
    let differ = by_body.iter().zip(by_handover).filter(|(one, other)| {
        // As many scrapes as it took.
        one != other && !one.0.contains("\"GET\"")
    });
    assert_eq!(differ.collect::<Vec<_>>(), []);
    let frames = &counted[0]["progressd_frames_total {}"];
    assert!(*frames > 4.0, "{frames}");
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Counter(number) | Value::Gauge(number) | Value::Untyped(number) => *number,
        Value::Histogram(_) | Value::Summary(_) => 0.0,
    }
}
