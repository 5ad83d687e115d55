//! What a store does besides that several nodes share, or workers write to.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreError;
use crate::job::{Event, Job, JobId, Ledger, Origin, ReportId, Seq, Timestamp};

/// A store whose jobs others change too.
///
/// What others do is told by notices. They may be late, come twice or get lost, also without
/// word: a job is what the store says when it is read. A notice only says when reading is worth it.
#[async_trait]
pub trait Shared: Send + Sync {
    /// The store's clock, by which all nodes stamp their jobs.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Has changes of a job noticed until the guard is dropped; what is committed after this has
    /// returned will be. One subscription, however often the same job is followed.
    async fn follow(&self, job_id: &JobId) -> Result<Following, StoreError>;

    /// Has every job's lifecycle noticed until the guard is dropped: creations, changes of state and
    /// removals, but for those that are this store's own. What is committed after this has returned
    /// will be, or is told as missed. Other changes are no part of it and cost nothing here, and neither
    /// is the end of a job's retention, whose time everybody knows before.
    async fn follow_lifecycle(&self) -> Result<Following, StoreError>;

    /// The next notice. Waits for as long as there is none. Cancel-safe. For one caller at a time.
    async fn next_notice(&self) -> Notice;

    /// The seqs of these jobs, in their order; `None` for one that is not there any more.
    async fn seqs(&self, jobs: &[&Origin]) -> Result<Vec<Option<Seq>>, StoreError>;

    /// Unfinished jobs whose next deadline ([`Job::next_deadline`]) is not after `now`; at most
    /// `limit`. One may be named too early or twice: whoever looks at it decides.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, StoreError>;

    /// Takes the job for this node's runner, or renews what was taken, for `ttl` from now.
    ///
    /// `None` while another node has it. Otherwise a number that is 1 for the first node that ever
    /// took it and rises with each that takes it after another.
    async fn claim(
        &self,
        job: &Origin,
        node: Uuid,
        ttl: Duration,
    ) -> Result<Option<u64>, StoreError>;

    /// Lets go of a job that [`Shared::claim`] took for this node.
    async fn release(&self, job: &Origin, node: Uuid) -> Result<(), StoreError>;

    /// What the job remembers of these report ids; empty when it is not there any more.
    async fn answers(&self, job: &Origin, report_ids: &[ReportId]) -> Result<Ledger, StoreError>;

    /// Puts a job back as it is, seq included: for a store that came back without it, or with an older
    /// state of it, which is replaced. Nothing happens when the store has a newer state, when another
    /// job has its name, or when it was removed.
    async fn restore(&self, job: &Job) -> Result<(), StoreError>;
}

/// What others did.
#[derive(Debug, Clone)]
pub enum Notice {
    /// A job changed, and this is the change: it was made on `prev`.
    Change {
        /// The seq that it was made on.
        prev: Seq,
        /// The job afterwards.
        job: Arc<Job>,
        /// The events that came with it, in order.
        events: Vec<Event>,
    },
    /// Something happened to a job: it changed or was removed.
    Touched(JobId),
    /// Notices may have been lost, of any job that is followed.
    Missed,
    /// Of a lifecycle: a job is new, or has another state. It may have moved on since.
    Entered(Arc<Job>),
    /// Of a lifecycle: a job was removed.
    Removed {
        /// Its name.
        job_id: JobId,
        /// Which of the jobs of that name it was.
        incarnation: Uuid,
    },
    /// Of a lifecycle: a job is new, has another state or was removed. Which of them has to be read.
    Moved(JobId),
    /// Notices of lifecycles may have been lost, of any job.
    LifecycleMissed,
    /// The store lost what it held.
    Emptied,
}

/// Something that is followed; dropping it ends that.
pub struct Following(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Following {
    /// Calls `end` when it is dropped.
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(end)))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Following").finish_non_exhaustive()
    }
}
