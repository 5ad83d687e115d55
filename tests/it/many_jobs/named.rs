//! Streams of jobs that are named.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    PATH, SHARP, emit, job_of, jobs_at_first, open, remove, resume, said, snapshot, words,
};
use crate::support::{
    people,
    server::{Answer, TestServer},
    sse::Block,
    until,
};

async fn with_jobs(toml: &str, names: &[&str]) -> TestServer {
    let server = TestServer::with(toml).await;
    for job_id in names {
        server.create(json!({"job_id": job_id})).await;
    }
    server
}

#[tokio::test]
async fn a_stream_of_named_jobs_ends_with_the_last_of_them_and_is_over_for_good() {
    let server = with_jobs(SHARP, &["a", "b", "c"]).await;
    let query = "job=b&job=a&job=b";
    let mut stream = open(&server, query).await;
    assert_eq!(jobs_at_first(&mut stream).await, ["b", "a"]);
    server.report("c", json!({"status": "processing"})).await;
    server.report("a", json!({"status": "completed"})).await;
    let first_end = stream.next().await;
    assert_eq!(said(&first_end), words("status", "a", json!("completed")));
    // No id but the last says that all ends were told.
    assert_eq!((first_end.retry, &first_end.id), (None, &None));
    server
        .report("b", json!({"status": "failed", "error": "worn out"}))
        .await;
    let blocks = stream.rest().await;
    let [error, last] = &blocks[..] else {
        panic!("{blocks:?}");
    };
    assert_eq!((error.name(), error.retry), ("error", None));
    assert_eq!(said(last), words("status", "b", json!("failed")));
    assert_eq!(last.retry, Some(3_600_000));

    // Who stands at the end has seen all of them.
    let cursor = last.id.clone().expect("an id");
    let over = resume(&server, query, &cursor).await;
    assert_eq!(over.head.status, StatusCode::NO_CONTENT);
    // Who has seen only the first end is told the other one.
    let first = server.status("a").await["seq"].to_string();
    let mut stream = resume(&server, query, &first).await;
    let blocks = stream.rest().await;
    let told: Vec<_> = blocks.iter().map(|block| block.name()).collect();
    assert_eq!(told, ["error", "status", "status", "synced"]);
    assert_eq!(blocks.last().expect("a last block").retry, Some(3_600_000));
}

#[tokio::test]
async fn jobs_that_are_all_over_are_told_once() {
    let server = with_jobs(SHARP, &["a", "b"]).await;
    for job_id in ["a", "b"] {
        server.report(job_id, json!({"status": "completed"})).await;
    }
    let mut stream = open(&server, "job=a&job=b").await;
    let blocks = stream.rest().await;
    let names: Vec<_> = blocks.iter().map(|block| block.name()).collect();
    assert_eq!(names, ["status", "status", "synced"]);
    // As of a single job, nothing else is said of coming back.
    let retries: Vec<_> = blocks.iter().map(|block| block.retry).collect();
    assert_eq!(retries, [None, None, Some(3_600_000)]);
    let ids: Vec<_> = blocks.iter().map(Block::seq).collect();
    assert_eq!(
        ids[..2],
        [0, 0],
        "no id but the last says that all was told"
    );
    assert!(ids[2] >= server.status("b").await["seq"].as_u64().expect("a seq"));
    let over = resume(&server, "job=a&job=b", &ids[2].to_string()).await;
    assert_eq!(over.head.status, StatusCode::NO_CONTENT);
    // One that was never given tells nothing.
    let mut beyond = resume(&server, "job=a&job=b", "9007199254740991").await;
    assert_eq!(beyond.rest().await.len(), 3);
}

