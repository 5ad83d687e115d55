//! What a job remembers of reports that may be sent twice.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize};

use super::{JobId, Seq, State, Timestamp};

/// A client's own name for a request, so that its repetition changes nothing: 1 to 255 printable
/// ASCII characters. `report_id` in a body, `Idempotency-Key` in a header.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ReportId(Arc<str>);

/// What a report is answered with, apart from what only the moment knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The job reported on.
    pub job_id: JobId,
    /// Its state after the report.
    pub status: State,
    /// Position of the report's own change, or of the newest change when it changed nothing.
    pub seq: Seq,
    /// Whether the worker should stop.
    pub cancel_requested: bool,
}

/// The newest report ids of one job, with the answers that were given.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    answers: HashMap<ReportId, Answer>,
    /// In the order in which they were answered: the oldest leaves first.
    order: VecDeque<(Timestamp, ReportId)>,
}

impl ReportId {
    /// Checks an id that came from outside; the error is the rule it breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if (1..=255).contains(&text.len()) && printable {
            Ok(Self(text.into()))
        } else {
            Err("must be 1 to 255 printable ASCII characters")
        }
    }

    /// The bare id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of one part of what it names, counted from 0: the first has the id itself.
    ///
    /// The others have one that is made of it, and that nobody gives to something else by chance.
    #[must_use]
    pub fn of_part(&self, part: u64) -> Self {
        match part {
            0 => self.clone(),
            part => {
                let whole = hex::encode(digest(&SHA256, self.0.as_bytes()));
                Self(format!("{whole}#{part}").into())
            }
        }
    }
}

impl<'de> Deserialize<'de> for ReportId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Ledger {
    /// How many report ids a job remembers.
    pub const CAPACITY: usize = 1_000;

    /// For how long, in seconds: a day.
    pub const SECONDS: u64 = 86_400;

    /// The answer that `report_id` got within the last day.
    pub fn find(&self, report_id: &ReportId, now: Timestamp) -> Option<&Answer> {
        let answer = self.answers.get(report_id)?;
        let (at, _) = self.order.iter().rev().find(|(_, id)| id == report_id)?;
        (at.plus_seconds(Self::SECONDS) > now).then_some(answer)
    }

    /// Remembers what another ledger of the same job does.
    pub fn absorb(&mut self, other: Self) {
        let Self { mut answers, order } = other;
        for (at, report_id) in order {
            if let Some(answer) = answers.remove(&report_id) {
                self.remember(report_id, answer, at);
            }
        }
    }

    /// Remembers an answer; beyond a thousand the oldest is forgotten.
    pub fn remember(&mut self, report_id: ReportId, answer: Answer, now: Timestamp) {
        let outdated = |(at, _): &(Timestamp, ReportId)| at.plus_seconds(Self::SECONDS) <= now;
        while self.order.len() >= Self::CAPACITY || self.order.front().is_some_and(outdated) {
            if let Some((_, oldest)) = self.order.pop_front() {
                self.answers.remove(&oldest);
            }
        }
        if self.answers.insert(report_id.clone(), answer).is_some() {
            self.order.retain(|(_, id)| *id != report_id);
        }
        self.order.push_back((now, report_id));
    }
}
