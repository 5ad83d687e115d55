//! Coming back to a stream of many jobs: nothing is lost, wherever it was cut off.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{SHARP, emit, job_of, open, resume, said, snapshot, words};
use crate::support::{server::TestServer, sse::Block};

/// The events of each job among these blocks, as their numbers, in the order in which they came.
fn events(blocks: &[Block]) -> BTreeMap<String, Vec<u64>> {
    let mut events: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for block in blocks.iter().filter(|block| block.name() == "line") {
        let number = block.json()["data"].as_u64().expect("a number");
        events.entry(job_of(block)).or_default().push(number);
    }
    events
}

/// Three jobs with events, and what a client saw of them that was there from the beginning.
async fn story(toml: &str) -> (TestServer, Vec<Block>) {
    let server = TestServer::with(toml).await;
    server.create(json!({"job_id": "a"})).await;
    server.create(json!({"job_id": "b"})).await;
    let mut stream = open(&server, "").await;
    let (mut blocks, synced) = snapshot(&mut stream).await;
    blocks.push(synced);
    for number in 1..=4 {
        emit(&server, "a", json!(number)).await;
        emit(&server, "b", json!(number)).await;
        server.report("a", json!({"processed_count": number})).await;
        if number == 2 {
            server.create(json!({"job_id": "c"})).await;
            emit(&server, "c", json!(number)).await;
        }
    }
    server
        .report("b", json!({"status": "failed", "error": "worn out"}))
        .await;
    emit(&server, "c", json!(5)).await;
    loop {
        let block = stream.next().await;
        let is_last = said(&block) == words("line", "c", json!(5));
        blocks.push(block);
        if is_last {
            break;
        }
    }
    (server, blocks)
}

#[tokio::test]
async fn a_client_that_is_cut_off_anywhere_gets_every_event() {
    let (server, blocks) = story(SHARP).await;
    let all = events(&blocks);
    assert_eq!(all["a"], [1, 2, 3, 4]);
    assert_eq!(all["b"], [1, 2, 3, 4]);
    assert_eq!(all["c"], [2, 5]);
    let first_id = blocks.iter().position(|block| block.id.is_some());
    for cut in first_id.expect("an id") + 1..=blocks.len() {
        let before = &blocks[..cut];
        let cursor = before.iter().rev().find_map(|block| block.id.clone());
        let cursor = cursor.expect("an id");
        let mut stream = resume(&server, "", &cursor).await;
        let (mut after, synced) = snapshot(&mut stream).await;
        after.push(synced);
        let statuses: Vec<_> = after
            .iter()
            .filter(|block| block.name() == "status")
            .map(job_of)
            .collect();
        assert_eq!(
            statuses,
            ["c", "b", "a"],
            "cut at {cut}: the whole snapshot"
        );
        let (seen, later) = (events(before), events(&after));
        for (job_id, numbers) in &all {
            let mut got = [seen.get(job_id), later.get(job_id)]
                .into_iter()
                .flatten()
                .flatten()
                .copied()
                .collect::<Vec<_>>();
            got.dedup();
            assert_eq!(&got, numbers, "cut at {cut}, {job_id}");
        }
        // What was missed moves no cursor before all of it has come.
        let with_ids = after.iter().filter(|block| block.id.is_some()).count();
        assert_eq!(with_ids, 1, "cut at {cut}: {after:?}");
    }
}

#[tokio::test]
async fn a_client_that_comes_back_in_the_middle_of_the_snapshot_begins_it_again() {
    let (server, blocks) = story(SHARP).await;
    let cursor = blocks.iter().find_map(|block| block.id.clone());
    let cursor = cursor.expect("an id");
    let first = {
        let mut stream = resume(&server, "", &cursor).await;
        let half = [
            stream.next().await,
            stream.next().await,
            stream.next().await,
        ];
        assert!(half.iter().all(|block| block.id.is_none()), "{half:?}");
        let (rest, _) = snapshot(&mut stream).await;
        [&half[..], &rest[..]].concat()
    };
    let (second, _) = snapshot(&mut resume(&server, "", &cursor).await).await;
    let without_retry = |block: &Block| Block {
        retry: None,
        ..block.clone()
    };
    let [first, second] =
        [first, second].map(|blocks| blocks.iter().map(without_retry).collect::<Vec<_>>());
    assert_eq!(first, second);
}

#[tokio::test]
async fn who_has_seen_no_job_yet_gets_the_events_that_came_meanwhile() {
    let server = TestServer::with(SHARP).await;
    let (jobs, synced) = snapshot(&mut open(&server, "").await).await;
    assert_eq!(jobs, []);
    let cursor = synced.id.expect("an id");
    server.create(json!({"job_id": "a"})).await;
    emit(&server, "a", json!(1)).await;
    emit(&server, "a", json!(2)).await;
    let (blocks, _) = snapshot(&mut resume(&server, "", &cursor).await).await;
    let told: Vec<_> = blocks.iter().map(said).collect();
    let expected = [
        words("status", "a", json!("processing")),
        words("line", "a", json!(1)),
        words("line", "a", json!(2)),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn events_of_the_time_before_the_cursor_come_again_with_the_same_seq() {
    let server = TestServer::with("stream.update_interval_ms = 0").await;
    server.create(json!({"job_id": "a"})).await;
    let mut stream = open(&server, "").await;
    snapshot(&mut stream).await;
    emit(&server, "a", json!(1)).await;
    let mut event = stream.next().await;
    while event.name() != "line" {
        event = stream.next().await;
    }
    let cursor = event.id.clone().expect("an id");
    let (blocks, _) = snapshot(&mut resume(&server, "", &cursor).await).await;
    let again = blocks.last().expect("the event");
    assert_eq!((again.name(), &again.data), ("line", &event.data));
    assert_eq!(again.id, None);
}

#[tokio::test]
async fn a_gap_is_told_where_events_after_the_cursor_are_gone() {
    let server = TestServer::with(&format!("{SHARP}\n[events]\nmax_count = 2")).await;
    server.create(json!({"job_id": "a"})).await;
    server.create(json!({"job_id": "b"})).await;
    let (_, synced) = snapshot(&mut open(&server, "").await).await;
    let early = synced.id.expect("an id");
    for number in 1..=4 {
        emit(&server, "a", json!(number)).await;
    }
    emit(&server, "b", json!(1)).await;
    let gaps = async |cursor: &str| -> Vec<Value> {
        let (blocks, _) = snapshot(&mut resume(&server, "", cursor).await).await;
        let statuses = blocks.iter().filter(|block| block.name() == "status");
        statuses.map(|block| block.json()["gap"].clone()).collect()
    };
    assert_eq!(gaps(&early).await, [Value::Null, json!(true)]);
    let now = server.status("b").await["seq"].to_string();
    assert_eq!(gaps(&now).await, [Value::Null, Value::Null]);
}

#[tokio::test]
async fn a_cursor_that_says_nothing_means_from_the_start() {
    let (server, blocks) = story(SHARP).await;
    let all = events(&blocks);
    for cursor in ["0", "x", "-1", "99999999999999999999"] {
        let (blocks, _) = snapshot(&mut resume(&server, "", cursor).await).await;
        assert_eq!(events(&blocks), all, "{cursor}");
    }
    // In the query too, for clients that cannot set the header.
    for name in ["last_event_id", "lastEventId"] {
        let (blocks, _) = snapshot(&mut open(&server, &format!("{name}=0")).await).await;
        assert_eq!(events(&blocks), all, "{name}");
    }
}
