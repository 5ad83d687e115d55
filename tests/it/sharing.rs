//! Two nodes over one store: what one does the other shows, also when notices are late or lost.

mod emptied;
mod leases;
mod lifecycle;
mod runners;
mod successors;

use std::{sync::Arc, time::Duration};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    in_time,
    server::TestServer,
    shared_memory::{Hall, Mood, Node},
    sse::{Block, SseStream},
    until,
};

/// Every change is sent, and lost notices are made up for soon.
const TOML: &str = "stream.update_interval_ms = 0\nstore.redis.check_interval_seconds = 1\n";

/// Two servers over one store.
struct Nodes {
    hall: Arc<Hall>,
    here: TestServer,
    there: TestServer,
    /// The store as `there` has it.
    view: Arc<Node>,
}

impl Nodes {
    async fn start() -> Self {
        Self::with("").await
    }

    async fn with(toml: &str) -> Self {
        let hall = Hall::new();
        let view = hall.node();
        let toml = format!("{TOML}{toml}");
        let here = TestServer::over(hall.node(), &toml).await;
        let there = TestServer::over(view.clone(), &toml).await;
        Self {
            hall,
            here,
            there,
            view,
        }
    }
}

async fn event(server: &TestServer, number: u64) -> u64 {
    let body = json!({"event": "line", "data": number});
    let answer = server.post("/api/v1/jobs/j/events", body).await;
    answer.expect(StatusCode::OK).json()["seq"]
        .as_u64()
        .expect("a seq")
}

/// The numbers of the events in blocks.
fn numbers(blocks: &[Block]) -> Vec<u64> {
    let lines = blocks.iter().filter(|block| block.name() == "line");
    lines
        .map(|block| block.data.parse().expect("a number"))
        .collect()
}

/// Reads until the end; ids must rise.
async fn to_the_end(stream: &mut SseStream) -> Vec<Block> {
    let blocks = stream.rest().await;
    let ids: Vec<u64> = blocks
        .iter()
        .filter_map(|block| block.id.as_ref()?.parse().ok())
        .collect();
    assert!(ids.is_sorted_by(|before, after| before < after), "{ids:?}");
    blocks
}

#[tokio::test]
async fn both_nodes_take_reports_and_both_show_all_of_them_in_one_order() {
    let nodes = Nodes::start().await;
    nodes.here.create(json!({"job_id": "j"})).await;
    let mut streams = [nodes.here.watch("j").await, nodes.there.watch("j").await];
    for round in 0..10 {
        event(&nodes.here, 2 * round).await;
        nodes
            .there
            .report("j", json!({"processed_increment": 1}))
            .await;
        event(&nodes.there, 2 * round + 1).await;
        nodes
            .here
            .report("j", json!({"processed_increment": 1}))
            .await;
    }
    nodes
        .there
        .report("j", json!({"status": "completed"}))
        .await;
    let mut ends = Vec::new();
    for stream in &mut streams {
        let blocks = to_the_end(stream).await;
        assert_eq!(numbers(&blocks), (0..20).collect::<Vec<_>>());
        let last = blocks.last().expect("an end");
        assert_eq!(last.json()["processed_count"], 20);
        ends.push(last.data.clone());
    }
    assert_eq!(ends[0], ends[1], "equal seq, equal bytes");
}

#[tokio::test]
async fn reports_on_one_job_through_two_nodes_at_once_count_once_each() {
    let nodes = Nodes::start().await;
    nodes.here.create(json!({"job_id": "j"})).await;
    let mut stream = nodes.there.watch("j").await;
    let count = |server: TestServer| async move {
        for _ in 0..50 {
            server.report("j", json!({"processed_increment": 1})).await;
        }
    };
    tokio::join!(
        count(nodes.here.guest()),
        count(nodes.there.guest()),
        count(nodes.here.guest()),
        count(nodes.there.guest())
    );
    assert_eq!(nodes.here.status("j").await["processed_count"], 200);
    nodes.here.report("j", json!({"status": "completed"})).await;
    let blocks = to_the_end(&mut stream).await;
    assert_eq!(
        blocks.last().expect("an end").json()["processed_count"],
        200
    );
}

#[tokio::test]
async fn what_one_node_has_answered_the_other_knows_at_once_without_any_notice() {
    let nodes = Nodes::start().await;
    nodes.hall.set_mood(Mood::Forgetful);
    nodes.here.create(json!({"job_id": "j"})).await;
    for round in 1..20 {
        let done = nodes
            .here
            .report("j", json!({"processed_count": round}))
            .await;
        let shown = nodes.there.status("j").await;
        assert_eq!(shown["processed_count"], round);
        assert_eq!(shown["seq"], done["seq"]);
    }
    // A request to stop reaches a worker whose reports say nothing new.
    nodes.there.report("j", json!({})).await;
    let cancelled = nodes.here.post("/api/v1/jobs/j/cancel", json!({})).await;
    cancelled.expect(StatusCode::ACCEPTED);
    let sign = nodes.there.report("j", json!({})).await;
    assert_eq!(sign["cancel_requested"], true);
    nodes.here.report("j", json!({"status": "cancelled"})).await;
    let late = nodes.there.patch("/api/v1/jobs/j", json!({})).await;
    late.error(409, "JOB_FINISHED");
}

