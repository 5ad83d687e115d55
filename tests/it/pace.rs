//! How often a watcher hears of a job: enough to be up to date, and no more.
//!
//! With an interval of a minute nothing that waits comes within a test; so whatever comes did
//! not wait, and no clock has to be read.

mod order;

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{server::TestServer, sse::SseStream};

const A_MINUTE: &str = "[stream]\nupdate_interval_ms = 60000";

/// A server with the processing job `j`, and a stream of it of which nothing is left to read.
///
/// The change to `processing` was the first of the interval: ordinary ones wait from now on.
async fn watched(toml: &str) -> (TestServer, SseStream) {
    let server = TestServer::with(toml).await;
    server
        .create(json!({"job_id": "j", "total_count": 1000}))
        .await;
    let mut stream = server.watch("j").await;
    assert_eq!(stream.next_status().await["status"], "pending");
    server.report("j", json!({"status": "processing"})).await;
    assert_eq!(stream.next_status().await["status"], "processing");
    (server, stream)
}

#[tokio::test]
async fn the_first_change_after_a_quiet_time_goes_out_at_once() {
    let server = TestServer::with(A_MINUTE).await;
    server.create(json!({"job_id": "j"})).await;
    server.report("j", json!({"status": "processing"})).await;
    let mut stream = server.watch("j").await;
    stream.next().await;
    server.report("j", json!({"processed_count": 1})).await;
    assert_eq!(stream.next_status().await["processed_count"], 1);
}

#[tokio::test]
async fn a_burst_is_sent_as_its_newest_status_and_its_last_one_always_comes() {
    const INTERVAL: Duration = Duration::from_millis(300);
    let (server, mut stream) = watched("[stream]\nupdate_interval_ms = 300").await;
    let begin = Instant::now();
    for count in 1..=50 {
        server.report("j", json!({"processed_count": count})).await;
    }
    let mut counts = Vec::new();
    while counts.last() != Some(&50) {
        let count = stream.next_status().await["processed_count"].clone();
        counts.push(count.as_u64().expect("a count"));
    }
    assert!(counts.is_sorted_by(|a, b| a < b), "{counts:?}");
    // An upper bound that time only makes larger: one an interval, from the one before the burst.
    let most = begin.elapsed().as_millis() / INTERVAL.as_millis() + 1;
    assert!(counts.len() as u128 <= most, "{counts:?}");
}

#[tokio::test]
async fn changes_of_state_and_flags_never_wait_and_carry_what_waited() {
    let (server, mut stream) = watched(A_MINUTE).await;
    server.report("j", json!({"processed_count": 1})).await;
    server.post("/api/v1/jobs/j/cancel", json!({})).await;
    let status = stream.next_status().await;
    assert_eq!(
        (&status["cancel_requested"], &status["processed_count"]),
        (&json!(true), &json!(1))
    );

    server.report("j", json!({"processed_count": 2})).await;
    server
        .report("j", json!({"status": "pending", "attempt": 2}))
        .await;
    let status = stream.next_status().await;
    assert_eq!(
        (&status["status"], &status["attempt"]),
        (&json!("pending"), &json!(2))
    );

    server.report("j", json!({"processed_count": 3})).await;
    let status = stream.next_status().await;
    assert_eq!(
        (&status["status"], &status["processed_count"]),
        (&json!("processing"), &json!(3))
    );
}

#[tokio::test]
async fn stalling_and_coming_back_to_life_never_wait() {
    let server = TestServer::with(A_MINUTE).await;
    server
        .create(json!({"job_id": "j", "lease_seconds": 1}))
        .await;
    let mut stream = server.watch("j").await;
    server.report("j", json!({"processed_count": 1})).await;
    stream
        .status_where(|status| status["stalled"] == true)
        .await;
    server.report("j", json!({})).await;
    assert_eq!(stream.next_status().await["stalled"], false);
}

#[tokio::test]
async fn events_never_wait_and_do_not_drag_a_waiting_status_along() {
    let (server, mut stream) = watched(A_MINUTE).await;
    server.report("j", json!({"processed_count": 1})).await;
    for number in 1..=3 {
        let event = json!({"event": "line", "data": number});
        server.post("/api/v1/jobs/j/events", event).await;
        let block = stream.next().await;
        assert_eq!((block.name(), block.json()), ("line", json!(number)));
    }
}

#[tokio::test]
async fn a_terminal_status_never_waits_and_replaces_the_one_that_did() {
    let (server, mut stream) = watched(A_MINUTE).await;
    server.report("j", json!({"processed_count": 999})).await;
    server.report("j", json!({"status": "completed"})).await;
    let last = stream.rest().await;
    assert_eq!(last.len(), 1, "{last:?}");
    assert_eq!(last[0].json()["status"], "completed");
    assert_eq!(last[0].json()["processed_count"], 999);
}

#[tokio::test]
async fn steps_come_up_to_ten_a_second_and_the_last_one_always() {
    let (server, mut stream) = watched(A_MINUTE).await;
    let begin = Instant::now();
    for number in 1..=40 {
        server
            .report("j", json!({"step": format!("{number}")}))
            .await;
    }
    let mut steps = Vec::new();
    while steps.last().is_none_or(|step| step != "40") {
        steps.push(stream.next_status().await["step"].clone());
    }
    assert_eq!(steps[0], "1");
    // As for a burst: time only makes it larger.
    let most = begin.elapsed().as_millis() / 100 + 1;
    assert!(steps.len() as u128 <= most, "{steps:?}");
}

#[tokio::test]
async fn interval_zero_sends_every_report() {
    let (server, mut stream) = watched("[stream]\nupdate_interval_ms = 0").await;
    // In one request, so that they come faster than any watcher is woken.
    let lines: String = (1..=100)
        .map(|count| format!("{{\"job_id\":\"j\",\"processed_count\":{count}}}\n"))
        .collect();
    let request = server.request(reqwest::Method::POST, "/api/v1/reports");
    let answer = request.body(lines).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    for count in 1..=100 {
        assert_eq!(stream.next_status().await["processed_count"], count);
    }
}

#[tokio::test]
async fn nothing_waits_for_a_watcher_who_was_not_there() {
    let (server, stream) = watched(A_MINUTE).await;
    server.report("j", json!({"processed_count": 1})).await;
    drop(stream);
    let mut stream = server.watch("j").await;
    assert_eq!(stream.next_status().await["processed_count"], 1);
    server.report("j", json!({"status": "completed"})).await;
    let last = stream.rest().await;
    assert_eq!(last.len(), 1, "{last:?}");
}
