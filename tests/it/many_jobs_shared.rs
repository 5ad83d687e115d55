//! Many jobs on one connection, where several nodes share a store: a stream of one node shows what is
//! done through the others, and by workers that write SQL.

mod stores;

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    many_jobs::{open, resume, snapshot},
    support::{
        postgres_server::database,
        redis_server::{RedisServer, own_prefix},
        server::TestServer,
        shared_memory::Hall,
        sse::{Block, SseStream},
    },
};

/// Every report is shown, and a client gets no event twice.
const SHARP: &str = "stream.update_interval_ms = 0\nstream.rewind_ms = 0\n";

/// Two nodes over each store that nodes share.
async fn worlds(toml: &str) -> Vec<[TestServer; 2]> {
    let hall = Hall::new();
    let mut worlds = vec![[
        TestServer::over(hall.node(), toml).await,
        TestServer::over(hall.node(), toml).await,
    ]];
    let redis = RedisServer::shared().await.toml(&own_prefix());
    let postgres = database().await.keys();
    for keys in [redis, postgres] {
        worlds.push(two_nodes(&format!("{keys}{toml}")).await);
    }
    worlds
}

async fn two_nodes(toml: &str) -> [TestServer; 2] {
    [TestServer::with(toml).await, TestServer::with(toml).await]
}

/// What a block says, in short: its name, its job, and the state or the event's data.
#[track_caller]
fn said(block: &Block) -> (String, String, Value) {
    let json = block.json();
    let what = match block.name() {
        "status" => &json["status"],
        "line" => &json["data"],
        _ => &Value::Null,
    };
    let job_id = json["job_id"].as_str().unwrap_or_default();
    (block.name().to_owned(), job_id.to_owned(), what.clone())
}

/// The same from words.
fn words(name: &str, job_id: &str, what: Value) -> (String, String, Value) {
    (name.to_owned(), job_id.to_owned(), what)
}

/// Reads until a block says this; everything up to it.
async fn read_to(stream: &mut SseStream, last: &(String, String, Value)) -> Vec<Block> {
    let mut blocks = Vec::new();
    loop {
        let block = stream.next().await;
        let is_last = said(&block) == *last;
        blocks.push(block);
        if is_last {
            return blocks;
        }
    }
}

async fn emit(server: &TestServer, job_id: &str, data: Value) {
    let event = json!({"event": "line", "data": data});
    let path = format!("/api/v1/jobs/{job_id}/events");
    server.post(&path, event).await.expect(StatusCode::OK);
}

async fn remove(server: &TestServer, job_id: &str) {
    let answer = server.delete(&format!("/api/v1/jobs/{job_id}")).await;
    answer.expect(StatusCode::NO_CONTENT);
}

/// The numbers of the events of each job, in the order in which they came.
fn events(blocks: &[Block]) -> BTreeMap<String, Vec<u64>> {
    let mut events: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for block in blocks.iter().filter(|block| block.name() == "line") {
        let (_, job_id, number) = said(block);
        let number = number.as_u64().expect("a number");
        events.entry(job_id).or_default().push(number);
    }
    events
}

/// Checks that the ids of each job rise.
#[track_caller]
fn assert_ids_rise_by_job(blocks: &[Block]) {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for block in blocks.iter().filter(|block| block.id.is_some()) {
        let before = newest.insert(said(block).1, block.seq());
        assert!(
            before.is_none_or(|before| before < block.seq()),
            "{blocks:#?}"
        );
    }
}

