//! Reading JSON from outside, with errors that name the field and the rule.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, value::MapAccessDeserializer},
};
use thiserror::Error;

/// A value that breaks a rule: which field, and what the rule is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", if field.is_empty() { rule.clone() } else { format!("{field}: {rule}") })]
pub struct FieldError {
    /// The field's path, `error.message` or `[3].event`; empty when it is the whole body.
    pub field: String,
    /// What the field must be.
    pub rule: String,
}

impl FieldError {
    /// A broken rule of one field.
    pub fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            rule: rule.into(),
        }
    }

    /// The same error, seen from one level further out.
    #[must_use]
    pub fn within(mut self, prefix: &str) -> Self {
        self.field = if self.field.is_empty() {
            prefix.to_owned()
        } else {
            format!("{prefix}.{}", self.field)
        };
        self
    }
}

/// Parses a JSON body; the error names the field that does not fit.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, FieldError> {
    // To keep track of the field that is read costs as much again as to read it, and only an error needs it.
    serde_json::from_slice(body).or_else(|_| parse_and_track(body))
}

fn parse_and_track<T: DeserializeOwned>(body: &[u8]) -> Result<T, FieldError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if !inner.is_data() {
            return FieldError::new("", format!("malformed JSON: {inner}"));
        }
        let field = if path == "." { String::new() } else { path };
        FieldError::new(field, without_position(&inner.to_string()))
    })?;
    deserializer
        .end()
        .map_err(|error| FieldError::new("", format!("malformed JSON: {error}")))?;
    Ok(value)
}

/// A JSON object with the fields of `T`. A derived `Deserialize` takes an array of the fields'
/// values as well, so that `[]` would be a report that says nothing.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// Cuts ` at line 1 column 20` off: the field's name says where more clearly.
fn without_position(message: &str) -> String {
    match message.rfind(" at line ") {
        Some(at) => message[..at].to_owned(),
        None => message.to_owned(),
    }
}

/// For `#[serde(deserialize_with)]`: a field that may be left out, but not be null.
pub(super) fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Refuses a text of more than `most` characters, and one with a NUL, which PostgreSQL cannot hold.
pub(super) fn check_text(field: &str, text: &str, most: usize) -> Result<(), FieldError> {
    // The bytes bound the characters, so that most texts need no counting.
    if text.len() > most && text.chars().count() > most {
        return Err(FieldError::new(
            field,
            format!("must have at most {most} characters"),
        ));
    }
    if text.contains('\0') {
        return Err(FieldError::new(field, "must not contain a NUL character"));
    }
    Ok(())
}

/// The same for a text that must not be empty.
pub(super) fn check_name(field: &str, text: &str, most: usize) -> Result<(), FieldError> {
    if text.is_empty() {
        return Err(FieldError::new(field, "must not be empty"));
    }
    check_text(field, text, most)
}

/// Refuses a JSON text of more than `most` bytes.
pub(super) fn check_json(field: &str, bytes: usize, most: usize) -> Result<(), FieldError> {
    if bytes > most {
        return Err(FieldError::new(
            field,
            format!("must have at most {most} bytes as JSON"),
        ));
    }
    Ok(())
}
