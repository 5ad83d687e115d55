//! What only one of the stores has: workers that write SQL, and a Redis that dies or forgets.

use std::collections::BTreeMap;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{SHARP, open, read_to, remove, said, snapshot, two_nodes, words};
use crate::support::{
    postgres_server::{database, execute},
    redis_server::{Options, RedisServer, own_prefix},
    server::{Answer, TestServer},
    until,
};

#[tokio::test]
async fn workers_that_write_sql_are_shown_on_every_node() {
    let database = database().await;
    let mut worker = database.connect().await;
    // So rarely that only notifications tell of anything.
    let quiet = "store.postgres.poll_interval_seconds = 3600\n";
    let nodes = two_nodes(&format!("{}{SHARP}{quiet}", database.keys())).await;
    let mut streams = Vec::new();
    for node in &nodes {
        let mut stream = open(node, "kind=sql&status=processing&status=failed").await;
        snapshot(&mut stream).await;
        streams.push(stream);
    }
    for sql in [
        "SELECT progressd.create_job('j', kind => 'sql')",
        "UPDATE progressd.jobs SET message = 'begun' WHERE job_id = 'j'",
        "UPDATE progressd.jobs SET processed_count = 7 WHERE job_id = 'j'",
    ] {
        execute(&mut worker, sql).await;
    }
    for stream in &mut streams {
        let block = stream
            .status_where(|status| status["processed_count"] == 7)
            .await;
        assert_eq!(said(&block), words("status", "j", json!("processing")));
    }
    let end = "UPDATE progressd.jobs SET status = 'failed', error = '\"no more\"'";
    execute(&mut worker, end).await;
    for stream in &mut streams {
        read_to(stream, &words("status", "j", json!("failed"))).await;
    }
    // Without notifications they are found by polling.
    let polling = "store.postgres.poll_interval_seconds = 1\n";
    let node = TestServer::with(&format!("{}{SHARP}{polling}", database.keys())).await;
    let mute = "CREATE OR REPLACE FUNCTION progressd.notify(node text, job_id text, seq bigint) \
        RETURNS void LANGUAGE sql RETURN NULL";
    let mut stream = open(&node, "kind=mute").await;
    snapshot(&mut stream).await;
    for sql in [mute, "SELECT progressd.create_job('m', kind => 'mute')"] {
        execute(&mut worker, sql).await;
    }
    read_to(&mut stream, &words("status", "m", json!("pending"))).await;
    let end = "UPDATE progressd.jobs SET status = 'completed' WHERE job_id = 'm'";
    execute(&mut worker, end).await;
    read_to(&mut stream, &words("status", "m", json!("completed"))).await;
    remove(&nodes[0], "m").await;
    read_to(&mut stream, &words("removed", "m", Value::Null)).await;
}

/// Asks until it is done; what the store cannot do now is asked for again.
async fn insist(server: &TestServer, method: Method, path: &str, body: Value) {
    until("a store that does it", async || {
        let request = server.request(method.clone(), path).json(&body);
        let answer = Answer::of(request).await;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED => true,
            _ => {
                answer.error(503, "STORE_UNAVAILABLE");
                false
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_dies_or_forgets_everything_leaves_streams_that_are_right_in_the_end() {
    for is_emptied in [false, true] {
        let options = Options {
            durable: !is_emptied,
            ..Default::default()
        };
        let mut redis = RedisServer::with(options).await;
        let toml = format!(
            "{}{SHARP}store.redis.check_interval_seconds = 1\n",
            redis.toml(&own_prefix())
        );
        let [here, there] = two_nodes(&toml).await;
        for name in ["over", "old", "held"] {
            there.create(json!({"job_id": name, "kind": "k"})).await;
        }
        there.report("over", json!({"status": "completed"})).await;
        here.report("held", json!({"processed_count": 3})).await;
        let mut stream = open(&here, "kind=k").await;
        assert_eq!(snapshot(&mut stream).await.0.len(), 3);
        redis.kill().await;
        match is_emptied {
            true => redis.restart_empty().await,
            false => redis.restart().await,
        }
        let new = json!({"job_id": "new", "kind": "k"});
        insist(&there, Method::POST, "/api/v1/jobs", new).await;
        let end = json!({"status": "completed"});
        insist(&there, Method::PATCH, "/api/v1/jobs/old", end.clone()).await;
        insist(&there, Method::PATCH, "/api/v1/jobs/new", end).await;
        let count = json!({"processed_count": 4});
        insist(&there, Method::PATCH, "/api/v1/jobs/held", count).await;
        // What a page shows that reads it all.
        let mut shown: BTreeMap<String, Value> = BTreeMap::new();
        shown.insert("over".to_owned(), json!("completed"));
        let is_right = |shown: &BTreeMap<String, Value>| {
            shown.get("new") == Some(&json!("completed"))
                && shown.get("old") == Some(&json!("completed"))
                && shown.get("held") == Some(&json!(4))
                // A job that was over is nobody's to put back.
                && shown.contains_key("over") != is_emptied
        };
        while !is_right(&shown) {
            let block = stream.next().await;
            let json = block.json();
            let job_id = said(&block).1;
            match block.name() {
                "removed" => drop(shown.remove(&job_id)),
                _ if job_id == "held" => {
                    drop(shown.insert(job_id, json["processed_count"].clone()))
                }
                _ => drop(shown.insert(job_id, json["status"].clone())),
            }
        }
    }
}
