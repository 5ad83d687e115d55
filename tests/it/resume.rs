//! Coming back to a stream: what each cursor is answered, and that nothing is missed.

mod cuts;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    server::TestServer,
    sse::{Block, SseStream},
};

const PATH: &str = "/api/v1/jobs/j/stream";

/// A job with three events, a status change after the second, and its server.
struct Story {
    server: TestServer,
    /// Of the events, in order.
    events: Vec<u64>,
    /// The job's newest.
    seq: u64,
}

/// What a client sends as its cursor.
#[derive(Debug, Clone)]
enum Sent {
    Nothing,
    Header(String),
    Query(String),
}

impl Story {
    async fn unfinished(toml: &str) -> Self {
        let server = TestServer::with(toml).await;
        server.create(json!({"job_id": "j"})).await;
        server.report("j", json!({"status": "processing"})).await;
        let mut events = Vec::new();
        for number in 1..=3 {
            let event = json!({"event": "line", "data": number});
            let answer = server.post("/api/v1/jobs/j/events", event).await;
            events.push(seq_of(&answer.json()));
            if number == 2 {
                server.report("j", json!({"processed_count": 2})).await;
            }
        }
        let seq = seq_of(&server.report("j", json!({"processed_count": 3})).await);
        Self {
            server,
            events,
            seq,
        }
    }

    async fn finished(toml: &str) -> Self {
        let mut story = Self::unfinished(toml).await;
        let end = json!({"status": "failed", "error": "worn out"});
        story.seq = seq_of(&story.server.report("j", end).await);
        story
    }

    async fn come_back(&self, sent: &Sent) -> SseStream {
        let query = match sent {
            Sent::Query(query) => format!("?{query}"),
            Sent::Nothing | Sent::Header(_) => String::new(),
        };
        let request = self.server.request(Method::GET, &format!("{PATH}{query}"));
        let request = match sent {
            Sent::Header(cursor) => request.header("last-event-id", cursor),
            Sent::Nothing | Sent::Query(_) => request,
        };
        SseStream::open(request).await
    }

    /// The data of the `missed` events that come after the first block.
    async fn expect_unfinished(&self, sent: Sent, missed: &[u64]) {
        let mut stream = self.come_back(&sent).await;
        assert_eq!(stream.head.status, StatusCode::OK, "{sent:?}");
        let first = stream.next().await;
        assert_eq!(first.json()["processed_count"], 3, "{sent:?}");
        assert_eq!(first.json()["seq"], self.seq);
        assert!(first.retry.is_some(), "{sent:?}");
        assert_eq!(first.json().get("gap"), None, "{sent:?}");
        // The cursor must not pass an event that is still to come.
        let expected = if missed.is_empty() { self.seq } else { 0 };
        assert_eq!(first.seq(), expected, "{sent:?}");
        for seq in missed {
            self.expect_event(&stream.next().await, *seq);
        }
        // Live from here, with nothing in between.
        let event = json!({"event": "line", "data": "live"});
        let event = self.server.post("/api/v1/jobs/j/events", event).await;
        let live = stream.next().await;
        assert_eq!(json!(live.seq()), event.json()["seq"], "{sent:?}");
    }

    async fn expect_finished(&self, sent: Sent, missed: &[u64]) {
        let mut stream = self.come_back(&sent).await;
        assert_eq!(stream.head.status, StatusCode::OK, "{sent:?}");
        let blocks = stream.rest().await;
        let (events, end) = blocks.split_at(blocks.len() - 2);
        assert_eq!(events.len(), missed.len(), "{sent:?}");
        for (block, seq) in events.iter().zip(missed) {
            self.expect_event(block, *seq);
        }
        assert_eq!(
            (end[0].name(), end[0].retry, end[0].seq()),
            ("error", None, 0)
        );
        assert_eq!(end[0].json()["message"], "worn out");
        assert_eq!((end[1].retry, end[1].seq()), (Some(3_600_000), self.seq));
        assert_eq!(end[1].json()["status"], "failed", "{sent:?}");
        assert_eq!(end[1].json().get("gap"), None, "{sent:?}");
    }

    fn expect_event(&self, block: &Block, seq: u64) {
        let number = self.events.iter().position(|event| *event == seq);
        let number = number.expect("an event of the story") + 1;
        assert_eq!(
            (block.name(), block.seq(), block.retry),
            ("line", seq, None)
        );
        assert_eq!(block.json(), json!(number));
    }
}

fn seq_of(answer: &Value) -> u64 {
    answer["seq"]
        .as_u64()
        .unwrap_or_else(|| panic!("no seq in {answer}"))
}

fn header(cursor: impl ToString) -> Sent {
    Sent::Header(cursor.to_string())
}

