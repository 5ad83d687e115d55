//! A slot among other nodes: it is followed while somebody watches, and brought up to date.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Errand, Slot};
use crate::{
    job::{Command, Event, Job, Seq},
    registry::{Inner, RegistryError},
};

/// How many changes of other nodes wait at most; beyond it the store is read instead.
const MOST_HEARD: usize = 64;

/// A change that another node made.
pub(in crate::registry) struct Heard {
    /// The seq that it was made on.
    pub(super) prev: Seq,
    /// The job afterwards.
    pub(super) job: Arc<Job>,
    /// The events that came with it.
    pub(super) events: Vec<Event>,
}

impl Slot {
    /// Has the store tell of what others do from now on, and brings the slot up to date.
    pub(in crate::registry) async fn follow(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
    ) -> Result<(), RegistryError> {
        let Some(shared) = inner.store.shared() else {
            return Ok(());
        };
        if self.job().is_finished() {
            return Ok(());
        }
        let mut is_fresh = false;
        loop {
            // Held across the subscription: whoever comes meanwhile waits for the same one.
            let mut following = self.following.lock().await;
            // Under it: `unfollow` leaves alone what somebody is about to watch.
            self.lock().watched_at = Instant::now();
            if following.is_none() {
                *following = Some(shared.follow(self.job_id()).await?);
                self.is_followed.store(true, Ordering::Release);
            } else if is_fresh {
                return Ok(());
            }
            drop(following);
            self.freshen(inner).await?;
            is_fresh = true;
        }
    }

    /// Has the store tell no more of a job that nobody has watched here for so long, however much
    /// is reported on it. A runner stays in the picture: others may cancel its job.
    pub(in crate::registry) fn unfollow(&self, patience: Duration) {
        let Ok(mut following) = self.following.try_lock() else {
            return;
        };
        let is_wanted = self.hub.watchers() > 0 || self.stop.get().is_some();
        let mut desk = self.lock();
        if is_wanted {
            desk.watched_at = Instant::now();
        } else if desk.watched_at + patience <= Instant::now() {
            drop(desk);
            self.is_followed.store(false, Ordering::Release);
            *following = None;
        }
    }

    /// Whether others' changes are noticed.
    pub(in crate::registry) fn is_followed(&self) -> bool {
        self.is_followed.load(Ordering::Acquire)
    }

    /// Brings the slot up to date, where others may have changed the job.
    pub(in crate::registry) async fn freshen(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
    ) -> Result<(), RegistryError> {
        if !inner.is_shared() || self.job().is_finished() {
            return Ok(());
        }
        self.enqueue(inner, Errand::Freshen, None).await.map(drop)
    }

    /// The same without waiting for it.
    pub(in crate::registry) fn freshen_soon(self: &Arc<Self>, inner: &Arc<Inner>) {
        self.enqueue_unasked(inner, Errand::Freshen);
    }

    /// Takes a change of another node into the queue.
    pub(in crate::registry) fn hear(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        prev: Seq,
        job: Arc<Job>,
        events: Vec<Event>,
    ) {
        if job.origin.incarnation != self.origin.incarnation || job.seq <= self.job().seq {
            return;
        }
        {
            let mut desk = self.lock();
            if desk.heard >= MOST_HEARD {
                // What is queued sees to it that the store is read.
                desk.is_doubtful = true;
                return;
            }
            desk.heard += 1;
        }
        let heard = Heard { prev, job, events };
        self.enqueue_unasked(inner, Errand::Hear(Box::new(heard)));
    }

    /// Looks at the job's deadlines, as the store has them.
    pub(in crate::registry) async fn tick(self: &Arc<Self>, inner: &Arc<Inner>) {
        // Signs of life that another node took carry no seq.
        if self.refresh(inner).await.is_ok() {
            let since = inner.reachable_since();
            let tick = Errand::Apply(Command::Tick { since });
            drop(self.enqueue(inner, tick, None).await);
        }
    }

    /// Whether nobody has asked anything of it for that long, and nobody watches: what others do with
    /// the job is no use of it here.
    pub(in crate::registry) fn is_idle_for(&self, patience: Duration) -> bool {
        let is_unused = {
            let desk = self.lock();
            !desk.is_busy && desk.used_at + patience <= Instant::now()
        };
        is_unused && self.hub.watchers() == 0
    }
}
