//! Reports that are pushed straight into Redis.

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Nodes, TOML};
use crate::support::{
    in_time,
    redis_server::{RedisServer, own_prefix},
    scrape::Scrape,
    server::TestServer,
    until,
};

const METRIC: &str = "progressd_pushed_reports_total";

/// Who pushes: it knows a Redis and a prefix, and nothing of progressd.
pub(super) struct Pusher {
    client: MultiplexedConnection,
    prefix: String,
}

impl Pusher {
    pub(super) async fn new(redis: &RedisServer, prefix: &str) -> Self {
        Self {
            client: redis.client().await,
            prefix: prefix.to_owned(),
        }
    }

    /// Adds an entry to the stream; its id.
    pub(super) async fn add(&mut self, report: &Value) -> String {
        self.add_text(&report.to_string()).await
    }

    pub(super) async fn add_text(&mut self, report: &str) -> String {
        let stream = format!("{}reports", self.prefix);
        let mut add = redis::cmd("XADD");
        add.arg(stream).arg("*").arg("report").arg(report);
        add.query_async(&mut self.client).await.expect("an id")
    }

    /// Publishes a report; how many have heard it.
    async fn publish(&mut self, job_id: &str, report: &Value) -> u64 {
        self.publish_text(job_id, &report.to_string()).await
    }

    pub(super) async fn publish_text(&mut self, job_id: &str, report: &str) -> u64 {
        let channel = format!("{}report:{job_id}", self.prefix);
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(report);
        publish
            .query_async(&mut self.client)
            .await
            .expect("a number")
    }

    pub(super) async fn length(&mut self, stream: &str) -> u64 {
        let mut length = redis::cmd("XLEN");
        length.arg(format!("{}{stream}", self.prefix));
        length
            .query_async(&mut self.client)
            .await
            .expect("a length")
    }

    /// The fields of what was refused.
    pub(super) async fn refused(&mut self) -> Vec<Vec<String>> {
        let mut range = redis::cmd("XRANGE");
        range
            .arg(format!("{}reports:refused", self.prefix))
            .arg("-")
            .arg("+");
        let found: Vec<(String, Vec<String>)> =
            range.query_async(&mut self.client).await.expect("entries");
        let fields = found.into_iter().map(|(_, fields)| fields);
        fields
            .map(|fields| fields.into_iter().skip(1).step_by(2).collect())
            .collect()
    }

    pub(super) async fn set(&mut self, key: &str, fields: &[(&str, &str)]) {
        let mut set = redis::cmd("HSET");
        set.arg(format!("{}{key}", self.prefix)).arg(fields);
        let () = set.query_async(&mut self.client).await.expect("a number");
    }
}

/// How many reports took a way to an outcome, on all of some nodes.
pub(super) async fn counted(servers: &[&TestServer], way: &str, outcome: &str) -> f64 {
    let mut sum = 0.0;
    for server in servers {
        let labels = [("way", way), ("outcome", outcome)];
        sum += Scrape::of(server).await.value(METRIC, &labels);
    }
    sum
}

/// Waits until somebody listens to what is published, and says how often it was heard.
async fn publish_until_heard(pusher: &mut Pusher, job_id: &str, report: &Value) -> u64 {
    let heard = async {
        loop {
            let heard = pusher.publish(job_id, report).await;
            if heard > 0 {
                return heard;
            }
            tokio::task::yield_now().await;
        }
    };
    in_time("somebody who listens", heard).await
}

#[tokio::test]
async fn entries_are_applied_once_in_their_order_by_either_node() {
    let redis = RedisServer::shared().await;
    let nodes = Nodes::start().await;
    let mut pusher = Pusher::new(redis, &nodes.prefix).await;
    nodes.here.create(json!({"job_id": "j"})).await;
    nodes.here.create(json!({"job_id": "k"})).await;
    let mut stream = nodes.there.watch("j").await;
    for number in 1..=300 {
        let message = format!("line {number}");
        let report = json!({"job_id": "j", "processed_increment": 1, "message": message});
        pusher.add(&report).await;
        if number % 100 == 0 {
            pusher
                .add(&json!({"job_id": "k", "processed_count": number}))
                .await;
        }
    }
    // The same report once more, under its own id.
    for _ in 0..2 {
        let report = json!({"job_id": "j", "processed_increment": 1000, "report_id": "r"});
        pusher.add(&report).await;
    }
    pusher
        .add(&json!({"job_id": "j", "status": "completed"}))
        .await;
    let blocks = stream.rest().await;
    let messages = blocks.iter().filter_map(|block| {
        let message = block.json()["message"]
            .as_str()?
            .strip_prefix("line ")?
            .to_owned();
        message.parse::<u64>().ok()
    });
    let messages: Vec<u64> = messages.collect();
    assert!(messages.is_sorted(), "{messages:?}");
    let last = blocks.last().expect("an end").json();
    assert_eq!(last["processed_count"], 1_300);
    assert_eq!(last["message"], "line 300");
    until("the other job", async || {
        nodes.there.status("k").await["processed_count"] == 300
    })
    .await;
    let servers = [&nodes.here, &nodes.there];
    until("all of them finished", async || {
        let mut pusher = Pusher::new(redis, &nodes.prefix).await;
        pusher.length("reports").await == 0
    })
    .await;
    assert_eq!(counted(&servers, "stream", "accepted").await, 306.0);
    assert_eq!(counted(&servers, "stream", "refused").await, 0.0);
}

