//! Streams and waiting polls, in all and by holder.

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::net::TcpStream;

use super::on_behalf_of;
use crate::support::{
    in_time, people,
    server::{Answer, TestServer},
    sse::SseStream,
    until,
};

const STREAM: &str = "/api/v1/jobs/j/stream";

async fn seats(server: &TestServer, number: usize) {
    let what = format!("{number} streams");
    until(&what, async || server.usage().seats_taken() == number).await;
}

/// The message of the refusal that a client gets which is no `EventSource`.
#[track_caller]
fn refusal(answer: &Answer) -> String {
    assert_eq!(answer.header("retry-after"), Some("5"));
    answer.error(429, "TOO_MANY_STREAMS")
}

#[tokio::test]
async fn a_stream_too_many_is_refused_until_another_has_left() {
    let server = TestServer::with("limits.max_streams = 2").await;
    server.create(json!({"job_id": "j"})).await;
    let mut first = server.watch("j").await;
    first.next_status().await;
    // A poll that waits holds as much as a stream does.
    let guest = server.guest();
    let poll = tokio::spawn(async move { guest.get("/api/v1/jobs/j?wait=60").await });
    seats(&server, 2).await;
    assert_eq!(refusal(&server.get(STREAM).await), "Too many streams");
    assert_eq!(
        refusal(&server.get("/api/v1/jobs/j?wait=60").await),
        "Too many streams"
    );
    // What does not stay needs no place.
    server.get("/api/v1/jobs/j").await.expect(StatusCode::OK);
    Answer::of(server.request(Method::HEAD, STREAM))
        .await
        .expect(StatusCode::OK);
    server.report("j", json!({"step": "one"})).await;
    in_time("the poll", poll)
        .await
        .expect("no panic")
        .expect(StatusCode::OK);
    seats(&server, 1).await;
    let mut second = server.watch("j").await;
    second.next_status().await;
    drop(first);
    seats(&server, 1).await;
    // The end of a job frees what its streams held.
    server.report("j", json!({"status": "completed"})).await;
    second.rest().await;
    seats(&server, 0).await;
    server.watch("j").await.next_status().await;
    seats(&server, 0).await;
}

#[tokio::test]
async fn an_event_source_is_told_inside_a_stream_and_comes_back() {
    let server = TestServer::with("limits.max_streams = 1").await;
    server.create(json!({"job_id": "j"})).await;
    let mut watcher = server.watch("j").await;
    watcher.next_status().await;
    let request = server
        .request(Method::GET, STREAM)
        .header("accept", "text/event-stream");
    let mut refused = SseStream::open(request).await;
    assert_eq!(refused.head.status, StatusCode::OK);
    let block = refused.next().await;
    assert_eq!((block.name(), block.id.as_deref()), ("error", None));
    assert_eq!(block.json()["code"], "TOO_MANY_STREAMS");
    assert_eq!(block.json()["message"], "Too many streams");
    let retry = block.retry.expect("a time");
    assert!((4_000..=6_000).contains(&retry), "{retry}");
    refused.expect_end().await;
}

#[tokio::test]
async fn the_streams_of_one_http_2_connection_are_counted_one_by_one() {
    let server = TestServer::with("limits.max_streams = 3").await;
    server.create(json!({"job_id": "j"})).await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build();
    let client = client.expect("a client");
    let mut watchers = Vec::new();
    for _ in 0..3 {
        let mut stream = SseStream::open(client.get(format!("{}{STREAM}", server.url))).await;
        stream.next_status().await;
        watchers.push(stream);
    }
    refusal(&Answer::of(client.get(format!("{}{STREAM}", server.url))).await);
    // A stream that its client resets is one that ends, although the connection stays.
    watchers.pop();
    seats(&server, 2).await;
}

#[tokio::test]
async fn a_principal_has_its_own_number_wherever_it_comes_from() {
    let keys = people::configuration();
    let server = TestServer::with(&format!(
        "limits.max_streams_per_principal = 1\nserver.trusted_proxies = ['127.0.0.1']\n{keys}"
    ))
    .await;
    server
        .as_bearer("key-all")
        .create(json!({"job_id": "j"}))
        .await;
    let mut watchers = Vec::new();
    let ann = people::token(&json!({"sub": "ann", "jobs": ["j"]}));
    let bob = people::token(&json!({"sub": "bob", "jobs": ["*"]}));
    for (credential, address) in [
        (&*ann, "192.0.2.1"),
        (&bob, "192.0.2.1"),
        ("key-all", "192.0.2.1"),
    ] {
        let person = server.as_bearer(credential);
        let mut stream = SseStream::open(on_behalf_of(&person, address, STREAM)).await;
        stream.next_status().await;
        watchers.push(stream);
        let answer = Answer::of(on_behalf_of(&person, "192.0.2.2", STREAM)).await;
        assert_eq!(refusal(&answer), "Too many streams with this credential");
    }
    // Another token of the same owner is the same principal.
    let again = people::token(&json!({"sub": "ann", "jobs": ["*"]}));
    refusal(&server.as_bearer(&again).get(STREAM).await);
}

