//! The body of every error that a client can meet, each produced by a real request.

use std::{convert::Infallible, fmt::Write as _};

use futures_util::stream;
use reqwest::{Body, Method};
use serde_json::{Value, json};

use crate::support::{
    people::{self, token},
    raw_client::RawClient,
    server::{Answer, TestServer},
    staged_store::{Fate, StagedStore},
};

const JOBS: &str = "/api/v1/jobs";
const JOB: &str = "/api/v1/jobs/a";

/// One byte more than a JSON body may have.
const TOO_LARGE: usize = (1 << 20) + 1;

/// Adds an answer as a client sees it, its request's id aside, which stands in body and head alike.
fn show(transcript: &mut String, what: &str, answer: &Answer) {
    let id = answer.header("x-request-id").expect("an id");
    assert_eq!(answer.json()["error"]["request_id"], id);
    let line = |text: &mut String, line: &str| writeln!(text, "{line}").expect("memory");
    line(transcript, &format!("# {what}"));
    line(transcript, answer.status.as_str());
    for name in ["content-type", "allow", "retry-after", "www-authenticate"] {
        if let Some(value) = answer.header(name) {
            line(transcript, &format!("{name}: {value}"));
        }
    }
    line(
        transcript,
        &format!("{}\n", answer.text.replace(id, "[id]")),
    );
}

async fn post_bytes(server: &TestServer, media: &str, body: impl Into<Body>) -> Answer {
    let request = server
        .request(Method::POST, JOBS)
        .header("content-type", media);
    Answer::of(request.body(body)).await
}

#[tokio::test]
async fn each_code_has_its_status_its_headers_and_its_body() {
    let mut seen = String::new();
    let server = TestServer::with("[limits]\nmax_jobs = 2\n").await;
    for job_id in ["a", "b"] {
        server.create(json!({"job_id": job_id})).await;
    }
    show(
        &mut seen,
        "too many jobs",
        &server.post(JOBS, json!({})).await,
    );
    show(
        &mut seen,
        "another job of that name",
        &server.post(JOBS, json!({"job_id": "a", "kind": "x"})).await,
    );
    show(
        &mut seen,
        "malformed JSON",
        &post_bytes(&server, "application/json", "{").await,
    );
    show(
        &mut seen,
        "an unknown field",
        &server.patch(JOB, json!({"proccessed": 1})).await,
    );
    show(
        &mut seen,
        "a broken rule",
        &server.post(JOBS, json!({"tags": ["x", ""]})).await,
    );
    show(
        &mut seen,
        "a query out of bounds",
        &server.get("/api/v1/jobs?limit=0").await,
    );
    show(
        &mut seen,
        "another content type",
        &post_bytes(&server, "text/html", "{}").await,
    );
    let body = vec![b' '; TOO_LARGE];
    show(
        &mut seen,
        "a body too large by its length",
        &post_bytes(&server, "application/json", body.clone()).await,
    );
    let chunks = body
        .chunks(8_192)
        .map(|chunk| Ok::<_, Infallible>(chunk.to_vec()));
    let chunks: Vec<_> = chunks.collect();
    let chunked = Body::wrap_stream(stream::iter(chunks));
    show(
        &mut seen,
        "a body too large in chunks",
        &post_bytes(&server, "application/json", chunked).await,
    );
    show(
        &mut seen,
        "an unknown job",
        &server.get("/api/v1/jobs/unknown").await,
    );
    show(
        &mut seen,
        "an unknown route",
        &server.get("/api/v1/unknown").await,
    );
    show(
        &mut seen,
        "a wrong method",
        &Answer::of(server.request(Method::PUT, JOB)).await,
    );
    server
        .report("a", json!({"status": "processing", "attempt": 2}))
        .await;
    show(
        &mut seen,
        "an attempt that was replaced",
        &server.patch(JOB, json!({"attempt": 1})).await,
    );
    server.report("a", json!({"status": "completed"})).await;
    show(
        &mut seen,
        "a job that has ended",
        &server.patch(JOB, json!({})).await,
    );
    server.delete(JOB).await;
    show(&mut seen, "a job that is gone", &server.get(JOB).await);
    server.registry().drain();
    show(
        &mut seen,
        "a server that shuts down",
        &server.get(JOBS).await,
    );

    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), "").await;
    store.every_call(Fate::Failed);
    show(&mut seen, "a store that fails", &server.get(JOBS).await);
    store.every_call(Fate::Panics);
    show(&mut seen, "a fault of the server", &server.get(JOBS).await);

    let server = TestServer::with(&people::configuration()).await;
    server
        .as_bearer("key-bob")
        .create(json!({"job_id": "a"}))
        .await;
    let expired = token(&json!({"sub": "ann", "exp": 1}));
    let ann = server.as_bearer("key-ann");
    show(&mut seen, "no credential", &server.get(JOBS).await);
    show(
        &mut seen,
        "an unknown key",
        &server.as_bearer("nonsense").get(JOBS).await,
    );
    show(
        &mut seen,
        "a token that does not hold",
        &server.as_bearer(&expired).get(JOBS).await,
    );
    show(
        &mut seen,
        "a scope that is missing",
        &server.as_bearer("key-read").post(JOBS, json!({})).await,
    );
    show(&mut seen, "somebody else's job", &ann.get(JOB).await);
    show(
        &mut seen,
        "a job for somebody else",
        &ann.post(JOBS, json!({"owner": "bob"})).await,
    );
    insta::assert_snapshot!(seen);
}

