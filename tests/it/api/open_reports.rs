//! `POST /reports` as a worker keeps it open: answers on the way, and every end.

use jsonwebtoken::get_current_timestamp;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::{
    ndjson::{Reporter, refusal},
    people::{self, token},
    server::TestServer,
};

async fn with_jobs(names: &[&str]) -> TestServer {
    let server = TestServer::start().await;
    for name in names {
        server.create(json!({"job_id": name})).await;
    }
    server
}

#[tokio::test]
async fn answers_come_while_the_request_stays_open() {
    let server = with_jobs(&["a", "b"]).await;
    let mut stream = server.watch("a").await;
    stream.next().await;
    let mut reporter = Reporter::open(&server).await;
    reporter.report(&json!({"job_id": "a", "processed_count": 1}));
    assert_eq!(stream.next_status().await["processed_count"], 1);
    reporter.report(&json!({"job_id": "x"}));
    let line = reporter.next().await.expect("a refusal");
    assert_eq!(refusal(&line), (2, Some("x"), "JOB_NOT_FOUND"));
    reporter.report(&json!({"job_id": "b", "status": "completed"}));
    reporter.report(&json!({"job_id": "b"}));
    let line = reporter.next().await.expect("a refusal");
    assert_eq!(refusal(&line), (4, Some("b"), "JOB_FINISHED"));
    reporter.finish();
    assert_eq!(
        reporter.rest().await,
        [json!({"accepted": 2, "refused": 2})]
    );
}

#[tokio::test]
async fn a_refused_first_line_is_answered_although_nothing_follows_it() {
    let server = with_jobs(&[]).await;
    for line in ["{\n", "{\"job_id\": \"x\"}\n"] {
        let mut reporter = Reporter::open(&server).await;
        reporter.send(line);
        let answer = reporter.next().await.expect("a refusal");
        assert_eq!(refusal(&answer).0, 1);
        reporter.finish();
        let last = json!({"accepted": 0, "refused": 1});
        assert_eq!(reporter.rest().await, [last]);
    }
}

#[tokio::test]
async fn the_wish_to_cancel_is_told_once_for_each_job() {
    let server = with_jobs(&["a", "b", "c"]).await;
    let mut reporter = Reporter::open(&server).await;
    for name in ["a", "b"] {
        server.report(name, json!({})).await;
        let path = format!("/api/v1/jobs/{name}/cancel");
        server
            .post(&path, json!({}))
            .await
            .expect(StatusCode::ACCEPTED);
        for _ in 0..3 {
            reporter.report(&json!({"job_id": name, "processed_increment": 1}));
            reporter.report(&json!({"job_id": "c", "processed_increment": 1}));
        }
        let told = json!({"job_id": name, "cancel_requested": true});
        assert_eq!(reporter.next().await, Some(told));
    }
    reporter.finish();
    assert_eq!(
        reporter.rest().await,
        [json!({"accepted": 12, "refused": 0})]
    );
}

#[tokio::test]
async fn a_drain_ends_the_request_after_what_came_before_it() {
    let server = with_jobs(&["a"]).await;
    let mut stream = server.watch("a").await;
    let mut reporter = Reporter::open(&server).await;
    reporter.report(&json!({"job_id": "a", "processed_count": 1}));
    stream
        .status_where(|status| status["processed_count"] == 1)
        .await;
    server.drain().await;
    let lines = reporter.rest().await;
    let error = json!({"code": "DRAINING", "message": "Server is shutting down"});
    assert_eq!(
        lines,
        [json!({"accepted": 1, "refused": 0, "error": error})]
    );
}

#[tokio::test]
async fn the_end_of_the_token_ends_the_request() {
    let server = TestServer::with(&people::configuration()).await;
    server
        .as_bearer("key-ann")
        .create(json!({"job_id": "a"}))
        .await;
    let claims = json!({"sub": "ann", "scope": "jobs:write", "exp": get_current_timestamp() + 2});
    let mut reporter = Reporter::open(&server.as_bearer(&token(&claims))).await;
    reporter.report(&json!({"job_id": "a"}));
    let lines = reporter.rest().await;
    let error = json!({"code": "TOKEN_EXPIRED", "message": "Token expired"});
    assert_eq!(
        lines,
        [json!({"accepted": 1, "refused": 0, "error": error})]
    );
}
