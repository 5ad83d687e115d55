//! How often clients may come.
//!
//! The clock is real: a limit of one in a second is reached by asking on, and nothing here depends
//! on how soon.

use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::{on_behalf_of, until_refused};
use crate::support::{
    in_time,
    ndjson::Reporter,
    people,
    server::{Answer, TestServer},
    sse::SseStream,
    until,
};

const JOB: &str = "/api/v1/jobs/j";
const STREAM: &str = "/api/v1/jobs/j/stream";

/// What a browser's `EventSource` sends.
fn event_source(server: &TestServer, path: &str) -> RequestBuilder {
    let request = server.request(Method::GET, path);
    request.header("accept", "text/event-stream")
}

/// A server with keys and this line above its defaults, and the bearer of a key without an owner.
async fn limited(line: &str) -> TestServer {
    let keys = people::configuration();
    let toml = format!("server.trusted_proxies = ['127.0.0.1']\n{line}\n{keys}");
    TestServer::with(&toml).await.with_token("key-all")
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_told_when_to_come_back() {
    let server = limited("limits.requests_per_second_per_address = 1").await;
    let ask = |address| Answer::of(on_behalf_of(&server, address, "/healthz"));
    let answer = until_refused(async || ask("192.0.2.1").await).await;
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(
        answer.error(429, "RATE_LIMITED"),
        "Too many requests from this address"
    );
    assert_eq!(answer.header("vary"), Some("Origin"));
    // Others are none the wiser, and one network of IPv6 is one client.
    ask("192.0.2.2").await.expect(StatusCode::OK);
    until_refused(async || ask("2001:db8::1").await).await;
    ask("2001:db8:0:1::1").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn an_address_cannot_be_made_up_before_a_proxy_that_is_not_trusted() {
    let keys = people::configuration();
    let toml = format!("limits.requests_per_second_per_address = 1\n{keys}");
    let server = TestServer::with(&toml).await;
    let mut number = 0;
    let ask = async || {
        number += 1;
        Answer::of(on_behalf_of(
            &server,
            &format!("192.0.2.{}", number % 256),
            "/healthz",
        ))
        .await
    };
    until_refused(ask).await;
}

#[tokio::test]
async fn credentials_cannot_be_guessed_faster() {
    let server = limited("limits.requests_per_second_per_address = 1").await;
    let guesser = server.as_bearer("pgd_guess");
    let guess = async || Answer::of(on_behalf_of(&guesser, "192.0.2.1", JOB)).await;
    let answer = until_refused(guess).await;
    // It is not told whether this guess was right.
    assert_eq!(answer.header("www-authenticate"), None);
}

#[tokio::test]
async fn an_event_source_is_told_inside_a_stream_once_it_is_known() {
    // On an open server everybody is known.
    for server in [
        TestServer::with("limits.requests_per_second_per_address = 1").await,
        limited("limits.requests_per_second_per_address = 1").await,
        limited("limits.requests_per_second_per_principal = 1").await,
    ] {
        for path in [STREAM, "/api/v1/stream?job=j"] {
            let told = async {
                loop {
                    let answer = SseStream::open(event_source(&server, path)).await;
                    // The job does not exist, and that is told by its status.
                    if answer.head.status == StatusCode::OK {
                        return answer;
                    }
                }
            };
            let mut told = in_time("a refusal", told).await;
            let block = told.next().await;
            assert_eq!(
                (block.name(), &block.json()["code"], &block.id),
                ("error", &json!("RATE_LIMITED"), &None)
            );
            let retry = block.retry.expect("a time");
            assert!((4_000..=6_000).contains(&retry), "{retry}");
            told.expect_end().await;
        }
    }
}

#[tokio::test]
async fn an_event_source_whose_credential_does_not_hold_is_told_nothing_of_it() {
    let server = limited("limits.requests_per_second_per_address = 1").await;
    for stranger in [server.as_bearer("pgd_guess"), server.guest()] {
        let ask = async || Answer::of(event_source(&stranger, STREAM)).await;
        let answer = until_refused(ask).await;
        assert_eq!(
            answer.error(429, "RATE_LIMITED"),
            "Too many requests from this address"
        );
        assert_eq!(answer.header("www-authenticate"), None);
    }
}

#[tokio::test]
async fn a_flood_of_event_sources_is_not_looked_at_for_ever() {
    let server = limited("limits.requests_per_second_per_address = 1").await;
    until("an answer without a look", async || {
        let asked = (0..100).map(|_| Answer::of(event_source(&server, STREAM)));
        let answers = join_all(asked).await;
        answers.iter().any(|answer| answer.status == 429)
    })
    .await;
}

#[tokio::test]
async fn what_is_no_stream_is_counted_whatever_it_accepts() {
    let server = TestServer::with("limits.requests_per_second_per_address = 1").await;
    for path in ["/healthz", "/docs", "/openapi.json", "/nowhere", JOB] {
        until_refused(async || Answer::of(event_source(&server, path)).await).await;
    }
}

#[tokio::test]
async fn a_principal_that_asks_too_often_is_refused_and_others_are_not() {
    let server = limited("limits.requests_per_second_per_principal = 1").await;
    let answer = until_refused(async || server.get("/api/v1/jobs").await).await;
    assert_eq!(answer.error(429, "RATE_LIMITED"), "Too many requests");
    server
        .as_bearer("key-ann")
        .get("/api/v1/jobs")
        .await
        .expect(StatusCode::OK);
    server.get("/healthz").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn reports_and_events_are_counted_one_by_one() {
    let server = limited("limits.reports_per_second_per_principal = 1").await;
    server.create(json!({"job_id": "j"})).await;
    let answer = until_refused(async || server.patch(JOB, json!({})).await).await;
    assert_eq!(answer.error(429, "RATE_LIMITED"), "Too many reports");
    assert_eq!(answer.header("retry-after"), Some("1"));
    // Another principal has a bucket of its own, which holds two.
    let other = server.as_bearer("key-write");
    let events = |number: usize| Value::from(vec![json!({"event": "line", "data": 1}); number]);
    let path = format!("{JOB}/events");
    let message = other
        .post(&path, events(3))
        .await
        .error(413, "PAYLOAD_TOO_LARGE");
    assert_eq!(message, "At most 2 reports or events are taken at once");
    other.post(&path, events(2)).await.expect(StatusCode::OK);
    until_refused(async || other.post(&path, events(1)).await).await;
    // Reading is no reporting.
    server.get(JOB).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_worker_that_reports_too_fast_is_slowed_down_and_loses_nothing() {
    let server = limited("limits.reports_per_second_per_principal = 10").await;
    server
        .create(json!({"job_id": "j", "total_count": 30}))
        .await;
    let mut reporter = Reporter::open(&server).await;
    let lines: String = (1..=30)
        .map(|count| format!("{}\n", json!({"job_id": "j", "processed_count": count})))
        .collect();
    reporter.send(lines);
    // While its lines wait, the principal has nothing left for anything else.
    until_refused(async || server.patch(JOB, json!({})).await).await;
    reporter.finish();
    assert_eq!(
        reporter.next().await,
        Some(json!({"accepted": 30, "refused": 0}))
    );
    assert_eq!(reporter.next().await, None);
    assert_eq!(server.status("j").await["processed_count"], 30);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_lines_that_are_held_back() {
    let server = limited("limits.reports_per_second_per_principal = 1").await;
    server.create(json!({"job_id": "j"})).await;
    let mut reporter = Reporter::open(&server).await;
    reporter.send("{\"job_id\":\"j\"}\n".repeat(1_000));
    until_refused(async || server.patch(JOB, json!({})).await).await;
    let draining = tokio::spawn(server.drain());
    let last = reporter.next().await.expect("a last line");
    assert_eq!(last["error"]["code"], "DRAINING", "{last}");
    assert!(
        last["accepted"]
            .as_u64()
            .is_some_and(|accepted| accepted < 1_000),
        "{last}"
    );
    in_time("the drain", draining).await.expect("no panic");
}

#[tokio::test]
async fn a_rate_that_a_reload_changes_holds_at_once() {
    let keys = people::configuration();
    let server = limited("").await;
    for _ in 0..20 {
        server.get("/healthz").await.expect(StatusCode::OK);
    }
    server.reload(&format!(
        "limits.requests_per_second_per_address = 1\n{keys}"
    ));
    until_refused(async || server.get("/healthz").await).await;
    server.reload(&keys);
    until("a free way", async || {
        server.get("/healthz").await.status == StatusCode::OK
    })
    .await;
    for _ in 0..20 {
        server.get("/healthz").await.expect(StatusCode::OK);
    }
}
