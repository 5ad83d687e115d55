//! Views: other vocabularies, and that everything but the words is as it is natively.

mod audits;
mod browser;
mod ends;
mod everywhere;
mod inventory;
mod native;
mod nodes;
mod orders;
mod places;
mod process;
mod readme;
mod recommendations;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    raw_client::RawClient,
    server::TestServer,
    sse::{Block, SseStream},
};

/// Sends every report, so that a test can say which blocks there are.
const EVERY_REPORT: &str = "stream.update_interval_ms = 0\n";

/// A server with views that ship with it, and more keys.
async fn serving(views: &[&str], toml: &str) -> TestServer {
    TestServer::with(&format!("server.views = {views:?}\n{EVERY_REPORT}{toml}")).await
}

/// A stream's bytes, without the head.
struct Raw(RawClient);

impl Raw {
    /// Over HTTP/1.0, where the body stands as it is; the head is read.
    async fn open(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> Self {
        let line = format!("GET {path} HTTP/1.0");
        let mut client = RawClient::request(&server.url, &line, headers).await;
        let head = client.read_until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
        assert!(
            head.contains("content-type: text/event-stream\r\n"),
            "{head}"
        );
        assert!(head.contains("cache-control: no-cache"), "{head}");
        assert!(head.contains("x-accel-buffering: no\r\n"), "{head}");
        Self(client)
    }

    /// Everything up to the end of so many blocks.
    async fn blocks(&mut self, number: usize) {
        for _ in 0..number {
            self.0.read_until("\n\n").await;
        }
    }

    /// Everything to the end of the body, ids and jitter apart.
    async fn whole(mut self) -> String {
        self.0.read_to_end().await;
        self.so_far()
    }

    /// Everything that has been read, ids and jitter apart.
    fn so_far(&self) -> String {
        let (_, body) = self.0.transcript().split_once("\r\n\r\n").expect("a head");
        plain(body)
    }
}

/// The same bytes without what differs from run to run; ids must rise.
fn plain(body: &str) -> String {
    let mut last_id = 0;
    let lines = body.split('\n').map(|line| {
        if let Some(id) = line.strip_prefix("id: ") {
            let id: u64 = id.parse().expect("an id is a seq");
            assert!(id > last_id, "{id} after {last_id}");
            last_id = id;
            return "id: N".to_owned();
        }
        match line.strip_prefix("retry: ") {
            None | Some("3600000") => line.to_owned(),
            Some(retry) => {
                let retry: u64 = retry.parse().expect("a number");
                assert!((4_000..=6_000).contains(&retry), "{retry} ms");
                "retry: 5000".to_owned()
            }
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Sends an event.
async fn send(server: &TestServer, job_id: &str, event: &str, data: Value) -> u64 {
    let body = json!({"event": event, "data": data});
    let answer = server
        .post(&format!("/api/v1/jobs/{job_id}/events"), body)
        .await;
    let answer = answer.expect(StatusCode::OK).json();
    answer["seq"].as_u64().expect("a seq")
}

/// Comes back to a stream with a cursor.
async fn resume(server: &TestServer, path: &str, cursor: Option<&str>) -> SseStream {
    let mut request = server.request(Method::GET, path);
    if let Some(cursor) = cursor {
        request = request.header("last-event-id", cursor);
    }
    SseStream::open(request).await
}

/// The cursor of a client that has seen these blocks.
fn last_id(blocks: &[Block]) -> Option<String> {
    blocks.iter().rev().find_map(|block| block.id.clone())
}
