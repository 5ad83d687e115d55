//! A store that has lost everything: what the nodes hold goes on, and says what is lost.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    TOML,
    runners::{SLOW, addresses_in_results, begin},
};
use crate::support::{
    people,
    server::{Answer, TestServer},
    shared_memory::Hall,
    sse::SseStream,
    until,
};

#[tokio::test]
async fn what_was_signed_before_stays_good_on_every_node() {
    let hall = Hall::new();
    let toml = format!("{TOML}{}", people::configuration());
    let here = TestServer::over(hall.node(), &toml).await;
    let before = here
        .as_bearer("key-admin")
        .create(json!({"job_id": "before"}))
        .await;
    hall.lose_everything();
    hall.tell_of_the_loss();
    let status_with = async |server: &TestServer, created: &Value| {
        let token = created["watch_token"].as_str().expect("a token");
        let path = format!(
            "/api/v1/jobs/{}/status?token={token}",
            created["job_id"].as_str().expect("a name")
        );
        Answer::of(server.request(Method::GET, &path)).await.status
    };
    // Once the job is back, so is what came with the same word.
    until("the job's return", async || {
        status_with(&here, &before).await == StatusCode::OK
    })
    .await;
    // A node that has never known the secret of before.
    let there = TestServer::over(hall.node(), &toml).await;
    assert_eq!(status_with(&there, &before).await, StatusCode::OK);
    let after = there
        .as_bearer("key-admin")
        .create(json!({"job_id": "after"}))
        .await;
    assert_eq!(status_with(&here, &after).await, StatusCode::OK);
}

/// A node whose runner is in the middle of 200 addresses, and the stream of that job.
async fn in_the_middle() -> (Arc<Hall>, TestServer, SseStream) {
    let hall = Hall::new();
    let node = TestServer::over(hall.node(), &format!("{TOML}{SLOW}")).await;
    begin(&node, "j", 200).await;
    let mut stream = node.watch("j").await;
    let has_begun = |status: &Value| status["processed_count"].as_u64() > Some(20);
    stream.status_where(has_begun).await;
    (hall, node, stream)
}

#[tokio::test]
async fn runner_begins_anew_and_every_row_is_there_once() {
    let (hall, node, mut stream) = in_the_middle().await;
    hall.lose_everything();
    hall.tell_of_the_loss();
    let blocks = super::to_the_end(&mut stream).await;
    let last = blocks.last().expect("an end").json();
    assert_eq!(last["status"], "completed", "{last}");
    assert_eq!(
        (&last["attempt"], &last["processed_count"]),
        (&json!(2), &json!(200))
    );
    let rows = addresses_in_results(&node, "j").await;
    let expected: Vec<_> = (0..200)
        .map(|number| format!("person{number}@example.org"))
        .collect();
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn runner_that_is_told_of_nothing_does_not_pass_half_its_rows_for_all() {
    let (hall, _node, mut stream) = in_the_middle().await;
    hall.lose_everything();
    let blocks = super::to_the_end(&mut stream).await;
    let last = blocks.last().expect("an end").json();
    assert_eq!(last["status"], "failed", "{last}");
    assert_eq!(last["error"]["code"], "RESULTS_LOST");
}

#[tokio::test]
async fn repeated_creation_finds_the_job_that_a_node_still_holds() {
    let hall = Hall::new();
    let node = TestServer::over(hall.node(), TOML).await;
    let creation = json!({"job_id": "j", "total_count": 9});
    node.create(creation.clone()).await;
    node.report("j", json!({"processed_count": 5})).await;
    let mut stream = node.watch("j").await;
    let seq = stream.next_status().await["seq"].as_u64();
    hall.lose_everything();
    let again = node.post("/api/v1/jobs", creation).await;
    let again = again.expect(StatusCode::OK).json();
    assert_eq!(again["processed_count"], 5);
    assert!(again["seq"].as_u64() >= seq);
    node.report("j", json!({"processed_count": 6})).await;
    let is_next = |status: &Value| status["processed_count"] == 6;
    stream.status_where(is_next).await;
}
