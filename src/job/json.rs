//! A JSON value kept as its text, on one line.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::{RawValue, to_raw_value};

/// Any JSON value as compact text: numbers and strings as they were written, no white space between.
///
/// Text rather than a tree, since the server never looks inside: it is kept verbatim, costs one
/// allocation, and, with no line break in it, is safe in an SSE `data` line. From outside it is
/// at most 128 levels deep, with numbers that a double can hold and no lone surrogates.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Json(Arc<RawValue>);

impl Json {
    /// The value of an already parsed text, its white space removed.
    pub fn compact(raw: Box<RawValue>) -> Self {
        let text = raw.get();
        if !text.bytes().any(is_white_space) {
            return Self(raw.into());
        }
        // JSON allows white space only between tokens, and a line break inside a string only
        // as an escape: outside strings these four bytes carry nothing (RFC 8259, section 2).
        let mut compact = Vec::with_capacity(text.len());
        let (mut in_string, mut escaped) = (false, false);
        for byte in text.bytes() {
            if in_string {
                in_string = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
            } else if is_white_space(byte) {
                continue;
            } else {
                in_string = byte == b'"';
            }
            compact.push(byte);
        }
        let compact = String::from_utf8(compact).expect("only ASCII bytes were left out");
        let compact =
            RawValue::from_string(compact).expect("white space between tokens is optional");
        Self(compact.into())
    }

    /// What `value` serializes to; the error is that of its own `Serialize`.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        to_raw_value(value).map(Self::compact)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        // What is kept as text is handed to every watcher's parser: nothing in it may be deeper,
        // larger or less of a string than common parsers take, our own among them.
        serde_json::from_str::<serde_json::Value>(raw.get()).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default();
            de::Error::custom(format!("must be JSON that common parsers read: {reason}"))
        })?;
        Ok(Self::compact(raw))
    }
}
