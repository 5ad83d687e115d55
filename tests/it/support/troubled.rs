//! A store that works until it is told not to.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use async_trait::async_trait;
use progressd::{
    job::{Job, JobId, Seq, Timestamp},
    store::{
        Commit, Committed, Created, Filter, Input, KeptEvents, Loaded, Memory, MemoryLimits,
        Position, Rows, Store, StoreError,
    },
};

/// What is wrong with the reads of a store.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(crate) enum Trouble {
    /// They say that they failed.
    Failing = 1,
    /// They panic.
    Panicking = 2,
}

/// A store whose reads of jobs and events can be broken.
#[derive(Debug)]
pub(crate) struct Troubled {
    store: Memory,
    trouble: AtomicU8,
}

impl Troubled {
    /// A store that works.
    pub(crate) fn new() -> Arc<Self> {
        let limits = MemoryLimits {
            events_per_job: 1_000,
            event_bytes_per_job: 1 << 20,
            event_bytes: 1 << 28,
            finished_jobs: 1_000,
            row_bytes: 1 << 20,
        };
        Arc::new(Self {
            store: Memory::new(limits),
            trouble: AtomicU8::new(0),
        })
    }

    /// Breaks it.
    pub(crate) fn begin(&self, trouble: Trouble) {
        self.trouble.store(trouble as u8, Ordering::SeqCst);
    }

    fn meet_trouble(&self) -> Result<(), StoreError> {
        match self.trouble.load(Ordering::SeqCst) {
            0 => Ok(()),
            1 => Err(StoreError::Unavailable("told to fail".to_owned())),
            _ => panic!("the store was told to panic"),
        }
    }
}

#[async_trait]
impl Store for Troubled {
    async fn create(&self, job: &Job, input: Option<&Input>) -> Result<Created, StoreError> {
        self.store.create(job, input).await
    }

    async fn reserve(&self, key: &str, job: &JobId, now: Timestamp) -> Result<JobId, StoreError> {
        self.store.reserve(key, job, now).await
    }

    async fn load(&self, job_id: &JobId, now: Timestamp) -> Result<Loaded, StoreError> {
        self.meet_trouble()?;
        self.store.load(job_id, now).await
    }

    async fn input(&self, job_id: &JobId) -> Result<Option<Input>, StoreError> {
        self.store.input(job_id).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        self.store.commit(commit).await
    }

    async fn events_after(&self, job_id: &JobId, after: Seq) -> Result<KeptEvents, StoreError> {
        self.meet_trouble()?;
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
