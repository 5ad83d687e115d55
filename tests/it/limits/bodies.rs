//! What all request bodies together may hold.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{raw_client::RawClient, server::TestServer, until};

/// A thousand bytes for all bodies.
const SMALL: &str = "[limits]\njson_body_bytes = 1000\nupload_bytes = 1000\nndjson_line_bytes = 1000\n\
    bodies_in_flight_bytes = 1000\n";

/// A request that has sent `sent` of the 900 bytes of its body.
async fn half_sent(server: &TestServer, path: &str, sent: usize) -> RawClient {
    let line = format!("POST {path} HTTP/1.1");
    let mut client = RawClient::request(&server.url, &line, &[("Content-Length", "900")]).await;
    client.send("x".repeat(sent)).await;
    client
}

async fn held(server: &TestServer, bytes: usize) {
    let what = format!("{bytes} bytes to be held");
    until(&what, async || server.usage().body_bytes_held() == bytes).await;
}

#[tokio::test]
async fn bodies_beyond_the_budget_are_refused_until_others_are_done() {
    let server = TestServer::with(SMALL).await;
    for path in ["/api/v1/jobs", "/api/v1/reports"] {
        let half = half_sent(&server, path, 800).await;
        held(&server, 800).await;
        let large = json!({"message": "x".repeat(300)});
        let answer = server.post("/api/v1/jobs", large.clone()).await;
        assert_eq!(
            answer.error(429, "RATE_LIMITED"),
            "Too many request bodies at present"
        );
        assert_eq!(answer.header("retry-after"), Some("5"));
        held(&server, 800).await;
        // What is small enough, or has no body, is served as ever.
        server.create(json!({})).await;
        server.get("/healthz").await.expect(StatusCode::OK);
        drop(half);
        held(&server, 0).await;
        // There is room now: the body is read, and refused for what it says.
        server
            .post("/api/v1/jobs", large)
            .await
            .error(400, "INVALID_REQUEST");
        held(&server, 0).await;
    }
}

#[tokio::test]
async fn a_worker_whose_line_does_not_fit_is_told_in_the_last_line() {
    let server = TestServer::with(SMALL).await;
    let half = half_sent(&server, "/api/v1/jobs", 800).await;
    held(&server, 800).await;
    let mut worker = half_sent(&server, "/api/v1/reports", 300).await;
    worker.read_until("\"code\":\"RATE_LIMITED\"").await;
    held(&server, 800).await;
    drop(half);
    held(&server, 0).await;
}

#[tokio::test]
async fn bodies_that_dribble_are_cut_however_many_there_are_and_others_are_served() {
    let server = TestServer::with("limits.body_timeout_seconds = 2").await;
    let mut dribbling = Vec::new();
    for _ in 0..200 {
        dribbling.push(half_sent(&server, "/api/v1/jobs", 5).await);
    }
    held(&server, 1_000).await;
    server.create(json!({"job_id": "j"})).await;
    server.watch("j").await.next_status().await;
    for mut client in dribbling {
        client.read_until("The body did not come in time").await;
    }
    held(&server, 0).await;
}
