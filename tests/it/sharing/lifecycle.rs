//! What a node tells of jobs that another makes, ends or removes, and that nobody follows here.

use std::{collections::HashMap, future::poll_fn, sync::Arc};

use progressd::{
    job::{Job, JobId},
    registry::{LifecycleEvent, LifecycleEvents},
    store::Notice,
};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Nodes, TOML};
use crate::support::{
    in_time,
    postgres_server::database,
    redis_server::{RedisServer, own_prefix},
    server::TestServer,
    shared_memory::{Hall, Mood},
    until,
};

/// Somebody who listens.
struct Listener {
    events: LifecycleEvents,
    /// What was told last of each job: a slot that comes to it later says it once more.
    told: HashMap<String, String>,
}

/// Somebody who listens to all jobs.
async fn listen(server: &TestServer) -> Listener {
    listen_where(server, |_| true).await
}

async fn listen_where(
    server: &TestServer,
    wants: impl Fn(&Job) -> bool + Send + Sync + 'static,
) -> Listener {
    let wants = move |event: &LifecycleEvent| match event {
        LifecycleEvent::Entered(job) => wants(job),
        LifecycleEvent::Removed { .. } | LifecycleEvent::Missed => true,
    };
    let listening = server.registry().lifecycle(wants).await;
    Listener {
        events: listening.expect("the store answers"),
        told: HashMap::new(),
    }
}

/// What is told next: of which job, and its state, or a word.
async fn told(listener: &mut Listener) -> (String, String) {
    loop {
        let events = &mut listener.events;
        let event = in_time("word of a job", poll_fn(|cx| events.poll_next(cx))).await;
        let (job_id, state) = match event {
            LifecycleEvent::Entered(job) => {
                (job.id().to_string(), job.face.state.as_str().to_owned())
            }
            LifecycleEvent::Removed { job_id, .. } => (job_id.to_string(), "removed".to_owned()),
            LifecycleEvent::Missed => return word("", "missed"),
        };
        let before = listener.told.insert(job_id.clone(), state.clone());
        if before.as_ref() != Some(&state) {
            return (job_id, state);
        }
    }
}

fn word(job_id: &str, state: &str) -> (String, String) {
    (job_id.to_owned(), state.to_owned())
}

async fn remove(server: &TestServer, job_id: &str) {
    let answer = server.delete(&format!("/api/v1/jobs/{job_id}")).await;
    answer.expect(StatusCode::NO_CONTENT);
}

/// Two nodes over each store that nodes share.
async fn worlds() -> Vec<[TestServer; 2]> {
    let hall = Hall::new();
    let redis = RedisServer::shared().await.toml(&own_prefix());
    let postgres = database().await.keys();
    let mut worlds = vec![[
        TestServer::over(hall.node(), TOML).await,
        TestServer::over(hall.node(), TOML).await,
    ]];
    for keys in [redis, postgres] {
        // Notices alone tell of anything.
        let toml = format!("{keys}stream.update_interval_ms = 0\n");
        worlds.push([TestServer::with(&toml).await, TestServer::with(&toml).await]);
    }
    worlds
}

#[tokio::test]
async fn what_becomes_of_jobs_elsewhere_is_told_here_whether_they_are_held_here_or_not() {
    for [here, there] in worlds().await {
        let mut events = listen(&here).await;
        for is_held in [false, true] {
            there.create(json!({"job_id": "j", "kind": "k"})).await;
            assert_eq!(told(&mut events).await, word("j", "pending"));
            if is_held {
                here.status("j").await;
            }
            // Reports that leave the state as it is are no word of it.
            for number in 0..5 {
                there.report("j", json!({"processed_count": number})).await;
            }
            assert_eq!(told(&mut events).await, word("j", "processing"));
            there.report("j", json!({"status": "completed"})).await;
            assert_eq!(told(&mut events).await, word("j", "completed"));
            assert_eq!(here.status("j").await["status"], "completed");
            remove(&there, "j").await;
            assert_eq!(told(&mut events).await, word("j", "removed"));
        }
    }
}

#[tokio::test]
async fn what_both_nodes_do_to_a_job_is_told_once_each_in_order() {
    for [here, there] in worlds().await {
        let mut events = [listen(&here).await, listen(&there).await];
        for number in 0..20 {
            let id = format!("j{number}");
            here.create(json!({"job_id": id})).await;
            // Watched on one of them, so that it comes by another way as well.
            let _stream = there.watch(&id).await;
            there.report(&id, json!({"processed_count": 1})).await;
            for events in &mut events {
                let mut first = told(events).await;
                if first == word(&id, "pending") {
                    first = told(events).await;
                }
                // Who reads late finds the newer state alone.
                assert_eq!(first, word(&id, "processing"));
            }
            here.report(&id, json!({"status": "completed"})).await;
            for events in &mut events {
                assert_eq!(told(events).await, word(&id, "completed"));
            }
            remove(&there, &id).await;
            for events in &mut events {
                assert_eq!(told(events).await, word(&id, "removed"));
            }
        }
    }
}

