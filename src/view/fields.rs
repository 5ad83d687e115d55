//! The fields of a view's data: each with its sources, its type, and what it is when there is no value.

use serde_json::Number;

use super::sources::{Facts, Source, quoted};
use crate::job::State;

/// Fields in the order of the configuration.
#[derive(Debug, Default)]
pub(super) struct Fields(pub(super) Vec<(String, Field)>);

/// How one field comes to its value: by the first of its choices that has one.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) choices: Vec<Choice>,
    pub(super) kind: Option<Kind>,
    pub(super) absent: Absent,
}

/// Something that a field may say.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) from: Origin,
    /// In which states it counts; empty is in all of them.
    pub(super) states: Vec<State>,
}

/// Where a value is from.
#[derive(Debug)]
pub(super) enum Origin {
    /// The status.
    Status(Source),
    /// The configuration, as JSON.
    Constant(String),
}

/// What a value is turned into; what cannot be is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Number,
    Text,
}

/// What a field is when there is no value.
#[derive(Debug)]
pub(super) enum Absent {
    /// Left out.
    Omitted,
    /// This JSON.
    Value(String),
}

/// What a block says: an object of fields, or one value as it is.
#[derive(Debug)]
pub(super) enum Data {
    Fields(Fields),
    Value(Field),
}

impl Fields {
    /// The object, without white space.
    pub(super) fn render(&self, facts: &Facts<'_>) -> String {
        let mut out = String::from("{");
        for (name, field) in &self.0 {
            if let Some(value) = field.render(facts) {
                if out.len() > 1 {
                    out.push(',');
                }
                out.push_str(&quoted(name));
                out.push(':');
                out.push_str(&value);
            }
        }
        out.push('}');
        out
    }

    /// Whether any of them says that events are missing.
    pub(super) fn tell_gaps(&self) -> bool {
        self.sources().any(Source::is_gap)
    }

    /// Whether any of them tells the state.
    pub(super) fn tell_states(&self) -> bool {
        self.sources().any(Source::is_status)
    }

    fn sources(&self) -> impl Iterator<Item = &Source> {
        self.0.iter().flat_map(|(_, field)| field.sources())
    }
}

impl Field {
    fn render(&self, facts: &Facts<'_>) -> Option<String> {
        let mut choices = self.choices.iter();
        let found = choices.find_map(|choice| self.convert(choice.find(facts)?));
        match (&self.absent, found) {
            (_, Some(value)) => Some(value),
            (Absent::Omitted, None) => None,
            (Absent::Value(value), None) => Some(value.clone()),
        }
    }

    fn convert(&self, json: String) -> Option<String> {
        match self.kind {
            None => Some(json),
            Some(kind) => kind.convert(json),
        }
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.choices.iter().filter_map(|choice| match &choice.from {
            Origin::Status(source) => Some(source),
            Origin::Constant(_) => None,
        })
    }
}

impl Choice {
    fn find(&self, facts: &Facts<'_>) -> Option<String> {
        if !self.states.is_empty() && !self.states.contains(&facts.state) {
            return None;
        }
        match &self.from {
            Origin::Status(source) => source.find(facts),
            Origin::Constant(json) => Some(json.clone()),
        }
    }
}

impl Data {
    pub(super) fn render(&self, facts: &Facts<'_>) -> String {
        match self {
            Self::Fields(fields) => fields.render(facts),
            // A block has data in any case, or clients would pass it over.
            Self::Value(field) => field.render(facts).unwrap_or_else(|| "null".to_owned()),
        }
    }

    /// Whether it tells the state.
    pub(super) fn tells_states(&self) -> bool {
        match self {
            Self::Fields(fields) => fields.tell_states(),
            Self::Value(field) => field.sources().any(Source::is_status),
        }
    }
}

impl Kind {
    /// The type of that name; the error completes a sentence that begins with the key.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "integer" => Ok(Self::Integer),
            "number" => Ok(Self::Number),
            "string" => Ok(Self::Text),
            _ => Err("must be \"integer\", \"number\" or \"string\"".to_owned()),
        }
    }

    fn convert(self, json: String) -> Option<String> {
        let is_text = json.starts_with('"');
        match self {
            Self::Text if is_text => Some(json),
            Self::Text if json.starts_with(['{', '[']) => None,
            Self::Text => Some(quoted(&json)),
            Self::Number | Self::Integer => {
                let number = match is_text {
                    true => serde_json::from_str::<String>(&json)
                        .ok()?
                        .trim()
                        .to_owned(),
                    false => json,
                };
                let parsed: Number = serde_json::from_str(&number).ok()?;
                if self == Self::Number || parsed.is_i64() || parsed.is_u64() {
                    return Some(number);
                }
                // Without its fraction, as far as doubles count in ones.
                let whole = parsed.as_f64()?.trunc();
                (whole.abs() < 9e15).then(|| (whole as i64).to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_becomes_the_type_or_is_absent() {
        for (kind, json, expected) in [
            (Kind::Integer, "12", Some("12")),
            (Kind::Integer, "12.9", Some("12")),
            (Kind::Integer, "-0.5", Some("0")),
            (Kind::Integer, "\"0123\"", None),
            (Kind::Integer, "\" 123 \"", Some("123")),
            (Kind::Integer, "\"twelve\"", None),
            (Kind::Integer, "1e300", None),
            (
                Kind::Integer,
                "18446744073709551615",
                Some("18446744073709551615"),
            ),
            (Kind::Integer, "true", None),
            (Kind::Integer, "{}", None),
            (Kind::Number, "12.50", Some("12.50")),
            (Kind::Number, "\"12.5\"", Some("12.5")),
            (Kind::Number, "[1]", None),
            (Kind::Text, "\"a\\\"b\"", Some("\"a\\\"b\"")),
            (Kind::Text, "12", Some("\"12\"")),
            (Kind::Text, "false", Some("\"false\"")),
            (Kind::Text, "{\"a\":1}", None),
            (Kind::Text, "[]", None),
        ] {
            let converted = kind.convert(json.to_owned());
            assert_eq!(converted.as_deref(), expected, "{kind:?} {json}");
        }
    }
}
