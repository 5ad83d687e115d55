//! Which scope each call needs, for every sort of credential.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    people::{self, ALL_SCOPES, token},
    server::{Answer, TestServer},
};

/// Every call, with the scope that it needs; `{id}` is a job.
fn calls() -> Vec<(Method, &'static str, Value, &'static str)> {
    let event = json!({"event": "note"});
    let rows = json!([{"n": 1}]);
    vec![
        (Method::POST, "/jobs", json!({}), "jobs:write"),
        (Method::GET, "/jobs", Value::Null, "jobs:read"),
        (Method::GET, "/jobs/{id}", Value::Null, "jobs:read"),
        (Method::HEAD, "/jobs/{id}", Value::Null, "jobs:read"),
        (Method::GET, "/jobs/{id}/status", Value::Null, "jobs:read"),
        (Method::HEAD, "/jobs/{id}/stream", Value::Null, "jobs:read"),
        (Method::GET, "/jobs/{id}/results", Value::Null, "jobs:read"),
        (Method::GET, "/jobs/{id}/download", Value::Null, "jobs:read"),
        (Method::PATCH, "/jobs/{id}", json!({}), "jobs:write"),
        (Method::POST, "/jobs/{id}/events", event, "jobs:write"),
        (Method::POST, "/jobs/{id}/results", rows, "jobs:write"),
        (Method::POST, "/jobs/{id}/ticket", json!({}), "jobs:read"),
        (Method::POST, "/reports", json!({}), "jobs:write"),
        (Method::POST, "/jobs/{id}/cancel", json!({}), "jobs:cancel"),
        (Method::HEAD, "/stream", Value::Null, "jobs:read"),
        // The job has been cancelled by now, so that its stream ends.
        (Method::GET, "/jobs/{id}/stream", Value::Null, "jobs:read"),
        (Method::GET, "/stream?job={id}", Value::Null, "jobs:read"),
        (Method::DELETE, "/jobs/{id}", Value::Null, "jobs:write"),
    ]
}

async fn call(server: &TestServer, method: Method, path: &str, body: &Value) -> Answer {
    let request = server.request(method, &format!("/api/v1{path}"));
    Answer::of(match body {
        Value::Null => request,
        body => request.json(body),
    })
    .await
}

#[tokio::test]
async fn every_call_needs_its_scope_and_no_other() {
    let server = TestServer::with(&people::configuration()).await;
    let admin = server.as_bearer("key-admin");
    let everything = json!(["*"]);
    let of_token = |scope: &str| token(&json!({"sub": "ann", "scope": scope, "jobs": everything}));
    let without_scope = token(&json!({"sub": "ann", "jobs": everything}));
    for (number, (credential, scopes)) in [
        ("key-read".to_owned(), "jobs:read"),
        ("key-write".to_owned(), "jobs:write"),
        ("key-cancel".to_owned(), "jobs:cancel"),
        ("key-all".to_owned(), ALL_SCOPES),
        ("key-admin".to_owned(), ALL_SCOPES),
        (of_token("jobs:read"), "jobs:read"),
        (of_token("openid jobs:write  profile"), "jobs:write"),
        (of_token("jobs:cancel"), "jobs:cancel"),
        (of_token(ALL_SCOPES), ALL_SCOPES),
        (of_token("admin"), ALL_SCOPES),
        (of_token(""), ""),
        (of_token("Jobs:Read jobs jobs:"), ""),
        (without_scope, "jobs:read"),
    ]
    .into_iter()
    .enumerate()
    {
        let job_id = format!("job-{number}");
        admin.create(json!({"job_id": job_id})).await;
        let person = server.as_bearer(&credential);
        for (method, path, body, scope) in calls() {
            let path = path.replace("{id}", &job_id);
            if path.ends_with("/stream") && method == Method::GET {
                let end = json!({"status": "cancelled"});
                admin.report(&job_id, end).await;
            }
            let answer = call(&person, method.clone(), &path, &body).await;
            let what = format!("{method} {path} with {scopes:?}");
            if scopes.split(' ').any(|held| held == scope) {
                assert!(answer.status.is_success(), "{what}: {}", answer.text);
            } else if method == Method::HEAD {
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{what}");
            } else {
                let message = answer.error(403, "FORBIDDEN");
                assert_eq!(message, format!("The scope {scope} is missing"), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_credential_no_call_is_answered() {
    let server = TestServer::with(&people::configuration()).await;
    server
        .as_bearer("key-admin")
        .create(json!({"job_id": "a"}))
        .await;
    for (method, path, body, _) in calls() {
        for job_id in ["a", "unknown"] {
            let path = path.replace("{id}", job_id);
            let answer = call(&server, method.clone(), &path, &body).await;
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            if method == Method::HEAD {
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            } else {
                assert_eq!(answer.error(401, "UNAUTHORIZED"), "Invalid API key");
            }
        }
    }
}

#[tokio::test]
async fn a_scope_is_asked_for_before_the_job_is() {
    let server = TestServer::with(&people::configuration()).await;
    for path in ["/api/v1/jobs/unknown", "/api/v1/jobs/unknown/stream"] {
        let writer = server.as_bearer("key-write");
        writer.get(path).await.error(403, "FORBIDDEN");
        let reader = server.as_bearer("key-read");
        reader.get(path).await.error(404, "JOB_NOT_FOUND");
    }
}

#[tokio::test]
async fn health_and_what_works_are_open_to_everybody() {
    let server = TestServer::with(&people::configuration()).await;
    for path in ["/healthz", "/readyz"] {
        server.get(path).await.expect(StatusCode::OK);
    }
    let options = server.request(Method::OPTIONS, "/api/v1/jobs");
    let answer = Answer::of(options).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    server
        .get("/api/v1/nowhere")
        .await
        .error(404, "ROUTE_NOT_FOUND");
}

#[tokio::test]
async fn an_open_server_asks_nobody_and_looks_at_no_credential() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a", "owner": "ann"})).await;
    for person in [
        server.guest(),
        server.as_bearer("nonsense"),
        server.as_bearer("a.b.c"),
    ] {
        for (method, path, body, _) in calls() {
            let is_stream = path.contains("/stream");
            // Where nobody needs a ticket none is sold.
            let is_ticket = path.ends_with("/ticket");
            if !is_stream && !is_ticket && method != Method::DELETE {
                let path = path.replace("{id}", "a");
                let answer = call(&person, method, &path, &body).await;
                assert!(
                    answer.status.is_success() || answer.status == StatusCode::CONFLICT,
                    "{path}: {}",
                    answer.text
                );
            }
        }
    }
    server
        .delete("/api/v1/jobs/a")
        .await
        .expect(StatusCode::NO_CONTENT);
}
