//! Nodes whose clocks differ by seconds, on one store.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::{
    backing::Backing,
    check::Promises,
    setting,
    world::{Crowd, Load, World, verify},
};
use crate::support::{node::Node, server::TestServer};

const MORE: &str = "\
[stream]
update_interval_ms = 50
retry_ms = 100
drain_seconds = 1
";

/// Debian's `faketime`, which `scripts/test` installs: it is loaded before the C library.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("a folder").flatten();
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    libraries
        .find(|library| library.exists())
        .expect("faketime is installed (`scripts/test` does so)")
}

/// A node whose clock is wrong by this.
fn node(backing: &Backing, offset: &str) -> Node {
    Node::new(&backing.toml(MORE))
        .with_variable("LD_PRELOAD", &library().display().to_string())
        .with_variable("FAKETIME", offset)
        .with_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

async fn two_nodes(backing: &Backing) -> [Node; 2] {
    let mut nodes = [node(backing, "-8s"), node(backing, "+9s")];
    for node in &mut nodes {
        node.start().await;
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_differ_break_no_promise_on_redis() {
    no_promise_is_broken(&Backing::redis().await, "clocks on Redis").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_differ_break_no_promise_on_postgresql() {
    no_promise_is_broken(&Backing::postgres().await, "clocks on PostgreSQL").await;
}

async fn no_promise_is_broken(backing: &Backing, title: &str) {
    let load = Load {
        seed: setting("SEED", rand::random_range(0..1_000_000)),
        workers: setting("WORKERS", 6) as usize,
        watchers: setting("WATCHERS", 30) as usize,
        pollers: 4,
        pause: Duration::from_millis(40),
    };
    println!("{title}: seed {}", load.seed);
    let mut nodes = two_nodes(backing).await;
    let world = World::new(nodes.iter().map(|node| node.address).collect(), None, &load);
    let crowd = Crowd::start(&world, &load);
    tokio::time::sleep(Duration::from_secs(setting("SECONDS", 4))).await;
    crowd.finish(Duration::from_secs(60)).await;
    for node in &mut nodes {
        node.stop().await;
    }
    let promises = Promises {
        kept_events: 1_000,
        progress_age: None,
    };
    verify(&world, &load, promises, title);
}

#[tokio::test]
async fn a_lease_is_as_long_as_it_says_whatever_the_nodes_clocks_say_on_redis() {
    leases_are_as_long_as_they_say(&Backing::redis().await).await;
}

#[tokio::test]
async fn a_lease_is_as_long_as_it_says_whatever_the_nodes_clocks_say_on_postgresql() {
    leases_are_as_long_as_they_say(&Backing::postgres().await).await;
}

async fn leases_are_as_long_as_they_say(backing: &Backing) {
    let nodes = two_nodes(backing).await;
    let servers = nodes.each_ref().map(|node| TestServer::at(&node.url()));
    servers[0]
        .create(json!({"job_id": "j", "lease_seconds": 3}))
        .await;
    let mut streams = [servers[0].watch("j").await, servers[1].watch("j").await];
    // Reported on here and there, it never counts as stalled.
    for number in 1..=16 {
        let answer = servers[number % 2]
            .report("j", json!({"processed_count": number}))
            .await;
        let seq = answer["seq"].as_u64();
        tokio::time::sleep(Duration::from_millis(300)).await;
        for server in &servers {
            let status = server.status("j").await;
            assert_eq!(
                (status["stalled"].as_bool(), status["seq"].as_u64()),
                (Some(false), seq)
            );
        }
    }
    // Then nobody reports.
    let silence = tokio::time::Instant::now();
    let mut statuses = Vec::new();
    for stream in &mut streams {
        let block = stream
            .status_where(|status| status["stalled"] == true)
            .await;
        let after = silence.elapsed();
        assert!((2_000..8_000).contains(&after.as_millis()), "{after:?}");
        statuses.push(block.json());
    }
    assert_eq!(statuses[0], statuses[1]);
    let times = |status: &Value, field: &str| -> jiff::Timestamp {
        let text = status[field].as_str().expect("a time");
        text.parse().expect("a time")
    };
    // Times are the store's, not those of a node: this machine's, here.
    let now = jiff::Timestamp::now();
    for field in ["created_at", "started_at", "updated_at"] {
        let age = now.duration_since(times(&statuses[0], field)).as_secs_f64();
        assert!((-1.0..20.0).contains(&age), "{field} was {age} s ago");
    }
    servers[1].report("j", json!({"status": "completed"})).await;
    for stream in &mut streams {
        let last = stream.rest().await.pop().expect("the end");
        assert_eq!(last.json()["status"], "completed");
    }
}

#[tokio::test]
async fn a_stream_of_many_jobs_loses_nothing_between_nodes_whose_clocks_differ_on_redis() {
    no_event_is_lost_between(&Backing::redis().await).await;
}

#[tokio::test]
async fn a_stream_of_many_jobs_loses_nothing_between_nodes_whose_clocks_differ_on_postgresql() {
    no_event_is_lost_between(&Backing::postgres().await).await;
}

/// A client goes back and forth between two nodes, which both take events, and comes with the last id that it has seen.
async fn no_event_is_lost_between(backing: &Backing) {
    const EVENTS: usize = 60;
    let nodes = two_nodes(backing).await;
    let servers = nodes.each_ref().map(|node| TestServer::at(&node.url()));
    for (name, server) in ["a", "b"].iter().zip(&servers) {
        server.create(json!({"job_id": name})).await;
    }
    let makers = servers.each_ref().map(|server| {
        let server = server.guest();
        tokio::spawn(async move {
            for number in 0..EVENTS {
                for name in ["a", "b"] {
                    let body = json!({"event": "line", "data": number});
                    let path = format!("/api/v1/jobs/{name}/events");
                    let answer = server.post(&path, body).await;
                    answer.expect(reqwest::StatusCode::OK);
                }
            }
        })
    });
    let mut seen = BTreeSet::new();
    let mut cursor = "0".to_owned();
    for visit in 0.. {
        let path = format!("/api/v1/stream?last_event_id={cursor}");
        let mut stream = servers[visit % 2].stream(&path).await;
        // The whole snapshot, with what was missed, and some of what comes then.
        let (mut later, mut is_synced) = (0, false);
        while later < 7 && seen.len() < 4 * EVENTS {
            let block = stream.next().await;
            is_synced |= block.name() == "synced";
            later += usize::from(is_synced && block.id.is_some());
            if block.name() == "line" {
                let json = block.json();
                seen.insert((json["job_id"].to_string(), json["seq"].as_u64()));
            }
            cursor = block.id.unwrap_or(cursor);
        }
        if seen.len() == 4 * EVENTS {
            break;
        }
    }
    for maker in makers {
        maker.await.expect("no panic");
    }
}
