//! Every end of a view's stream that is not its job's own, where the view has words for it and where it has none.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{EVERY_REPORT, plain};
use crate::support::{
    in_time,
    people::{configuration, configuration_without},
    raw_client::RawClient,
    server::{Answer, TestServer},
    sse::{Block, Item, SseStream},
    staged_store::{Fate, StagedStore},
};

/// A view without a word about other ends.
const SILENT: &str = "
[views.mine]
kinds = ['build']
event = 'state'
[[views.mine.paths]]
stream = '/builds/{id}/stream'
[views.mine.fields]
of = 'job_id'
[views.mine.events]
log = 'log.line'
";

/// A word for each of them.
const WORDS: &str = "
[views.mine.control]
timeout = { event = 'over', data = { why = 'timeout' } }
drain = { event = 'over', data = { why = 'drain' } }
internal = { event = 'over', data = { why = 'internal' } }
expiry = { event = 'over', data = { why = 'expiry' } }
removal = { event = 'over', data = { why = 'removal' } }
";

/// Each end, and what a client is told of coming back.
const ENDS: [(&str, &str); 5] = [
    ("timeout", ""),
    ("drain", "retry: 5000\n"),
    ("internal", ""),
    ("expiry", "retry: 3600000\n"),
    ("removal", "retry: 3600000\n"),
];

/// More than the kernel keeps for a reader with a small buffer (`tcp_wmem` ends at 4 MiB): a dozen times this.
const BATCH_BYTES: usize = 1 << 20;

/// What comes after the first block of a stream that ends so.
async fn after_the_first_block(end: &str, control: &str) -> String {
    let seconds = if end == "timeout" { 1 } else { 3_600 };
    let settings = format!(
        "stream.max_duration_seconds = {seconds}\nstream.drain_seconds = 1\n\
         limits.write_timeout_seconds = 600\n{EVERY_REPORT}"
    );
    let store = StagedStore::new();
    let toml = format!("{settings}{}{SILENT}{control}", configuration());
    let server = TestServer::over(store.clone(), &toml).await;
    let server = server.with_token("key-ann");
    server.create(json!({"job_id": "b", "kind": "build"})).await;
    let mut client = RawClient::connect_with_little_room(&server.url).await;
    client
        .send("GET /builds/b/stream HTTP/1.0\r\nAuthorization: Bearer key-ann\r\n\r\n")
        .await;
    client.read_until("\n\n").await;
    match end {
        "timeout" => {}
        "drain" => server.registry().drain(),
        "internal" => {
            // It falls behind, and the store does not say what it has missed.
            let event = json!({"event": "log", "data": "x".repeat(BATCH_BYTES / 20)});
            let batch = Value::from(vec![event; 18]);
            for _ in 0..12 {
                let answer = server.post("/api/v1/jobs/b/events", batch.clone()).await;
                answer.expect(StatusCode::OK);
            }
            store.every_call(Fate::Failed);
        }
        "expiry" => {
            let keys = configuration_without("key-ann");
            server.reload(&format!("{settings}{keys}{SILENT}{control}"));
        }
        _ => {
            let answer = server.delete("/api/v1/jobs/b").await;
            answer.expect(StatusCode::NO_CONTENT);
        }
    }
    plain(&client.read_to_end().await)
}

/// What stands before the last block, and that block.
fn cut_last(text: &str) -> (&str, &str) {
    let before_it = text[..text.len() - 2].rfind("\n\n");
    text.split_at(before_it.map_or(0, |end| end + 2))
}

/// Only what the worker did, in whole blocks that the view defines.
#[track_caller]
fn assert_known(text: &str) {
    for block in text.split_terminator("\n\n") {
        let block = Block::parse(block);
        assert!(
            ["state", "log.line"].contains(&block.name()),
            "{}",
            block.name()
        );
    }
    assert!(text.is_empty() || text.ends_with("\n\n"));
}

#[tokio::test]
async fn each_end_is_told_to_the_byte_where_the_view_has_a_word_for_it() {
    for (end, retry) in ENDS {
        let told = after_the_first_block(end, WORDS).await;
        let (before, last) = cut_last(&told);
        let expected = format!("event: over\ndata: {{\"why\":\"{end}\"}}\n{retry}\n");
        assert_eq!(last, expected);
        if end == "internal" {
            assert_known(before);
        } else {
            assert_eq!(before, "", "{end}");
        }
    }
}

#[tokio::test]
async fn a_view_without_a_word_for_them_ends_its_streams_and_says_nothing_of_its_own() {
    for (end, _) in ENDS {
        let told = after_the_first_block(end, "").await;
        if end == "internal" {
            assert_known(&told);
        } else {
            assert_eq!(told, "", "{end}");
        }
    }
}

#[tokio::test]
async fn who_asks_too_often_for_a_public_stream_is_told_so_or_hears_nothing_foreign() {
    let toml = "server.views = ['recommendations']\nlimits.requests_per_second_per_address = 1\n";
    let server = TestServer::with(toml).await;
    // There is no such job, which is told by its status as long as anything is.
    let path = "/v1/pets/recommendations/stream?userId=nobody";
    let ask = |accept| {
        let request = server.request(Method::GET, path).header("accept", accept);
        request.header("origin", "https://shop.example")
    };
    let refused = async {
        loop {
            let answer = Answer::of(ask("*/*")).await;
            if answer.status != StatusCode::NOT_FOUND {
                return answer;
            }
        }
    };
    let answer = in_time("a refusal", refused).await;
    answer.error(429, "RATE_LIMITED");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let told = async {
        loop {
            let stream = SseStream::open(ask("text/event-stream")).await;
            if stream.head.status == StatusCode::OK {
                return stream;
            }
        }
    };
    let mut told = in_time("a stream", told).await;
    assert_eq!(told.head.headers["access-control-allow-origin"], "*");
    assert_eq!(told.next_item().await, Some(Item::Heartbeat));
    told.expect_end().await;
}
