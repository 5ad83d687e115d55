//! `POST /jobs` with the job's stream as the answer: one request that creates and watches, and that may be sent again.

mod refusals;
mod repeats;
mod wire;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    scrape::Scrape,
    server::{Answer, TestServer},
    sse::{Block, SseStream},
    staged_store::StagedStore,
    until,
};

const JOBS: &str = "/api/v1/jobs";

/// The runner without lookups.
const OFFLINE: &str = "[runner.email]\ndns = 'off'\n";

/// Asks for a job and its stream.
fn asking(server: &TestServer, body: &Value) -> RequestBuilder {
    let request = server.request(Method::POST, JOBS).json(body);
    request.header("accept", "text/event-stream")
}

/// Asks for a runner's job on `list`, and its stream.
fn uploading(server: &TestServer, key: &str, list: &str) -> RequestBuilder {
    let path = format!("{JOBS}?kind=email-validation");
    let request = server.request(Method::POST, &path);
    let request = request.header("content-type", "text/plain");
    let request = request.header("accept", "text/event-stream");
    request.header("idempotency-key", key).body(list.to_owned())
}

/// The stream that answers, which must have this status.
async fn stream_of(request: RequestBuilder, status: StatusCode) -> SseStream {
    let stream = SseStream::open(request).await;
    assert_eq!(stream.head.status, status);
    assert_eq!(stream.head.headers["content-type"], "text/event-stream");
    stream
}

/// The job that a stream's head names.
fn job_of(stream: &SseStream) -> String {
    let path = stream.head.headers["location"].to_str().expect("a path");
    path.strip_prefix("/api/v1/jobs/")
        .expect("a job")
        .to_owned()
}

/// Nothing was made.
async fn expect_no_job(server: &TestServer) {
    let list = server.get(JOBS).await.expect(StatusCode::OK).json();
    assert_eq!(list["jobs"], json!([]));
}

#[tokio::test]
async fn a_job_that_a_worker_does_is_created_and_watched_to_its_end() {
    let server = TestServer::start().await;
    let request = asking(&server, &json!({"job_id": "a", "total_count": 4}));
    let mut stream = stream_of(request, StatusCode::CREATED).await;
    assert_eq!(stream.head.headers["location"], "/api/v1/jobs/a");
    let first = stream.next().await;
    assert_eq!(first.json()["status"], "pending");
    assert_eq!(first.id, Some(first.json()["seq"].to_string()));
    assert!(first.retry.is_some());
    let answer = server.report("a", json!({"processed_count": 1})).await;
    assert_eq!(answer["watchers"], 1);
    assert_eq!(stream.next_status().await["processed_count"], 1);
    let event = json!({"event": "log", "data": "half way"});
    server.post("/api/v1/jobs/a/events", event).await;
    assert_eq!(stream.next().await.data, "\"half way\"");
    server.report("a", json!({"status": "completed"})).await;
    let last = stream.next().await;
    assert_eq!(last.json(), server.status("a").await);
    assert_eq!(last.retry, Some(3_600_000));
    stream.expect_end().await;
    until("the seat is free", async || {
        server.usage().seats_taken() == 0
    })
    .await;
}

#[tokio::test]
async fn an_upload_is_answered_with_the_work_on_it() {
    let server = TestServer::with(OFFLINE).await;
    let request = uploading(&server, "k", "ann@a.example\nann\n");
    let mut stream = stream_of(request, StatusCode::CREATED).await;
    let job_id = job_of(&stream);
    let blocks = stream.rest().await;
    assert!(blocks.iter().all(|block| block.name() == "status"));
    let last = blocks.last().expect("a terminal block").json();
    assert_eq!(
        (&last["job_id"], &last["status"], &last["total_emails"]),
        (&json!(job_id), &json!("completed"), &json!(2))
    );
    let rows = server.get(&format!("{JOBS}/{job_id}/results")).await;
    assert_eq!(rows.json()["total"], 2);
}

#[tokio::test]
async fn an_input_in_the_body_is_work_too() {
    let server = TestServer::with(OFFLINE).await;
    let body = json!({"job_id": "a", "kind": "email-validation", "input": ["ann"]});
    let mut stream = stream_of(asking(&server, &body), StatusCode::CREATED).await;
    let last = stream.rest().await.pop().expect("a terminal block").json();
    assert_eq!(last["status"], "completed");
    let failing = uploading(&server, "k", "");
    let blocks = stream_of(failing, StatusCode::CREATED).await.rest().await;
    let names: Vec<_> = blocks.iter().rev().map(Block::name).collect();
    assert_eq!(names[..2], ["status", "error"]);
}