#[tokio::test]
async fn an_address_has_its_own_number_and_an_ipv6_network_is_one() {
    let keys = people::configuration();
    let server = TestServer::with(&format!(
        "limits.max_streams_per_address = 1\nserver.trusted_proxies = ['127.0.0.1']\n{keys}"
    ))
    .await
    .with_token("key-all");
    server.create(json!({"job_id": "j"})).await;
    let mut watchers = Vec::new();
    for (free, taken) in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.2", "203.0.113.9, 192.0.2.2"),
        ("2001:db8::1", "2001:db8::2"),
        ("2001:db8:0:1::1", "2001:db8:0:1:2:3:4:5"),
    ] {
        let mut stream = SseStream::open(on_behalf_of(&server, free, STREAM)).await;
        stream.next_status().await;
        watchers.push(stream);
        let answer = Answer::of(on_behalf_of(&server, taken, STREAM)).await;
        assert_eq!(
            refusal(&answer),
            "Too many streams from this address",
            "{taken}"
        );
    }
}

#[tokio::test]
async fn a_job_has_its_own_number_and_a_limit_that_comes_later_counts_who_is_there() {
    let server = TestServer::start().await;
    for job_id in ["j", "k"] {
        server.create(json!({"job_id": job_id})).await;
    }
    let mut watchers = vec![server.watch("j").await, server.watch("j").await];
    for watcher in &mut watchers {
        watcher.next_status().await;
    }
    server.reload("limits.max_streams_per_job = 2");
    assert_eq!(
        refusal(&server.get(STREAM).await),
        "Too many streams on this job"
    );
    server.watch("k").await.next_status().await;
    watchers.pop();
    seats(&server, 1).await;
    server.watch("j").await.next_status().await;
    server.reload("");
    for _ in 0..3 {
        let mut watcher = server.watch("j").await;
        watcher.next_status().await;
        watchers.push(watcher);
    }
}

#[tokio::test]
async fn an_http_2_connection_may_have_as_many_requests_open_as_is_configured() {
    let server = TestServer::with("limits.http2_max_streams = 3").await;
    server.create(json!({"job_id": "j"})).await;
    let socket = TcpStream::connect(server.address())
        .await
        .expect("a listener");
    let handshake = in_time("the handshake", h2::client::handshake(socket)).await;
    let (client, connection) = handshake.expect("the server speaks HTTP/2");
    let connection = tokio::spawn(connection);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut ready = in_time("room for a stream", client.clone().ready())
            .await
            .expect("room");
        let request = axum::http::Request::get(format!("{}{STREAM}", server.url));
        let request = request.body(()).expect("a request");
        let (answer, _) = ready
            .send_request(request, true)
            .expect("an open connection");
        let answer = in_time("an answer", answer).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        streams.push(answer.into_body());
    }
    // The server's settings came before its first answer, and the client keeps to them.
    assert_eq!(client.current_max_send_streams(), 3);
    assert_eq!(server.watchers("j").await, 3);
    connection.abort();
}

#[tokio::test]
async fn a_stream_by_ticket_is_one_of_its_buyers() {
    let toml = format!(
        "limits.max_streams_per_principal = 1\n{}",
        people::configuration()
    );
    let server = TestServer::with(&toml).await;
    let (ann, another) = (server.as_bearer("key-ann"), server.as_bearer("key-all"));
    ann.create(json!({"job_id": "j"})).await;
    let mut of_ann = ann.watch("j").await;
    of_ann.next_status().await;
    let by_ticket = async |buyer: &TestServer| {
        let ticket = Answer::of(buyer.request(Method::POST, "/api/v1/jobs/j/ticket")).await;
        let ticket = ticket.expect(StatusCode::OK).json()["ticket"].clone();
        let ticket = ticket.as_str().expect("a ticket");
        server
            .client
            .get(format!("{}{STREAM}?ticket={ticket}", server.url))
    };
    let refused = Answer::of(by_ticket(&ann).await).await;
    assert_eq!(refusal(&refused), "Too many streams with this credential");
    let mut of_another = SseStream::open(by_ticket(&another).await).await;
    of_another.next_status().await;
}
