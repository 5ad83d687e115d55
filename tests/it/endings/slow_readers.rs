//! Watchers that do not read, or not fast enough.

use std::fmt::Write as _;

use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use super::{ending, expect_ending};
use crate::support::{
    in_time,
    raw_client::RawClient,
    server::{FLOOD_EVENTS, TestServer},
    sse::{Block, SseStream},
    staged_store::{Fate, StagedStore},
};

/// Nobody is cut within a test, and every report is sent.
const PATIENT: &str = "[stream]\nupdate_interval_ms = 0\n[limits]\nwrite_timeout_seconds = 600";

/// Joins `j` and reads its first block, with a receive buffer far smaller than what follows.
async fn stalled(server: &TestServer) -> RawClient {
    let mut client = RawClient::connect_with_little_room(&server.url).await;
    client
        .send("GET /api/v1/jobs/j/stream HTTP/1.0\r\n\r\n")
        .await;
    client.read_until("\n\n").await;
    client
}

/// Everything that is left for a client, as blocks.
async fn rest_of(client: RawClient) -> Vec<Block> {
    let mut bytes = Vec::new();
    let mut socket = client.into_socket();
    in_time("the rest", socket.read_to_end(&mut bytes))
        .await
        .expect("closed, not reset");
    let text = String::from_utf8(bytes).expect("blocks are UTF-8");
    let (text, end) = text.split_at(text.len() - 2);
    assert_eq!(end, "\n\n");
    text.split("\n\n")
        .map(|block| Block::parse(block.trim_start_matches(":\n")))
        .collect()
}

#[tokio::test]
async fn a_reader_that_stalls_is_cut_and_others_are_served() {
    let server = TestServer::with("[limits]\nwrite_timeout_seconds = 1").await;
    server.create(json!({"job_id": "j"})).await;
    let stalled = stalled(&server).await;
    let mut reader = server.watch("j").await;
    reader.next().await;
    let reading = tokio::spawn(async move {
        let mut events = 0;
        loop {
            let block = reader.next().await;
            events += usize::from(block.name() == "big");
            if block.json()["status"] == "completed" {
                return events;
            }
        }
    });
    server.flood("j").await;
    // The write timeout is the server's own clock; its effect is waited for.
    let is_alone = async {
        while server.report("j", json!({})).await["watchers"] != 1 {
            tokio::task::yield_now().await;
        }
    };
    in_time("the cut", is_alone).await;
    server.report("j", json!({"status": "completed"})).await;
    let events = in_time("the end", reading)
        .await
        .expect("a reader without a fault");
    assert_eq!(events, FLOOD_EVENTS);

    // What was on its way arrives, but not the end: the connection was reset or closed before.
    let mut bytes = Vec::new();
    let mut socket = stalled.into_socket();
    let _ = in_time(
        "the end of the cut connection",
        socket.read_to_end(&mut bytes),
    )
    .await;
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains("\"status\":\"completed\""));
}

#[tokio::test]
async fn a_slow_reader_skips_statuses_and_ends_with_the_right_one() {
    const REPORTS: usize = 12_000;
    let server = TestServer::with(PATIENT).await;
    server
        .create(json!({"job_id": "j", "total_count": REPORTS}))
        .await;
    let client = stalled(&server).await;
    let mut lines = String::new();
    for count in 1..=REPORTS {
        let message = "m".repeat(1_000);
        let report = json!({"job_id": "j", "processed_count": count, "message": message});
        let _ = writeln!(lines, "{report}");
    }
    let request = server.request(Method::POST, "/api/v1/reports").body(lines);
    let answer = in_time("the reports' answer", request.send())
        .await
        .expect("an answer");
    assert_eq!(
        answer.text().await.expect("a body"),
        format!("{{\"accepted\":{REPORTS},\"refused\":0}}\n")
    );
    server.report("j", json!({"status": "completed"})).await;

    let blocks = rest_of(client).await;
    // 18 MB were reported; at most what the kernel and one window of frames hold was kept.
    assert!(blocks.len() < REPORTS / 2, "{} blocks", blocks.len());
    let ids: Vec<u64> = blocks.iter().map(Block::seq).collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
    let last = blocks.last().expect("a last block");
    assert_eq!(last.retry, Some(3_600_000));
    assert_eq!(last.json()["processed_count"], REPORTS);
    assert_eq!(last.json()["status"], "completed");
}

#[tokio::test]
async fn a_reader_that_missed_events_is_told_and_gets_those_that_are_kept() {
    let server = TestServer::with(PATIENT).await;
    server.create(json!({"job_id": "j"})).await;
    let client = stalled(&server).await;
    let newest = server.flood("j").await;
    server.report("j", json!({"status": "completed"})).await;
    let blocks = rest_of(client).await;
    let events: Vec<u64> = blocks
        .iter()
        .filter(|block| block.name() == "big")
        .map(Block::seq)
        .collect();
    assert!(events.is_sorted_by(|a, b| a < b));
    assert!(events.len() < FLOOD_EVENTS, "{}", events.len());
    assert_eq!(events.last(), Some(&newest));
    let has_gap = |block: &&Block| block.name() == "status" && block.json()["gap"] == true;
    assert!(
        blocks.iter().any(|block| has_gap(&block)),
        "nobody said gap"
    );
    assert_eq!(blocks.last().expect("an end").json()["status"], "completed");
}

#[tokio::test]
async fn a_stream_that_cannot_catch_up_ends_with_an_internal_error() {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), PATIENT).await;
    server.create(json!({"job_id": "j"})).await;
    let client = stalled(&server).await;
    server.flood("j").await;
    store.every_call(Fate::Failed);
    let blocks = rest_of(client).await;
    let last = blocks.last().expect("an end");
    expect_ending(last, "INTERNAL", "Internal server error");
    assert_eq!(last.retry, None);
    assert_eq!(server.report("j", json!({})).await["watchers"], 0);
}

#[tokio::test]
async fn on_http_2_a_reader_without_a_window_is_cut_alone() {
    let server = TestServer::with("[limits]\nwrite_timeout_seconds = 1").await;
    server.create(json!({"job_id": "j"})).await;
    server.create(json!({"job_id": "other"})).await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .http2_initial_stream_window_size(65_535)
        .build()
        .expect("a client");
    let url = |job_id: &str| format!("{}/api/v1/jobs/{job_id}/stream", server.url);
    let mut other = SseStream::open(client.get(url("other"))).await;
    other.next().await;
    let stalled = SseStream::open(client.get(url("j"))).await;
    server.flood("j").await;
    let is_alone = async {
        while server.report("j", json!({})).await["watchers"] != 0 {
            tokio::task::yield_now().await;
        }
    };
    in_time("the cut", is_alone).await;
    drop(stalled);
    server.delete("/api/v1/jobs/other").await;
    expect_ending(&ending(&mut other).await, "JOB_GONE", "Job gone");
}
