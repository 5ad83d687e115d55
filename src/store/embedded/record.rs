//! A job as the file holds it, and what an opening makes of it.

use std::sync::Arc;

use super::{fault::Fault, tables::Head, totals::Totals};
use crate::job::{Job, Seq, Timestamp};

/// The time since the file was opened.
///
/// An opening gives every unfinished job a new seq, above all that were ever shown, and a new
/// lease. It writes two numbers for that and no job: an unfinished job whose stored seq is below
/// the floor was last written before the opening, and what the opening gave it is in its place
/// wherever it is read. So a million jobs come back in no time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Era {
    floor: Seq,
    opened_at: Timestamp,
}

impl Era {
    pub(super) fn of(totals: &Totals) -> Self {
        Self {
            floor: totals.floor(),
            opened_at: totals.opened_at(),
        }
    }

    /// The job's seq at present.
    pub(super) fn seq_of(&self, head: &Head) -> Seq {
        match head.state.is_terminal() {
            true => head.seq,
            false => head.seq.max(self.floor),
        }
    }

    /// The job at present. Its seq is the head's: the document is written before the seq is known.
    pub(super) fn read(&self, head: &Head, document: &[u8]) -> Result<Arc<Job>, Fault> {
        let mut job: Job = serde_json::from_slice(document)
            .map_err(|error| Fault::Damaged(format!("a job's document ({error})")))?;
        job.seq = self.seq_of(head);
        if job.seq > head.seq {
            job.reported_at = self.opened_at;
        }
        Ok(Arc::new(job))
    }
}

/// The job's document.
pub(super) fn document(job: &Job) -> Vec<u8> {
    serde_json::to_vec(job).expect("a job is strings, numbers and JSON")
}