#[tokio::test]
async fn a_head_is_told_of_the_end_as_a_get_is_and_joins_nothing() {
    let server = with_jobs(SHARP, &["a", "b", "c"]).await;
    for job_id in ["a", "b"] {
        server.report(job_id, json!({"status": "completed"})).await;
    }
    let end = server.status("b").await["seq"].to_string();
    let before = server.status("a").await["seq"].to_string();
    for (query, cursor, status) in [
        ("job=a&job=b", &*end, StatusCode::NO_CONTENT),
        ("job=a&job=none", &*end, StatusCode::NO_CONTENT),
        ("job=a&job=b", &*before, StatusCode::OK),
        ("job=a&job=b", "nonsense", StatusCode::OK),
        ("job=a&job=b", "", StatusCode::OK),
        ("job=a&job=c", &*end, StatusCode::OK),
        ("status=completed", &*end, StatusCode::OK),
    ] {
        let head = server.request(Method::HEAD, &format!("{PATH}?{query}"));
        let head = Answer::of(head.header("last-event-id", cursor)).await;
        assert_eq!(head.status, status, "{query} at {cursor:?}");
        let get = resume(&server, query, cursor).await;
        assert_eq!(get.head.status, status, "{query} at {cursor:?}");
        drop(get);
    }
    until("the end of those that were opened", async || {
        server.usage().seats_taken() == 0
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_not_there_is_removed_with_the_reason() {
    let server = TestServer::with(&format!("{SHARP}\n{}", people::configuration())).await;
    let ann = server.as_bearer("key-ann");
    for job_id in ["mine", "gone"] {
        ann.create(json!({"job_id": job_id})).await;
    }
    remove(&ann, "gone").await;
    server
        .as_bearer("key-bob")
        .create(json!({"job_id": "his"}))
        .await;
    let mut stream = open(&ann, "job=mine&job=gone&job=his&job=none&job=no%20name").await;
    let (blocks, synced) = snapshot(&mut stream).await;
    assert_eq!(synced.json(), json!({"jobs": 1}));
    let told: Vec<_> = blocks.iter().map(said).collect();
    assert_eq!(
        told,
        [
            words("status", "mine", json!("pending")),
            words("removed", "gone", json!("JOB_GONE")),
            words("removed", "his", json!("FORBIDDEN")),
            words("removed", "none", json!("JOB_NOT_FOUND")),
            words("removed", "no name", json!("JOB_NOT_FOUND")),
        ]
    );
    for query in ["job=his&job=none", "job=gone"] {
        let answer = ann.get(&format!("/api/v1/stream?{query}")).await;
        answer.error(404, "JOB_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_named_job_that_is_removed_leaves_and_the_last_one_takes_the_stream_along() {
    let server = with_jobs(SHARP, &["a", "b", "c"]).await;
    server.report("c", json!({"status": "completed"})).await;
    let mut stream = open(&server, "job=a&job=b&job=c").await;
    jobs_at_first(&mut stream).await;
    remove(&server, "a").await;
    assert_eq!(
        said(&stream.next().await),
        words("removed", "a", Value::Null)
    );
    remove(&server, "c").await;
    assert_eq!(
        said(&stream.next().await),
        words("removed", "c", Value::Null)
    );
    // Another job of that name is not the one that was asked for.
    emit(&server, "b", json!(1)).await;
    stream
        .status_where(|status| status["status"] == "processing")
        .await;
    remove(&server, "b").await;
    let blocks = stream.rest().await;
    let last = blocks.last().expect("a last block");
    assert_eq!(said(last), words("removed", "b", Value::Null));
    assert_eq!(last.retry, Some(3_600_000));
}

#[tokio::test]
async fn reports_on_many_named_jobs_come_in_the_order_of_each() {
    let names: Vec<String> = (0..40).map(|number| format!("j{number}")).collect();
    let server = with_jobs(SHARP, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let query: Vec<_> = names.iter().map(|name| format!("job={name}")).collect();
    let mut stream = open(&server, &query.join("&")).await;
    assert_eq!(jobs_at_first(&mut stream).await, names);
    let lines = (1..=25).flat_map(|count| {
        let status = if count == 25 {
            "completed"
        } else {
            "processing"
        };
        let report = move |name: &String| {
            json!({"job_id": name, "processed_count": count, "status": status}).to_string()
        };
        names.iter().map(report).collect::<Vec<_>>()
    });
    let lines: Vec<_> = lines.collect();
    let request = server.request(reqwest::Method::POST, "/api/v1/reports");
    let sending = request.body(lines.join("\n")).send();
    let (answer, blocks) = tokio::join!(sending, stream.rest());
    assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
    for name in &names {
        let of_job: Vec<_> = blocks
            .iter()
            .filter(|block| job_of(block) == *name)
            .collect();
        let counts: Vec<_> = of_job
            .iter()
            .map(|block| block.json()["processed_count"].as_u64())
            .collect();
        assert!(counts.is_sorted(), "{name}: {counts:?}");
        assert_eq!(counts.last(), Some(&Some(25)), "{name}");
        let ids: Vec<_> = of_job
            .iter()
            .map(|block| block.seq())
            .filter(|seq| *seq > 0)
            .collect();
        assert!(ids.is_sorted_by(|one, next| one < next), "{name}: {ids:?}");
    }
}
