//! Transactions of workers that stay open, and what they keep waiting: nobody but those who want their rows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use serde_json::json;

use super::serve;
use crate::support::{
    in_time,
    postgres_server::{Database, database, execute},
    server::TestServer,
    until,
};

/// How many rows are held: more than a node has connections.
const HELD: usize = 20;

/// A node waits this long for its store, and nearly as long for a row.
const LONG: Duration = Duration::from_secs(10);

/// Whoever does not want the row must have its answer well before.
const SHORT: Duration = Duration::from_secs(4);

/// How many of the nodes' statements there are of which this holds.
async fn statements(database: &Database, condition: &str) -> usize {
    let sql = format!(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name = 'progressd' AND state = 'active' AND {condition}"
    );
    database.execute(&sql).await.len()
}

/// Reports on a job until it is told to stop; how many of its increments were taken.
async fn report_on(server: TestServer, path: String, is_over: Arc<AtomicBool>) -> u64 {
    let mut taken = 0;
    while !is_over.load(Ordering::Relaxed) {
        let answer = server.patch(&path, json!({"processed_increment": 1})).await;
        match answer.status {
            StatusCode::OK => taken += 1,
            _ => _ = answer.error(503, "STORE_UNAVAILABLE"),
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_that_holds_many_rows_keeps_nobody_waiting_who_does_not_want_them() {
    let database = database().await;
    let server = serve(&database, LONG).await;
    for number in 0..HELD {
        let job_id = format!("held-{number}");
        server.create(json!({"job_id": job_id})).await;
    }
    for job_id in ["held", "other"] {
        server.create(json!({"job_id": job_id})).await;
    }
    let mut worker = database.connect().await;
    execute(&mut worker, "BEGIN").await;
    let hold = "UPDATE progressd.jobs SET message = 'held' WHERE job_id LIKE 'held%'";
    execute(&mut worker, hold).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let reporters = (0..HELD).map(|number| {
        let path = format!("/api/v1/jobs/held-{number}");
        tokio::spawn(report_on(server.guest(), path, Arc::clone(&is_over)))
    });
    let reporters: Vec<_> = reporters.collect();
    until("reports that wait for their rows", async || {
        statements(&database, "wait_event_type = 'Lock'").await >= 5
    })
    .await;
    for round in 1..=10 {
        let begin = Instant::now();
        let count = json!({"processed_count": round});
        server.report("other", count).await;
        assert_eq!(server.status("other").await["processed_count"], round);
        // Also one whose row is held is shown, as it was, while nobody reports on it.
        assert_eq!(server.status("held").await["status"], "pending");
        for job_id in ["other", "held"] {
            server.watch(job_id).await.next_status().await;
        }
        let created = server.create(json!({})).await;
        let path = format!(
            "/api/v1/jobs/{}",
            created["job_id"].as_str().expect("a name")
        );
        server.delete(&path).await.expect(StatusCode::NO_CONTENT);
        assert!(begin.elapsed() < SHORT, "{:?}", begin.elapsed());
    }
    execute(&mut worker, "COMMIT").await;
    until("reports that are taken", async || {
        let statuses = (0..HELD).map(|number| format!("held-{number}"));
        let counts =
            statuses.map(async |job_id| server.status(&job_id).await["processed_count"] != 0);
        let counts = futures_util::future::join_all(counts).await;
        counts.into_iter().all(|has_moved| has_moved)
    })
    .await;
    is_over.store(true, Ordering::Relaxed);
    for (number, reporter) in reporters.into_iter().enumerate() {
        let taken = in_time("the last answer", reporter)
            .await
            .expect("no panic");
        let status = server.status(&format!("held-{number}")).await;
        assert_eq!(status["message"], "held");
        // What was refused was done by nobody later.
        assert_eq!(status["processed_count"], taken);
    }
}

#[tokio::test]
async fn a_removal_of_a_job_whose_row_is_held_costs_a_503_and_nothing_is_removed_behind_it() {
    let database = database().await;
    let server = serve(&database, Duration::from_secs(2)).await;
    server.create(json!({"job_id": "j"})).await;
    let mut stream = server.watch("j").await;
    stream.next_status().await;
    let mut worker = database.connect().await;
    execute(&mut worker, "BEGIN").await;
    let hold = "UPDATE progressd.jobs SET processed_count = 1 WHERE job_id = 'j'";
    execute(&mut worker, hold).await;
    let refused = server.delete("/api/v1/jobs/j").await;
    refused.error(503, "STORE_UNAVAILABLE");
    execute(&mut worker, "COMMIT").await;
    // Whatever the removal has left behind had its chance.
    until("the end of the removal", async || {
        statements(&database, "query LIKE '%progressd.remove(%'").await == 0
    })
    .await;
    assert_eq!(server.status("j").await["processed_count"], 1);
    let is_counted = |status: &serde_json::Value| status["processed_count"] == 1;
    stream.status_where(is_counted).await;
    let removed = server.delete("/api/v1/jobs/j").await;
    removed.expect(StatusCode::NO_CONTENT);
    assert_eq!(stream.next().await.json()["code"], "JOB_GONE");
    let gone = server.get("/api/v1/jobs/j").await;
    gone.error(410, "JOB_GONE");
}
