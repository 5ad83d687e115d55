//! Living with other nodes: what is done here since they change jobs in the same store too.
//!
//! The store is the truth, and every change goes through its compare and swap: so what this node
//! holds of a job may be behind, and never does harm. It is brought up to date
//!
//! 1. before it is read: a look at its seq, the state only when that has moved;
//! 2. while somebody watches: the job is *followed*, one subscription however many watch, and
//!    each notice is applied by the job's one writer, in the order of seqs;
//! 3. from time to time while it is followed, since a notice may get lost;
//! 4. when a commit finds that somebody was quicker.
//!
//! While somebody listens to the lifecycle of jobs, notices of it come as well, whether this node holds
//! the job or not.
//!
//! Why a watcher that joins misses nothing. The store confirms the subscription before the state
//! is looked at, and the watcher joins the hub after that. A change that was committed before the
//! look is in the state that the hub then shows; one that came later is noticed, and a notice that
//! gets lost is made up for by the next look. The hub shows both in the order of their seqs.
//!
//! Deadlines are the store's: it names the jobs that are due, and any node does what is to be done.

mod hearing;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Inner, LifecycleEvent, Registry, RegistryError, slot::Slot};
use crate::{
    job::{Job, JobId, Origin, Timestamp},
    store::{Position, Shared, StoreError},
};

/// How often the store's clock is looked at.
const CLOCK_INTERVAL: Duration = Duration::from_secs(30);

/// A look at the clock that took longer says too little.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// How often deadlines are looked for; slots that nobody uses are let go, and jobs counted, as often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How many jobs one question to the store is about.
const SLICE: usize = 500;

/// How many jobs are put back at a time.
const MOST_AT_ONCE: usize = 64;

/// For how long a slot stays that nobody uses or watches: pages reload and workers pause.
const IDLE: Duration = Duration::from_secs(30);

/// For how long a job is followed that nobody watches any more: pages reload.
const UNWATCHED: Duration = Duration::from_secs(10);

/// Does all of it until `stop` is cancelled; nothing when the store is this node's own.
pub(super) fn begin(inner: &Arc<Inner>, check_interval: Duration, stop: &CancellationToken) {
    if !inner.is_shared() {
        return;
    }
    let run = |work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
        let stop = stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(work).await });
    };
    run(Box::pin(hearing::hear(Arc::clone(inner))));
    run(Box::pin(hearing::read_what_moved(Arc::clone(inner))));
    run(Box::pin(keep_time(Arc::clone(inner))));
    run(Box::pin(check(Arc::clone(inner), check_interval)));
    run(Box::pin(keep_deadlines(Arc::clone(inner))));
    run(Box::pin(sweep(Arc::clone(inner))));
}

impl Registry {
    /// Takes over the store's clock, and how many jobs there are, where nodes share one; to be called
    /// before the first job is made. A store that does not answer is asked again later.
    pub async fn look_at_the_store(&self) {
        if let Some(shared) = self.inner.store.shared() {
            self.inner.look_at_the_clock(shared).await;
            self.inner.look_at_the_number().await;
        }
    }

    /// Unfinished jobs of a kind, oldest first, above `after`; at most `limit`.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn unfinished(
        &self,
        kind: &str,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let store = &self.inner.store;
        store.unfinished(Some(kind), after, limit).await
    }

    /// Whether the store has come back empty less than `span` ago: then what it says of who is at
    /// work on what is not yet true again.
    pub fn was_emptied_within(&self, span: Duration) -> bool {
        let emptied_at = *self.inner.emptied_at.borrow();
        self.now() < emptied_at.plus_seconds(span.as_secs())
    }

    /// When the store has last come back empty; changes each time that it does.
    pub fn emptied(&self) -> watch::Receiver<Timestamp> {
        self.inner.emptied_at.subscribe()
    }

    /// Whether other nodes, or workers, change jobs in the store too.
    pub fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }
}

impl Inner {
    async fn look_at_the_clock(&self, shared: &dyn Shared) {
        let before = self.clock.own();
        let Ok(theirs) = shared.now().await else {
            return;
        };
        let after = self.clock.own();
        let took = after.as_micros().saturating_sub(before.as_micros());
        if u128::from(took) <= LONGEST_LOOK.as_micros() {
            let here = Timestamp::from_micros(before.as_micros() + took / 2);
            self.clock.set(here, theirs);
        }
    }

    async fn look_at_the_number(&self) {
        if let Ok(counts) = self.store.counts().await {
            self.count_unfinished(&counts);
        }
    }

