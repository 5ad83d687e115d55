//! What every message carries: its number on its job, and when it was sent.
//!
//! Both stand in a fixed number of digits, so that reading them costs a search and no parsing: at
//! a million deliveries a second the load must not be what is measured.

use memchr::memchr;

/// How a mark begins and ends. Nothing else that any peer sends has this character, and JSON does
/// not escape it.
const EDGE: u8 = b'~';

const NUMBER_DIGITS: usize = 10;
const TIME_DIGITS: usize = 16;

/// Bytes of a mark: `~0000000042@0000001234567890~`.
const LENGTH: usize = 1 + NUMBER_DIGITS + 1 + TIME_DIGITS + 1;

/// Bytes between two chunks of HTTP/1.1, at most: CR LF, a length in hexadecimal digits, CR LF.
const SEAM: usize = 2 + 8 + 2;

/// What may have to be read again with what comes next is shorter than this.
pub(crate) const MOST_CARRIED: usize = LENGTH + SEAM;

/// A message's number on its job, from 1, and the nanoseconds at which it was sent, on the clock of
/// the load. Number 0 is the state that a watcher finds when it joins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mark {
    pub(crate) number: u32,
    pub(crate) sent: u64,
}

/// What an edge is the beginning of.
enum Found {
    /// A mark of so many bytes.
    Mark(Mark, usize),
    /// Perhaps a mark, of which the rest has not come.
    Partial,
    Nothing,
}

impl Mark {
    pub(crate) fn text(self) -> String {
        format!("~{:010}@{:016}~", self.number, self.sent)
    }

    fn read(bytes: &[u8; LENGTH]) -> Option<Self> {
        let (number, rest) = bytes[1..].split_at(NUMBER_DIGITS);
        let (time, end) = rest[1..].split_at(TIME_DIGITS);
        if rest[0] != b'@' || end[0] != EDGE {
            return None;
        }
        Some(Self {
            number: digits(number)?.try_into().ok()?,
            sent: digits(time)?,
        })
    }
}

/// Hands every whole mark to `found`. What stands from the returned place on may be the beginning
/// of one, and is shorter than [`MOST_CARRIED`].
pub(crate) fn scan(bytes: &[u8], mut found: impl FnMut(Mark)) -> usize {
    let mut from = 0;
    while let Some(at) = memchr(EDGE, &bytes[from..]) {
        let begin = from + at;
        from = match look(&bytes[begin..]) {
            Found::Mark(mark, length) => {
                found(mark);
                begin + length
            }
            Found::Partial => return begin,
            Found::Nothing => begin + 1,
        };
    }
    bytes.len()
}

fn look(bytes: &[u8]) -> Found {
    let Some(whole) = bytes.first_chunk() else {
        return Found::Partial;
    };
    if let Some(mark) = Mark::read(whole) {
        return Found::Mark(mark, LENGTH);
    }
    // A server that gathers what it writes may begin a new chunk in the midst of a mark.
    let Some(begin) = memchr(b'\r', whole) else {
        return Found::Nothing;
    };
    let seam = &bytes[begin..bytes.len().min(begin + SEAM)];
    let Some(end) = memchr(b'\r', &seam[1..]) else {
        let is_whole = seam.len() == SEAM;
        return if is_whole {
            Found::Nothing
        } else {
            Found::Partial
        };
    };
    // Past the second CR, which is one behind where it was looked for, and its LF.
    let behind = begin + end + 3;
    let Some(rest) = bytes.get(behind..behind + LENGTH - begin) else {
        return Found::Partial;
    };
    let mut joined = [0; LENGTH];
    joined[..begin].copy_from_slice(&bytes[..begin]);
    joined[begin..].copy_from_slice(rest);
    match Mark::read(&joined) {
        Some(mark) => Found::Mark(mark, behind + LENGTH - begin),
        None => Found::Nothing,
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        Some(value * 10 + u64::from(digit))
    })
}

/// The JSON that a peer which knows nothing of jobs is given to pass on: a real status of
/// progressd's, in which the mark is replaced.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template {
    before: String,
    after: String,
}

impl Template {
    /// Finds the mark in a status.
    pub(crate) fn new(status: &str) -> Option<Self> {
        let begin = status.find(char::from(EDGE))?;
        Some(Self {
            before: status[..begin].to_owned(),
            after: status.get(begin + LENGTH..)?.to_owned(),
        })
    }

    pub(crate) fn fill(&self, mark: Mark) -> String {
        format!("{}{}{}", self.before, mark.text(), self.after)
    }
}
