//! What every answer has, whatever it says: an id, the right methods, and a head without its body.

use std::collections::HashSet;

use reqwest::{Method, StatusCode, header::HeaderValue};
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    raw_client::RawClient,
    server::{Answer, TestServer},
};

/// Every route, and the methods that it has.
const ROUTES: [(&str, &str); 18] = [
    ("/api/v1/jobs", "GET, HEAD, POST"),
    ("/api/v1/jobs/a", "GET, HEAD, PATCH, DELETE"),
    ("/api/v1/jobs/a/status", "GET, HEAD"),
    ("/api/v1/jobs/a/stream", "GET, HEAD"),
    ("/api/v1/jobs/a/events", "POST"),
    ("/api/v1/jobs/a/cancel", "POST"),
    ("/api/v1/jobs/a/ticket", "POST"),
    ("/api/v1/jobs/a/results", "GET, HEAD, POST"),
    ("/api/v1/jobs/a/download", "GET, HEAD"),
    ("/api/v1/reports", "POST"),
    ("/api/v1/stream", "GET, HEAD"),
    ("/", "GET, HEAD"),
    ("/assets/dashboard.js", "GET, HEAD"),
    ("/client.js", "GET, HEAD"),
    ("/healthz", "GET, HEAD"),
    ("/readyz", "GET, HEAD"),
    ("/metrics", "GET, HEAD"),
    ("/api/v1/jobs/unknown", "GET, HEAD, PATCH, DELETE"),
];

fn sorted(allow: &str) -> Vec<&str> {
    let mut methods: Vec<_> = allow.split(", ").collect();
    methods.sort_unstable();
    methods
}

async fn with_id(server: &TestServer, id: HeaderValue) -> Answer {
    let request = server.request(Method::GET, "/api/v1/jobs/unknown");
    Answer::of(request.header("x-request-id", id)).await
}

#[tokio::test]
async fn every_answer_has_an_id_of_its_own() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    let mut ids = HashSet::new();
    let etag = server
        .get("/api/v1/jobs/a")
        .await
        .header("etag")
        .expect("a tag")
        .to_owned();
    let known = server
        .request(Method::GET, "/api/v1/jobs/a")
        .header("if-none-match", etag);
    let answers = [
        server.post("/api/v1/jobs", json!({})).await,
        Answer::of(known).await,
        Answer::of(server.request(Method::OPTIONS, "/api/v1/jobs")).await,
        Answer::of(server.request(Method::POST, "/api/v1/reports")).await,
        Answer::of(server.request(Method::HEAD, "/nowhere")).await,
        server.get("/nowhere").await,
        server.get("/healthz").await,
        server.delete("/api/v1/jobs/a").await,
    ];
    assert_eq!(answers[1].status, StatusCode::NOT_MODIFIED);
    for answer in &answers {
        let id = answer.header("x-request-id").expect("an id");
        Uuid::parse_str(id).expect("a UUID");
        assert!(ids.insert(id), "{id} came twice");
    }
    server.create(json!({"job_id": "b"})).await;
    assert!(
        server
            .watch("b")
            .await
            .head
            .headers
            .contains_key("x-request-id")
    );
}

#[tokio::test]
async fn a_plain_id_is_taken_over_and_any_other_is_replaced() {
    let server = TestServer::start().await;
    let longest = "x".repeat(128);
    for id in ["a", "00-4bf92f35-01", "Root=1-5759e988/a:b_c+d.e", &longest] {
        let answer = with_id(&server, HeaderValue::from_str(id).expect("a header")).await;
        assert_eq!(answer.header("x-request-id"), Some(id));
        answer.error(404, "JOB_NOT_FOUND");
    }
    let too_long = "x".repeat(129);
    for id in [
        "", " ", "a b", "a,b", "<script>", "a\"b", "a\\b", "a;b", "%0a", "{}", &too_long,
    ] {
        let answer = with_id(&server, HeaderValue::from_str(id).expect("a header")).await;
        let given = answer.header("x-request-id").expect("an id");
        Uuid::parse_str(given).unwrap_or_else(|_| panic!("{id:?} became {given:?}"));
        answer.error(404, "JOB_NOT_FOUND");
    }
    let bytes = HeaderValue::from_bytes(b"\xff\xfe").expect("a header of opaque bytes");
    let answer = with_id(&server, bytes).await;
    Uuid::parse_str(answer.header("x-request-id").expect("an id")).expect("a UUID");
}

