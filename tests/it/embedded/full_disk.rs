//! A disk that is full while the server runs.

use reqwest::StatusCode;
use serde_json::json;

use super::{folder, killed_and_started};
use crate::support::{process::Process, server::TestServer, until};

#[tokio::test]
async fn a_full_disk_refuses_changes_loses_nothing_and_heals_without_a_restart() {
    let folder = folder("");
    let process = Process::start_confined(folder.path(), 6 * 1_024).await;
    let server = TestServer::at(&process.url).with_token("key-admin");
    server
        .create(json!({"job_id": "watched", "total_count": 10}))
        .await;
    server
        .report("watched", json!({"status": "processing"}))
        .await;
    let mut stream = server.watch("watched").await;
    stream.next_status().await;
    assert_eq!(server.get("/readyz").await.status, StatusCode::OK);

    let text = "x".repeat(60_000);
    let mut answered = Vec::new();
    let refused = loop {
        let name = format!("job-{}", answered.len());
        let answer = server
            .post(
                "/api/v1/jobs",
                json!({"job_id": name, "data": {"text": text}}),
            )
            .await;
        match answer.status {
            StatusCode::CREATED => answered.push(name),
            _ => break answer,
        }
        assert!(answered.len() < 1_000, "the disk is never full");
    };
    let message = refused.error(503, "STORE_UNAVAILABLE");
    assert!(!message.contains("os error"), "{message}");
    assert_eq!(
        server.get("/readyz").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert!(answered.len() > 10, "{} jobs fitted in", answered.len());
    // What was answered can be read again in a moment, although nothing can be written.
    until("a read of the file", async || {
        let found = server.get("/api/v1/jobs?limit=1").await;
        found.status == StatusCode::OK
    })
    .await;

    process.set_free().await;
    until("the recovery", async || {
        server.get("/readyz").await.status == StatusCode::OK
    })
    .await;
    server
        .report("watched", json!({"processed_count": 5}))
        .await;
    let block = stream
        .status_where(|status| status["processed_count"] == 5)
        .await;
    assert_eq!(
        block.json()["status"],
        "processing",
        "the stream stayed open"
    );
    server
        .create(json!({"job_id": "after", "data": {"text": text}}))
        .await;

    let (_process, server) = killed_and_started(process, &folder).await;
    answered.extend(["watched".to_owned(), "after".to_owned()]);
    for name in &answered {
        server.status(name).await;
    }
}
