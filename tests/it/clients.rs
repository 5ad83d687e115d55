//! Real clients follow a job to its end, and stay away after it.

mod matrix;
mod table;
mod watch;

use std::process::Stdio;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, BufReader},
    process::Command,
};

use crate::support::{
    client_program::ClientProgram, cut_proxy::CutProxy, in_time, people, server::TestServer,
    sse::Block, until,
};

/// Clients come back after 160 to 240 ms, unless they are told otherwise.
const QUICK_RETRY: &str = "[stream]\nupdate_interval_ms = 0\nretry_ms = 200";

/// For how long a client is watched after a job's end: several times what it waits before it
/// comes back in the middle of one.
const QUIET_MS: &str = "1500";

/// The lines of one type.
fn of_type<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == name).collect()
}

/// Drives a job while its only watcher is cut off in the middle; the events and the end must come.
async fn drive(server: &TestServer, job_id: &str, proxy: &CutProxy) {
    let events = format!("/api/v1/jobs/{job_id}/events");
    let line = |number: u32| json!({"event": "line", "data": number});
    let is_watched = async || server.report(job_id, json!({})).await["watchers"] != 0;
    until("the first connection", is_watched).await;
    server.post(&events, line(1)).await;
    until("the cut", async || proxy.has_cut()).await;
    server.report(job_id, json!({"processed_count": 1})).await;
    server.post(&events, line(2)).await;
    until("the client's return", async || proxy.cursors().len() == 2).await;
    server.post(&events, line(3)).await;
    server
        .report(job_id, json!({"processed_count": 2, "status": "completed"}))
        .await;
}

#[tokio::test]
async fn clients_follow_a_job_through_a_cut_to_its_end_and_do_not_come_back() {
    let server = &TestServer::with(QUICK_RETRY).await;
    join_all(ClientProgram::EVENT_SOURCES.map(async |program| {
        let job_id = &format!("{program:?}");
        server.create(json!({"job_id": job_id})).await;
        server.report(job_id, json!({"status": "processing"})).await;
        // The first status and the first event pass; nothing else has been sent then.
        let proxy = CutProxy::start(&server.url, 2).await;
        let url = format!("{}/api/v1/jobs/{job_id}/stream", proxy.url);
        let options = ["--event", "line", "--stop-after-terminal-ms", QUIET_MS];
        let (lines, ()) = tokio::join!(
            program.follow(&url, &options),
            drive(server, job_id, &proxy)
        );

        let events = of_type(&lines, "line").into_iter();
        let numbers: Vec<_> = events.map(|event| &event["data"]).collect();
        assert_eq!(json!(numbers), json!([1, 2, 3]), "{lines:#?}");
        let statuses = of_type(&lines, "status");
        let ends = statuses
            .iter()
            .filter(|status| status["data"]["status"] == "completed");
        assert_eq!(ends.count(), 1, "{lines:#?}");
        let last = statuses.last().expect("a status");
        assert_eq!(last["data"]["processed_count"], 2);
        assert_eq!(last["id"], last["data"]["seq"].to_string());

        // Chromium forgets a block that comes in the same moment as the cut: then it stands at
        // the one before, and gets that block when it comes back.
        let mut connections = lines.split(|line| line["type"] == "open").skip(1);
        let before_the_cut = connections.next().expect("a first connection");
        let cursor = before_the_cut
            .iter()
            .rev()
            .find_map(|line| line["id"].as_str());
        assert_eq!(
            proxy.cursors(),
            [None, cursor.map(str::to_owned)],
            "{program:?}"
        );
        let end = lines.last().expect("a last line");
        assert_eq!(end, &json!({"type": "quiet", "requests": 2}), "{lines:#?}");
    }))
    .await;
}

#[tokio::test]
async fn a_page_watches_by_ticket_and_its_browser_comes_back_by_the_cookie() {
    let configuration = format!("{QUICK_RETRY}\n{}", people::configuration());
    let server = TestServer::with(&configuration).await;
    let worker = server.as_bearer("key-ann");
    worker.create(json!({"job_id": "j"})).await;
    worker.report("j", json!({"status": "processing"})).await;
    let proxy = CutProxy::start(&server.url, 2).await;
    let url = format!("{}/api/v1/jobs/j/stream", proxy.url);
    // Ann's page: it may read, and its token stays out of every URL.
    let token = people::token(&json!({"sub": "ann"}));
    let options = [
        "--token",
        &token,
        "--buy-ticket",
        "--event",
        "line",
        "--stop-after-terminal-ms",
        QUIET_MS,
    ];
    let (lines, ()) = tokio::join!(
        ClientProgram::Chromium.follow(&url, &options),
        drive(&worker, "j", &proxy)
    );
    let events = of_type(&lines, "line").into_iter();
    let numbers: Vec<_> = events.map(|event| &event["data"]).collect();
    assert_eq!(json!(numbers), json!([1, 2, 3]), "{lines:#?}");
    let statuses = of_type(&lines, "status");
    let ends = statuses
        .iter()
        .filter(|status| status["data"]["status"] == "completed");
    assert_eq!(ends.count(), 1, "{lines:#?}");
    let ids: Vec<u64> = lines
        .iter()
        .filter_map(|line| line["id"].as_str()?.parse().ok())
        .collect();
    assert!(ids.is_sorted(), "{ids:?}");
    assert!(proxy.has_cut());
    assert_eq!(proxy.cursors().len(), 2, "the ticket was repeated");
    let end = lines.last().expect("a last line");
    assert_eq!(end, &json!({"type": "quiet", "requests": 2}), "{lines:#?}");
}

