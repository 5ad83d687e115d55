//! `POST …/results`: rows from a worker outside.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use progressd::job::JobId;
use reqwest::{Body, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{
    raw_client::RawClient,
    server::{Answer, TestServer},
    until,
};

const RESULTS: &str = "/api/v1/jobs/a/results";

/// What is appended at a time.
const PORTION: u64 = 1_000;

async fn with_job() -> TestServer {
    let server = TestServer::start().await;
    server.create(json!({"job_id": "a"})).await;
    server
}

fn lines(numbers: impl IntoIterator<Item = u64>) -> String {
    let line = |number| format!("{{\"n\":{number}}}\n");
    numbers.into_iter().map(line).collect()
}

async fn append(server: &TestServer, key: Option<&str>, body: impl Into<Body>) -> Answer {
    let request = server.request(Method::POST, RESULTS).body(body);
    let request = request.header("content-type", "application/x-ndjson");
    Answer::of(match key {
        Some(key) => request.header("idempotency-key", key),
        None => request,
    })
    .await
}

/// The numbers of all rows, from the download.
async fn numbers(server: &TestServer) -> Vec<u64> {
    let path = "/api/v1/jobs/a/download?format=ndjson";
    let text = server.get(path).await.expect(StatusCode::OK).text;
    let row = |line| serde_json::from_str::<Value>(line).expect("JSON");
    let number = |line| row(line)["n"].as_u64().expect("a number");
    text.lines().map(number).collect()
}

async fn total(server: &TestServer) -> u64 {
    let page = server.get(RESULTS).await.expect(StatusCode::OK).json();
    page["total"].as_u64().expect("a number")
}

#[tokio::test]
async fn array_of_rows_is_appended_whole_and_begins_the_job() {
    let server = with_job().await;
    let answer = server.post(RESULTS, json!([{"n": 0}, {"n": 1}])).await;
    let answer = answer.expect(StatusCode::OK).json();
    let status = server.status("a").await;
    assert_eq!(status["status"], "processing");
    assert_eq!(
        answer,
        json!({"job_id": "a", "seq": status["seq"], "rows": 2, "cancel_requested": false})
    );
    server.post(RESULTS, json!([{"n": 2}])).await;
    assert_eq!(numbers(&server).await, [0, 1, 2]);
}

#[tokio::test]
async fn rows_are_kept_as_they_were_written() {
    let server = with_job().await;
    let text = "{\"z\": 1.50, \"a\": \"=1+1\", \"big\": 12345678901234567890}\n\n  \n{\"b\":null}";
    append(&server, None, text).await.expect(StatusCode::OK);
    let download = |format: &str| format!("/api/v1/jobs/a/download?format={format}");
    let ndjson = server.get(&download("ndjson")).await.text;
    assert_eq!(
        ndjson,
        "{\"z\":1.50,\"a\":\"=1+1\",\"big\":12345678901234567890}\n{\"b\":null}\n"
    );
    let csv = server.get(&download("csv")).await.text;
    let rows: Vec<_> = csv.lines().collect();
    assert_eq!(
        rows,
        ["z,a,big,b", "1.50,'=1+1,12345678901234567890,", ",,,"]
    );
}

#[tokio::test]
async fn one_bad_row_of_an_array_keeps_all_of_them_out() {
    let server = with_job().await;
    for (rows, place) in [
        (json!([{"n": 0}, 1]), "[1]"),
        (json!([[]]), "[0]"),
        (json!({"n": 0}), "must be an array of JSON objects"),
    ] {
        let answer = server.post(RESULTS, rows).await;
        let message = answer.error(400, "INVALID_REQUEST");
        assert!(message.contains(place), "{message}");
    }
    assert_eq!(total(&server).await, 0);
    assert_eq!(server.status("a").await["status"], "pending");
}

#[tokio::test]
async fn lines_are_appended_in_their_order_and_a_repeated_request_adds_none() {
    let server = with_job().await;
    let count = 2 * PORTION + 500;
    let first = append(&server, Some("k"), lines(0..count)).await;
    let first = first.expect(StatusCode::OK).json();
    assert_eq!(first["rows"], count);
    let again = append(&server, Some("k"), lines(0..count)).await;
    assert_eq!(again.expect(StatusCode::OK).json(), first);
    assert_eq!(numbers(&server).await, Vec::from_iter(0..count));
    // Without a key the same rows are more rows.
    append(&server, None, lines(count..count + 1)).await;
    append(&server, None, lines(count..count + 1)).await;
    assert_eq!(total(&server).await, count + 2);
}

#[tokio::test]
async fn bad_line_is_named_and_the_corrected_request_goes_on_where_it_stood() {
    let server = with_job().await;
    let bad = lines(0..PORTION + 500) + "nonsense\n" + &lines(PORTION + 500..PORTION + 600);
    let answer = append(&server, Some("k"), bad).await;
    let message = answer.error(400, "INVALID_REQUEST");
    assert!(message.starts_with("Line 1501: "), "{message}");
    assert!(
        message.ends_with("1000 rows before it are kept"),
        "{message}"
    );
    assert_eq!(total(&server).await, PORTION);
    let good = append(&server, Some("k"), lines(0..PORTION + 600)).await;
    assert_eq!(good.expect(StatusCode::OK).json()["rows"], PORTION + 600);
    assert_eq!(numbers(&server).await, Vec::from_iter(0..PORTION + 600));
}

#[tokio::test]
async fn request_that_breaks_off_leaves_whole_portions_and_can_be_sent_again() {
    let server = with_job().await;
    let sent = lines(0..PORTION + 10);
    let mut client = RawClient::connect(&server.url).await;
    let head = format!(
        "POST {RESULTS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n\
         idempotency-key: k\r\ncontent-length: 1000000\r\n\r\n{sent}"
    );
    client.send(head).await;
    until("the first portion", async || {
        total(&server).await == PORTION
    })
    .await;
    drop(client);
    until("the end of the body", async || {
        server.usage().body_bytes_held() == 0
    })
    .await;
    assert_eq!(total(&server).await, PORTION);
    let whole = append(&server, Some("k"), lines(0..PORTION + 20)).await;
    whole.expect(StatusCode::OK);
    assert_eq!(numbers(&server).await, Vec::from_iter(0..PORTION + 20));
}

#[tokio::test]
async fn rows_can_be_read_while_more_of_them_are_on_their_way() {
    let server = with_job().await;
    let (pieces, receiver) = mpsc::unbounded_channel::<Bytes>();
    let body = stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((Ok::<_, Infallible>(piece), receiver))
    });
    let sender = server.guest();
    let sending = tokio::spawn(async move { append(&sender, None, Body::wrap_stream(body)).await });
    let text = lines(0..3 * PORTION);
    // In pieces that end anywhere.
    for piece in text.as_bytes().chunks(777) {
        pieces
            .send(Bytes::copy_from_slice(piece))
            .expect("it reads");
    }
    until("the rows", async || total(&server).await == 3 * PORTION).await;
    pieces.send("{\"n\":3000}".into()).expect("it reads");
    drop(pieces);
    let answer = sending.await.expect("no panic").expect(StatusCode::OK);
    assert_eq!(answer.json()["rows"], 3 * PORTION + 1);
    assert_eq!(numbers(&server).await, Vec::from_iter(0..=3 * PORTION));
}

