//! One job of the store, behind its own lock, and where it is found by its name.

use std::sync::{Arc, Mutex, MutexGuard};

use dashmap::DashMap;
use uuid::Uuid;

use super::{Input, Stored, events::EventLog};
use crate::job::{Job, JobId, Json, Ledger};

/// The jobs by their names. A job enters and leaves under the index's lock; who only wants to change
/// it takes none but that of a part of this map, for a moment.
#[derive(Debug, Default)]
pub(super) struct Records(DashMap<JobId, Arc<Record>>);

/// One job; its own lock, so that jobs do not wait for each other.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) incarnation: Uuid,
    pub(super) state: Mutex<RecordState>,
    pub(super) input: Option<Input>,
}

#[derive(Debug)]
pub(super) struct RecordState {
    pub(super) job: Arc<Job>,
    pub(super) ledger: Ledger,
    /// That of the newest commit.
    pub(super) nonce: Option<Uuid>,
    pub(super) events: EventLog,
    pub(super) rows: Vec<Json>,
    /// Bytes of those rows that the index counts.
    pub(super) row_bytes: usize,
    /// Set when the job has left the index while somebody still held it.
    pub(super) is_removed: bool,
}

impl Records {
    pub(super) fn get(&self, job_id: &JobId) -> Option<Arc<Record>> {
        self.0.get(job_id).map(|record| Arc::clone(&record))
    }

    pub(super) fn insert(&self, job_id: JobId, record: Record) {
        self.0.insert(job_id, Arc::new(record));
    }

    pub(super) fn remove(&self, job_id: &JobId) -> Option<Arc<Record>> {
        self.0.remove(job_id).map(|(_, record)| record)
    }
}

impl Record {
    pub(super) fn lock(&self) -> MutexGuard<'_, RecordState> {
        self.state
            .lock()
            .expect("no section under a record's lock panics")
    }

    pub(super) fn input_bytes(&self) -> usize {
        self.input.as_ref().map_or(0, |input| input.content.len())
    }
}

impl RecordState {
    pub(super) fn stored(&self) -> Box<Stored> {
        Box::new(Stored {
            job: Arc::clone(&self.job),
            ledger: self.ledger.clone(),
            nonce: self.nonce,
        })
    }
}
