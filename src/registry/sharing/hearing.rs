//! What becomes of the notices of a store that nodes share.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use super::{Inner, LifecycleEvent, MOST_AT_ONCE, Registry};
use crate::{
    job::{Job, JobId, Ledger},
    store::{Loaded, Notice, Stored},
};

/// Applies what others did.
pub(super) async fn hear(inner: Arc<Inner>) {
    let Some(shared) = inner.store.shared() else {
        return;
    };
    let tell = |event: LifecycleEvent| inner.lifecycle.tell_of_others(&event);
    loop {
        match shared.next_notice().await {
            Notice::Change { prev, job, events } => {
                if let Some(slot) = inner.slots.get(job.id()) {
                    slot.hear(&inner, prev, job, events);
                }
            }
            Notice::Touched(job_id) => {
                if let Some(slot) = inner.slots.get(&job_id) {
                    slot.freshen_soon(&inner);
                }
            }
            Notice::Missed => inner.check_the_followed(shared).await,
            // A slot that is followed hears of it by the other notices; one that is not is brought up
            // to date when it is used.
            Notice::Entered(job) => {
                let event = LifecycleEvent::Entered(Arc::clone(&job));
                if !job.is_finished() && inner.lifecycle.is_wanted(&event) {
                    inner.hold_what_entered(&job);
                }
                tell(event);
            }
            Notice::Removed {
                job_id,
                incarnation,
            } => tell(LifecycleEvent::Removed {
                job_id,
                incarnation,
                job: None,
            }),
            Notice::Moved(job_id) => inner.lifecycle.look_at(job_id),
            Notice::LifecycleMissed => tell(LifecycleEvent::Missed),
            Notice::Emptied => {
                tracing::error!(
                    "the store came back empty: the jobs that this node holds are put back"
                );
                inner.emptied_at.send_replace(inner.clock.now());
                // Beside: notices go on coming.
                tokio::spawn(Arc::clone(&inner).put_back());
            }
        }
    }
}

/// Reads the jobs of which no notice says what happened to them. Each is told of by its seq, so that
/// what was read late is not told after what is newer.
pub(super) async fn read_what_moved(inner: Arc<Inner>) {
    loop {
        let moved = inner.lifecycle.next_unread().await;
        let reading = stream::iter(moved).for_each_concurrent(MOST_AT_ONCE, async |job_id| {
            if let Some(event) = inner.read_lifecycle(job_id).await {
                inner.lifecycle.tell_of_others(&event);
            }
        });
        reading.await;
    }
}

impl Inner {
    /// Holds a job that is about to be watched, maybe by many: they all find this slot, and have it read
    /// the store once.
    fn hold_what_entered(self: &Arc<Self>, job: &Arc<Job>) {
        if self.slots.get(job.id()).is_some() {
            return;
        }
        let registry = Registry {
            inner: Arc::clone(self),
        };
        let stored = Stored {
            job: Arc::clone(job),
            ledger: Ledger::default(),
            nonce: None,
        };
        self.hold(registry.slot(stored, false));
    }

    async fn read_lifecycle(&self, job_id: JobId) -> Option<LifecycleEvent> {
        match self.store.load(&job_id, self.clock.now()).await {
            Ok(Loaded::Job(stored)) => Some(LifecycleEvent::Entered(stored.job)),
            Ok(Loaded::Gone(former)) => Some(LifecycleEvent::Removed {
                job_id,
                incarnation: former.incarnation,
                job: None,
            }),
            Ok(Loaded::Unknown) => None,
            // Whoever lists the jobs tries until the store answers.
            Err(_) => Some(LifecycleEvent::Missed),
        }
    }
}