#[tokio::test]
async fn worker_of_an_earlier_attempt_appends_nothing() {
    let server = with_job().await;
    server
        .report("a", json!({"status": "processing", "attempt": 2}))
        .await;
    let as_attempt = |attempt: &str| format!("{RESULTS}?attempt={attempt}");
    let answer = server.post(&as_attempt("1"), json!([{"n": 0}])).await;
    answer.error(409, "STALE_ATTEMPT");
    let answer = server.post(&as_attempt("0"), json!([{"n": 0}])).await;
    assert!(answer.error(400, "INVALID_REQUEST").contains("attempt"));
    let answer = server.post(&as_attempt("2"), json!([{"n": 1}])).await;
    answer.expect(StatusCode::OK);
    assert_eq!(numbers(&server).await, [1]);
}

#[tokio::test]
async fn finished_job_takes_no_rows_but_knows_those_that_it_took() {
    let server = with_job().await;
    let first = append(&server, Some("k"), lines(0..1)).await.json();
    server.report("a", json!({"status": "completed"})).await;
    let answer = append(&server, None, lines(1..2)).await;
    answer.error(409, "JOB_FINISHED");
    let again = append(&server, Some("k"), lines(0..1)).await;
    assert_eq!(again.expect(StatusCode::OK).json(), first);
    assert_eq!(numbers(&server).await, [0]);
}

