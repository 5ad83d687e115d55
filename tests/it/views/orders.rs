//! A pet shop's orders, as their old clients know them: each step, none skipped, then the end.

use reqwest::StatusCode;
use serde_json::json;

use super::{Raw, last_id, resume, send, serving};
use crate::support::{people::configuration, server::TestServer};

const STREAM: &str = "/v1/orders/order-7/status/stream";

async fn order(server: &TestServer) {
    server
        .create(json!({"job_id": "order-7", "kind": "order"}))
        .await;
}

async fn step(server: &TestServer, status: &str) -> u64 {
    let data = json!({"status": status, "timestamp": "2026-03-13T10:30:00Z"});
    send(server, "order-7", "step", data).await
}

async fn ship(server: &TestServer) {
    let result = json!({"status": "shipped", "trackingNumber": "1Z999AA10123456784"});
    let end = json!({"status": "completed", "result": result});
    server.report("order-7", end).await;
}

#[tokio::test]
async fn an_order_is_told_to_the_byte_also_to_who_comes_late() {
    // Nobody shows a credential, on a server that asks for them elsewhere.
    let server = serving(&["orders"], &configuration())
        .await
        .with_token("key-all");
    order(&server).await;
    let expected = ":\n\
        data: {\"status\":\"payment_processing\",\"timestamp\":\"2026-03-13T10:30:00Z\"}\n\
        id: N\n\
        \n\
        data: {\"status\":\"packed\",\"timestamp\":\"2026-03-13T10:30:00Z\"}\n\
        id: N\n\
        \n\
        event: complete\n\
        data: {\"status\":\"shipped\",\"trackingNumber\":\"1Z999AA10123456784\"}\n\
        retry: 3600000\n\
        id: N\n\
        \n";
    let early = Raw::open(&server, STREAM, &[]).await;
    step(&server, "payment_processing").await;
    // What is no step is nobody's business here, nor is progress.
    send(&server, "order-7", "note", json!("fragile")).await;
    server
        .report("order-7", json!({"progress_percentage": 50}))
        .await;
    let between = Raw::open(&server, STREAM, &[]).await;
    step(&server, "packed").await;
    ship(&server).await;
    let late = Raw::open(&server, STREAM, &[]).await;
    for raw in [early, between, late] {
        assert_eq!(raw.whole().await, expected);
    }
}

#[tokio::test]
async fn every_cut_is_resumed_without_loss_and_the_end_is_the_end() {
    let server = serving(&["orders"], "").await;
    order(&server).await;
    for name in ["one", "two", "three"] {
        step(&server, name).await;
        send(&server, "order-7", "note", json!(name)).await;
    }
    let unfinished = resume(&server, STREAM, None).await;
    ship(&server).await;
    let mut whole = resume(&server, STREAM, None).await;
    let whole = whole.rest().await;
    assert_eq!(whole.len(), 4);
    let mut live = unfinished;
    assert_eq!(live.rest().await, whole);
    for cut in 1..=whole.len() {
        let cursor = last_id(&whole[..cut]);
        let mut rest = resume(&server, STREAM, cursor.as_deref()).await;
        match cut == whole.len() {
            true => assert_eq!(rest.head.status, StatusCode::NO_CONTENT),
            false => assert_eq!(rest.rest().await, whole[cut..]),
        }
    }
    // What is no place in this job's history is as good as its beginning.
    for cursor in ["0", "x", "9007199254740991"] {
        let mut stream = resume(&server, STREAM, Some(cursor)).await;
        assert_eq!(stream.rest().await, whole, "{cursor}");
    }
}

#[tokio::test]
async fn an_order_that_fails_ends_without_a_word_and_for_good() {
    let server = serving(&["orders"], "").await;
    order(&server).await;
    let raw = Raw::open(&server, STREAM, &[]).await;
    let step = step(&server, "payment_processing").await;
    server
        .report(
            "order-7",
            json!({"status": "failed", "error": "card refused"}),
        )
        .await;
    let whole = raw.whole().await;
    assert_eq!(whole.matches("\n\n").count(), 1, "{whole}");
    // Who comes back has seen everything; who comes late has not.
    let back = resume(&server, STREAM, Some(&step.to_string())).await;
    assert_eq!(back.head.status, StatusCode::NO_CONTENT);
    let late = Raw::open(&server, STREAM, &[]).await;
    assert_eq!(late.whole().await, whole);
}

#[tokio::test]
async fn an_unknown_order_and_a_job_that_is_no_order_are_not_found() {
    let server = serving(&["orders"], "").await;
    server
        .create(json!({"job_id": "order-8", "kind": "audit"}))
        .await;
    for id in ["order-7", "order-8"] {
        let answer = server.get(&STREAM.replace("order-7", id)).await;
        assert_eq!(answer.error(404, "JOB_NOT_FOUND"), "Job not found");
    }
}
