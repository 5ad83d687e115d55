//! Streams of whichever jobs match.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{SHARP, emit, job_of, jobs_at_first, open, remove, said, snapshot, words};
use crate::support::{
    server::{Answer, TestServer},
    sse::Item,
};

#[tokio::test]
async fn a_stream_begins_with_every_job_and_goes_on_with_what_changes() {
    let server = TestServer::with(SHARP).await;
    for job_id in ["a", "b", "c"] {
        server.create(json!({"job_id": job_id})).await;
    }
    server.report("b", json!({"status": "completed"})).await;
    let mut stream = open(&server, "").await;
    assert_eq!(stream.head.status, StatusCode::OK);
    assert_eq!(stream.head.headers["content-type"], "text/event-stream");
    let (blocks, synced) = snapshot(&mut stream).await;
    let jobs: Vec<_> = blocks.iter().map(job_of).collect();
    assert_eq!(jobs, ["c", "b", "a"]);
    for block in &blocks {
        assert_eq!(block.json(), server.status(&job_of(block)).await);
        assert_eq!(block.seq(), block.json()["seq"]);
    }
    let retries: Vec<_> = blocks.iter().map(|block| block.retry.is_some()).collect();
    assert_eq!(retries, [true, false, false]);
    assert_eq!((synced.json(), synced.retry), (json!({"jobs": 3}), None));

    let answer = server.report("a", json!({"processed_count": 1})).await;
    let block = stream.next().await;
    assert_eq!(block.json(), server.status("a").await);
    // The cursor may stay behind while something else could be on its way.
    assert!(block.seq() <= answer["seq"].as_u64().expect("a seq"));
    assert_eq!(block.retry, None);

    emit(&server, "c", json!({"n": 1})).await;
    // The event moves the pending job, too.
    let blocks = [stream.next().await, stream.next().await];
    let event = blocks.iter().find(|block| block.name() == "line");
    let event = event.expect("the event");
    let seq = event.seq();
    assert_eq!(
        event.json(),
        json!({"job_id": "c", "seq": seq, "data": {"n": 1}})
    );
    assert_eq!(server.status("c").await["seq"], seq);
}

#[tokio::test]
async fn a_job_that_begins_to_match_is_sent_and_one_that_stops_is_removed() {
    let server = TestServer::with(SHARP).await;
    let mut stream = open(&server, "status=processing").await;
    assert_eq!(jobs_at_first(&mut stream).await, [""; 0]);
    server.create(json!({"job_id": "a"})).await;
    server.create(json!({"job_id": "b"})).await;
    server.report("b", json!({"status": "processing"})).await;
    server.report("a", json!({"status": "processing"})).await;
    assert_eq!(
        said(&stream.next().await),
        words("status", "b", json!("processing"))
    );
    assert_eq!(
        said(&stream.next().await),
        words("status", "a", json!("processing"))
    );
    // A retry goes back to pending, and comes again.
    let retry = json!({"status": "pending", "attempt": 2});
    server.report("a", retry).await;
    assert_eq!(
        said(&stream.next().await),
        words("status", "a", json!("pending"))
    );
    assert_eq!(
        said(&stream.next().await),
        words("removed", "a", Value::Null)
    );
    server.report("a", json!({"step": "again"})).await;
    assert_eq!(
        said(&stream.next().await),
        words("status", "a", json!("processing"))
    );
    // The end is told before the job leaves.
    server.report("b", json!({"status": "completed"})).await;
    assert_eq!(
        said(&stream.next().await),
        words("status", "b", json!("completed"))
    );
    assert_eq!(
        said(&stream.next().await),
        words("removed", "b", Value::Null)
    );
}

#[tokio::test]
async fn each_filter_lets_its_own_jobs_through() {
    let server = TestServer::with(SHARP).await;
    server.create(json!({"job_id": "parent"})).await;
    let like = |job_id: &str| json!({"job_id": job_id, "kind": "k", "tags": ["t", "u"], "owner": "o", "parent_id": "parent"});
    server.create(like("before")).await;
    server
        .create(json!({"job_id": "other", "kind": "l", "tags": ["v"], "owner": "p"}))
        .await;
    let queries = [
        "kind=k",
        "tag=t",
        "owner=o",
        "parent_id=parent",
        "status=pending&kind=k&tag=u",
    ];
    let mut streams = Vec::new();
    for query in queries {
        let mut stream = open(&server, query).await;
        assert_eq!(jobs_at_first(&mut stream).await, ["before"], "{query}");
        streams.push(stream);
    }
    server
        .create(json!({"job_id": "another", "kind": "l", "tags": ["v"], "owner": "p"}))
        .await;
    server.create(like("after")).await;
    for (stream, query) in streams.iter_mut().zip(queries) {
        let said = said(&stream.next().await);
        assert_eq!(said, words("status", "after", json!("pending")), "{query}");
    }
}

#[tokio::test]
async fn events_that_come_before_the_word_of_a_new_job_are_told() {
    let server = TestServer::with(SHARP).await;
    let mut stream = open(&server, "status=processing").await;
    jobs_at_first(&mut stream).await;
    for number in 0..50 {
        let job_id = &format!("j{number}");
        server.create(json!({"job_id": job_id})).await;
        let events = json!([
            {"event": "line", "data": 1},
            {"event": "line", "data": 2},
            {"event": "line", "data": 3},
        ]);
        server
            .post(&format!("/api/v1/jobs/{job_id}/events"), events)
            .await;
        assert_eq!(
            said(&stream.next().await),
            words("status", job_id, json!("processing"))
        );
        for line in 1..=3 {
            assert_eq!(
                said(&stream.next().await),
                words("line", job_id, json!(line))
            );
        }
    }
}

