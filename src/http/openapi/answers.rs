//! What calls answer: bodies, headers, and every error with its codes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::{
    AllOfBuilder, Content, ContentBuilder, Header, ObjectBuilder, Ref, RefOr, Response,
    ResponseBuilder, Schema,
    example::ExampleBuilder,
    extensions::ExtensionsBuilder,
    header::HeaderBuilder,
    schema::{SchemaType, Type},
};

use super::{
    super::ErrorCode,
    shape::{integer, named, one_of_words, pattern, text, words},
};
use crate::job::Count;

/// The answers of one call, by status.
pub(super) type Responses = BTreeMap<String, RefOr<Response>>;

/// Answers that are being described; each carries `X-Request-Id`.
pub(super) struct Answers(Responses);

/// One answer.
pub(super) struct Answer(ResponseBuilder);

/// Errors that share a status, by the codes that they have in one call or another.
///
/// Each set is a named response of the document, so that a call's errors are a list of names.
const ERRORS: [&[ErrorCode]; 15] = [
    &[ErrorCode::InvalidRequest],
    &[ErrorCode::Unauthorized],
    &[ErrorCode::Forbidden],
    &[ErrorCode::JobNotFound],
    &[ErrorCode::RouteNotFound],
    &[ErrorCode::JobGone],
    &[ErrorCode::JobExists],
    &[ErrorCode::JobFinished],
    &[ErrorCode::JobFinished, ErrorCode::StaleAttempt],
    &[ErrorCode::PayloadTooLarge],
    &[ErrorCode::UnsupportedMediaType],
    &[ErrorCode::RateLimited],
    &[ErrorCode::RateLimited, ErrorCode::TooManyStreams],
    &[ErrorCode::Draining, ErrorCode::StoreUnavailable],
    &[ErrorCode::Internal],
];

/// Begins with what any call may answer: also one without a credential has a host and an origin.
pub(super) fn answers() -> Answers {
    Answers(Responses::new()).errors(&[
        ErrorCode::InvalidRequest,
        ErrorCode::Forbidden,
        ErrorCode::RateLimited,
        ErrorCode::Internal,
    ])
}

impl Answers {
    /// An answer with this status.
    pub(super) fn with(mut self, status: u16, answer: Answer) -> Self {
        let answer = answer.header("X-Request-Id").0.build();
        self.0.insert(status.to_string(), answer.into());
        self
    }

    /// Errors with these codes.
    pub(super) fn errors(mut self, codes: &[ErrorCode]) -> Self {
        for code in codes {
            let status = code.status();
            let mut together: Vec<_> = codes
                .iter()
                .copied()
                .filter(|other| other.status() == status)
                .collect();
            together.sort_unstable_by_key(|code| code.as_str());
            let name = error_name(&together);
            self.0.insert(
                status.as_str().to_owned(),
                Ref::from_response_name(name).into(),
            );
        }
        self
    }

    /// The errors of every call that asks for a credential.
    pub(super) fn guarded(self) -> Self {
        self.errors(&[
            ErrorCode::Unauthorized,
            ErrorCode::StoreUnavailable,
            ErrorCode::Draining,
        ])
    }

    /// The errors of every call on one job.
    pub(super) fn on_a_job(self) -> Self {
        self.guarded()
            .errors(&[ErrorCode::JobNotFound, ErrorCode::JobGone])
    }

    /// The errors of every call with a body of `application/json`.
    pub(super) fn with_a_body(self) -> Self {
        self.errors(&[ErrorCode::PayloadTooLarge, ErrorCode::UnsupportedMediaType])
    }

    /// The finished list.
    pub(super) fn build(self) -> Responses {
        self.0
    }
}

impl Answer {
    /// An answer without a body.
    pub(super) fn empty(description: &str) -> Self {
        Self(ResponseBuilder::new().description(description))
    }

    /// JSON of a named schema.
    pub(super) fn json(description: &str, schema: &str) -> Self {
        Self::empty(description).content("application/json", Content::new(Some(named(schema))))
    }

    /// With a body of this media type.
    pub(super) fn content(self, media_type: &str, content: Content) -> Self {
        Self(self.0.content(media_type, content))
    }

    /// With a header, one of those that [`headers`] names.
    pub(super) fn header(self, name: &str) -> Self {
        Self(
            self.0
                .header_ref(name, Ref::new(format!("#/components/headers/{name}"))),
        )
    }
}

