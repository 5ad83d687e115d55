//! What one can do with a job that was found.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::{
    oneshot::{self, error::TryRecvError},
    watch,
};
use tokio_util::sync::CancellationToken;

use super::{
    Inner, RegistryError, Settings,
    slot::{Errand, Gathering, Slot},
};
use crate::{
    hub::Snapshot,
    job::{Answer, Command, Job, JobId, ReportId, Seq, Timestamp},
    store::{Input, KeptEvents, Rows, StoreError},
};

/// A job that was found: everything one can do with it. Cheap to clone.
///
/// It stays with the job that was found: when that is removed and another takes its name,
/// the handle answers [`RegistryError::Gone`].
#[derive(Clone)]
pub struct JobHandle {
    pub(super) slot: Arc<Slot>,
    pub(super) inner: Arc<Inner>,
}

/// An answer that is under way. Dropping it does not take the request back.
#[derive(Debug)]
pub struct Submission(pub(super) oneshot::Receiver<Result<Answer, RegistryError>>);

impl JobHandle {
    pub(super) fn new(slot: Arc<Slot>, inner: Arc<Inner>) -> Self {
        Self { slot, inner }
    }

    /// The job's name.
    pub fn id(&self) -> &JobId {
        self.slot.job_id()
    }

    /// The job as it is shown.
    pub fn job(&self) -> Arc<Job> {
        self.slot.hub().job()
    }

    /// The job as it is shown, with its JSON.
    pub fn snapshot(&self) -> Snapshot {
        self.slot.hub().snapshot()
    }

    /// What the registry was told by the configuration.
    pub fn settings(&self) -> Arc<Settings> {
        self.inner.settings.load_full()
    }

    /// How many watch the job on this node.
    pub fn watchers(&self) -> usize {
        self.slot.hub().watchers()
    }

    /// Queues a command; its place among the job's commands is fixed when this returns.
    pub fn submit(&self, command: Command, report_id: Option<ReportId>) -> Submission {
        self.slot
            .enqueue(&self.inner, Errand::Apply(command), report_id)
    }

    /// The same for one of many that come at once, for the same job or for others: their work begins with
    /// [`Gathering::begin`], a commit for each job.
    pub fn submit_into(
        &self,
        gathering: &mut Gathering,
        command: Command,
        report_id: Option<ReportId>,
    ) -> Submission {
        let errand = Errand::Apply(command);
        self.slot
            .enqueue_into(gathering, &self.inner, errand, report_id)
    }

    /// Queues commands that belong together, result rows with the progress that they are, say:
    /// nothing comes between them, and one commit takes them all while few others wait.
    pub fn submit_together(
        &self,
        commands: impl IntoIterator<Item = (Command, Option<ReportId>)>,
    ) -> Vec<Submission> {
        self.slot.enqueue_together(&self.inner, commands)
    }

    /// Applies a command and waits until it is committed.
    pub async fn apply(
        &self,
        command: Command,
        report_id: Option<ReportId>,
    ) -> Result<Answer, RegistryError> {
        self.submit(command, report_id).await
    }

    /// Removes the job; its streams end.
    pub async fn remove(&self) -> Result<(), RegistryError> {
        let gone_until = self
            .inner
            .clock
            .now()
            .plus_seconds(self.inner.settings.load().gone_seconds);
        self.slot
            .enqueue(&self.inner, Errand::Remove { gone_until }, None)
            .await
            .map(drop)
    }

    /// Result rows from index `from` on, at most `limit`.
    ///
    /// # Errors
    /// [`RegistryError::Gone`] when the job was removed, also when another has its name now.
    pub async fn rows(&self, from: u64, limit: usize) -> Result<Rows, RegistryError> {
        let rows = self
            .inner
            .store
            .rows(self.slot.origin(), from, limit)
            .await?;
        rows.ok_or(RegistryError::Gone)
    }

    /// What the job's runner reads.
    pub async fn input(&self) -> Result<Option<Input>, StoreError> {
        self.inner.store.input(self.slot.origin()).await
    }

    /// Kept events above `after`.
    pub(super) async fn events_after(&self, after: Seq) -> Result<KeptEvents, StoreError> {
        self.inner
            .store
            .events_after(self.slot.origin(), after)
            .await
    }

    /// Takes the job for this node's runner for `ttl`, or renews that; `None` while another node has
    /// it. Otherwise how many nodes have taken it so far.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn claim(&self, ttl: Duration) -> Result<Option<u64>, RegistryError> {
        let Some(shared) = self.inner.store.shared() else {
            return Ok(Some(1));
        };
        let (origin, node) = (self.slot.origin(), self.inner.node);
        match shared.claim(origin, node, ttl).await? {
            None => {
                // Nobody can take what the store has lost; looking at the job puts it back.
                self.slot.freshen(&self.inner).await?;
                Ok(shared.claim(origin, node, ttl).await?)
            }
            claimed => Ok(claimed),
        }
    }

    /// Lets go of what [`JobHandle::claim`] took.
    ///
    /// # Errors
    /// The store does not answer; then the claim ends with its time.
    pub async fn release(&self) -> Result<(), RegistryError> {
        if let Some(shared) = self.inner.store.shared() {
            shared.release(self.slot.origin(), self.inner.node).await?;
        }
        Ok(())
    }

    /// Has this node know what others do with the job, from now on and up to now.
    ///
    /// # Errors
    /// The store does not answer, or the job is gone.
    pub async fn follow(&self) -> Result<(), RegistryError> {
        self.slot.follow(&self.inner).await
    }

    /// Changes whenever the store has come back empty: what belongs to the job, its rows say, is lost
    /// then, although the job itself is put back.
    pub fn emptied(&self) -> watch::Receiver<Timestamp> {
        self.inner.emptied_at.subscribe()
    }

    /// Cancelled once the job has ended, was removed, or somebody asked for its cancellation.
    pub fn stop_signal(&self) -> CancellationToken {
        self.slot.stop_signal()
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("JobHandle").field(self.id()).finish()
    }
}

impl Submission {
    /// The answer, when it is there already; to be asked for once.
    pub fn try_answer(&mut self) -> Option<Result<Answer, RegistryError>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Closed) => Some(Err(RegistryError::Interrupted)),
        }
    }
}

impl Future for Submission {
    type Output = Result<Answer, RegistryError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|received| {
            // The writer was cut off; whether it had done this is unknown.
            received.unwrap_or(Err(RegistryError::Interrupted))
        })
    }
}
