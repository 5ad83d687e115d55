//! Result rows, and the answer to many reports.

use serde_json::json;
use utoipa::openapi::Schema;

use super::{
    super::shape::{count, flag, free_object, integer, list, named, one_of, or_null, shape, words},
    Schemas,
};
use crate::job::Count;

pub(super) fn schemas() -> Schemas {
    vec![
        ("ResultsPage", page().into()),
        ("Row", row().into()),
        ("RowsAnswer", rows_answer().into()),
        (
            "ReportsAnswerLine",
            one_of(
                "A line of the answer to `/reports`.",
                &["RefusedLine", "CancelledLine", "LastLine"],
            )
            .into(),
        ),
        ("RefusedLine", refused_line().into()),
        ("CancelledLine", cancelled_line().into()),
        ("LastLine", last_line().into()),
        ("LineError", line_error().into()),
    ]
}

fn page() -> Schema {
    let link = |description: &str| or_null(words(description));
    let mut rows = list("The rows.", named("Row"));
    rows.max_items = Some(1_000);
    let links = shape("The pages beside this one: absolute paths.")
        .always("next", link("The next page; null on the last one."))
        .always("prev", link("The page before; null on the first."))
        .closed();
    shape("A page of result rows.")
        .always("job_id", named("JobId"))
        .always(
            "page",
            integer("Which page it is, from 1.", 1, u64::from(u32::MAX)),
        )
        .always("per_page", integer("Rows of a page.", 1, 1_000))
        .always("total", count("Rows there are at present."))
        .always("results", rows)
        .always("links", links.build())
        .closed()
        .build()
}

fn row() -> Schema {
    let mut row = free_object("A result row: the worker's own fields.");
    row.property_names = None;
    row.examples = vec![json!({
        "email": "Ann@Example.com", "normalized": "Ann@example.com", "verdict": "valid",
        "reason": null, "suggestion": null
    })];
    row.into()
}

fn rows_answer() -> Schema {
    shape("What was appended, and what the worker needs to know.")
        .always("job_id", named("JobId"))
        .always("seq", named("Seq"))
        .always("rows", count("Rows of this request."))
        .always("cancel_requested", flag("Whether the worker should stop."))
        .closed()
        .build()
}

fn refused_line() -> Schema {
    shape("A line that was refused. After 1,000 of them they are only counted.")
        .always("line", integer("Its number, from 1.", 1, Count::MAX))
        .maybe("job_id", named("JobId"))
        .always("error", named("LineError"))
        .closed()
        .example(json!({"line": 3, "job_id": "b", "error": {"code": "JOB_NOT_FOUND", "message": "Job not found"}}))
        .build()
}

fn cancelled_line() -> Schema {
    shape("Said once per job, when its cancellation comes up.")
        .always("job_id", named("JobId"))
        .always("cancel_requested", flag("Always true."))
        .closed()
        .example(json!({"job_id": "import-7", "cancel_requested": true}))
        .build()
}

fn last_line() -> Schema {
    shape("The last line.")
        .always("accepted", count("Lines that were applied."))
        .always("refused", count("Lines that were refused."))
        .maybe("error", named("LineError"))
        .closed()
        .example(json!({"accepted": 2, "refused": 1}))
        .build()
}

fn line_error() -> Schema {
    shape("Why a line was refused, or what ended the request early.")
        .always("code", named("ErrorCode"))
        .always("message", words("A sentence for people."))
        .closed()
        .build()
}
