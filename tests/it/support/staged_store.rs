//! A store that follows a test's script: each call waits, does its work, fails, loses its answer,
//! or panics.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use progressd::{
    job::{Job, JobId, Origin, Seq, Timestamp},
    store::{
        Commit, Committed, Created, Filter, Input, JobCounts, KeptEvents, Loaded, Memory,
        MemoryLimits, Position, Rows, Store, StoreError,
    },
};
use tokio::sync::{Semaphore, watch};

use super::jobs::roomy_limits;

/// What the store says when it fails; no client may ever read it.
pub(crate) const CAUSE: &str = "connection to 10.0.0.7 refused";

/// The store's methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    Reserve,
    Load,
    Input,
    Commit,
    EventsAfter,
    List,
    Rows,
    Remove,
    Expire,
    PutIfAbsent,
    Ping,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done and answered.
    Done,
    /// It is not done.
    Failed,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// It is not done; whoever called goes down with it.
    Panics,
}

/// Where calls wait while it is shut.
#[derive(Debug)]
pub(crate) struct Gate {
    turnstile: Mutex<Option<Arc<Semaphore>>>,
    arrivals: watch::Sender<usize>,
}

/// Memory behind two gates and a script.
pub(crate) struct StagedStore {
    memory: Memory,
    /// Commits and removals pass here before they learn their fate.
    pub(crate) commits: Gate,
    /// Creations pass here.
    pub(crate) creations: Gate,
    /// Reads of events pass here.
    pub(crate) event_reads: Gate,
    planned: Mutex<VecDeque<Fate>>,
    script: Mutex<Script>,
    committed: AtomicUsize,
}

type Script = Box<dyn FnMut(Call) -> Fate + Send>;

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

impl StagedStore {
    /// A store that is well and has room for all that a test brings.
    pub(crate) fn new() -> Arc<Self> {
        Self::with(roomy_limits())
    }

    /// A store that is well.
    pub(crate) fn with(limits: MemoryLimits) -> Arc<Self> {
        Arc::new(Self {
            memory: Memory::new(limits),
            commits: Gate::new(),
            creations: Gate::new(),
            event_reads: Gate::new(),
            planned: Mutex::default(),
            script: Mutex::new(Box::new(|_| Fate::Done)),
            committed: AtomicUsize::new(0),
        })
    }

    /// From now on `script` decides what becomes of calls; it is asked once they have passed the
    /// gates.
    pub(crate) fn follow(&self, script: impl FnMut(Call) -> Fate + Send + 'static) {
        *lock(&self.script) = Box::new(script);
    }

    /// The same fate for every call from now on.
    pub(crate) fn every_call(&self, fate: Fate) {
        self.follow(move |_| fate);
    }

    /// Whether loading a job fails; everything else works.
    pub(crate) fn set_unreadable(&self, is_unreadable: bool) {
        self.follow(move |call| match call {
            Call::Load if is_unreadable => Fate::Failed,
            _ => Fate::Done,
        });
    }

    /// What becomes of the next commits and removals; those after them go by the script.
    pub(crate) fn plan(&self, fates: &[Fate]) {
        lock(&self.planned).extend(fates);
    }

    /// How many commits were done.
    pub(crate) fn committed(&self) -> usize {
        self.committed.load(Ordering::SeqCst)
    }

    async fn stage<T>(
        &self,
        call: Call,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match call {
            Call::Commit | Call::Remove => self.commits.pass().await,
            Call::Create => self.creations.pass().await,
            Call::EventsAfter => self.event_reads.pass().await,
            _ => {}
        }
        let unavailable = || StoreError::Unavailable(CAUSE.to_owned());
        match self.fate_of(call) {
            Fate::Done => work.await,
            Fate::Failed => Err(unavailable()),
            Fate::AnswerLost => {
                work.await?;
                Err(unavailable())
            }
            Fate::Panics => panic!("a store's fault, on purpose"),
        }
    }

    fn fate_of(&self, call: Call) -> Fate {
        let planned = match call {
            Call::Commit | Call::Remove => lock(&self.planned).pop_front(),
            _ => None,
        };
        planned.unwrap_or_else(|| lock(&self.script)(call))
    }
}

impl fmt::Debug for StagedStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StagedStore")
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for StagedStore {
    async fn create(&self, job: &Job, input: Option<&Input>) -> Result<Created, StoreError> {
        self.stage(Call::Create, self.memory.create(job, input))
            .await
    }

    async fn reserve(&self, key: &str, job: &JobId, now: Timestamp) -> Result<JobId, StoreError> {
        self.stage(Call::Reserve, self.memory.reserve(key, job, now))
            .await
    }

    async fn load(&self, job_id: &JobId, now: Timestamp) -> Result<Loaded, StoreError> {
        self.stage(Call::Load, self.memory.load(job_id, now)).await
    }

    async fn input(&self, origin: &Origin) -> Result<Option<Input>, StoreError> {
        self.stage(Call::Input, self.memory.input(origin)).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        let counted = async {
            let committed = self.memory.commit(commit).await?;
            if matches!(committed, Committed::Done { .. }) {
                self.committed.fetch_add(1, Ordering::SeqCst);
            }
            Ok(committed)
        };
        self.stage(Call::Commit, counted).await
    }

    async fn events_after(&self, origin: &Origin, after: Seq) -> Result<KeptEvents, StoreError> {
        self.stage(Call::EventsAfter, self.memory.events_after(origin, after))
            .await
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<&Position>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        self.stage(Call::List, self.memory.list(filter, before, limit, now))
            .await
    }

    async fn unfinished(
        &self,
        kind: Option<&str>,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        self.memory.unfinished(kind, after, limit).await
    }

    async fn rows(
        &self,
        origin: &Origin,
        from: u64,
        limit: usize,
    ) -> Result<Option<Rows>, StoreError> {
        self.stage(Call::Rows, self.memory.rows(origin, from, limit))
            .await
    }

    async fn remove(&self, origin: &Origin, gone_until: Timestamp) -> Result<(), StoreError> {
        self.stage(Call::Remove, self.memory.remove(origin, gone_until))
            .await
    }

    async fn expire(&self, now: Timestamp, gone: u64, limit: usize) -> Result<usize, StoreError> {
        self.stage(Call::Expire, self.memory.expire(now, gone, limit))
            .await
    }

    async fn put_if_absent(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Arc<[u8]>, StoreError> {
        let put = self.memory.put_if_absent(key, value, ttl, now);
        self.stage(Call::PutIfAbsent, put).await
    }

    async fn counts(&self) -> Result<JobCounts, StoreError> {
        self.memory.counts().await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.stage(Call::Ping, self.memory.ping()).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no section of the staged store panics")
}
