//! Servers that go away, proxies that cut, swallow and hold back: the end always comes.

use std::time::Duration;

use serde_json::{Value, json};

use super::{QUICK, Watching, quick_server};
use crate::support::{
    cut_proxy::CutProxy,
    fault_proxy::{Fault, FaultProxy},
    node::Node,
    server::TestServer,
    until,
};

/// A node that keeps its jobs.
fn node() -> Node {
    Node::new(&format!(
        "{QUICK}\nstore.embedded.path = 'FOLDER/jobs.redb'"
    ))
}

#[tokio::test]
async fn a_server_that_is_killed_or_stopped_and_comes_back_loses_nothing() {
    let mut node = node();
    node.start().await;
    let server = TestServer::at(&node.url());
    for job_id in ["a", "b"] {
        server
            .create(json!({"job_id": job_id, "total_count": 10}))
            .await;
    }
    let mut one = Watching::start(&server.url, &["--json", "a"]);
    let mut two = Watching::start(&server.url, &["a", "b"]);
    one.line().await;
    two.line().await;
    two.line().await;
    node.kill().await;
    node.start().await;
    server.report("a", json!({"processed_count": 3})).await;
    one.line_with("\"processed_count\":3").await;
    two.line_with("a  processing   30.00 %  3/10").await;
    node.stop().await;
    node.start().await;
    // They come back when they may; the end may be there before.
    let event = json!({"event": "log", "data": 1});
    server.post("/api/v1/jobs/a/events", event).await;
    server.report("a", json!({"status": "completed"})).await;
    server
        .report("b", json!({"status": "failed", "error": "no"}))
        .await;
    let end = one.end().await;
    end.expect(0);
    let lines = end.lines.iter();
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let events = lines.iter().filter(|line| line["event"] == "log");
    assert_eq!(events.count(), 1, "{lines:?}");
    assert_eq!(lines.last().expect("a line")["status"], "completed");
    assert_eq!(lines.last(), Some(&server.status("a").await));
    let end = two.end().await;
    end.expect(1);
    let events = end.lines.iter().filter(|line| line.contains("  event  "));
    assert_eq!(events.count(), 1, "{end:?}");
}

#[tokio::test]
async fn a_cut_anywhere_neither_loses_nor_repeats() {
    let server = quick_server().await;
    for many in [false, true] {
        for blocks in 1..=4 {
            for is_within in [false, true] {
                cut_once(
                    &server,
                    &format!("{many}-{blocks}-{is_within}"),
                    many,
                    blocks,
                    is_within,
                )
                .await;
            }
        }
    }
}

async fn cut_once(server: &TestServer, job: &str, many: bool, blocks: usize, is_within: bool) {
    server.create(json!({"job_id": job})).await;
    let other = format!("{job}-other");
    server.create(json!({"job_id": other})).await;
    server.report(&other, json!({"status": "completed"})).await;
    let proxy = match is_within {
        true => CutProxy::start_within(&server.url, blocks).await,
        false => CutProxy::start(&server.url, blocks).await,
    };
    let arguments = match many {
        true => &["--json", job, &other][..],
        false => &["--json", job],
    };
    let mut watching = Watching::start(&proxy.url, arguments);
    let mut lines = vec![watching.line().await];
    if many {
        lines.push(watching.line().await);
    }
    for number in 0..3 {
        let event = json!({"event": "log", "data": number});
        server
            .post(&format!("/api/v1/jobs/{job}/events"), event)
            .await;
    }
    server.report(job, json!({"status": "completed"})).await;
    let end = watching.end().await;
    end.expect(0);
    lines.extend(end.lines);
    let lines = lines.iter();
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let events = lines.iter().filter(|line| line["event"] == "log");
    let events: Vec<_> = events.map(|event| event["data"].clone()).collect();
    assert_eq!(events, [0, 1, 2], "{job}: {lines:?}");
    let last = server.status(job).await;
    let ends = lines.iter().filter(|line| **line == last);
    assert_eq!(ends.count(), 1, "{job}: {lines:?}");
    // Events that were missed come behind the status, whose seq is theirs or a later one.
    let statuses = lines
        .iter()
        .filter(|line| line["job_id"] == job && line["event"].is_null());
    let seqs: Vec<_> = statuses.map(|line| line["seq"].as_u64()).collect();
    assert!(seqs.is_sorted_by(|one, next| one < next), "{job}: {seqs:?}");
}

#[tokio::test]
async fn a_line_that_falls_silent_is_left() {
    let toml = format!("{QUICK}\nstream.heartbeat_seconds = 1");
    let server = TestServer::with(&toml).await;
    server.create(json!({"job_id": "j"})).await;
    let proxy = FaultProxy::before(server.address(), Fault::None).await;
    let url = format!("http://{}", proxy.address);
    let mut watching = Watching::start(&url, &["j"]);
    watching.line().await;
    // Two heartbeats, of which nothing can be seen from outside. Without them it would be patient for 45 s.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    proxy.set(Fault::BlackHole).await;
    server.report("j", json!({"status": "completed"})).await;
    until("the silence", async || {
        tokio::time::sleep(Duration::from_millis(10)).await;
        watching.errors().contains("the connection is silent")
    })
    .await;
    proxy.set(Fault::None).await;
    watching.end().await.expect(0);
}

#[tokio::test]
async fn where_streams_do_not_get_through_the_status_is_asked_for() {
    let server = quick_server().await;
    for job_id in ["a", "b"] {
        server
            .create(json!({"job_id": job_id, "total_count": 4}))
            .await;
    }
    // What a proxy does that keeps an answer until it is whole.
    let proxy = FaultProxy::before(server.address(), Fault::KeepAnswer(b"/stream")).await;
    let url = format!("http://{}", proxy.address);
    let mut one = Watching::start(&url, &["a"]);
    let mut two = Watching::start(&url, &["a", "b"]);
    assert_eq!(one.line().await, "pending       0.00 %  0/4");
    two.line().await;
    two.line().await;
    server.report("a", json!({"processed_count": 1})).await;
    one.line_with(" 25.00 %  1/4").await;
    server.report("a", json!({"status": "completed"})).await;
    let end = one.end().await;
    end.expect(0);
    assert!(
        end.errors
            .starts_with("note: trying again: the connection is silent"),
        "{end:?}"
    );
    server.report("b", json!({"status": "cancelled"})).await;
    two.end().await.expect(2);
}

#[tokio::test]
async fn a_refusal_that_passes_is_waited_for() {
    let toml = format!("{QUICK}\nlimits.max_streams_per_job = 1");
    let server = TestServer::with(&toml).await;
    server.create(json!({"job_id": "j"})).await;
    let other = server.watch("j").await;
    let watching = Watching::start(&server.url, &["j"]);
    until("the refusal", async || {
        let metrics = server.get("/metrics").await.text;
        metrics.lines().any(|line| {
            line.contains("TOO_MANY_STREAMS") && !line.ends_with(" 0") && !line.starts_with('#')
        })
    })
    .await;
    drop(other);
    server.report("j", json!({"status": "completed"})).await;
    let end = watching.end().await;
    end.expect(0);
    assert!(end.errors.contains("(TOO_MANY_STREAMS)"), "{end:?}");
}
