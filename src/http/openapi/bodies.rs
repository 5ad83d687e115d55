//! The bodies of requests, by the calls that take them.

use serde_json::{Value, json};
use utoipa::openapi::{
    ArrayBuilder, Content, ContentBuilder, OneOfBuilder, Required, Schema,
    request_body::{RequestBody, RequestBodyBuilder},
};

use super::{
    answers::sequence,
    shape::{anything, named, shape, words},
};

/// Each body with the `operationId` of its call.
pub(super) fn all() -> Vec<(&'static str, RequestBody)> {
    vec![
        ("createJob", new_job()),
        (
            "report",
            optional(
                "The report; nothing at all is `{}`.",
                Content::new(Some(named("Report"))),
            ),
        ),
        ("reportMany", reports()),
        ("sendEvents", events()),
        ("appendResults", rows()),
        (
            "cancelJob",
            nothing("Nothing can be said with a cancellation."),
        ),
        (
            "buyTicket",
            nothing("Nothing can be said with the purchase."),
        ),
    ]
}

fn new_job() -> RequestBody {
    let input = ArrayBuilder::new()
        .items(anything("A piece of the input."))
        .description(Some("With `?kind=`: the input itself."));
    let json = OneOfBuilder::new()
        .item(named("NewJob"))
        .item(named("NewBuiltInJob"))
        .item(input);
    let text = |description: &str, example: &str| {
        ContentBuilder::new()
            .schema(Some(words(description)))
            .example(Some(Value::from(example)))
            .build()
    };
    RequestBodyBuilder::new()
        .description(Some("The job; nothing at all is `{}`. With `?kind=` of a built-in worker it may be the worker's input."))
        .content("application/json", Content::new(Some(Schema::from(json))))
        .content("text/plain", text("With `?kind=`: an address a line.", "ann@example.com\nbob@example.org\n"))
        .content("text/csv", text("With `?kind=`: a table with a column of addresses.", "email\nann@example.com\n"))
        .required(Some(Required::False))
        .build()
}

fn reports() -> RequestBody {
    let lines = sequence(
        "Reports as NDJSON, each with its `job_id`. Blank lines keep the request alive; five minutes of silence end it.",
        "ReportLine",
        concat!(
            r#"{"job_id":"import-7","processed_increment":250}"#,
            "\n",
            r#"{"job_id":"import-8","status":"completed"}"#,
            "\n",
        ),
    );
    RequestBodyBuilder::new()
        .description(Some(
            "Lines of at most 256 KiB. The body may stay open for hours.",
        ))
        .content("application/x-ndjson", lines)
        .required(Some(Required::False))
        .build()
}

fn events() -> RequestBody {
    let several = ArrayBuilder::new()
        .items(named("EventOfMany"))
        .min_items(Some(1))
        .max_items(Some(1_000))
        .description(Some(
            "All or none; the whole request has one name, in `Idempotency-Key`.",
        ));
    let content = ContentBuilder::new()
        .schema(Some(Schema::from(
            OneOfBuilder::new().item(named("NewEvent")).item(several),
        )))
        .example(Some(
            json!({"event": "log", "data": {"line": "Opened list.csv"}}),
        ));
    RequestBodyBuilder::new()
        .description(Some("One event, or an array of them."))
        .content("application/json", content)
        .required(Some(Required::True))
        .build()
}

fn rows() -> RequestBody {
    let array = ArrayBuilder::new()
        .items(named("Row"))
        .description(Some("All or none."));
    let lines = sequence(
        "A row a line, of at most 256 KiB; appended as they come.",
        "Row",
        "{\"email\":\"ann@example.com\"}\n{\"email\":\"bob@example.org\"}\n",
    );
    RequestBodyBuilder::new()
        .description(Some("Rows: JSON objects with keys of the worker's own."))
        .content("application/json", Content::new(Some(Schema::from(array))))
        .content("application/x-ndjson", lines)
        .required(Some(Required::True))
        .build()
}

fn nothing(description: &str) -> RequestBody {
    let nothing = shape(description).closed().build();
    optional("Nothing, or `{}`.", Content::new(Some(nothing)))
}

fn optional(description: &str, content: Content) -> RequestBody {
    RequestBodyBuilder::new()
        .description(Some(description))
        .content("application/json", content)
        .required(Some(Required::False))
        .build()
}
