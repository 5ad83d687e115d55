//! A Redis that comes back with what it held some time ago, or with nothing.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{
    Nodes,
    faults::{ends, is_ready, watched},
};
use crate::support::{redis_server::RedisServer, until};

#[tokio::test]
async fn a_redis_that_goes_back_takes_back_nothing_that_was_answered() {
    let mut redis = RedisServer::start().await;
    let nodes = Nodes::over(&redis, "").await;
    let (here, there) = (&nodes.here, &nodes.there);
    let mut streams = watched(&nodes).await;
    let kept = here.status("j").await["seq"].as_u64().expect("a seq");
    let () = redis.ask("SAVE").await;
    let event = json!({"event": "line", "data": "not in the dump"});
    let event = here.post("/api/v1/jobs/j/events", event).await;
    event.expect(StatusCode::OK);
    let report = json!({"processed_count": 5, "step": "not in the dump"});
    let mut newest = here.report("j", report).await["seq"].as_u64();
    for stream in &mut streams {
        let is_newest = |status: &Value| status["processed_count"] == 5;
        stream.status_where(is_newest).await;
    }
    redis.kill().await;
    redis.restart().await;
    let held: u64 = redis
        .ask(&format!("HGET {}job:{{j}} seq", nodes.prefix))
        .await;
    assert_eq!(held, kept, "it has gone back");
    for server in [here, there] {
        until("its return", async || is_ready(server).await).await;
    }
    for count in 6..9 {
        for server in [here, there] {
            let shown = server.status("j").await;
            assert!(shown["seq"].as_u64() >= newest, "{shown}");
            assert_eq!(shown["step"], "not in the dump");
            let answer = server.report("j", json!({"processed_count": count})).await;
            assert!(answer["seq"].as_u64() >= newest, "{answer}");
            newest = answer["seq"].as_u64();
        }
    }
    // The event is lost; whoever has not seen it is told.
    for server in [here, there] {
        let mut stream = server.resume("j", &kept.to_string()).await;
        let first = stream.next_status().await;
        assert_eq!(first["gap"], true, "{first}");
    }
    let mut stream = here.resume("j", &newest.expect("a seq").to_string()).await;
    assert_eq!(stream.next_status().await.get("gap"), None);
    ends(here, &mut streams).await;
}

/// No lookups, and slow enough to be caught in the middle.
const SLOW: &str = "runner.email.dns = 'off'\nrunner.email.max_per_second = 100\n";

/// At that rate, longer than it takes until a node that does nothing would take the job over.
const ADDRESSES: usize = 1_200;

#[tokio::test]
async fn a_job_at_work_begins_anew_where_it_is_although_its_claim_was_lost_with_redis() {
    let mut redis = RedisServer::start().await;
    let nodes = Nodes::over(&redis, SLOW).await;
    let (here, there) = (&nodes.here, &nodes.there);
    let input: Vec<String> = (0..ADDRESSES)
        .map(|number| format!("person{number}@example.org"))
        .collect();
    here.create(json!({"job_id": "j", "kind": "email-validation", "input": input}))
        .await;
    let mut stream = there.watch("j").await;
    let has_begun = |status: &Value| status["processed_count"].as_u64() > Some(20);
    stream.status_where(has_begun).await;
    // Just renewed, so that the next renewal is some seconds away.
    let claimed_until = async || -> u64 {
        let claim = format!("HGET {}job:{{j}}:claim until", nodes.prefix);
        redis.ask(&claim).await
    };
    let before = claimed_until().await;
    until("a renewal", async || claimed_until().await > before).await;
    redis.kill().await;
    redis.restart_empty().await;
    let blocks = stream.rest().await;
    let ids: Vec<_> = blocks.iter().filter(|block| block.id.is_some()).collect();
    assert!(ids.is_sorted_by(|before, after| before.seq() < after.seq()));
    let end = blocks.last().expect("an end").json();
    assert_eq!(end["status"], "completed", "{end}");
    // One attempt more: of its node, since its rows were lost, and of no other.
    assert_eq!(end["attempt"], 2, "{end}");
    assert_eq!(end["processed_count"], ADDRESSES);
    let path = "/api/v1/jobs/j/download?format=ndjson";
    let file = there.get(path).await.expect(StatusCode::OK).text;
    let email = |line| {
        let row: Value = serde_json::from_str(line).expect("JSON");
        row["email"].as_str().expect("an address").to_owned()
    };
    let rows: Vec<String> = file.lines().map(email).collect();
    assert_eq!(rows, input);
}
