//! CSV: finds the delimiter, the header and the column, then reads that column.

use csv::{ByteRecord, ReaderBuilder};

use super::super::syntax;
use super::{Collector, InputError, line_at};

/// Rows that are looked at to find the column: enough to see past a few odd ones, and few enough to
/// keep.
const SAMPLE_ROWS: usize = 1_000;

/// Rows that are looked at to find the delimiter.
const DELIMITER_ROWS: usize = 50;

pub(super) fn collect(bytes: &[u8], collector: &mut Collector) -> Result<(), InputError> {
    let delimiter = find_delimiter(bytes);
    let sample: Vec<ByteRecord> = records(bytes, delimiter).take(SAMPLE_ROWS).collect();
    let Some(first) = sample.first() else {
        return Ok(());
    };
    let Column { index, has_header } = find_column(first, &sample).ok_or(InputError::NoColumn)?;
    let mut last_start = 0;
    for record in records(bytes, delimiter).skip(usize::from(has_header)) {
        last_start = start_of(&record, bytes);
        let Some(cell) = record.get(index) else {
            if record.iter().all(|cell| cell.trim_ascii().is_empty()) {
                continue;
            }
            return Err(InputError::Csv {
                line: line_at(bytes, last_start),
                problem: format!(
                    "it has {} fields, but the e-mail address is expected in field {}",
                    record.len(),
                    index + 1
                ),
            });
        };
        let cell = str::from_utf8(cell).map_err(|_| InputError::NotUtf8 {
            line: line_at(bytes, last_start),
        })?;
        if !cell.trim().is_empty() {
            collector.push(cell);
        }
    }
    refuse_open_quote(bytes, last_start)
}

/// Where the addresses are.
struct Column {
    index: usize,
    has_header: bool,
}

fn find_column(first: &ByteRecord, sample: &[ByteRecord]) -> Option<Column> {
    let has_at = |cell: &[u8]| cell.contains(&b'@');
    let count = |index: usize| {
        sample
            .iter()
            .filter(|row| row.get(index).is_some_and(has_at))
            .count()
    };
    if !first.iter().any(has_at) {
        let names: Vec<String> = first.iter().map(plain_name).collect();
        let named = |is_name: fn(&str) -> bool| names.iter().position(|name| is_name(name));
        let index = named(|name| NAMES.contains(&name))
            .or_else(|| named(|name| name.ends_with("email") || name.ends_with("emailaddress")))
            .or_else(|| {
                named(|name| VAGUE_NAMES.contains(&name)).filter(|index| count(*index) > 0)
            });
        if let Some(index) = index {
            return Some(Column {
                index,
                has_header: true,
            });
        }
    }
    let width = sample.iter().map(ByteRecord::len).max().unwrap_or_default();
    // Reversed, since of equals `max_by_key` takes the last, and the leftmost column is the
    // likelier one.
    let index = (0..width)
        .rev()
        .max_by_key(|index| count(*index))
        .filter(|index| count(*index) > 0)?;
    Some(Column {
        index,
        has_header: !first.get(index).is_some_and(has_at),
    })
}

/// A header cell in lower case, without anything but letters.
fn plain_name(cell: &[u8]) -> String {
    String::from_utf8_lossy(cell)
        .chars()
        .filter(|letter| letter.is_alphabetic())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Header cells that mean an e-mail address.
const NAMES: &[&str] = &[
    "email",
    "emails",
    "mail",
    "emailaddress",
    "emailaddresses",
    "mailaddress",
    "emailadresse",
    "mailadresse",
    "emailadres",
    "emailid",
    "correo",
    "correoelectronico",
    "courriel",
    "adressemail",
    "adresseemail",
    "indirizzoemail",
    "epost",
];

/// Header cells that may also mean something else, such as a street.
const VAGUE_NAMES: &[&str] = &[
    "address",
    "addresses",
    "adresse",
    "contact",
    "recipient",
    "user",
    "username",
    "login",
    "to",
];

/// The delimiter that leaves the most cells that are addresses; among equals, the one that cuts the
/// most rows into as many fields as the first; a comma when there is none.
fn find_delimiter(bytes: &[u8]) -> u8 {
    let score = |delimiter: u8| {
        let rows: Vec<ByteRecord> = records(bytes, delimiter).take(DELIMITER_ROWS).collect();
        let is_address =
            |cell: &&[u8]| str::from_utf8(cell).is_ok_and(|cell| syntax::parse(cell).is_ok());
        let addresses = rows
            .iter()
            .flat_map(ByteRecord::iter)
            .filter(is_address)
            .count();
        let width = rows.first().map_or(0, ByteRecord::len);
        let even_rows = if width < 2 {
            0
        } else {
            rows.iter().filter(|row| row.len() == width).count()
        };
        (addresses, even_rows)
    };
    // Of equals `max_by_key` takes the last: the comma.
    [b'\t', b';', b',']
        .into_iter()
        .max_by_key(|delimiter| score(*delimiter))
        .unwrap_or(b',')
}

fn records(bytes: &[u8], delimiter: u8) -> impl Iterator<Item = ByteRecord> {
    ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes)
        .into_byte_records()
        // Reading from memory does not fail, and uneven rows are allowed, so there is no error to
        // lose.
        .map_while(Result::ok)
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

/// A quote that never closes swallows the rest of the file into one field, and the reader takes
/// that for a fine last row. Such a row goes over several lines and has an odd number of quotes,
/// which no finished one has.
fn refuse_open_quote(bytes: &[u8], last_start: usize) -> Result<(), InputError> {
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
