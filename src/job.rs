//! The domain: what a job is and how reports change it, as pure code.
//!
//! Nothing here awaits, reads a clock or knows a store, a runtime or HTTP; the
//! caller passes the time in. [`step()`] is the one function that turns a job and a
//! command into the next state of the job.

mod bounds;
mod create;
mod event;
mod field;
mod id;
mod json;
mod ledger;
mod number;
mod progress;
pub mod rate;
mod report;
mod row;
mod seq;
mod state;
mod status;
mod step;
#[cfg(test)]
mod tests;
mod time;

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub use bounds::Bounds;
pub use create::{Defaults, Digest, NewJob, Origin};
pub use event::{Event, EventName, NewEvent, parse_events};
pub use field::{FieldError, parse_json};
pub use id::JobId;
pub use json::Json;
pub use ledger::{Answer, Ledger, ReportId};
pub use number::Count;
pub use progress::{Percentage, Progress, ProgressParts};
pub use report::{AddressedReport, Failure, Patch, Report};
pub use row::{parse_row, parse_rows};
pub use seq::Seq;
pub use state::State;
pub use status::Status;
pub use step::{Change, Command, Outcome, Refusal, step};
pub use time::Timestamp;

/// A job's whole state: what a status shows, and what the next step needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// What was fixed when the job was created.
    pub origin: Arc<Origin>,
    /// Position of the newest change; [`Seq::ZERO`] until the creation is committed.
    pub seq: Seq,
    /// When the newest change was made.
    pub updated_at: Timestamp,
    /// When a worker last gave a sign of life. Not shown, so that it needs no seq of its own.
    pub reported_at: Timestamp,
    /// What this attempt's reports say about speed. Not shown itself.
    pub estimator: rate::Estimator,
    /// Everything else that a status shows.
    pub face: Face,
}

/// The part of a job that a status shows and that reports can change.
///
/// A command that leaves the face as it was is no change and gets no seq.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Face {
    /// Where the job is in its life.
    pub state: State,
    /// The present try, from 1.
    pub attempt: u32,
    /// Counts and percentage of this attempt.
    pub progress: Progress,
    /// Name of the phase that the work is in.
    pub step: Option<Arc<str>>,
    /// What the worker is doing right now, in its own words.
    pub message: Option<Arc<str>>,
    /// Units per second; `None` rather than a guess.
    pub rate_per_second: Option<f64>,
    /// Seconds until the end; `None` rather than a guess.
    pub eta_seconds: Option<u64>,
    /// No report for longer than the lease, while processing.
    pub stalled: bool,
    /// Somebody asked for the job to be cancelled.
    pub cancel_requested: bool,
    /// The worker's own fields; `None` until the first is set.
    pub data: Option<Arc<Map<String, Value>>>,
    /// What the work came to. A result may be JSON's `null`: stored, none is left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some"
    )]
    pub result: Option<Json>,
    /// Why the job, or its attempt before this one, failed.
    pub error: Option<Arc<Failure>>,
    /// When the first report moved the job out of `pending`.
    pub started_at: Option<Timestamp>,
    /// When the job reached its terminal state.
    pub finished_at: Option<Timestamp>,
}

/// Whatever is there, `null` too.
fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

impl Job {
    /// A job as it is at its creation, before the store has given it a seq.
    pub fn new(origin: Origin, total: Option<Count>, data: Option<Map<String, Value>>) -> Self {
        let created_at = origin.created_at;
        Self {
            origin: Arc::new(origin),
            seq: Seq::ZERO,
            updated_at: created_at,
            reported_at: created_at,
            estimator: rate::Estimator::default(),
            face: Face {
                state: State::Pending,
                attempt: 1,
                progress: Progress::new(total),
                step: None,
                message: None,
                rate_per_second: None,
                eta_seconds: None,
                stalled: false,
                cancel_requested: false,
                data: data.map(Arc::new),
                result: None,
                error: None,
                started_at: None,
                finished_at: None,
            },
        }
    }

    /// The name that the job is known by.
    pub fn id(&self) -> &JobId {
        &self.origin.job_id
    }

    /// Whether the job has reached a state that nothing follows.
    pub fn is_finished(&self) -> bool {
        self.face.state.is_terminal()
    }

    /// Why the job failed; `None` unless it did.
    pub fn failure(&self) -> Option<&Failure> {
        self.face
            .error
            .as_deref()
            .filter(|_| self.face.state == State::Failed)
    }

    /// The percentage that a status shows: a completed job's is 100, whatever was counted.
    pub fn percentage(&self) -> Option<Percentage> {
        match self.face.state {
            State::Completed => Some(Percentage::FULL),
            _ => self.face.progress.percentage(),
        }
    }

    /// When a finished job's retention ends; `None` while it is unfinished.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.face
            .finished_at
            .map(|end| end.plus_seconds(self.origin.ttl_seconds))
    }

    /// When time alone changes the job next: stalling, failing after a stall, abandonment.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.next_deadline_since(Timestamp::ZERO)
    }

    /// The same where reports can be taken since that time only.
    pub fn next_deadline_since(&self, since: Timestamp) -> Option<Timestamp> {
        if self.is_finished() {
            return None;
        }
        let origin = &self.origin;
        let silent_since = self.reported_at.max(since);
        let lease_end = (self.face.state == State::Processing && origin.lease_seconds > 0)
            .then(|| silent_since.plus_seconds(origin.lease_seconds));
        let stall = lease_end.filter(|_| !self.face.stalled);
        let fail = lease_end
            .zip(origin.fail_stalled_after_seconds)
            .filter(|_| self.face.stalled)
            .map(|(end, after)| end.plus_seconds(after));
        let abandon = (origin.abandon_after_seconds > 0)
            .then(|| silent_since.plus_seconds(origin.abandon_after_seconds));
        [stall, fail, abandon].into_iter().flatten().min()
    }
}
