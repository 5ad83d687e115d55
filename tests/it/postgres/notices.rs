//! Watchers of what others commit: by notification, by polling where there is none, and in whatever
//! order transactions end.

use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{
    in_time,
    postgres_server::{Database, database, execute},
    server::TestServer,
    sse::SseStream,
    until,
};

/// Every change is sent, and polls come so rarely that only notifications tell of anything.
const BY_NOTIFICATION: &str =
    "stream.update_interval_ms = 0\nstore.postgres.poll_interval_seconds = 3600\n";

/// Every change is sent; polls come often.
const BY_POLLING: &str =
    "stream.update_interval_ms = 0\nstore.postgres.poll_interval_seconds = 1\n";

/// Takes notifications away: commits tell nobody of anything.
const MUTE: &str = "CREATE OR REPLACE FUNCTION progressd.notify(node text, job_id text, seq bigint) \
    RETURNS void LANGUAGE sql RETURN NULL";

async fn serve(database: &Database, toml: &str) -> TestServer {
    TestServer::with(&format!("{}{toml}", database.keys())).await
}

async fn report(worker: &mut PgConnection, job_id: &str, set: &str) {
    let sql = format!("UPDATE progressd.jobs SET {set} WHERE job_id = '{job_id}'");
    execute(worker, &sql).await;
}

/// The `n` of every event to the end of the stream, whose ids must rise; and the last status.
async fn events_to_the_end(stream: &mut SseStream) -> (Vec<u64>, Value) {
    let blocks = stream.rest().await;
    let ids: Vec<_> = blocks.iter().filter(|block| block.id.is_some()).collect();
    assert!(
        ids.is_sorted_by(|before, after| before.seq() < after.seq()),
        "{ids:?}"
    );
    let numbers = blocks.iter().filter(|block| block.name() == "n");
    let numbers = numbers.map(|block| block.json().as_u64().expect("a number"));
    (numbers.collect(), blocks.last().expect("an end").json())
}

async fn event(server: &TestServer, number: u64) {
    let body = json!({"event": "n", "data": number});
    let answer = server.post("/api/v1/jobs/j/events", body).await;
    answer.expect(reqwest::StatusCode::OK);
}

#[tokio::test]
async fn what_another_node_commits_is_streamed_at_once() {
    let database = database().await;
    let here = serve(&database, BY_NOTIFICATION).await;
    let there = serve(&database, BY_NOTIFICATION).await;
    here.create(json!({"job_id": "j"})).await;
    let mut stream = there.watch("j").await;
    stream.next_status().await;
    for number in 0..20 {
        event(&here, number).await;
        here.report("j", json!({"processed_count": number})).await;
    }
    here.report("j", json!({"status": "completed", "result": [1]}))
        .await;
    let (numbers, end) = events_to_the_end(&mut stream).await;
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    assert_eq!(end["result"], json!([1]));
    assert_eq!(here.status("j").await, end);
}

#[tokio::test]
async fn two_nodes_that_report_on_one_job_at_once_lose_nothing() {
    let database = database().await;
    let nodes = [
        serve(&database, BY_NOTIFICATION).await,
        serve(&database, BY_NOTIFICATION).await,
    ];
    nodes[0].create(json!({"job_id": "j"})).await;
    let mut streams = [nodes[0].watch("j").await, nodes[1].watch("j").await];
    let mut writers = Vec::new();
    for writer in 0..8_u64 {
        let node = nodes[writer as usize % 2].guest();
        writers.push(tokio::spawn(async move {
            for number in 0..10 {
                node.report("j", json!({"processed_increment": 1})).await;
                event(&node, writer * 100 + number).await;
            }
        }));
    }
    for writer in writers {
        writer.await.expect("no panic");
    }
    nodes[1].report("j", json!({"status": "completed"})).await;
    let (here, end) = events_to_the_end(&mut streams[0]).await;
    let (there, same_end) = events_to_the_end(&mut streams[1]).await;
    assert_eq!(end["processed_count"], 80);
    assert_eq!(end, same_end);
    // Both saw the same in the same order, each event once.
    assert_eq!(here, there);
    let mut sorted = here;
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 80);
}

#[tokio::test]
async fn where_no_notification_arrives_changes_are_found_by_polling() {
    let database = database().await;
    let here = serve(&database, BY_POLLING).await;
    let there = serve(&database, BY_POLLING).await;
    let mut worker = database.connect().await;
    execute(&mut worker, MUTE).await;
    here.create(json!({"job_id": "j"})).await;
    let mut stream = there.watch("j").await;
    stream.next_status().await;
    for number in 0..10 {
        event(&here, number).await;
    }
    report(&mut worker, "j", "message = 'by SQL'").await;
    stream
        .status_where(|status| status["message"] == "by SQL")
        .await;
    for number in 10..20 {
        event(&here, number).await;
    }
    report(&mut worker, "j", "status = 'completed'").await;
    let (numbers, end) = events_to_the_end(&mut stream).await;
    assert_eq!(numbers, (10..20).collect::<Vec<_>>());
    assert_eq!(end["status"], "completed");
}

