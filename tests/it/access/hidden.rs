//! `auth.hide_foreign_jobs`: somebody else's job cannot be told from none.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    ndjson::{Reporter, refusal},
    people::{self, ALL_SCOPES, token},
    server::{Answer, TestServer},
};

fn calls() -> Vec<(Method, &'static str, Value)> {
    vec![
        (Method::GET, "", Value::Null),
        (Method::HEAD, "", Value::Null),
        (Method::GET, "/status?wait=60&after=0", Value::Null),
        (Method::GET, "/stream", Value::Null),
        (Method::HEAD, "/stream", Value::Null),
        (Method::GET, "/results", Value::Null),
        (Method::GET, "/download", Value::Null),
        (Method::PATCH, "", json!({})),
        (Method::PATCH, "", json!({"typo": 1})),
        (Method::POST, "/events", json!({"event": "note"})),
        (Method::POST, "/results", json!([{"n": 1}])),
        (Method::POST, "/results", json!("no rows")),
        (Method::POST, "/cancel", json!({})),
        (Method::POST, "/ticket", json!({})),
        (Method::DELETE, "", Value::Null),
    ]
}

/// All of an answer that does not name the request.
async fn seen(person: &TestServer, method: Method, path: &str, body: &Value) -> String {
    let request = person.request(method, path);
    let answer = Answer::of(match body {
        Value::Null => request,
        body => request.json(body),
    })
    .await;
    let id = answer.header("x-request-id").expect("an id").to_owned();
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    headers.sort();
    format!("{} {headers:?} {}", answer.status, answer.text).replace(&id, "ID")
}

#[tokio::test]
async fn a_foreign_job_looks_like_none_on_every_call_also_when_it_is_gone() {
    let hide = "auth.hide_foreign_jobs = true\n";
    let server = TestServer::with(&format!("{hide}{}", people::configuration())).await;
    let bob = server.as_bearer("key-bob");
    // As long as the name of no job.
    for name in ["foreign", "removed"] {
        bob.create(json!({"job_id": name})).await;
    }
    let removed = bob.delete("/api/v1/jobs/removed").await;
    removed.expect(StatusCode::NO_CONTENT);
    let ann = token(&json!({"sub": "ann", "scope": ALL_SCOPES}));
    let watcher = server.as_bearer("key-all").create(json!({})).await;
    let watcher = watcher["watch_token"].as_str().expect("a token").to_owned();
    for credential in ["key-ann".to_owned(), ann, watcher] {
        let person = server.as_bearer(&credential);
        for (method, path, body) in calls() {
            let of = |name: &str| format!("/api/v1/jobs/{name}{path}");
            let unknown = seen(&person, method.clone(), &of("unknown"), &body).await;
            for name in ["foreign", "removed"] {
                let foreign = seen(&person, method.clone(), &of(name), &body).await;
                assert_eq!(foreign, unknown, "{method} {path}");
            }
        }
    }
    assert_eq!(bob.status("foreign").await["status"], "pending");
    let gone = bob.get("/api/v1/jobs/removed").await;
    gone.error(410, "JOB_GONE");
    let gone = server
        .as_bearer("key-all")
        .get("/api/v1/jobs/removed")
        .await;
    gone.error(410, "JOB_GONE");
}

#[tokio::test]
async fn lines_about_foreign_jobs_are_refused_like_those_about_none() {
    let hide = "auth.hide_foreign_jobs = true\n";
    let server = TestServer::with(&format!("{hide}{}", people::configuration())).await;
    let bob = server.as_bearer("key-bob");
    bob.create(json!({"job_id": "foreign"})).await;
    let mut reporter = Reporter::open(&server.as_bearer("key-ann")).await;
    for name in ["foreign", "unknown"] {
        reporter.report(&json!({"job_id": name}));
        let line = reporter.next().await.expect("a refusal");
        assert_eq!(refusal(&line).2, "JOB_NOT_FOUND");
        assert_eq!(line["error"]["message"], "Job not found");
    }
}

#[tokio::test]
async fn without_the_switch_a_foreign_job_is_forbidden() {
    let server = TestServer::with(&people::configuration()).await;
    let bob = server.as_bearer("key-bob");
    bob.create(json!({"job_id": "foreign"})).await;
    let answer = server
        .as_bearer("key-ann")
        .get("/api/v1/jobs/foreign")
        .await;
    answer.error(403, "FORBIDDEN");
}

#[tokio::test]
async fn on_a_stream_of_many_and_through_a_view_it_is_as_little_there() {
    let view = "[views.mine]\nkinds = ['build']\n[[views.mine.paths]]\nstream = '/builds/{id}/stream'\n\
                status = '/builds/{id}'\n[views.mine.fields]\nof = 'job_id'\n";
    let hide = "auth.hide_foreign_jobs = true\n";
    let server = TestServer::with(&format!("{hide}{}{view}", people::configuration())).await;
    let (ann, bob) = (server.as_bearer("key-ann"), server.as_bearer("key-bob"));
    let build = |name: &str| json!({"job_id": name, "kind": "build"});
    for name in ["foreign", "removed"] {
        bob.create(build(name)).await;
    }
    let removed = bob.delete("/api/v1/jobs/removed").await;
    removed.expect(StatusCode::NO_CONTENT);
    ann.create(build("mine")).await;
    for (method, path) in [
        (Method::GET, "/builds/{}"),
        (Method::GET, "/builds/{}?wait=60&after=0"),
        (Method::GET, "/builds/{}/stream"),
        (Method::HEAD, "/builds/{}/stream"),
        (Method::GET, "/api/v1/stream?job={}"),
        (Method::HEAD, "/api/v1/stream?job={}"),
    ] {
        let of = |name: &str| path.replace("{}", name);
        let unknown = seen(&ann, method.clone(), &of("unknown"), &Value::Null).await;
        assert!(unknown.starts_with("404 "), "{unknown}");
        for name in ["foreign", "removed"] {
            let foreign = seen(&ann, method.clone(), &of(name), &Value::Null).await;
            assert_eq!(foreign, unknown, "{method} {path}");
        }
    }
    let names = "job=mine&job=foreign&job=removed&job=unknown";
    let mut stream = ann.stream(&format!("/api/v1/stream?{names}")).await;
    assert_eq!(stream.next_status().await["job_id"], "mine");
    for name in ["foreign", "removed", "unknown"] {
        let block = stream.next().await;
        assert_eq!(block.name(), "removed");
        assert_eq!(
            block.json(),
            json!({"job_id": name, "code": "JOB_NOT_FOUND"})
        );
    }
}
