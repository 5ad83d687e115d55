//! The README's example of a view, to the byte.

use serde_json::json;

use super::{EVERY_REPORT, Raw, plain, send};
use crate::support::server::TestServer;

/// The block of the README that begins so, without its fences.
fn block(begins: &str) -> String {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once("## Views").expect("a section on views");
    let mut blocks = rest.split("\n```").map(|block| {
        let (_language, text) = block.split_once('\n').unwrap_or_default();
        format!("{text}\n")
    });
    let block = blocks.find(|block| block.starts_with(begins));
    block.unwrap_or_else(|| panic!("{begins} is not there"))
}

#[tokio::test]
async fn the_readmes_view_says_what_the_readme_says() {
    let view = block("[views.builds]");
    let server = TestServer::with(&format!("{EVERY_REPORT}{view}")).await;
    server
        .create(json!({"job_id": "b-7", "kind": "build", "total_count": 8}))
        .await;
    let report = json!({"processed_count": 3, "data": {"failures": 1}});
    server.report("b-7", report).await;
    let mut raw = Raw::open(&server, "/ci/builds/b-7/stream", &[]).await;
    raw.blocks(1).await;
    send(&server, "b-7", "log", json!("linking")).await;
    raw.blocks(1).await;
    server.report("b-7", json!({"status": "completed"})).await;
    assert_eq!(raw.whole().await, plain(&block("event: progress")));
    let poll = server.get("/ci/builds/b-7").await;
    assert_eq!(
        poll.text,
        r#"{"build":"b-7","state":"passed","percent":100,"failures":1}"#
    );
}
