//! What is the same through every view: cuts, gaps, lag, refusals, the drain, and what is said of it.

use progressd::registry::Cursor;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{EVERY_REPORT, Raw, last_id, plain, resume, send, serving};
use crate::support::{
    server::{Answer, TestServer},
    sse::{Item, SseStream},
    until,
};

/// A view that says everything that there is to say.
const MINE: &str = "
[views.mine]
kinds = ['build']
event = 'state'
[[views.mine.paths]]
stream = '/builds/{id}/stream'
status = '/builds/{id}'
[views.mine.states]
pending = 'queued'
processing = 'running'
completed = 'passed'
failed = 'broken'
cancelled = 'stopped'
[views.mine.fields]
state = 'status'
done = { from = 'processed_count', default = 0 }
lost = { from = 'gap', absent = 'omit' }
[views.mine.events]
log = 'log.line'
[views.mine.final]
event = 'end'
in = ['completed', 'failed']
fields.state = 'status'
[views.mine.control]
drain = { event = 'bye', data = { why = 'restart', list = [1, 2.5, true] } }
internal = { event = '', data = 'fault' }
removal = { event = 'bye', data = {} }
";

const STREAM: &str = "/builds/b/stream";

/// A server with the view and a job for it.
async fn build(toml: &str) -> TestServer {
    let server = TestServer::with(&format!("{EVERY_REPORT}{toml}{MINE}")).await;
    server.create(json!({"job_id": "b", "kind": "build"})).await;
    server
}

#[tokio::test]
async fn a_view_of_the_operators_own_is_told_to_the_byte() {
    let server = build("").await;
    let mut raw = Raw::open(&server, STREAM, &[]).await;
    server.report("b", json!({"processed_count": 2})).await;
    send(&server, "b", "log", json!("linking")).await;
    send(&server, "b", "noise", json!("…")).await;
    server.report("b", json!({"processed_count": 3})).await;
    raw.blocks(4).await;
    server.report("b", json!({"status": "failed"})).await;
    assert_eq!(
        raw.whole().await,
        "event: state\n\
         data: {\"state\":\"queued\",\"done\":0}\n\
         retry: 5000\n\
         id: N\n\
         \n\
         event: state\n\
         data: {\"state\":\"running\",\"done\":2}\n\
         id: N\n\
         \n\
         event: log.line\n\
         data: \"linking\"\n\
         id: N\n\
         \n\
         event: state\n\
         data: {\"state\":\"running\",\"done\":3}\n\
         id: N\n\
         \n\
         event: end\n\
         data: {\"state\":\"broken\"}\n\
         retry: 3600000\n\
         id: N\n\
         \n"
    );
    // An end that the last block is not for is told by the state's.
    server.create(json!({"job_id": "c", "kind": "build"})).await;
    server.report("c", json!({"status": "cancelled"})).await;
    let cancelled = Raw::open(&server, "/builds/c/stream", &[])
        .await
        .whole()
        .await;
    assert!(
        cancelled.starts_with("event: state\ndata: {\"state\":\"stopped\""),
        "{cancelled}"
    );
}

#[tokio::test]
async fn a_stream_that_is_cut_at_any_block_is_whole_after_coming_back() {
    for cut in 1..=7 {
        let server = build("").await;
        let mut blocks = Vec::new();
        let mut stream = resume(&server, STREAM, None).await;
        blocks.push(stream.next().await);
        let mut is_cut = false;
        for action in 1..=6 {
            match action {
                6 => drop(server.report("b", json!({"status": "completed"})).await),
                number if number % 2 == 0 => drop(send(&server, "b", "log", json!(number)).await),
                number => drop(server.report("b", json!({"processed_count": number})).await),
            }
            is_cut |= blocks.len() == cut;
            if !is_cut {
                blocks.push(stream.next().await);
            }
        }
        let mut back = resume(&server, STREAM, last_id(&blocks).as_deref()).await;
        if cut == 7 {
            assert_eq!(back.head.status, StatusCode::NO_CONTENT);
        } else {
            blocks.extend(back.rest().await);
        }
        let logs = blocks.iter().filter(|block| block.name() == "log.line");
        let logs: Vec<_> = logs.map(|block| block.data.clone()).collect();
        assert_eq!(logs, ["2", "4"], "{cut}: {blocks:#?}");
        let ids: Vec<_> = blocks
            .iter()
            .filter(|block| block.id.is_some())
            .map(|block| block.seq())
            .collect();
        assert!(
            ids.windows(2).all(|pair| pair[0] < pair[1]),
            "{cut}: {ids:?}"
        );
        assert_eq!(blocks.last().expect("blocks").name(), "end", "{cut}");
    }
}

