//! Where a request comes from: what an open server refuses, and what pages of listed origins get.

mod browser;

use std::net::SocketAddr;

use progressd::{config::Config, server::Server};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{
    people,
    raw_client::RawClient,
    server::{Answer, TestServer},
};

const PAGE: &str = "https://app.example:8443";

/// A configuration in which the pages of `PAGE` may use the server.
const LISTED: &str =
    "cors.allowed_origins = ['https://app.example:8443', 'http://other.example']\n";

/// What is answered to `GET /healthz` with these lines of a head.
async fn health(url: &str, version: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!("GET /healthz {version}\r\n{lines}Connection: close\r\n\r\n");
    RawClient::exchange(url, head).await
}

/// The status in the first line.
fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

#[tokio::test]
async fn an_open_server_answers_to_loopback_names_and_listed_hosts_alone() {
    let server = TestServer::with("server.hosts = ['box.internal', '10.0.0.5:8080']").await;
    for (host, expected) in [
        ("localhost", "200"),
        ("LocalHost.:1234", "200"),
        ("app.localhost:80", "200"),
        ("127.0.0.1:8080", "200"),
        ("127.1.2.3", "200"),
        ("[::1]:99", "200"),
        ("box.internal", "200"),
        ("Box.Internal.:81", "200"),
        ("10.0.0.5:8080", "200"),
        ("10.0.0.5", "403"),
        ("10.0.0.5:8081", "403"),
        ("evil.example", "403"),
        ("localhost.evil.example", "403"),
        ("127.0.0.1.evil.example:8080", "403"),
        ("0.0.0.0", "403"),
        ("[::]", "403"),
    ] {
        let answer = health(&server.url, "HTTP/1.1", &[&format!("Host: {host}")]).await;
        assert_eq!(status(&answer), expected, "{host}: {answer}");
    }
    let answer = health(&server.url, "HTTP/1.1", &["Host: evil.example:81"]).await;
    assert!(
        answer.contains("\"FORBIDDEN\"") && answer.contains("server.hosts"),
        "{answer}"
    );
    // The host of the target is the one that counts.
    let target =
        "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = RawClient::exchange(&server.url, target).await;
    assert_eq!(status(&answer), "403", "{answer}");
}

#[tokio::test]
async fn an_open_server_looks_at_the_host_of_http_2_too() {
    let server = TestServer::start().await;
    let address: SocketAddr = server.url["http://".len()..].parse().expect("an address");
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .resolve("evil.example", address)
        .build()
        .expect("a client");
    for (host, expected) in [("127.0.0.1", 200), ("evil.example", 403)] {
        let url = format!("http://{host}:{}/healthz", address.port());
        let answer = Answer::of(client.get(url)).await;
        assert_eq!(answer.status.as_u16(), expected, "{host}: {}", answer.text);
    }
    let url = format!("{}/healthz", server.url);
    let answer = Answer::of(client.get(url).header("host", "other.example")).await;
    answer.error(400, "INVALID_REQUEST");
}

