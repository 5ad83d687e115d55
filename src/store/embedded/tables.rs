//! What is in the file: its tables, their keys and their values.
//!
//! A job has a number of its own, under which its events, rows, input and answers stand. A name
//! that is used again gets another number, so that nothing of an earlier job can show through, and
//! what a removed job leaves behind can be swept later.
//!
//! Tables and their types are the format of the file: whoever changes one raises [`FORMAT`].

use redb::{ReadableTable, StorageError, Table, TableDefinition, TableError, WriteTransaction};
use uuid::Uuid;

use super::fault::Fault;
use crate::{
    job::{Seq, State},
    store::InputFormat,
};

/// The format that this program writes, and the only one that it reads.
pub(super) const FORMAT: u64 = 1;

/// Totals and settings of the file: see [`Totals`](super::totals::Totals).
pub(super) const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");

/// Jobs by name: what can be known of one without reading its document, then the document.
pub(super) const JOBS: TableDefinition<&str, (HeadValue, &[u8])> = TableDefinition::new("jobs");

/// Jobs by age (time of creation, name), with what a list filters by: see
/// [`Card`](super::card::Card).
pub(super) const CARDS: TableDefinition<(u64, &str), &[u8]> = TableDefinition::new("cards");

/// Unfinished jobs by age, with their kind.
pub(super) const UNFINISHED: TableDefinition<(u64, &str), Option<&str>> =
    TableDefinition::new("unfinished");

/// Finished jobs by the end of their retention.
pub(super) const EXPIRY: TableDefinition<(u64, &str), ()> = TableDefinition::new("expiry");

/// Kept events by job and seq: name and data.
pub(super) const EVENTS: TableDefinition<(u64, u64), (&str, &str)> = TableDefinition::new("events");

/// Kept events of all jobs by seq and job: the oldest leaves first.
pub(super) const EVENTS_BY_AGE: TableDefinition<(u64, u64), ()> =
    TableDefinition::new("events by age");

/// What a job with events knows of them: see [`EventLog`](super::events::EventLog).
pub(super) const EVENT_LOGS: TableDefinition<u64, (u64, u64, u64, u64, bool)> =
    TableDefinition::new("event logs");

/// Result rows by job and index.
pub(super) const ROWS: TableDefinition<(u64, u64), &str> = TableDefinition::new("rows");

/// Inputs by job, in pieces.
pub(super) const INPUTS: TableDefinition<(u64, u32), &[u8]> = TableDefinition::new("inputs");

/// Answers to report ids by job, in the order in which they were given: when, to what, and the
/// answer as JSON.
pub(super) const ANSWERS: TableDefinition<(u64, u64), (u64, &str, &[u8])> =
    TableDefinition::new("answers");

/// The place of each report id among those.
pub(super) const ANSWER_PLACES: TableDefinition<(u64, &str), u64> =
    TableDefinition::new("answer places");

/// Numbers of removed jobs whose events, rows, input and answers are still to be swept, with the
/// weight that goes with the last of them.
pub(super) const TRASH: TableDefinition<u64, u64> = TableDefinition::new("trash");

/// [`JOBS`]' first half as it is stored.
pub(super) type HeadValue = (u64, u128, u64, u8, Option<u128>, u64, u64, u64, u64, u8);

/// What can be known of a job without reading its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Under which its events, rows, input and answers stand.
    pub(super) number: u64,
    pub(super) incarnation: Uuid,
    /// As it was written: see [`Era`](super::record::Era).
    pub(super) seq: Seq,
    pub(super) state: State,
    pub(super) nonce: Option<Uuid>,
    /// How many result rows there are.
    pub(super) rows: u64,
    /// The place of the oldest answer that may be there, and that of the next.
    pub(super) first_answer: u64,
    pub(super) next_answer: u64,
    /// What all of the job weighs, its events aside.
    pub(super) weight: u64,
    pub(super) input: Option<InputFormat>,
}

/// States and formats of inputs are stored as their places here.
const FORMATS: [Option<InputFormat>; 4] = [
    None,
    Some(InputFormat::Json),
    Some(InputFormat::Text),
    Some(InputFormat::Csv),
];

impl Head {
    pub(super) fn value(&self) -> HeadValue {
        let place = FORMATS.iter().position(|format| *format == self.input);
        (
            self.number,
            self.incarnation.as_u128(),
            self.seq.get(),
            state_number(self.state),
            self.nonce.map(|nonce| nonce.as_u128()),
            self.rows,
            self.first_answer,
            self.next_answer,
            self.weight,
            place.expect("every format has its place") as u8,
        )
    }

