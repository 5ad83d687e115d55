//! Built-in work among nodes: one does a job at a time, and another goes on when it stops.

use std::{collections::BTreeSet, fmt::Write as _};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Nodes;
use crate::support::{server::TestServer, until};

/// No lookups, and slow enough to be caught in the middle.
pub(super) const SLOW: &str = "runner.email.dns = 'off'\nrunner.email.max_per_second = 100\n";

pub(super) async fn begin(server: &TestServer, job_id: &str, addresses: usize) {
    let mut list = String::new();
    for number in 0..addresses {
        writeln!(list, "person{number}@example.org").expect("a string takes all");
    }
    let input: Vec<&str> = list.lines().collect();
    let body = json!({"job_id": job_id, "kind": "email-validation", "input": input});
    server
        .post("/api/v1/jobs", body)
        .await
        .expect(StatusCode::CREATED);
}

pub(super) async fn addresses_in_results(server: &TestServer, job_id: &str) -> Vec<String> {
    let path = format!("/api/v1/jobs/{job_id}/results?per_page=1000");
    let page = server.get(&path).await.expect(StatusCode::OK).json();
    let rows = page["results"].as_array().expect("rows");
    rows.iter()
        .map(|row| row["email"].as_str().expect("an address").to_owned())
        .collect()
}

#[tokio::test]
async fn a_job_goes_on_where_its_node_stopped_and_no_row_is_there_twice() {
    let nodes = Nodes::with(SLOW).await;
    begin(&nodes.here, "j", 300).await;
    let mut stream = nodes.there.watch("j").await;
    let has_begun = |status: &Value| status["processed_count"].as_u64() > Some(20);
    stream.status_where(has_begun).await;
    nodes.here.drain().await;
    let blocks = super::to_the_end(&mut stream).await;
    let last = blocks.last().expect("an end").json();
    assert_eq!(last["status"], "completed");
    assert_eq!(last["attempt"], 2);
    assert_eq!(last["processed_count"], 300);
    let rows = addresses_in_results(&nodes.there, "j").await;
    let distinct: BTreeSet<&String> = rows.iter().collect();
    assert_eq!((rows.len(), distinct.len()), (300, 300));
}

#[tokio::test]
async fn a_node_with_nothing_to_do_takes_from_the_queue_of_another() {
    let nodes = Nodes::with(&format!("{SLOW}runner.email.max_concurrent_jobs = 1\n")).await;
    begin(&nodes.here, "first", 800).await;
    begin(&nodes.here, "second", 100).await;
    until("the end of the second", async || {
        nodes.there.status("second").await["status"] == "completed"
    })
    .await;
    let first = nodes.here.status("first").await;
    assert_eq!(first["status"], "processing", "its own node does it");
    assert_eq!(first["attempt"], 1);
    assert_eq!(nodes.there.status("second").await["attempt"], 1);
    assert_eq!(
        addresses_in_results(&nodes.there, "second").await.len(),
        100
    );
}

#[tokio::test]
async fn a_cancellation_asked_of_one_node_stops_the_runner_of_the_other() {
    let nodes = Nodes::with(SLOW).await;
    begin(&nodes.here, "j", 5_000).await;
    let mut stream = nodes.there.watch("j").await;
    stream
        .status_where(|status| status["status"] == "processing")
        .await;
    let cancel = nodes.there.post("/api/v1/jobs/j/cancel", json!({})).await;
    cancel.expect(StatusCode::ACCEPTED);
    let last = super::to_the_end(&mut stream).await.pop();
    assert_eq!(last.expect("an end").json()["status"], "cancelled");
}

#[tokio::test]
async fn a_job_that_cannot_be_had_keeps_no_other_from_being_taken_over() {
    let nodes = Nodes::with(&format!("{SLOW}runner.email.max_concurrent_jobs = 1\n")).await;
    nodes.hall.refuse_claims_of("first");
    begin(&nodes.here, "first", 10).await;
    // Behind the first in the queue of its node.
    begin(&nodes.here, "second", 10).await;
    until("the end of the second", async || {
        nodes.there.status("second").await["status"] == "completed"
    })
    .await;
    assert_eq!(nodes.there.status("first").await["status"], "pending");
}
