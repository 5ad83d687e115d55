//! A store that counts its commits and can fail now and then, before or after it has done what
//! it was asked.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use progressd::{
    job::{Job, JobId, Seq, Timestamp},
    store::{
        Commit, Committed, Created, Filter, Input, KeptEvents, Loaded, Memory, Position, Rows,
        Store, StoreError,
    },
};

/// When unsteady: two of five commits, and every second look at rows and inputs, say that they
/// failed; one of those two commits was done nevertheless.
#[derive(Debug)]
pub(crate) struct Unsteady {
    store: Memory,
    is_steady: bool,
    commits: Arc<AtomicUsize>,
    reads: AtomicUsize,
}

impl Unsteady {
    /// An unsteady face of `store`.
    pub(crate) fn new(store: Memory) -> Self {
        Self {
            store,
            is_steady: false,
            commits: Arc::default(),
            reads: AtomicUsize::new(0),
        }
    }

    /// A face that only counts.
    pub(crate) fn steady(store: Memory) -> Self {
        Self {
            is_steady: true,
            ..Self::new(store)
        }
    }

    /// How many commits were asked for.
    pub(crate) fn commits(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.commits)
    }

    fn stumble(&self) -> Result<(), StoreError> {
        match self.reads.fetch_add(1, Ordering::Relaxed) % 2 {
            0 if !self.is_steady => Err(unavailable()),
            _ => Ok(()),
        }
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("it stumbled".to_owned())
}

#[async_trait]
impl Store for Unsteady {
    async fn create(&self, job: &Job, input: Option<&Input>) -> Result<Created, StoreError> {
        self.store.create(job, input).await
    }

    async fn reserve(&self, key: &str, job: &JobId, now: Timestamp) -> Result<JobId, StoreError> {
        self.store.reserve(key, job, now).await
    }

    async fn load(&self, job_id: &JobId, now: Timestamp) -> Result<Loaded, StoreError> {
        self.store.load(job_id, now).await
    }

    async fn input(&self, job_id: &JobId) -> Result<Option<Input>, StoreError> {
        self.stumble()?;
        self.store.input(job_id).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        match self.commits.fetch_add(1, Ordering::Relaxed) % 5 {
            _ if self.is_steady => self.store.commit(commit).await,
            1 => Err(unavailable()),
            3 => {
                self.store.commit(commit).await?;
                Err(unavailable())
            }
            _ => self.store.commit(commit).await,
        }
    }

    async fn events_after(&self, job_id: &JobId, after: Seq) -> Result<KeptEvents, StoreError> {
        self.store.events_after(job_id, after).await
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<&Position>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        self.store.list(filter, before, limit, now).await
    }

    async fn rows(&self, job_id: &JobId, from: u64, limit: usize) -> Result<Rows, StoreError> {
        self.stumble()?;
        self.store.rows(job_id, from, limit).await
    }

    async fn remove(&self, job_id: &JobId, gone_until: Timestamp) -> Result<(), StoreError> {
        self.store.remove(job_id, gone_until).await
    }

    async fn expire(
        &self,
        now: Timestamp,
        gone_seconds: u64,
        limit: usize,
    ) -> Result<usize, StoreError> {
        self.store.expire(now, gone_seconds, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }
}