#[tokio::test]
async fn entries_that_nobody_can_take_are_kept_with_the_reason() {
    let redis = RedisServer::shared().await;
    let prefix = own_prefix();
    let server = TestServer::with(&format!("{}{TOML}", redis.toml(&prefix))).await;
    let mut pusher = Pusher::new(redis, &prefix).await;
    server.create(json!({"job_id": "j"})).await;
    pusher.add_text("no JSON").await;
    pusher.add(&json!({"processed_count": 1})).await;
    pusher
        .add(&json!({"job_id": "nobody", "processed_count": 1}))
        .await;
    pusher
        .add(&json!({"job_id": "j", "procesed_count": 1}))
        .await;
    let huge = json!({"job_id": "j", "data": {"x": "y".repeat(300_000)}});
    pusher.add(&huge).await;
    pusher
        .add(&json!({"job_id": "j", "status": "completed"}))
        .await;
    pusher
        .add(&json!({"job_id": "j", "message": "too late"}))
        .await;
    let mut other = redis::cmd("XADD");
    other
        .arg(format!("{prefix}reports"))
        .arg("*")
        .arg("a")
        .arg("b");
    let _: String = other.query_async(&mut pusher.client).await.expect("an id");
    until("all of them refused", async || {
        counted(&[&server], "stream", "refused").await == 7.0
    })
    .await;
    let refused = pusher.refused().await;
    let codes: Vec<_> = refused.iter().map(|fields| fields[2].as_str()).collect();
    assert_eq!(
        codes,
        [
            "INVALID_REQUEST",
            "INVALID_REQUEST",
            "JOB_NOT_FOUND",
            "INVALID_REQUEST",
            "PAYLOAD_TOO_LARGE",
            "JOB_FINISHED",
            "INVALID_REQUEST",
        ]
    );
    assert!(refused.iter().all(|fields| fields[0] == "stream"));
    assert!(refused[3][3].contains("procesed_count"), "{refused:?}");
    assert_eq!(refused[0][4], "no JSON");
    assert!(refused[4][4].len() < 20_000);
    assert_eq!(counted(&[&server], "stream", "accepted").await, 1.0);
    until("nothing left", async || {
        let mut pusher = Pusher::new(redis, &prefix).await;
        pusher.length("reports").await == 0
    })
    .await;
}

#[tokio::test]
async fn what_a_dead_node_left_is_applied_once_by_the_next() {
    let redis = RedisServer::shared().await;
    let prefix = own_prefix();
    let toml = format!("{}{TOML}", redis.toml(&prefix));
    let mut pusher = Pusher::new(redis, &prefix).await;
    let first = TestServer::with(&toml).await;
    first.create(json!({"job_id": "j"})).await;
    let drained = first.drain().await;
    assert_eq!(drained.cut, 0);
    let report = json!({"job_id": "j", "processed_increment": 1});
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(pusher.add(&report).await);
    }
    // A node took them, applied the first, and died before it could say so.
    for command in [
        format!("XGROUP CREATE {prefix}reports progressd 0"),
        format!("XREADGROUP GROUP progressd dead COUNT 2 STREAMS {prefix}reports >"),
    ] {
        // The group is there already when the first server made it.
        let mut words = command.split(' ');
        let mut asked = redis::cmd(words.next().expect("a word"));
        asked.arg(words.collect::<Vec<_>>());
        let _: redis::RedisResult<redis::Value> = asked.query_async(&mut pusher.client).await;
    }
    let mut memory = TOML.to_owned();
    memory += &redis.toml(&prefix);
    let applied = json!({"processed_increment": 1, "report_id": format!("redis:{}", ids[0])});
    let next = TestServer::with(&memory).await;
    next.report("j", applied).await;
    until("all of them", async || {
        next.status("j").await["processed_count"] == 3
            && counted(&[&next], "stream", "accepted").await == 3.0
    })
    .await;
    assert_eq!(pusher.length("reports").await, 0);
    assert_eq!(next.status("j").await["processed_count"], 3);
}

