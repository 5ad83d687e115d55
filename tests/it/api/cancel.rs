//! `POST /jobs/{id}/cancel`: the whole loop from a page to a worker and back.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::server::{Answer, TestServer};

const CANCEL: &str = "/api/v1/jobs/a/cancel";

async fn with_job() -> TestServer {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    server
}

async fn cancel(server: &TestServer) -> Value {
    let answer = server.post(CANCEL, json!({})).await;
    answer.expect(StatusCode::ACCEPTED).json()
}

#[tokio::test]
async fn a_worker_reads_the_wish_in_its_next_answer_and_ends_the_job() {
    let server = with_job().await;
    let answer = server.report("a", json!({"processed_count": 1})).await;
    assert_eq!(answer["cancel_requested"], false);
    let mut stream = server.watch("a").await;
    assert_eq!(stream.next_status().await["cancel_requested"], false);
    let answer = cancel(&server).await;
    assert_eq!(
        answer,
        json!({
            "job_id": "a", "status": "processing", "seq": answer["seq"],
            "cancel_requested": true, "watchers": 1,
        })
    );
    let status = stream.next_status().await;
    assert_eq!(
        (&status["status"], &status["cancel_requested"]),
        (&json!("processing"), &json!(true))
    );
    let answer = server.report("a", json!({"processed_count": 2})).await;
    assert_eq!(
        (&answer["status"], &answer["cancel_requested"]),
        (&json!("processing"), &json!(true))
    );
    server.report("a", json!({"status": "cancelled"})).await;
    let last = stream.rest().await.pop().expect("a terminal block");
    assert_eq!(
        (last.json()["status"].as_str(), last.retry),
        (Some("cancelled"), Some(3_600_000))
    );
}

#[tokio::test]
async fn a_job_that_nobody_has_started_is_cancelled_at_once() {
    let server = with_job().await;
    let mut stream = server.watch("a").await;
    stream.next().await;
    assert_eq!(cancel(&server).await["status"], "cancelled");
    let status = server.status("a").await;
    assert_eq!(status["cancel_requested"], true);
    assert!(status["finished_at"].is_string() && status["started_at"].is_null());
    assert_eq!(stream.next_status().await["status"], "cancelled");
    stream.expect_end().await;
    server
        .patch("/api/v1/jobs/a", json!({}))
        .await
        .error(409, "JOB_FINISHED");
}

#[tokio::test]
async fn a_worker_may_complete_a_job_whose_cancellation_was_asked_for() {
    for end in ["completed", "failed", "cancelled"] {
        let server = with_job().await;
        server.report("a", json!({})).await;
        cancel(&server).await;
        let answer = server.report("a", json!({"status": end})).await;
        assert_eq!(
            (&answer["status"], &answer["cancel_requested"]),
            (&json!(end), &json!(true))
        );
    }
}

#[tokio::test]
async fn asking_again_changes_nothing() {
    let server = with_job().await;
    server.report("a", json!({})).await;
    let first = cancel(&server).await;
    assert_eq!(cancel(&server).await, first);
    server.report("a", json!({"status": "cancelled"})).await;
    let status = server.status("a").await;
    assert_eq!(cancel(&server).await["status"], "cancelled");
    assert_eq!(server.status("a").await, status);
}

#[tokio::test]
async fn what_has_ended_otherwise_cannot_be_cancelled() {
    for end in ["completed", "failed"] {
        let server = with_job().await;
        server.report("a", json!({"status": end})).await;
        let status = server.status("a").await;
        let message = server
            .post(CANCEL, json!({}))
            .await
            .error(409, "JOB_FINISHED");
        assert!(message.contains(end), "{message}");
        assert_eq!(server.status("a").await, status);
    }
}

#[tokio::test]
async fn the_wish_survives_a_retry() {
    let server = with_job().await;
    server.report("a", json!({})).await;
    cancel(&server).await;
    let answer = server
        .report("a", json!({"status": "pending", "attempt": 2}))
        .await;
    assert_eq!(answer["cancel_requested"], true);
    assert_eq!(
        cancel(&server).await["status"],
        "cancelled",
        "pending again"
    );
}

#[tokio::test]
async fn no_body_is_needed_and_nothing_can_be_said_in_one() {
    let server = with_job().await;
    server.report("a", json!({})).await;
    let message = server
        .post(CANCEL, json!({"reason": "late"}))
        .await
        .error(400, "INVALID_REQUEST");
    assert!(message.starts_with("reason: "), "{message}");
    assert_eq!(server.status("a").await["cancel_requested"], false);
    for request in [
        server.request(Method::POST, CANCEL),
        server.request(Method::POST, CANCEL).json(&json!({})),
    ] {
        Answer::of(request).await.expect(StatusCode::ACCEPTED);
    }
}
