//! Word of jobs that are new, have another state, or went: what streams of many jobs begin and end by.
//!
//! A report that leaves a job's state as it is never comes here, and where nobody listens a change
//! of state costs one atomic load. Who listens says what it wants; nobody else is woken.
//!
//! What this node does is told by a job's writer. What others do in a store that nodes share is told
//! by the store's notices, for which a node subscribes while somebody listens. The two ways are not in
//! step, so what was told is remembered for a while: no notice is told after what is newer.

mod told;

use std::{
    collections::HashSet,
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use slab::Slab;
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use super::{Inner, Registry};
use crate::{
    job::{Job, JobId},
    store::{Following, StoreError},
};
use told::Told;

/// How much waits for one who listens; beyond it the jobs are listed anew.
const QUEUE: usize = 4_096;

/// How many jobs wait at most to be read; beyond it all are listed anew.
const MOST_UNREAD: usize = 1_024;

/// What happened to a job.
#[derive(Debug, Clone)]
pub enum LifecycleEvent {
    /// It is new, or has another state.
    Entered(Arc<Job>),
    /// It was removed.
    Removed {
        /// Its name.
        job_id: JobId,
        /// Which of the jobs of that name it was.
        incarnation: Uuid,
        /// The job, where it is known.
        job: Option<Arc<Job>>,
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
    /// What was told. Another plain lock, held while an event is told: what is newer comes later.
    told: Mutex<Told>,
    /// The store's word on what other nodes do; those who listen have it together.
    following: tokio::sync::Mutex<Weak<Following>>,
    unread: Unread,
}

/// Jobs of which it is not known what happened to them.
#[derive(Default)]
struct Unread {
    // As above.
    job_ids: Mutex<HashSet<JobId>>,
    wake: Notify,
}

struct Listener {
    wants: Box<dyn Fn(&LifecycleEvent) -> bool + Send + Sync>,
    events: mpsc::Sender<LifecycleEvent>,
    has_missed: Arc<AtomicBool>,
}

/// Somebody's end of it; dropping it ends the listening.
pub struct LifecycleEvents {
    registry: Registry,
    key: usize,
    events: mpsc::Receiver<LifecycleEvent>,
    has_missed: Arc<AtomicBool>,
    _following: Option<Arc<Following>>,
}

impl Lifecycle {
    /// Whether anybody listens.
    fn is_heard(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Whether anybody wants to be told of this.
    pub(super) fn is_wanted(&self, event: &LifecycleEvent) -> bool {
        let wants = |(_, listener): (usize, &Listener)| (listener.wants)(event);
        self.is_heard() && self.read().iter().any(wants)
    }

    /// Tells those who want to know of what a job's slot has come to here. Always: a watcher may have
    /// seen the slot in between, after it was told by a notice of what comes now.
    pub(super) fn tell(&self, event: &LifecycleEvent) {
        if self.is_heard() {
            let mut told = lock(&self.told);
            told.is_news(event);
            self.send(event);
        }
    }

    /// Tells them of what was heard of others, unless they know that, or what is newer.
    pub(super) fn tell_of_others(&self, event: &LifecycleEvent) {
        if self.is_heard() {
            let mut told = lock(&self.told);
            if told.is_news(event) {
                self.send(event);
            }
        }
    }

    fn send(&self, event: &LifecycleEvent) {
        for (_, listener) in self.read().iter() {
            // A queue that is full is taken from; whoever does sees the flag, then or the next time.
            if (listener.wants)(event) && listener.events.try_send(event.clone()).is_err() {
                listener.has_missed.store(true, Ordering::Release);
            }
        }
    }

    /// Something may have happened to a job, which is read to find out.
    pub(super) fn look_at(&self, job_id: JobId) {
        if !self.is_heard() {
            return;
        }
        let is_too_much = {
            let mut unread = lock(&self.unread.job_ids);
            let has_room = unread.len() < MOST_UNREAD;
            if has_room {
                unread.insert(job_id);
            }
            !has_room
        };
        match is_too_much {
            true => self.tell(&LifecycleEvent::Missed),
            false => self.unread.wake.notify_one(),
        }
    }

    /// The jobs that have to be read; waits for some.
    pub(super) async fn next_unread(&self) -> HashSet<JobId> {
        loop {
            let unread = mem::take(&mut *lock(&self.unread.job_ids));
            if !unread.is_empty() {
                return unread;
            }
            self.unread.wake.notified().await;
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
    /// Has those events told that `wants` says yes to: whatever is done after this has returned, on any
    /// node. It is asked for every change of a job's state and must be quick.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn lifecycle(
        &self,
        wants: impl Fn(&LifecycleEvent) -> bool + Send + Sync + 'static,
    ) -> Result<LifecycleEvents, StoreError> {
        let following = self.inner.follow_lifecycle().await?;
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
        Ok(LifecycleEvents {
            registry: self.clone(),
            key,
            events,
            has_missed,
            _following: following,
        })
    }
}

impl Inner {
    /// The subscription to what other nodes do, which ends with the last who has it; none where there
    /// are no others.
    async fn follow_lifecycle(&self) -> Result<Option<Arc<Following>>, StoreError> {
        let Some(shared) = self.store.shared() else {
            return Ok(None);
        };
        // Held across the subscription: whoever comes meanwhile waits for the same one.
        let mut following = self.lifecycle.following.lock().await;
        if let Some(following) = following.upgrade() {
            return Ok(Some(following));
        }
        let new = Arc::new(shared.follow_lifecycle().await?);
        *following = Arc::downgrade(&new);
        Ok(Some(new))
    }
}

impl LifecycleEvents {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no section under the lock panics")
}
