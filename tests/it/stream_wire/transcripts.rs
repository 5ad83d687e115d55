//! Whole streams, from the first block to the end of the connection.

use serde_json::{Value, json};

use super::PATH;
use crate::support::{raw_client::RawClient, server::TestServer, transcript::redact};

/// A server that sends every report, with the job `j`, and the first block of its stream read.
async fn watched(job: Value) -> (TestServer, RawClient) {
    let server = TestServer::with("[stream]\nupdate_interval_ms = 0").await;
    server.create(job).await;
    let client = watch(&server).await;
    (server, client)
}

/// Over HTTP/1.0, where the body stands as it is. The head has tests of its own.
async fn watch(server: &TestServer) -> RawClient {
    let line = format!("GET {PATH} HTTP/1.0");
    let mut client = RawClient::request(&server.url, &line, &[]).await;
    client.read_until("\r\n\r\n").await;
    client.read_until("\n\n").await;
    client
}

fn body(client: &RawClient) -> String {
    let (_, body) = client.transcript().split_once("\r\n\r\n").expect("a head");
    redact(body)
}

#[tokio::test]
async fn a_job_that_completes() {
    let job = json!({"job_id": "j", "total_count": 4, "unit": "emails", "tags": ["import"]});
    let (server, mut client) = watched(job).await;
    for report in [
        json!({"status": "processing", "step": "Reading"}),
        json!({"processed_count": 3, "message": "Zürich\n\"quoted\" 🦀"}),
    ] {
        server.report("j", report).await;
        client.read_until("\n\n").await;
    }
    let end = json!({"processed_count": 4, "status": "completed", "result": {"valid": 4}});
    server.report("j", end).await;
    client.read_to_end().await;
    insta::assert_snapshot!(body(&client));
}

#[tokio::test]
async fn a_job_that_fails_says_why_in_the_same_write() {
    let (server, mut client) = watched(json!({"job_id": "j"})).await;
    let error = json!({"code": "BAD_INPUT", "message": "Line 3: no \"@\"\r\n"});
    let end = json!({"status": "failed", "error": error});
    server.report("j", end).await;
    let last = client.read_once().await;
    assert!(last.starts_with("event: error\n"), "{last}");
    assert_eq!(last.matches("\n\n").count(), 2, "{last}");
    client.read_to_end().await;
    insta::assert_snapshot!(body(&client));
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_it_runs() {
    let (server, mut client) = watched(json!({"job_id": "j"})).await;
    server
        .report("j", json!({"progress_percentage": 12.5}))
        .await;
    client.read_until("\n\n").await;
    server.post("/api/v1/jobs/j/cancel", json!({})).await;
    client.read_until("\n\n").await;
    server.report("j", json!({"status": "cancelled"})).await;
    client.read_to_end().await;
    insta::assert_snapshot!(body(&client));
}

#[tokio::test]
async fn a_job_with_events_of_its_own() {
    let (server, mut client) = watched(json!({"job_id": "j"})).await;
    let one = json!({"event": "recommendation", "data": {"title": "First"}});
    server.post("/api/v1/jobs/j/events", one).await;
    // The event starts the job: its own block first, then the state without an id of its own.
    client.read_until("\n\n").await;
    client.read_until("\n\n").await;
    let many = json!([
        {"event": "log.line", "data": "one\ntwo"},
        {"event": "error", "data": {"message": "went on all the same"}},
        {"event": "count", "data": 3},
    ]);
    server.post("/api/v1/jobs/j/events", many).await;
    for _ in 0..3 {
        client.read_until("\n\n").await;
    }
    server.report("j", json!({"status": "completed"})).await;
    client.read_to_end().await;
    insta::assert_snapshot!(body(&client));
}

#[tokio::test]
async fn a_job_joined_after_its_end_shows_the_end_alone() {
    let server = TestServer::start().await;
    for (job_id, end) in [
        ("completed", json!({"status": "completed"})),
        ("failed", json!({"status": "failed", "error": "no reason"})),
        ("cancelled", json!({"status": "cancelled"})),
    ] {
        server.create(json!({"job_id": job_id})).await;
        server.report(job_id, end).await;
        let line = format!("GET /api/v1/jobs/{job_id}/stream HTTP/1.0");
        let mut client = RawClient::request(&server.url, &line, &[]).await;
        client.read_to_end().await;
        insta::assert_snapshot!(format!("joined_after_{job_id}"), body(&client));
    }
}
