//! Blocks of a stream of many jobs, kept in parts until it is known which of them carry an id.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Serialize;

use crate::{
    frame::{Frame, FrameKind},
    job::{Event, Failure, JobId, Seq},
};

/// A block that waits to be written.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Where it belongs among the blocks of all jobs.
    pub(super) place: Seq,
    name: Bytes,
    data: Bytes,
    pub(super) retry_ms: Option<u64>,
    pub(super) id: Option<Seq>,
}

#[derive(Serialize)]
struct OfJob<'a> {
    job_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
}

impl Block {
    /// A job's status.
    pub(super) fn status(seq: Seq, json: Bytes, has_id: bool) -> Self {
        Self::new(seq, Bytes::from_static(b"status"), json, has_id)
    }

    /// An event that was missed, with the job that it is of. It stands behind the job's status, and
    /// does not move the cursor.
    pub(super) fn missed(job_id: &JobId, place: Seq, event: &Event) -> Self {
        let name = Bytes::copy_from_slice(event.name.as_str().as_bytes());
        let block = Self::named(job_id, event.seq, name, event.data.as_str(), false);
        Self { place, ..block }
    }

    /// Why a job failed.
    pub(super) fn failure(job_id: &JobId, seq: Seq, failure: &Failure) -> Self {
        let (message, code) = (json(&failure.message), json(&failure.code));
        let data = format!("{{\"message\":{message},\"code\":{code}}}");
        Self::named(job_id, seq, Bytes::from_static(b"error"), &data, false)
    }

    /// What a job's own watchers read, read once more: its status as it is, an event with its job.
    pub(super) fn of_frame(job_id: &JobId, frame: &Frame) -> Option<Self> {
        let text = std::str::from_utf8(&frame.bytes).ok()?;
        let (head, rest) = text.split_once('\n')?;
        let name = frame
            .bytes
            .slice_ref(head.strip_prefix("event: ")?.as_bytes());
        let (data, rest) = rest.split_once('\n')?;
        let data = data.strip_prefix("data: ")?;
        let has_id = rest.starts_with("id: ");
        Some(match frame.kind == FrameKind::Event {
            true => Self::named(job_id, frame.seq, name, data, has_id),
            false => {
                let data = frame.bytes.slice_ref(data.as_bytes());
                Self::new(frame.seq, name, data, has_id)
            }
        })
    }

    /// Word that a job is none of this stream's any more, or never was.
    pub(super) fn removed(job_id: &str, place: Seq, code: Option<&str>) -> Self {
        let data = json(&OfJob { job_id, code });
        Self::new(place, Bytes::from_static(b"removed"), data.into(), false)
    }

    /// Word that the page has everything up to `cursor` now.
    pub(super) fn synced(jobs: usize, cursor: Seq) -> Self {
        let data = format!("{{\"jobs\":{jobs}}}");
        Self::new(cursor, Bytes::from_static(b"synced"), data.into(), true)
    }

    /// How many bytes it has, nearly.
    pub(super) fn weight(&self) -> usize {
        self.name.len() + self.data.len() + 64
    }

    /// Writes it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(&self.name);
        out.extend_from_slice(b"\ndata: ");
        out.extend_from_slice(&self.data);
        let mut tail = String::from("\n");
        if let Some(retry_ms) = self.retry_ms {
            let _ = writeln!(tail, "retry: {retry_ms}");
        }
        if let Some(id) = self.id {
            let _ = writeln!(tail, "id: {id}");
        }
        tail.push('\n');
        out.extend_from_slice(tail.as_bytes());
    }

    fn named(job_id: &JobId, seq: Seq, name: Bytes, data: &str, has_id: bool) -> Self {
        let job_id = json(job_id);
        let data = format!("{{\"job_id\":{job_id},\"seq\":{seq},\"data\":{data}}}");
        Self::new(seq, name, data.into(), has_id)
    }

    fn new(seq: Seq, name: Bytes, data: Bytes, has_id: bool) -> Self {
        Self {
            place: seq,
            name,
            data,
            retry_ms: None,
            id: has_id.then_some(seq),
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings serialize")
}
