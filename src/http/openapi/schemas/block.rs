//! The blocks of a stream, and the data in them.
//!
//! OpenAPI 3.1 has no word for the items of an event stream; 3.2 has `itemSchema`. The document
//! says the same thing as 3.2 would, under `x-itemSchema`: a block is an object with the fields
//! `event`, `data`, `retry` and `id`, whose data is JSON of a named schema.

use serde_json::json;
use utoipa::openapi::{RefOr, Schema};

use super::{
    super::shape::{
        Shape, any_of, anything, flag, integer, json_text, named, one_of_words, pattern, shape,
        word, words,
    },
    Schemas, job,
};
use crate::{frame::RETRY_NEVER_MS, job::Count};

pub(super) fn schemas() -> Schemas {
    vec![
        (
            "StreamBlock",
            any_of(
                "One block of a stream. Lines stand in the order `event`, `data`, `retry`, `id`.",
                &[
                    "StatusBlock",
                    "FailureBlock",
                    "EndBlock",
                    "EventBlock",
                    "HeartbeatBlock",
                ],
            )
            .into(),
        ),
        (
            "MultiStreamBlock",
            any_of(
                "One block of a stream of many jobs: those of one job, whose named events say which job they are of.",
                &[
                    "StatusBlock",
                    "SyncedBlock",
                    "RemovedBlock",
                    "EndBlock",
                    "JobEventBlock",
                    "HeartbeatBlock",
                ],
            )
            .into(),
        ),
        ("StatusBlock", status_block().into()),
        ("StatusData", status_data().into()),
        ("FailureBlock", failure_block().into()),
        ("EndBlock", end_block().into()),
        ("EndData", end_data().into()),
        ("EventBlock", event_block().into()),
        ("JobEventBlock", job_event_block().into()),
        ("SyncedBlock", synced_block().into()),
        ("RemovedBlock", removed_block().into()),
        ("HeartbeatBlock", heartbeat_block().into()),
    ]
}

fn block(
    description: &str,
    event: impl Into<RefOr<Schema>>,
    data: &str,
    content: RefOr<Schema>,
) -> Shape {
    shape(description)
        .always("event", event)
        .always("data", json_text(data, content))
}

fn id() -> utoipa::openapi::Object {
    pattern(
        "The cursor: send it as `Last-Event-ID` to resume after this block.",
        "^[0-9]{1,16}$",
    )
}

fn status_block() -> Schema {
    let retry = format!(
        "Milliseconds until a reconnect: in the first block, and as {RETRY_NEVER_MS} in the last."
    );
    block(
        "The job's newest status. The first block is one, and so is the last of a finished job.",
        word("Always `status`.", "status"),
        "The status on one line.",
        named("StatusData"),
    )
    .maybe("retry", integer(&retry, 0, Count::MAX))
    .maybe("id", id())
    .closed()
    .build()
}

fn status_data() -> Schema {
    let gap = "Always true: events that this watcher has missed are no longer kept.";
    job::status(shape("A status as a stream carries it."))
        .maybe("gap", flag(gap))
        .example(job::example())
        .build()
}

fn failure_block() -> Schema {
    block(
        "Why the job failed, in one write with its last status, which says the same.",
        word("Always `error`.", "error"),
        "Code and message.",
        named("JobError"),
    )
    .closed()
    .build()
}

fn end_block() -> Schema {
    block(
        "The stream ends although the job has not. It never moves the cursor.",
        word("Always `error`.", "error"),
        "Why.",
        named("EndData"),
    )
    .maybe(
        "retry",
        integer(
            "Milliseconds until a reconnect; an hour when that is no use.",
            0,
            Count::MAX,
        ),
    )
    .closed()
    .build()
}

fn end_data() -> Schema {
    let codes = [
        "STREAM_TIMEOUT",
        "DRAINING",
        "INTERNAL",
        "TOKEN_EXPIRED",
        "JOB_GONE",
        "RATE_LIMITED",
        "TOO_MANY_STREAMS",
        "STORE_UNAVAILABLE",
    ];
    shape("Why a stream ends other than with its job, or was refused to an `EventSource`.")
        .always("error", words("The message once more."))
        .always("message", words("A sentence for people."))
        .always("code", one_of_words("A stable word for programs.", codes))
        .closed()
        .example(json!({"error": "Stream timeout", "message": "Stream timeout", "code": "STREAM_TIMEOUT"}))
        .build()
}

fn event_block() -> Schema {
    let data = anything("Any JSON: the bare `data` of the event.");
    block(
        "An event that the worker sent, under its own name.",
        named("EventName"),
        "The event's data.",
        data.into(),
    )
    .always("id", id())
    .closed()
    .build()
}

fn job_event_block() -> Schema {
    let data = shape("The event, and where it belongs.")
        .always("job_id", named("JobId"))
        .always("seq", named("Seq"))
        .always("data", anything("Any JSON: the bare `data` of the event."))
        .closed()
        .build();
    block(
        "An event that a worker sent, under its own name; or `error`, with why a job failed, in one write with its last status.",
        named("EventName"),
        "The event with its job.",
        data.into(),
    )
    .maybe("id", id())
    .closed()
    .build()
}

fn synced_block() -> Schema {
    let jobs = integer("How many jobs there are.", 0, Count::MAX);
    let data = shape("How much there is.")
        .always("jobs", jobs)
        .closed()
        .build();
    block(
        "Every job that matches was sent: what a page shows beyond those is out of date.",
        word("Always `synced`.", "synced"),
        "How many jobs there are.",
        data.into(),
    )
    .maybe(
        "retry",
        integer("Milliseconds until a reconnect.", 0, Count::MAX),
    )
    .maybe("id", id())
    .closed()
    .build()
}

fn removed_block() -> Schema {
    let codes = ["JOB_NOT_FOUND", "JOB_GONE", "FORBIDDEN"];
    let why = one_of_words("Why a job that was named is not there.", codes);
    let data = shape("Which job.")
        .always("job_id", words("The name, as it was asked for."))
        .maybe("code", why)
        .closed()
        .build();
    block(
        "A job that does not match any more, or was removed; or one that was named and is not shown.",
        word("Always `removed`.", "removed"),
        "Which job.",
        data.into(),
    )
    .maybe("retry", integer("Milliseconds until a reconnect.", 0, Count::MAX))
    .closed()
    .build()
}

fn heartbeat_block() -> Schema {
    let nothing = shape("Nothing.").closed().build();
    block(
        "Sent after a silence with `?heartbeat=event`; otherwise the heartbeat is a bare comment.",
        word("Always `heartbeat`.", "heartbeat"),
        "Always `{}`.",
        nothing.into(),
    )
    .closed()
    .build()
}
