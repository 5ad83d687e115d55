//! The jobs that this node holds: finding, creating and listing them, and the one way to change them.
//!
//! Every job has one `Slot`: a queue of requests with one writer, and a hub for everybody who
//! reads. The store is the truth; the registry is what makes it quick and live.

mod attach;
mod clock;
mod create;
mod expiry;
mod handle;
mod lifecycle;
mod list;
mod monitor;
mod recover;
mod sharing;
mod slot;
mod slots;
#[cfg(test)]
mod tests;
mod timekeeper;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    frame::Ending,
    hub::Hub,
    job::{Bounds, Defaults, JobId, Refusal, State, Timestamp},
    metrics::RegistryMetrics,
    store::{Former, JobCounts, Loaded, Store, StoreError, Stored},
};

pub use attach::{Attachment, Cursor, Since};
pub use handle::{JobHandle, Submission};
pub use lifecycle::{LifecycleEvent, LifecycleEvents};
pub use list::JobPage;
pub use slot::Gathering;

use clock::Clock;
use lifecycle::Lifecycle;
use slot::Slot;
use slots::Slots;
use timekeeper::Timekeeper;

/// How long a job that is reported on counts as known, before it is looked at once more.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// What the registry is told by the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Bounds on what reports bring.
    pub bounds: Bounds,
    /// What holds where a creation says nothing.
    pub defaults: Defaults,
    /// The shortest time between two ordinary statuses on a stream.
    pub update_interval: Duration,
    /// Most unfinished jobs.
    pub max_jobs: usize,
    /// For how long a removed job's name is known as gone, in seconds.
    pub gone_seconds: u64,
    /// How often jobs are looked at that are watched here and that other nodes change.
    pub check_interval: Duration,
}

/// All jobs of this node. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    metrics: RegistryMetrics,
    settings: ArcSwap<Settings>,
    clock: Clock,
    timekeeper: Timekeeper,
    lifecycle: Lifecycle,
    slots: Slots,
    /// How many unfinished jobs a store that is shared has, as last counted.
    unfinished: AtomicUsize,
    /// When the store was last found empty; the beginning of time is never.
    emptied_at: watch::Sender<Timestamp>,
    /// Since when reports can be taken, in microseconds by this machine's own clock.
    reachable_since: AtomicU64,
    /// By which the store knows this node from others.
    node: Uuid,
    /// Cancelled before the streams are told, so that one that joins meanwhile is told as well.
    draining: CancellationToken,
}

/// Why the registry did not do what it was asked.
#[derive(Debug, Clone, Error)]
pub enum RegistryError {
    /// There is no job of that name.
    #[error("job not found")]
    NotFound,
    /// There was one; its retention has ended or it was removed.
    #[error("job gone")]
    Gone,
    /// A different job of that name exists.
    #[error("a different job of that name exists")]
    Exists,
    /// There are as many jobs as there may be.
    #[error("too many jobs")]
    Full,
    /// The store has no room for the job, or for what its runner would read.
    #[error("no room for the job")]
    NoRoom,
    /// The rules do not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A fault of the server cut it off; it may or may not have been done.
    #[error("the job's writer ended before it answered")]
    Interrupted,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Registry {
    /// A registry over `store`, with its timers; they end when `stop` is cancelled.
    pub fn start(
        store: Arc<dyn Store>,
        settings: Settings,
        metrics: RegistryMetrics,
        stop: CancellationToken,
    ) -> Self {
        let (timekeeper, keeper) = Timekeeper::new(stop.clone());
        let inner = Arc::new(Inner {
            store,
            metrics,
            settings: ArcSwap::from_pointee(settings),
            clock: Clock::default(),
            timekeeper,
            lifecycle: Lifecycle::default(),
            slots: Slots::default(),
            unfinished: AtomicUsize::new(0),
            emptied_at: watch::Sender::new(Timestamp::ZERO),
            reachable_since: AtomicU64::new(0),
            node: Uuid::now_v7(),
            draining: CancellationToken::new(),
        });
        inner.is_unreachable();
        tokio::spawn(keeper.run(Arc::downgrade(&inner)));
        sharing::begin(&inner, settings.check_interval, &stop);
        let monitor = monitor::watch_the_store(Arc::clone(&inner));
        tokio::spawn(stop.clone().run_until_cancelled_owned(monitor));
        tokio::spawn(expiry::expire_forever(Arc::clone(&inner), stop));
        Self { inner }
    }

    /// What the registry was told by the configuration.
    pub fn settings(&self) -> Arc<Settings> {
        self.inner.settings.load_full()
    }

    /// The bounds on what reports bring.
    pub fn bounds(&self) -> Bounds {
        self.inner.settings.load().bounds
    }

    /// From now on these bounds hold for what reports bring, and this number for unfinished jobs.
    pub fn set_limits(&self, bounds: Bounds, max_jobs: usize) {
        self.inner.settings.rcu(|settings| Settings {
            bounds,
            max_jobs,
            ..**settings
        });
    }

    /// The time by the clock that jobs are stamped with.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.inner.store.ping().await
    }

