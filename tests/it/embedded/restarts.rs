//! What clients find again after the server was killed.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{folder, killed_and_started, started};
use crate::support::{
    server::{Answer, TestServer},
    until,
};

/// Longer than any test runs.
const NO_FLUSH: &str = "store.embedded.flush_ms = 60000\nstream.update_interval_ms = 0";

async fn events(server: &TestServer, key: &str) -> Answer {
    let request = server.request(Method::POST, "/api/v1/jobs/j/events");
    let body = json!([{"event": "e", "data": key}]);
    Answer::of(request.header("idempotency-key", key).json(&body)).await
}

#[tokio::test]
async fn everything_that_was_answered_is_there_after_a_kill() {
    let folder = folder(NO_FLUSH);
    let (process, server) = started(&folder).await;
    let created = server
        .create(json!({"job_id": "j", "total_count": 10, "tags": ["t"]}))
        .await;
    let watch_token = created["watch_token"].as_str().expect("a token").to_owned();
    let first = events(&server, "first").await.expect(StatusCode::OK).json();
    events(&server, "second").await.expect(StatusCode::OK);
    server
        .report("j", json!({"processed_increment": 3, "report_id": "r"}))
        .await;
    server.create(json!({"job_id": "ended"})).await;
    server
        .report("ended", json!({"status": "completed", "result": {"a": 1}}))
        .await;
    server.create(json!({"job_id": "removed"})).await;
    server
        .delete("/api/v1/jobs/removed")
        .await
        .expect(StatusCode::NO_CONTENT);
    let creation = async |server: &TestServer| {
        let request = server.request(Method::POST, "/api/v1/jobs");
        Answer::of(
            request
                .header("idempotency-key", "creation")
                .json(&json!({})),
        )
        .await
    };
    let named = creation(&server).await.expect(StatusCode::CREATED).json();
    let before = server.status("j").await;
    let ended = server
        .get("/api/v1/jobs/ended")
        .await
        .expect(StatusCode::OK)
        .text;

    let (_process, server) = killed_and_started(process, &folder).await;
    let after = server.status("j").await;
    assert!(after["seq"].as_u64() > before["seq"].as_u64());
    for field in [
        "processed_count",
        "status",
        "tags",
        "created_at",
        "updated_at",
        "attempt",
    ] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(
        server.get("/api/v1/jobs/ended").await.text,
        ended,
        "nothing happens to what has ended"
    );
    assert_eq!(
        server.get("/api/v1/jobs/removed").await.status,
        StatusCode::GONE
    );
    assert_eq!(
        events(&server, "first").await.expect(StatusCode::OK).json(),
        first
    );
    server
        .report("j", json!({"processed_increment": 3, "report_id": "r"}))
        .await;
    assert_eq!(
        server.status("j").await,
        after,
        "a report that was known before"
    );
    let again = creation(&server).await.expect(StatusCode::OK).json();
    assert_eq!(again["job_id"], named["job_id"]);
    let page = server.get("/api/v1/jobs?tag=t").await.json();
    assert_eq!(page["jobs"].as_array().expect("jobs").len(), 1);
    let page = server.get("/api/v1/jobs?limit=2").await.json();
    assert_eq!(page["jobs"][0]["job_id"], named["job_id"]);
    let next = format!(
        "/api/v1/jobs?limit=2&cursor={}",
        page["next_cursor"].as_str().expect("a cursor")
    );
    assert_eq!(server.get(&next).await.json()["jobs"][0]["job_id"], "j");
    // What a page was given before the kill opens the stream after it.
    let page = server.as_bearer(&watch_token);
    let mut stream = page.resume("j", &first["seq"].to_string()).await;
    assert_eq!(stream.head.status, StatusCode::OK);
    assert_eq!(stream.next_status().await["processed_count"], 3);
    assert_eq!(stream.next().await.json(), "second");
    server.report("j", json!({"status": "completed"})).await;
    let last = stream.rest().await.pop().expect("an end");
    assert_eq!(last.json()["status"], "completed");
}