#[tokio::test]
async fn options_says_what_works_and_does_nothing() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    for (path, methods) in ROUTES {
        let answer = Answer::of(server.request(Method::OPTIONS, path)).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}");
        let allow = answer.header("allow").expect("Allow");
        assert_eq!(
            sorted(allow),
            sorted(&format!("{methods}, OPTIONS")),
            "{path}"
        );
        assert_eq!(answer.text, "");
    }
    let unknown = Answer::of(server.request(Method::OPTIONS, "/api/v1/nowhere")).await;
    unknown.error(404, "ROUTE_NOT_FOUND");
    assert_eq!(server.status("a").await["status"], "pending");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let server = TestServer::start().await;
    for (path, methods) in ROUTES {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"] {
            if methods.split(", ").any(|known| known == method) {
                continue;
            }
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let answer = Answer::of(server.request(method, path)).await;
            answer.error(405, "METHOD_NOT_ALLOWED");
            let allow = answer.header("allow").expect("Allow");
            assert_eq!(
                sorted(allow),
                sorted(&format!("{methods}, OPTIONS")),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn paths_that_are_almost_right_are_unknown() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    for path in [
        "//",
        "/assets",
        "/assets/",
        "/assets/other.js",
        "/index.html",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v2/jobs",
        "/api/v1/jobs/",
        "/api/v1/jobs/a/",
        "/api/v1/jobs/a/b",
        "/api/v1/jobs/a/status/",
        "/API/v1/jobs",
        "/healthz/",
        "//healthz",
        "/api/v1/jobs/a/stream/x",
    ] {
        let message = server.get(path).await.error(404, "ROUTE_NOT_FOUND");
        assert_eq!(message, "Route not found");
    }
    // A name that no job can have is the name of no job.
    for name in [
        "",
        "a%2fb",
        "%00",
        "%ff",
        "a%20b",
        "ü",
        "a%0d%0aX:y",
        &"x".repeat(129),
    ] {
        let answer = server.get(&format!("/api/v1/jobs/{name}/status")).await;
        assert_eq!(
            answer.error(404, "JOB_NOT_FOUND"),
            "Job not found",
            "{name}"
        );
    }
    // Byte by byte, since clients resolve the dots themselves.
    for name in ["..", "%2e%2e", "."] {
        let request = format!(
            "GET /api/v1/jobs/{name}/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        );
        let answer = RawClient::exchange(&server.url, request).await;
        assert!(answer.contains("\"JOB_NOT_FOUND\""), "{answer}");
    }
    // A name may be written in escapes.
    server.get("/api/v1/jobs/%61").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn head_answers_like_get_without_a_body_wherever_get_works() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    for (path, methods) in ROUTES {
        let head = Answer::of(server.request(Method::HEAD, path)).await;
        assert_eq!(head.text, "", "{path}");
        if methods.contains("HEAD") && !path.ends_with("stream") {
            let get = server.get(path).await;
            assert_eq!(head.status, get.status, "{path}");
            for name in ["content-type", "content-length", "cache-control"] {
                if (path, name) == ("/metrics", "content-length") {
                    // Numbers that grow with every request.
                    continue;
                }
                assert_eq!(head.header(name), get.header(name), "{path}: {name}");
            }
        } else if !methods.contains("HEAD") {
            assert_eq!(head.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        }
    }
    let stream = Answer::of(server.request(Method::HEAD, "/api/v1/jobs/a/stream")).await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(server.report("a", json!({})).await["watchers"], 0);
}

#[tokio::test]
async fn any_accept_is_fine() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    for accept in ["text/html", "image/png;q=0", "*/*;q=0", "nonsense", ""] {
        for path in ["/api/v1/jobs/a", "/api/v1/jobs/a/download", "/healthz"] {
            let request = server.request(Method::GET, path).header("accept", accept);
            Answer::of(request).await.expect(StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn what_is_no_http_is_refused_without_harm() {
    let server = TestServer::start().await;
    for request in [
        "GARBAGE\r\n\r\n",
        "GET /healthz HTTP/9.9\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nbad header\r\n\r\n",
        "POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        "POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        "POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip\r\n\r\n{}",
    ] {
        let answer = RawClient::exchange(&server.url, request).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 "),
            "{request:?}: {answer:?}"
        );
    }
    let chunk = "POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    let answer = RawClient::exchange(&server.url, chunk).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
    assert!(answer.contains("\"INVALID_REQUEST\""), "{answer:?}");
    server.get("/healthz").await.expect(StatusCode::OK);
}
