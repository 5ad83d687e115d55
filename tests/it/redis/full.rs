//! What becomes of requests while Redis' memory is full.

use progressd::store::{Redis, Store as _};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::TOML;
use crate::support::{
    in_time,
    redis_server::{RedisServer, own_prefix},
    scrape::Scrape,
    server::TestServer,
    until,
};

/// Everything in an index.
async fn entries(redis: &RedisServer, index: &str) -> Vec<String> {
    redis.ask(&format!("ZRANGE {index} 0 -1")).await
}

#[tokio::test]
async fn a_creation_that_is_refused_leaves_nothing_and_what_frees_memory_is_done() {
    let redis = RedisServer::start().await;
    let prefix = own_prefix();
    let server = TestServer::with(&format!("{}{TOML}", redis.toml(&prefix))).await;
    server.create(json!({"job_id": "old", "tags": ["t"]})).await;
    let all = format!("{prefix}index:all");
    let before = entries(&redis, &all).await;
    let () = redis.ask("CONFIG SET maxmemory 1").await;
    let body = |number: usize| {
        let data = json!({"x": "y".repeat(50_000)});
        json!({"job_id": format!("new-{number}"), "kind": "k", "tags": ["t"], "data": data})
    };
    for number in 0..5 {
        let refused = server.post("/api/v1/jobs", body(number)).await;
        refused.error(503, "STORE_UNAVAILABLE");
    }
    let keys: Vec<String> = redis.ask(&format!("KEYS {prefix}job:*")).await;
    assert_eq!(keys, [format!("{prefix}job:{{old}}")]);
    assert_eq!(entries(&redis, &all).await, before);
    assert_eq!(
        entries(&redis, &format!("{prefix}index:kind:k"))
            .await
            .len(),
        0
    );
    // Who asks whether it does its work is told so; what is there can be read, and removed.
    until("word of it", async || {
        let up = Scrape::of(&server).await.sum("progressd_store_up");
        up == 0.0 && server.get("/readyz").await.status == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    let status: Value = server.status("old").await;
    assert_eq!(status["status"], "pending");
    server
        .delete("/api/v1/jobs/old")
        .await
        .expect(StatusCode::NO_CONTENT);
    let () = redis.ask("CONFIG SET maxmemory 0").await;
    until("its return", async || {
        server.get("/readyz").await.status == StatusCode::OK
    })
    .await;
    server.create(body(0)).await;
    let listed = server.get("/api/v1/jobs?tag=t").await.json();
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["jobs"][0]["job_id"], "new-0");
}

#[tokio::test]
async fn a_job_that_is_in_no_index_but_that_of_its_state_comes_back_into_all() {
    let redis = RedisServer::shared().await;
    let prefix = own_prefix();
    let store = redis.store(&prefix).await;
    let body = br#"{"kind": "k", "tags": ["t"]}"#;
    let new_job = progressd::job::NewJob::parse(body, &progressd::job::Bounds::default());
    super::cost::put(&store, super::cost::job_of(new_job.expect("a job"), "a")).await;
    let lost = ["all", "kind:k", "tag:t"].map(|index| format!("{prefix}index:{index}"));
    let () = redis.ask(&format!("DEL {}", lost.join(" "))).await;
    until("their return", async || {
        let now = progressd::job::Timestamp::from_micros(0);
        store.expire(now, 60, 10).await.expect("an upkeep");
        let mut found = 0;
        for index in &lost {
            found += entries(redis, index).await.len();
        }
        found == lost.len()
    })
    .await;
}

#[tokio::test]
async fn a_node_can_start_and_read_while_nothing_can_be_changed() {
    let redis = RedisServer::start().await;
    let prefix = own_prefix();
    let store = redis.store(&prefix).await;
    let job = super::cost::created(&store, "a").await;
    let () = redis.ask("CONFIG SET maxmemory 1").await;
    let late = in_time("a store", Redis::open(redis.settings(&prefix))).await;
    let late = late.expect("one that can be read");
    let found = late
        .load(job.id(), job.updated_at)
        .await
        .expect("an answer");
    assert!(
        matches!(found, progressd::store::Loaded::Job(_)),
        "{found:?}"
    );
    let told = late.ping().await.expect_err("no change is taken");
    assert_eq!(
        told.to_string(),
        "store takes no changes: Redis: its memory is full"
    );
}

#[tokio::test]
async fn pushed_entries_wait_for_memory_and_are_then_applied_once() {
    let redis = RedisServer::start().await;
    let prefix = own_prefix();
    let server = TestServer::with(&format!("{}{TOML}", redis.toml(&prefix))).await;
    server.create(json!({"job_id": "j"})).await;
    let count = async |outcome| super::pushed::counted(&[&server], "stream", outcome).await;
    let report = json!({"job_id": "j", "processed_increment": 1}).to_string();
    // The stream has its reader.
    let first: String = redis
        .ask(&format!("XADD {prefix}reports * report {report}"))
        .await;
    until("the first", async || count("accepted").await == 1.0).await;
    assert!(!first.is_empty());
    let mut pipeline = redis::pipe();
    // At once, since a full Redis takes no entries.
    pipeline.atomic();
    for _ in 0..3 {
        let add = pipeline.cmd("XADD").arg(format!("{prefix}reports"));
        add.arg("*").arg("report").arg(&report).ignore();
    }
    let set = pipeline.cmd("CONFIG").arg("SET").arg("maxmemory");
    set.arg(1).ignore();
    let mut client = redis.client().await;
    let () = in_time("entries", pipeline.query_async(&mut client))
        .await
        .expect("entries");
    until("a first try", async || count("failed").await >= 1.0).await;
    let () = redis.ask("CONFIG SET maxmemory 0").await;
    until("all of them", async || {
        server.status("j").await["processed_count"] == 4
    })
    .await;
    until("their end", async || count("accepted").await == 4.0).await;
    assert_eq!(count("refused").await, 0.0);
}
