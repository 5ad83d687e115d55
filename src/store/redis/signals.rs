//! What nobody may miss, however full the queue of notices is.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::store::Notice;

/// For how long an empty Redis is not believed that a job is unknown: the time in which the nodes
/// that hold it put it back.
const RETURN_TIME: Duration = Duration::from_secs(5);

/// Notices that stand for any number of their kind.
#[derive(Debug, Default)]
pub(super) struct Signals {
    // They only say that something has to be looked at, and guard no other memory.
    has_missed: AtomicBool,
    has_missed_lifecycle: AtomicBool,
    is_emptied: AtomicBool,
    raised: Notify,
    /// When Redis was last found empty. Held for single looks.
    emptied_at: Mutex<Option<Instant>>,
}

impl Signals {
    /// Notices may have been lost.
    pub(super) fn missed(&self) {
        self.has_missed.store(true, Ordering::Release);
        self.has_missed_lifecycle.store(true, Ordering::Release);
        self.raised.notify_one();
    }

    /// Redis has lost what it held.
    pub(super) fn emptied(&self) {
        *self.emptied_at.lock().expect("no section under it panics") = Some(Instant::now());
        self.is_emptied.store(true, Ordering::Release);
        self.raised.notify_one();
    }

    /// Whether what Redis does not know may yet come back.
    pub(super) fn is_returning(&self) -> bool {
        let emptied_at = *self.emptied_at.lock().expect("no section under it panics");
        emptied_at.is_some_and(|at| at.elapsed() < RETURN_TIME)
    }

    /// Waits for one of them, and takes it down.
    pub(super) async fn next(&self) -> Notice {
        loop {
            // The permit of a signal that is taken down here without waiting costs one turn.
            if self.is_emptied.swap(false, Ordering::AcqRel) {
                return Notice::Emptied;
            }
            if self.has_missed.swap(false, Ordering::AcqRel) {
                return Notice::Missed;
            }
            if self.has_missed_lifecycle.swap(false, Ordering::AcqRel) {
                return Notice::LifecycleMissed;
            }
            self.raised.notified().await;
        }
    }
}
