//! Every way in which a stream ends although its job does not.

mod process;
mod refusals;
mod slow_readers;

use std::collections::BTreeSet;

use jsonwebtoken::get_current_timestamp;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::{
    people::{self, token},
    server::TestServer,
    sse::{Block, SseStream},
};

/// An `error` block as the contract writes it: no id, the message twice for two sorts of client.
#[track_caller]
fn expect_ending(block: &Block, code: &str, message: &str) {
    let data = format!(r#"{{"error":"{message}","message":"{message}","code":"{code}"}}"#);
    assert_eq!((block.name(), &block.data), ("error", &data));
    assert_eq!(block.id, None);
}

/// The last block of a stream.
async fn ending(stream: &mut SseStream) -> Block {
    let block = stream.next().await;
    stream.expect_end().await;
    block
}

#[tokio::test]
async fn a_stream_ends_after_the_longest_duration_and_can_be_resumed() {
    let server = TestServer::with("[stream]\nmax_duration_seconds = 1").await;
    server.create(json!({"job_id": "j"})).await;
    let mut stream = server.watch("j").await;
    let first = stream.next().await;
    let last = ending(&mut stream).await;
    expect_ending(&last, "STREAM_TIMEOUT", "Stream timeout");
    assert_eq!(last.retry, None);

    let cursor = first.id.expect("the first status has an id");
    server.report("j", json!({"status": "completed"})).await;
    let mut stream = server.resume("j", &cursor).await;
    assert_eq!(stream.next_status().await["status"], "completed");
}

#[tokio::test]
async fn a_drain_sends_watchers_away_and_spreads_their_return() {
    let server = TestServer::with("[stream]\nretry_ms = 2000\ndrain_seconds = 1000").await;
    let mut streams = Vec::new();
    for number in 0..20 {
        let job_id = format!("j{}", number % 3);
        if number < 3 {
            server.create(json!({"job_id": job_id})).await;
        }
        let mut stream = server.watch(&job_id).await;
        stream.next().await;
        streams.push(stream);
    }
    let drained = server.drain().await;
    assert_eq!(drained.cut, 0);
    let mut retries = BTreeSet::new();
    for stream in &mut streams {
        let last = ending(stream).await;
        expect_ending(&last, "DRAINING", "Server is shutting down");
        retries.insert(last.retry.expect("a drain says when to come back"));
    }
    assert!(
        retries
            .iter()
            .all(|retry| (2_000..=1_002_000).contains(retry))
    );
    assert!(retries.len() > 10, "{retries:?}");
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let server = TestServer::with(&people::configuration()).await;
    let worker = server.as_bearer("key-ann");
    worker.create(json!({"job_id": "j"})).await;
    let claims = json!({"sub": "ann", "exp": get_current_timestamp() + 2});
    let watcher = server.as_bearer(&token(&claims));
    let mut stream = watcher.watch("j").await;
    assert_eq!(stream.head.status, StatusCode::OK);
    stream.next().await;
    let last = ending(&mut stream).await;
    expect_ending(&last, "TOKEN_EXPIRED", "Token expired");
    assert_eq!(last.retry, Some(3_600_000));
    assert_eq!(worker.report("j", json!({})).await["watchers"], 0);
}

#[tokio::test]
async fn removing_a_job_ends_its_streams_for_good_and_no_other() {
    let server = TestServer::start().await;
    let mut streams = Vec::new();
    for job_id in ["removed", "other"] {
        server.create(json!({"job_id": job_id})).await;
        let mut stream = server.watch(job_id).await;
        stream.next().await;
        streams.push(stream);
    }
    server
        .delete("/api/v1/jobs/removed")
        .await
        .expect(StatusCode::NO_CONTENT);
    let last = ending(&mut streams[0]).await;
    expect_ending(&last, "JOB_GONE", "Job gone");
    assert_eq!(last.retry, Some(3_600_000));
    server
        .get("/api/v1/jobs/removed/stream")
        .await
        .error(410, "JOB_GONE");

    server.report("other", json!({"status": "completed"})).await;
    assert_eq!(streams[1].next_status().await["status"], "completed");
}

#[tokio::test]
async fn when_all_watchers_leave_nobody_is_counted() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "j"})).await;
    let watchers = async || server.report("j", json!({})).await["watchers"].clone();
    let http2 = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge();
    let http2 = http2.build().expect("a client");
    let url = format!("{}/api/v1/jobs/j/stream", server.url);
    let mut streams = Vec::new();
    for number in 0..40 {
        let client = if number % 2 == 0 {
            &server.client
        } else {
            &http2
        };
        let mut stream = SseStream::open(client.get(&url)).await;
        stream.next().await;
        streams.push(stream);
    }
    assert_eq!(watchers().await, 40);
    drop(streams);
    // The server learns of it when it reads the end of each connection or stream.
    while watchers().await != 0 {
        tokio::task::yield_now().await;
    }
}
