//! What becomes of jobs, workers and watchers when Redis is killed, paused, emptied, or cuts
//! connections.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Nodes;
use crate::support::{
    redis_server::{Options, RedisServer},
    server::{Answer, TestServer},
    sse::SseStream,
    until,
};

/// A pause is noticed after half a second rather than five.
const IMPATIENT: &str = "store.timeout_ms = 500\n";

/// How long Redis is paused; by hand it may be longer, as in `PROGRESSD_REDIS_PAUSE_SECONDS=30`.
fn pause() -> Duration {
    let seconds = std::env::var("PROGRESSD_REDIS_PAUSE_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

async fn keeps_data() -> RedisServer {
    let options = Options {
        durable: true,
        ..Options::default()
    };
    RedisServer::with(options).await
}

async fn try_report(server: &TestServer, report: Value) -> Answer {
    server.patch("/api/v1/jobs/j", report).await
}

/// Reports until it is taken; anything but an honest 503 before that is wrong.
async fn report_until_taken(server: &TestServer, report: Value) {
    until("a report that is taken", async || {
        let answer = try_report(server, report.clone()).await;
        if answer.status == StatusCode::OK {
            return true;
        }
        answer.error(503, "STORE_UNAVAILABLE");
        false
    })
    .await;
}

pub(super) async fn is_ready(server: &TestServer) -> bool {
    server.get("/readyz").await.status == StatusCode::OK
}

/// A job, and somebody who watches it on each node.
pub(super) async fn watched(nodes: &Nodes) -> [SseStream; 2] {
    nodes.here.create(json!({"job_id": "j"})).await;
    nodes.here.report("j", json!({"processed_count": 1})).await;
    let mut streams = [nodes.here.watch("j").await, nodes.there.watch("j").await];
    for stream in &mut streams {
        assert_eq!(stream.next_status().await["processed_count"], 1);
    }
    streams
}

/// Ends the job at one node; every watcher gets that as its last block, and nothing twice.
pub(super) async fn ends(server: &TestServer, streams: &mut [SseStream]) {
    report_until_taken(server, json!({"processed_count": 9})).await;
    report_until_taken(server, json!({"status": "completed", "report_id": "end"})).await;
    for stream in streams {
        let blocks = stream.rest().await;
        assert!(blocks.is_sorted_by(|before, after| before.seq() < after.seq()));
        let last = blocks.last().expect("an end").json();
        assert_eq!(last["status"], "completed");
        assert_eq!(last["processed_count"], 9);
    }
}

#[tokio::test]
async fn a_redis_that_dies_and_comes_back_with_its_data_ends_no_stream() {
    let mut redis = keeps_data().await;
    let nodes = Nodes::over(&redis, "").await;
    let mut streams = watched(&nodes).await;
    redis.kill().await;
    for server in [&nodes.here, &nodes.there] {
        let refused = try_report(server, json!({"processed_count": 2})).await;
        refused.error(503, "STORE_UNAVAILABLE");
        until("word of it", async || !is_ready(server).await).await;
    }
    redis.restart().await;
    for server in [&nodes.here, &nodes.there] {
        until("its return", async || is_ready(server).await).await;
        assert_eq!(server.status("j").await["processed_count"], 1);
    }
    ends(&nodes.there, &mut streams).await;
}

#[tokio::test]
async fn into_a_redis_that_comes_back_empty_the_nodes_put_back_what_they_hold() {
    let mut redis = RedisServer::start().await;
    let nodes = Nodes::over(&redis, "").await;
    let mut streams = watched(&nodes).await;
    let before = nodes.here.status("j").await["seq"].as_u64();
    redis.kill().await;
    redis.restart_empty().await;
    report_until_taken(&nodes.there, json!({"processed_count": 2})).await;
    until("the other node's word", async || {
        let answer = nodes.here.get("/api/v1/jobs/j").await;
        if answer.status != StatusCode::OK {
            // Never that there is no such job.
            answer.error(503, "STORE_UNAVAILABLE");
            return false;
        }
        let status = answer.json();
        assert!(status["seq"].as_u64() > before);
        status["processed_count"] == 2
    })
    .await;
    ends(&nodes.here, &mut streams).await;
}

#[tokio::test]
async fn a_redis_that_was_told_to_forget_everything_is_filled_again() {
    let redis = RedisServer::start().await;
    let nodes = Nodes::over(&redis, "").await;
    let mut streams = watched(&nodes).await;
    let () = redis.ask("FLUSHALL").await;
    until("the job", async || {
        let keys: Vec<String> = redis.ask("KEYS *:job:{j}").await;
        !keys.is_empty()
    })
    .await;
    ends(&nodes.here, &mut streams).await;
}

#[tokio::test]
async fn while_redis_is_paused_requests_are_refused_in_time_and_afterwards_all_goes_on() {
    let redis = RedisServer::start().await;
    let nodes = Nodes::over(&redis, IMPATIENT).await;
    let mut streams = watched(&nodes).await;
    redis.pause().await;
    let end = tokio::time::Instant::now() + pause();
    while tokio::time::Instant::now() < end {
        let begin = tokio::time::Instant::now();
        let refused = try_report(&nodes.here, json!({"processed_count": 2})).await;
        refused.error(503, "STORE_UNAVAILABLE");
        // The commit, the look whether it came, and that once more.
        assert!(begin.elapsed() < Duration::from_secs(4));
    }
    redis.resume().await;
    ends(&nodes.there, &mut streams).await;
}

#[tokio::test]
async fn watchers_get_the_end_although_the_connections_for_notices_were_killed() {
    let redis = RedisServer::start().await;
    let nodes = Nodes::over(&redis, "").await;
    for round in 0..5 {
        let id = format!("j{round}");
        nodes.here.create(json!({"job_id": id})).await;
        let mut stream = nodes.there.watch(&id).await;
        stream.next_status().await;
        let killed: u32 = redis.ask("CLIENT KILL TYPE pubsub").await;
        assert!(killed >= 1, "{killed}");
        nodes.here.report(&id, json!({"status": "completed"})).await;
        let last = stream.rest().await.pop().expect("an end");
        assert_eq!(last.json()["status"], "completed");
    }
}

#[tokio::test]
async fn connections_that_are_cut_and_scripts_that_are_forgotten_cost_nobody_a_report() {
    let redis = RedisServer::start().await;
    let nodes = Nodes::over(&redis, "").await;
    let mut streams = watched(&nodes).await;
    for round in 2..8 {
        let command = match round % 2 {
            0 => "CLIENT KILL TYPE normal SKIPME yes",
            _ => "SCRIPT FLUSH",
        };
        let _: redis::Value = redis.ask(command).await;
        let report = json!({"processed_count": round, "report_id": format!("r{round}")});
        report_until_taken(&nodes.here, report).await;
    }
    ends(&nodes.there, &mut streams).await;
}

#[tokio::test]
async fn a_redis_that_takes_no_changes_is_told_as_such_and_heals() {
    let redis = RedisServer::start().await;
    let nodes = Nodes::over(&redis, "").await;
    let mut streams = watched(&nodes).await;
    let () = redis.ask("CONFIG SET maxmemory 1").await;
    let refused = try_report(&nodes.here, json!({"processed_count": 2})).await;
    refused.error(503, "STORE_UNAVAILABLE");
    let () = redis.ask("CONFIG SET maxmemory 0").await;
    report_until_taken(&nodes.here, json!({"processed_count": 3})).await;
    // A failover that made it a replica: nothing is asked of it any more until it is none.
    let () = redis.ask("REPLICAOF 127.0.0.1 1").await;
    let refused = try_report(&nodes.there, json!({"processed_count": 4})).await;
    refused.error(503, "STORE_UNAVAILABLE");
    until("word of it", async || !is_ready(&nodes.there).await).await;
    let () = redis.ask("REPLICAOF NO ONE").await;
    ends(&nodes.there, &mut streams).await;
}