#[tokio::test]
async fn a_message_is_applied_by_one_node_and_by_the_other_once_that_has_left() {
    let redis = RedisServer::shared().await;
    let nodes = Nodes::start().await;
    let mut pusher = Pusher::new(redis, &nodes.prefix).await;
    nodes.here.create(json!({"job_id": "j"})).await;
    let one = json!({"processed_increment": 1});
    assert_eq!(publish_until_heard(&mut pusher, "j", &one).await, 1);
    for _ in 0..20 {
        assert_eq!(pusher.publish("j", &one).await, 1);
    }
    let servers = [&nodes.here, &nodes.there];
    until("all of them", async || {
        counted(&servers, "publish", "accepted").await == 21.0
    })
    .await;
    assert_eq!(nodes.here.status("j").await["processed_count"], 21);
    // Refusals are kept as well.
    pusher.publish("nobody", &one).await;
    pusher.publish("j", &json!({"job_id": "other"})).await;
    until("the refusals", async || {
        counted(&servers, "publish", "refused").await == 2.0
    })
    .await;
    let refused = pusher.refused().await;
    assert_eq!(refused[0][..3], ["publish", "nobody", "JOB_NOT_FOUND"]);
    assert_eq!(refused[1][..3], ["publish", "j", "INVALID_REQUEST"]);
    // The holder leaves and says so; the other one takes over soon.
    let holds = counted(&[&nodes.here], "publish", "accepted").await > 0.0;
    let (leaves, stays) = match holds {
        true => (nodes.here, nodes.there),
        false => (nodes.there, nodes.here),
    };
    leaves.drain().await;
    publish_until_heard(&mut pusher, "j", &one).await;
    until("the other node", async || {
        counted(&[&stays], "publish", "accepted").await == 1.0
    })
    .await;
    assert_eq!(stays.status("j").await["processed_count"], 22);
}

#[tokio::test]
async fn a_node_that_has_lost_the_claim_applies_nothing_that_it_hears() {
    let redis = RedisServer::shared().await;
    let prefix = own_prefix();
    let server = TestServer::with(&format!("{}{TOML}", redis.toml(&prefix))).await;
    let mut pusher = Pusher::new(redis, &prefix).await;
    server.create(json!({"job_id": "j"})).await;
    let one = json!({"processed_increment": 1});
    publish_until_heard(&mut pusher, "j", &one).await;
    until("the first", async || {
        counted(&[&server], "publish", "accepted").await == 1.0
    })
    .await;
    // Another node has it now; this one still listens.
    let far = (1_u64 << 50).to_string();
    pusher
        .set(
            "intake",
            &[("node", "another"), ("until", &far), ("number", "7")],
        )
        .await;
    pusher.publish("j", &one).await;
    until("the loss", async || {
        counted(&[&server], "publish", "lost").await == 1.0
    })
    .await;
    assert_eq!(server.status("j").await["processed_count"], 1);
    // Nobody listens any more until the claim is free.
    until("the end of the subscription", async || {
        let mut pusher = Pusher::new(redis, &prefix).await;
        pusher.publish("k", &one).await == 0
    })
    .await;
    pusher.set("intake", &[("until", "0")]).await;
    publish_until_heard(&mut pusher, "j", &one).await;
    until("the next", async || {
        counted(&[&server], "publish", "accepted").await == 2.0
    })
    .await;
    assert_eq!(server.status("j").await["processed_count"], 2);
}

/// The `redis-cli` lines of the README's shell blocks, in order.
fn readme_lines() -> Vec<&'static str> {
    let readme = include_str!("../../../README.md");
    let blocks = readme.split("```sh\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap_or_default());
    let lines = blocks.flat_map(str::lines);
    lines
        .filter(|line| line.starts_with("redis-cli "))
        .collect()
}

#[tokio::test]
async fn the_readmes_redis_commands_work_as_they_stand() {
    let redis = RedisServer::start().await;
    // The prefix of the default configuration.
    let server = TestServer::with(&format!("{}{TOML}", redis.toml("progressd:"))).await;
    server
        .create(json!({"job_id": "import-7", "total_count": 1000}))
        .await;
    let mut pusher = Pusher::new(&redis, "progressd:").await;
    publish_until_heard(&mut pusher, "import-7", &json!({})).await;
    let lines = readme_lines();
    assert!(lines.len() >= 2, "{lines:?}");
    for line in lines {
        let line = line.replacen(
            "redis-cli ",
            &format!("redis-cli {} ", redis.cli_arguments()),
            1,
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &line]).kill_on_drop(true);
        let output = in_time(&line, bash.output()).await.expect("bash runs");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && !printed.contains("ERR"),
            "{line}: {printed}"
        );
    }
    until("what they report", async || {
        let status = server.status("import-7").await;
        status["processed_count"] == 500 && status["message"] == "half of it"
    })
    .await;
    assert_eq!(counted(&[&server], "stream", "refused").await, 0.0);
    assert_eq!(counted(&[&server], "publish", "refused").await, 0.0);
}