fn query(text: impl ToString) -> Sent {
    Sent::Query(text.to_string())
}

/// What is no seq at all, or none that this job can have.
fn nonsense(seq: u64) -> Vec<Sent> {
    let mut cursors: Vec<_> = [
        "-1",
        "+1",
        "1.5",
        "1e3",
        "0x10",
        "abc",
        "null",
        "99999999999999999999",
    ]
    .into_iter()
    .flat_map(|text| {
        [
            header(text),
            query(format!("last_event_id={}", text.replace('+', "%2B"))),
        ]
    })
    .collect();
    cursors.extend([
        // Of a client that forgot its id.
        header(""),
        header(seq + 1),
        header((1u64 << 53) - 1),
        query("last_event_id=1%20"),
        query(format!("lastEventId={}", seq + 1)),
    ]);
    cursors
}

#[tokio::test]
async fn without_a_cursor_an_unfinished_job_begins_with_its_state() {
    let story = Story::unfinished("").await;
    for sent in [
        Sent::Nothing,
        query("last_event_id="),
        query("lastEventId="),
    ] {
        Story::unfinished("")
            .await
            .expect_unfinished(sent, &[])
            .await;
    }
    story.expect_unfinished(query("cursor=7&x"), &[]).await;
}

#[tokio::test]
async fn a_cursor_of_an_unfinished_job_brings_every_event_after_it() {
    for missed in 0..=3 {
        let story = Story::unfinished("").await;
        let (before, after) = story.events.split_at(3 - missed);
        // Between two events as well as on one: a cursor is a position.
        let cursor = before.last().copied().unwrap_or(0);
        story.expect_unfinished(header(cursor), after).await;
        let story = Story::unfinished("").await;
        let (before, after) = story.events.split_at(3 - missed);
        let cursor = before.last().map_or(1, |seq| seq + 1);
        story
            .expect_unfinished(query(format!("last_event_id={cursor}")), after)
            .await;
    }
    let story = Story::unfinished("").await;
    story.expect_unfinished(header(story.seq), &[]).await;
}

#[tokio::test]
async fn a_cursor_that_is_nonsense_means_from_the_start_of_an_unfinished_job() {
    let story = Story::unfinished("").await;
    for sent in nonsense(story.seq) {
        let mut stream = story.come_back(&sent).await;
        assert_eq!(stream.head.status, StatusCode::OK, "{sent:?}");
        assert_eq!(stream.next().await.id, None, "{sent:?}");
        for seq in &story.events {
            story.expect_event(&stream.next().await, *seq);
        }
    }
}

#[tokio::test]
async fn a_finished_job_shows_its_end_to_whoever_has_no_place_in_it() {
    let story = Story::finished("").await;
    for sent in [Sent::Nothing, query("last_event_id=")] {
        story.expect_finished(sent, &[]).await;
    }
    for sent in nonsense(story.seq) {
        story.expect_finished(sent, &[]).await;
    }
}

#[tokio::test]
async fn a_finished_job_shows_kept_events_and_the_end_to_whoever_left_before() {
    let story = Story::finished("").await;
    let events = &story.events;
    story.expect_finished(header(0), events).await;
    story
        .expect_finished(query("last_event_id=0"), events)
        .await;
    story.expect_finished(header(events[0]), &events[1..]).await;
    story
        .expect_finished(query(format!("lastEventId={}", events[1])), &events[2..])
        .await;
    story.expect_finished(header(story.seq - 1), &[]).await;
}

