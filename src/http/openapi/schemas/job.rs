//! A job as the answers show it.

use serde_json::{Value, json};
use utoipa::openapi::Schema;

use super::{
    super::shape::{
        Shape, anything, count, flag, free_object, integer, list, moment, named, named_or_null,
        number, one_of_words, or_null, pattern, shape, text, words,
    },
    Schemas,
};
use crate::job::{Bounds, Count, Seq, State};

/// What a job's name looks like.
pub(in crate::http::openapi) const JOB_ID: &str = r"^(?!\.{1,2}$)[A-Za-z0-9._~:@-]{1,128}$";

pub(super) fn schemas() -> Schemas {
    vec![
        ("JobId", job_id().into()),
        ("State", state().into()),
        ("Seq", seq().into()),
        ("JobError", failure().into()),
        (
            "Status",
            status(shape(STATUS)).example(example()).build().into(),
        ),
        ("Links", links().into()),
        ("CreatedJob", created_job().into()),
        ("JobList", job_list().into()),
        ("ReportAnswer", report_answer().into()),
        ("EventsAnswer", events_answer().into()),
        ("Ticket", ticket().into()),
    ]
}

const STATUS: &str = "A job's whole present state. Every field is always there, null where unknown. \
    Equal `seq` means equal bytes.";

/// The fields of a status, in the order in which they are written.
pub(super) fn status(shape: Shape) -> Shape {
    let bounds = Bounds::default();
    let progress = "Derived from the counts when `total_count` is known, else what the worker \
        reported; rounded down to two decimals. Never goes down within an attempt; 100 when completed.";
    shape
        .always("job_id", named("JobId"))
        .always(
            "kind",
            or_null(text("What sort of work it is.", 1, bounds.kind_chars)),
        )
        .always("status", named("State"))
        .always("total_count", or_null(count("Units to do in all.")))
        .always(
            "processed_count",
            or_null(count("Units done. Never goes down within an attempt.")),
        )
        .always(
            "unit",
            or_null(text("What is counted, `emails` say.", 1, bounds.unit_chars)),
        )
        .always(
            "progress_percentage",
            or_null(number(progress, Some(100.0))),
        )
        .always(
            "step",
            or_null(text(
                "Name of the phase that the work is in.",
                0,
                bounds.step_chars,
            )),
        )
        .always(
            "message",
            or_null(text(
                "What the worker is doing right now.",
                0,
                bounds.message_chars,
            )),
        )
        .always(
            "rate_per_second",
            or_null(number(
                "Units per second in this attempt; null rather than a guess.",
                None,
            )),
        )
        .always(
            "eta_seconds",
            or_null(integer(
                "Seconds until the end; null rather than a guess.",
                0,
                Count::MAX,
            )),
        )
        .always(
            "attempt",
            integer("The present try, from 1.", 1, u64::from(u32::MAX)),
        )
        .always(
            "stalled",
            flag("No report for longer than the lease, while processing."),
        )
        .always(
            "cancel_requested",
            flag("Somebody asked for the job to be cancelled."),
        )
        .always("data", or_null(free_object("The worker's own fields.")))
        .always("result", anything("What the work came to: any JSON."))
        .always(
            "error",
            named_or_null(
                "JobError",
                "Why the job, or its attempt before this one, failed.",
            ),
        )
        .always("owner", or_null(text("Whose job it is.", 1, 255)))
        .always(
            "tags",
            list(
                "Words to find the job by.",
                text("A tag.", 1, bounds.tag_chars),
            ),
        )
        .always(
            "parent_id",
            named_or_null("JobId", "The job that this one is part of."),
        )
        .always("created_at", moment("When it was created."))
        .always(
            "started_at",
            or_null(moment("When the first report moved it out of `pending`.")),
        )
        .always("updated_at", moment("When its newest change was made."))
        .always(
            "finished_at",
            or_null(moment("When it reached its terminal state.")),
        )
        .always("seq", named("Seq"))
        .others(or_null(count(
            "`total_<unit>`: with a `unit`, the total stands once more under that name, \
             `\"unit\": \"emails\"` as `total_emails` say.",
        )))
}