#[tokio::test]
async fn a_host_is_needed_once_and_must_be_one_except_before_http_1_1() {
    for toml in ["", &people::configuration()] {
        let server = TestServer::with(toml).await;
        for (version, lines, expected) in [
            ("HTTP/1.0", &[] as &[&str], "200"),
            ("HTTP/1.0", &["Host: localhost"], "200"),
            ("HTTP/1.0", &["Host: a b"], "400"),
            ("HTTP/1.1", &[], "400"),
            ("HTTP/1.1", &["Host: localhost", "Host: localhost"], "400"),
            ("HTTP/1.1", &["Host:"], "400"),
            ("HTTP/1.1", &["Host: a b"], "400"),
            ("HTTP/1.1", &["Host: ann@localhost"], "400"),
            ("HTTP/1.1", &["Host: localhost:http"], "400"),
            ("HTTP/1.1", &["Host: localhost/path"], "400"),
            ("HTTP/1.1", &["Host: [::1"], "400"),
            ("HTTP/1.1", &["Host: \u{e9}"], "400"),
        ] {
            let answer = health(&server.url, version, lines).await;
            assert_eq!(status(&answer), expected, "{version} {lines:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn an_open_server_refuses_pages_that_are_neither_its_own_nor_listed() {
    let server = TestServer::with(LISTED).await;
    for (lines, expected) in [
        (&["Origin: http://localhost:8080"] as &[&str], "200"),
        (&["Origin: http://LOCALHOST:8080"], "200"),
        (&["Origin: https://app.example:8443"], "200"),
        (
            &[
                "Origin: https://app.example:8443",
                "Sec-Fetch-Site: cross-site",
            ],
            "200",
        ),
        (&["Sec-Fetch-Site: same-origin"], "200"),
        (&["Sec-Fetch-Site: none"], "200"),
        // Another port of the same machine is another page.
        (&["Origin: http://localhost:3000"], "403"),
        (&["Origin: http://localhost"], "403"),
        (&["Origin: http://127.0.0.1:8080"], "403"),
        (&["Origin: https://localhost:8080"], "403"),
        (&["Origin: https://app.example"], "403"),
        (&["Origin: null"], "403"),
        (&["Origin:"], "403"),
        (&["Origin: \u{e9}"], "403"),
        (
            &[
                "Origin: http://localhost:8080",
                "Origin: http://evil.example",
            ],
            "403",
        ),
        (&["Sec-Fetch-Site: cross-site"], "403"),
        (
            &[
                "Origin: http://localhost:8080",
                "Sec-Fetch-Site: cross-site",
            ],
            "403",
        ),
    ] {
        let lines: Vec<_> = ["Host: localhost:8080"]
            .iter()
            .chain(lines)
            .copied()
            .collect();
        let answer = health(&server.url, "HTTP/1.1", &lines).await;
        assert_eq!(status(&answer), expected, "{lines:?}: {answer}");
    }
    // A port that goes without saying may be said.
    for lines in [
        ["Host: localhost", "Origin: http://localhost"],
        ["Host: localhost:80", "Origin: http://localhost"],
    ] {
        let answer = health(&server.url, "HTTP/1.1", &lines).await;
        assert_eq!(status(&answer), "200", "{lines:?}: {answer}");
    }
}

#[tokio::test]
async fn an_open_server_on_loopback_answers_no_proxy() {
    let server = TestServer::with("server.trusted_proxies = ['127.0.0.1']").await;
    for line in [
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-For: 127.0.0.1",
        "Forwarded: for=203.0.113.9",
    ] {
        let answer = health(&server.url, "HTTP/1.1", &["Host: localhost", line]).await;
        assert_eq!(status(&answer), "403", "{line}: {answer}");
    }
}

#[tokio::test]
async fn an_open_server_on_another_address_may_stand_behind_a_proxy() {
    let toml = "auth.mode = 'none'\nserver.listen = '0.0.0.0:0'\nserver.trusted_proxies = ['127.0.0.1']\nstore.backend = 'memory'";
    let config = Config::from_toml(toml).expect("a valid configuration");
    let server = Server::start(&config).await.expect("a free port");
    let url = format!("http://127.0.0.1:{}", server.address().port());
    let forwarded = [
        "Host: localhost",
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Proto: https",
    ];
    let answer = health(&url, "HTTP/1.1", &forwarded).await;
    assert_eq!(status(&answer), "200", "{answer}");
    // What the proxy serves by TLS has origins of TLS.
    for (origin, expected) in [("https://localhost", "200"), ("http://localhost", "403")] {
        let origin = format!("Origin: {origin}");
        let lines: Vec<_> = forwarded.iter().copied().chain([&*origin]).collect();
        let answer = health(&url, "HTTP/1.1", &lines).await;
        assert_eq!(status(&answer), expected, "{origin}: {answer}");
    }
}

#[tokio::test]
async fn a_server_with_keys_leaves_strangers_to_their_credentials() {
    let server = TestServer::with(&people::configuration()).await;
    let lines = [
        "Host: progress.example",
        "Origin: https://evil.example",
        "Sec-Fetch-Site: cross-site",
        "X-Forwarded-For: 203.0.113.9",
    ];
    let answer = health(&server.url, "HTTP/1.1", &lines).await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(
        !answer.to_ascii_lowercase().contains("access-control-"),
        "{answer}"
    );
}

fn shares(answer: &Answer) -> [Option<&str>; 3] {
    ["allow-origin", "allow-credentials", "expose-headers"]
        .map(|name| answer.header(&format!("access-control-{name}")))
}

const SHARED: [Option<&str>; 3] = [
    Some(PAGE),
    Some("true"),
    Some("ETag, Location, Retry-After, X-Request-Id"),
];

#[tokio::test]
async fn listed_origins_are_told_that_they_may_read_errors_too_and_others_nothing() {
    let server = TestServer::with(&format!("{LISTED}{}", people::configuration())).await;
    let member = server.as_bearer("key-all");
    member.create(json!({"job_id": "a"})).await;
    let job = "/api/v1/jobs/a";
    for (method, path, expected) in [
        (Method::GET, job, 200),
        (Method::HEAD, job, 200),
        (Method::GET, "/api/v1/jobs/a/stream?heartbeat=x", 400),
        (Method::GET, "/api/v1/jobs/b", 404),
        (Method::GET, "/nowhere", 404),
        (Method::PUT, job, 405),
        (Method::PATCH, job, 400),
    ] {
        let request = member
            .request(method.clone(), path)
            .header("origin", PAGE)
            .body("[");
        let answer = Answer::of(request).await;
        assert_eq!(
            answer.status.as_u16(),
            expected,
            "{method} {path}: {}",
            answer.text
        );
        assert_eq!(shares(&answer), SHARED, "{method} {path}");
        assert_eq!(answer.header("vary"), Some("Origin"), "{method} {path}");
    }
    for (path, expected) in [(job, 401), ("/healthz", 200)] {
        let answer = Answer::of(server.request(Method::GET, path).header("origin", PAGE)).await;
        assert_eq!(
            (answer.status.as_u16(), shares(&answer)),
            (expected, SHARED)
        );
    }
    for origin in [
        "https://evil.example",
        "null",
        "https://app.example",
        "http://app.example:8443",
    ] {
        let answer = Answer::of(member.request(Method::GET, job).header("origin", origin)).await;
        assert_eq!(
            (answer.status, shares(&answer)),
            (StatusCode::OK, [None; 3]),
            "{origin}"
        );
        assert_eq!(answer.header("vary"), Some("Origin"), "{origin}");
    }
    let answer = member.get(job).await;
    assert_eq!(
        (shares(&answer), answer.header("vary")),
        ([None; 3], Some("Origin"))
    );
}

#[tokio::test]
async fn a_stream_is_shared_as_any_other_answer_is() {
    let server = TestServer::with(LISTED).await;
    server.create(json!({"job_id": "a"})).await;
    let request = server.request(Method::GET, "/api/v1/jobs/a/stream");
    let response = request
        .header("origin", PAGE)
        .send()
        .await
        .expect("an answer");
    let headers = response.headers();
    assert_eq!(headers["access-control-allow-origin"], PAGE);
    assert_eq!(headers["access-control-allow-credentials"], "true");
    assert_eq!(headers["vary"], "Origin");
}

#[tokio::test]
async fn a_preflight_needs_no_credential_and_only_listed_origins_get_one() {
    let server = TestServer::with(&format!("{LISTED}{}", people::configuration())).await;
    let preflight = |origin: &'static str| {
        let request = server.request(Method::OPTIONS, "/api/v1/jobs/a");
        let request = request.header("origin", origin);
        Answer::of(request.header("access-control-request-method", "PATCH"))
    };
    let answer = preflight(PAGE).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(shares(&answer)[..2], SHARED[..2]);
    for (name, value) in [
        (
            "access-control-allow-methods",
            "GET, HEAD, POST, PATCH, DELETE",
        ),
        (
            "access-control-allow-headers",
            "authorization, content-type, last-event-id, idempotency-key, if-none-match",
        ),
        ("access-control-max-age", "7200"),
        ("vary", "Origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert!(answer.header("x-request-id").is_some());
    let answer = preflight("https://evil.example").await;
    let is_shared =
        |name: &&reqwest::header::HeaderName| name.as_str().starts_with("access-control-");
    assert_eq!(answer.headers.keys().find(is_shared), None);
    // Without the question it is the OPTIONS that anybody may send.
    let plain = server
        .request(Method::OPTIONS, "/api/v1/jobs/a")
        .header("origin", PAGE);
    let answer = Answer::of(plain).await.expect(StatusCode::NO_CONTENT);
    let allow = answer.header("allow").expect("methods");
    assert!(
        allow.contains("PATCH") && allow.contains("OPTIONS"),
        "{allow}"
    );
    assert_eq!(answer.header("access-control-allow-methods"), None);
}
