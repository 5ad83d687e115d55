//! One who stops reading, and goes on later: it holds bounded memory, is told, and holds up nobody.

use serde_json::{Value, json};
use socket2::SockRef;

use super::{Audience, VIEW, emit, expect_nobody_lagged};
use crate::support::{raw_client::RawClient, scrape::Scrape, server::TestServer, sse::Block};

/// Nobody is cut within a test.
const PATIENT: &str = "[limits]\nwrite_timeout_seconds = 600\n";

/// Several times what the kernel keeps for a connection to a reader with a small buffer (4 MiB) and what is kept
/// for watchers.
const FLOOD: u64 = 16_000;

/// Joins and reads the first block, with a receive buffer far smaller than what follows.
async fn stalled(server: &TestServer, path: &str, first: &str) -> RawClient {
    let mut client = RawClient::connect(&server.url).await;
    SockRef::from(client.socket())
        .set_recv_buffer_size(16 * 1024)
        .expect("a socket option");
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

/// Goes on reading: what was on its way, then word of a gap, then what is kept, then what is new.
async fn go_on(
    server: &TestServer,
    mut client: RawClient,
    job_id: &str,
    name: &str,
    number: impl Fn(&Block) -> Option<u64>,
) {
    let mut expected = 0;
    let gap = loop {
        let block = next(&mut client).await;
        match number(&block) {
            Some(n) => {
                assert_eq!(n, expected, "a loss was not told");
                expected += 1;
            }
            None if block.json()["gap"] == true => break block,
            None => {}
        }
    };
    assert!(expected < FLOOD);
    assert_eq!(gap.id, None, "kept events follow");
    let mut kept = Vec::new();
    while kept.last() != Some(&(FLOOD - 1)) {
        let block = next(&mut client).await;
        kept.extend(number(&block));
    }
    assert!(
        kept[0] > expected && kept.len() <= 1_000,
        "{} after {expected}",
        kept.len()
    );
    assert!(kept.is_sorted_by(|a, b| a + 1 == *b));
    let live = json!({"event": "token", "data": {"n": FLOOD, "text": "live"}});
    emit(server, job_id, live).await;
    loop {
        let block = next(&mut client).await;
        if block.name() == name {
            assert_eq!(number(&block), Some(FLOOD));
            break;
        }
    }
    let scrape = Scrape::of(server).await;
    assert_eq!(scrape.value("progressd_lagged_total", &[]), 1.0);
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
    expect_nobody_lagged(&server).await;
    go_on(&server, client, "j", "token", own("token")).await;
    server.report("j", json!({"status": "completed"})).await;
    let told = audience.told().await;
    assert_eq!((told[0].numbers.len() as u64, told[0].gaps), (FLOOD + 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_is_who_looks_through_a_view() {
    let server = TestServer::with(&format!("{PATIENT}{VIEW}")).await;
    server.create(json!({"job_id": "j", "kind": "text"})).await;
    let client = stalled(&server, "/texts/j", "\n\n").await;
    let mut audience = Audience::default();
    audience.join(server.watch("j").await, "token", None).await;
    flood(&server, "j", &audience).await;
    go_on(&server, client, "j", "word", own("word")).await;
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
    go_on(&server, client, "a", "token", of_a).await;
}
