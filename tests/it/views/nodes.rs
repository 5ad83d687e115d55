//! Several nodes over one store: what a view begins or makes is there once, and is told everywhere.

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{EVERY_REPORT, resume, send};
use crate::support::{
    people::{configuration, token},
    redis_server::{RedisServer, own_prefix},
    server::TestServer,
    shared_memory::Hall,
};

const VIEWS: &str = "server.views = ['inventory', 'orders', 'process']\n";

/// Three nodes over a store in memory, and three over Redis.
async fn worlds() -> [Vec<TestServer>; 2] {
    let toml = format!("{VIEWS}{EVERY_REPORT}");
    let keys = configuration();
    let hall = Hall::new();
    let in_memory = (0..3).map(|_| TestServer::over(hall.node(), &toml));
    let in_memory = async { join_all(in_memory).await };
    let redis = RedisServer::shared().await.toml(&own_prefix());
    let toml = format!("{toml}{redis}\n{keys}");
    let in_redis = async { join_all((0..3).map(|_| TestServer::with(&toml))).await };
    let (in_memory, in_redis) = tokio::join!(in_memory, in_redis);
    let in_redis = in_redis.into_iter().map(|node| node.with_token("key-all"));
    [in_memory, in_redis.collect()]
}

async fn jobs(node: &TestServer, kind: &str) -> Vec<Value> {
    let list = node.get(&format!("/api/v1/jobs?kind={kind}")).await;
    let list = list.expect(StatusCode::OK).json();
    list["jobs"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn nodes_that_start_together_make_one_feed_and_all_tell_of_it() {
    for nodes in worlds().await {
        for node in &nodes {
            assert_eq!(jobs(node, "inventory").await.len(), 1);
        }
        let streams = nodes.iter().map(|node| node.stream("/v1/inventory/stream"));
        let mut streams = join_all(streams).await;
        for (number, node) in nodes.iter().enumerate() {
            send(node, "inventory", "stock-change", json!({"petId": number})).await;
            for stream in &mut streams {
                assert_eq!(stream.next().await.json()["petId"], number);
            }
        }
    }
}

#[tokio::test]
async fn callers_who_open_on_several_nodes_at_the_same_time_begin_one_job() {
    for nodes in worlds().await {
        let ann = token(&json!({"sub": "ann"}));
        let ann: Vec<_> = nodes.iter().map(|node| node.as_bearer(&ann)).collect();
        for round in 1..=3 {
            let opening = (0..12).map(|number| ann[number % 3].stream("/api/v1/process/stream"));
            let mut streams = join_all(opening).await;
            let jobs = jobs(&nodes[round % 3], "process").await;
            assert_eq!(jobs.len(), round, "{jobs:#?}");
            let id = jobs[0]["job_id"].as_str().expect("an id");
            nodes[0].report(id, json!({"status": "completed"})).await;
            for stream in &mut streams {
                let last = stream.rest().await.pop().expect("a block");
                assert_eq!(last.json()["status"], "completed");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_was_cut_goes_on_at_another_node() {
    for nodes in worlds().await {
        nodes[0]
            .create(json!({"job_id": "o", "kind": "order"}))
            .await;
        let path = "/v1/orders/o/status/stream";
        let mut seen = Vec::new();
        let mut cursor = None;
        for number in 0..6 {
            let node = &nodes[number % 3];
            let mut stream = resume(node, path, cursor.as_deref()).await;
            send(&nodes[(number + 1) % 3], "o", "step", json!(number)).await;
            let block = stream.next().await;
            cursor.clone_from(&block.id);
            seen.push(block.data);
        }
        assert_eq!(seen, ["0", "1", "2", "3", "4", "5"]);
    }
}
