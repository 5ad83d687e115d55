//! A store with a clock beside it: how long each operation takes, and how many fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    Commit, Committed, Created, Filter, Following, Input, JobCounts, KeptEvents, Loaded, Notice,
    Position, Rows, Shared, Store, StoreError,
};
use crate::{
    job::{Job, JobId, Ledger, Origin, ReportId, Seq, Timestamp},
    metrics::{StoreMetrics, StoreOperation},
};

/// Another store, measured.
#[derive(Debug)]
pub struct Measured {
    store: Arc<dyn Store>,
    metrics: StoreMetrics,
    patience: Option<Duration>,
    /// Whether the last ping of a shared store was not answered: until one is, nothing else is asked,
    /// so that whoever waits is told soon. It guards nothing, hence relaxed.
    is_away: AtomicBool,
}

impl Measured {
    /// The same store, whose operations are counted. One that others share has `patience` for each
    /// of them; what takes longer has failed.
    pub fn new(store: Arc<dyn Store>, patience: Duration, metrics: StoreMetrics) -> Self {
        let patience = store.shared().map(|_| patience);
        Self {
            store,
            metrics,
            patience,
            is_away: AtomicBool::new(false),
        }
    }

    /// For calls through [`Store::shared`], which there are only where the store has it.
    fn others(&self) -> &dyn Shared {
        self.store.shared().expect("the store is shared")
    }

    async fn time<T>(
        &self,
        operation: StoreOperation,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let begin = Instant::now();
        let is_ping = operation == StoreOperation::Ping;
        let unavailable = |why: &str| Err(StoreError::Unavailable(why.to_owned()));
        let outcome = match self.patience {
            None => work.await,
            Some(_) if !is_ping && self.is_away.load(Ordering::Relaxed) => {
                unavailable("it has not answered the last ping")
            }
            Some(patience) => tokio::time::timeout(patience, work)
                .await
                .unwrap_or_else(|_| unavailable("no answer in time")),
        };
        if is_ping && self.patience.is_some() {
            let is_away = matches!(outcome, Err(StoreError::Unavailable(_)));
            self.is_away.store(is_away, Ordering::Relaxed);
        }
        self.metrics
            .took(operation, begin.elapsed(), outcome.is_err());
        outcome
    }
}

#[async_trait]
impl Store for Measured {
    async fn create(&self, job: &Job, input: Option<&Input>) -> Result<Created, StoreError> {
        let work = self.store.create(job, input);
        self.time(StoreOperation::Create, work).await
    }

    async fn reserve(
        &self,
        key: &str,
        job_id: &JobId,
        now: Timestamp,
    ) -> Result<JobId, StoreError> {
        let work = self.store.reserve(key, job_id, now);
        self.time(StoreOperation::Reserve, work).await
    }

    async fn load(&self, job_id: &JobId, now: Timestamp) -> Result<Loaded, StoreError> {
        self.time(StoreOperation::Load, self.store.load(job_id, now))
            .await
    }

    async fn input(&self, origin: &Origin) -> Result<Option<Input>, StoreError> {
        self.time(StoreOperation::Input, self.store.input(origin))
            .await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        self.time(StoreOperation::Commit, self.store.commit(commit))
            .await
    }

    async fn events_after(&self, origin: &Origin, after: Seq) -> Result<KeptEvents, StoreError> {
        let work = self.store.events_after(origin, after);
        self.time(StoreOperation::EventsAfter, work).await
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<&Position>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let work = self.store.list(filter, before, limit, now);
        self.time(StoreOperation::List, work).await
    }

    async fn unfinished(
        &self,
        kind: Option<&str>,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let work = self.store.unfinished(kind, after, limit);
        self.time(StoreOperation::Unfinished, work).await
    }

    async fn rows(
        &self,
        origin: &Origin,
        from: u64,
        limit: usize,
    ) -> Result<Option<Rows>, StoreError> {
        let work = self.store.rows(origin, from, limit);
        self.time(StoreOperation::Rows, work).await
    }

    async fn remove(&self, origin: &Origin, gone_until: Timestamp) -> Result<(), StoreError> {
        let work = self.store.remove(origin, gone_until);
        self.time(StoreOperation::Remove, work).await
    }

    async fn expire(
        &self,
        now: Timestamp,
        gone_seconds: u64,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let work = self.store.expire(now, gone_seconds, limit);
        self.time(StoreOperation::Expire, work).await
    }

    async fn counts(&self) -> Result<JobCounts, StoreError> {
        self.time(StoreOperation::Counts, self.store.counts()).await
    }

    async fn put_if_absent(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Arc<[u8]>, StoreError> {
        let work = self.store.put_if_absent(key, value, ttl, now);
        self.time(StoreOperation::PutIfAbsent, work).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.time(StoreOperation::Ping, self.store.ping()).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.store.flush().await
    }

    fn shared(&self) -> Option<&dyn Shared> {
        self.store.shared().map(|_| self as &dyn Shared)
    }
}

#[async_trait]
impl Shared for Measured {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.time(StoreOperation::Now, self.others().now()).await
    }

    async fn follow(&self, job_id: &JobId) -> Result<Following, StoreError> {
        let work = self.others().follow(job_id);
        self.time(StoreOperation::Follow, work).await
    }

    async fn follow_lifecycle(&self) -> Result<Following, StoreError> {
        let work = self.others().follow_lifecycle();
        self.time(StoreOperation::Follow, work).await
    }

    async fn next_notice(&self) -> Notice {
        self.others().next_notice().await
    }

    async fn seqs(&self, jobs: &[&Origin]) -> Result<Vec<Option<Seq>>, StoreError> {
        let work = self.others().seqs(jobs);
        self.time(StoreOperation::Seqs, work).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, StoreError> {
        let work = self.others().due(now, limit);
        self.time(StoreOperation::Due, work).await
    }

    async fn claim(
        &self,
        job: &Origin,
        node: Uuid,
        ttl: Duration,
    ) -> Result<Option<u64>, StoreError> {
        let work = self.others().claim(job, node, ttl);
        self.time(StoreOperation::Claim, work).await
    }

    async fn release(&self, job: &Origin, node: Uuid) -> Result<(), StoreError> {
        let work = self.others().release(job, node);
        self.time(StoreOperation::Release, work).await
    }

    async fn answers(&self, job: &Origin, report_ids: &[ReportId]) -> Result<Ledger, StoreError> {
        let work = self.others().answers(job, report_ids);
        self.time(StoreOperation::Answers, work).await
    }

    async fn restore(&self, job: &Job) -> Result<(), StoreError> {
        let work = self.others().restore(job);
        self.time(StoreOperation::Restore, work).await
    }
}