#[tokio::test]
async fn worker_is_told_that_its_job_was_cancelled() {
    let server = with_job().await;
    server.post(RESULTS, json!([{"n": 0}])).await;
    server.post("/api/v1/jobs/a/cancel", json!({})).await;
    let answer = server.post(RESULTS, json!([{"n": 1}])).await;
    assert_eq!(
        answer.expect(StatusCode::OK).json()["cancel_requested"],
        true
    );
}

#[tokio::test]
async fn no_rows_at_all_are_a_sign_of_life() {
    let server = with_job().await;
    for answer in [
        append(&server, None, "").await,
        append(&server, None, "\n\n").await,
        server.post(RESULTS, json!([])).await,
    ] {
        assert_eq!(answer.expect(StatusCode::OK).json()["rows"], 0);
    }
    assert_eq!(server.status("a").await["status"], "processing");
    assert_eq!(total(&server).await, 0);
}

#[tokio::test]
async fn what_is_too_long_or_of_another_kind_is_refused() {
    let server = TestServer::with("[limits]\nndjson_line_bytes = 100\njson_body_bytes = 200").await;
    server.create(json!({"job_id": "a"})).await;
    let long = format!("{{\"n\":\"{}\"}}\n", "x".repeat(100));
    let answer = append(&server, None, lines(0..1) + &long).await;
    let message = answer.error(413, "PAYLOAD_TOO_LARGE");
    assert!(message.starts_with("Line 2: "), "{message}");
    let answer = server.post(RESULTS, json!([{"n": "x".repeat(200)}])).await;
    answer.error(413, "PAYLOAD_TOO_LARGE");
    let request = server.request(Method::POST, RESULTS).body("n\n1\n");
    let answer = Answer::of(request.header("content-type", "text/csv")).await;
    answer.error(415, "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(total(&server).await, 0);
}

#[tokio::test]
async fn what_waits_for_its_portion_counts_among_the_bodies_that_are_held() {
    let limits = "[limits]\nbodies_in_flight_bytes = 5000\nndjson_line_bytes = 4000\n\
                  json_body_bytes = 4000\nupload_bytes = 5000";
    let server = TestServer::with(limits).await;
    server.create(json!({"job_id": "a"})).await;
    let row = format!("{{\"n\":\"{}\"}}\n", "x".repeat(900));
    let pieces = stream::iter(vec![Ok::<_, Infallible>(row); 9]);
    let answer = append(&server, None, Body::wrap_stream(pieces)).await;
    answer.error(429, "RATE_LIMITED");
    assert_eq!(total(&server).await, 0);
    until("nothing held", async || {
        server.usage().body_bytes_held() == 0
    })
    .await;
}

#[tokio::test]
async fn lines_under_way_are_refused_when_the_server_shuts_down() {
    let server = with_job().await;
    let headers = [
        ("Content-Type", "application/x-ndjson"),
        ("Content-Length", "1000"),
    ];
    let line = format!("POST {RESULTS} HTTP/1.1");
    let mut client = RawClient::request(&server.url, &line, &headers).await;
    client.send("{\"n\":1}\n{\"n\":2").await;
    until("the lines", async || server.usage().body_bytes_held() > 0).await;
    let job_id = JobId::parse("a").expect("a name");
    let job = server.registry().find(&job_id).await.expect("the job");
    server.registry().drain();
    client.read_until("\"code\":\"DRAINING\"").await;
    let head = client.transcript();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("retry-after: 5\r\n"), "{head}");
    let rows = job.rows(0, 10).await.expect("a store that answers");
    assert_eq!(rows.total, 0);
}