pub(super) fn example() -> Value {
    json!({
        "job_id": "import-7", "kind": null, "status": "processing",
        "total_count": 1000, "processed_count": 750, "unit": "emails", "total_emails": 1000,
        "progress_percentage": 75, "step": "Checking mail servers", "message": "gmail.com",
        "rate_per_second": 41.7, "eta_seconds": 6, "attempt": 1, "stalled": false, "cancel_requested": false,
        "data": {"geo_score": 78.5}, "result": null, "error": null,
        "owner": "user-456", "tags": ["import"], "parent_id": null,
        "created_at": "2026-11-21T19:00:00.000Z", "started_at": "2026-11-21T19:00:04.120Z",
        "updated_at": "2026-11-21T19:00:22.350Z", "finished_at": null, "seq": 1_795_287_622_350_511_u64
    })
}

fn job_id() -> Schema {
    let mut name = pattern(
        "The name that a job is known by: 1 to 128 of `A-Za-z0-9._~:@-`, and neither `.` nor `..`.",
        JOB_ID,
    );
    (name.min_length, name.max_length) = (Some(1), Some(128));
    name.examples = vec![json!("import-7")];
    name.into()
}

fn state() -> Schema {
    let description = "`pending` → `processing` → `completed` | `failed` | `cancelled`; `pending` may go \
        straight to an end. The last three are terminal: nothing follows.";
    one_of_words(description, State::ALL.map(State::as_str)).into()
}

fn seq() -> Schema {
    let description = "A change's position: strictly increasing within a job, ordered by time between \
        jobs. Unix time in microseconds, or one more than the job's last seq.";
    let mut seq = integer(description, 0, Seq::MAX.get());
    seq.examples = vec![json!(1_795_287_622_350_511_u64)];
    seq.into()
}

fn failure() -> Schema {
    let bounds = Bounds::default();
    let code = "A stable word for programs: the worker's own, `JOB_FAILED` when it gave none, or the \
        server's (`STALLED`, `ABANDONED`, …).";
    shape("Why a job failed.")
        .always("code", text(code, 1, 64))
        .always(
            "message",
            text("A sentence for people.", 0, bounds.message_chars),
        )
        .closed()
        .example(json!({"code": "JOB_FAILED", "message": "Job failed due to invalid file format"}))
        .build()
}

fn links() -> Schema {
    let path = |description: &str| pattern(description, "^/api/v1/jobs/[^/]+/[a-z]+$");
    shape("Where to go on: absolute paths.")
        .always("stream", path("The stream."))
        .always("status", path("The status."))
        .always("results", path("The result rows, page by page."))
        .always("download", path("All rows as a file."))
        .closed()
        .build()
}

fn created_job() -> Schema {
    let watch_token = "A token with which a browser may watch this job alone, as Bearer or `?token=`; \
        null while the server runs open.";
    let mut example = example();
    example["links"] = json!({
        "stream": "/api/v1/jobs/import-7/stream", "status": "/api/v1/jobs/import-7/status",
        "results": "/api/v1/jobs/import-7/results", "download": "/api/v1/jobs/import-7/download"
    });
    example["watch_token"] = Value::Null;
    status(shape("A status, and where to go on, in one flat object."))
        .always("links", named("Links"))
        .always("watch_token", or_null(words(watch_token)))
        .example(example)
        .build()
}

fn job_list() -> Schema {
    let mut jobs = list("The jobs, newest first.", named("Status"));
    jobs.max_items = Some(200);
    shape("A page of the list.")
        .always("jobs", jobs)
        .always(
            "next_cursor",
            or_null(words("Where the next page begins; null on the last one.")),
        )
        .closed()
        .build()
}

fn report_answer() -> Schema {
    shape("What a worker needs to know after a report.")
        .always("job_id", named("JobId"))
        .always("status", named("State"))
        .always("seq", named("Seq"))
        .always("cancel_requested", flag("Whether the worker should stop."))
        .always(
            "watchers",
            count("How many watch or poll the job, on this node."),
        )
        .closed()
        .example(json!({
            "job_id": "import-7", "status": "processing", "seq": 1_795_287_604_120_511_u64,
            "cancel_requested": false, "watchers": 3
        }))
        .build()
}

fn ticket() -> Schema {
    shape("A stream ticket: `?ticket=` within its time sets a cookie for this job's stream and status.")
        .always("ticket", words("The ticket."))
        .always("expires_in", integer("Seconds until it cannot be used any more.", 0, 30))
        .closed()
        .build()
}

fn events_answer() -> Schema {
    shape("The position of the last event.")
        .always("job_id", named("JobId"))
        .always("seq", named("Seq"))
        .closed()
        .build()
}
