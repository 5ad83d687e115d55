//! A pet shop's stock, as its old clients know it: a feed that is there from the start and has no end.

use progressd::job::JobId;
use reqwest::StatusCode;
use serde_json::json;

use super::{Raw, last_id, resume, send, serving};
use crate::support::{jobs::memory, people::configuration, server::TestServer};

const STREAM: &str = "/v1/inventory/stream";

#[tokio::test]
async fn changes_are_told_to_the_byte_and_from_the_first_on() {
    let server = serving(&["inventory"], &configuration())
        .await
        .with_token("key-all");
    let mut raw = Raw::open(&server, STREAM, &[]).await;
    let stock = json!({"petId": 1, "oldStock": 5, "newStock": 4});
    let price = json!({"petId": 1, "oldPrice": 10.5, "newPrice": 9});
    send(&server, "inventory", "stock-change", stock).await;
    send(&server, "inventory", "price-change", price).await;
    raw.blocks(2).await;
    let expected = ":\n\
        event: stock-change\n\
        data: {\"petId\":1,\"oldStock\":5,\"newStock\":4}\n\
        id: N\n\
        \n\
        event: price-change\n\
        data: {\"petId\":1,\"oldPrice\":10.5,\"newPrice\":9}\n\
        id: N\n\
        \n";
    assert_eq!(raw.so_far(), expected);
    let mut late = Raw::open(&server, STREAM, &[]).await;
    late.blocks(2).await;
    assert_eq!(late.so_far(), expected);
}

#[tokio::test]
async fn every_cut_is_resumed_without_loss() {
    let server = serving(&["inventory"], "").await;
    let mut stream = server.stream(STREAM).await;
    let mut blocks = Vec::new();
    for number in 0..5 {
        send(
            &server,
            "inventory",
            "stock-change",
            json!({"petId": number}),
        )
        .await;
        blocks.push(stream.next().await);
    }
    for cut in 0..=blocks.len() {
        let cursor = last_id(&blocks[..cut]);
        let mut rest = resume(&server, STREAM, cursor.as_deref()).await;
        for block in &blocks[cut..] {
            assert_eq!(rest.next().await, *block);
        }
    }
}

#[tokio::test]
async fn the_feed_is_there_from_the_start_once_whoever_starts() {
    let store = memory();
    let toml = "server.views = ['inventory']";
    let nodes = futures_util::future::join_all((0..4).map(async |_| {
        let store = store.clone();
        TestServer::over(store, toml).await
    }))
    .await;
    let first = nodes[0].status("inventory").await;
    assert_eq!(first["kind"], "inventory");
    let list = nodes[3].get("/api/v1/jobs").await.json();
    assert_eq!(list["jobs"].as_array().map(Vec::len), Some(1), "{list}");
    drop(nodes);
    // Once more over the same store: it is as it was.
    let again = TestServer::over(store, toml).await;
    assert_eq!(
        again.status("inventory").await["created_at"],
        first["created_at"]
    );
}

#[tokio::test]
async fn a_feed_that_was_removed_is_made_anew_when_it_is_asked_for() {
    let server = serving(&["inventory"], "").await;
    let mut stream = server.stream(STREAM).await;
    server
        .delete("/api/v1/jobs/inventory")
        .await
        .expect(StatusCode::NO_CONTENT);
    assert_eq!(stream.rest().await, []);
    let mut stream = server.stream(STREAM).await;
    assert_eq!(stream.head.status, StatusCode::OK);
    send(&server, "inventory", "stock-change", json!({})).await;
    assert_eq!(stream.next().await.name(), "stock-change");
}

#[tokio::test]
async fn a_feed_is_neither_stalled_nor_abandoned_however_long_nobody_reports() {
    let times = "jobs.lease_seconds = 1\njobs.abandon_after_seconds = 1\n";
    let server = serving(&["inventory"], times).await;
    let name = JobId::parse("inventory").expect("a name");
    let feed = server.registry().find(&name).await.expect("the feed");
    assert_eq!(feed.job().next_deadline(), None);
    send(&server, "inventory", "stock-change", json!({})).await;
    assert_eq!(server.status("inventory").await["status"], "processing");
    assert_eq!(feed.job().next_deadline(), None);
    // Another job of its kind has all of these ends before it.
    server
        .create(json!({"job_id": "other", "kind": "inventory"}))
        .await;
    let name = JobId::parse("other").expect("a name");
    let other = server.registry().find(&name).await.expect("the job");
    assert_ne!(other.job().next_deadline(), None);
}
