//! The reports of one request that are not answered yet.

use std::{collections::VecDeque, future::pending};

use crate::{
    job::{Answer, JobId},
    registry::{RegistryError, Submission},
};

/// Reports that are under way at a time: enough to keep a store's commits full.
pub(super) const MOST_UNDER_WAY: usize = 256;

/// Reports that are not answered, in the order of their lines.
#[derive(Default)]
pub(super) struct UnderWay(VecDeque<Sent>);

/// A report on its way.
struct Sent {
    line: u64,
    job_id: JobId,
    submission: Submission,
}

/// What became of a report.
pub(super) struct Answered {
    pub(super) line: u64,
    pub(super) job_id: JobId,
    pub(super) outcome: Result<Answer, RegistryError>,
}

impl UnderWay {
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MOST_UNDER_WAY
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for the answer to a line's report, after those that came before it.
    pub(super) fn push(&mut self, line: u64, job_id: JobId, submission: Submission) {
        self.0.push_back(Sent {
            line,
            job_id,
            submission,
        });
    }

    /// What became of the first one, if that is known already.
    pub(super) fn next_at_once(&mut self) -> Option<Answered> {
        let outcome = self.0.front_mut()?.submission.try_answer()?;
        self.0.pop_front().map(|sent| sent.answered(outcome))
    }

    /// What became of the first one; never ready when there is none. Cancel-safe.
    pub(super) async fn next(&mut self) -> Answered {
        let Some(first) = self.0.front_mut() else {
            return pending().await;
        };
        let outcome = (&mut first.submission).await;
        let first = self.0.pop_front().expect("it was the first just now");
        first.answered(outcome)
    }
}

impl Sent {
    fn answered(self, outcome: Result<Answer, RegistryError>) -> Answered {
        Answered {
            line: self.line,
            job_id: self.job_id,
            outcome,
        }
    }
}
