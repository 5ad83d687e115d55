//! Streams that are cut at every block, and what is whole again after coming back.

use serde_json::{Value, json};

use super::seq_of;
use crate::support::{
    server::TestServer,
    sse::{Block, SseStream},
};

/// What happens to the job; each is acknowledged before the next.
fn actions() -> Vec<Value> {
    let line = |number: u32| json!({"event": "line", "data": number});
    vec![
        json!({"status": "processing"}),
        line(1),
        json!({"processed_count": 1}),
        json!([line(2), line(3)]),
        line(4),
        json!({"status": "pending", "attempt": 2}),
        json!({"step": "again"}),
        line(5),
        json!({"status": "completed"}),
    ]
}

/// A server that sends every report, with a new job `j`.
async fn server() -> TestServer {
    let server = TestServer::with("[stream]\nupdate_interval_ms = 0").await;
    server.create(json!({"job_id": "j"})).await;
    server
}

/// Does `action`; returns the job's seq afterwards.
async fn act(server: &TestServer, action: &Value) -> u64 {
    if action.is_array() || action.get("event").is_some() {
        let answer = server.post("/api/v1/jobs/j/events", action.clone()).await;
        seq_of(&answer.json())
    } else {
        seq_of(&server.report("j", action.clone()).await)
    }
}

/// Reads until everything up to `seq` was told, by a block's id or by its status's seq.
async fn read_up_to(stream: &mut SseStream, seq: u64, blocks: &mut Vec<Block>) {
    loop {
        let block = stream.next().await;
        let told = block.json()["seq"].as_u64().unwrap_or(block.seq());
        blocks.push(block);
        if told >= seq {
            return;
        }
    }
}

/// The cursor of a client that has seen these blocks.
fn last_id(blocks: &[Block]) -> Option<&str> {
    blocks.iter().rev().find_map(|block| block.id.as_deref())
}

/// Nothing lost, nothing twice, and the end: over all connections of one client.
fn check(blocks: &[Block], cut: usize) {
    let lines: Vec<_> = blocks
        .iter()
        .filter(|block| block.name() == "line")
        .map(Block::json)
        .collect();
    assert_eq!(json!(lines), json!([1, 2, 3, 4, 5]), "cut after {cut}");
    let last = blocks.last().expect("a last block").json();
    assert_eq!(last["status"], "completed", "cut after {cut}");
    let gaps = blocks
        .iter()
        .filter(|block| block.json().get("gap").is_some());
    assert_eq!(gaps.count(), 0, "cut after {cut}");
}

async fn come_back(server: &TestServer, blocks: &[Block]) -> SseStream {
    match last_id(blocks) {
        Some(cursor) => server.resume("j", cursor).await,
        None => server.watch("j").await,
    }
}

#[tokio::test]
async fn a_story_that_is_over_is_whole_after_a_cut_at_any_block() {
    let server = server().await;
    let mut stream = server.watch("j").await;
    for action in actions() {
        act(&server, &action).await;
    }
    let story = stream.rest().await;
    check(&story, story.len());
    for cut in 1..story.len() {
        let mut blocks = story[..cut].to_vec();
        let mut stream = come_back(&server, &blocks).await;
        blocks.extend(stream.rest().await);
        check(&blocks, cut);
    }
    let over = come_back(&server, &story).await;
    assert_eq!(over.head.status, 204);
}

#[tokio::test]
async fn a_live_story_is_whole_after_a_cut_at_any_block_and_any_absence() {
    let actions = actions();
    for cut in 0..actions.len() {
        for absent in 0..actions.len() - cut {
            let server = server().await;
            let mut blocks = Vec::new();
            let mut stream = server.watch("j").await;
            blocks.push(stream.next().await);
            for action in &actions[..cut] {
                let seq = act(&server, action).await;
                read_up_to(&mut stream, seq, &mut blocks).await;
            }
            drop(stream);
            for action in &actions[cut..cut + absent] {
                act(&server, action).await;
            }
            let mut stream = come_back(&server, &blocks).await;
            for action in &actions[cut + absent..] {
                act(&server, action).await;
            }
            blocks.extend(stream.rest().await);
            check(&blocks, cut);
        }
    }
}

#[tokio::test]
async fn a_client_that_is_cut_after_every_single_block_still_gets_everything() {
    let server = server().await;
    let mut stream = server.watch("j").await;
    let mut blocks = vec![stream.next().await];
    for action in actions() {
        act(&server, &action).await;
    }
    // Each connection tells more than the one before, so that this comes to an end.
    loop {
        let mut stream = come_back(&server, &blocks).await;
        if stream.head.status == 204 {
            break;
        }
        // The first block without an id stands for the state alone: the next one moves the cursor.
        let before = last_id(&blocks).map(str::to_owned);
        while last_id(&blocks) == before.as_deref() {
            blocks.push(stream.next().await);
        }
    }
    check(&blocks, 1);
}