#[tokio::test]
async fn a_report_id_that_one_node_has_answered_is_known_to_the_other() {
    let nodes = Nodes::start().await;
    nodes.hall.set_mood(Mood::Forgetful);
    nodes.here.create(json!({"job_id": "j"})).await;
    // The other node holds the job before the report that it will not hear of.
    nodes.there.report("j", json!({"message": "begun"})).await;
    let report = json!({"processed_increment": 5, "report_id": "r"});
    let first = nodes.here.report("j", report.clone()).await;
    let repeat = nodes.there.report("j", report.clone()).await;
    assert_eq!(repeat["seq"], first["seq"]);
    // The same where the report changed nothing, so that no seq tells of it.
    let nothing = json!({"processed_count": 1, "report_id": "n"});
    let first = nodes.here.report("j", nothing.clone()).await;
    nodes.there.report("j", json!({"processed_count": 6})).await;
    let repeat = nodes.there.report("j", nothing).await;
    assert_eq!(repeat["seq"], first["seq"]);
    assert_eq!(nodes.here.status("j").await["processed_count"], 6);
}

#[tokio::test]
async fn a_lost_notice_is_made_up_for() {
    let nodes = Nodes::start().await;
    nodes.here.create(json!({"job_id": "j"})).await;
    let mut stream = nodes.there.watch("j").await;
    assert_eq!(stream.next().await.name(), "status");
    nodes.hall.set_mood(Mood::Forgetful);
    for number in 0..5 {
        event(&nodes.here, number).await;
    }
    nodes.here.report("j", json!({"status": "completed"})).await;
    let blocks = to_the_end(&mut stream).await;
    assert_eq!(numbers(&blocks), (0..5).collect::<Vec<_>>());
    assert_eq!(blocks.last().expect("an end").json()["status"], "completed");
}

#[tokio::test]
async fn notices_that_arrive_after_a_watcher_has_joined_tell_it_nothing_twice() {
    let nodes = Nodes::start().await;
    nodes.here.create(json!({"job_id": "j"})).await;
    let mut before = nodes.there.watch("j").await;
    before.next().await;
    nodes.hall.set_mood(Mood::Slow);
    let mut seqs = Vec::new();
    for number in 0..5 {
        seqs.push(event(&nodes.here, number).await);
    }
    // Both are shown what is there, the one that comes back behind what it has seen.
    let mut after = nodes.there.resume("j", &seqs[1].to_string()).await;
    let first = after.next().await.json();
    assert_eq!(first["seq"], seqs[4]);
    nodes.hall.set_mood(Mood::Prompt);
    event(&nodes.here, 5).await;
    nodes
        .there
        .report("j", json!({"status": "completed"}))
        .await;
    assert_eq!(numbers(&to_the_end(&mut before).await), [0, 1, 2, 3, 4, 5]);
    assert_eq!(numbers(&to_the_end(&mut after).await), [2, 3, 4, 5]);
}

#[tokio::test]
async fn a_job_costs_one_subscription_however_many_watch_and_none_without_watchers() {
    let nodes = Nodes::start().await;
    nodes.here.create(json!({"job_id": "j"})).await;
    nodes.there.report("j", json!({"processed_count": 1})).await;
    assert_eq!(nodes.view.followed(), 0, "nobody watches");
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(nodes.there.watch("j").await);
    }
    assert_eq!((nodes.view.followed(), nodes.view.subscriptions()), (1, 1));
    nodes.here.report("j", json!({"status": "completed"})).await;
    for stream in &mut streams {
        to_the_end(stream).await;
    }
    drop(streams);
    until("the end of the subscription", async || {
        nodes.view.followed() == 0
    })
    .await;
}

#[tokio::test]
async fn a_job_that_nobody_watches_any_more_is_left_alone_although_it_is_reported_on() {
    let nodes = Nodes::start().await;
    nodes.here.create(json!({"job_id": "j"})).await;
    for round in 1..3 {
        let mut stream = nodes.there.watch("j").await;
        stream.next().await;
        assert_eq!(nodes.view.subscriptions(), 1);
        nodes
            .here
            .report("j", json!({"processed_count": round}))
            .await;
        let is_counted = |status: &Value| status["processed_count"] == round;
        stream.status_where(is_counted).await;
        drop(stream);
        until("the end of the subscription", async || {
            nodes.there.report("j", json!({})).await;
            nodes.view.followed() == 0
        })
        .await;
    }
}

