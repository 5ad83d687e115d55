//! Who sees which jobs on a stream of many, and for how long.

use jsonwebtoken::get_current_timestamp;
use reqwest::{Method, StatusCode, header};
use serde_json::json;

use super::{PATH, jobs_at_first, open, said, snapshot, words};
use crate::support::{
    people::{self, token},
    server::TestServer,
    sse::SseStream,
};

async fn with_people() -> TestServer {
    TestServer::with(&format!(
        "stream.update_interval_ms = 0\n{}",
        people::configuration()
    ))
    .await
}

#[tokio::test]
async fn everybody_sees_their_own_jobs_alone() {
    let server = with_people().await;
    let (ann, bob) = (server.as_bearer("key-ann"), server.as_bearer("key-bob"));
    ann.create(json!({"job_id": "a"})).await;
    bob.create(json!({"job_id": "b"})).await;
    let mut hers = open(&ann, "").await;
    let mut his = open(&bob, "owner=ann").await;
    let mut everybodys = open(&server.as_bearer("key-admin"), "").await;
    assert_eq!(jobs_at_first(&mut hers).await, ["a"]);
    assert_eq!(jobs_at_first(&mut his).await, [""; 0]);
    assert_eq!(jobs_at_first(&mut everybodys).await, ["b", "a"]);
    // What begins later is looked at in the same way.
    bob.create(json!({"job_id": "b2"})).await;
    ann.create(json!({"job_id": "a2"})).await;
    assert_eq!(
        said(&hers.next().await),
        words("status", "a2", json!("pending"))
    );
    for job_id in ["b2", "a2"] {
        assert_eq!(
            said(&everybodys.next().await),
            words("status", job_id, json!("pending"))
        );
    }
    bob.create(json!({"job_id": "b3"})).await;
    bob.report("b3", json!({"status": "completed"})).await;
    ann.report("a", json!({"processed_count": 1})).await;
    assert_eq!(
        said(&hers.next().await),
        words("status", "a", json!("processing"))
    );
}

#[tokio::test]
async fn a_token_that_names_jobs_sees_these_too() {
    let server = with_people().await;
    server
        .as_bearer("key-bob")
        .create(json!({"job_id": "shared-1"}))
        .await;
    server
        .as_bearer("key-bob")
        .create(json!({"job_id": "private"}))
        .await;
    let guest = server.as_bearer(&token(&json!({"sub": "eve", "jobs": ["shared-*"]})));
    assert_eq!(
        jobs_at_first(&mut open(&guest, "").await).await,
        ["shared-1"]
    );
}

#[tokio::test]
async fn who_may_not_read_is_refused() {
    let server = with_people().await;
    let created = server
        .as_bearer("key-ann")
        .create(json!({"job_id": "a"}))
        .await;
    server.get(PATH).await.error(401, "UNAUTHORIZED");
    let answer = server.as_bearer("key-write").get(PATH).await;
    answer.error(403, "FORBIDDEN");
    // A job's own token is good for that job alone.
    let watcher = server.as_bearer(created["watch_token"].as_str().expect("a token"));
    watcher.get(PATH).await.error(403, "FORBIDDEN");
    assert_eq!(
        jobs_at_first(&mut open(&watcher, "job=a").await).await,
        ["a"]
    );
}

#[tokio::test]
async fn a_page_passes_its_token_in_the_query() {
    let server = with_people().await;
    server
        .as_bearer("key-ann")
        .create(json!({"job_id": "a"}))
        .await;
    let token = token(&json!({"sub": "ann"}));
    let mut stream = open(&server, &format!("token={token}")).await;
    assert_eq!(jobs_at_first(&mut stream).await, ["a"]);
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_with_its_key() {
    let server = with_people().await;
    let expires = json!({"sub": "ann", "exp": get_current_timestamp() + 2});
    let mut by_token = open(&server.as_bearer(&token(&expires)), "").await;
    let mut by_key = open(&server.as_bearer("key-bob"), "").await;
    snapshot(&mut by_key).await;
    server.reload(&people::configuration_without("key-bob"));
    for stream in [&mut by_key, &mut by_token] {
        let blocks = stream.rest().await;
        let last = blocks.last().expect("a last block");
        assert_eq!(
            (last.json()["code"].as_str(), last.retry),
            (Some("TOKEN_EXPIRED"), Some(3_600_000))
        );
    }
}

#[tokio::test]
async fn one_too_many_is_refused_and_an_event_source_is_told_inside_a_stream() {
    let server = TestServer::with("limits.max_streams = 1").await;
    let mut stream = open(&server, "").await;
    snapshot(&mut stream).await;
    server.get(PATH).await.error(429, "TOO_MANY_STREAMS");
    let request = server.request(Method::GET, PATH);
    let request = request.header(header::ACCEPT, "text/event-stream");
    let mut refused = SseStream::open(request).await;
    assert_eq!(refused.head.status, StatusCode::OK);
    let block = refused.next().await;
    assert_eq!(
        (block.name(), &block.json()["code"]),
        ("error", &json!("TOO_MANY_STREAMS"))
    );
    assert_eq!(block.json()["error"], block.json()["message"]);
    assert_eq!(block.id, None);
    let retry = block.retry.expect("it is told when to come back");
    assert!((4_000..=6_000).contains(&retry), "{retry}");
    refused.expect_end().await;
}
