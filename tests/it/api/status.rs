//! `GET /jobs/{id}` and `/status`: the entity tag, and HEAD.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::server::{Answer, TestServer};

const PATHS: [&str; 2] = ["/api/v1/jobs/a", "/api/v1/jobs/a/status"];

async fn get_unless(server: &TestServer, known: &[&str]) -> Answer {
    let request = server.request(Method::GET, PATHS[1]);
    let add = |request: reqwest::RequestBuilder, tag: &&str| request.header("if-none-match", *tag);
    Answer::of(known.iter().fold(request, add)).await
}

#[tokio::test]
async fn both_paths_give_the_same_bytes_until_the_job_changes() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    let (one, other) = (server.get(PATHS[0]).await, server.get(PATHS[1]).await);
    assert_eq!(one.text, other.text);
    assert_eq!(one.header("content-type"), Some("application/json"));
    assert_eq!(one.header("cache-control"), Some("no-cache"));
    server.report("a", json!({})).await;
    let changed = server.get(PATHS[0]).await;
    assert_ne!(changed.text, one.text);
    // A sign of life that changes nothing gets no seq, and so no other bytes.
    server.report("a", json!({})).await;
    assert_eq!(server.get(PATHS[1]).await.text, changed.text);
}

#[tokio::test]
async fn the_entity_tag_is_the_seq() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    let before = server.get(PATHS[1]).await;
    let tag = format!("\"{}\"", before.json()["seq"]);
    assert_eq!(before.header("etag"), Some(tag.as_str()));
    let event = json!({"event": "note"});
    server
        .post("/api/v1/jobs/a/events", event)
        .await
        .expect(StatusCode::OK);
    let after = server.get(PATHS[1]).await;
    assert_ne!(
        after.header("etag"),
        Some(tag.as_str()),
        "an event has a seq too"
    );
}

#[tokio::test]
async fn what_the_client_knows_is_not_sent_again() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    let tag = server
        .get(PATHS[1])
        .await
        .header("etag")
        .expect("a tag")
        .to_owned();
    let weak = format!("W/{tag}");
    let listed = format!("\"1\", W/\"2\",{tag}");
    for known in [
        vec![tag.as_str()],
        vec![&weak],
        vec![&listed],
        vec!["*"],
        vec!["\"1\"", &tag],
    ] {
        let answer = get_unless(&server, &known).await;
        assert_eq!(answer.status, StatusCode::NOT_MODIFIED, "{known:?}");
        assert_eq!(answer.text, "");
        assert_eq!(answer.header("etag"), Some(tag.as_str()));
        assert_eq!(answer.header("content-type"), None);
        assert!(answer.header("retry-after").is_some() && answer.header("x-request-id").is_some());
    }
    let bare = tag.trim_matches('"').to_owned();
    for known in [
        vec!["\"1\""],
        vec![bare.as_str()],
        vec![""],
        vec!["W/W/*"],
        vec!["w/\"1\""],
        vec!["\"*\""],
    ] {
        let answer = get_unless(&server, &known).await;
        assert_eq!(answer.status, StatusCode::OK, "{known:?}");
    }
    server.report("a", json!({})).await;
    assert_eq!(get_unless(&server, &[&tag]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn only_an_unfinished_job_says_when_to_ask_again() {
    let server = TestServer::with("[stream]\nretry_ms = 2500\n").await;
    server.create(json!({"job_id": "a"})).await;
    assert_eq!(server.get(PATHS[1]).await.header("retry-after"), Some("3"));
    server.report("a", json!({"status": "completed"})).await;
    let answer = server.get(PATHS[1]).await;
    assert_eq!(answer.header("retry-after"), None);
    let tag = answer.header("etag").expect("a tag").to_owned();
    let answer = get_unless(&server, &[&tag]).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (StatusCode::NOT_MODIFIED, None)
    );
}

#[tokio::test]
async fn head_has_the_head_of_get_and_no_body() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    let get = server.get(PATHS[1]).await;
    for path in PATHS {
        let head = Answer::of(server.request(Method::HEAD, path)).await;
        assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
        for name in [
            "content-type",
            "content-length",
            "etag",
            "cache-control",
            "retry-after",
        ] {
            assert_eq!(head.header(name), get.header(name), "{name}");
        }
    }
    let unknown = Answer::of(server.request(Method::HEAD, "/api/v1/jobs/b")).await;
    assert_eq!(
        (unknown.status, unknown.text.as_str()),
        (StatusCode::NOT_FOUND, "")
    );
    assert_eq!(unknown.header("content-type"), Some("application/json"));
}
