//! How silence ends a request, on a clock of the tests' own.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
};
use futures_util::stream;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, sleep};

use super::*;
use crate::http::tests::{app, job, send};

/// Sends pieces that come one by one, this many seconds apart, and then nothing more. The message of the
/// refusal, and for how many seconds the request stayed open.
async fn silent_after(pieces: &'static [&'static str], seconds: u64) -> (String, u64) {
    let (app, _timers) = app("");
    let job = job(&app).await;
    let pieces = stream::iter(pieces).then(move |piece| async move {
        sleep(Duration::from_secs(seconds)).await;
        Ok::<_, Infallible>(Bytes::from_static(piece.as_bytes()))
    });
    let mut request = Request::new(Body::from_stream(pieces.chain(stream::pending())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "/api/v1/jobs/a/results".parse().expect("a path");
    let kind = HeaderValue::from_static("application/x-ndjson");
    request.headers_mut().insert(header::CONTENT_TYPE, kind);
    let begun = Instant::now();
    let response = send(&app, request).await;
    let elapsed = begun.elapsed().as_secs();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let body = response.into_body().collect().await;
    let body = body.expect("a whole body").to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body["error"]["code"], "INVALID_REQUEST");
    let rows = job.rows(0, 10).await.expect("a store that answers");
    assert_eq!(rows.total, 0, "what was no whole request left rows behind");
    let message = body["error"]["message"].as_str();
    (message.expect("a message").to_owned(), elapsed)
}

#[tokio::test(start_paused = true)]
async fn five_minutes_of_silence_end_the_request_without_a_row() {
    let (message, seconds) = silent_after(&["{\"n\":1}\n", "{\"n\":2"], 0).await;
    assert_eq!(message, "The body did not come in time");
    assert_eq!(seconds, 300);
}

#[tokio::test(start_paused = true)]
async fn blank_lines_and_halves_of_lines_keep_it_alive() {
    let (_, seconds) = silent_after(&["\n", "{\"n\"", ":1}", "\r\n"], 299).await;
    assert_eq!(seconds, 4 * 299 + 300);
}
