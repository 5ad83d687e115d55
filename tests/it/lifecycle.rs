//! A job from its creation to its end, as a worker and a watcher see it.

use serde_json::json;

use crate::support::{people, process::Process, server::TestServer};

#[tokio::test]
async fn a_watcher_sees_state_first_then_changes_then_the_end() {
    let server = TestServer::start().await;
    let job = server
        .create(json!({"total_count": 4, "unit": "emails"}))
        .await;
    let job_id = job["job_id"].as_str().expect("an id");

    let mut stream = server.watch(job_id).await;
    let first = stream.next().await;
    assert_eq!(first.json()["status"], "pending");
    assert_eq!(first.seq(), job["seq"]);

    server.report(job_id, json!({"status": "processing"})).await;
    assert_eq!(stream.next_status().await["status"], "processing");

    server
        .report(job_id, json!({"processed_count": 4, "status": "completed"}))
        .await;
    let last = stream.next().await;
    assert_eq!(last.json()["progress_percentage"], 100);
    assert_eq!(last.json()["total_emails"], 4);
    assert_eq!(last.retry, Some(3_600_000));
    stream.expect_end().await;
}

#[tokio::test]
async fn a_server_without_a_key_says_so_in_one_loud_line() {
    let mut open = Process::start(&[]).await;
    let line = open.logged("NO KEY IS CONFIGURED").await;
    assert!(line.contains("WARN"), "{line}");
    let server = TestServer::at(&open.url);
    server.create(json!({"job_id": "j"})).await;
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(&file, people::configuration()).expect("a writable file");
    let closed = Process::configured_by(file.path()).await;
    for (mut process, is_open) in [(open, true), (closed, false)] {
        process.signal("TERM").await;
        let mut rest = Vec::new();
        if is_open {
            // What came before the line has been read: nothing that could be it.
            rest.push(line.clone());
        }
        rest.extend(process.rest_of_log().await);
        let loud = rest.iter().filter(|line| line.contains("NO KEY"));
        assert_eq!(loud.count(), usize::from(is_open), "{rest:#?}");
    }
}
