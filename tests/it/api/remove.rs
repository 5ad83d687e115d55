//! `DELETE /jobs/{id}` and the end of retention: 204, 410, and a name that is free again.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    in_time,
    ndjson::Reporter,
    server::{Answer, TestServer},
};

const JOB: &str = "/api/v1/jobs/a";

/// Every call on a job: method, path below it, body.
fn calls() -> Vec<(Method, &'static str, Value)> {
    vec![
        (Method::GET, "", Value::Null),
        (Method::GET, "/status", Value::Null),
        (Method::GET, "/status?wait=60&after=0", Value::Null),
        (Method::GET, "/stream", Value::Null),
        (Method::GET, "/results", Value::Null),
        (Method::GET, "/download", Value::Null),
        (Method::PATCH, "", json!({"processed_count": 1})),
        (Method::POST, "/events", json!({"event": "note"})),
        (Method::POST, "/results", json!([{"n": 1}])),
        (Method::POST, "/ticket", json!({})),
        (Method::POST, "/cancel", json!({})),
        (Method::DELETE, "", Value::Null),
    ]
}

async fn assert_every_call(server: &TestServer, status: u16, code: &str) {
    for (method, path, body) in calls() {
        let mut request = server.request(method, &format!("{JOB}{path}"));
        if !body.is_null() {
            request = request.json(&body);
        }
        Answer::of(request).await.error(status, code);
    }
    let mut reporter = Reporter::open(server).await;
    reporter.report(&json!({"job_id": "a", "processed_count": 1}));
    reporter.finish();
    let lines = reporter.rest().await;
    assert_eq!(lines[0]["error"]["code"], code, "{lines:?}");
}

#[tokio::test]
async fn an_unknown_job_is_not_found_by_any_call() {
    let server = TestServer::start().await;
    assert_every_call(&server, 404, "JOB_NOT_FOUND").await;
}

#[tokio::test]
async fn a_removed_job_is_gone_for_every_call() {
    for report in [None, Some(json!({})), Some(json!({"status": "completed"}))] {
        let server = TestServer::start().await;
        server.create(json!({"job_id": "a"})).await;
        if let Some(report) = report {
            server.report("a", report).await;
        }
        let answer = server.delete(JOB).await.expect(StatusCode::NO_CONTENT);
        assert_eq!(answer.text, "");
        assert_every_call(&server, 410, "JOB_GONE").await;
        assert_eq!(server.get("/api/v1/jobs").await.json()["jobs"], json!([]));
    }
}

#[tokio::test]
async fn those_who_watch_are_told() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    let mut stream = server.watch("a").await;
    stream.next_status().await;
    server.delete(JOB).await.expect(StatusCode::NO_CONTENT);
    let last = stream.next().await;
    assert_eq!(
        (last.name(), last.json()["code"].as_str()),
        ("error", Some("JOB_GONE"))
    );
    assert_eq!((last.id, last.retry), (None, Some(3_600_000)));
    stream.expect_end().await;
}

#[tokio::test]
async fn a_name_that_is_gone_may_be_created_anew() {
    let server = TestServer::start().await;
    let request = json!({"job_id": "a", "kind": "import"});
    let old = server.create(request.clone()).await;
    let report = json!({"processed_increment": 1, "data": {"k": 1}, "report_id": "r"});
    server.report("a", report.clone()).await;
    let event = json!({"event": "note"});
    server
        .post(&format!("{JOB}/events"), event)
        .await
        .expect(StatusCode::OK);
    server.delete(JOB).await.expect(StatusCode::NO_CONTENT);
    let new = server.create(request).await;
    assert!(new["seq"].as_u64() > old["seq"].as_u64());
    assert_eq!(
        (&new["status"], &new["data"]),
        (&json!("pending"), &Value::Null)
    );
    // Nothing of the old one is remembered: no report ids, no events.
    server.report("a", report).await;
    assert_eq!(server.status("a").await["processed_count"], 1);
    server.report("a", json!({"status": "completed"})).await;
    assert_eq!(server.resume("a", "0").await.rest().await.len(), 1);
}

#[tokio::test]
async fn a_finished_job_is_gone_when_its_time_is_up() {
    let server = TestServer::start().await;
    server
        .create(json!({"job_id": "a", "ttl_seconds": 0}))
        .await;
    assert_eq!(server.status("a").await["status"], "pending");
    server.report("a", json!({"status": "completed"})).await;
    assert_every_call(&server, 410, "JOB_GONE").await;
    server.create(json!({"job_id": "a"})).await;
}

#[tokio::test]
async fn after_a_while_a_name_is_unknown_again() {
    let server = TestServer::with("[jobs]\ngone_seconds = 1\n").await;
    server.create(json!({"job_id": "a"})).await;
    server.delete(JOB).await.expect(StatusCode::NO_CONTENT);
    let unknown = async {
        loop {
            let answer = server.get(JOB).await;
            match answer.status {
                StatusCode::GONE => tokio::task::yield_now().await,
                _ => return answer,
            }
        }
    };
    in_time("the end of the tombstone", unknown)
        .await
        .error(404, "JOB_NOT_FOUND");
}
