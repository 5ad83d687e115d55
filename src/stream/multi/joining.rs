//! Jobs on their way to a stream of many: each is joined as a watcher.

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};

use crate::{
    job::{Job, JobId},
    registry::{Attachment, JobHandle, Registry, RegistryError, Since},
    store::StoreError,
};

/// How many jobs are joined at a time.
pub(super) const MOST_AT_ONCE: usize = 32;

/// How many may wait before no more are taken.
const MOST_WAITING: usize = 1_000;

/// Jobs that are joined while the stream goes on. They come as soon as they are joined: word of
/// their removal comes later than they do, or finds them absent.
#[derive(Default)]
pub(super) struct Joining {
    waiting: VecDeque<BoxFuture<'static, Joined>>,
    running: FuturesUnordered<BoxFuture<'static, Joined>>,
}

/// A job that was joined, or not.
#[derive(Debug)]
pub(super) enum Joined {
    /// It was joined, with its events since then.
    Attached(JobHandle, Attachment, Option<Since>),
    /// It is finished and nothing of it was missed: it is as it was listed.
    Listed(Arc<Job>),
    /// It went meanwhile.
    Absent(JobId),
    /// The store did not answer.
    Failed(JobId, StoreError),
}

impl Joining {
    /// Has a job joined.
    pub(super) fn add(&mut self, joined: impl Future<Output = Joined> + Send + 'static) {
        self.waiting.push_back(joined.boxed());
    }

    /// Whether so many wait that no more should come.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MOST_WAITING
    }

    /// The next one that was joined; waits for as long as there is none.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Joined> {
        while self.running.len() < MOST_AT_ONCE
            && let Some(joined) = self.waiting.pop_front()
        {
            self.running.push(joined);
        }
        match self.running.poll_next_unpin(context) {
            Poll::Ready(Some(joined)) => Poll::Ready(joined),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Joins a job that is known by its name.
pub(super) async fn join(registry: Registry, job_id: JobId, since: Option<Since>) -> Joined {
    match registry.find(&job_id).await {
        Ok(found) => attach(found, since).await,
        Err(error) => Joined::of_error(&job_id, error),
    }
}

/// Joins a job that was found.
pub(super) async fn attach(job: JobHandle, since: Option<Since>) -> Joined {
    match job.attach_since(since).await {
        Ok(attachment) => Joined::Attached(job, attachment, since),
        Err(error) => Joined::of_error(job.id(), error),
    }
}

impl Joined {
    fn of_error(job_id: &JobId, error: RegistryError) -> Self {
        match error {
            RegistryError::Store(error) => Self::Failed(job_id.clone(), error),
            _ => Self::Absent(job_id.clone()),
        }
    }
}

impl fmt::Debug for Joining {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Joining")
            .field("waiting", &self.waiting.len())
            .field("running", &self.running.len())
            .finish()
    }
}