    /// How many jobs there are, by state.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn counts(&self) -> Result<JobCounts, StoreError> {
        self.inner.store.counts().await
    }

    /// The job of that name, finished or not.
    ///
    /// # Errors
    /// `NotFound`, `Gone`, or the store's.
    pub async fn find(&self, job_id: &JobId) -> Result<JobHandle, RegistryError> {
        match self.look_up(job_id, false).await {
            // What is gone may be an earlier job of the name, whose slot was still held.
            Err(RegistryError::Gone) => self.look_up(job_id, false).await,
            found => found,
        }
    }

    /// The same, up to date with what other nodes have done.
    ///
    /// # Errors
    /// As [`Registry::find`].
    pub async fn find_fresh(&self, job_id: &JobId) -> Result<JobHandle, RegistryError> {
        match self.look_up(job_id, true).await {
            // The same; another node may have given the name to another job.
            Err(RegistryError::Gone) => self.look_up(job_id, true).await,
            found => found,
        }
    }

    async fn look_up(&self, job_id: &JobId, is_fresh: bool) -> Result<JobHandle, RegistryError> {
        let inner = &self.inner;
        if let Some(slot) = inner.held(job_id).await? {
            // Another node may have given the name to another job, which it takes a while to do.
            if inner.is_shared() && (is_fresh || slot.is_idle_for(KNOWN_FOR)) {
                slot.freshen(inner).await?;
            }
            return Ok(self.handle(slot));
        }
        let stored = self.load(job_id).await?;
        if stored.job.is_finished() {
            // The store answers for finished jobs; nothing changes them any more. Only a slot
            // that was held meanwhile goes before it: it may not have shown this end yet, and
            // what it shows next would be older than what was shown here.
            let held = inner.held(job_id).await?;
            return Ok(self.handle(held.unwrap_or_else(|| self.slot(stored, true))));
        }
        // By now the job may have moved on through a slot that was held and let go meanwhile. So
        // the slot is held first and reads the store again afterwards; where other nodes may move
        // it on at any time, that is looked at before each read.
        let loaded = self.slot(stored, inner.is_shared());
        let slot = inner.hold(Arc::clone(&loaded));
        if is_fresh && !Arc::ptr_eq(&slot, &loaded) {
            slot.freshen(inner).await?;
        }
        slot.verify(inner).await?;
        slot.watch_the_clock(inner);
        Ok(self.handle(slot))
    }

    /// What is remembered of a job that is gone; `None` when there is one, or never was.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn former(&self, job_id: &JobId) -> Result<Option<Former>, StoreError> {
        Ok(match self.inner.store.load(job_id, self.now()).await? {
            Loaded::Gone(former) => Some(former),
            Loaded::Job(_) | Loaded::Unknown => None,
        })
    }

    /// From now on the server is shutting down: whoever asks is told, and what streams reports ends.
    pub fn begin_drain(&self) {
        self.inner.draining.cancel();
    }

    /// Ends every stream and every wait with word that the server is shutting down.
    pub fn drain(&self) {
        self.begin_drain();
        for slot in self.inner.slots.filtered(|_| true) {
            slot.hub().end(Ending::Draining);
        }
    }

    /// Whether [`Registry::begin_drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.is_cancelled()
    }

    /// Cancelled by [`Registry::begin_drain`].
    pub fn draining(&self) -> &CancellationToken {
        &self.inner.draining
    }

    async fn load(&self, job_id: &JobId) -> Result<Stored, RegistryError> {
        match self.inner.store.load(job_id, self.now()).await? {
            Loaded::Job(stored) => Ok(*stored),
            Loaded::Gone(_) => Err(RegistryError::Gone),
            Loaded::Unknown => Err(RegistryError::NotFound),
        }
    }

    fn slot(&self, stored: Stored, is_verified: bool) -> Arc<Slot> {
        let update_interval = self.inner.settings.load().update_interval;
        let hub = Hub::new(Arc::clone(&stored.job), update_interval);
        Arc::new(Slot::new(hub, stored, is_verified))
    }

    fn handle(&self, slot: Arc<Slot>) -> JobHandle {
        JobHandle::new(slot, Arc::clone(&self.inner))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Registry")
            .field("slots", &self.inner.slots.len())
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Whether other nodes, or workers, change jobs in the store too.
    fn is_shared(&self) -> bool {
        self.store.shared().is_some()
    }

    /// No report can be taken at this moment: leases begin anew with the next.
    fn is_unreachable(&self) {
        let now = self.clock.own().as_micros();
        self.reachable_since.store(now, Ordering::Relaxed);
    }

    /// Since when reports can be taken here. A worker that was silent before may have had nobody to
    /// report to.
    fn reachable_since(&self) -> Timestamp {
        let own = self.reachable_since.load(Ordering::Relaxed);
        self.clock.at(Timestamp::from_micros(own))
    }

    /// How many unfinished jobs there are: all are held here, unless other nodes hold some.
    fn unfinished_jobs(&self) -> usize {
        match self.is_shared() {
            true => self.unfinished.load(Ordering::Relaxed),
            false => self.slots.len(),
        }
    }

    fn count_unfinished(&self, counts: &JobCounts) {
        let unfinished = counts.of(State::Pending) + counts.of(State::Processing);
        let unfinished = usize::try_from(unfinished).unwrap_or(usize::MAX);
        self.unfinished.store(unfinished, Ordering::Relaxed);
    }

    /// The slot that is held under the name, if there is one, once it is verified.
    async fn held(self: &Arc<Self>, job_id: &JobId) -> Result<Option<Arc<Slot>>, RegistryError> {
        let held = self.slots.get(job_id);
        if let Some(slot) = &held {
            slot.verify(self).await?;
        }
        Ok(held)
    }

    /// Holds a slot of an unfinished job; one that is held already wins.
    fn hold(&self, slot: Arc<Slot>) -> Arc<Slot> {
        let held = self.slots.hold(slot);
        // A drain cancels first and looks for slots then; here a slot is put first, and the
        // token looked at then. So one of the two ends the streams of every slot.
        if self.draining.is_cancelled() {
            held.hub().end(Ending::Draining);
        }
        held
    }

    /// Lets go of a slot whose job has ended. A newer slot of the same name stays.
    fn let_go(&self, slot: &Arc<Slot>) {
        self.timekeeper.cancel(slot);
        self.slots.let_go(slot);
    }
}
