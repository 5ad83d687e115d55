//! Watch tokens: one job, to read, until an hour after its end.

use std::sync::Arc;

use progressd::store::Store;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    jobs::{memory, put_finished},
    people,
    server::{Answer, TestServer},
};

/// Creates a job as somebody with every scope; its watch token.
async fn watch_token_of(server: &TestServer, job_id: &str) -> String {
    let person = server.as_bearer("key-all");
    let created = person.create(json!({"job_id": job_id})).await;
    let token = created["watch_token"].as_str();
    token.expect("a watch token").to_owned()
}

#[tokio::test]
async fn a_watch_token_reads_its_job_in_the_header_and_in_the_query() {
    let server = TestServer::with(&people::configuration()).await;
    let token = watch_token_of(&server, "a").await;
    let person = server.as_bearer("key-all");
    person.report("a", json!({"status": "completed"})).await;
    for path in [
        "",
        "/status",
        "/stream",
        "/results",
        "/download",
        "/status?wait=60&after=0",
    ] {
        let path = format!("/api/v1/jobs/a{path}");
        let in_header = server.as_bearer(&token).get(&path).await;
        in_header.expect(StatusCode::OK);
        let and = if path.contains('?') { '&' } else { '?' };
        let in_query = server.get(&format!("{path}{and}token={token}")).await;
        in_query.expect(StatusCode::OK);
    }
}

#[tokio::test]
async fn a_watch_token_does_nothing_else() {
    let server = TestServer::with(&people::configuration()).await;
    let token = watch_token_of(&server, "a").await;
    watch_token_of(&server, "b").await;
    let bearer = server.as_bearer(&token);
    for (method, path) in [
        (Method::GET, "/jobs"),
        (Method::GET, "/jobs/b"),
        (Method::GET, "/jobs/b/stream"),
        (Method::GET, "/jobs/b/results"),
        (Method::POST, "/jobs"),
        (Method::PATCH, "/jobs/a"),
        (Method::DELETE, "/jobs/a"),
        (Method::POST, "/jobs/a/events"),
        (Method::POST, "/jobs/a/results"),
        (Method::POST, "/jobs/a/cancel"),
        (Method::POST, "/jobs/a/ticket"),
        (Method::POST, "/reports"),
    ] {
        let path = format!("/api/v1{path}");
        let answer = Answer::of(bearer.request(method.clone(), &path)).await;
        answer.error(403, "FORBIDDEN");
        if method != Method::GET {
            let path = format!("{path}?token={token}");
            let answer = Answer::of(server.request(method, &path)).await;
            assert_eq!(answer.error(401, "UNAUTHORIZED"), "Invalid token");
        }
    }
    let unknown = bearer.get("/api/v1/jobs/unknown").await;
    unknown.error(404, "JOB_NOT_FOUND");
}

#[tokio::test]
async fn a_repeated_creation_gets_a_token_too_and_another_job_of_the_name_does_not_honour_it() {
    let server = TestServer::with(&people::configuration()).await;
    let first = watch_token_of(&server, "a").await;
    let person = server.as_bearer("key-all");
    let repeated = person.post("/api/v1/jobs", json!({"job_id": "a"})).await;
    let repeated = repeated.expect(StatusCode::OK).json();
    let second = repeated["watch_token"].as_str().expect("a watch token");
    for token in [&first, second] {
        let answer = server.as_bearer(token).get("/api/v1/jobs/a").await;
        answer.expect(StatusCode::OK);
    }
    person
        .delete("/api/v1/jobs/a")
        .await
        .expect(StatusCode::NO_CONTENT);
    let gone = server.as_bearer(&first).get("/api/v1/jobs/a").await;
    gone.error(410, "JOB_GONE");
    let third = watch_token_of(&server, "a").await;
    for token in [&first, second] {
        let answer = server.as_bearer(token).get("/api/v1/jobs/a").await;
        answer.error(403, "FORBIDDEN");
    }
    let answer = server.as_bearer(&third).get("/api/v1/jobs/a").await;
    answer.expect(StatusCode::OK);
}

#[tokio::test]
async fn an_open_server_makes_no_watch_token() {
    let server = TestServer::start().await;
    assert_eq!(server.create(json!({})).await["watch_token"], Value::Null);
}

#[tokio::test]
async fn all_nodes_honour_a_watch_token_and_servers_with_another_store_do_not() {
    let store = memory();
    let first = TestServer::over(store.clone(), &people::configuration()).await;
    let second = TestServer::over(store, &people::configuration()).await;
    let stranger = TestServer::with(&people::configuration()).await;
    let token = watch_token_of(&first, "a").await;
    watch_token_of(&stranger, "a").await;
    let answer = second.as_bearer(&token).get("/api/v1/jobs/a").await;
    answer.expect(StatusCode::OK);
    let answer = stranger.as_bearer(&token).get("/api/v1/jobs/a").await;
    assert_eq!(answer.error(401, "UNAUTHORIZED"), "Invalid token");
}

#[tokio::test]
async fn a_watch_token_ends_an_hour_after_its_job() {
    let store: Arc<dyn Store> = memory();
    put_finished(&*store, "recent", 3_600 - 60).await;
    put_finished(&*store, "old", 3_600 + 60).await;
    let server = TestServer::over(store, &people::configuration()).await;
    for (job_id, is_valid) in [("recent", true), ("old", false)] {
        let person = server.as_bearer("key-all");
        let created = person.post("/api/v1/jobs", json!({"job_id": job_id})).await;
        let created = created.expect(StatusCode::OK).json();
        let token = created["watch_token"].as_str().expect("a watch token");
        for path in ["", "/stream", "/results"] {
            let path = format!("/api/v1/jobs/{job_id}{path}");
            let answer = server.as_bearer(token).get(&path).await;
            if is_valid {
                answer.expect(StatusCode::OK);
            } else {
                assert_eq!(answer.error(401, "UNAUTHORIZED"), "Invalid token");
            }
        }
    }
}