#[tokio::test]
async fn a_head_above_its_bound_is_431_from_below_the_routes() {
    let server = TestServer::start().await;
    let padding = "x".repeat(17 * 1024);
    let request =
        format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-padding: {padding}\r\n\r\n");
    let answer = RawClient::exchange(&server.url, request).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_body_too_large_is_refused_before_it_is_sent() {
    let server = TestServer::start().await;
    let head = format!(
        "POST {JOBS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {TOO_LARGE}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    );
    let answer = RawClient::exchange(&server.url, head).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_body_of_exactly_the_bound_is_read() {
    let server = TestServer::start().await;
    let padding = TOO_LARGE - 1 - "{}".len();
    let body = format!("{{{}}}", " ".repeat(padding));
    assert_eq!(body.len(), 1 << 20);
    assert_eq!(
        post_bytes(&server, "application/json", body)
            .await
            .status
            .as_u16(),
        201
    );
}

#[tokio::test]
async fn every_call_with_a_body_wants_its_kind_of_it() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    let kinds = [
        None,
        Some("application/json"),
        Some("application/json; charset=utf-8"),
        Some("application/merge-patch+json"),
        Some("Application/JSON"),
    ];
    for (method, path, body) in [
        (Method::POST, JOBS.to_owned(), "{}"),
        (Method::PATCH, JOB.to_owned(), "{}"),
        (
            Method::POST,
            format!("{JOB}/events"),
            "{\"event\":\"note\"}",
        ),
    ] {
        let send = |media: Option<&'static str>| {
            let request = server.request(method.clone(), &path).body(body);
            Answer::of(match media {
                Some(media) => request.header("content-type", media),
                None => request,
            })
        };
        for media in kinds {
            let answer = send(media).await;
            assert!(answer.status.is_success(), "{media:?}: {}", answer.text);
        }
        for media in [
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/x-ndjson",
            "",
            "nonsense",
        ] {
            let answer = send(Some(media)).await;
            assert_eq!(
                answer.error(415, "UNSUPPORTED_MEDIA_TYPE"),
                "The Content-Type must be application/json"
            );
        }
    }
}

#[tokio::test]
async fn a_message_does_not_grow_with_the_request() {
    let server = TestServer::start().await;
    let name = "ü".repeat(100_000);
    for body in [
        json!({ &name: 1 }),
        json!({"job_id": name}),
        json!({"data": {}, "kind": {&name: 1}}),
    ] {
        let answer = server.post(JOBS, body).await;
        let message = answer.error(400, "INVALID_REQUEST");
        assert!(message.chars().count() <= 501, "{}", message.len());
    }
    assert_eq!(
        server.get(JOBS).await.json()["jobs"],
        Value::Array(Vec::new())
    );
}