#[tokio::test]
async fn who_listens_is_told_of_the_jobs_that_it_wants_alone() {
    for [here, there] in worlds().await {
        let is_of_kind = |job: &Job| job.origin.kind.as_deref() == Some("k");
        let mut events = listen_where(&here, is_of_kind).await;
        there.create(json!({"job_id": "a"})).await;
        there.create(json!({"job_id": "b", "kind": "k"})).await;
        assert_eq!(told(&mut events).await, word("b", "pending"));
    }
}

#[tokio::test]
async fn a_job_that_fails_by_its_deadline_is_told_on_every_node() {
    for [here, there] in worlds().await {
        let mut events = [listen(&here).await, listen(&there).await];
        let body = json!({"job_id": "j", "lease_seconds": 1, "fail_stalled_after_seconds": 1});
        there.create(body).await;
        there.report("j", json!({"processed_count": 1})).await;
        for events in &mut events {
            let mut states = Vec::new();
            while states.last().is_none_or(|last| last != "failed") {
                states.push(told(events).await.1);
            }
            states.retain(|state| state != "pending");
            assert_eq!(states, ["processing", "failed"]);
        }
    }
}

#[tokio::test]
async fn many_jobs_of_both_nodes_at_once_are_told_to_all_who_listen() {
    const EACH: usize = 100;
    for nodes in worlds().await {
        let mut listeners = Vec::new();
        for node in &nodes {
            listeners.push(listen(node).await);
            listeners.push(listen(node).await);
        }
        let makers = nodes.iter().enumerate().map(|(maker, node)| {
            let node = node.guest();
            tokio::spawn(async move {
                for number in 0..EACH {
                    let id = format!("{maker}-{number}");
                    node.create(json!({"job_id": id})).await;
                    node.report(&id, json!({"status": "completed"})).await;
                }
            })
        });
        for maker in futures_util::future::join_all(makers).await {
            maker.expect("no panic");
        }
        for events in &mut listeners {
            let mut ended = std::collections::BTreeSet::new();
            while ended.len() < 2 * EACH {
                let (job_id, state) = told(events).await;
                match state.as_str() {
                    "pending" => assert!(!ended.contains(&job_id)),
                    "completed" => assert!(ended.insert(job_id)),
                    other => panic!("{other}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_node_subscribes_once_while_somebody_listens_and_not_without() {
    let nodes = Nodes::start().await;
    assert_eq!(nodes.view.lifecycle_subscriptions(), 0);
    let first = listen(&nodes.there).await;
    let second = listen(&nodes.there).await;
    assert_eq!(nodes.view.lifecycle_subscriptions(), 1);
    drop(first);
    assert_eq!(nodes.view.lifecycle_subscriptions(), 1);
    drop(second);
    assert_eq!(nodes.view.lifecycle_subscriptions(), 0);
    let mut third = listen(&nodes.there).await;
    assert_eq!(nodes.view.lifecycle_subscriptions(), 1);
    nodes.here.create(json!({"job_id": "j"})).await;
    assert_eq!(told(&mut third).await, word("j", "pending"));
    // A single job's watchers need none of it.
    let _stream = nodes.here.watch("j").await;
    assert_eq!(nodes.view.followed(), 0);
}

#[tokio::test]
async fn a_job_that_another_node_makes_is_read_once_however_many_streams_show_it() {
    let nodes = Nodes::start().await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = nodes.there.stream("/api/v1/stream?kind=k").await;
        assert_eq!(stream.next().await.name(), "synced");
        streams.push(stream);
    }
    for number in 0..10 {
        let before = nodes.view.loads();
        let id = format!("j{number}");
        nodes.here.create(json!({"job_id": id, "kind": "k"})).await;
        for stream in &mut streams {
            assert_eq!(stream.next_status().await["job_id"], id);
        }
        assert_eq!(nodes.view.loads() - before, 1);
        nodes.here.create(json!({"kind": "another"})).await;
        for status in ["processing", "completed"] {
            nodes.here.report(&id, json!({"status": status})).await;
            for stream in &mut streams {
                assert_eq!(stream.next_status().await["status"], status);
            }
        }
        assert_eq!(nodes.view.loads() - before, 1);
    }
}

#[tokio::test]
async fn late_word_of_a_job_is_not_told_after_what_is_newer() {
    let nodes = Nodes::start().await;
    let mut events = listen(&nodes.there).await;
    nodes.hall.set_mood(Mood::Slow);
    nodes.here.create(json!({"job_id": "j"})).await;
    nodes.here.report("j", json!({"processed_count": 1})).await;
    nodes
        .there
        .report("j", json!({"status": "completed"}))
        .await;
    assert_eq!(told(&mut events).await, word("j", "completed"));
    remove(&nodes.there, "j").await;
    assert_eq!(told(&mut events).await, word("j", "removed"));
    nodes.hall.set_mood(Mood::Prompt);
    nodes.here.create(json!({"job_id": "k"})).await;
    assert_eq!(told(&mut events).await, word("k", "pending"));
}

#[tokio::test]
async fn a_job_that_is_told_by_its_name_alone_is_read() {
    let nodes = Nodes::start().await;
    nodes.hall.set_mood(Mood::Forgetful);
    for name in ["over", "gone"] {
        nodes.here.create(json!({"job_id": name})).await;
        nodes
            .here
            .report(name, json!({"status": "completed"}))
            .await;
    }
    remove(&nodes.here, "gone").await;
    let mut events = listen(&nodes.there).await;
    for (name, state) in [("over", "completed"), ("gone", "removed")] {
        let job_id = JobId::parse(name).expect("a name");
        // Told twice, and of one that never was.
        let never = JobId::parse("never").expect("a name");
        for job_id in [&job_id, &never, &job_id] {
            nodes.hall.tell(&Notice::Moved(job_id.clone()));
        }
        assert_eq!(told(&mut events).await, word(name, state));
    }
}

#[tokio::test]
async fn what_was_lost_is_told_as_missed() {
    let nodes = Nodes::start().await;
    let mut events = listen(&nodes.there).await;
    nodes.hall.tell(&Notice::LifecycleMissed);
    assert_eq!(told(&mut events).await, word("", "missed"));
    // The same of a store that has lost everything, once what is held here is back.
    nodes.there.create(json!({"job_id": "j"})).await;
    assert_eq!(told(&mut events).await, word("j", "pending"));
    nodes.hall.lose_everything();
    nodes.hall.tell_of_the_loss();
    assert_eq!(told(&mut events).await, word("", "missed"));
    assert_eq!(nodes.here.status("j").await["status"], "pending");
}

#[tokio::test]
async fn a_lost_connection_to_redis_is_told_as_missed_and_then_all_goes_on() {
    let redis = RedisServer::start().await;
    let toml = redis.toml(&own_prefix());
    let [here, there] = [TestServer::with(&toml).await, TestServer::with(&toml).await];
    let mut events = listen(&here).await;
    for round in 0..3 {
        let killed: u32 = redis.ask("CLIENT KILL TYPE pubsub").await;
        assert!(killed >= 1, "{killed}");
        assert_eq!(told(&mut events).await, word("", "missed"));
        let id = format!("j{round}");
        there.create(json!({"job_id": id})).await;
        assert_eq!(told(&mut events).await, word(&id, "pending"));
    }
}

#[tokio::test]
async fn a_store_that_is_away_lets_nobody_begin_to_listen() {
    let mut redis = RedisServer::start().await;
    let server = TestServer::with(&redis.toml(&own_prefix())).await;
    redis.kill().await;
    until("word of it", async || {
        server.registry().lifecycle(|_| true).await.is_err()
    })
    .await;
    redis.restart_empty().await;
    until("its return", async || {
        server.registry().lifecycle(|_| true).await.is_ok()
    })
    .await;
    let mut events = listen(&server).await;
    until("a job", async || {
        let answer = server.post("/api/v1/jobs", json!({"job_id": "j"})).await;
        answer.status == StatusCode::CREATED || answer.status == StatusCode::OK
    })
    .await;
    let is_told = |told: &(String, String)| *told == word("j", "pending");
    while !is_told(&told(&mut events).await) {}
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_is_told_all_the_same() {
    let hall = Hall::new();
    let node = hall.node();
    let server = TestServer::over(Arc::clone(&node) as _, TOML).await;
    let mut events = listen(&server).await;
    node.lose_the_next_creations_answer();
    let answer = server.post("/api/v1/jobs", json!({"job_id": "j"})).await;
    answer.error(503, "STORE_UNAVAILABLE");
    assert_eq!(told(&mut events).await, word("j", "pending"));
    let status: Value = server.status("j").await;
    assert_eq!(status["status"], "pending");
}
