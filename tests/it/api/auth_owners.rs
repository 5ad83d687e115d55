//! Whose job it is: asked by every call, for every line, and when a job is created.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    ndjson::{Reporter, refusal},
    people::{self, ALL_SCOPES, token},
    server::{Answer, TestServer},
};

/// Every call on a job: method, path below it, body.
fn calls() -> Vec<(Method, &'static str, Value)> {
    vec![
        (Method::GET, "", Value::Null),
        (Method::HEAD, "", Value::Null),
        (Method::GET, "/status", Value::Null),
        (Method::GET, "/status?wait=60&after=0", Value::Null),
        (Method::GET, "/results", Value::Null),
        (Method::GET, "/download", Value::Null),
        (Method::HEAD, "/stream", Value::Null),
        (Method::PATCH, "", json!({})),
        (Method::POST, "/events", json!({"event": "note"})),
        (Method::POST, "/results", json!([{"n": 1}])),
        (Method::POST, "/ticket", json!({})),
        (Method::PATCH, "", json!({"status": "cancelled"})),
        (Method::POST, "/cancel", json!({})),
        (Method::GET, "/stream", Value::Null),
        (Method::DELETE, "", Value::Null),
    ]
}

/// Whether the job may be acted on; asked by every call, which must agree.
async fn reaches(person: &TestServer, job_id: &str) -> bool {
    let mut verdicts = Vec::new();
    for (method, path, body) in calls() {
        let path = format!("/api/v1/jobs/{job_id}{path}");
        let request = person.request(method.clone(), &path);
        let answer = Answer::of(match body {
            Value::Null => request,
            body => request.json(&body),
        })
        .await;
        if answer.status == StatusCode::FORBIDDEN && method != Method::HEAD {
            let message = answer.error(403, "FORBIDDEN");
            assert_eq!(message, "This job belongs to somebody else");
        }
        let is_reached = answer.status.is_success();
        assert!(
            is_reached || answer.status == StatusCode::FORBIDDEN,
            "{}",
            answer.text
        );
        verdicts.push(is_reached);
    }
    assert!(
        verdicts.iter().all(|verdict| *verdict == verdicts[0]),
        "{verdicts:?}"
    );
    verdicts[0]
}

#[tokio::test]
async fn every_call_asks_whose_job_it_is() {
    let server = TestServer::with(&people::configuration()).await;
    let of = |claims: Value| {
        let mut all = json!({"scope": ALL_SCOPES});
        for (name, value) in claims.as_object().expect("claims") {
            all[name] = value.clone();
        }
        token(&all)
    };
    for (credential, expected) in [
        ("key-ann".to_owned(), vec!["ann-1", "ann-2"]),
        ("key-bob".to_owned(), vec!["bob-1", "bob-2"]),
        (
            "key-all".to_owned(),
            vec!["ann-1", "ann-2", "bob-1", "bob-2", "free"],
        ),
        (
            "key-admin".to_owned(),
            vec!["ann-1", "ann-2", "bob-1", "bob-2", "free"],
        ),
        (of(json!({"sub": "ann"})), vec!["ann-1", "ann-2"]),
        (of(json!({"sub": "cay"})), vec![]),
        (of(json!({})), vec![]),
        (of(json!({"sub": "Ann"})), vec![]),
        (
            of(json!({"sub": "ann", "jobs": ["bob-1"]})),
            vec!["ann-1", "ann-2", "bob-1"],
        ),
        (
            of(json!({"sub": "ann", "jobs": "bob-1 free"})),
            vec!["ann-1", "ann-2", "bob-1", "free"],
        ),
        (of(json!({"jobs": ["bob-*"]})), vec!["bob-1", "bob-2"]),
        (of(json!({"jobs": ["bob-", "*-1", "an", "free?"]})), vec![]),
        (
            of(json!({"jobs": ["*"]})),
            vec!["ann-1", "ann-2", "bob-1", "bob-2", "free"],
        ),
        (of(json!({"jobs": []})), vec![]),
        (
            of(json!({"sub": "cay", "scope": "admin"})),
            vec!["ann-1", "ann-2", "bob-1", "bob-2", "free"],
        ),
    ] {
        let person = server.as_bearer(&credential);
        for (key, job_id) in [
            ("key-ann", "ann-1"),
            ("key-ann", "ann-2"),
            ("key-bob", "bob-1"),
            ("key-bob", "bob-2"),
            ("key-all", "free"),
        ] {
            server
                .as_bearer(key)
                .create(json!({"job_id": job_id}))
                .await;
            let is_expected = expected.contains(&job_id);
            assert_eq!(
                reaches(&person, job_id).await,
                is_expected,
                "{credential} {job_id}"
            );
            if !is_expected {
                let admin = server.as_bearer("key-admin");
                assert_eq!(
                    admin.status(job_id).await["status"],
                    "pending",
                    "nothing was done"
                );
                let path = format!("/api/v1/jobs/{job_id}");
                admin.delete(&path).await.expect(StatusCode::NO_CONTENT);
            }
        }
    }
}

