//! One JSON object a line: a status as it was on the wire, an event with the job that it is of.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use serde::Serialize;
use serde_json::value::RawValue;

use super::words::is_harmful;
use crate::cli::client::follow::news::{News, Told};

/// Lines for programs.
pub struct Json<'o> {
    output: &'o mut dyn Write,
    with_events: bool,
}

/// What is no status; a status has no `event`.
#[derive(Serialize)]
struct Other<'a> {
    event: &'a str,
    job_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
}

impl<'o> Json<'o> {
    pub(super) fn new(output: &'o mut dyn Write, with_events: bool) -> Self {
        Self {
            output,
            with_events,
        }
    }

    pub(super) fn show(&mut self, told: &[Told]) -> io::Result<()> {
        for Told { news, .. } in told {
            let line = match news {
                News::Status(status) => escape(&status.text),
                News::Event(event) if self.with_events => text(&Other {
                    event: &event.name,
                    job_id: &event.job_id,
                    seq: Some(event.seq),
                    data: Some(&event.data),
                    code: None,
                })?,
                // No event can have that name.
                News::Removed(removed) => text(&Other {
                    event: "removed",
                    job_id: &removed.job_id,
                    seq: None,
                    data: None,
                    code: removed.code.as_deref(),
                })?,
                News::Event(_) | News::Line(_) | News::Ended(_) => continue,
            };
            writeln!(self.output, "{line}")?;
        }
        self.output.flush()
    }
}

fn text(other: &Other<'_>) -> io::Result<String> {
    Ok(escape(&serde_json::to_string(other)?))
}

/// The same JSON. Characters that a terminal might obey can only stand in its strings, where they have another
/// spelling.
fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            // Only between its parts: in its strings they are spelt out.
            '\n' | '\r' | '\t' => escaped.push(' '),
            _ if is_harmful(letter) => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_is_the_same_json() {
        let json = r#"{"a":"é","b":[1.50,null]}"#;
        assert_eq!(escape(json), json);
        assert_eq!(escape("{\r\n\t\"a\": 1}"), "{   \"a\": 1}");
        let harmful = "{\"a\":\"x\u{9b}31m\u{202e}\u{e0001}\u{7f}\"}";
        let escaped = escape(harmful);
        assert!(!escaped.contains(is_harmful), "{escaped}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(read(&escaped), read(harmful));
    }
}
