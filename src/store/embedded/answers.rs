//! What jobs remember of reports that may be sent twice.

use redb::ReadableTable;

use super::{fault::Fault, tables::Head, weight::weigh, work::Work};
use crate::{
    job::{Answer, Ledger, ReportId, Seq, Timestamp},
    store::Committed,
};

/// Everything that a job remembers.
pub(super) fn ledger(
    answers: &impl ReadableTable<(u64, u64), (u64, &'static str, &'static [u8])>,
    head: &Head,
) -> Result<Ledger, Fault> {
    let mut ledger = Ledger::default();
    if head.first_answer == head.next_answer {
        return Ok(ledger);
    }
    let all = (head.number, head.first_answer)..(head.number, head.next_answer);
    for entry in answers.range(all)? {
        let (_, entry) = entry?;
        let (at, report_id, answer) = entry.value();
        let report_id = ReportId::parse(report_id).map_err(Fault::damaged)?;
        let answer = read(answer)?;
        ledger.remember(report_id, answer, Timestamp::from_micros(at));
    }
    Ok(ledger)
}

fn read(answer: &[u8]) -> Result<Answer, Fault> {
    serde_json::from_slice(answer)
        .map_err(|error| Fault::Damaged(format!("an answer that is remembered ({error})")))
}

/// What an answer weighs, in both tables.
fn weight_of(report_id: &str, answer: &[u8]) -> i64 {
    (weigh(16, 8 + report_id.len() + answer.len()) + weigh(8 + report_id.len(), 8)) as i64
}

impl Work<'_, '_> {
    /// Whether the job remembers any of these report ids.
    pub(super) fn knows_any(
        &self,
        head: &Head,
        answers: &[(ReportId, u64, Answer)],
        now: Timestamp,
    ) -> Result<bool, Fault> {
        for (report_id, ..) in answers {
            let place = self
                .tables
                .answer_places
                .get((head.number, report_id.as_str()))?;
            let Some(place) = place else {
                continue;
            };
            let answer = self.tables.answers.get((head.number, place.value()))?;
            if answer.is_some_and(|answer| !is_outdated(answer.value().0, now)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Remembers answers, and forgets those that are too old or too many; by how much the job
    /// has become heavier.
    pub(super) fn remember(
        &mut self,
        head: &mut Head,
        entries: &[(ReportId, u64, Answer)],
        prev: Seq,
        first: Seq,
        now: Timestamp,
    ) -> Result<i64, Fault> {
        let mut growth = 0;
        for (report_id, place, answer) in entries {
            growth += self.make_place(head, now)?;
            let answer = Answer {
                seq: Committed::seq_at(prev, first, *place),
                ..answer.clone()
            };
            let answer = serde_json::to_vec(&answer).expect("an answer is strings and numbers");
            let id = report_id.as_str();
            let key = (head.number, id);
            let outdated = self.tables.answer_places.insert(key, head.next_answer)?;
            let outdated = outdated.map(|place| place.value());
            if let Some(outdated) = outdated {
                growth += self.forget((head.number, outdated))?;
            }
            let entry = (now.as_micros(), id, &*answer);
            self.tables
                .answers
                .insert((head.number, head.next_answer), entry)?;
            growth += weight_of(id, &answer);
            head.next_answer += 1;
        }
        Ok(growth)
    }

    /// Forgets the oldest answers until there is a place for one more.
    fn make_place(&mut self, head: &mut Head, now: Timestamp) -> Result<i64, Fault> {
        let mut growth = 0;
        while head.first_answer < head.next_answer {
            let key = (head.number, head.first_answer);
            let oldest = self.tables.answers.get(key)?;
            let oldest = oldest.map(|answer| {
                let (at, report_id, _) = answer.value();
                (at, report_id.to_owned())
            });
            let is_full = head.next_answer - head.first_answer >= Ledger::CAPACITY as u64;
            if let Some((at, report_id)) = oldest {
                if !is_full && !is_outdated(at, now) {
                    break;
                }
                growth += self.forget(key)?;
                self.tables
                    .answer_places
                    .remove((head.number, &*report_id))?;
            }
            head.first_answer += 1;
        }
        Ok(growth)
    }

    /// Removes an answer, but not its place; by how much the job has become heavier.
    fn forget(&mut self, key: (u64, u64)) -> Result<i64, Fault> {
        let answer = self.tables.answers.remove(key)?;
        Ok(answer.map_or(0, |answer| {
            let (_, report_id, answer) = answer.value();
            -weight_of(report_id, answer)
        }))
    }
}

fn is_outdated(at: u64, now: Timestamp) -> bool {
    Timestamp::from_micros(at).plus_seconds(Ledger::SECONDS) <= now
}