#[tokio::test]
async fn lost_events_are_told_where_the_view_has_a_word_for_it() {
    let server = build("events.max_count = 2\n").await;
    let first = send(&server, "b", "log", json!(1)).await;
    for number in 2..=5 {
        send(&server, "b", "log", json!(number)).await;
    }
    let mut stream = resume(&server, STREAM, Some(&first.to_string())).await;
    let status = stream.next().await;
    assert_eq!(status.data, r#"{"state":"running","done":0,"lost":true}"#);
    // The cursor must not pass the events that follow.
    assert_eq!(status.id, None);
    assert_eq!(
        [stream.next().await.data, stream.next().await.data],
        ["4", "5"]
    );
    let mut fresh = resume(&server, STREAM, None).await;
    assert_eq!(fresh.next().await.data, r#"{"state":"running","done":0}"#);
}

#[tokio::test]
async fn events_that_a_view_does_not_pass_on_hold_no_cursor_up() {
    let server = build("").await;
    for number in 1..=3 {
        send(&server, "b", "noise", json!(number)).await;
    }
    let mut stream = resume(&server, STREAM, Some("0")).await;
    assert!(stream.next().await.id.is_some());
    // Natively this status is overtaken by its event and has no id; here nobody has seen that.
    send(&server, "b", "noise", json!(4)).await;
    server.report("b", json!({"processed_count": 1})).await;
    let status = stream.next().await;
    assert_eq!(status.json()["done"], 1);
    assert!(status.id.is_some());
}

#[tokio::test]
async fn other_ends_are_told_in_the_views_words_or_not_at_all() {
    let server = build("").await;
    let mut raw = Raw::open(&server, STREAM, &[]).await;
    raw.blocks(1).await;
    let begin = raw.so_far();
    server
        .delete("/api/v1/jobs/b")
        .await
        .expect(StatusCode::NO_CONTENT);
    let end = "event: bye\ndata: {}\nretry: 3600000\n\n";
    assert_eq!(raw.whole().await, format!("{begin}{end}"));
    server.create(json!({"job_id": "b", "kind": "build"})).await;
    let mut stream = server.stream(STREAM).await;
    stream.next().await;
    let (blocks, _) = tokio::join!(stream.rest(), server.drain());
    assert_eq!(blocks.len(), 1, "{blocks:?}");
    assert_eq!(
        (blocks[0].name(), &*blocks[0].data),
        ("bye", r#"{"why":"restart","list":[1,2.5,true]}"#)
    );
    assert!(blocks[0].retry.is_some() && blocks[0].id.is_none());
}

#[tokio::test]
async fn an_event_source_that_is_turned_away_for_a_while_hears_nothing_foreign() {
    let server = build("limits.max_streams = 1\n").await;
    let _seat = server.stream(STREAM).await;
    let ask = |accept| server.request(Method::GET, STREAM).header("accept", accept);
    let mut source = SseStream::open(ask("text/event-stream")).await;
    assert_eq!(source.head.status, StatusCode::OK);
    assert_eq!(source.next_item().await, Some(Item::Heartbeat));
    source.expect_end().await;
    Answer::of(ask("*/*")).await.error(429, "TOO_MANY_STREAMS");
}

#[tokio::test]
async fn a_silent_stream_has_heartbeats_that_no_page_sees() {
    let server = build("stream.heartbeat_seconds = 1\n").await;
    let mut stream = server.stream(&format!("{STREAM}?heartbeat=event")).await;
    stream.next().await;
    assert_eq!(stream.next_item().await, Some(Item::Heartbeat));
}

#[tokio::test]
async fn a_watcher_that_fell_behind_goes_on_in_its_own_words() {
    let server = serving(&["orders"], "").await;
    server.create(json!({"job_id": "o", "kind": "order"})).await;
    let id = progressd::job::JobId::parse("o").expect("a name");
    let job = server.registry().find(&id).await.expect("the job");
    let mut stream = server.stream("/v1/orders/o/status/stream").await;
    // More than waits for a reader, while this one reads nothing.
    for batch in 0..20 {
        let events: Vec<Value> = (0..50)
            .map(|number| json!({"event": "step", "data": {"n": batch * 50 + number, "pad": "x".repeat(900)}}))
            .collect();
        server
            .post("/api/v1/jobs/o/events", json!(events))
            .await
            .expect(StatusCode::OK);
    }
    server.report("o", json!({"status": "completed"})).await;
    let blocks = stream.rest().await;
    let numbers: Vec<_> = blocks[..blocks.len() - 1]
        .iter()
        .map(|block| block.json()["n"].clone())
        .collect();
    assert_eq!(json!(numbers), json!((0..1000).collect::<Vec<_>>()));
    assert_eq!(blocks.last().expect("blocks").name(), "complete");
    let attached = job.attach(Cursor::Absent).await.expect("the store answers");
    assert_eq!(
        attached.missed.len(),
        0,
        "natively nothing is replayed unasked"
    );
}

/// The interval is a minute, longer than any test: whatever comes did not wait.
#[tokio::test]
async fn a_views_stream_keeps_the_pace_of_the_jobs_own() {
    let server = TestServer::with(&format!("stream.update_interval_ms = 60000\n{MINE}")).await;
    server.create(json!({"job_id": "b", "kind": "build"})).await;
    let mut stream = server.stream(STREAM).await;
    assert_eq!(stream.next().await.json()["state"], "queued");
    server.report("b", json!({"status": "processing"})).await;
    assert_eq!(stream.next().await.json()["state"], "running");
    for count in 1..=50 {
        server.report("b", json!({"processed_count": count})).await;
    }
    send(&server, "b", "log", json!("linking")).await;
    assert_eq!(stream.next().await.name(), "log.line");
    let cancelling = server.post("/api/v1/jobs/b/cancel", json!({})).await;
    cancelling.expect(StatusCode::ACCEPTED);
    assert_eq!(stream.next().await.json()["done"], 50);
    server.report("b", json!({"processed_count": 51})).await;
    server.report("b", json!({"status": "completed"})).await;
    let rest = stream.rest().await;
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(rest[0].name(), "end");
}

#[tokio::test]
async fn polls_and_native_watchers_beside_a_view_are_as_without_it() {
    let server = build("").await;
    let seq = server.status("b").await["seq"].to_string();
    let mut mine = server.stream(STREAM).await;
    let mut native = server.watch("b").await;
    let poll = tokio::spawn({
        let guest = server.guest();
        async move { guest.get(&format!("/builds/b?wait=60&after={seq}")).await }
    });
    until("all three", async || server.watchers("b").await == 3).await;
    mine.next().await;
    native.next().await;
    server.report("b", json!({"processed_count": 1})).await;
    assert_eq!(mine.next().await.data, r#"{"state":"running","done":1}"#);
    assert_eq!(native.next_status().await["processed_count"], 1);
    let poll = poll.await.expect("an answer").expect(StatusCode::OK);
    assert_eq!(poll.text, r#"{"state":"running","done":1}"#);
    drop(mine);
    until("the one that left", async || {
        server.watchers("b").await == 1
    })
    .await;
    server.report("b", json!({"processed_count": 2})).await;
    assert_eq!(native.next_status().await["processed_count"], 2);
    assert_eq!(server.usage().seats_taken(), 1);
}

#[test]
fn plain_bytes_are_those_that_do_not_differ() {
    assert_eq!(
        plain("retry: 4321\nid: 5\n\nid: 6"),
        "retry: 5000\nid: N\n\nid: N"
    );
}
