//! The shipped nginx configuration, in a real nginx; and one that knows nothing of progressd.

use bytes::Bytes;
use progressd::config::Config;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    client_program::ClientProgram,
    fault_proxy::{Fault, FaultProxy},
    in_time,
    ndjson::{Reporter, refusal},
    nginx::{Nginx, SHIPPED, STOCK},
    people,
    ports::free_address,
    server::{Answer, TestServer},
    sse::{Block, SseStream},
    staged_store::{Fate, StagedStore},
    until,
};

/// Every status is sent; clients come back soon. With keys: an open server refuses what a proxy passes on.
fn settings() -> String {
    format!(
        "stream.update_interval_ms = 0\nstream.retry_ms = 200\n{}",
        people::configuration()
    )
}

/// A server with nginx in front, as somebody sees it who may do everything.
async fn behind(configuration: &str) -> (TestServer, Nginx, TestServer) {
    let server = TestServer::with(&settings()).await;
    let nginx = Nginx::start(configuration, server.address()).await;
    let outside = server.through(&nginx.url).as_bearer("key-all");
    (server, nginx, outside)
}

/// Opens a job's stream as an `EventSource` does.
async fn event_source(outside: &TestServer, path: &str) -> SseStream {
    let request = outside.request(Method::GET, path);
    SseStream::open(request.header("accept", "text/event-stream")).await
}

