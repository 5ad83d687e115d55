//! Polling and streaming.

use super::{
    super::{
        super::ErrorCode,
        answers::{Answer, Answers, answers, sequence},
        parameters::{
            after, header, job_id, job_ids, query, query_number, query_text, query_word, states,
        },
        shape::named,
    },
    describe,
};
use crate::job::Count;
use utoipa::openapi::path::Parameter;

/// The frames of a job that is joined, says something, and ends.
pub(super) const FRAMES: &str = concat!(
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

/// Two jobs, one of which begins to match a moment later.
const FRAMES_OF_MANY: &str = concat!(
    "event: status\n",
    r#"data: {"job_id":"import-7","status":"processing","total_count":1000,"processed_count":250,"progress_percentage":25,…}"#,
    "\nretry: 5397\nid: 1795287604120511\n\n",
    "event: synced\n",
    r#"data: {"jobs":1}"#,
    "\nid: 1795287604500000\n\n",
    "event: status\n",
    r#"data: {"job_id":"import-8","status":"pending",…}"#,
    "\nid: 1795287604777001\n\n",
    "event: log\n",
    r#"data: {"job_id":"import-7","seq":1795287605000200,"data":{"line":"Opened list.csv"}}"#,
    "\nid: 1795287605000200\n\n",
    "event: removed\n",
    r#"data: {"job_id":"import-8"}"#,
    "\n\n",
);

/// What every stream takes besides what it is about.
pub(super) fn joining() -> Vec<Parameter> {
    vec![
        header(
            "Last-Event-ID",
            "The last `id` that came: goes on behind it. `0` = from the start.",
        ),
        query_text(
            "last_event_id",
            "The same for clients that cannot set headers; the header wins.",
        ),
        query_text("lastEventId", "The same again."),
        query_word(
            "heartbeat",
            "Whether a heartbeat is a bare comment or an event.",
            &["comment", "event"],
        ),
    ]
}

/// An answer that is, or may be, a stream of such blocks.
pub(super) fn as_stream(answer: Answer, block: &str, frames: &str) -> Answer {
    let blocks = "Blocks of server-sent events, and a colon on a line of its own as heartbeat.";
    answer
        .content("text/event-stream", sequence(blocks, block, frames))
        .header("Cache-Control")
        .header("X-Accel-Buffering")
}

/// A stream of such blocks, and what may stand in its place.
fn stream_of(
    answers: Answers,
    description: &str,
    block: &str,
    frames: &str,
    over: &str,
) -> Answers {
    let description = format!(
        "{description} A request whose `Accept` is exactly `text/event-stream` gets a passing refusal \
         (429, 500, 503) as a stream too, with one `error` block and a `retry`."
    );
    answers
        .errors(&[ErrorCode::RateLimited, ErrorCode::TooManyStreams])
        .with(200, as_stream(Answer::empty(&description), block, frames))
        .with(204, Answer::empty(over).header("Cache-Control"))
}

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
        params: [vec![job_id()], joining()].concat(),
        answers: stream_of(
            answers().on_a_job(),
            "The stream.",
            "StreamBlock",
            FRAMES,
            "The cursor stands at the end of a finished job: an `EventSource` stops for good.",
        ),
    }
}

describe! {
    /// `GET /stream`
    MultiStream {
        params: [
            vec![
                job_ids("The jobs, by name; may be repeated. Does not go with what selects jobs."),
                states(
                    "Jobs in these states; may be repeated. Left out: unfinished ones, and those that \
                     ended within the last ten minutes.",
                ),
                query_text("kind", "Jobs of this kind."),
                query_text("tag", "Jobs with this tag."),
                query_text("owner", "This owner's jobs."),
                query("parent_id", "The parts of this job.", named("JobId")),
            ],
            joining(),
        ]
        .concat(),
        answers: stream_of(
            answers().guarded().errors(&[ErrorCode::JobNotFound]),
            "The stream.",
            "MultiStreamBlock",
            FRAMES_OF_MANY,
            "The cursor is past the ends of all jobs that were named: an `EventSource` stops for good.",
        ),
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