#[tokio::test]
async fn a_job_leaves_when_it_is_removed_and_when_its_time_is_over() {
    let server = TestServer::with(SHARP).await;
    server.create(json!({"job_id": "removed"})).await;
    server.create(json!({"job_id": "over"})).await;
    server
        .create(json!({"job_id": "expires", "ttl_seconds": 1}))
        .await;
    server.report("over", json!({"status": "completed"})).await;
    let mut stream = open(&server, "").await;
    assert_eq!(jobs_at_first(&mut stream).await.len(), 3);
    remove(&server, "removed").await;
    assert_eq!(
        said(&stream.next().await),
        words("removed", "removed", Value::Null)
    );
    remove(&server, "over").await;
    assert_eq!(
        said(&stream.next().await),
        words("removed", "over", Value::Null)
    );
    server
        .report("expires", json!({"status": "completed"}))
        .await;
    assert_eq!(
        said(&stream.next().await),
        words("status", "expires", json!("completed"))
    );
    assert_eq!(
        said(&stream.next().await),
        words("removed", "expires", Value::Null)
    );
    // The name is free, and its new job is another one.
    server
        .create(json!({"job_id": "over", "kind": "new"}))
        .await;
    assert!(matches!(
        server.get("/api/v1/jobs/over").await.status,
        StatusCode::OK
    ));
    assert_eq!(
        said(&stream.next().await),
        words("status", "over", json!("pending"))
    );
}

#[tokio::test]
async fn a_failure_is_told_with_its_job_in_one_piece_with_the_last_status() {
    let server = TestServer::with(SHARP).await;
    server.create(json!({"job_id": "a"})).await;
    let mut stream = open(&server, "").await;
    snapshot(&mut stream).await;
    let end = json!({"status": "failed", "error": {"code": "WORN", "message": "worn out"}});
    let seq = server.report("a", end).await["seq"].clone();
    let error = stream.next().await;
    let failure = json!({"code": "WORN", "message": "worn out"});
    assert_eq!(
        error.json(),
        json!({"job_id": "a", "seq": seq, "data": {"message": "worn out", "code": "WORN"}})
    );
    assert_eq!(
        (error.name(), &error.id, error.retry),
        ("error", &None, None)
    );
    let last = stream.next().await;
    assert_eq!(last.json()["error"], failure);
    assert_eq!((json!(last.seq()), last.retry), (seq, None));
    // It is there at first for who comes later; its end is no news then.
    let mut later = open(&server, "").await;
    assert_eq!(jobs_at_first(&mut later).await, ["a"]);
}

#[tokio::test]
async fn a_state_that_is_asked_for_has_its_jobs_however_long_ago_they_ended() {
    let server = TestServer::start().await;
    for (job_id, status) in [
        ("a", "completed"),
        ("b", "failed"),
        ("c", "cancelled"),
        ("d", "processing"),
    ] {
        server.create(json!({"job_id": job_id})).await;
        server.report(job_id, json!({"status": status})).await;
    }
    for (query, wanted) in [
        ("status=completed", vec!["a"]),
        ("status=failed&status=cancelled", vec!["c", "b"]),
        ("", vec!["d", "c", "b", "a"]),
    ] {
        let mut stream = open(&server, query).await;
        assert_eq!(jobs_at_first(&mut stream).await, wanted, "{query}");
    }
}

#[tokio::test]
async fn a_silent_stream_has_heartbeats() {
    let server = TestServer::with("stream.heartbeat_seconds = 1").await;
    let mut silent = open(&server, "").await;
    let mut visible = open(&server, "heartbeat=event").await;
    for stream in [&mut silent, &mut visible] {
        snapshot(stream).await;
    }
    assert_eq!(silent.next_item().await, Some(Item::Heartbeat));
    let block = visible.next().await;
    assert_eq!((block.name(), block.data.as_str()), ("heartbeat", "{}"));
}

#[tokio::test]
async fn a_query_that_makes_no_sense_is_refused_by_its_name() {
    let server = TestServer::start().await;
    for (query, name) in [
        ("job=a&status=failed", "job"),
        ("job=a&kind=k", "job"),
        ("status=done", "status"),
        ("parent_id=no%20name", "parent_id"),
        ("heartbeat=loud", "heartbeat"),
    ] {
        let answer = server.get(&format!("/api/v1/stream?{query}")).await;
        let message = answer.error(400, "INVALID_REQUEST");
        assert!(message.starts_with(name), "{query}: {message}");
    }
}

#[tokio::test]
async fn head_says_what_a_stream_would_and_begins_none() {
    let server = TestServer::start().await;
    let head = Answer::of(server.request(Method::HEAD, "/api/v1/stream")).await;
    assert_eq!(head.status, StatusCode::OK);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    let options = Answer::of(server.request(Method::OPTIONS, "/api/v1/stream")).await;
    assert_eq!(options.header("allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(
        server
            .get("/metrics")
            .await
            .text
            .lines()
            .find(|line| line.starts_with("progressd_streams_open")),
        Some("progressd_streams_open 0")
    );
}

#[tokio::test]
async fn a_drain_ends_the_stream_after_what_has_happened() {
    let server = TestServer::with(SHARP).await;
    server.create(json!({"job_id": "a"})).await;
    let mut stream = open(&server, "").await;
    snapshot(&mut stream).await;
    server.report("a", json!({"status": "completed"})).await;
    server.registry().drain();
    assert_eq!(
        said(&stream.next().await),
        words("status", "a", json!("completed"))
    );
    let end = stream.next().await;
    assert_eq!(
        (end.name(), end.json()["code"].as_str(), &end.id),
        ("error", Some("DRAINING"), &None)
    );
    stream.expect_end().await;
}
