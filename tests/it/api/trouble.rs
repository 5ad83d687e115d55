//! A store that fails, or panics, under every call: what clients read, and what comes after.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    ndjson::{Reporter, refusal},
    server::{Answer, TestServer},
    staged_store::{CAUSE, Fate, StagedStore},
};

/// Calls that need the store, on the unfinished job `a` and the finished job `done`.
fn calls() -> Vec<(Method, &'static str, Value)> {
    vec![
        (Method::POST, "/jobs", json!({})),
        (Method::GET, "/jobs", Value::Null),
        (Method::GET, "/jobs/done", Value::Null),
        (Method::GET, "/jobs/done/stream", Value::Null),
        (Method::GET, "/jobs/unknown/status", Value::Null),
        (Method::PATCH, "/jobs/a", json!({"processed_increment": 1})),
        (Method::POST, "/jobs/a/events", json!({"event": "note"})),
        (Method::POST, "/jobs/a/results", json!([{"n": 1}])),
        (Method::POST, "/jobs/done/ticket", json!({})),
        (Method::POST, "/jobs/a/cancel", json!({})),
        (Method::GET, "/jobs/a/results", Value::Null),
        (Method::GET, "/jobs/a/download", Value::Null),
        (Method::DELETE, "/jobs/a", Value::Null),
    ]
}

async fn with_jobs() -> (std::sync::Arc<StagedStore>, TestServer) {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), "").await;
    for job_id in ["a", "done"] {
        server.create(json!({"job_id": job_id})).await;
        server.report(job_id, json!({})).await;
    }
    server.report("done", json!({"status": "completed"})).await;
    (store, server)
}

async fn call(server: &TestServer, (method, path, body): (Method, &str, Value)) -> Answer {
    let request = server.request(method, &format!("/api/v1{path}"));
    let request = if body.is_null() {
        request
    } else {
        request.json(&body)
    };
    Answer::of(request).await
}

#[tokio::test]
async fn a_failing_store_is_unavailable_by_every_call_and_says_no_more() {
    let (store, server) = with_jobs().await;
    let before = server.status("a").await;
    store.every_call(Fate::Failed);
    for request in calls() {
        let answer = call(&server, request).await;
        answer.error(503, "STORE_UNAVAILABLE");
        assert_eq!(answer.header("retry-after"), Some("5"));
        assert!(!answer.text.contains(CAUSE), "{}", answer.text);
    }
    // What this node holds can still be read.
    assert_eq!(server.status("a").await, before);
    store.every_call(Fate::Done);
    assert_eq!(
        server.status("a").await,
        before,
        "what was refused left nothing behind"
    );
    for request in calls() {
        let path = request.1;
        let status = call(&server, request).await.status;
        assert_ne!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
}

#[tokio::test]
async fn a_line_of_reports_is_refused_and_the_next_ones_are_not() {
    let (store, server) = with_jobs().await;
    let mut reporter = Reporter::open(&server).await;
    store.every_call(Fate::Failed);
    reporter.report(&json!({"job_id": "a", "processed_increment": 1}));
    let line = reporter.next().await.expect("a refusal");
    assert_eq!(refusal(&line), (1, Some("a"), "STORE_UNAVAILABLE"));
    assert!(!line.to_string().contains(CAUSE));
    store.every_call(Fate::Done);
    reporter.report(&json!({"job_id": "a", "processed_increment": 1}));
    reporter.finish();
    assert_eq!(
        reporter.rest().await,
        [json!({"accepted": 1, "refused": 1})]
    );
    assert_eq!(server.status("a").await["processed_count"], 1);
}

#[tokio::test]
async fn a_refused_report_is_not_remembered_as_answered() {
    let (store, server) = with_jobs().await;
    let report = json!({"processed_increment": 1, "report_id": "r"});
    store.every_call(Fate::Failed);
    server
        .patch("/api/v1/jobs/a", report.clone())
        .await
        .error(503, "STORE_UNAVAILABLE");
    store.every_call(Fate::Done);
    server.report("a", report.clone()).await;
    server.report("a", report).await;
    assert_eq!(server.status("a").await["processed_count"], 1);
}

#[tokio::test]
async fn readiness_tells_which_part_failed_and_liveness_does_not_care() {
    let (store, server) = with_jobs().await;
    let ready = server.get("/readyz").await.expect(StatusCode::OK).json();
    assert_eq!(
        ready,
        json!({"status": "ok", "checks": {"store": "ok", "accepting": "ok"}})
    );
    store.every_call(Fate::Failed);
    let answer = server
        .get("/readyz")
        .await
        .expect(StatusCode::SERVICE_UNAVAILABLE);
    let checks = json!({"store": "failed", "accepting": "ok"});
    assert_eq!(answer.json(), json!({"status": "failed", "checks": checks}));
    server.get("/healthz").await.expect(StatusCode::OK);
    store.every_call(Fate::Done);
    server.get("/readyz").await.expect(StatusCode::OK);
    server.registry().drain();
    let answer = server
        .get("/readyz")
        .await
        .expect(StatusCode::SERVICE_UNAVAILABLE);
    let checks = json!({"store": "ok", "accepting": "failed"});
    assert_eq!(answer.json(), json!({"status": "failed", "checks": checks}));
    assert_eq!(server.get("/healthz").await.json(), json!({"status": "ok"}));
}

#[tokio::test]
async fn a_panic_is_an_internal_error_of_its_request_alone() {
    let (store, server) = with_jobs().await;
    store.every_call(Fate::Panics);
    for path in ["/jobs", "/jobs/done", "/jobs/a/results"] {
        let answer = call(&server, (Method::GET, path, Value::Null)).await;
        assert_eq!(answer.error(500, "INTERNAL"), "Internal server error");
        assert!(answer.header("retry-after").is_none() && !answer.text.contains("purpose"));
    }
    // Whoever meets a writer that panicked is told the truth: nothing is known of the change.
    let answer = server
        .patch("/api/v1/jobs/a", json!({"processed_increment": 1}))
        .await;
    assert!(answer.status.is_server_error(), "{}", answer.text);
    store.every_call(Fate::Done);
    server.report("a", json!({"processed_increment": 1})).await;
    assert_eq!(server.status("a").await["processed_count"], 1);
}

#[tokio::test]
async fn a_server_that_shuts_down_takes_no_new_work() {
    let (_, server) = with_jobs().await;
    server.registry().drain();
    for request in calls() {
        let answer = call(&server, request).await;
        answer.error(503, "DRAINING");
        assert_eq!(answer.header("retry-after"), Some("5"));
    }
    let request = server.request(Method::POST, "/api/v1/reports").body("{}");
    Answer::of(request).await.error(503, "DRAINING");
}
