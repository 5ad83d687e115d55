//! For how long a poll waits, on a clock of the tests' own.

use axum::{body::Body, extract::Request};
use tokio::time::Instant;

use super::*;
use crate::http::tests::{app, job, send};

#[tokio::test(start_paused = true)]
async fn a_poll_waits_as_long_as_it_is_asked_to_and_a_minute_at_most() {
    let (app, _timers) = app("");
    let seq = job(&app).await.job().seq;
    for (wait, seconds) in [
        ("1", 1),
        ("59", 59),
        ("60", 60),
        ("61", 60),
        ("9999999", 60),
    ] {
        let path = format!("/api/v1/jobs/a/status?wait={wait}&after={seq}");
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = path.parse().expect("a path");
        let begun = Instant::now();
        let response = send(&app, request).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(begun.elapsed().as_secs(), seconds, "wait={wait}");
    }
}
