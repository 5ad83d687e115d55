//! Clients that hold on to what they have and do nothing with it.

use std::io::Write as _;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::{in_time, process::Process, raw_client::RawClient, server::TestServer, until};

/// Half of a head, in the middle of different lines.
const HALF_HEADS: [&str; 3] = ["GET", "GET /healthz HTTP/1.1\r\nHo", "PRI * HTTP/2.0\r\n"];

#[tokio::test]
async fn heads_that_never_end_are_cut_however_many_there_are_and_others_are_served() {
    let server = TestServer::with("limits.header_timeout_seconds = 2").await;
    server.create(json!({"job_id": "j"})).await;
    let half = async |number: usize| {
        let mut client = RawClient::connect(&server.url).await;
        client.send(HALF_HEADS[number % HALF_HEADS.len()]).await;
        client
    };
    let clients = join_all((0..300).map(half)).await;
    let mut watcher = server.watch("j").await;
    watcher.next_status().await;
    server.report("j", json!({"step": "served"})).await;
    watcher
        .status_where(|status| status["step"] == "served")
        .await;
    join_all(clients.into_iter().map(async |mut client| {
        assert_eq!(client.read_to_end().await, "");
    }))
    .await;
}

/// The process's memory may grow by this much for 100 readers that leave 12 MiB each unread.
const ROOM: usize = 200 << 20;

#[tokio::test]
async fn a_hundred_readers_that_stall_cost_little_and_are_cut() {
    let mut file = NamedTempFile::new().expect("a temporary file");
    write!(file, "[limits]\nwrite_timeout_seconds = 3\n").expect("a writable file");
    let process = Process::configured_by(file.path()).await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let jobs = format!("{}/api/v1/jobs", process.url);
    let post = async |path: &str, body: &Value| {
        let request = client.post(format!("{jobs}{path}")).json(body).send();
        in_time("an answer", request).await.expect("an answer");
    };
    post("", &json!({"job_id": "j"})).await;
    let before = process.resident_bytes();
    let stalled = join_all((0..100).map(async |_| {
        let mut client = RawClient::connect_with_little_room(&process.url).await;
        client
            .send("GET /api/v1/jobs/j/stream HTTP/1.0\r\n\r\n")
            .await;
        client.read_until("\n\n").await;
        client
    }))
    .await;
    let event = json!({"event": "big", "data": "x".repeat(60_000)});
    let batch = Value::from(vec![event; 10]);
    let mut most = 0;
    for _ in 0..20 {
        post("/j/events", &batch).await;
        most = most.max(process.resident_bytes());
    }
    assert!(most < before + ROOM, "from {before} to {most} bytes");
    // The write timeout is the server's own clock; its effect is waited for.
    until("the cut", async || {
        let report = client
            .patch(format!("{jobs}/j"))
            .json(&json!({}))
            .send()
            .await;
        let answer: Value = report.expect("an answer").json().await.expect("JSON");
        answer["watchers"] == 0
    })
    .await;
    drop(stalled);
}
