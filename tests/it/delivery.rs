//! Both ways of delivering a stream: whatever a client does to its connection, and to the byte what it reads.

mod faults;
mod same;

use serde_json::json;

use crate::support::{in_time, raw_client::RawClient, server::TestServer, until};

/// Who writes a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Body,
    Handover,
}

/// Makes of each function, which takes a [`Delivery`], a test for both.
macro_rules! on_both_deliveries {
    ($($test:ident),+ $(,)?) => {
        mod by_body {
            $(#[tokio::test] async fn $test() { super::$test(crate::delivery::Delivery::Body).await; })+
        }
        mod by_handover {
            $(#[tokio::test] async fn $test() { super::$test(crate::delivery::Delivery::Handover).await; })+
        }
    };
}
use on_both_deliveries;

impl Delivery {
    /// A server that delivers so, with the unfinished job `j`.
    async fn server(self, toml: &str) -> TestServer {
        let name = match self {
            Self::Body => "body",
            Self::Handover => "handover",
        };
        let toml = format!("server.delivery = \"{name}\"\n{toml}");
        let server = TestServer::with(&toml).await;
        server.create(json!({"job_id": "j"})).await;
        server
    }
}

/// A request for the stream of `j`, with further header lines.
fn stream_of_j(version: &str, headers: &str) -> String {
    format!("GET /api/v1/jobs/j/stream {version}\r\nHost: localhost\r\n{headers}\r\n")
}

/// Joins `j` and reads its first block.
async fn joined(server: &TestServer) -> RawClient {
    let mut client = RawClient::connect(&server.url).await;
    client.send(stream_of_j("HTTP/1.1", "")).await;
    client.read_until("\n\n\r\n").await;
    client
}

/// Waits until so many watch `j`.
async fn watched_by(server: &TestServer, watchers: usize) {
    until("the watchers", async || {
        server.watchers("j").await == watchers
    })
    .await;
}

/// Completes `j`; its watcher reads that to the end of the connection.
async fn expect_end(server: &TestServer, client: &mut RawClient) {
    server.report("j", json!({"status": "completed"})).await;
    let rest = in_time("the end", client.read_to_end()).await;
    assert!(rest.contains("\"status\":\"completed\""), "{rest}");
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
}
