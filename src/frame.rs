//! SSE blocks, byte for byte: what a watcher reads.
//!
//! Lines of a block stand in the order `event`, `data`, `retry`, `id`; the last two only in a
//! block with `data`. No text from outside can break the framing: names and ids have no line
//! break by type, and JSON has none by [`Json`](crate::job::Json).
//! Source: WHATWG HTML, section 9.2, server-sent events.

#[cfg(test)]
mod tests;

use std::{fmt::Write as _, time::Instant};

use bytes::Bytes;

use crate::job::{Event, Failure, Seq};

/// A heartbeat: a comment line and nothing more, since several clients take the blank line that
/// would end a block for an empty message.
pub const HEARTBEAT: Bytes = Bytes::from_static(b":\n");

/// A heartbeat for pages that want to see it.
pub const HEARTBEAT_EVENT: Bytes = Bytes::from_static(b"event: heartbeat\ndata: {}\n\n");

/// The `retry` of a last block, in milliseconds: an hour, so that a client that does not know
/// about 204 leaves the server in peace as well.
pub const RETRY_NEVER_MS: u64 = 3_600_000;

/// An encoded SSE block, shared by all watchers of a job.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Position of the change that the block tells of.
    pub seq: Seq,
    /// What sort of block it is.
    pub kind: FrameKind,
    /// The block.
    pub bytes: Bytes,
    /// When it was made, to tell how long it was on its way.
    pub made_at: Instant,
}

/// The sorts of block that watchers treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// The newest status: replaces an older one.
    Status,
    /// An event: never replaced.
    Event,
    /// The last status: nothing follows.
    Terminal,
    /// No block at all: the stream ends for a reason outside the job.
    Ending(Ending),
}

/// Why a stream ends although the job goes on, or is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The server is shutting down.
    Draining,
    /// The job was removed.
    Removed,
}

/// A block as a view writes it; without a name it is a client's `message`.
pub fn block(event: Option<&str>, data: &str, retry_ms: Option<u64>, id: Option<Seq>) -> String {
    let mut block = String::with_capacity(data.len() + 120);
    push_block(&mut block, event, data, retry_ms, id);
    block
}

/// A `status` block. Without `id` where the client's cursor must not move.
pub fn status_block(json: &str, retry_ms: Option<u64>, id: Option<Seq>) -> String {
    let mut block = String::with_capacity(json.len() + 80);
    push_block(&mut block, Some("status"), json, retry_ms, id);
    block
}

/// The block of an event: its bare `data` under its own name.
pub fn event_block(event: &Event) -> String {
    let data = event.data.as_str();
    let mut block = String::with_capacity(data.len() + 120);
    let name = Some(event.name.as_str());
    push_block(&mut block, name, data, None, Some(event.seq));
    block
}

/// The end of a finished job's stream: the last status, and before it, when the job failed, why.
pub fn terminal_block(json: &str, failure: Option<&Failure>, id: Seq) -> String {
    let mut block = String::with_capacity(json.len() + 160);
    if let Some(failure) = failure {
        let data = failure_json(failure);
        push_block(&mut block, Some("error"), &data, None, None);
    }
    let retry_ms = Some(RETRY_NEVER_MS);
    push_block(&mut block, Some("status"), json, retry_ms, Some(id));
    block
}

/// An `error` block that ends a stream, or stands for the whole of it. Never moves the cursor.
pub fn error_block(json: &str, retry_ms: Option<u64>) -> String {
    let mut block = String::with_capacity(json.len() + 40);
    push_block(&mut block, Some("error"), json, retry_ms, None);
    block
}

/// `{"message": …, "code": …}`, as the `error` block of a failed job carries it.
fn failure_json(failure: &Failure) -> String {
    #[derive(serde::Serialize)]
    struct Data<'a> {
        message: &'a str,
        code: &'a str,
    }
    let Failure { message, code } = failure;
    serde_json::to_string(&Data { message, code }).expect("two strings serialize")
}

fn push_block(
    out: &mut String,
    event: Option<&str>,
    data: &str,
    retry_ms: Option<u64>,
    id: Option<Seq>,
) {
    debug_assert!(
        !data.contains(['\n', '\r']),
        "a block's data stands on one line"
    );
    if let Some(event) = event {
        let _ = writeln!(out, "event: {event}");
    }
    let _ = writeln!(out, "data: {data}");
    if let Some(retry_ms) = retry_ms {
        let _ = writeln!(out, "retry: {retry_ms}");
    }
    if let Some(id) = id {
        let _ = writeln!(out, "id: {id}");
    }
    out.push('\n');
}