#[tokio::test]
async fn json_is_the_answer_unless_a_stream_is_preferred() {
    let server = TestServer::start().await;
    for (number, accept) in [
        "*/*",
        "application/json",
        "application/json, text/event-stream",
        "text/event-stream;q=0.9, application/json",
        "text/html, */*;q=0.8",
        "nonsense",
        "",
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({"job_id": format!("j-{number}")});
        let request = server.request(Method::POST, JOBS).json(&body);
        let answer = Answer::of(request.header("accept", accept)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{accept}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    for (number, accept) in [
        "Text/Event-Stream",
        "text/event-stream, */*",
        "text/event-stream, application/json;q=0.9",
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({"job_id": format!("s-{number}")});
        let request = server.request(Method::POST, JOBS).json(&body);
        stream_of(request.header("accept", accept), StatusCode::CREATED).await;
    }
}

#[tokio::test]
async fn whoever_leaves_cancels_nothing() {
    let server = TestServer::with(OFFLINE).await;
    let stream = stream_of(
        asking(&server, &json!({"job_id": "a"})),
        StatusCode::CREATED,
    )
    .await;
    drop(stream);
    until("the watcher is gone", async || {
        server.watchers("a").await == 0
    })
    .await;
    let status = server.status("a").await;
    assert_eq!(
        (&status["status"], &status["cancel_requested"]),
        (&json!("pending"), &json!(false))
    );
    let list = "a@a.example\n".repeat(2_000);
    let stream = stream_of(uploading(&server, "k", &list), StatusCode::CREATED).await;
    let job_id = job_of(&stream);
    drop(stream);
    let last = server.watch(&job_id).await.rest().await;
    assert_eq!(last.last().expect("an end").json()["status"], "completed");
}

#[tokio::test]
async fn whoever_leaves_while_the_job_is_made_cancels_nothing() {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), OFFLINE).await;
    for (round, is_streamed) in [(1, true), (2, false)] {
        store.creations.shut();
        let accept = if is_streamed {
            "text/event-stream"
        } else {
            "*/*"
        };
        let body =
            json!({"job_id": format!("j-{round}"), "kind": "email-validation", "input": ["a"]});
        let request = server.request(Method::POST, JOBS).json(&body);
        let asking = tokio::spawn(request.header("accept", accept).send());
        store.creations.until_arrivals(round).await;
        asking.abort();
        assert!(asking.await.is_err());
        until("the seat is free", async || {
            server.usage().seats_taken() == 0
        })
        .await;
        store.creations.open();
        let job_id = format!("j-{round}");
        let is_there = async || {
            server
                .get(&format!("{JOBS}/{job_id}"))
                .await
                .status
                .is_success()
        };
        until("the job", is_there).await;
        let last = server.watch(&job_id).await.rest().await;
        assert_eq!(last.last().expect("an end").json()["status"], "completed");
    }
}

#[tokio::test]
async fn it_is_counted_as_a_stream_and_as_a_post() {
    let server = TestServer::start().await;
    let mut stream = stream_of(
        asking(&server, &json!({"job_id": "a"})),
        StatusCode::CREATED,
    )
    .await;
    let first = stream.next().await;
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.value("progressd_streams_open", &[]), 1.0);
    let posts = [("method", "POST"), ("status", "2xx")];
    assert_eq!(scrape.value("progressd_requests_total", &posts), 1.0);
    server.report("a", json!({"status": "completed"})).await;
    stream.rest().await;
    let again = asking(&server, &json!({"job_id": "a"}));
    let id = first.id.expect("an id");
    stream_of(again.header("last-event-id", id), StatusCode::OK)
        .await
        .rest()
        .await;
    let scrape = Scrape::of(&server).await;
    for join in ["fresh", "resumed"] {
        let joins = scrape.value("progressd_joins_total", &[("cursor", join)]);
        assert_eq!(joins, 1.0, "{join}");
    }
    let ends = [("reason", "finished")];
    assert_eq!(scrape.value("progressd_stream_ends_total", &ends), 2.0);
}
