//! The report ids that a job remembers: the last thousand, for a day.

use proptest::prelude::*;

use super::at;
use crate::job::{Answer, JobId, Ledger, ReportId, Seq, State};

const DAY: u64 = 86_400;

fn id(number: usize) -> ReportId {
    ReportId::parse(&format!("r-{number}")).expect("printable")
}

fn answer(number: usize) -> Answer {
    Answer {
        job_id: JobId::parse("job-1").expect("a valid name"),
        status: State::Processing,
        seq: Seq::new(number as u64).expect("small"),
        cancel_requested: false,
    }
}

#[test]
fn a_repeat_finds_the_first_answer_for_a_day() {
    let mut ledger = Ledger::default();
    ledger.remember(id(1), answer(7), at(0));
    assert_eq!(ledger.find(&id(1), at(DAY - 1)), Some(&answer(7)));
    assert_eq!(ledger.find(&id(1), at(DAY)), None);
    assert_eq!(ledger.find(&id(2), at(0)), None);
}

#[test]
fn the_last_thousand_are_remembered() {
    let mut ledger = Ledger::default();
    for number in 0..1_500 {
        ledger.remember(id(number), answer(number), at(0));
    }
    assert_eq!(ledger.find(&id(499), at(1)), None);
    for number in 500..1_500 {
        assert_eq!(ledger.find(&id(number), at(1)), Some(&answer(number)));
    }
}

#[test]
fn an_id_that_was_forgotten_by_age_can_be_used_anew() {
    let mut ledger = Ledger::default();
    ledger.remember(id(1), answer(1), at(0));
    ledger.remember(id(2), answer(2), at(10));
    ledger.remember(id(1), answer(3), at(DAY + 5));
    assert_eq!(ledger.find(&id(1), at(DAY + 6)), Some(&answer(3)));
    assert_eq!(ledger.find(&id(2), at(DAY + 6)), Some(&answer(2)));
    assert_eq!(ledger.find(&id(2), at(DAY + 10)), None);
}

proptest! {
    /// Against a plain list of everything that was ever remembered.
    #[test]
    fn it_agrees_with_a_list(entries in prop::collection::vec((0..40_usize, 0..2 * DAY), 0..80), probe in 0..3 * DAY) {
        let mut entries = entries;
        entries.sort_by_key(|(_, seconds)| *seconds);
        let mut ledger = Ledger::default();
        for (place, (number, seconds)) in entries.iter().enumerate() {
            ledger.remember(id(*number), answer(place), at(*seconds));
        }
        let last = entries.last().map_or(0, |(_, seconds)| *seconds);
        let now = last.max(probe);
        for number in 0..40 {
            let newest = entries.iter().enumerate().rev().find(|(_, (known, _))| *known == number);
            let expected = newest
                .filter(|(_, (_, seconds))| seconds + DAY > now)
                .map(|(place, _)| answer(place));
            prop_assert_eq!(ledger.find(&id(number), at(now)), expected.as_ref());
        }
    }
}
