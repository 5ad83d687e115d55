//! Jobs on their way to a stream of many: each is joined as a watcher.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use uuid::Uuid;

use crate::{
    job::{Job, JobId, Seq},
    registry::{Attachment, JobHandle, Registry, RegistryError, Since},
    store::StoreError,
};

/// How many jobs are joined at a time.
const MOST_AT_ONCE: usize = 32;

/// How many may wait before no more are taken, and how many removals are remembered meanwhile.
const MOST_WAITING: usize = 1_000;

/// Jobs that are joined while the stream goes on.
#[derive(Default)]
pub(super) struct Joining {
    waiting: VecDeque<BoxFuture<'static, (Seq, Joined)>>,
    running: FuturesUnordered<BoxFuture<'static, (Seq, Joined)>>,
    /// From where on their changes are still to be told, and of how many jobs each.
    from: BTreeMap<Seq, usize>,
    /// Jobs that were removed while some were being joined, and perhaps they.
    removed: HashSet<Uuid>,
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
    /// Nor did it say which jobs there are.
    Unlisted(RegistryError),
}

impl Joining {
    /// Has a job joined whose changes are still to be told from `from` on.
    pub(super) fn add(&mut self, from: Seq, joined: impl Future<Output = Joined> + Send + 'static) {
        *self.from.entry(from).or_default() += 1;
        self.waiting
            .push_back(joined.map(move |joined| (from, joined)).boxed());
    }

    /// Whether so many wait that no more should come.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MOST_WAITING
    }

    /// From where on the changes of any of them are still to be told.
    pub(super) fn oldest(&self) -> Option<Seq> {
        self.from.keys().next().copied()
    }

    /// A job was removed, perhaps after it was read and before it comes. Says whether that is
    /// remembered.
    pub(super) fn note_removal(&mut self, incarnation: Uuid) -> bool {
        let is_noted = self.from.is_empty() || self.removed.len() < MOST_WAITING;
        if is_noted && !self.from.is_empty() {
            self.removed.insert(incarnation);
        }
        is_noted
    }

    /// The next one that was joined; waits for as long as there is none.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Joined> {
        while self.running.len() < MOST_AT_ONCE
            && let Some(joined) = self.waiting.pop_front()
        {
            self.running.push(joined);
        }
        let Poll::Ready(Some((from, joined))) = self.running.poll_next_unpin(context) else {
            return Poll::Pending;
        };
        let joined = match joined {
            Joined::Attached(job, ..) if self.removed.contains(&job.job().origin.incarnation) => {
                Joined::Absent(job.id().clone())
            }
            joined => joined,
        };
        if let Some(count) = self.from.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.from.remove(&from);
            }
        }
        if self.from.is_empty() {
            self.removed.clear();
        }
        Poll::Ready(joined)
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
            .finish_non_exhaustive()
    }
}