    pub(super) fn of(value: HeadValue) -> Result<Self, Fault> {
        let (number, incarnation, seq, state, nonce, rows, first, next, weight, format) = value;
        Ok(Self {
            number,
            incarnation: Uuid::from_u128(incarnation),
            seq: Seq::new(seq).ok_or_else(|| Fault::damaged("a job's seq"))?,
            state: state_of(state)?,
            nonce: nonce.map(Uuid::from_u128),
            rows,
            first_answer: first,
            next_answer: next,
            weight,
            input: *FORMATS
                .get(usize::from(format))
                .ok_or_else(|| Fault::damaged("the format of a job's input"))?,
        })
    }
}

/// A state as it is stored.
pub(super) fn state_number(state: State) -> u8 {
    state as u8
}

pub(super) fn state_of(number: u8) -> Result<State, Fault> {
    let state = State::ALL.get(usize::from(number));
    state
        .copied()
        .ok_or_else(|| Fault::damaged("a job's state"))
}

/// All tables of a transaction that writes.
pub(super) struct Tables<'txn> {
    pub(super) numbers: Table<'txn, &'static str, u64>,
    pub(super) jobs: Table<'txn, &'static str, (HeadValue, &'static [u8])>,
    pub(super) cards: Table<'txn, (u64, &'static str), &'static [u8]>,
    pub(super) unfinished: Table<'txn, (u64, &'static str), Option<&'static str>>,
    pub(super) expiry: Table<'txn, (u64, &'static str), ()>,
    pub(super) events: Table<'txn, (u64, u64), (&'static str, &'static str)>,
    pub(super) events_by_age: Table<'txn, (u64, u64), ()>,
    pub(super) event_logs: Table<'txn, u64, (u64, u64, u64, u64, bool)>,
    pub(super) rows: Table<'txn, (u64, u64), &'static str>,
    pub(super) inputs: Table<'txn, (u64, u32), &'static [u8]>,
    pub(super) answers: Table<'txn, (u64, u64), (u64, &'static str, &'static [u8])>,
    pub(super) answer_places: Table<'txn, (u64, &'static str), u64>,
    pub(super) trash: Table<'txn, u64, u64>,
    pub(super) names: super::names::NamesTables<'txn>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(transaction: &'txn WriteTransaction) -> Result<Self, TableError> {
        Ok(Self {
            numbers: transaction.open_table(NUMBERS)?,
            jobs: transaction.open_table(JOBS)?,
            cards: transaction.open_table(CARDS)?,
            unfinished: transaction.open_table(UNFINISHED)?,
            expiry: transaction.open_table(EXPIRY)?,
            events: transaction.open_table(EVENTS)?,
            events_by_age: transaction.open_table(EVENTS_BY_AGE)?,
            event_logs: transaction.open_table(EVENT_LOGS)?,
            rows: transaction.open_table(ROWS)?,
            inputs: transaction.open_table(INPUTS)?,
            answers: transaction.open_table(ANSWERS)?,
            answer_places: transaction.open_table(ANSWER_PLACES)?,
            trash: transaction.open_table(TRASH)?,
            names: super::names::NamesTables::open(transaction)?,
        })
    }

    /// A job's head, and its document as it is stored.
    pub(super) fn job(&self, name: &str) -> Result<Option<(Head, Vec<u8>)>, Fault> {
        job(&self.jobs, name)
    }

    /// A job's head, and how long its document is.
    pub(super) fn head(&self, name: &str) -> Result<Option<(Head, usize)>, Fault> {
        let Some(row) = self.jobs.get(name)? else {
            return Ok(None);
        };
        let (head, document) = row.value();
        Ok(Some((Head::of(head)?, document.len())))
    }
}

/// A job's head, and its document as it is stored.
pub(super) fn job(
    jobs: &impl ReadableTable<&'static str, (HeadValue, &'static [u8])>,
    name: &str,
) -> Result<Option<(Head, Vec<u8>)>, Fault> {
    let Some(row) = jobs.get(name)? else {
        return Ok(None);
    };
    let (head, document) = row.value();
    Ok(Some((Head::of(head)?, document.to_vec())))
}

/// A job's head alone.
pub(super) fn head(
    jobs: &impl ReadableTable<&'static str, (HeadValue, &'static [u8])>,
    name: &str,
) -> Result<Option<Head>, Fault> {
    let row = jobs.get(name)?;
    row.map(|row| Head::of(row.value().0)).transpose()
}

/// The first key of a table that is ordered by time, with its name, when it is not after `now`.
pub(super) fn first_due<V: redb::Value + 'static>(
    table: &impl ReadableTable<(u64, &'static str), V>,
    now: u64,
) -> Result<Option<(u64, String)>, StorageError> {
    let Some((key, _)) = table.first()? else {
        return Ok(None);
    };
    let (time, name) = key.value();
    Ok((time <= now).then(|| (time, name.to_owned())))
}
