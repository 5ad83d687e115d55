//! Many jobs on one connection: what is there first, what comes then, and what is taken off again.

mod access;
mod bounds;
mod ends;
mod filters;
mod named;
mod polled;
mod recent;
mod resume;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    server::TestServer,
    sse::{Block, SseStream},
};

const PATH: &str = "/api/v1/stream";

/// Every report is shown, and a client gets no event twice.
const SHARP: &str = "[stream]\nupdate_interval_ms = 0\nrewind_ms = 0";

/// Opens a stream.
pub(crate) async fn open(server: &TestServer, query: &str) -> SseStream {
    server.stream(&format!("{PATH}?{query}")).await
}

/// Comes back to one with a cursor.
pub(crate) async fn resume(server: &TestServer, query: &str, cursor: &str) -> SseStream {
    let request = server.request(Method::GET, &format!("{PATH}?{query}"));
    SseStream::open(request.header("last-event-id", cursor)).await
}

/// Everything up to `synced`, which comes with it.
pub(crate) async fn snapshot(stream: &mut SseStream) -> (Vec<Block>, Block) {
    let mut blocks = Vec::new();
    loop {
        let block = stream.next().await;
        if block.name() == "synced" {
            return (blocks, block);
        }
        blocks.push(block);
    }
}

/// The jobs that are there first, in their order.
async fn jobs_at_first(stream: &mut SseStream) -> Vec<String> {
    let (blocks, synced) = snapshot(stream).await;
    assert!(blocks.iter().all(|block| block.name() == "status"));
    assert_eq!(synced.json(), json!({"jobs": blocks.len()}));
    blocks.iter().map(job_of).collect()
}

/// The job that a block is about.
#[track_caller]
fn job_of(block: &Block) -> String {
    let job_id = &block.json()["job_id"];
    job_id.as_str().expect("a job").to_owned()
}

/// What a block says, in short: its name, its job, and the state or the event's data.
#[track_caller]
fn said(block: &Block) -> (String, String, Value) {
    let json = block.json();
    let what = match block.name() {
        "status" => &json["status"],
        "removed" => &json["code"],
        _ => &json["data"],
    };
    (block.name().to_owned(), job_of(block), what.clone())
}

/// The same as [`said`], from words.
fn words(name: &str, job_id: &str, what: Value) -> (String, String, Value) {
    (name.to_owned(), job_id.to_owned(), what)
}

async fn emit(server: &TestServer, job_id: &str, data: Value) {
    let event = json!({"event": "line", "data": data});
    let path = format!("/api/v1/jobs/{job_id}/events");
    server
        .post(&path, event)
        .await
        .expect(reqwest::StatusCode::OK);
}

async fn remove(server: &TestServer, job_id: &str) {
    let answer = server.delete(&format!("/api/v1/jobs/{job_id}")).await;
    answer.expect(reqwest::StatusCode::NO_CONTENT);
}
