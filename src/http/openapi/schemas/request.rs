//! What clients send.

use serde_json::json;
use utoipa::openapi::{Object, OneOfBuilder, Schema};

use super::{
    super::shape::{
        Shape, anything, anything_but_null, count, free_object, integer, list, named,
        named_or_null, number, one_of_words, or_null, pattern, shape, text,
    },
    Schemas,
};
use crate::job::{Bounds, Count};

/// Ten years: the longest span that a creation may ask for, in seconds.
const MOST_SECONDS: u64 = 10 * 365 * 86_400;

/// What a report's own name looks like.
const REPORT_ID: &str = "^[ -~]{1,255}$";

/// What an event's name looks like; the stream keeps some for itself.
const EVENT_NAME: &str =
    "^(?!(?:status|message|open|heartbeat|synced|removed)$)[A-Za-z0-9_.-]{1,64}$";

pub(super) fn schemas() -> Schemas {
    vec![
        ("NewJob", new_job().into()),
        ("NewBuiltInJob", new_built_in_job().into()),
        (
            "Report",
            report(shape(
                "A report: any of these fields. `{}` is a sign of life.",
            ))
            .example(json!({"processed_increment": 250, "step": "Checking mail servers"}))
            .build()
            .into(),
        ),
        (
            "ReportLine",
            report(
                shape("A report with the job that it is about: one line of NDJSON.")
                    .always("job_id", named("JobId")),
            )
            .example(json!({"job_id": "import-7", "processed_increment": 250}))
            .build()
            .into(),
        ),
        (
            "NewEvent",
            new_event(
                shape("A named message besides the status, sent at once and kept for resume.")
                    .maybe("report_id", or_null(report_id())),
            )
            .into(),
        ),
        (
            "EventOfMany",
            new_event(shape(
                "An event among others: they share the request's name.",
            ))
            .into(),
        ),
        ("EventName", event_name().into()),
    ]
}

fn creation(
    shape: Shape,
    kind: impl Into<utoipa::openapi::RefOr<Schema>>,
    is_run_here: bool,
) -> Shape {
    let bounds = Bounds::default();
    let mut tags = list(
        "Words to find the job by.",
        text("A tag.", 1, bounds.tag_chars),
    );
    tags.max_items = Some(bounds.tags);
    let seconds = |description: &str| or_null(integer(description, 0, MOST_SECONDS));
    let shape = if is_run_here {
        shape.always("kind", kind)
    } else {
        shape.maybe("kind", kind)
    };
    shape
        .maybe(
            "job_id",
            named_or_null(
                "JobId",
                "The name to use; otherwise the server makes a UUIDv7.",
            ),
        )
        .maybe("total_count", or_null(count("Units to do in all.")))
        .maybe(
            "unit",
            or_null(text("What is counted, `emails` say.", 1, bounds.unit_chars)),
        )
        .maybe(
            "owner",
            or_null(text(
                "Whose job it is; its creator's unless that has no owner.",
                1,
                255,
            )),
        )
        .maybe("tags", tags)
        .maybe(
            "parent_id",
            named_or_null("JobId", "The job that this one is part of."),
        )
        .maybe(
            "data",
            or_null(free_object(
                "The worker's own fields, 64 KiB as JSON at most.",
            )),
        )
        .maybe(
            "lease_seconds",
            seconds(
                "Seconds without a report until the job counts as stalled; 0 = never. Default 60.",
            ),
        )
        .maybe(
            "fail_stalled_after_seconds",
            seconds("Seconds from stalling until the job fails."),
        )
        .maybe(
            "ttl_seconds",
            seconds("Seconds that the job stays after its end. Default 24 h."),
        )
        .closed()
}

fn new_job() -> Schema {
    let kind = or_null(text(
        "What sort of work it is.",
        1,
        Bounds::default().kind_chars,
    ));
    creation(
        shape("A job that some worker reports on. Every field may be left out."),
        kind,
        false,
    )
    .example(json!({"job_id": "import-7", "total_count": 1000, "unit": "emails"}))
    .build()
}

fn new_built_in_job() -> Schema {
    let kind = one_of_words(
        "The built-in worker that runs it.",
        ["email-validation", "demo"],
    );
    let shape = shape("A job that the server runs itself, on `input`.").always(
        "input",
        anything("What the worker works on: a list of addresses, or `{\"emails\": […]}`, say."),
    );
    creation(shape, kind, true)
        .example(
            json!({"kind": "email-validation", "input": ["ann@example.com", "bob@example.org"]}),
        )
        .build()
}

fn report(shape: Shape) -> Shape {
    let bounds = Bounds::default();
    let attempt = "Which try this is about; absent = the present one. A higher one starts a retry, and count, \
        percentage, step and message anew.";
    shape
        .maybe("status", named("State"))
        .maybe("processed_count", count("Units done in all; a late, lower value is accepted and ignored. Not beside `processed_increment`."))
        .maybe("processed_increment", integer("Units done since the last report.", 1, Count::MAX))
        .maybe("total_count", or_null(count("Units to do in all; null = unknown.")))
        .maybe("progress_percentage", number("How far, by the worker's own reckoning.", Some(100.0)))
        .maybe("step", or_null(text("Name of the phase; null clears it.", 0, bounds.step_chars)))
        .maybe("message", or_null(text("What is going on; null clears it.", 0, bounds.message_chars)))
        .maybe("data", free_object("Merge patch for the job's `data` (RFC 7396): null clears a key."))
        .maybe("result", anything_but_null("What the work came to, 64 KiB as JSON at most."))
        .maybe("error", error())
        .maybe("attempt", integer(attempt, 1, u64::from(u32::MAX)))
        .maybe("report_id", report_id())
        .not_both("processed_count", "processed_increment")
        .closed()
}

fn error() -> Schema {
    let bounds = Bounds::default();
    let message = || text("A sentence for people.", 0, bounds.message_chars);
    let object = shape("Either may be left out.")
        .maybe("code", text("A stable word for programs.", 1, 64))
        .maybe("message", message())
        .closed();
    OneOfBuilder::new()
        .item(object.build())
        .item(message())
        .description(Some(
            "Why the job or its last attempt failed; a string is its message.",
        ))
        .into()
}

fn new_event(shape: Shape) -> Schema {
    shape
        .always("event", named("EventName"))
        .maybe(
            "data",
            anything("Any JSON, 64 KiB at most; null when left out."),
        )
        .closed()
        .example(json!({"event": "log", "data": {"line": "Opened list.csv"}}))
        .build()
}

fn event_name() -> Schema {
    let description = "What the event is called on the stream: 1 to 64 of `A-Za-z0-9_.-`, and none of \
        `status`, `message`, `open`, `heartbeat`, `synced`, `removed`. `error` is allowed.";
    let mut name = pattern(description, EVENT_NAME);
    (name.min_length, name.max_length) = (Some(1), Some(64));
    name.examples = vec![json!("log")];
    name.into()
}

/// The worker's own name for a request.
pub(in crate::http::openapi) fn report_id() -> Object {
    let mut id = pattern(
        "The client's own name for the request: a repeat within a day is answered as the first was, and changes nothing.",
        REPORT_ID,
    );
    (id.min_length, id.max_length) = (Some(1), Some(255));
    id
}
