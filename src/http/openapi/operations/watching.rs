//! Polling and streaming.

use super::{
    super::{
        super::ErrorCode,
        answers::{Answer, answers, sequence},
        parameters::{after, header, job_id, query_number, query_text, query_word},
    },
    describe,
};
use crate::job::Count;

/// The frames of a job that is joined, says something, and ends.
const FRAMES: &str = concat!(
    "event: status\n",
    r#"data: {"job_id":"import-7","status":"processing","total_count":1000,"processed_count":250,"progress_percentage":25,…}"#,
    "\nretry: 5397\nid: 1795287604120511\n\n",
    "event: log\n",
    r#"data: {"line":"Opened list.csv"}"#,
    "\nid: 1795287605000200\n\n",
    ":\n",
    "event: status\n",
    r#"data: {"job_id":"import-7","status":"completed","total_count":1000,"processed_count":1000,"progress_percentage":100,…}"#,
    "\nretry: 3600000\nid: 1795287661123456\n\n",
);

describe! {
    /// `GET /jobs/{id}` and `GET /jobs/{id}/status`
    Status {
        params: vec![
            job_id(),
            query_number("wait", "Seconds to wait for something newer; more than 60 are 60.", (0, Count::MAX), 0),
            after("Wait for something newer than this; left out, for whatever comes next."),
            header("If-None-Match", "The `ETag` that is known already."),
        ],
        answers: answers()
            .on_a_job()
            .errors(&[ErrorCode::RateLimited, ErrorCode::TooManyStreams])
            .with(200, Answer::json("The status. `Retry-After` while the job is unfinished.", "Status")
                .header("ETag").header("Retry-After").header("Cache-Control"))
            .with(304, Answer::empty("Nothing is newer than what `If-None-Match` names.")
                .header("ETag").header("Retry-After").header("Cache-Control")),
    }
}

describe! {
    /// `GET /jobs/{id}/stream`
    Stream {
        params: vec![
            job_id(),
            header("Last-Event-ID", "The last `id` that came: goes on behind it. `0` = from the start."),
            query_text("last_event_id", "The same for clients that cannot set headers; the header wins."),
            query_text("lastEventId", "The same again."),
            query_word("heartbeat", "Whether a heartbeat is a bare comment or an event.", &["comment", "event"]),
        ],
        answers: answers()
            .on_a_job()
            .errors(&[ErrorCode::RateLimited, ErrorCode::TooManyStreams])
            .with(200, Answer::empty(
                "The stream. A request whose `Accept` is exactly `text/event-stream` gets a passing refusal \
                 (429, 500, 503) as a stream too, with one `error` block and a `retry`.")
                .content("text/event-stream", sequence(
                    "Blocks of server-sent events, and a colon on a line of its own as heartbeat.",
                    "StreamBlock",
                    FRAMES,
                ))
                .header("Cache-Control").header("X-Accel-Buffering"))
            .with(204, Answer::empty("The cursor stands at the end of a finished job: an `EventSource` stops for good.")
                .header("Cache-Control")),
    }
}

describe! {
    /// `POST /jobs/{id}/ticket`
    Ticket {
        params: vec![job_id()],
        answers: answers()
            .on_a_job()
            .errors(&[ErrorCode::PayloadTooLarge])
            .with(200, Answer::json("The ticket.", "Ticket").header("Cache-Control")),
    }
}
