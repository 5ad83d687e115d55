//! How a delivery task is reached: streams that come to it, and those of its streams that have something to say, or
//! whose sockets have.
//!
//! The model in `tests/it/inbox_model.rs` explores the interleavings of this file against a checker's lock.

use std::{
    mem,
    sync::{Arc, PoisonError},
    task::{Wake, Waker},
};

use super::sync::{Arrival, AtomicBool, AtomicWaker, Mutex, MutexGuard, Ordering};

/// Room in a list that is used again: that of one crowd must not cost for ever.
const MOST_KEPT: usize = 1024;

/// What waits for a task, and how to wake it.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    task: AtomicWaker,
}

/// What waits for a task.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) arrivals: Vec<Arrival>,
    /// The places of streams that have been woken; some may have left meanwhile.
    pub(super) woken: Vec<usize>,
    /// Whether the task is to end.
    pub(super) is_closed: bool,
}

/// Wakes one stream in its task, for its own sake or its socket's, at most once until it is looked after.
pub(super) struct StreamWaker {
    inbox: Arc<Inbox>,
    place: usize,
    is_woken: AtomicBool,
}

impl Inbox {
    /// Brings a stream to the task; one that comes after the end is dropped.
    pub(super) fn arrive(&self, stream: Arrival) {
        let mut stream = Some(stream);
        self.put(|waiting| {
            if !waiting.is_closed {
                waiting.arrivals.extend(stream.take());
            }
        });
    }

    pub(super) fn close(&self) {
        self.put(|waiting| waiting.is_closed = true);
    }

    /// Takes what waits; leaves the lists of `taken` in its place, so that their room is used again.
    pub(super) fn take(&self, taken: &mut Waiting) {
        taken.arrivals.clear();
        taken.arrivals.shrink_to(MOST_KEPT);
        taken.woken.clear();
        taken.woken.shrink_to(MOST_KEPT);
        let mut waiting = self.lock();
        mem::swap(&mut waiting.arrivals, &mut taken.arrivals);
        mem::swap(&mut waiting.woken, &mut taken.woken);
        // Stays here: a task that begins anew has to find it too.
        taken.is_closed = waiting.is_closed;
    }

    /// To be called before [`Inbox::may_sleep`].
    ///
    /// Nothing is missed: what was put here before is seen then, and whoever puts something here later finds the waker.
    pub(super) fn register(&self, waker: &Waker) {
        self.task.register(waker);
    }

    /// Whether there is nothing.
    pub(super) fn may_sleep(&self) -> bool {
        let waiting = self.lock();
        waiting.arrivals.is_empty() && waiting.woken.is_empty() && !waiting.is_closed
    }

    fn put(&self, put: impl FnOnce(&mut Waiting)) {
        put(&mut self.lock());
        self.task.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics with the lock; and what is in there is whole at any time.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamWaker {
    pub(super) fn new(inbox: Arc<Inbox>, place: usize) -> Arc<Self> {
        Arc::new(Self {
            inbox,
            place,
            is_woken: AtomicBool::new(false),
        })
    }

    /// To be called before the stream and its socket are polled: what happens from then on wakes it again.
    pub(super) fn rearm(&self) {
        // An exchange, which a look at the stream cannot overtake: it sees what was said before a wake that is lost here.
        self.is_woken.swap(false, Ordering::AcqRel);
    }
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.inbox.put(|waiting| waiting.woken.push(self.place));
        }
    }
}
