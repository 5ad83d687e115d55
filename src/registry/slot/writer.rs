//! Who works a slot's queue off, and when that begins.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
};

use super::Slot;
use crate::registry::Inner;

/// Writers that have something to do and have not begun: what else comes for their jobs meanwhile, from
/// whoever gathers it or from others, folds into the same commits. They begin when they are told to, or
/// when this is dropped. Nobody may wait for anything in between, since others wait for them.
#[derive(Default)]
pub struct Gathering {
    pub(super) writers: Vec<(Arc<Slot>, Arc<Inner>)>,
}

/// A writer's time at the desk. When it is cut off, by a panic in a commit or by the end of the
/// runtime, the outcome is unknown: what still waits is told so rather than left to wait, and
/// the next request finds the desk free.
struct Shift<'slot> {
    slot: &'slot Slot,
    is_over: bool,
}

/// Serves what waits. A store that answers at once is served on the spot; otherwise, and for
/// what has come meanwhile, a task of its own goes on: a client that leaves takes no commit with
/// it, and one that stays does not work for all others.
pub(super) fn run_writer(slot: Arc<Slot>, inner: Arc<Inner>) {
    let mut work: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(work_off(slot, inner));
    let mut context = Context::from_waker(Waker::noop());
    if work.as_mut().poll(&mut context).is_pending() {
        tokio::spawn(work);
    }
}

async fn work_off(slot: Arc<Slot>, inner: Arc<Inner>) {
    let mut shift = Shift {
        slot: &slot,
        is_over: false,
    };
    while !shift.is_over {
        if let Some(requests) = slot.take_requests() {
            slot.serve(&inner, requests).await;
        }
        {
            // Whether the queue is empty and whether a writer is at work change together, else a
            // request that arrives in between would wait for ever.
            let mut desk = slot.lock();
            desk.is_busy = !desk.queue.is_empty();
            shift.is_over = !desk.is_busy;
        }
        if !shift.is_over {
            tokio::task::yield_now().await;
        }
    }
}

impl Gathering {
    /// Has the writers begin. One that panics takes no other with it: whoever waits for its job is told by the end
    /// of its `Shift`, as everywhere.
    pub fn begin(&mut self) {
        for (slot, inner) in self.writers.drain(..) {
            let job = Arc::clone(&slot);
            if catch_unwind(AssertUnwindSafe(|| run_writer(slot, inner))).is_err() {
                tracing::error!(job.id = %job.job_id(), "a commit panicked");
            }
        }
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        self.begin();
    }
}

impl fmt::Debug for Gathering {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Gathering")
            .field("writers", &self.writers.len())
            .finish()
    }
}

impl Drop for Shift<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let mut desk = self.slot.lock();
            desk.is_busy = false;
            desk.is_doubtful = true;
            // Dropping a request answers it.
            let stranded = std::mem::take(&mut desk.queue);
            drop(desk);
            drop(stranded);
        }
    }
}
