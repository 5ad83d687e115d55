//! On the wire it is the stream that a GET has, whatever protocol it comes over.

use std::collections::BTreeMap;

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{JOBS, asking, stream_of};
use crate::support::{people, raw_client::RawClient, server::TestServer, sse::SseStream};

const BODY: &str = r#"{"job_id":"a"}"#;

async fn post(server: &TestServer, version: &str, headers: &str) -> RawClient {
    let mut client = RawClient::connect(&server.url).await;
    let length = BODY.len();
    client
        .send(format!(
            "POST {JOBS} {version}\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{BODY}"
        ))
        .await;
    client
}

/// Names and values, but for what differs by the request.
fn headers_of(stream: &SseStream) -> BTreeMap<String, String> {
    let headers = stream.head.headers.iter();
    headers
        .filter(|(name, _)| *name != "date" && *name != "x-request-id")
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
        .collect()
}

#[tokio::test]
async fn it_has_the_headers_of_every_stream_and_the_way_to_the_job() {
    let server = TestServer::start().await;
    let posted = stream_of(
        asking(&server, &json!({"job_id": "a"})),
        StatusCode::CREATED,
    )
    .await;
    let got = server.watch("a").await;
    let mut headers = headers_of(&posted);
    let location = headers.remove("location");
    assert_eq!(location.as_deref(), Some("/api/v1/jobs/a"));
    assert_eq!(headers, headers_of(&got));
}

#[tokio::test]
async fn over_http_1_1_the_head_says_keep_alive_and_the_last_block_closes() {
    let server = TestServer::start().await;
    let mut client = post(&server, "HTTP/1.1", "").await;
    let first = client.read_once().await;
    assert!(first.starts_with("HTTP/1.1 201 Created\r\n"), "{first}");
    assert!(first.contains("\r\nconnection: keep-alive\r\n"), "{first}");
    assert!(
        first.contains("\r\nlocation: /api/v1/jobs/a\r\n"),
        "{first}"
    );
    assert!(
        first.contains("\r\nevent: status\ndata: {\"job_id\":\"a\","),
        "{first}"
    );
    assert!(first.ends_with("\n\n\r\n"), "{first}");
    server.report("a", json!({"status": "completed"})).await;
    let last = client.read_to_end().await;
    assert!(last.ends_with("\n\n\r\n0\r\n\r\n"), "{last}");
}

#[tokio::test]
async fn over_http_1_0_there_are_no_chunks() {
    let server = TestServer::start().await;
    let mut client = post(&server, "HTTP/1.0", "Connection: keep-alive\r\n").await;
    let first = client.read_once().await;
    assert!(first.starts_with("HTTP/1.0 201 Created\r\n"), "{first}");
    assert!(first.contains("\r\n\r\nevent: status\n"), "{first}");
    assert!(!first.contains("keep-alive"), "{first}");
    server.report("a", json!({"status": "completed"})).await;
    assert!(client.read_to_end().await.ends_with("\n\n"));
}

#[tokio::test]
async fn a_refusal_and_the_end_of_a_finished_job_leave_the_connection_open() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    let end = server.report("a", json!({"status": "completed"})).await;
    let cursor = format!("Last-Event-ID: {}\r\n", end["seq"]);
    let mut client = post(&server, "HTTP/1.1", &cursor).await;
    let over = client.read_until("\r\n\r\n").await;
    assert!(over.starts_with("HTTP/1.1 204 "), "{over}");
    let refused = "{}";
    client
        .send(format!(
            "POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
             Content-Length: {}\r\n\r\n{refused}",
            refused.len()
        ))
        .await;
    let refusal = client.read_until("}}").await;
    assert!(refusal.starts_with("HTTP/1.1 400 "), "{refusal}");
    let get = format!("GET {JOBS}/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    client.send(get).await;
    assert!(client.read_to_end().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn over_http_2_it_is_one_stream_of_the_connection() {
    let server = TestServer::start().await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge();
    let client = client.build().expect("a client");
    let request = |job_id: &str| {
        let request = client.post(format!("{}{JOBS}", server.url));
        request
            .header("accept", "text/event-stream")
            .json(&json!({"job_id": job_id}))
    };
    let mut first = stream_of(request("a"), StatusCode::CREATED).await;
    let mut second = stream_of(request("b"), StatusCode::CREATED).await;
    assert!(!first.head.headers.contains_key("connection"));
    for (stream, job_id) in [(&mut first, "a"), (&mut second, "b")] {
        assert_eq!(stream.next_status().await["job_id"], job_id);
        server.report(job_id, json!({"status": "completed"})).await;
        assert_eq!(stream.next().await.retry, Some(3_600_000));
        stream.expect_end().await;
    }
}

#[tokio::test]
async fn heartbeats_come_as_wanted() {
    let server = TestServer::with("[stream]\nheartbeat_seconds = 1").await;
    let path = format!("{JOBS}?heartbeat=event");
    let request = server
        .request(Method::POST, &path)
        .json(&json!({"job_id": "a"}));
    let request = request.header("accept", "text/event-stream");
    let mut stream = stream_of(request, StatusCode::CREATED).await;
    stream.next_status().await;
    assert_eq!(stream.next().await.name(), "heartbeat");
}

#[tokio::test]
async fn a_drain_ends_it_like_every_stream() {
    let server = TestServer::with("[stream]\ndrain_seconds = 1").await;
    let mut stream = stream_of(
        asking(&server, &json!({"job_id": "a"})),
        StatusCode::CREATED,
    )
    .await;
    stream.next_status().await;
    let (_, rest) = tokio::join!(server.drain(), stream.rest());
    let last = rest.last().expect("a block");
    assert_eq!(
        (last.name(), &last.json()["code"]),
        ("error", &json!("DRAINING"))
    );
    assert!(last.retry.is_some() && last.id.is_none());
}

#[tokio::test]
async fn it_never_outlives_the_credential() {
    let server = TestServer::with(&people::configuration()).await;
    let ann = server.as_bearer("key-ann");
    let mut stream = stream_of(asking(&ann, &json!({"job_id": "a"})), StatusCode::CREATED).await;
    stream.next_status().await;
    server.reload(&people::configuration_without("key-ann"));
    let last = stream.next().await;
    assert_eq!(last.json()["code"], "TOKEN_EXPIRED");
    assert_eq!(last.retry, Some(3_600_000));
    stream.expect_end().await;
}
