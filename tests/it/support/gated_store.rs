//! A store that does what a test tells it to: waits, fails, or does its work and loses the answer.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use progressd::{
    job::{Job, JobId, Seq, Timestamp},
    store::{
        Commit, Committed, Created, Filter, Input, KeptEvents, Loaded, Memory, MemoryLimits,
        Position, Rows, Store, StoreError,
    },
};
use tokio::sync::{Semaphore, watch};

/// What becomes of a commit, or of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done and answered.
    Done,
    /// It is not done.
    Failed,
    /// It is done, and the answer is lost.
    AnswerLost,
}

/// Where calls wait while it is shut.
#[derive(Debug)]
pub(crate) struct Gate {
    turnstile: Mutex<Option<Arc<Semaphore>>>,
    arrivals: watch::Sender<usize>,
}

/// Memory behind two gates.
pub(crate) struct GatedStore {
    memory: Memory,
    /// Commits and removals pass here before they reach the memory.
    pub(crate) commits: Gate,
    /// Reads of events pass here.
    pub(crate) event_reads: Gate,
    fates: Mutex<VecDeque<Fate>>,
    is_unreadable: AtomicBool,
    committed: AtomicUsize,
    on_commit: Mutex<Option<Hook>>,
}

type Hook = Box<dyn Fn() + Send>;

impl Gate {
    fn new() -> Self {
        Self {
            turnstile: Mutex::default(),
            arrivals: watch::Sender::new(0),
        }
    }

    /// Lets nobody through from now on.
    pub(crate) fn shut(&self) {
        *lock(&self.turnstile) = Some(Arc::new(Semaphore::new(0)));
    }

    /// Lets one call through.
    pub(crate) fn let_one_through(&self) {
        if let Some(turnstile) = &*lock(&self.turnstile) {
            turnstile.add_permits(1);
        }
    }

    /// Lets everybody through again.
    pub(crate) fn open(&self) {
        if let Some(turnstile) = lock(&self.turnstile).take() {
            turnstile.close();
        }
    }

    /// How many calls have come to the gate so far.
    pub(crate) fn arrivals(&self) -> usize {
        *self.arrivals.borrow()
    }

    /// Waits until so many have come.
    pub(crate) async fn until_arrivals(&self, count: usize) {
        let mut arrivals = self.arrivals.subscribe();
        let arrived = arrivals.wait_for(|arrived| *arrived >= count).await;
        arrived.expect("the gate lives as long as the store");
    }

    async fn pass(&self) {
        let turnstile = lock(&self.turnstile).clone();
        self.arrivals.send_modify(|arrivals| *arrivals += 1);
        if let Some(turnstile) = turnstile
            && let Ok(permit) = turnstile.acquire().await
        {
            permit.forget();
        }
    }
}

impl GatedStore {
    pub(crate) fn new(limits: MemoryLimits) -> Self {
        Self {
            memory: Memory::new(limits),
            commits: Gate::new(),
            event_reads: Gate::new(),
            fates: Mutex::default(),
            is_unreadable: AtomicBool::new(false),
            committed: AtomicUsize::new(0),
            on_commit: Mutex::default(),
        }
    }

    /// What becomes of the next commits and removals; those after them are done.
    pub(crate) fn plan(&self, fates: &[Fate]) {
        lock(&self.fates).extend(fates);
    }

    /// Whether loading a job fails.
    pub(crate) fn set_unreadable(&self, is_unreadable: bool) {
        self.is_unreadable.store(is_unreadable, Ordering::SeqCst);
    }

    /// Calls `hook` at the beginning of every commit.
    pub(crate) fn on_commit(&self, hook: impl Fn() + Send + 'static) {
        *lock(&self.on_commit) = Some(Box::new(hook));
    }

    /// How many commits were done.
    pub(crate) fn committed(&self) -> usize {
        self.committed.load(Ordering::SeqCst)
    }

    fn next_fate(&self) -> Fate {
        lock(&self.fates).pop_front().unwrap_or(Fate::Done)
    }
}

impl fmt::Debug for GatedStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("GatedStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for GatedStore {
    async fn create(&self, job: &Job, input: Option<&Input>) -> Result<Created, StoreError> {
        self.memory.create(job, input).await
    }

    async fn reserve(
        &self,
        key: &str,
        job_id: &JobId,
        now: Timestamp,
    ) -> Result<JobId, StoreError> {
        self.memory.reserve(key, job_id, now).await
    }

    async fn load(&self, job_id: &JobId, now: Timestamp) -> Result<Loaded, StoreError> {
        if self.is_unreadable.load(Ordering::SeqCst) {
            return Err(unavailable());
        }
        self.memory.load(job_id, now).await
    }

    async fn input(&self, job_id: &JobId) -> Result<Option<Input>, StoreError> {
        self.memory.input(job_id).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        if let Some(hook) = &*lock(&self.on_commit) {
            hook();
        }
        self.commits.pass().await;
        let fate = self.next_fate();
        if fate == Fate::Failed {
            return Err(unavailable());
        }
        let committed = self.memory.commit(commit).await?;
        if matches!(committed, Committed::Done { .. }) {
            self.committed.fetch_add(1, Ordering::SeqCst);
        }
        match fate {
            Fate::AnswerLost => Err(unavailable()),
            _ => Ok(committed),
        }
    }

    async fn events_after(&self, job_id: &JobId, after: Seq) -> Result<KeptEvents, StoreError> {
        self.event_reads.pass().await;
        self.memory.events_after(job_id, after).await
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<&Position>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        self.memory.list(filter, before, limit, now).await
    }

    async fn rows(&self, job_id: &JobId, from: u64, limit: usize) -> Result<Rows, StoreError> {
        self.memory.rows(job_id, from, limit).await
    }

    async fn remove(&self, job_id: &JobId, gone_until: Timestamp) -> Result<(), StoreError> {
        self.commits.pass().await;
        let fate = self.next_fate();
        if fate == Fate::Failed {
            return Err(unavailable());
        }
        self.memory.remove(job_id, gone_until).await?;
        match fate {
            Fate::AnswerLost => Err(unavailable()),
            _ => Ok(()),
        }
    }

    async fn expire(
        &self,
        now: Timestamp,
        gone_seconds: u64,
        limit: usize,
    ) -> Result<usize, StoreError> {
        self.memory.expire(now, gone_seconds, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.memory.ping().await
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("the test says so".to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no section of the gated store panics")
}