#[tokio::test]
async fn a_finished_job_that_was_seen_to_its_end_is_204() {
    let story = Story::finished("").await;
    let seq = story.seq;
    for sent in [
        header(seq),
        query(format!("last_event_id={seq}")),
        query(format!("lastEventId={seq}")),
    ] {
        let mut stream = story.come_back(&sent).await;
        assert_eq!(stream.head.status, StatusCode::NO_CONTENT, "{sent:?}");
        assert_eq!(
            stream.head.headers["cache-control"],
            "no-cache, no-transform"
        );
        assert!(!stream.head.headers.contains_key("content-type"));
        stream.expect_end().await;
    }
    let head = story
        .server
        .request(Method::HEAD, PATH)
        .header("last-event-id", seq);
    assert_eq!(
        head.send().await.expect("an answer").status(),
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn the_header_wins_over_the_query_and_one_query_name_over_the_other() {
    let story = Story::finished("").await;
    let get = async |query: String, cursor: u64| {
        let request = story
            .server
            .request(Method::GET, &format!("{PATH}?{query}"));
        SseStream::open(request.header("last-event-id", cursor)).await
    };
    let seq = story.seq;
    let over = get("last_event_id=0&lastEventId=0".to_owned(), seq).await;
    assert_eq!(over.head.status, StatusCode::NO_CONTENT);
    let mut again = get(format!("last_event_id={seq}"), story.events[2]).await;
    assert_eq!(again.rest().await.len(), 2);
    let both = query(format!("lastEventId=0&last_event_id={seq}"));
    assert_eq!(
        story.come_back(&both).await.head.status,
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn a_job_that_is_not_there_is_an_error_whatever_the_cursor() {
    let story = Story::finished("").await;
    story
        .server
        .delete("/api/v1/jobs/j")
        .await
        .expect(StatusCode::NO_CONTENT);
    for query in ["", "?last_event_id=0", "?last_event_id=x"] {
        story
            .server
            .get(&format!("{PATH}{query}"))
            .await
            .error(410, "JOB_GONE");
        let unknown = format!("/api/v1/jobs/unknown/stream{query}");
        story.server.get(&unknown).await.error(404, "JOB_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_watcher_is_told_of_a_gap_where_events_were_dropped() {
    const TWO_EVENTS: &str = "[events]\nmax_count = 2";
    let gap = |block: &Block| block.json().get("gap").cloned();
    let story = Story::unfinished(TWO_EVENTS).await;
    for (sent, is_gap, missed) in [
        (header(0), true, 2),
        (header("nonsense"), true, 2),
        (header(story.events[0] - 1), true, 2),
        (header(story.events[0]), false, 2),
        (header(story.events[1]), false, 1),
        (header(story.seq), false, 0),
        (Sent::Nothing, false, 0),
    ] {
        let mut stream = story.come_back(&sent).await;
        let first = stream.next().await;
        assert_eq!(gap(&first), is_gap.then_some(json!(true)), "{sent:?}");
        assert_eq!(first.id.is_none(), missed > 0, "{sent:?}");
        for seq in &story.events[3 - missed..] {
            story.expect_event(&stream.next().await, *seq);
        }
    }

    let story = Story::finished(TWO_EVENTS).await;
    for (sent, is_gap, missed) in [
        (header(0), true, 2),
        (header(story.events[0]), false, 2),
        (header("nonsense"), false, 0),
    ] {
        let blocks = story.come_back(&sent).await.rest().await;
        assert_eq!(blocks.len(), missed + 2, "{sent:?}");
        let end = blocks.last().expect("an end");
        assert_eq!(gap(end), is_gap.then_some(json!(true)), "{sent:?}");
    }
}

#[tokio::test]
async fn a_cursor_of_another_job_selects_within_the_job_of_the_path() {
    let server = TestServer::start().await;
    let events = async |job_id: &str| {
        let mut seqs = Vec::new();
        for number in 1..=2 {
            let path = format!("/api/v1/jobs/{job_id}/events");
            let event = json!({"event": "line", "data": format!("{job_id}{number}")});
            seqs.push(seq_of(&server.post(&path, event).await.json()));
        }
        seqs
    };
    server.create(json!({"job_id": "other"})).await;
    let lower = events("other").await[1];
    server.create(json!({"job_id": "j"})).await;
    let own = events("j").await;
    for is_higher in [false, true] {
        // Higher than any id that the job of the path has had so far.
        let newest = events("other").await[1];
        let cursor = if is_higher { newest } else { lower };
        assert!(lower < own[0] && own[1] < newest);
        let mut stream = server.resume("j", &cursor.to_string()).await;
        let first = stream.next().await;
        assert_eq!(
            (first.json()["job_id"].as_str(), &first.id),
            (Some("j"), &None)
        );
        for (number, seq) in own.iter().enumerate() {
            let event = stream.next().await;
            let expected = (*seq, json!(format!("j{}", number + 1)));
            assert_eq!((event.seq(), event.json()), expected, "{cursor}");
        }
        // Live from here, and of this job alone.
        events("other").await;
        server
            .report("j", json!({"step": cursor.to_string()}))
            .await;
        let live = stream.next_status().await;
        assert_eq!(
            (&live["job_id"], &live["step"]),
            (&json!("j"), &json!(cursor.to_string()))
        );
    }
    server.report("j", json!({"status": "completed"})).await;
    let higher = events("other").await[1];
    for (cursor, expected) in [(lower, &["j1", "j2"] as &[&str]), (higher, &[])] {
        let blocks = server.resume("j", &cursor.to_string()).await.rest().await;
        let (end, events) = blocks.split_last().expect("an end");
        let events: Vec<_> = events.iter().map(Block::json).collect();
        assert_eq!(json!(events), json!(expected), "{cursor}");
        assert_eq!(
            (&end.json()["job_id"], end.retry),
            (&json!("j"), Some(3_600_000))
        );
    }
}