    /// Brings every job up to date that is followed and has moved.
    async fn check_the_followed(self: &Arc<Self>, shared: &dyn Shared) {
        let followed = self.slots.filtered(|slot| slot.is_followed());
        for slots in followed.chunks(SLICE) {
            let origins: Vec<&Origin> = slots.iter().map(|slot| slot.origin()).collect();
            let Ok(seqs) = shared.seqs(&origins).await else {
                // The monitor says so, and the next round asks again.
                return;
            };
            for (slot, seq) in slots.iter().zip(seqs) {
                if seq != Some(slot.job().seq) {
                    slot.freshen_soon(self);
                }
            }
        }
    }

    /// Lets go of slots that nobody has used for a while.
    fn let_go_of_the_idle(&self) {
        // Nobody but the map holds it, and without the map nobody gets hold of it.
        let is_used = |slot: &Arc<Slot>| Arc::strong_count(slot) > 1 || !slot.is_idle_for(IDLE);
        self.slots.retain(is_used);
    }

    /// Puts the jobs back that are held here, into a store that has lost what it held. One that
    /// fails is put back when it is next looked at.
    async fn put_back(self: Arc<Self>) {
        let held = self.slots.filtered(|_| true);
        let putting_back = stream::iter(held).map(|slot| {
            let inner = &self;
            async move {
                if let Err(error) = slot.put_back(inner).await {
                    tracing::warn!(job.id = %slot.job_id(), %error, "a job was not put back yet");
                }
                slot.freshen_soon(inner);
            }
        });
        let putting_back = putting_back.buffer_unordered(MOST_AT_ONCE);
        putting_back.collect::<()>().await;
        // What had ended is gone, and what others hold comes back through them.
        self.lifecycle.tell(&LifecycleEvent::Missed);
    }
}

async fn keep_time(inner: Arc<Inner>) {
    let Some(shared) = inner.store.shared() else {
        return;
    };
    loop {
        tokio::time::sleep(CLOCK_INTERVAL).await;
        inner.look_at_the_clock(shared).await;
    }
}

async fn check(inner: Arc<Inner>, interval: Duration) {
    let Some(shared) = inner.store.shared() else {
        return;
    };
    loop {
        tokio::time::sleep(interval).await;
        inner.check_the_followed(shared).await;
    }
}

async fn sweep(inner: Arc<Inner>) {
    loop {
        pause().await;
        inner.let_go_of_the_idle();
        let mut followed = inner.slots.filtered(|slot| slot.is_followed());
        for slot in &followed {
            slot.unfollow(UNWATCHED);
        }
        followed.retain(|slot| slot.is_followed());
        inner.metrics.follows(followed.len());
        inner.look_at_the_number().await;
    }
}

/// Until the next sweep; spread, so that nodes which began together do not all do the same at once.
async fn pause() {
    tokio::time::sleep(SWEEP_INTERVAL.mul_f64(rand::random_range(0.8..1.2))).await;
}

/// Does what is to be done when a deadline has come.
async fn keep_deadlines(inner: Arc<Inner>) {
    let Some(shared) = inner.store.shared() else {
        return;
    };
    let registry = Registry {
        inner: Arc::clone(&inner),
    };
    // Said once of each job that cannot be read, until all of them can.
    let unreadable = Mutex::new(HashSet::new());
    loop {
        pause().await;
        let due = match shared.due(inner.clock.now(), SLICE).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "deadlines could not be looked at, trying again in a second");
                continue;
            }
        };
        let failures = AtomicUsize::new(0);
        // Side by side: one that somebody else holds keeps none of the others waiting.
        let ticks = stream::iter(due).for_each_concurrent(MOST_AT_ONCE, async |job_id| {
            if let Err(error) = tick(&registry, &job_id).await {
                failures.fetch_add(1, Ordering::Relaxed);
                if unreadable
                    .lock()
                    .expect("nothing panics")
                    .insert(job_id.clone())
                {
                    tracing::warn!(job.id = %job_id, %error, "a deadline could not be looked at");
                }
            }
        });
        ticks.await;
        if failures.into_inner() == 0 {
            unreadable.lock().expect("nothing panics").clear();
        }
    }
}

async fn tick(registry: &Registry, job_id: &JobId) -> Result<(), RegistryError> {
    let inner = &registry.inner;
    let slot = match registry.find(job_id).await {
        Ok(job) => job.slot,
        Err(RegistryError::NotFound | RegistryError::Gone) => return Ok(()),
        Err(error) => return Err(error),
    };
    let deadline = slot.job().next_deadline_since(inner.reachable_since());
    // Not due yet, when the silence was not the worker's.
    if deadline.is_some_and(|deadline| deadline <= inner.clock.now()) {
        slot.tick(inner).await;
    }
    Ok(())
}
