//! `?token=`: to read, for tokens that can do nothing else and end soon.

use jsonwebtoken::get_current_timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    people::{self, ALL_SCOPES, token},
    server::{Answer, TestServer},
};

const READS: [&str; 6] = [
    "",
    "/a",
    "/a/status",
    "/a/stream",
    "/a/results",
    "/a/download",
];

async fn with_job(more: &str) -> TestServer {
    let server = TestServer::with(&format!("{more}\n{}", people::configuration())).await;
    let ann = server.as_bearer("key-ann");
    ann.create(json!({"job_id": "a"})).await;
    ann.report("a", json!({"status": "completed"})).await;
    server
}

async fn call(server: &TestServer, method: Method, path: &str, token: &str) -> Answer {
    let path = format!("/api/v1/jobs{path}?token={token}");
    Answer::of(server.request(method, &path)).await
}

/// A token of Ann's with so long to live.
fn living(seconds: u64, claims: Value) -> String {
    let mut all = json!({"sub": "ann", "exp": get_current_timestamp() + seconds});
    for (name, value) in claims.as_object().expect("claims") {
        all[name] = value.clone();
    }
    token(&all)
}

#[tokio::test]
async fn a_token_that_only_reads_and_ends_soon_reads() {
    let server = with_job("").await;
    for claims in [
        json!({}),
        json!({"scope": "jobs:read"}),
        json!({"scope": "openid jobs:read"}),
    ] {
        for path in READS {
            for method in [Method::GET, Method::HEAD] {
                let answer = call(&server, method, path, &living(3_500, claims.clone())).await;
                answer.expect(StatusCode::OK);
            }
        }
    }
    let nothing = living(60, json!({"scope": ""}));
    let answer = call(&server, Method::GET, "/a", &nothing).await;
    answer.error(403, "FORBIDDEN");
}

#[tokio::test]
async fn any_other_credential_there_is_refused() {
    let server = with_job("").await;
    for (refused, message) in [
        (living(3_700, json!({})), "Invalid token"),
        (living(60, json!({"scope": ALL_SCOPES})), "Invalid token"),
        (
            living(60, json!({"scope": "jobs:read jobs:cancel"})),
            "Invalid token",
        ),
        (living(60, json!({"scope": "admin"})), "Invalid token"),
        (
            token(&json!({"sub": "ann", "exp": u64::MAX})),
            "Invalid token",
        ),
        (token(&json!({"sub": "ann", "exp": 0})), "Invalid token"),
        ("a.b.c".to_owned(), "Invalid token"),
        ("key-ann".to_owned(), "Invalid API key"),
        ("key-read".to_owned(), "Invalid API key"),
        ("Bearer%20key-read".to_owned(), "Invalid API key"),
        (String::new(), "Invalid API key"),
    ] {
        for path in READS {
            let answer = call(&server, Method::GET, path, &refused).await;
            assert_eq!(
                answer.error(401, "UNAUTHORIZED"),
                message,
                "{path} {refused}"
            );
        }
    }
}

#[tokio::test]
async fn what_does_not_read_takes_no_token_in_the_query() {
    let server = with_job("").await;
    let good = living(60, json!({}));
    for (method, path) in [
        (Method::POST, ""),
        (Method::PATCH, "/a"),
        (Method::DELETE, "/a"),
        (Method::POST, "/a/events"),
        (Method::POST, "/a/results"),
        (Method::POST, "/a/cancel"),
        (Method::POST, "/a/ticket"),
    ] {
        for token in [&*good, &living(60, json!({"scope": ALL_SCOPES}))] {
            let answer = call(&server, method.clone(), path, token).await;
            assert_eq!(
                answer.error(401, "UNAUTHORIZED"),
                "Invalid token",
                "{method} {path}"
            );
        }
    }
    let path = format!("/api/v1/reports?token={good}");
    let answer = Answer::of(server.request(Method::POST, &path)).await;
    assert_eq!(answer.error(401, "UNAUTHORIZED"), "Invalid token");
}

#[tokio::test]
async fn how_long_it_may_live_is_configured() {
    let server = with_job("auth.query_token_max_seconds = 100").await;
    for (seconds, is_let_in) in [(90, true), (130, false)] {
        let answer = call(&server, Method::GET, "/a", &living(seconds, json!({}))).await;
        assert_eq!(
            answer.status == StatusCode::OK,
            is_let_in,
            "{}",
            answer.text
        );
    }
}
