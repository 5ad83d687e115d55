//! What is sent when there is nothing to say.

use std::time::{Duration, Instant};

use serde_json::json;

use super::PATH;
use crate::support::{raw_client::RawClient, server::TestServer};

/// A second of silence, less up to 10 %.
const HEARTBEATS: &str = "[stream]\nheartbeat_seconds = 1";

const SHORTEST_SILENCE: Duration = Duration::from_millis(900);

/// A server with the job `j`, and its stream behind the first block, over HTTP/1.0.
async fn silent_stream(query: &str) -> (TestServer, RawClient) {
    let server = TestServer::with(HEARTBEATS).await;
    server.create(json!({"job_id": "j"})).await;
    let line = format!("GET {PATH}{query} HTTP/1.0");
    let mut client = RawClient::request(&server.url, &line, &[]).await;
    client.read_until("\n\n").await;
    (server, client)
}

#[tokio::test]
async fn a_heartbeat_is_a_colon_and_a_line_feed_and_comes_again() {
    let (_server, mut client) = silent_stream("").await;
    assert_eq!(client.read_once().await, ":\n");
    assert_eq!(client.read_once().await, ":\n");
}

#[tokio::test]
async fn a_heartbeat_is_a_named_event_for_pages_that_want_to_see_it() {
    let (_server, mut client) = silent_stream("?heartbeat=event").await;
    assert_eq!(client.read_once().await, "event: heartbeat\ndata: {}\n\n");
}

#[tokio::test]
async fn an_unknown_heartbeat_is_refused() {
    let server = TestServer::start().await;
    let answer = server.get(&format!("{PATH}?heartbeat=loud")).await;
    let message = answer.error(400, "INVALID_REQUEST");
    assert!(message.contains("heartbeat"), "{message}");
}

#[tokio::test]
async fn bytes_push_the_heartbeat_back() {
    let (server, mut client) = silent_stream("").await;
    // Well into the silence: nothing but time brings that about.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let before = Instant::now();
    server.report("j", json!({"status": "processing"})).await;
    client.read_until("\n\n").await;
    assert_eq!(client.read_once().await, ":\n");
    // A lower bound, which a slow machine cannot break: the silence began after `before`.
    assert!(before.elapsed() >= SHORTEST_SILENCE);
}
