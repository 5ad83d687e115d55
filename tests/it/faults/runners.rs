//! A runner's job whose node dies or stands still goes on where it was, on the other node.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::backing::Backing;
use crate::support::{node::Node, server::TestServer, until};

/// So many that the job lasts until the other node has taken over, and a while after that.
const ADDRESSES: usize = 3_000;

const MORE: &str = "\
[stream]
update_interval_ms = 100
drain_seconds = 1
[runner.email]
dns = 'off'
max_per_second = 300
";

/// Longer than a node has a job for itself without a sign of life, and then some.
const LONG: Duration = Duration::from_secs(60);

/// What happens to the node that has the job.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Killed,
    /// It stands still until the other node has the job; then it goes on as if nothing had been.
    Frozen,
}

#[tokio::test]
async fn a_job_goes_on_when_its_node_on_redis_is_killed() {
    take_over(&Backing::redis().await, Fate::Killed).await;
}

#[tokio::test]
async fn a_job_goes_on_when_its_node_on_redis_is_frozen() {
    take_over(&Backing::redis().await, Fate::Frozen).await;
}

#[tokio::test]
async fn a_job_goes_on_when_its_node_on_postgresql_is_killed() {
    take_over(&Backing::postgres().await, Fate::Killed).await;
}

#[tokio::test]
async fn a_job_goes_on_when_its_node_on_postgresql_is_frozen() {
    take_over(&Backing::postgres().await, Fate::Frozen).await;
}

fn address(number: usize) -> String {
    format!("user{number}@example{number}.org")
}

async fn take_over(backing: &Backing, fate: Fate) {
    let toml = backing.toml(MORE);
    let mut nodes = [Node::new(&toml), Node::new(&toml)];
    for node in &mut nodes {
        node.start().await;
    }
    let [first, second] = nodes.each_ref().map(|node| TestServer::at(&node.url()));
    let list: Vec<_> = (0..ADDRESSES).map(address).collect();
    let created = first
        .request(Method::POST, "/api/v1/jobs?kind=email-validation")
        .header("content-type", "text/plain")
        .body(list.join("\n"));
    let job: Value = created
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let job_id = job["job_id"].as_str().expect("a name");
    // Watched where it does not run: what happens there is seen here.
    let mut stream = second.watch(job_id).await;
    let has_begun = |status: &Value| status["processed_count"].as_u64() > Some(100);
    stream.status_where(has_begun).await;
    match fate {
        Fate::Killed => nodes[0].kill().await,
        Fate::Frozen => nodes[0].signal("STOP").await,
    }
    let taken_over = tokio::time::timeout(LONG, async {
        // Nothing comes meanwhile but the signs that the stream is alive.
        while second.status(job_id).await["attempt"] != 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    taken_over.await.expect("the other node takes over");
    if let Fate::Frozen = fate {
        nodes[0].signal("CONT").await;
    }
    let finished = tokio::time::timeout(LONG, async {
        loop {
            let status = second.status(job_id).await;
            if status["finished_at"] != Value::Null {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let status = finished.await.expect("the job ends");
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(status["attempt"], 2, "{status}");
    let last = stream.rest().await.pop().expect("the end");
    assert_eq!(last.json(), status);
    // Every row is there, once, in order, wherever it is read.
    let live = match fate {
        Fate::Killed => vec![&second],
        Fate::Frozen => vec![&first, &second],
    };
    for server in live {
        until("the status on both nodes", async || {
            server.status(job_id).await == status
        })
        .await;
        let path = format!("/api/v1/jobs/{job_id}/download?format=ndjson");
        let file = server.get(&path).await.expect(StatusCode::OK).text;
        let addresses: Vec<Value> = file
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["email"].clone())
            .collect();
        assert_eq!(addresses.len(), ADDRESSES, "after it was {fate:?}");
        assert_eq!(json!(addresses), json!(list));
    }
    for node in &mut nodes {
        let log = node.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}
