//! Redis as the store of several nodes: what they share, what they do when it fails, and what it
//! costs to ask it.

mod backlog;
mod cost;
mod faults;
mod full;
mod goes_back;
mod parts;
mod pushed;
mod start;

use progressd::job::{Command, JobId, Json};
use reqwest::StatusCode;
use serde_json::json;

use crate::support::{
    redis_server::{RedisServer, own_prefix},
    server::TestServer,
};

/// Every change is sent; what nobody tells of is found soon.
const TOML: &str = "stream.update_interval_ms = 0\nstore.redis.check_interval_seconds = 1\n";

/// Two servers over one Redis.
struct Nodes {
    prefix: String,
    here: TestServer,
    there: TestServer,
}

impl Nodes {
    /// Over the Redis that tests share.
    async fn start() -> Self {
        Self::over(RedisServer::shared().await, "").await
    }

    async fn over(redis: &RedisServer, toml: &str) -> Self {
        let prefix = own_prefix();
        let toml = format!("{}{TOML}{toml}", redis.toml(&prefix));
        Self {
            here: TestServer::with(&toml).await,
            there: TestServer::with(&toml).await,
            prefix,
        }
    }
}

#[tokio::test]
async fn two_nodes_share_jobs_events_results_and_report_ids() {
    let nodes = Nodes::start().await;
    let (here, there) = (&nodes.here, &nodes.there);
    let body = json!({"job_id": "j", "kind": "import", "total_count": 4, "tags": ["a"]});
    here.create(body).await;
    let mut streams = [here.watch("j").await, there.watch("j").await];
    let report = json!({"processed_increment": 3, "report_id": "r"});
    let first = there.report("j", report.clone()).await;
    let second = here.report("j", report).await;
    assert_eq!(first["seq"], second["seq"]);
    assert_eq!(here.status("j").await, there.status("j").await);
    assert_eq!(here.status("j").await["processed_count"], 3);
    let event = json!({"event": "found", "data": {"n": 1}});
    here.post("/api/v1/jobs/j/events", event)
        .await
        .expect(StatusCode::OK);
    let job = there
        .registry()
        .find(&JobId::parse("j").expect("a name"))
        .await;
    let rows = [json!({"row": 1}), json!({"row": 2})].map(|row| Json::of(&row).expect("JSON"));
    let rows = Command::Rows(rows.into());
    let appended = job.expect("the job").apply(rows, None).await;
    appended.expect("rows that are taken");
    let results = here.get("/api/v1/jobs/j/results").await.json();
    assert_eq!(results["total"], 2);
    assert_eq!(results["results"], json!([{"row": 1}, {"row": 2}]));
    let listed = there.get("/api/v1/jobs?kind=import&tag=a").await.json();
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(1));
    there.report("j", json!({"status": "completed"})).await;
    for stream in &mut streams {
        let blocks = stream.rest().await;
        let names: Vec<_> = blocks.iter().map(|block| block.name()).collect();
        assert!(names.contains(&"found"), "{names:?}");
        assert_eq!(blocks.last().expect("an end").json()["status"], "completed");
    }
    let late = here.patch("/api/v1/jobs/j", json!({"message": "x"})).await;
    late.error(409, "JOB_FINISHED");
    here.delete("/api/v1/jobs/j")
        .await
        .expect(StatusCode::NO_CONTENT);
    there.get("/api/v1/jobs/j").await.error(410, "JOB_GONE");
    assert!(!nodes.prefix.is_empty());
}

#[tokio::test]
async fn two_prefixes_and_two_databases_know_nothing_of_each_other() {
    let redis = RedisServer::start().await;
    let prefix = own_prefix();
    let toml = |database: u8, prefix: &str| {
        let toml = redis.toml(prefix);
        format!(
            "{}{TOML}",
            toml.replace(&redis.url(), &redis.url_of(database))
        )
    };
    let one = TestServer::with(&toml(0, &prefix)).await;
    let others = [
        TestServer::with(&toml(1, &prefix)).await,
        TestServer::with(&toml(0, &own_prefix())).await,
    ];
    one.create(json!({"job_id": "j"})).await;
    let mut watching = Vec::new();
    for other in &others {
        other
            .get("/api/v1/jobs/j")
            .await
            .error(404, "JOB_NOT_FOUND");
        other.create(json!({"job_id": "j"})).await;
        let mut stream = other.watch("j").await;
        stream.next_status().await;
        watching.push(stream);
    }
    one.report("j", json!({"message": "from the first"})).await;
    one.report("j", json!({"status": "failed"})).await;
    for (other, stream) in others.iter().zip(&mut watching) {
        other.report("j", json!({"status": "completed"})).await;
        let blocks = stream.rest().await;
        assert_eq!(blocks.last().expect("an end").json()["status"], "completed");
        assert!(!blocks.iter().any(|block| block.data.contains("first")));
    }
}
