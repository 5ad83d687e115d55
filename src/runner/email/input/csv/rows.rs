//! The rows of a CSV file one after the other, in the memory of one.
//!
//! The parser grows a row as long as it has fields, eight bytes for the end of each: a line of
//! commas would take many times its own length. It cannot be told to stop in between, so the bytes
//! are handed to it in small pieces, and none after the one that goes too far.

use std::io::{self, Read};

use csv::{ByteRecord, Reader, ReaderBuilder};

use super::super::{InputError, line_at};

/// Most fields in a row. Exports of customer databases have some hundred.
const MAX_COLUMNS: usize = 1_024;

/// Most delimiters in a row, those in quoted texts included: more than a long text has, and few
/// enough that the ends of as many fields take 8 MiB.
const MAX_DELIMITERS: usize = 1_000_000;

/// Reads rows; one buffer serves all of them.
pub(super) struct Rows<'a> {
    bytes: &'a [u8],
    reader: Reader<Pieces<'a>>,
    cells: ByteRecord,
}

/// A row and where its own text begins in the file.
pub(super) struct Row<'a> {
    pub(super) cells: &'a ByteRecord,
    pub(super) start: usize,
}

/// The part of the file that the parser has not seen.
struct Pieces<'a> {
    rest: &'a [u8],
    delimiter: u8,
    /// How many more delimiters the row at hand may have.
    delimiters_left: usize,
    is_stopped: &'a dyn Fn() -> bool,
}

impl<'a> Rows<'a> {
    pub(super) fn new(bytes: &'a [u8], delimiter: u8, is_stopped: &'a dyn Fn() -> bool) -> Self {
        let pieces = Pieces {
            rest: bytes,
            delimiter,
            delimiters_left: MAX_DELIMITERS,
            is_stopped,
        };
        Self {
            bytes,
            reader: ReaderBuilder::new()
                .delimiter(delimiter)
                .has_headers(false)
                .flexible(true)
                .from_reader(pieces),
            cells: ByteRecord::new(),
        }
    }

    /// The next row; nothing at the end. After an error there is no going on.
    pub(super) fn next(&mut self) -> Result<Option<Row<'_>>, InputError> {
        self.reader.get_mut().delimiters_left = MAX_DELIMITERS;
        let read = self.reader.read_byte_record(&mut self.cells);
        let start = start_of(&self.cells, self.bytes);
        let refuse = |problem| InputError::Csv {
            line: line_at(self.bytes, start),
            problem,
        };
        match read {
            Ok(true) if self.cells.len() > MAX_COLUMNS => Err(refuse(format!(
                "it has {} fields; at most {MAX_COLUMNS} are allowed",
                self.cells.len()
            ))),
            Ok(true) => Ok(Some(Row {
                cells: &self.cells,
                start,
            })),
            Ok(false) => Ok(None),
            // Uneven rows are allowed, so the only errors are those of `Pieces`.
            Err(_) if (self.reader.get_ref().is_stopped)() => Err(InputError::Stopped),
            Err(_) => {
                refuse_open_quote(self.bytes, start)?;
                Err(refuse(format!(
                    "it has over {MAX_DELIMITERS} delimiters; at most {MAX_COLUMNS} fields are allowed"
                )))
            }
        }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        if (self.is_stopped)() {
            return Err(io::Error::other("stopped"));
        }
        let length = self.rest.read(piece)?;
        let is_delimiter = |byte: &&u8| **byte == self.delimiter;
        let delimiters = piece[..length].iter().filter(is_delimiter).count();
        self.delimiters_left = self
            .delimiters_left
            .checked_sub(delimiters)
            .ok_or_else(|| io::Error::other("too many delimiters"))?;
        Ok(length)
    }
}

/// A quote that never closes swallows the rest of the file into one field, and the reader takes
/// that for a fine last row. Such a row goes over several lines and has an odd number of quotes,
/// which no finished one has.
pub(super) fn refuse_open_quote(bytes: &[u8], last_start: usize) -> Result<(), InputError> {
    let last = bytes.get(last_start..).unwrap_or_default().trim_ascii_end();
    let quotes = last.iter().filter(|byte| **byte == b'"').count();
    if quotes % 2 == 1 && last.contains(&b'\n') {
        let line = line_at(bytes, last_start);
        return Err(InputError::Csv {
            line,
            problem: "a quoted field is never closed".to_owned(),
        });
    }
    Ok(())
}

/// Where a record's own text begins; the reader's position stands before the blank lines that it
/// skipped.
fn start_of(record: &ByteRecord, bytes: &[u8]) -> usize {
    let before = record.position().map_or(0, |position| {
        usize::try_from(position.byte()).unwrap_or(usize::MAX)
    });
    let rest = bytes.get(before..).unwrap_or_default();
    before
        + rest
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count()
}
