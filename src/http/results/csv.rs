//! Result rows as CSV (RFC 4180), in which a spreadsheet finds nothing to run.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::job::Json;

/// Most columns of a file; keys that come later are left out.
const MOST_COLUMNS: usize = 256;

/// The union of rows' keys in order of appearance.
#[derive(Debug, Default)]
pub(super) struct Columns {
    names: Vec<String>,
    known: HashSet<String>,
}

/// A row's keys and values in order. The values stay text, so that a number of any size comes out
/// as it went in.
#[derive(Default)]
struct Cells<'row>(Vec<(String, &'row RawValue)>);

impl Columns {
    /// Adds the keys of `rows`.
    pub(super) fn take(&mut self, rows: &[Json]) {
        for row in rows {
            for (key, _) in Cells::of(row).0 {
                if !self.is_full() && self.known.insert(key.clone()) {
                    self.names.push(key);
                }
            }
        }
    }

    /// Whether no further column will be taken.
    pub(super) fn is_full(&self) -> bool {
        self.names.len() == MOST_COLUMNS
    }

    /// The lines of `rows`, below a line of names when they are the first.
    pub(super) fn write(&self, rows: &[Json], is_first: bool) -> Vec<u8> {
        if self.names.is_empty() {
            return Vec::new();
        }
        let mut writer = ::csv::WriterBuilder::new()
            .terminator(::csv::Terminator::CRLF)
            .from_writer(Vec::new());
        let written = "writing to memory does not fail";
        if is_first {
            let names = self.names.iter().map(|name| harmless(name));
            writer.write_record(names).expect(written);
        }
        for row in rows {
            let cells: HashMap<_, _> = Cells::of(row).0.into_iter().collect();
            let cell = |name: &String| cells.get(name).map(|value| show(value));
            let record = self.names.iter().map(|name| cell(name).unwrap_or_default());
            writer.write_record(record).expect(written);
        }
        writer.into_inner().expect(written)
    }
}

impl<'row> Cells<'row> {
    fn of(row: &'row Json) -> Self {
        // Rows are objects by the time they are stored; anything else has no cells.
        serde_json::from_str(row.as_str()).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Cells<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CellsVisitor;
        impl<'de> Visitor<'de> for CellsVisitor {
            type Value = Cells<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cells<'de>, A::Error> {
                let mut cells = Vec::with_capacity(map.size_hint().unwrap_or_default());
                while let Some(cell) = map.next_entry()? {
                    cells.push(cell);
                }
                Ok(Cells(cells))
            }
        }
        deserializer.deserialize_map(CellsVisitor)
    }
}

/// A value as a cell: a string's text, nothing for null, everything else as JSON.
fn show(value: &RawValue) -> String {
    match value.get() {
        "null" => String::new(),
        text if text.starts_with('"') => match serde_json::from_str::<String>(text) {
            Ok(text) => harmless(&text),
            // An escape that names no character; the quote before it keeps it harmless.
            Err(_) => text.to_owned(),
        },
        text => text.to_owned(),
    }
}

/// A text that no spreadsheet takes for a formula (OWASP, CSV injection).
fn harmless(text: &str) -> String {
    let first = text.trim_start_matches(' ').chars().next();
    if matches!(first, Some('=' | '+' | '-' | '@' | '\t' | '\r')) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests;
