//! How access ends while it is in use: with the token's time, and with the key that a reload takes away.

use jsonwebtoken::get_current_timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    in_time,
    ndjson::Reporter,
    people::{self, token},
    server::{Answer, TestServer},
    sse::SseStream,
};

async fn with_job() -> TestServer {
    let server = TestServer::with(&people::configuration()).await;
    server
        .as_bearer("key-ann")
        .create(json!({"job_id": "a"}))
        .await;
    server
}

/// A token of Ann's that ends in two seconds: long enough for a request on a busy machine.
fn ending(scope: &str) -> String {
    token(&json!({"sub": "ann", "scope": scope, "exp": get_current_timestamp() + 2}))
}

/// The rest of a stream that access ends.
async fn assert_ends(stream: &mut SseStream) {
    let blocks = stream.rest().await;
    let last = blocks.last().expect("a last block");
    assert_eq!(
        (last.name(), last.retry, &last.id),
        ("error", Some(3_600_000), &None)
    );
    let expected =
        json!({"error": "Token expired", "message": "Token expired", "code": "TOKEN_EXPIRED"});
    assert_eq!(last.json(), expected);
}

/// Begins a long poll, and waits until the server has it.
async fn begin_poll(server: &TestServer, credential: &str) -> tokio::task::JoinHandle<Answer> {
    let before = server.watchers("a").await;
    let path = "/api/v1/jobs/a/status?wait=60";
    let request = server.as_bearer(credential).request(Method::GET, path);
    let poll = tokio::spawn(Answer::of(request));
    let is_there = async {
        while server.watchers("a").await == before && !poll.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    in_time("the poll", is_there).await;
    poll
}

#[tokio::test]
async fn a_long_poll_ends_with_its_token() {
    let server = with_job().await;
    let poll = begin_poll(&server, &ending("jobs:read")).await;
    let answer = poll.await.expect("an answer");
    assert_eq!(answer.error(401, "UNAUTHORIZED"), "Invalid token");
}

#[tokio::test]
async fn a_stream_by_ticket_ends_with_the_token_that_bought_it() {
    let server = with_job().await;
    let person = server.as_bearer(&ending("jobs:read"));
    let bought = person.post("/api/v1/jobs/a/ticket", json!({})).await.json();
    let ticket = bought["ticket"].as_str().expect("a ticket");
    let mut stream = server
        .stream(&format!("/api/v1/jobs/a/stream?ticket={ticket}"))
        .await;
    assert_eq!(stream.head.status, StatusCode::OK);
    assert_ends(&mut stream).await;
}

/// A token is verified once and remembered: so are its end and what let it in.
#[tokio::test]
async fn a_stream_by_a_token_that_was_used_before_ends_with_it_and_with_its_key() {
    let server = with_job().await;
    let lasting = token(&json!({"sub": "ann", "scope": "jobs:read"}));
    let mut streams = Vec::new();
    for credential in [ending("jobs:read"), lasting] {
        let person = server.as_bearer(&credential);
        for _ in 0..2 {
            person.status("a").await;
        }
        let mut stream = person.watch("a").await;
        assert_eq!(stream.head.status, StatusCode::OK);
        stream.next_status().await;
        streams.push((person, stream));
    }
    assert_ends(&mut streams[0].1).await;
    let (person, stream) = &mut streams[1];
    person.status("a").await;
    let configuration = people::configuration();
    let (api_keys, _) = configuration
        .split_once("[[auth.jwt]]")
        .expect("both sorts");
    server.reload(api_keys);
    assert_ends(stream).await;
    let answer = person.get("/api/v1/jobs/a").await;
    answer.error(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_key_that_a_reload_takes_away_ends_what_it_let_in_and_nothing_else() {
    let server = with_job().await;
    let bought = server
        .as_bearer("key-ann")
        .post("/api/v1/jobs/a/ticket", json!({}))
        .await
        .json();
    let ticket = bought["ticket"].as_str().expect("a ticket");
    let mut of_ann = server.as_bearer("key-ann").watch("a").await;
    let mut by_ticket = server
        .stream(&format!("/api/v1/jobs/a/stream?ticket={ticket}"))
        .await;
    let mut of_another = server.as_bearer("key-read").watch("a").await;
    let mut by_token = server
        .as_bearer(&token(&json!({"sub": "ann"})))
        .watch("a")
        .await;
    for stream in [&mut of_ann, &mut by_ticket, &mut of_another, &mut by_token] {
        assert_eq!(stream.head.status, StatusCode::OK);
        stream.next_status().await;
    }
    let poll_of_ann = begin_poll(&server, "key-ann").await;
    let poll_of_another = begin_poll(&server, "key-read").await;
    let mut reports_of_ann = Reporter::open(&server.as_bearer("key-ann")).await;
    let mut reports_of_another = Reporter::open(&server.as_bearer("key-write")).await;

    server.reload(&people::configuration_without("key-ann"));
    assert_ends(&mut of_ann).await;
    assert_ends(&mut by_ticket).await;
    let answer = poll_of_ann.await.expect("an answer");
    assert_eq!(answer.error(401, "UNAUTHORIZED"), "Invalid API key");
    let lines = reports_of_ann.rest().await;
    let error = json!({"code": "TOKEN_EXPIRED", "message": "Token expired"});
    assert_eq!(
        lines,
        [json!({"accepted": 0, "refused": 0, "error": error})]
    );
    let answer = server.as_bearer("key-ann").get("/api/v1/jobs/a").await;
    answer.error(401, "UNAUTHORIZED");

    reports_of_another.report(&json!({"job_id": "a", "status": "completed"}));
    reports_of_another.finish();
    let lines = reports_of_another.rest().await;
    assert_eq!(lines, [json!({"accepted": 1, "refused": 0})]);
    for stream in [&mut of_another, &mut by_token] {
        let blocks = stream.rest().await;
        let last = blocks.last().expect("a last block");
        assert_eq!(last.json()["status"], "completed");
    }
    let answer = poll_of_another.await.expect("an answer");
    answer.expect(StatusCode::OK);
}

#[tokio::test]
async fn who_comes_back_with_a_cursor_is_looked_at_again() {
    let server = with_job().await;
    let resume = async |credential: &str, cursor: u64| {
        let person = server.as_bearer(credential);
        let request = person.request(Method::GET, "/api/v1/jobs/a/stream");
        Answer::of(request.header("last-event-id", cursor)).await
    };
    let expired = token(&json!({"sub": "ann", "exp": get_current_timestamp() - 60}));
    let mut stream = server.as_bearer("key-ann").watch("a").await;
    let cursor = stream.next().await.seq();
    let mut again = server
        .as_bearer("key-ann")
        .resume("a", &cursor.to_string())
        .await;
    assert_eq!(again.head.status, StatusCode::OK);
    again.next_status().await;
    let answer = resume(&expired, cursor).await;
    assert_eq!(answer.error(401, "UNAUTHORIZED"), "Invalid token");
    server.reload(&people::configuration_without("key-ann"));
    for mut stream in [stream, again] {
        assert_ends(&mut stream).await;
    }
    // Of a finished job too, which answers 204 to who may see it.
    let worker = server.as_bearer("key-all");
    let end = worker.report("a", json!({"status": "completed"})).await;
    let end = end["seq"].as_u64().expect("a seq");
    assert_eq!(resume("key-all", end).await.status, StatusCode::NO_CONTENT);
    for cursor in [0, cursor, end] {
        let answer = resume("key-ann", cursor).await;
        assert_eq!(answer.error(401, "UNAUTHORIZED"), "Invalid API key");
        let answer = resume(&expired, cursor).await;
        assert_eq!(answer.error(401, "UNAUTHORIZED"), "Invalid token");
    }
}

#[tokio::test]
async fn a_key_whose_scopes_have_changed_is_another_key() {
    let server = with_job().await;
    let mut stream = server.as_bearer("key-ann").watch("a").await;
    stream.next_status().await;
    let changed = people::configuration().replace("owner = 'ann'", "owner = 'anna'");
    server.reload(&changed);
    assert_ends(&mut stream).await;
    let answer = server.as_bearer("key-ann").get("/api/v1/jobs/a").await;
    answer.error(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_key_for_tokens_that_is_taken_away_ends_their_streams() {
    let server = with_job().await;
    let ann = token(&json!({"sub": "ann"}));
    let mut stream = server.as_bearer(&ann).watch("a").await;
    stream.next_status().await;
    let changed =
        people::configuration().replace(people::SECRET, "another secret of thirty-two bytes");
    server.reload(&changed);
    assert_ends(&mut stream).await;
}

#[tokio::test]
async fn a_server_that_gets_its_first_key_ends_what_it_let_everybody_into() {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    let mut stream = server.watch("a").await;
    stream.next_status().await;
    server.reload("");
    server.report("a", json!({"step": "still there"})).await;
    let still: Value = stream.next_status().await;
    assert_eq!(still["step"], "still there");
    server.reload(&people::configuration());
    assert_ends(&mut stream).await;
}
