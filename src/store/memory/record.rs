//! One job of the store, behind its own lock.

use std::sync::{Arc, Mutex, MutexGuard};

use uuid::Uuid;

use super::{Input, Stored, events::EventLog};
use crate::job::{Job, Json, Ledger};

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
