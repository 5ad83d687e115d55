//! `GET /jobs`: order, filters, bounds, and the walk from page to page.

use std::collections::HashSet;

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    people::{self, token},
    server::TestServer,
};

/// The page at a path: its jobs, and its cursor.
async fn page(server: &TestServer, query: &str) -> (Vec<Value>, Option<String>) {
    let answer = server.get(&format!("/api/v1/jobs?{query}")).await;
    let body = answer.expect(StatusCode::OK).json();
    let jobs = body["jobs"].as_array().expect("a list").clone();
    assert_eq!(body.as_object().map(|fields| fields.len()), Some(2));
    (jobs, body["next_cursor"].as_str().map(str::to_owned))
}

/// The names on a page.
async fn names(server: &TestServer, query: &str) -> Vec<String> {
    let (jobs, _) = page(server, query).await;
    jobs.iter().map(name_of).collect()
}

fn name_of(job: &Value) -> String {
    job["job_id"].as_str().expect("a name").to_owned()
}

/// Every page of a query, one after the other.
async fn walk(server: &TestServer, query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let (jobs, next) = page(server, &format!("{query}{cursor}")).await;
        found.extend(jobs.iter().map(name_of));
        match next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[tokio::test]
async fn jobs_are_listed_newest_first_as_their_statuses() {
    let server = TestServer::start().await;
    assert_eq!(page(&server, "").await, (vec![], None));
    for job_id in ["first", "second", "third"] {
        server.create(json!({"job_id": job_id})).await;
    }
    server.report("second", json!({"processed_count": 5})).await;
    let (jobs, next) = page(&server, "").await;
    let found: Vec<_> = jobs.iter().map(name_of).collect();
    assert_eq!(found, ["third", "second", "first"]);
    assert_eq!(next, None);
    for job in &jobs {
        assert_eq!(*job, server.status(&name_of(job)).await);
    }
}

#[tokio::test]
async fn every_filter_narrows_the_list() {
    let server = TestServer::start().await;
    for (job_id, kind, tags, owner, parent) in [
        ("a", "import", json!(["x", "y"]), "ann", json!("top")),
        ("b", "import", json!(["y"]), "bob", json!("top")),
        ("c", "export", json!(["x"]), "ann", json!(null)),
        ("d", "export", json!([]), "bob", json!("other")),
        ("e", "import", json!(["x"]), "ann", json!(null)),
    ] {
        server
            .create(json!({"job_id": job_id, "kind": kind, "tags": tags, "owner": owner, "parent_id": parent}))
            .await;
    }
    server.report("b", json!({"status": "processing"})).await;
    server.report("c", json!({"status": "completed"})).await;
    server
        .report("d", json!({"status": "failed", "error": "no"}))
        .await;
    server.report("e", json!({"status": "cancelled"})).await;
    for (query, expected) in [
        ("", "edcba"),
        ("status=pending", "a"),
        ("status=processing&status=completed", "cb"),
        ("status=failed&status=failed", "d"),
        ("status=cancelled&status=pending&kind=import", "ea"),
        ("kind=import", "eba"),
        ("kind=Import", ""),
        ("kind=", ""),
        ("tag=x", "eca"),
        ("tag=y&kind=import&owner=ann", "a"),
        ("owner=bob", "db"),
        ("parent_id=top", "ba"),
        ("parent_id=top&owner=bob", "b"),
        ("parent_id=unknown", ""),
        ("kind=%69mport&_=123", "eba"),
    ] {
        assert_eq!(names(&server, query).await.concat(), expected, "{query}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_filter_is_refused_by_name() {
    let server = TestServer::start().await;
    for (query, field) in [
        ("status=done", "status"),
        ("status=", "status"),
        ("status=pending&status=Completed", "status"),
        ("status=pending,completed", "status"),
        ("parent_id=a/b", "parent_id"),
        ("parent_id=", "parent_id"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("cursor=", "cursor"),
        ("cursor=abc", "cursor"),
        ("cursor=1", "cursor"),
        ("cursor=1.", "cursor"),
        ("cursor=.a", "cursor"),
        ("cursor=-1.a", "cursor"),
        ("cursor=1.a/b", "cursor"),
        ("cursor=1.5", "nothing: a name may be a number"),
        ("cursor=99999999999999999999.a", "cursor"),
        ("cursor=%00%ff", "cursor"),
    ] {
        let answer = server.get(&format!("/api/v1/jobs?{query}")).await;
        if field.starts_with("nothing") {
            answer.expect(StatusCode::OK);
        } else {
            let message = answer.error(400, "INVALID_REQUEST");
            assert!(
                message.starts_with(&format!("{field}: ")),
                "{query}: {message}"
            );
        }
    }
}

#[tokio::test]
async fn a_page_has_fifty_jobs_unless_asked_otherwise() {
    let server = TestServer::start().await;
    join_all((0..201).map(|_| server.create(json!({})))).await;
    for (query, expected) in [("", 50), ("limit=1", 1), ("limit=200", 200)] {
        let (jobs, next) = page(&server, query).await;
        assert_eq!((jobs.len(), next.is_some()), (expected, true), "{query}");
    }
}

#[tokio::test]
async fn the_last_page_has_no_cursor_even_when_it_is_full() {
    let server = TestServer::start().await;
    join_all((0..4).map(|_| server.create(json!({})))).await;
    let (_, next) = page(&server, "limit=2").await;
    let cursor = next.expect("two more");
    let (jobs, next) = page(&server, &format!("limit=2&cursor={cursor}")).await;
    assert_eq!((jobs.len(), next), (2, None));
}

#[tokio::test]
async fn a_walk_meets_every_job_once_while_others_are_created_and_removed() {
    let server = TestServer::start().await;
    let jobs = join_all((0..120).map(|_| server.create(json!({"kind": "old"})))).await;
    let expected: HashSet<_> = jobs.iter().map(name_of).collect();
    for limit in [1, 7, 50] {
        let query = format!("limit={limit}");
        let walking = walk(&server, &query);
        let disturbing = async {
            for _ in 0..60 {
                let job = server.create(json!({"kind": "new"})).await;
                let path = format!("/api/v1/jobs/{}", name_of(&job));
                server.delete(&path).await.expect(StatusCode::NO_CONTENT);
                server.create(json!({"kind": "new"})).await;
            }
        };
        let (found, ()) = tokio::join!(walking, disturbing);
        let distinct: HashSet<_> = found.iter().cloned().collect();
        assert_eq!(distinct.len(), found.len(), "no job comes twice");
        assert!(distinct.is_superset(&expected), "no job is lost");
    }
}

#[tokio::test]
async fn a_cursor_outlives_the_job_that_it_names() {
    let server = TestServer::start().await;
    for job_id in ["a", "b", "c"] {
        server.create(json!({"job_id": job_id})).await;
    }
    let (jobs, next) = page(&server, "limit=2").await;
    assert_eq!(name_of(&jobs[1]), "b");
    server
        .delete("/api/v1/jobs/b")
        .await
        .expect(StatusCode::NO_CONTENT);
    let cursor = next.expect("one more");
    assert_eq!(names(&server, &format!("cursor={cursor}")).await, ["a"]);
}

#[tokio::test]
async fn everybody_sees_the_jobs_within_reach_alone() {
    let server = TestServer::with(&people::configuration()).await;
    for (key, job_id) in [
        ("key-ann", "ann-1"),
        ("key-bob", "bob-1"),
        ("key-all", "nobody-1"),
        ("key-ann", "ann-2"),
        ("key-bob", "bob-2"),
    ] {
        server
            .as_bearer(key)
            .create(json!({"job_id": job_id}))
            .await;
    }
    let everything = ["bob-2", "ann-2", "nobody-1", "bob-1", "ann-1"];
    let ann_and_one = token(&json!({"sub": "ann", "jobs": ["bob-2"]}));
    let by_prefix = token(&json!({"jobs": ["bob-*", "nobody-1"]}));
    let admin = token(&json!({"sub": "ann", "scope": "admin"}));
    let stranger = token(&json!({"sub": "cay"}));
    for (credential, query, expected) in [
        ("key-ann", "", vec!["ann-2", "ann-1"]),
        ("key-ann", "owner=bob", vec![]),
        ("key-bob", "", vec!["bob-2", "bob-1"]),
        ("key-read", "", everything.to_vec()),
        ("key-read", "owner=ann", vec!["ann-2", "ann-1"]),
        ("key-admin", "", everything.to_vec()),
        (&ann_and_one, "", vec!["bob-2", "ann-2", "ann-1"]),
        (&ann_and_one, "owner=bob", vec!["bob-2"]),
        (&by_prefix, "", vec!["bob-2", "nobody-1", "bob-1"]),
        (&admin, "", everything.to_vec()),
        (&stranger, "", vec![]),
    ] {
        let found = names(&server.as_bearer(credential), query).await;
        assert_eq!(found, expected, "{credential} {query}");
    }
}

#[tokio::test]
async fn pages_are_full_and_complete_however_much_of_others_lies_between() {
    let server = TestServer::with(&people::configuration()).await;
    let (ann, bob) = (server.as_bearer("key-ann"), server.as_bearer("key-bob"));
    let mut expected = Vec::new();
    for number in 0..5 {
        join_all((0..30).map(|_| bob.create(json!({})))).await;
        let name = format!("ann-{number}");
        ann.create(json!({"job_id": name})).await;
        expected.insert(0, name);
    }
    assert_eq!(walk(&ann, "limit=1").await, expected);
    let (jobs, next) = page(&ann, "limit=4").await;
    assert_eq!((jobs.len(), next.is_some()), (4, true));
    assert_eq!(walk(&ann, "limit=5").await, expected);
}

#[tokio::test]
async fn a_page_of_large_jobs_is_whole_and_sent_in_pieces() {
    let server = TestServer::start().await;
    let data = json!({"text": "x".repeat(10_000)});
    let creations = (0..50).map(|_| server.create(json!({"data": data})));
    join_all(creations).await;
    let answer = server.get("/api/v1/jobs").await;
    // What is made all at once has a length.
    assert_eq!(answer.header("content-length"), None);
    let jobs = answer.expect(StatusCode::OK).json()["jobs"].clone();
    let jobs = jobs.as_array().expect("a list");
    assert_eq!(jobs.len(), 50);
    assert!(jobs.iter().all(|job| job["data"] == data));
    let few = server.get("/api/v1/jobs?limit=1").await;
    assert!(few.header("content-length").is_some());
}
