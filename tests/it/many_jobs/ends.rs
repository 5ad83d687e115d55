//! How a stream of many jobs ends other than with its jobs, and at what pace they are told on it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{PATH, emit, jobs_at_first, open, said, snapshot, words};
use crate::support::{
    raw_client::RawClient,
    server::TestServer,
    sse::SseStream,
    staged_store::{Call, Fate, StagedStore},
};

/// The body of a stream, to its end.
async fn body(server: &TestServer, query: &str, cursor: &str) -> String {
    let line = format!("GET {PATH}?{query} HTTP/1.0");
    let headers = [("Last-Event-ID", cursor)];
    let mut client = RawClient::request(&server.url, &line, &headers).await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
    client.read_to_end().await
}

/// What stands behind the last block but one.
fn last_block(body: &str) -> &str {
    let before_it = body[..body.len() - 2].rfind("\n\n");
    &body[before_it.map_or(0, |end| end + 2)..]
}

#[tokio::test]
async fn the_longest_duration_ends_it_to_the_byte() {
    let server = TestServer::with("stream.max_duration_seconds = 1").await;
    server.create(json!({"job_id": "a"})).await;
    for query in ["", "job=a"] {
        let body = body(&server, query, "").await;
        let (first, _) = body.split_once('\n').expect("blocks");
        assert_eq!(first, "event: status");
        assert_eq!(
            last_block(&body),
            "event: error\n\
             data: {\"error\":\"Stream timeout\",\"message\":\"Stream timeout\",\"code\":\"STREAM_TIMEOUT\"}\n\
             \n"
        );
    }
}

#[tokio::test]
async fn a_job_that_cannot_be_read_ends_it_to_the_byte() {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), "").await;
    server.create(json!({"job_id": "a"})).await;
    emit(&server, "a", json!(1)).await;
    // The list is there, and what a client has missed is not.
    store.follow(|call| match call {
        Call::EventsAfter => Fate::Failed,
        _ => Fate::Done,
    });
    for query in ["", "job=a"] {
        assert_eq!(
            body(&server, query, "1").await,
            "event: error\n\
             data: {\"error\":\"Internal server error\",\"message\":\"Internal server error\",\"code\":\"INTERNAL\"}\n\
             \n"
        );
    }
    assert_eq!(server.watchers("a").await, 0);
    // Nobody who needs no events meets any of it.
    let mut stream = open(&server, "").await;
    assert_eq!(jobs_at_first(&mut stream).await, ["a"]);
}

#[tokio::test]
async fn without_its_jobs_it_does_not_begin() {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), "").await;
    store.every_call(Fate::Failed);
    for query in ["", "job=a"] {
        let path = format!("{PATH}?{query}");
        let answer = server.get(&path).await;
        answer.error(503, "STORE_UNAVAILABLE");
        let request = server.request(Method::GET, &path);
        let request = request.header("accept", "text/event-stream");
        let mut told = SseStream::open(request).await;
        assert_eq!(told.head.status, StatusCode::OK);
        let only = told.next().await;
        assert_eq!(
            (only.name(), &only.json()["code"], &only.id),
            ("error", &json!("STORE_UNAVAILABLE"), &None)
        );
        told.expect_end().await;
    }
}

/// The interval is a minute, longer than any test: whatever comes did not wait.
#[tokio::test]
async fn each_job_keeps_its_own_pace_on_it() {
    let server = TestServer::with("stream.update_interval_ms = 60000").await;
    for job_id in ["a", "b", "c"] {
        server.create(json!({"job_id": job_id})).await;
    }
    let mut stream = open(&server, "").await;
    snapshot(&mut stream).await;
    for job_id in ["a", "b"] {
        // The first change of each goes out at once, and the rest of its minute waits.
        server.report(job_id, json!({"status": "processing"})).await;
        let told = said(&stream.next().await);
        assert_eq!(told, words("status", job_id, json!("processing")));
    }
    let report = |count| {
        let line = move |job_id| json!({"job_id": job_id, "processed_count": count}).to_string();
        ["a", "b"].map(line).join("\n")
    };
    let burst: Vec<_> = (1..=50).map(report).collect();
    let request = server.request(Method::POST, "/api/v1/reports");
    let answer = request.body(burst.join("\n")).send().await;
    assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
    // Events do not wait, and drag nothing along; nor does another job's first change.
    emit(&server, "a", json!(1)).await;
    assert_eq!(said(&stream.next().await), words("line", "a", json!(1)));
    server.report("c", json!({"processed_count": 1})).await;
    let first = stream.next().await;
    assert_eq!(said(&first), words("status", "c", json!("processing")));
    // What waited comes with the next change that does not.
    let cancelling = server.post("/api/v1/jobs/b/cancel", json!({})).await;
    cancelling.expect(StatusCode::ACCEPTED);
    server.report("a", json!({"status": "completed"})).await;
    for (job_id, field, value) in [
        ("b", "cancel_requested", json!(true)),
        ("a", "status", json!("completed")),
    ] {
        let status = stream.next().await.json();
        let told: [&Value; 3] = [
            &status["job_id"],
            &status[field],
            &status["processed_count"],
        ];
        assert_eq!(told, [&json!(job_id), &value, &json!(50)]);
    }
}
