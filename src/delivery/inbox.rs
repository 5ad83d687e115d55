//! How a delivery thread is reached: streams that come to it, and those of its streams that have something to say.
//!
//! The model in `tests/it/inbox_model.rs` explores the interleavings of this file against a checker's lock.

use std::{
    mem,
    sync::{Arc, PoisonError},
    task::Wake,
};

use super::sync::{Arrival, AtomicBool, Mutex, MutexGuard, Ordering, ThreadWaker};

/// What waits for a thread, and how to wake it.
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    /// Whether the thread looks into the inbox by itself before it sleeps.
    is_awake: AtomicBool,
    thread: ThreadWaker,
}

/// What waits for a thread.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) arrivals: Vec<Arrival>,
    /// The places of streams that have been woken; some may have left meanwhile.
    pub(super) woken: Vec<usize>,
    /// Whether the thread is to end.
    pub(super) is_closed: bool,
}

/// Wakes one stream on its thread, at most once until it is looked after.
pub(super) struct StreamWaker {
    inbox: Arc<Inbox>,
    place: usize,
    is_woken: AtomicBool,
}

impl Inbox {
    pub(super) fn new(thread: ThreadWaker) -> Self {
        Self {
            waiting: Mutex::default(),
            is_awake: AtomicBool::new(true),
            thread,
        }
    }

    pub(super) fn arrive(&self, stream: Arrival) {
        self.put(|waiting| waiting.arrivals.push(stream));
    }

    pub(super) fn close(&self) {
        self.put(|waiting| waiting.is_closed = true);
    }

    /// Takes what waits; leaves the lists of `taken` in its place, so that their room is used again.
    pub(super) fn take(&self, taken: &mut Waiting) {
        taken.arrivals.clear();
        taken.woken.clear();
        let mut waiting = self.lock();
        mem::swap(&mut waiting.arrivals, &mut taken.arrivals);
        mem::swap(&mut waiting.woken, &mut taken.woken);
        // Stays here: a thread that begins anew has to find it too.
        taken.is_closed = waiting.is_closed;
    }

    /// Called by the thread before it sleeps: false when it must not.
    ///
    /// Nothing is missed: what was put here before is seen now, and whoever puts something here later finds the thread
    /// asleep and wakes it.
    pub(super) fn may_sleep(&self) -> bool {
        self.is_awake.store(false, Ordering::SeqCst);
        let waiting = self.lock();
        waiting.arrivals.is_empty() && waiting.woken.is_empty() && !waiting.is_closed
    }

    /// Called by the thread after it has slept.
    pub(super) fn has_woken(&self) {
        self.is_awake.store(true, Ordering::SeqCst);
    }

    fn put(&self, put: impl FnOnce(&mut Waiting)) {
        put(&mut self.lock());
        if !self.is_awake.swap(true, Ordering::SeqCst)
            && let Err(error) = self.thread.wake()
        {
            // Whoever comes next tries again.
            self.is_awake.store(false, Ordering::SeqCst);
            tracing::error!(%error, "a delivery thread could not be woken");
        }
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

    /// To be called before the stream is polled: what happens from then on wakes it again.
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