/// A text that is a sequence of items, each of a named schema: lines of NDJSON, blocks of a stream.
pub(super) fn sequence(description: &str, item: &str, example: &str) -> Content {
    let item = json!({"$ref": format!("#/components/schemas/{item}")});
    ContentBuilder::new()
        .schema(Some(words(description)))
        .example(Some(Value::from(example)))
        .extensions(Some(
            ExtensionsBuilder::new().add("x-itemSchema", item).build(),
        ))
        .build()
}

/// A file.
pub(super) fn file(description: &str) -> Content {
    Content::new(Some(words(description)))
}

/// The headers that answers carry, by name.
pub(super) fn headers() -> Vec<(&'static str, Header)> {
    let header = |description: &str, schema: RefOr<Schema>| {
        HeaderBuilder::new()
            .description(Some(description))
            .schema(Some(schema))
            .build()
    };
    let retry = integer("Seconds.", 1, Count::MAX);
    let tag = pattern("A strong tag.", "^\"[^\"]+\"$");
    vec![
        (
            "X-Request-Id",
            header(
                "The request, as the log names it: the one that a proxy gave, else a new one.",
                text("An id.", 1, 128).into(),
            ),
        ),
        (
            "Location",
            header(
                "The new job's path.",
                pattern("A path.", "^/api/v1/jobs/[^/]+$").into(),
            ),
        ),
        (
            "ETag",
            header(
                "Names this version: of a status it is the seq. Send it as `If-None-Match`.",
                tag.into(),
            ),
        ),
        (
            "Retry-After",
            header("When to come again, in seconds.", retry.into()),
        ),
        (
            "WWW-Authenticate",
            header(
                "What is asked for.",
                one_of_words("A scheme.", ["Bearer"]).into(),
            ),
        ),
        (
            "Cache-Control",
            header(
                "Whether the answer may be kept.",
                words("Directives.").into(),
            ),
        ),
        (
            "X-Accel-Buffering",
            header(
                "Tells nginx not to buffer the stream.",
                one_of_words("A switch.", ["no"]).into(),
            ),
        ),
        (
            "Content-Disposition",
            header("The file's name.", words("An attachment.").into()),
        ),
        (
            "Content-Encoding",
            header(
                "The file is kept compressed.",
                one_of_words("A coding.", ["gzip"]).into(),
            ),
        ),
        (
            "Content-Security-Policy",
            header(
                "Nothing is loaded from elsewhere, and nothing is run from inside the page.",
                words("A policy.").into(),
            ),
        ),
    ]
}

/// The errors as named responses.
pub(super) fn named_errors() -> Vec<(String, Response)> {
    let described = ERRORS.map(|codes| (error_name(codes), error(codes)));
    described.into()
}

/// `JobFinishedOrStaleAttempt`
fn error_name(codes: &[ErrorCode]) -> String {
    let names: Vec<_> = codes.iter().map(|code| format!("{code:?}")).collect();
    names.join("Or")
}

fn error(codes: &[ErrorCode]) -> Response {
    let words: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
    let lines: Vec<_> = codes
        .iter()
        .map(|code| format!("`{}`: {}", code.as_str(), code.message()))
        .collect();
    // The envelope, with the codes that stand under this status.
    let code = ObjectBuilder::new().property(
        "code",
        ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .enum_values(Some(words)),
    );
    let narrowed = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("error", code);
    let schema = AllOfBuilder::new().item(named("Error")).item(narrowed);
    let content = codes.iter().fold(
        ContentBuilder::new().schema(Some(Schema::from(schema))),
        |content, code| {
            let example = json!({"success": false, "error": {
                "code": code.as_str(), "message": code.message(), "request_id": "01a2004d-9c7a-7623-83cb-5de5373c363d"
            }});
            let example = ExampleBuilder::new().value(Some(example)).build();
            content.examples_from_iter([(code.as_str(), example)])
        },
    );
    let answer = Answer::empty(&lines.join("; "))
        .content("application/json", content.build())
        .header("X-Request-Id");
    let answer = match codes[0] {
        ErrorCode::Unauthorized => answer.header("WWW-Authenticate"),
        ErrorCode::RateLimited | ErrorCode::Draining => answer.header("Retry-After"),
        _ => answer,
    };
    answer.0.build()
}