#[tokio::test]
async fn every_line_is_asked_whose_job_it_is() {
    let server = TestServer::with(&people::configuration()).await;
    for (key, job_id) in [
        ("key-ann", "ann-1"),
        ("key-bob", "bob-1"),
        ("key-bob", "bob-2"),
        ("key-all", "free"),
    ] {
        server
            .as_bearer(key)
            .create(json!({"job_id": job_id}))
            .await;
    }
    let ann_and_one = token(&json!({"sub": "ann", "scope": "jobs:write", "jobs": ["bob-2"]}));
    for (credential, refused) in [
        ("key-ann", vec!["bob-1", "bob-2", "free"]),
        (&ann_and_one, vec!["bob-1", "free"]),
        ("key-write", vec![]),
        ("key-admin", vec![]),
    ] {
        let names = ["ann-1", "bob-1", "bob-2", "free"];
        let line = |name: &str| json!({"job_id": name, "processed_increment": 1}).to_string();
        let body = names.map(line).join("\n");
        let mut reporter = Reporter::open(&server.as_bearer(credential)).await;
        reporter.send(body);
        reporter.finish();
        let answer = reporter.rest().await;
        let (last, lines) = answer.split_last().expect("a last line");
        let found: Vec<_> = lines
            .iter()
            .map(|line| refusal(line).1.expect("a name"))
            .collect();
        assert_eq!(found, refused, "{credential}");
        assert!(lines.iter().all(|line| refusal(line).2 == "FORBIDDEN"));
        assert_eq!(
            *last,
            json!({"accepted": 4 - refused.len(), "refused": refused.len()})
        );
    }
    let admin = server.as_bearer("key-admin");
    for (name, count) in [("ann-1", 4), ("bob-1", 2), ("bob-2", 3), ("free", 2)] {
        assert_eq!(admin.status(name).await["processed_count"], count, "{name}");
    }
}

#[tokio::test]
async fn a_job_is_created_for_its_creator_alone() {
    let server = TestServer::with(&people::configuration()).await;
    let ann = token(&json!({"sub": "ann", "scope": "jobs:write", "jobs": ["*"]}));
    let nobody = token(&json!({"scope": "jobs:write", "jobs": ["*"]}));
    let admin = token(&json!({"sub": "ann", "scope": "admin"}));
    let forbidden = json!("403");
    for (credential, without, for_ann, for_bob) in [
        ("key-ann", json!("ann"), json!("ann"), &forbidden),
        ("key-write", Value::Null, json!("ann"), &json!("bob")),
        ("key-admin", Value::Null, json!("ann"), &json!("bob")),
        (&ann, json!("ann"), json!("ann"), &forbidden),
        (&nobody, forbidden.clone(), forbidden.clone(), &forbidden),
        (&admin, json!("ann"), json!("ann"), &json!("bob")),
    ] {
        let person = server.as_bearer(credential);
        for (body, expected) in [
            (json!({}), &without),
            (json!({"owner": null}), &without),
            (json!({"owner": "ann"}), &for_ann),
            (json!({"owner": "bob"}), for_bob),
        ] {
            let answer = person.post("/api/v1/jobs", body.clone()).await;
            if *expected == forbidden {
                answer.error(403, "FORBIDDEN");
            } else {
                let job = answer.expect(StatusCode::CREATED).json();
                assert_eq!(job["owner"], *expected, "{credential} {body}");
            }
        }
    }
}

#[tokio::test]
async fn whoever_may_not_see_a_job_does_not_find_it_by_creating_it() {
    let server = TestServer::with(&people::configuration()).await;
    let request = json!({"job_id": "a", "data": {"secret": 1}});
    server.as_bearer("key-bob").create(request.clone()).await;
    let answer = server
        .as_bearer("key-ann")
        .post("/api/v1/jobs", request)
        .await;
    answer.error(409, "JOB_EXISTS");
    assert!(!answer.text.contains("secret"));
}

#[tokio::test]
async fn a_finished_job_still_belongs_to_its_owner() {
    let server = TestServer::with(&people::configuration()).await;
    let (ann, bob) = (server.as_bearer("key-ann"), server.as_bearer("key-bob"));
    bob.create(json!({"job_id": "a"})).await;
    bob.report("a", json!({"status": "completed"})).await;
    assert!(!reaches(&ann, "a").await);
    assert_eq!(bob.status("a").await["status"], "completed");
}
