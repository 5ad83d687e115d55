//! Where each job of the store is found: by name, by age, by the end of its retention.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Former, MemoryLimits, Position, events::EventBudget, names::Names, record::Records,
    tally::Tally,
};
use crate::job::{JobId, Timestamp};

/// Most names of removed jobs, and most reserved keys, that are remembered: as many as jobs.
const MOST_NAMES: usize = 1_000_000;

/// All jobs of the store, and the names of those that have left it.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) jobs: Arc<Records>,
    pub(super) by_age: BTreeSet<Position>,
    /// How many of them are in each state.
    pub(super) tally: Arc<Tally>,
    /// Finished jobs by the end of their retention.
    pub(super) finished: BTreeSet<(Timestamp, JobId)>,
    /// Names of removed jobs, while they are known as gone.
    pub(super) gone: Names<JobId, Former>,
    /// Keys of creations, and the job that each is bound to.
    pub(super) reservations: Names<Arc<str>, JobId>,
    /// Bytes of rows and inputs of all jobs.
    pub(super) bulk_bytes: usize,
    /// The finished jobs among those that have such bytes, by the end of their retention.
    bulky: BTreeMap<(Timestamp, JobId), usize>,
    /// Bytes of the bulky ones: what their leaving makes room for.
    reclaimable_bytes: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            jobs: Arc::default(),
            by_age: BTreeSet::new(),
            tally: Arc::default(),
            finished: BTreeSet::new(),
            gone: Names::new(MOST_NAMES),
            reservations: Names::new(MOST_NAMES),
            bulk_bytes: 0,
            bulky: BTreeMap::new(),
            reclaimable_bytes: 0,
        }
    }
}

impl Index {
    /// Removes a job, if it is there; its name is known as gone until `gone_until`.
    pub(super) fn remove(&mut self, job_id: &JobId, gone_until: Timestamp, budget: &EventBudget) {
        let Some(record) = self.jobs.remove(job_id) else {
            return;
        };
        let mut state = record.lock();
        state.is_removed = true;
        self.tally.remove(state.job.face.state);
        self.by_age.remove(&Position::of(&state.job));
        if let Some(expires_at) = state.job.expires_at() {
            let place = (expires_at, job_id.clone());
            self.finished.remove(&place);
            self.reclaimable_bytes -= self.bulky.remove(&place).unwrap_or(0);
        }
        self.bulk_bytes -= state.row_bytes + record.input_bytes();
        let former = Former::of(&state.job.origin);
        budget.release(state.events.clear());
        drop(state);
        self.gone.set(job_id.clone(), former, gone_until);
    }

    /// Keeps finished jobs and all rows within their bounds, at the cost of the jobs that expire
    /// first; each is known as gone for as long as it should have been there.
    pub(super) fn trim(&mut self, limits: &MemoryLimits, budget: &EventBudget) {
        while self.finished.len() > limits.finished_jobs
            && let Some((expires_at, job_id)) = self.finished.first().cloned()
        {
            self.remove(&job_id, expires_at, budget);
        }
        // A job without rows or input makes no room for them, and stays.
        while self.bulk_bytes > limits.row_bytes
            && let Some((expires_at, job_id)) = self.bulky.keys().next().cloned()
        {
            self.remove(&job_id, expires_at, budget);
        }
    }

    /// Whether `bytes` more of rows or input fit in, if need be in the place of finished jobs'.
    pub(super) fn has_room(&self, bytes: usize, limits: &MemoryLimits) -> bool {
        bytes == 0 || self.bulk_bytes - self.reclaimable_bytes + bytes <= limits.row_bytes
    }

    /// Counts a job that has finished with `bytes` of rows and input.
    pub(super) fn finish(&mut self, job_id: &JobId, expires_at: Timestamp, bytes: usize) {
        let place = (expires_at, job_id.clone());
        self.finished.insert(place.clone());
        if bytes > 0 && self.bulky.insert(place, bytes).is_none() {
            self.reclaimable_bytes += bytes;
        }
    }

    pub(super) fn forget_outdated(&mut self, now: Timestamp) {
        self.gone.forget_outdated(now);
        self.reservations.forget_outdated(now);
    }
}
