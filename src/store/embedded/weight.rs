//! What an entry of a table takes of the file.

/// What an entry costs besides its key and value: its place in the page, and its share of the
/// pages above.
const ENTRY: usize = 24;

/// From this on an entry has a run of pages to itself, whose number is a power of two.
const LARGE: usize = 2_048;

/// A page.
const PAGE: usize = 4_096;

/// What an entry with a key and a value of so many bytes takes of the file. Pages are three
/// quarters full as a rule. A test compares the sum with what the file says itself.
pub(super) fn weigh(key: usize, value: usize) -> u64 {
    let bytes = key + value + ENTRY;
    let taken = match bytes {
        0..LARGE => bytes * 4 / 3,
        large => large.next_power_of_two().max(PAGE),
    };
    taken as u64
}