#[tokio::test]
async fn blocks_arrive_while_the_job_runs_and_the_end_ends() {
    for configuration in [SHIPPED, STOCK] {
        let (_server, _nginx, outside) = behind(configuration).await;
        outside
            .create(json!({"job_id": "j", "total_count": 3}))
            .await;
        let mut stream = event_source(&outside, "/api/v1/jobs/j/stream").await;
        assert_eq!(stream.head.status, StatusCode::OK);
        assert_eq!(stream.next_status().await["status"], "pending");
        for count in 1..=3 {
            // Each comes before the next is sent: nothing is held back to fill a buffer.
            outside.report("j", json!({"processed_count": count})).await;
            let is_there = |status: &Value| status["processed_count"] == count;
            stream.status_where(is_there).await;
        }
        outside.report("j", json!({"status": "completed"})).await;
        let last = stream.next().await;
        assert_eq!(last.json()["status"], "completed");
        stream.expect_end().await;
        let id = last.id.expect("the end has an id");
        let again = outside.resume("j", &id).await;
        assert_eq!(again.head.status, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn reports_and_their_answers_travel_at_the_same_time() {
    let (_server, _nginx, outside) = behind(SHIPPED).await;
    outside.create(json!({"job_id": "j"})).await;
    let mut reporter = Reporter::open(&outside).await;
    for line in [1, 3, 5] {
        reporter.report(&json!({"job_id": "j", "processed_count": line}));
        reporter.report(&json!({"job_id": "nobody"}));
        let answer = reporter.next().await.expect("a refused line");
        let expected = (line + 1, Some("nobody"), "JOB_NOT_FOUND");
        assert_eq!(refusal(&answer), expected);
    }
    assert_eq!(outside.status("j").await["processed_count"], 5);
    reporter.finish();
    let last = reporter.rest().await;
    assert_eq!(last, [json!({"accepted": 3, "refused": 3})]);
}

#[tokio::test]
async fn more_reports_than_any_buffer_holds_pass_after_an_answer_has_begun() {
    let (_server, _nginx, outside) = behind(SHIPPED).await;
    outside.create(json!({"job_id": "j"})).await;
    let mut reporter = Reporter::open(&outside).await;
    reporter.report(&json!({"job_id": "nobody"}));
    reporter.next().await.expect("a refused line");
    // Blank lines: the server has hardly any work with them, and still reads more slowly than
    // this is written.
    let blank = Bytes::from(" ".repeat(64 * 1024 - 1) + "\n");
    for _ in 0..250 {
        reporter.send(blank.clone());
    }
    reporter.report(&json!({"job_id": "j", "processed_count": 7}));
    reporter.finish();
    let last = reporter.rest().await;
    assert_eq!(last, [json!({"accepted": 1, "refused": 1})]);
}

#[tokio::test]
async fn an_upload_passes_and_one_that_is_too_large_gets_the_servers_own_answer() {
    let (_server, _nginx, outside) = behind(SHIPPED).await;
    let path = "/api/v1/jobs?kind=email-validation";
    let upload = |content: Bytes| {
        let request = outside.request(Method::POST, path).body(content);
        Answer::of(request.header("content-type", "text/plain"))
    };
    // More than nginx keeps in memory.
    let list = "ann@example.com\n".repeat(20_000);
    upload(list.into()).await.expect(StatusCode::CREATED);
    let most = Config::from_toml("")
        .expect("the defaults")
        .limits
        .upload_bytes;
    let refused = upload(Bytes::from(vec![b'\n'; most + 1])).await;
    refused.error(413, "PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn the_servers_own_refusals_pass_unchanged() {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), &settings()).await;
    let nginx = Nginx::start(SHIPPED, server.address()).await;
    let outside = server.through(&nginx.url).as_bearer("key-all");
    outside.create(json!({"job_id": "j"})).await;
    store.every_call(Fate::Failed);
    let path = "/api/v1/jobs/other/stream";
    let refused = outside.get(path).await;
    refused.error(503, "STORE_UNAVAILABLE");
    let mut stream = event_source(&outside, path).await;
    assert_eq!(stream.head.status, StatusCode::OK);
    assert_eq!(stream.next().await.json()["code"], "STORE_UNAVAILABLE");
    // nginx has given the request its id, so that one word finds it in both logs.
    let request_id = refused.header("x-request-id").expect("an id").to_owned();
    assert!(nginx.access_log().contains(&request_id));
}

#[tokio::test]
async fn without_a_server_an_event_source_is_told_to_come_back_and_others_the_status() {
    let nginx = Nginx::start(SHIPPED, free_address()).await;
    let server = TestServer::start().await;
    let outside = server.through(&nginx.url);
    let path = "/api/v1/jobs/j/stream?token=not-for-the-log";
    let mut stream = event_source(&outside, path).await;
    assert_eq!(stream.head.status, StatusCode::OK);
    assert_eq!(stream.head.headers["content-type"], "text/event-stream");
    let block = stream.next().await;
    let told = "Server is not reachable";
    let expected = json!({"error": told, "message": told, "code": "SERVER_UNAVAILABLE"});
    assert_eq!((block.name(), &block.json()), ("error", &expected));
    assert!(block.retry.is_some() && block.id.is_none(), "{block:?}");
    stream.expect_end().await;
    for (method, path) in [
        (Method::GET, path),
        (Method::POST, "/api/v1/jobs"),
        (Method::POST, "/api/v1/reports"),
    ] {
        let answer = Answer::of(outside.request(method, path)).await;
        assert_eq!(answer.error(502, "SERVER_UNAVAILABLE"), told);
        assert_eq!(answer.header("retry-after"), Some("5"));
    }
    let log = nginx.access_log();
    assert!(
        log.contains("\"GET /api/v1/jobs/j/stream HTTP/1.1\" 200"),
        "{log}"
    );
    assert!(!log.contains("not-for-the-log"), "{log}");
}

#[tokio::test]
async fn an_event_source_finds_its_way_back_to_a_server_that_was_down() {
    let server = &TestServer::with(&settings()).await;
    let inside = &server.as_bearer("key-all");
    for program in [
        ClientProgram::EventSource2,
        ClientProgram::EventSourceLatest,
    ] {
        let job_id = &format!("{program:?}");
        inside.create(json!({"job_id": job_id})).await;
        let switch = FaultProxy::before(server.address(), Fault::Down).await;
        let nginx = Nginx::start(SHIPPED, switch.address).await;
        let url = format!("{}/api/v1/jobs/{job_id}/stream", nginx.url);
        let options = ["--token", "key-all", "--event", "line", "--close-at-end"];
        let drive = async {
            let event = async |number: u32| {
                let path = format!("/api/v1/jobs/{job_id}/events");
                let body = json!({"event": "line", "data": number});
                inside.post(&path, body).await.expect(StatusCode::OK);
            };
            let refused = |times: usize| {
                let nginx = &nginx;
                until("a refusal of nginx", async move || {
                    let log = nginx.error_log();
                    log.matches("connect() failed").count() >= times
                })
            };
            let watched = |watchers: usize| {
                until("the client's coming or going", async move || {
                    server.watchers(job_id).await == watchers
                })
            };
            refused(2).await;
            switch.set(Fault::None).await;
            watched(1).await;
            event(1).await;
            switch.set(Fault::Down).await;
            event(2).await;
            refused(4).await;
            switch.set(Fault::None).await;
            watched(1).await;
            event(3).await;
            inside.report(job_id, json!({"status": "completed"})).await;
        };
        let (lines, ()) = tokio::join!(program.follow(&url, &options), drive);
        let of = |name: &'static str| lines.iter().filter(move |line| line["type"] == name);
        let told: Vec<_> = of("line").map(|line| &line["data"]).collect();
        assert_eq!(json!(told), json!([1, 2, 3]), "{program:?}: {lines:#?}");
        let away = of("error").filter(|line| line["data"]["code"] == "SERVER_UNAVAILABLE");
        assert!(away.count() >= 4, "{program:?}: {lines:#?}");
        let last = of("status").next_back().expect("a last status");
        assert_eq!(last["data"]["status"], "completed");
    }
}

#[tokio::test]
async fn a_drain_is_told_through_nginx() {
    let (server, _nginx, outside) = behind(SHIPPED).await;
    outside.create(json!({"job_id": "j"})).await;
    let mut stream = event_source(&outside, "/api/v1/jobs/j/stream").await;
    stream.next_status().await;
    let drain = tokio::spawn(server.drain());
    let last: Vec<Block> = stream.rest().await;
    assert_eq!(last.len(), 1, "{last:?}");
    assert_eq!(last[0].json()["code"], "DRAINING");
    assert!(last[0].retry.is_some());
    in_time("the end of the drain", drain)
        .await
        .expect("no panic");
}

#[tokio::test]
async fn watchers_come_back_at_once_when_every_node_was_away() {
    let mut nodes = Vec::new();
    let mut ways = Vec::new();
    for _ in 0..2 {
        let node = TestServer::with(&settings()).await;
        let inside = node.as_bearer("key-all");
        inside.create(json!({"job_id": "j"})).await;
        ways.push(FaultProxy::before(node.address(), Fault::None).await);
        nodes.push(node);
    }
    let nginx = Nginx::before(&[ways[0].address, ways[1].address]).await;
    let outside = nodes[0].as_bearer("key-all").through(&nginx.url);
    for way in &ways {
        way.set(Fault::Down).await;
    }
    // nginx has found out, of both of them.
    for _ in 0..4 {
        let answer = outside.get("/api/v1/jobs/j/stream").await;
        answer.expect(StatusCode::BAD_GATEWAY);
    }
    for way in &ways {
        way.set(Fault::None).await;
    }
    // A stream tells nginx nothing about its node until it ends: all the same it turns nobody away.
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = outside.watch("j").await;
        assert_eq!(stream.head.status, StatusCode::OK);
        stream.next_status().await;
        streams.push(stream);
    }
}