#[tokio::test]
async fn a_long_poll_here_is_answered_by_a_report_there() {
    let nodes = Nodes::start().await;
    let seq = nodes.here.create(json!({"job_id": "j"})).await["seq"].clone();
    let path = format!("/api/v1/jobs/j/status?wait=30&after={seq}");
    let waiter = nodes.there.guest();
    let waiting = tokio::spawn(async move { waiter.get(&path).await.json() });
    until("the poll", async || nodes.there.watchers("j").await == 1).await;
    nodes.here.report("j", json!({"processed_count": 7})).await;
    let answer: Value = in_time("the answer", waiting).await.expect("an answer");
    assert_eq!(answer["processed_count"], 7);
}

#[tokio::test]
async fn a_worker_is_told_of_the_watchers_of_its_own_node() {
    let nodes = Nodes::start().await;
    nodes.here.create(json!({"job_id": "j"})).await;
    let mut streams = vec![nodes.here.watch("j").await];
    for _ in 0..2 {
        streams.push(nodes.there.watch("j").await);
    }
    for stream in &mut streams {
        stream.next().await;
    }
    let answer = nodes.here.report("j", json!({})).await;
    assert_eq!(answer["watchers"], 1);
    let answer = nodes.there.report("j", json!({})).await;
    assert_eq!(answer["watchers"], 2);
}

#[tokio::test]
async fn a_job_that_one_node_removes_ends_on_the_other_and_its_name_is_free_there_too() {
    let nodes = Nodes::start().await;
    nodes.here.create(json!({"job_id": "j"})).await;
    nodes.there.report("j", json!({"processed_count": 1})).await;
    let mut stream = nodes.there.watch("j").await;
    stream.next().await;
    nodes.here.delete("/api/v1/jobs/j").await;
    let last = stream.rest().await.pop().expect("a last block");
    assert_eq!(last.json()["code"], "JOB_GONE");
    let gone = nodes.there.get("/api/v1/jobs/j").await;
    gone.error(410, "JOB_GONE");
    let again = nodes
        .here
        .create(json!({"job_id": "j", "kind": "second"}))
        .await;
    assert_eq!(nodes.there.status("j").await["seq"], again["seq"]);
    nodes.there.report("j", json!({"processed_count": 2})).await;
    assert_eq!(nodes.here.status("j").await["kind"], "second");
}

#[tokio::test]
async fn a_sign_of_life_that_one_node_takes_keeps_the_job_alive_on_all() {
    let nodes = Nodes::start().await;
    nodes
        .here
        .create(json!({"job_id": "j", "lease_seconds": 2}))
        .await;
    nodes.there.report("j", json!({"processed_count": 1})).await;
    let mut stream = nodes.there.watch("j").await;
    stream.next().await;
    let end = tokio::time::Instant::now() + Duration::from_secs(5);
    while tokio::time::Instant::now() < end {
        nodes.here.report("j", json!({})).await;
        // A worker's pause, well within its lease.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(nodes.there.status("j").await["stalled"], false);
    // Then it is silent, and each node knows.
    let stalled = stream
        .status_where(|status| status["stalled"] == true)
        .await;
    assert_eq!(stalled.json()["processed_count"], 1);
    assert_eq!(nodes.here.status("j").await["stalled"], true);
}

#[tokio::test]
async fn a_job_whose_node_is_gone_fails_when_its_time_has_come() {
    let nodes = Nodes::start().await;
    let body = json!({"job_id": "j", "lease_seconds": 1, "fail_stalled_after_seconds": 1});
    nodes.here.create(body).await;
    nodes.here.report("j", json!({"processed_count": 1})).await;
    drop(nodes.here);
    let mut stream = nodes.there.watch("j").await;
    let last = to_the_end(&mut stream).await.pop().expect("an end");
    assert_eq!(last.json()["error"]["code"], "STALLED");
}

#[tokio::test]
async fn jobs_are_stamped_by_the_clock_that_all_nodes_share() {
    let hall = Hall::new();
    let ahead = Duration::from_secs(3_600);
    let here = TestServer::over(hall.node_with_clock(ahead), TOML).await;
    let created = here.create(json!({"job_id": "j"})).await;
    let created_at: jiff::Timestamp = created["created_at"]
        .as_str()
        .expect("a time")
        .parse()
        .expect("RFC 3339");
    let now = jiff::Timestamp::now();
    let difference = created_at.duration_since(now).as_secs();
    assert!((3_590..=3_600).contains(&difference), "{difference}");
}

#[tokio::test]
async fn the_limit_of_unfinished_jobs_counts_those_of_all_nodes() {
    let nodes = Nodes::with("limits.max_jobs = 3\n").await;
    for number in 0..3 {
        nodes
            .here
            .create(json!({"job_id": format!("j{number}")}))
            .await;
    }
    // They are counted from time to time; a removed job makes room again.
    until("the refusal", async || {
        let answer = nodes.there.post("/api/v1/jobs", json!({})).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            return true;
        }
        let job_id = answer.json()["job_id"].as_str().expect("an id").to_owned();
        nodes.there.delete(&format!("/api/v1/jobs/{job_id}")).await;
        false
    })
    .await;
}
