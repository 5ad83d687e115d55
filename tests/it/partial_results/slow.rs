//! One who stops reading, and goes on later: it holds bounded memory, is told, and holds up nobody.

use serde_json::{Value, json};

use super::{Audience, VIEW, emit, end, lagged};
use crate::support::{raw_client::RawClient, server::TestServer, sse::Block};

/// Nobody is cut within a test.
const PATIENT: &str = "[limits]\nwrite_timeout_seconds = 600\n";

/// Several times what the kernel keeps for a connection to a reader with a small buffer (4 MiB) and what is kept
/// for watchers.
const FLOOD: u64 = 16_000;

/// Joins and reads the first block, with a receive buffer far smaller than what follows.
async fn stalled(server: &TestServer, path: &str, first: &str) -> RawClient {
    let mut client = RawClient::connect_with_little_room(&server.url).await;
    client.send(format!("GET {path} HTTP/1.0\r\n\r\n")).await;
    client.read_until(first).await;
    client
}

/// Events of 1 kB, no faster than `audience` reads them.
async fn flood(server: &TestServer, job_id: &str, audience: &Audience) {
    let text = "x".repeat(1_000);
    for from in (0..FLOOD).step_by(500) {
        audience.until(from.saturating_sub(1_000)).await;
        let events =
            (from..from + 500).map(|n| json!({"event": "token", "data": {"n": n, "text": text}}));
        emit(server, job_id, events.collect()).await;
    }
    audience.until(FLOOD).await;
}

/// The next block of a stream over HTTP/1.0.
async fn next(client: &mut RawClient) -> Block {
    let text = client.read_until("\n\n").await;
    Block::parse(text.trim_start_matches(":\n").trim_end_matches('\n'))
}

/// Goes on reading to what is new: events are missing only where a gap was told.
async fn go_on(
    server: &TestServer,
    mut client: RawClient,
    job_id: &str,
    number: impl Fn(&Block) -> Option<u64>,
) {
    let live = json!({"event": "token", "data": {"n": FLOOD, "text": "live"}});
    emit(server, job_id, Value::from(vec![live])).await;
    let (mut expected, mut came, mut gaps) = (0, 0, 0);
    let mut is_told = false;
    while expected <= FLOOD {
        let block = next(&mut client).await;
        let Some(n) = number(&block) else {
            if block.json()["gap"] == true {
                assert_eq!(block.id, None, "kept events follow");
                (gaps, is_told) = (gaps + 1, true);
            }
            continue;
        };
        assert!(
            n == expected || (is_told && n > expected),
            "{n} after {expected}"
        );
        (expected, came, is_told) = (n + 1, came + 1, false);
    }
    assert!(gaps > 0 && came < FLOOD, "{gaps} gaps, {came} events");
    assert!(lagged(server).await >= f64::from(gaps));
    let live = json!({"event": "token", "data": {"n": FLOOD + 1, "text": "live"}});
    emit(server, job_id, Value::from(vec![live])).await;
    assert_eq!(number(&next(&mut client).await), Some(FLOOD + 1));
}

fn own(name: &'static str) -> impl Fn(&Block) -> Option<u64> {
    move |block| {
        let n = || block.json()["n"].as_u64().expect("a number");
        (block.name() == name).then(n)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_reading_is_told_what_it_has_missed_and_others_miss_nothing() {
    let server = TestServer::with(PATIENT).await;
    server.create(json!({"job_id": "j"})).await;
    let client = stalled(&server, "/api/v1/jobs/j/stream", "\n\n").await;
    let mut audience = Audience::default();
    audience.join(server.watch("j").await, "token", None).await;
    flood(&server, "j", &audience).await;
    go_on(&server, client, "j", own("token")).await;
    end(&server, "j").await;
    let told = audience.told().await;
    assert_eq!((told[0].numbers.len() as u64, told[0].gaps), (FLOOD + 2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_is_who_looks_through_a_view() {
    let server = TestServer::with(&format!("{PATIENT}{VIEW}")).await;
    server.create(json!({"job_id": "j", "kind": "text"})).await;
    let client = stalled(&server, "/texts/j", "\n\n").await;
    let mut audience = Audience::default();
    audience.join(server.watch("j").await, "token", None).await;
    flood(&server, "j", &audience).await;
    go_on(&server, client, "j", own("word")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_is_who_watches_several_jobs_on_one_stream_for_the_one_that_it_has_missed_something_of()
{
    let server = TestServer::with(PATIENT).await;
    for job_id in ["a", "b"] {
        server.create(json!({"job_id": job_id})).await;
    }
    let path = "/api/v1/stream?job=a&job=b";
    let client = stalled(&server, path, "event: synced\n").await;
    let mut audience = Audience::default();
    audience.join(server.watch("a").await, "token", None).await;
    flood(&server, "a", &audience).await;
    let of_a = |block: &Block| {
        let data: Value = block.json();
        let n = || data["data"]["n"].as_u64().expect("a number");
        (block.name() == "token" && data["job_id"] == "a").then(n)
    };
    let mut client = client;
    client.read_until("\n\n").await;
    go_on(&server, client, "a", of_a).await;
}
