//! Word of jobs that are new, have another state, or went: what streams of many jobs begin and end by.
//!
//! A report that leaves a job's state as it is never comes here, and where nobody listens a change
//! of state costs one atomic load. Who listens says what it wants; nobody else is woken.

use std::{
    fmt,
    sync::{
        Arc, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use slab::Slab;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::Registry;
use crate::job::{Job, JobId};

/// How much waits for one who listens; beyond it the jobs are listed anew.
const QUEUE: usize = 4_096;

/// What happened to a job.
#[derive(Debug, Clone)]
pub enum LifecycleEvent {
    /// It is new, or has another state.
    Entered(Arc<Job>),
    /// It was removed.
    Removed {
        /// Its name.
        job_id: JobId,
        /// Which of the jobs of that name it was, where that is known.
        incarnation: Option<Uuid>,
    },
    /// Others may have been missed: what there is has to be looked at anew.
    Missed,
}

/// Everybody who listens.
#[derive(Default)]
pub(super) struct Lifecycle {
    /// How many listen, for those who only want to know whether anybody does.
    count: AtomicUsize,
    // A plain lock: sections are short and never await.
    listeners: RwLock<Slab<Listener>>,
}

struct Listener {
    wants: Box<dyn Fn(&Job) -> bool + Send + Sync>,
    events: mpsc::Sender<LifecycleEvent>,
    has_missed: Arc<AtomicBool>,
}

/// Somebody's end of it; dropping it ends the listening.
pub struct LifecycleEvents {
    registry: Registry,
    key: usize,
    events: mpsc::Receiver<LifecycleEvent>,
    has_missed: Arc<AtomicBool>,
}

impl Lifecycle {
    /// Tells those who want to know.
    pub(super) fn tell(&self, event: &LifecycleEvent) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        for (_, listener) in self.read().iter() {
            let is_wanted = match event {
                LifecycleEvent::Entered(job) => (listener.wants)(job),
                LifecycleEvent::Removed { .. } | LifecycleEvent::Missed => true,
            };
            // The flag first: who finds the queue full takes from it, and then sees the flag.
            if is_wanted && listener.events.try_send(event.clone()).is_err() {
                listener.has_missed.store(true, Ordering::Release);
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Slab<Listener>> {
        self.listeners
            .read()
            .expect("no section under the lock panics")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Slab<Listener>> {
        self.listeners
            .write()
            .expect("no section under the lock panics")
    }
}

impl Registry {
    /// Has the lifecycle of those jobs told that `wants` says yes to, from now on. It is asked for
    /// every change of a job's state and must be quick.
    pub fn lifecycle(
        &self,
        wants: impl Fn(&Job) -> bool + Send + Sync + 'static,
    ) -> LifecycleEvents {
        let (sender, events) = mpsc::channel(QUEUE);
        let has_missed = Arc::new(AtomicBool::new(false));
        let listener = Listener {
            wants: Box::new(wants),
            events: sender,
            has_missed: Arc::clone(&has_missed),
        };
        let lifecycle = &self.inner.lifecycle;
        let key = lifecycle.write().insert(listener);
        lifecycle.count.fetch_add(1, Ordering::AcqRel);
        LifecycleEvents {
            registry: self.clone(),
            key,
            events,
            has_missed,
        }
    }
}

impl LifecycleEvents {
    /// The next one. Cancel-safe.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<LifecycleEvent> {
        let event = ready!(self.events.poll_recv(context));
        if self.has_missed.swap(false, Ordering::AcqRel) {
            // What waits is no more than what will be found.
            while self.events.try_recv().is_ok() {}
            return Poll::Ready(LifecycleEvent::Missed);
        }
        // The sender goes with this.
        Poll::Ready(event.unwrap_or(LifecycleEvent::Missed))
    }
}

impl Drop for LifecycleEvents {
    fn drop(&mut self) {
        let lifecycle = &self.registry.inner.lifecycle;
        lifecycle.count.fetch_sub(1, Ordering::AcqRel);
        let listener = lifecycle.write().remove(self.key);
        // What it wants may hold anything; nothing of it is dropped under the lock.
        drop(listener);
    }
}

impl fmt::Debug for LifecycleEvents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LifecycleEvents")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
