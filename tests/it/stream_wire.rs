//! The stream byte for byte, as a client sees it that knows nothing of SSE.

mod heartbeat;
mod transcripts;

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode, Version};
use serde_json::json;

use crate::support::{
    raw_client::RawClient, server::TestServer, sse::SseStream, transcript::redact,
};

const PATH: &str = "/api/v1/jobs/j/stream";

/// A server with the unfinished job `j`.
async fn server() -> TestServer {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "j"})).await;
    server
}

/// `GET PATH` with this version of HTTP/1.
async fn get(server: &TestServer, version: &str, headers: &[(&str, &str)]) -> RawClient {
    let line = format!("GET {PATH} {version}");
    RawClient::request(&server.url, &line, headers).await
}

#[tokio::test]
async fn the_head_and_the_first_block_come_in_one_read() {
    let server = server().await;
    let mut client = get(&server, "HTTP/1.1", &[]).await;
    let first = client.read_once().await;
    // The chunk's size depends on the jittered `retry` alone through its digits: always four.
    assert!(first.ends_with("\n\n\r\n"), "{first:?}");
    insta::assert_snapshot!(redact(&first));
}

#[tokio::test]
async fn http_1_0_gets_the_same_bytes_without_chunks_and_without_keep_alive() {
    let server = server().await;
    let headers = [("Connection", "keep-alive")];
    let mut client = get(&server, "HTTP/1.0", &headers).await;
    let first = client.read_once().await;
    insta::assert_snapshot!(redact(&first));
    server.report("j", json!({"status": "completed"})).await;
    let last = client.read_to_end().await;
    assert!(last.ends_with("\n\n"), "{last:?}");
}

#[tokio::test]
async fn the_last_block_the_end_of_the_body_and_the_end_of_the_connection_follow_each_other() {
    let server = server().await;
    let mut client = get(&server, "HTTP/1.1", &[]).await;
    client.read_until("\n\n\r\n").await;
    server.report("j", json!({"status": "completed"})).await;
    let last = client.read_once().await;
    assert!(last.contains("\r\nevent: status\ndata: {"), "{last:?}");
    assert!(last.ends_with("\n\n\r\n0\r\n\r\n"), "{last:?}");
    assert_eq!(client.read_to_end().await, "");
}

#[tokio::test]
async fn a_request_behind_a_stream_is_never_answered() {
    let server = server().await;
    server.report("j", json!({"status": "completed"})).await;
    let mut client = RawClient::connect(&server.url).await;
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.send(request.repeat(2)).await;
    let answers = client.read_to_end().await;
    assert_eq!(answers.matches("HTTP/1.1").count(), 1, "{answers}");
}

#[tokio::test]
async fn http_2_gets_the_same_blocks_and_no_connection_header() {
    let server = server().await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    let mut stream = SseStream::open(client.get(format!("{}{PATH}", server.url))).await;
    let names: BTreeSet<_> = stream
        .head
        .headers
        .keys()
        .map(|name| name.as_str())
        .collect();
    let expected = [
        "cache-control",
        "content-type",
        "date",
        "referrer-policy",
        "vary",
        "x-accel-buffering",
        "x-content-type-options",
        "x-request-id",
    ];
    assert_eq!(names, BTreeSet::from(expected));
    assert_eq!(stream.next_status().await["status"], "pending");
    server.report("j", json!({"status": "completed"})).await;
    assert_eq!(stream.next().await.retry, Some(3_600_000));
    stream.expect_end().await;
    let answer = client.get(&server.url).send().await.expect("an answer");
    assert_eq!(answer.version(), Version::HTTP_2);
}

#[tokio::test]
async fn any_accept_is_fine_and_nothing_is_compressed() {
    let server = server().await;
    for accept in [
        "text/event-stream",
        "application/json",
        "text/html;q=0.9, image/*",
        "nonsense",
    ] {
        let request = server
            .request(Method::GET, PATH)
            .header("accept", accept)
            .header("accept-encoding", "gzip, br, zstd, deflate");
        let mut stream = SseStream::open(request).await;
        assert_eq!(stream.head.status, StatusCode::OK, "{accept}");
        assert_eq!(stream.head.headers["content-type"], "text/event-stream");
        assert!(!stream.head.headers.contains_key("content-encoding"));
        assert_eq!(stream.next_status().await["job_id"], "j");
    }
}

#[tokio::test]
async fn a_path_that_is_nearly_right_is_not_redirected() {
    let server = server().await;
    for path in ["/api/v1/jobs/j/stream/", "/api/v1//jobs/j/stream"] {
        server.get(path).await.error(404, "ROUTE_NOT_FOUND");
    }
}

#[tokio::test]
async fn retry_is_jittered_by_a_fifth_for_each_connection() {
    let server = TestServer::with("[stream]\nretry_ms = 1000").await;
    server.create(json!({"job_id": "j"})).await;
    let mut retries = BTreeSet::new();
    for _ in 0..40 {
        let retry = server.watch("j").await.next().await.retry;
        retries.insert(retry.expect("the first block carries retry"));
    }
    assert!(retries.iter().all(|retry| (800..=1_200).contains(retry)));
    // Forty draws out of 401: that fewer than ten differ does not happen in the age of the world.
    assert!(retries.len() >= 10, "{retries:?}");
}

#[tokio::test]
async fn a_get_is_a_watcher_until_it_leaves_and_a_head_never_is() {
    let server = server().await;
    let watchers = async || server.report("j", json!({})).await["watchers"].clone();
    let line = format!("HEAD {PATH} HTTP/1.1");
    let mut head = RawClient::request(&server.url, &line, &[]).await;
    let head = head.read_until("\r\n\r\n").await;
    assert_eq!(watchers().await, 0);
    insta::assert_snapshot!(redact(&head));

    let mut stream = server.watch("j").await;
    stream.next().await;
    assert_eq!(watchers().await, 1);
    drop(stream);
    // The server learns of it when it reads the end of the connection.
    while watchers().await != 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn options_tells_the_methods_and_starts_nothing() {
    let server = server().await;
    let request = server.request(Method::OPTIONS, PATH);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let allow = answer.headers()["allow"].to_str().expect("text");
    let methods: BTreeSet<_> = allow.split(',').map(str::trim).collect();
    assert_eq!(methods, BTreeSet::from(["GET", "HEAD", "OPTIONS"]));
    assert_eq!(server.report("j", json!({})).await["watchers"], 0);
    server
        .post(PATH, json!({}))
        .await
        .error(405, "METHOD_NOT_ALLOWED");
}