#[tokio::test]
async fn clients_that_come_back_after_the_end_are_closed_by_204() {
    let server = &TestServer::with(QUICK_RETRY).await;
    server.create(json!({"job_id": "j"})).await;
    let end = server.report("j", json!({"status": "completed"})).await;
    let url = &format!(
        "{}/api/v1/jobs/j/stream?last_event_id={}",
        server.url, end["seq"]
    );
    join_all(ClientProgram::EVENT_SOURCES.map(async |program| {
        let lines = program.follow(url, &[]).await;
        let [trouble, end] = &lines[..] else {
            panic!("{program:?}: {lines:#?}");
        };
        assert_eq!(
            (&trouble["source"], &trouble["status"]),
            (&json!("client"), &json!(204))
        );
        assert_eq!(trouble["readyState"], 2, "{program:?}");
        assert_eq!(
            end,
            &json!({"type": "closed", "requests": 1}),
            "{program:?}"
        );
    }))
    .await;
}

#[tokio::test]
async fn clients_hear_of_a_failure_before_the_last_status() {
    let server = &TestServer::with(QUICK_RETRY).await;
    server.create(json!({"job_id": "j"})).await;
    let error = json!({"code": "BAD_INPUT", "message": "Line 3 is no address"});
    server
        .report("j", json!({"status": "failed", "error": error}))
        .await;
    let url = &format!("{}/api/v1/jobs/j/stream", server.url);
    join_all(ClientProgram::EVENT_SOURCES.map(async |program| {
        let lines = program.follow(url, &["--close-at-end"]).await;
        let told: Vec<_> = lines.iter().map(|line| line["type"].as_str()).collect();
        let expected = ["open", "error", "status", "closed"].map(Some);
        assert_eq!(told, expected, "{program:?}: {lines:#?}");
        assert_eq!(
            (&lines[1]["source"], &lines[1]["data"]),
            (&json!("server"), &error)
        );
    }))
    .await;
}

#[tokio::test]
async fn curl_shows_the_blocks_and_ends_without_an_error() {
    let server = TestServer::with(QUICK_RETRY).await;
    for protocol in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        let job_id = &protocol[2..];
        server
            .create(json!({"job_id": job_id, "total_count": 2}))
            .await;
        let mut curl = Command::new("curl")
            .args(["-sN", protocol])
            .arg(format!("{}/api/v1/jobs/{job_id}/stream", server.url))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("`curl` is installed");
        let mut output = BufReader::new(curl.stdout.take().expect("a pipe"));
        let mut text = String::new();
        for report in [
            json!({"processed_count": 1}),
            json!({"status": "completed"}),
        ] {
            // Each block is there before the next thing happens: nothing is held back.
            let blocks = text.matches("\n\n").count() + 1;
            while text.matches("\n\n").count() < blocks {
                let mut buffer = [0; 16_384];
                let read = in_time("a block from curl", output.read(&mut buffer)).await;
                let read = read.expect("a pipe");
                assert_ne!(read, 0, "{protocol} ended early: {text}");
                text.push_str(std::str::from_utf8(&buffer[..read]).expect("ASCII"));
            }
            server.report(job_id, report).await;
        }
        in_time("the last block", output.read_to_string(&mut text))
            .await
            .expect("UTF-8");
        let status = in_time("the end of curl", curl.wait())
            .await
            .expect("a child");
        assert_eq!(status.code(), Some(0), "{protocol}");
        let text = text.strip_suffix("\n\n").expect("a whole last block");
        let percentages: Vec<_> = text
            .split("\n\n")
            .map(|block| Block::parse(block).json()["progress_percentage"].clone())
            .collect();
        assert_eq!(json!(percentages), json!([0, 50, 100]), "{protocol}");
    }
}
