//! What calls take beside their bodies.

use utoipa::openapi::{
    Object, RefOr, Required, Schema,
    path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle},
};

use super::{
    schemas::{JOB_ID, report_id},
    shape::{integer, list, named, one_of_words, pattern, words},
};
use crate::job::Seq;

/// The job in the path.
pub(super) fn job_id() -> Parameter {
    parameter("id", ParameterIn::Path, "The job's name.", named("JobId"))
}

/// A name in the path that is one of a few.
pub(super) fn file_name(names: impl IntoIterator<Item = &'static str>) -> Parameter {
    let names = one_of_words("A file of the page.", names);
    parameter("file", ParameterIn::Path, "The file's name.", names)
}

/// A name and a value in the query.
pub(super) fn query(name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    parameter(name, ParameterIn::Query, description, schema)
}

/// A text in the query.
pub(super) fn query_text(name: &str, description: &str) -> Parameter {
    query(name, description, words("A text."))
}

/// A number in the query, with what holds where it is left out.
pub(super) fn query_number(
    name: &str,
    description: &str,
    (least, most): (u64, u64),
    default: u64,
) -> Parameter {
    let mut number = integer("A whole number.", least, most);
    number.default = Some(default.into());
    query(name, description, number)
}

/// One of a few words in the query, the first where it is left out.
pub(super) fn query_word(name: &str, description: &str, choice: &[&str]) -> Parameter {
    let mut schema: Object = one_of_words("A word.", choice.iter().copied());
    schema.default = choice.first().map(|first| (*first).into());
    query(name, description, schema)
}

/// The states to filter by, as often as wanted.
pub(super) fn states(description: &str) -> Parameter {
    repeated("status", description, list("States.", named("State")))
}

/// Jobs by name, as often as wanted.
pub(super) fn job_ids(description: &str) -> Parameter {
    repeated("job", description, list("Names.", named("JobId")))
}

fn repeated(name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    ParameterBuilder::from(query(name, description, schema))
        .style(Some(ParameterStyle::Form))
        .explode(Some(true))
        .build()
}

/// A cursor of the list.
pub(super) fn list_cursor() -> Parameter {
    let name = JOB_ID.trim_start_matches('^');
    let cursor = pattern("Opaque.", &format!(r"^[0-9]{{1,16}}\.{name}"));
    query("cursor", "The `next_cursor` of the page before.", cursor)
}

/// A position to go on from.
pub(super) fn after(description: &str) -> Parameter {
    query("after", description, integer("A seq.", 0, Seq::MAX.get()))
}

/// A text in a header.
pub(super) fn header(name: &str, description: &str) -> Parameter {
    parameter(name, ParameterIn::Header, description, words("A text."))
}

/// The header that makes a repetition harmless.
pub(super) fn idempotency_key(description: &str) -> Parameter {
    parameter(
        "Idempotency-Key",
        ParameterIn::Header,
        description,
        report_id(),
    )
}

fn parameter(
    name: &str,
    place: ParameterIn,
    description: &str,
    schema: impl Into<RefOr<Schema>>,
) -> Parameter {
    let required = match place {
        ParameterIn::Path => Required::True,
        _ => Required::False,
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}
