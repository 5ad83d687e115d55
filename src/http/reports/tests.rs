//! How silence ends a request, and what one holds that waits, on a clock of the test's own.

use std::time::Duration;

use axum::{
    extract::Request,
    http::{HeaderValue, Method, StatusCode},
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;
use crate::{
    auth::KeyHash,
    http::tests::{app, send},
};

/// The answer to pieces that come one by one, this many seconds apart, and then nothing more;
/// and for how many seconds the request stayed open.
async fn silent_after(pieces: &'static [&'static str], seconds: u64) -> (Vec<Value>, u64) {
    let (app, _timers) = app("");
    let pieces = stream::iter(pieces).then(move |piece| async move {
        sleep(Duration::from_secs(seconds)).await;
        Ok::<_, Infallible>(Bytes::from_static(piece.as_bytes()))
    });
    let begun = Instant::now();
    let body = Body::from_stream(pieces.chain(stream::pending()));
    let body = post(app, body).await.collect().await;
    let text = body.expect("a whole body").to_bytes();
    (lines_of(&text), begun.elapsed().as_secs())
}

/// Posts reports; the answer's body.
async fn post(app: Arc<App>, body: Body) -> Body {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "/api/v1/reports".parse().expect("a path");
    let credential = HeaderValue::from_static("Bearer key");
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, credential);
    let response = send(&app, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body()
}

fn lines_of(text: &[u8]) -> Vec<Value> {
    let lines = serde_json::Deserializer::from_slice(text).into_iter();
    lines.collect::<Result<_, _>>().expect("lines of JSON")
}

#[tokio::test(start_paused = true)]
async fn five_minutes_of_silence_end_the_request() {
    let (lines, seconds) = silent_after(&[], 0).await;
    assert_eq!(lines, [json!({"accepted": 0, "refused": 0})]);
    assert_eq!(seconds, 300);
}

#[tokio::test(start_paused = true)]
async fn blank_lines_and_halves_of_lines_keep_it_alive() {
    let (lines, seconds) = silent_after(&["\n", "\r\n", "{", "}", "\n"], 299).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["line"], 3);
    assert_eq!(lines[1], json!({"accepted": 0, "refused": 1}));
    assert_eq!(seconds, 5 * 299 + 300);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_never_ended_is_not_taken() {
    let (lines, _) = silent_after(&["{\"job_id\":"], 1).await;
    assert_eq!(lines, [json!({"accepted": 0, "refused": 0})]);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_held_back_counts_among_the_bodies() {
    let hash = KeyHash::of(b"key");
    let (app, _timers) = app(&format!(
        "limits.reports_per_second_per_principal = 1\n\
         [[auth.api_keys]]\nname = 'ci'\nscopes = ['jobs:write']\nsha256 = '{hash}'\n"
    ));
    // Two at once are allowed; the third has to wait.
    let waiting = format!("{{\"job_id\":\"a\",\"message\":\"{}\"}}", "x".repeat(500));
    let lines = Bytes::from(format!("1\n2\n{waiting}\n"));
    let pieces = stream::iter([Ok::<_, Infallible>(lines)]);
    let body = Body::from_stream(pieces.chain(stream::pending()));
    let mut answer = post(Arc::clone(&app), body).await;
    let frame = answer.frame().await.expect("a frame").expect("no error");
    let refusals = lines_of(&frame.into_data().expect("bytes"));
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    assert_eq!(app.usage.body_bytes_held(), waiting.len());
    let frame = answer.frame().await.expect("a frame").expect("no error");
    let refusals = lines_of(&frame.into_data().expect("bytes"));
    assert_eq!(refusals[0]["line"], 3, "{refusals:?}");
    assert_eq!(app.usage.body_bytes_held(), 0);
}

#[tokio::test]
async fn a_large_piece_of_a_body_leaves_others_their_turn() {
    const LINES: usize = 4 * MOST_UNDER_WAY;
    let (app, _timers) = app("");
    let text = Bytes::from("{\n".repeat(LINES));
    let piece = stream::iter([Ok::<_, Infallible>(text)]);
    let mut body = post(app, Body::from_stream(piece)).await;
    // It does not wait for anything.
    let is_at_once = body.frame().now_or_never().is_some();
    assert!(!is_at_once, "all lines in one turn");
    let text = body.collect().await.expect("a whole body").to_bytes();
    let last = json!({"accepted": 0, "refused": LINES});
    assert_eq!(lines_of(&text).last(), Some(&last));
}