#[tokio::test]
async fn a_watcher_resumes_where_it_was_and_sees_nothing_twice() {
    let folder = folder(NO_FLUSH);
    let (mut process, mut server) = started(&folder).await;
    server.create(json!({"job_id": "j"})).await;
    let mut stream = server.watch("j").await;
    let mut last = stream.next().await.seq();
    let mut seen: Vec<String> = Vec::new();
    for life in 0..4 {
        for number in 0..5 {
            events(&server, &format!("{life}-{number}"))
                .await
                .expect(StatusCode::OK);
            let report = server
                .report("j", json!({"processed_count": 10 * life + number}))
                .await;
            // The stream has come that far, or is behind.
            while last < report["seq"].as_u64().expect("a seq") {
                let block = stream.next().await;
                if let Some(id) = &block.id {
                    let id = id.parse().expect("a number");
                    assert!(id > last, "{id} after {last}");
                    last = id;
                }
                if block.name() == "e" {
                    seen.push(block.json().as_str().expect("a text").to_owned());
                }
            }
        }
        events(&server, &format!("{life}-unseen"))
            .await
            .expect(StatusCode::OK);
        (process, server) = killed_and_started(process, &folder).await;
        stream = server.resume("j", &last.to_string()).await;
        let status = stream.next().await;
        assert!(status.json().get("gap").is_none(), "{status:?}");
        let missed = stream.next().await;
        assert_eq!(missed.json(), format!("{life}-unseen"));
        seen.push(format!("{life}-unseen"));
        last = missed.seq();
    }
    let distinct: BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (24, 24));
    drop(process);
}

#[tokio::test]
async fn a_runners_job_goes_on_from_its_last_row() {
    let folder = folder("runner.email.dns = 'off'\nrunner.email.max_per_second = 400");
    let (mut process, mut server) = started(&folder).await;
    let list: String = (0..600)
        .map(|number| format!("user-{number}@example.com\n"))
        .collect();
    let request = server.request(Method::POST, "/api/v1/jobs?kind=email-validation");
    let created = Answer::of(request.header("content-type", "text/plain").body(list)).await;
    let created = created.expect(StatusCode::CREATED).json();
    let job_id = created["job_id"].as_str().expect("a name").to_owned();
    let results = |server: &TestServer| {
        let server = server.guest();
        let path = format!("/api/v1/jobs/{job_id}/results?per_page=1000");
        async move { server.get(&path).await.expect(StatusCode::OK).json() }
    };
    let rows =
        async |server: &TestServer| results(server).await["total"].as_u64().expect("a number");
    for part in [100, 300] {
        until("some rows", async || rows(&server).await > part).await;
        (process, server) = killed_and_started(process, &folder).await;
        assert!(rows(&server).await > part);
    }
    let mut stream = server.watch(&job_id).await;
    let last = stream.rest().await.pop().expect("an end").json();
    assert_eq!(
        (&last["status"], &last["attempt"]),
        (&json!("completed"), &json!(3))
    );
    assert_eq!(last["processed_count"], 600);
    // The server closes the stream's connection, which the same client might use again meanwhile.
    let server = TestServer::at(&process.url).with_token("key-admin");
    let all = results(&server).await;
    let emails: Vec<Value> = all["results"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["email"].clone())
        .collect();
    let expected: Vec<Value> = (0..600)
        .map(|number| json!(format!("user-{number}@example.com")))
        .collect();
    assert_eq!(emails, expected, "no row twice and none missing");
}

#[tokio::test]
async fn a_stop_takes_the_newest_progress_to_the_disk() {
    let folder = folder(NO_FLUSH);
    let (mut process, server) = started(&folder).await;
    server.create(json!({"job_id": "j"})).await;
    server.report("j", json!({"status": "processing"})).await;
    for processed in 1..50 {
        server
            .report("j", json!({"processed_count": processed}))
            .await;
    }
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
    let (_process, server) = started(&folder).await;
    assert_eq!(server.status("j").await["processed_count"], 49);
}

#[tokio::test]
async fn an_unfinished_jobs_deadlines_are_watched_after_a_restart() {
    let folder = folder("");
    let (process, server) = started(&folder).await;
    server
        .create(json!({"job_id": "j", "lease_seconds": 1, "fail_stalled_after_seconds": 1}))
        .await;
    server.report("j", json!({"status": "processing"})).await;
    let (_process, server) = killed_and_started(process, &folder).await;
    // Nobody has asked for the job.
    until("the end of the job", async || {
        let metrics = server.get("/metrics").await.text;
        metrics.contains("progressd_jobs{status=\"failed\"} 1")
    })
    .await;
    assert_eq!(server.status("j").await["error"]["code"], "STALLED");
}
