//! Statements with their values inside, quoted.
//!
//! A prepared statement lives in one session, and takes a round trip of its own; behind a pooler that
//! hands sessions around between transactions, the second half of it meets another session. So a
//! statement goes out whole, as one message of the simple protocol: no state, one round trip, and any
//! pooler passes it on (PostgreSQL manual, "Message Flow", "Simple Query").

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use uuid::Uuid;

use crate::job::Timestamp;

/// A value as it stands in a statement.
#[derive(Debug)]
pub(super) struct Literal(String);

/// The call of a function of ours.
pub(super) fn call(function: &str, arguments: &[Literal]) -> String {
    let arguments: Vec<_> = arguments.iter().map(|literal| literal.0.as_str()).collect();
    format!("progressd.{function}({})", arguments.join(", "))
}

impl std::fmt::Display for Literal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Nothing.
pub(super) fn null() -> Literal {
    Literal("NULL".to_owned())
}

/// What there is of it, or nothing.
pub(super) fn maybe<T>(value: Option<T>, literal: impl FnOnce(T) -> Literal) -> Literal {
    value.map_or_else(null, literal)
}

/// A text. The quoting of libpq's `PQescapeLiteral`: right for every text in UTF-8, whatever
/// `standard_conforming_strings` says. A NUL, which no text in PostgreSQL has, becomes U+FFFD.
pub(super) fn text(text: &str) -> Literal {
    let escapes = text.contains('\\');
    let mut quoted = String::with_capacity(text.len() + text.len() / 16 + 4);
    quoted.push_str(if escapes { " E'" } else { "'" });
    for letter in text.chars() {
        match letter {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push('\u{fffd}'),
            letter => quoted.push(letter),
        }
    }
    quoted.push('\'');
    Literal(quoted)
}

/// A list of texts.
pub(super) fn texts<'a>(items: impl IntoIterator<Item = &'a str>) -> Literal {
    let items: Vec<_> = items
        .into_iter()
        // Two levels: an element of an array's text, and that within a string.
        .map(|item| format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    Literal(format!(
        "{}::text[]",
        text(&format!("{{{}}}", items.join(","))).0
    ))
}

/// A list of ids.
pub(super) fn uuids(items: impl IntoIterator<Item = Uuid>) -> Literal {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    Literal(format!("'{{{}}}'::uuid[]", items.join(",")))
}

/// A list of numbers.
pub(super) fn numbers(items: impl IntoIterator<Item = u64>) -> Literal {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    Literal(format!("'{{{}}}'::bigint[]", items.join(",")))
}

/// What serializes as JSON.
pub(super) fn json(value: &impl Serialize) -> Literal {
    text(&serde_json::to_string(value).expect("strings, numbers and JSON serialize"))
}

/// An id.
pub(super) fn uuid(id: Uuid) -> Literal {
    Literal(format!("'{id}'::uuid"))
}

/// A number; a bigint, whatever its size.
pub(super) fn number(number: u64) -> Literal {
    // Beyond it no count, seq or moment of ours comes.
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    Literal(format!("{number}::bigint"))
}

/// A number for an integer of 32 bits.
pub(super) fn small_number(number: usize) -> Literal {
    Literal(i32::try_from(number).unwrap_or(i32::MAX).to_string())
}

/// A moment, for functions that take microseconds.
pub(super) fn micros(moment: Timestamp) -> Literal {
    number(moment.as_micros())
}

/// A moment, as PostgreSQL's own.
pub(super) fn moment(moment: Timestamp) -> Literal {
    Literal(call("moment", &[micros(moment)]))
}

/// Whether.
pub(super) fn flag(is_set: bool) -> Literal {
    Literal(is_set.to_string())
}

/// Bytes. In base64, which takes less than their own notation.
pub(super) fn bytes(bytes: &[u8]) -> Literal {
    Literal(format!(
        "decode('{}', 'base64')",
        BASE64_STANDARD.encode(bytes)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_within_its_quotes() {
        assert_eq!(text("it's").0, "'it''s'");
        assert_eq!(text(r"\'; DROP").0, r" E'\\''; DROP'");
        assert_eq!(text("a\0b").0, "'a\u{fffd}b'");
        assert_eq!(
            texts(["a\"b", r"c\d", "e'f", "NULL"]).0,
            r#" E'{"a\\"b","c\\\\d","e''f","NULL"}'::text[]"#
        );
    }

    #[test]
    fn no_number_is_negative() {
        assert_eq!(number(u64::MAX).0, "9223372036854775807::bigint");
        assert_eq!(small_number(usize::MAX).0, "2147483647");
    }
}