#[tokio::test]
async fn a_job_that_another_node_makes_and_works_on_is_shown_to_its_end() {
    for [here, there] in worlds(SHARP).await {
        let mut stream = open(&here, "kind=k").await;
        assert_eq!(snapshot(&mut stream).await.0, []);
        there.create(json!({"job_id": "other"})).await;
        there.create(json!({"job_id": "j", "kind": "k"})).await;
        let first = stream.next().await;
        assert_eq!(said(&first), words("status", "j", json!("pending")));
        let mut blocks = vec![first];
        for number in 1..=10 {
            there.report("j", json!({"processed_count": number})).await;
            emit(&there, "j", json!(number)).await;
        }
        let end = json!({"status": "failed", "error": "worn out"});
        there.report("j", end).await;
        let last = words("status", "j", json!("failed"));
        blocks.extend(read_to(&mut stream, &last).await);
        assert_ids_rise_by_job(&blocks);
        assert_eq!(events(&blocks)["j"], (1..=10).collect::<Vec<_>>());
        let names: Vec<_> = blocks.iter().map(Block::name).collect();
        assert_eq!(names[names.len() - 2..], ["error", "status"]);
        let last = blocks.last().expect("the end").json();
        assert_eq!(last, here.status("j").await);
        assert!(blocks.iter().all(|block| said(block).1 != "other"));
        // It stays to be seen for a while, and goes with the job.
        remove(&there, "j").await;
        let gone = stream.next().await;
        assert_eq!(said(&gone), words("removed", "j", Value::Null));
    }
}

#[tokio::test]
async fn a_job_that_begins_and_ceases_to_match_elsewhere_comes_and_goes() {
    for [here, there] in worlds(SHARP).await {
        let mut stream = open(&here, "status=processing").await;
        snapshot(&mut stream).await;
        for round in 0..3 {
            let id = format!("j{round}");
            there.create(json!({"job_id": id})).await;
            there.report(&id, json!({"message": "begun"})).await;
            let first = stream.next().await;
            assert_eq!(said(&first), words("status", &id, json!("processing")));
            // A retry that waits, and is then taken up.
            let waits = json!({"status": "pending", "attempt": 2});
            there.report(&id, waits).await;
            read_to(&mut stream, &words("removed", &id, Value::Null)).await;
            there.report(&id, json!({"processed_count": 1})).await;
            let again = stream.next().await;
            assert_eq!(said(&again), words("status", &id, json!("processing")));
            match round {
                0 => remove(&there, &id).await,
                1 => drop(there.report(&id, json!({"status": "completed"})).await),
                // Through the node that shows it, as far as it is concerned.
                _ => remove(&here, &id).await,
            }
            read_to(&mut stream, &words("removed", &id, Value::Null)).await;
        }
        // Who waits for ends is shown those alone.
        let mut ends = open(&here, "status=completed&status=failed").await;
        snapshot(&mut ends).await;
        there.create(json!({"job_id": "e"})).await;
        emit(&there, "e", json!(1)).await;
        there.report("e", json!({"status": "completed"})).await;
        let end = read_to(&mut ends, &words("status", "e", json!("completed"))).await;
        assert!(end.iter().all(|block| said(block).1 == "e"), "{end:?}");
    }
}

#[tokio::test]
async fn jobs_that_are_named_and_were_made_elsewhere_are_shown_to_the_end_of_all() {
    for [here, there] in worlds(SHARP).await {
        for name in ["a", "b", "c"] {
            there.create(json!({"job_id": name})).await;
        }
        there.report("a", json!({"status": "completed"})).await;
        let mut stream = open(&here, "job=a&job=b&job=c&job=never").await;
        let (blocks, synced) = snapshot(&mut stream).await;
        let told: Vec<_> = blocks.iter().map(said).collect();
        let expected = [
            words("status", "a", json!("completed")),
            words("status", "b", json!("pending")),
            words("status", "c", json!("pending")),
            words("removed", "never", Value::Null),
        ];
        assert_eq!(told, expected);
        assert_eq!(synced.json(), json!({"jobs": 3}));
        // Also one that is over already.
        remove(&there, "a").await;
        read_to(&mut stream, &words("removed", "a", Value::Null)).await;
        emit(&there, "b", json!(1)).await;
        read_to(&mut stream, &words("line", "b", json!(1))).await;
        remove(&there, "b").await;
        read_to(&mut stream, &words("removed", "b", Value::Null)).await;
        there.report("c", json!({"status": "completed"})).await;
        let last = stream.rest().await.pop().expect("a last block");
        assert_eq!(said(&last), words("status", "c", json!("completed")));
        assert_eq!(last.retry, Some(3_600_000));
    }
}

