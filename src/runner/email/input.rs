//! From an uploaded file to a list of addresses, or to a sentence that says what is wrong with it.
//!
//! - **Text**: one address per line (LF, CRLF or CR); blank lines are skipped. No comments and no
//!   separators: `#` and `,` are part of the line.
//! - **CSV**: rows of fields, separated by `,`, `;` or TAB (found out), quoted with `"` (RFC 4180).
//!   The addresses are in the column whose header says so (`email`, `E-Mail`, `mail`,
//!   `email_address`, `customer_email`, …; `address` and the like only if there is an `@` below),
//!   or else in the one with the most `@` in the first 1,000 rows; the first row counts as a
//!   header when it has none. Rows without an address are skipped. Other columns need not be
//!   UTF-8.
//! - **JSON**: an array of addresses, or of objects with an e-mail field, or either under `emails`
//!   in an object.
//!
//! Spaces around an address and a byte order mark are dropped. An address over
//! [`super::syntax::MAX_INPUT_BYTES`] is kept cut, with an ellipsis, for its row; so a list takes
//! at most that much per address, however long its lines. Reading takes memory for the list and
//! for one row or string of the file beside it, whatever the file is like.

mod collect;
mod csv;
mod json;

use std::fmt;

use collect::Collector;

use crate::store::InputFormat;

/// Addresses in input order, kept in one string: a list of 100,000 takes little more than its text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AddressList {
    text: String,
    /// Where each address ends in `text`.
    ends: Vec<usize>,
}

impl AddressList {
    /// Reads a whole file, or until `is_stopped` says so: it is asked every few thousand lines.
    ///
    /// # Errors
    /// When the file is unusable as a whole; wrong addresses are no error, they get rows of their
    /// own. [`InputError::Stopped`] when the reading was stopped.
    pub fn parse(
        bytes: &[u8],
        format: InputFormat,
        max_emails: usize,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Self, InputError> {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
            return Err(InputError::Utf16);
        }
        if bytes.contains(&0) {
            return Err(InputError::NotText);
        }
        let mut collector = Collector::new(max_emails, is_stopped);
        match format {
            InputFormat::Text => collect_lines(utf8(bytes)?, &mut collector)?,
            InputFormat::Csv => csv::collect(bytes, &mut collector)?,
            InputFormat::Json => json::collect(utf8(bytes)?, &mut collector)?,
        }
        collector.finish()
    }

    /// How many addresses there are; at least one after a successful parse.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The address at a position, counted from 0.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.text[start..end])
    }

    /// All addresses in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl fmt::Debug for AddressList {
    /// The size only: the addresses of people do not belong into logs.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AddressList")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Why a file is unusable. The text is a sentence for the person who uploaded it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// No address at all.
    #[error("The list is empty")]
    Empty,
    /// Somebody wanted the list no longer.
    #[error("The reading of the list was stopped")]
    Stopped,
    /// More addresses than allowed.
    #[error("The list has {found} addresses; at most {max} are allowed")]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many may be.
        max: usize,
    },
    /// So many more that nobody counted them to the end.
    #[error("The list has over {counted} addresses; at most {max} are allowed")]
    FarTooMany {
        /// How many were counted.
        counted: usize,
        /// How many may be.
        max: usize,
    },
    /// Bytes that are not UTF-8, where an address is read.
    #[error("Line {line} is not valid UTF-8")]
    NotUtf8 {
        /// Counted from 1.
        line: usize,
    },
    /// A byte order mark of UTF-16.
    #[error("The list is UTF-16 text; save it as UTF-8")]
    Utf16,
    /// Zero bytes: a spreadsheet, an archive, an image.
    #[error("The list is not a text file")]
    NotText,
    /// Text without a single `@`.
    #[error("No e-mail addresses found: none of the {lines} lines has an @")]
    NoAddresses {
        /// How many lines there are, blank ones left out.
        lines: usize,
    },
    /// Neither header nor content of a CSV file shows where the addresses are.
    #[error("No column with e-mail addresses found")]
    NoColumn,
    /// CSV that cannot be read on.
    #[error("Invalid CSV: line {line}: {problem}")]
    Csv {
        /// Where the row begins, counted from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// JSON that cannot be parsed, or is not a list of addresses; the text says where.
    #[error("Invalid JSON: {0}")]
    Json(String),
}

/// Plain text: every line is an address.
fn collect_lines(text: &str, collector: &mut Collector) -> Result<(), InputError> {
    // One wrong line deserves a row that says so, but a text without any address is another file's
    // content.
    let has_addresses = text.contains('@');
    let mut count = 0;
    for line in text.split(['\n', '\r']) {
        collector.step()?;
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        count += 1;
        if has_addresses {
            collector.push(line)?;
        }
    }
    if count > 0 && !has_addresses {
        return Err(InputError::NoAddresses { lines: count });
    }
    Ok(())
}

fn utf8(bytes: &[u8]) -> Result<&str, InputError> {
    str::from_utf8(bytes).map_err(|error| InputError::NotUtf8 {
        line: line_at(bytes, error.valid_up_to()),
    })
}

/// The line, counted from 1, in which a byte stands.
fn line_at(bytes: &[u8], offset: usize) -> usize {
    let before = bytes.get(..offset).unwrap_or(bytes);
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests;
