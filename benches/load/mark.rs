//! What every message carries: its number on its job, and when it was sent.
//!
//! Both stand in a fixed number of digits, so that reading them costs a search and no parsing: at
//! a million deliveries a second the load must not be what is measured.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// How a mark begins. Nothing else that any peer sends has these two characters in a row, and JSON
/// escapes neither.
const OPENING: &[u8] = b"~#";

const NUMBER_DIGITS: usize = 10;
const TIME_DIGITS: usize = 16;

/// Bytes of a mark: `~#0000000042@0000001234567890~`.
pub(crate) const LENGTH: usize = OPENING.len() + NUMBER_DIGITS + 1 + TIME_DIGITS + 1;

/// A message's number on its job, from 1, and the nanoseconds at which it was sent, on the clock of
/// the load. Number 0 is the state that a watcher finds when it joins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mark {
    pub(crate) number: u32,
    pub(crate) sent: u64,
}

impl Mark {
    pub(crate) fn text(self) -> String {
        format!("~#{:010}@{:016}~", self.number, self.sent)
    }
}

/// Hands every whole mark to `found`. What stands from the returned place on may be the beginning
/// of one, and is shorter than a mark.
pub(crate) fn scan(bytes: &[u8], mut found: impl FnMut(Mark)) -> usize {
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(OPENING));
    let mut from = 0;
    while let Some(at) = FINDER.find(&bytes[from..]) {
        let begin = from + at;
        let Some(mark) = bytes.get(begin..begin + LENGTH) else {
            return begin;
        };
        let (number, rest) = mark[OPENING.len()..].split_at(NUMBER_DIGITS);
        found(Mark {
            number: digits(number) as u32,
            sent: digits(&rest[1..=TIME_DIGITS]),
        });
        from = begin + LENGTH;
    }
    // The first character of an opening may be the last that has come.
    bytes.len() - usize::from(bytes[from..].last() == Some(&OPENING[0]))
}

fn digits(text: &[u8]) -> u64 {
    text.iter()
        .fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))
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
        let begin = status.find("~#")?;
        Some(Self {
            before: status[..begin].to_owned(),
            after: status.get(begin + LENGTH..)?.to_owned(),
        })
    }

    pub(crate) fn fill(&self, mark: Mark) -> String {
        format!("{}{}{}", self.before, mark.text(), self.after)
    }
}
