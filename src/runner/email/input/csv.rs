//! CSV: finds the delimiter, the header and the column, then reads that column.

mod rows;

use super::super::syntax;
use super::{Collector, InputError, line_at};
use rows::Rows;

/// Rows that are looked at to find the column: enough to see past a few odd ones.
const SAMPLE_ROWS: usize = 1_000;

/// Rows that are looked at to find the delimiter.
const DELIMITER_ROWS: usize = 50;

/// The longest header cell that can name the column, in bytes; anything longer is a text.
const MAX_NAME_BYTES: usize = 256;

pub(super) fn collect(bytes: &[u8], collector: &mut Collector<'_>) -> Result<(), InputError> {
    let is_stopped = collector.is_stopped();
    let delimiter = find_delimiter(bytes, is_stopped);
    let rows = || Rows::new(bytes, delimiter, is_stopped);
    let Some(Column { index, has_header }) = find_column(&mut rows())? else {
        return Ok(());
    };
    let mut rows = rows();
    if has_header {
        rows.next()?;
    }
    let mut last_start = 0;
    while let Some(row) = rows.next()? {
        last_start = row.start;
        let Some(cell) = row.cells.get(index) else {
            if row.cells.iter().all(|cell| cell.trim_ascii().is_empty()) {
                continue;
            }
            return Err(InputError::Csv {
                line: line_at(bytes, row.start),
                problem: format!(
                    "it has {} fields, but the e-mail address is expected in field {}",
                    row.cells.len(),
                    index + 1
                ),
            });
        };
        let cell = str::from_utf8(cell).map_err(|_| InputError::NotUtf8 {
            line: line_at(bytes, row.start),
        })?;
        if !cell.trim().is_empty() {
            collector.push(cell)?;
        }
    }
    rows::refuse_open_quote(bytes, last_start)
}

/// Where the addresses are.
struct Column {
    index: usize,
    has_header: bool,
}

/// The column by the first rows; nothing when there are none.
fn find_column(rows: &mut Rows<'_>) -> Result<Option<Column>, InputError> {
    let has_at = |cell: &[u8]| cell.contains(&b'@');
    let Some(first) = rows.next()? else {
        return Ok(None);
    };
    let names: Vec<String> = first.cells.iter().map(plain_name).collect();
    let is_address: Vec<bool> = first.cells.iter().map(has_at).collect();

    // How many rows have an `@` there, for each column.
    let mut counts: Vec<usize> = is_address.iter().copied().map(usize::from).collect();
    for _ in 1..SAMPLE_ROWS {
        let Some(row) = rows.next()? else {
            break;
        };
        counts.resize(counts.len().max(row.cells.len()), 0);
        for (count, cell) in counts.iter_mut().zip(row.cells) {
            *count += usize::from(has_at(cell));
        }
    }

    if !is_address.contains(&true) {
        let named = |is_name: fn(&str) -> bool| names.iter().position(|name| is_name(name));
        let index = named(|name| NAMES.contains(&name))
            .or_else(|| named(|name| name.ends_with("email") || name.ends_with("emailaddress")))
            .or_else(|| {
                named(|name| VAGUE_NAMES.contains(&name)).filter(|index| counts[*index] > 0)
            });
        if let Some(index) = index {
            return Ok(Some(Column {
                index,
                has_header: true,
            }));
        }
    }
    // Reversed, since of equals `max_by_key` takes the last, and the leftmost column is the
    // likelier one.
    let index = (0..counts.len())
        .rev()
        .max_by_key(|index| counts[*index])
        .filter(|index| counts[*index] > 0)
        .ok_or(InputError::NoColumn)?;
    Ok(Some(Column {
        index,
        has_header: !is_address.get(index).is_some_and(|is_address| *is_address),
    }))
}

/// A header cell in lower case, without anything but letters.
fn plain_name(cell: &[u8]) -> String {
    if cell.len() > MAX_NAME_BYTES {
        return String::new();
    }
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
fn find_delimiter(bytes: &[u8], is_stopped: &dyn Fn() -> bool) -> u8 {
    let score = |delimiter: u8| {
        let is_address =
            |cell: &&[u8]| str::from_utf8(cell).is_ok_and(|cell| syntax::parse(cell).is_ok());
        let (mut addresses, mut even_rows, mut width) = (0, 0, None);
        let mut rows = Rows::new(bytes, delimiter, is_stopped);
        for _ in 0..DELIMITER_ROWS {
            // With a wrong delimiter any text can be out of bounds, and for the right one the next
            // reading says so.
            let Ok(Some(row)) = rows.next() else {
                break;
            };
            addresses += row.cells.iter().filter(is_address).count();
            let is_even = row.cells.len() == *width.get_or_insert(row.cells.len());
            even_rows += usize::from(is_even && row.cells.len() > 1);
        }
        (addresses, even_rows)
    };
    // Of equals `max_by_key` takes the last: the comma.
    [b'\t', b';', b',']
        .into_iter()
        .max_by_key(|delimiter| score(*delimiter))
        .unwrap_or(b',')
}
