//! A store that works until it is told not to: then every call fails, or panics.

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

/// What the store says when it fails; no client may ever read it.
pub(crate) const CAUSE: &str = "connection to 10.0.0.7 refused";

/// Memory that can be broken and mended.
#[derive(Debug)]
pub(crate) struct BrokenStore {
    memory: Memory,
    state: AtomicU8,
}

/// How the store is.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(crate) enum Health {
    Well,
    Failing,
    Panicking,
}

impl BrokenStore {
    /// A store that is well.
    pub(crate) fn new() -> Arc<Self> {
        let limits = MemoryLimits {
            events_per_job: 1_000,
            event_bytes_per_job: 1 << 20,
            event_bytes: 1 << 20,
            finished_jobs: 1_000,
            row_bytes: 1 << 20,
        };
        Arc::new(Self {
            memory: Memory::new(limits),
            state: AtomicU8::new(Health::Well as u8),
        })
    }

    pub(crate) fn become_(&self, health: Health) {
        self.state.store(health as u8, Ordering::SeqCst);
    }

    /// The memory, unless the store is broken.
    fn working(&self) -> Result<&Memory, StoreError> {
        match self.state.load(Ordering::SeqCst) {
            0 => Ok(&self.memory),
            1 => Err(StoreError::Unavailable(CAUSE.to_owned())),
            _ => panic!("a store's fault, on purpose"),
        }
    }
}

#[async_trait]
impl Store for BrokenStore {
    async fn create(&self, job: &Job, input: Option<&Input>) -> Result<Created, StoreError> {
        self.working()?.create(job, input).await
    }

    async fn reserve(&self, key: &str, job: &JobId, now: Timestamp) -> Result<JobId, StoreError> {
        self.working()?.reserve(key, job, now).await
    }

    async fn load(&self, job_id: &JobId, now: Timestamp) -> Result<Loaded, StoreError> {
        self.working()?.load(job_id, now).await
    }

    async fn input(&self, job_id: &JobId) -> Result<Option<Input>, StoreError> {
        self.working()?.input(job_id).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        self.working()?.commit(commit).await
    }

    async fn events_after(&self, job_id: &JobId, after: Seq) -> Result<KeptEvents, StoreError> {
        self.working()?.events_after(job_id, after).await
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<&Position>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        self.working()?.list(filter, before, limit, now).await
    }

    async fn rows(&self, job_id: &JobId, from: u64, limit: usize) -> Result<Rows, StoreError> {
        self.working()?.rows(job_id, from, limit).await
    }

    async fn remove(&self, job_id: &JobId, gone_until: Timestamp) -> Result<(), StoreError> {
        self.working()?.remove(job_id, gone_until).await
    }

    async fn expire(&self, now: Timestamp, gone: u64, limit: usize) -> Result<usize, StoreError> {
        self.working()?.expire(now, gone, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.working()?.ping().await
    }
}