/// Jobs on which both nodes work, and what a client of one of them saw from the beginning.
async fn story(here: &TestServer, there: &TestServer) -> Vec<Block> {
    here.create(json!({"job_id": "a"})).await;
    there.create(json!({"job_id": "b"})).await;
    let mut stream = open(here, "").await;
    let (mut blocks, synced) = snapshot(&mut stream).await;
    blocks.push(synced);
    for number in 1..=4 {
        emit(here, "a", json!(number)).await;
        emit(there, "b", json!(number)).await;
        emit(there, "a", json!(number + 10)).await;
        if number == 2 {
            there.create(json!({"job_id": "c"})).await;
            emit(there, "c", json!(number)).await;
        }
    }
    there.report("b", json!({"status": "completed"})).await;
    emit(here, "c", json!(5)).await;
    let wanted = [
        words("line", "c", json!(5)),
        words("line", "a", json!(14)),
        words("status", "b", json!("completed")),
    ];
    while !wanted
        .iter()
        .all(|wanted| blocks.iter().any(|block| said(block) == *wanted))
    {
        blocks.push(stream.next().await);
    }
    blocks
}

#[tokio::test]
async fn a_client_that_was_cut_off_goes_on_at_another_node_and_gets_every_event() {
    // What one node has shown another may have been told of later: the time before the cursor comes again.
    for [here, there] in worlds("stream.update_interval_ms = 0\n").await {
        let blocks = story(&here, &there).await;
        let all = events(&blocks);
        assert_eq!(all["a"], [1, 11, 2, 12, 3, 13, 4, 14]);
        assert_eq!(all["b"], [1, 2, 3, 4]);
        assert_eq!(all["c"], [2, 5]);
        let first_id = blocks.iter().position(|block| block.id.is_some());
        for cut in first_id.expect("an id") + 1..=blocks.len() {
            let before = &blocks[..cut];
            let cursor = before.iter().rev().find_map(|block| block.id.clone());
            let cursor = cursor.expect("an id");
            let mut stream = resume(&there, "", &cursor).await;
            let (after, synced) = snapshot(&mut stream).await;
            assert_eq!(synced.json(), json!({"jobs": 3}), "cut at {cut}");
            let (seen, later) = (events(before), events(&after));
            for (job_id, numbers) in &all {
                let mut got: Vec<u64> = Vec::new();
                let parts = [seen.get(job_id), later.get(job_id)];
                for number in parts.into_iter().flatten().flatten() {
                    if !got.contains(number) {
                        got.push(*number);
                    }
                }
                assert_eq!(&got, numbers, "cut at {cut}, {job_id}");
            }
        }
    }
}

#[tokio::test]
async fn streams_of_all_nodes_show_many_jobs_that_are_made_and_end_everywhere() {
    const JOBS: usize = 60;
    for nodes in worlds(SHARP).await {
        let mut streams = Vec::new();
        for node in &nodes {
            let mut stream = open(node, "tag=t").await;
            snapshot(&mut stream).await;
            streams.push(stream);
        }
        let workers = (0..JOBS).map(|number| {
            let [one, other] = [0, 1].map(|offset| nodes[(number + offset) % 2].guest());
            tokio::spawn(async move {
                let id = format!("j{number}");
                one.create(json!({"job_id": id, "tags": ["t"]})).await;
                emit(&other, &id, json!(1)).await;
                emit(&one, &id, json!(2)).await;
                other.report(&id, json!({"status": "completed"})).await;
            })
        });
        for worker in futures_util::future::join_all(workers).await {
            worker.expect("no panic");
        }
        for stream in &mut streams {
            let mut blocks = Vec::new();
            let mut ended = 0;
            while ended < JOBS {
                let block = stream.next().await;
                ended += usize::from(said(&block).2 == json!("completed"));
                blocks.push(block);
            }
            assert_ids_rise_by_job(&blocks);
            let events = events(&blocks);
            assert_eq!(events.len(), JOBS);
            assert!(
                events.values().all(|numbers| *numbers == [1, 2]),
                "{events:?}"
            );
        }
    }
}
