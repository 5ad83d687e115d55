//! What began while a credential held and goes on after it has ended.

use progressd::job::{Command, JobId, Json};
use reqwest::Method;
use serde_json::json;

use crate::support::{in_time, people, raw_client::RawClient, server::TestServer, until};

/// Far more than the sockets between two programs hold.
const ROWS: usize = 32_000;

#[tokio::test]
async fn a_download_breaks_off_with_its_key() {
    let server = TestServer::with(&people::configuration()).await;
    let ann = server.as_bearer("key-ann");
    ann.create(json!({"job_id": "a"})).await;
    let job_id = JobId::parse("a").expect("a name");
    let job = server.registry().find(&job_id).await.expect("the job");
    let row = Json::of(&json!({"text": "x".repeat(1_000)})).expect("JSON");
    let rows = Command::Rows(vec![row; ROWS]);
    job.apply(rows, None).await.expect("rows are taken");
    let download = ann.request(Method::GET, "/api/v1/jobs/a/download?format=ndjson");
    let mut file = download.send().await.expect("an answer");
    file.chunk().await.expect("a first piece");
    server.reload(&people::configuration_without("key-ann"));
    let rest = async {
        while file.chunk().await?.is_some() {}
        Ok::<_, reqwest::Error>(())
    };
    let outcome = in_time("the end of the file", rest).await;
    outcome.expect_err("half a file does not look like a whole one");
}

#[tokio::test]
async fn a_body_that_is_on_its_way_changes_nothing_after_its_key() {
    let server = TestServer::with(&people::configuration()).await;
    let ann = server.as_bearer("key-ann");
    ann.create(json!({"job_id": "a"})).await;
    let before = ann.get("/api/v1/jobs").await.json();
    let headers = [
        ("Authorization", "Bearer key-ann"),
        ("Content-Type", "application/json"),
        ("Content-Length", "2"),
    ];
    let mut begun = Vec::new();
    for line in [
        "POST /api/v1/jobs HTTP/1.1",
        "PATCH /api/v1/jobs/a HTTP/1.1",
        "POST /api/v1/jobs/a/events HTTP/1.1",
        "POST /api/v1/jobs/a/results HTTP/1.1",
        "POST /api/v1/jobs/a/cancel HTTP/1.1",
        "POST /api/v1/jobs/a/ticket HTTP/1.1",
    ] {
        let mut client = RawClient::request(&server.url, line, &headers).await;
        client.send("{").await;
        begun.push(client);
    }
    until("every body to have begun", async || {
        server.usage().body_bytes_held() == begun.len()
    })
    .await;
    server.reload(&people::configuration_without("key-ann"));
    for client in &mut begun {
        client.read_until("\"code\":\"UNAUTHORIZED\"").await;
    }
    let after = server
        .as_bearer("key-read")
        .get("/api/v1/jobs")
        .await
        .json();
    assert_eq!(after, before);
}

#[tokio::test]
async fn lines_that_are_on_their_way_are_no_rows_after_their_key() {
    let server = TestServer::with(&people::configuration()).await;
    let ann = server.as_bearer("key-ann");
    ann.create(json!({"job_id": "a"})).await;
    let headers = [
        ("Authorization", "Bearer key-ann"),
        ("Content-Type", "application/x-ndjson"),
        ("Content-Length", "1000"),
    ];
    let line = "POST /api/v1/jobs/a/results HTTP/1.1";
    let mut client = RawClient::request(&server.url, line, &headers).await;
    client.send("{\"n\":1}\n{\"n\":2").await;
    until("the lines", async || server.usage().body_bytes_held() > 0).await;
    server.reload(&people::configuration_without("key-ann"));
    client.read_until("\"code\":\"UNAUTHORIZED\"").await;
    assert!(client.transcript().starts_with("HTTP/1.1 401 "));
    let reader = server.as_bearer("key-read");
    let rows = reader.get("/api/v1/jobs/a/results").await.json();
    assert_eq!(rows["total"], 0);
    assert_eq!(reader.status("a").await["status"], "pending");
}
