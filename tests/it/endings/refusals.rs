//! Streams that do not begin: an `EventSource` is told inside a stream, since it never comes back
//! after a status other than 200; everybody else gets the status code.

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;

use super::expect_ending;
use crate::support::{
    people,
    raw_client::RawClient,
    server::{Answer, TestServer},
    sse::SseStream,
    staged_store::{Fate, StagedStore},
    transcript::redact,
};

const PATH: &str = "/api/v1/jobs/j/stream";

fn with_accept(server: &TestServer, accept: &str) -> RequestBuilder {
    server.request(Method::GET, PATH).header("accept", accept)
}

/// What everybody gets in `server`'s present state, and what an `EventSource` gets.
async fn expect_refusal(server: &TestServer, status: u16, code: &str, message: &str) {
    for accept in ["*/*", "text/event-stream, */*", "Text/Event-Stream", ""] {
        let answer = Answer::of(with_accept(server, accept)).await;
        assert_eq!(answer.error(status, code), message, "{accept:?}");
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
    }
    let head = server.request(Method::HEAD, PATH);
    let head = Answer::of(head.header("accept", "text/event-stream")).await;
    assert_eq!(head.status.as_u16(), status);

    let mut stream = SseStream::open(with_accept(server, "text/event-stream")).await;
    assert_eq!(stream.head.status, StatusCode::OK);
    assert_eq!(stream.head.headers["content-type"], "text/event-stream");
    let only = stream.next().await;
    expect_ending(&only, code, message);
    let retry = only.retry.expect("it is told when to come back");
    assert!((4_000..=6_000).contains(&retry), "{retry}");
    stream.expect_end().await;
}

#[tokio::test]
async fn while_the_server_drains() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "j"})).await;
    // Connections outlast this, as they do in the moment between the two halves of a drain.
    server.registry().drain();
    expect_refusal(&server, 503, "DRAINING", "Server is shutting down").await;
}

#[tokio::test]
async fn while_the_store_does_not_answer() {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), "").await;
    store.every_call(Fate::Failed);
    expect_refusal(
        &server,
        503,
        "STORE_UNAVAILABLE",
        "The store does not answer",
    )
    .await;
}

#[tokio::test]
async fn when_joining_panics() {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), "").await;
    store.every_call(Fate::Panics);
    expect_refusal(&server, 500, "INTERNAL", "Internal server error").await;
}

#[tokio::test]
async fn a_refused_stream_is_a_whole_stream_to_the_byte() {
    let server = TestServer::start().await;
    server.registry().drain();
    let line = format!("GET {PATH} HTTP/1.1");
    let accept = [("Accept", "text/event-stream")];
    let mut client = RawClient::request(&server.url, &line, &accept).await;
    insta::assert_snapshot!(redact(&client.read_to_end().await));
}

#[tokio::test]
async fn whoever_is_not_let_in_gets_the_status_code_in_any_case() {
    let server = TestServer::with(&people::configuration()).await;
    let stranger = server.as_bearer("an-unknown-key");
    server
        .as_bearer("key-ann")
        .create(json!({"job_id": "j"}))
        .await;
    let answer = Answer::of(with_accept(
        &server.as_bearer("key-bob"),
        "text/event-stream",
    ))
    .await;
    answer.error(403, "FORBIDDEN");
    server.registry().drain();
    for client in [&server, &stranger] {
        let answer = Answer::of(with_accept(client, "text/event-stream")).await;
        answer.error(401, "UNAUTHORIZED");
    }
    let wrong_scope = server.as_bearer("key-write");
    let answer = Answer::of(with_accept(&wrong_scope, "text/event-stream")).await;
    answer.error(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_job_that_is_not_there_is_told_by_the_status_code_in_any_case() {
    let server = TestServer::start().await;
    let ask = async || Answer::of(with_accept(&server, "text/event-stream")).await;
    ask().await.error(404, "JOB_NOT_FOUND");
    server.create(json!({"job_id": "j"})).await;
    let removed = server.delete("/api/v1/jobs/j").await;
    removed.expect(StatusCode::NO_CONTENT);
    ask().await.error(410, "JOB_GONE");
    let many = server.request(Method::GET, "/api/v1/stream?job=j");
    let many = Answer::of(many.header("accept", "text/event-stream")).await;
    many.error(404, "JOB_NOT_FOUND");
}
