//! Tables: what a page was answered, and what it means.

use std::time::Duration;

use reqwest::{
    Version,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;

use super::*;
use crate::cli::doctor::finding::Verdict;

const ORIGIN: &str = "https://app.example";
const NAMED: (&str, &str) = ("access-control-allow-origin", ORIGIN);
const SENT: (&str, &str) = (
    "access-control-allow-headers",
    "Authorization, last-event-id",
);
const CREDENTIALS: (&str, &str) = ("access-control-allow-credentials", "true");
const EXPOSED: (&str, &str) = ("access-control-expose-headers", "ETag, Retry-After");

fn answer(status: u16, pairs: &[(&'static str, &'static str)]) -> Outcome {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    Ok(Answer {
        status,
        version: Version::HTTP_11,
        headers,
        body: Value::Null,
        took: Duration::ZERO,
    })
}

/// What was found that is not well, by its name.
fn troubles(preflight: Outcome, answer: Outcome, error: Outcome) -> Vec<(&'static str, String)> {
    let origin = ORIGIN.to_owned();
    let seen = Seen {
        origin,
        preflight,
        answer,
        error,
    };
    let findings = findings(&seen).into_iter();
    let troubles = findings.filter(|finding| finding.verdict != Verdict::Ok);
    troubles
        .map(|finding| (finding.check, finding.seen))
        .collect()
}

#[test]
fn pages_need_a_preflight_and_answers_that_name_them() {
    let fine = || answer(204, &[NAMED, SENT]);
    let read = || answer(200, &[NAMED, CREDENTIALS, EXPOSED]);
    let error = || answer(404, &[NAMED]);
    let none = || answer(200, &[]);
    for (preflight, given, refused, expected) in [
        (fine(), read(), error(), None),
        (none(), none(), none(), Some(("origin", "is not allowed"))),
        (
            answer(405, &[NAMED]),
            read(),
            error(),
            Some(("preflight", "answered 405")),
        ),
        (
            answer(204, &[NAMED]),
            read(),
            error(),
            Some(("preflight", "may not send authorization")),
        ),
        (
            fine(),
            answer(200, &[NAMED, EXPOSED]),
            error(),
            Some(("answers", "Credentials is missing")),
        ),
        (
            fine(),
            answer(200, &[NAMED, CREDENTIALS]),
            error(),
            Some(("answers", "Retry-After")),
        ),
        (
            fine(),
            answer(200, &[NAMED, NAMED]),
            error(),
            Some(("answers", "2 times")),
        ),
        (
            fine(),
            answer(200, &[(NAMED.0, "*")]),
            error(),
            Some(("answers", "is *")),
        ),
        (
            fine(),
            answer(200, &[(NAMED.0, "https://b.example")]),
            error(),
            Some(("answers", "another origin")),
        ),
        (
            fine(),
            read(),
            none(),
            Some(("errors", "which others have")),
        ),
    ] {
        let troubles = troubles(preflight, given, refused);
        let is_expected = match (&*troubles, expected) {
            ([], None) => true,
            ([(check, seen)], Some((name, words))) => *check == name && seen.contains(words),
            _ => false,
        };
        assert!(is_expected, "{troubles:?}, not {expected:?}");
    }
}