/// Ends the connections that listen, over and over.
fn cut_listeners(database: &Database) -> AbortOnDropHandle<()> {
    let database = database.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut worker = database.connect().await;
        loop {
            let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE datname = current_database() AND query LIKE 'LISTEN%'";
            execute(&mut worker, cut).await;
            tokio::task::yield_now().await;
        }
    }))
}

#[tokio::test]
async fn a_listener_that_is_cut_off_again_and_again_loses_nothing() {
    let database = database().await;
    let here = serve(&database, BY_POLLING).await;
    let there = serve(&database, BY_POLLING).await;
    let mut worker = database.connect().await;
    here.create(json!({"job_id": "j"})).await;
    let mut stream = there.watch("j").await;
    let cutting = cut_listeners(&database);
    for number in 0..200 {
        event(&here, number).await;
        report(&mut worker, "j", &format!("processed_count = {number}")).await;
    }
    // Whoever joins meanwhile is not kept waiting for a listener either.
    let mut late = there.watch("j").await;
    late.next_status().await;
    report(&mut worker, "j", "status = 'completed'").await;
    let (numbers, end) = events_to_the_end(&mut stream).await;
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    assert_eq!(end["processed_count"], 199);
    assert_eq!(events_to_the_end(&mut late).await.1, end);
    drop(cutting);
    // Then it listens again: a notification alone tells of the next job.
    let quiet = serve(&database, BY_NOTIFICATION).await;
    quiet.create(json!({"job_id": "k"})).await;
    let mut stream = quiet.watch("k").await;
    stream.next_status().await;
    report(&mut worker, "k", "message = 'heard'").await;
    stream
        .status_where(|status| status["message"] == "heard")
        .await;
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_seen_late_and_not_lost() {
    for (toml, is_mute) in [(BY_NOTIFICATION, false), (BY_POLLING, true)] {
        let database = database().await;
        let server = serve(&database, toml).await;
        let mut late = database.connect().await;
        let mut other = database.connect().await;
        if is_mute {
            execute(&mut other, MUTE).await;
        }
        server.create(json!({"job_id": "late"})).await;
        server.create(json!({"job_id": "other"})).await;
        let mut of_late = server.watch("late").await;
        let mut of_other = server.watch("other").await;
        of_late.next_status().await;
        // Its changes are stamped here, and seen by nobody yet.
        execute(&mut late, "BEGIN").await;
        report(&mut late, "late", "processed_count = 1, message = 'early'").await;
        report(&mut late, "late", "processed_count = 2").await;
        // Meanwhile others change, with later stamps, and are shown.
        for number in 0..5 {
            report(&mut other, "other", &format!("processed_count = {number}")).await;
        }
        of_other
            .status_where(|status| status["processed_count"] == 4)
            .await;
        assert_eq!(server.status("late").await["status"], "pending");
        // Who joins now waits for nobody's transaction.
        let mut joined = server.watch("late").await;
        assert_eq!(joined.next_status().await["status"], "pending");
        let other_seq = server.status("other").await["seq"].as_u64();
        execute(&mut late, "COMMIT").await;
        for stream in [&mut of_late, &mut joined] {
            let block = stream
                .status_where(|status| status["processed_count"] == 2)
                .await;
            assert!(block.json()["seq"].as_u64() < other_seq);
            assert_eq!(block.json()["message"], "early");
        }
    }
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_is_seen_by_nobody() {
    let database = database().await;
    let server = serve(&database, BY_NOTIFICATION).await;
    let mut worker = database.connect().await;
    server.create(json!({"job_id": "j"})).await;
    let mut stream = server.watch("j").await;
    stream.next_status().await;
    execute(&mut worker, "BEGIN").await;
    report(&mut worker, "j", "message = 'never', status = 'failed'").await;
    // A report over HTTP waits for the row and is done once it is free.
    let reporting = {
        let server = server.guest();
        tokio::spawn(async move { server.report("j", json!({"message": "then"})).await })
    };
    until("a report that waits for the row", async || {
        let waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
            AND datname = current_database()";
        !database.execute(waiting).await.is_empty()
    })
    .await;
    execute(&mut worker, "ROLLBACK").await;
    in_time("the report", reporting).await.expect("no panic");
    let status = stream.next_status().await;
    assert_eq!(status["message"], "then");
    assert_eq!(status["status"], "processing");
}

#[tokio::test]
async fn a_row_that_is_held_too_long_costs_a_503_and_nothing_is_done_behind_it() {
    let database = database().await;
    let toml = format!("{BY_NOTIFICATION}store.timeout_ms = 500\n");
    let server = serve(&database, &toml).await;
    let mut worker = database.connect().await;
    server.create(json!({"job_id": "j"})).await;
    execute(&mut worker, "BEGIN").await;
    report(&mut worker, "j", "processed_count = 1").await;
    let refused = server
        .patch("/api/v1/jobs/j", json!({"processed_count": 9}))
        .await;
    refused.error(503, "STORE_UNAVAILABLE");
    assert_eq!(server.status("j").await["status"], "pending");
    execute(&mut worker, "COMMIT").await;
    assert_eq!(server.status("j").await["processed_count"], 1);
    // What was refused has left no trace, and the next is taken.
    server.report("j", json!({"processed_increment": 1})).await;
    assert_eq!(server.status("j").await["processed_count"], 2);
}
