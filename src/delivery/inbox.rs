//! How a delivery task is reached: streams that come to it, and those of its streams that have something to say, or
//! whose sockets have.
//!
//! The model in `tests/it/inbox_model.rs` explores the interleavings of this file against a checker's lock.

use std::{
    mem,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use super::sync::{Arrival, AtomicBool, Mutex, MutexGuard, Ordering};

/// Room for streams that come, in a list that is used again: that of one crowd must not cost for ever.
const ARRIVALS_KEPT: usize = 1024;

/// The same for places, which are small: a job of so many watchers finds room each time.
const PLACES_KEPT: usize = 16 * 1024;

/// What waits for a task, and how to wake it.
#[derive(Default)]
pub(super) struct Inbox {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    waiting: Waiting,
    /// Of the task, while it sleeps: whoever comes first wakes it, and those behind have nothing to wake.
    sleeper: Option<Waker>,
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
        taken.arrivals.shrink_to(ARRIVALS_KEPT);
        taken.woken.clear();
        taken.woken.shrink_to(PLACES_KEPT);
        let Inner { waiting, .. } = &mut *self.lock();
        mem::swap(&mut waiting.arrivals, &mut taken.arrivals);
        mem::swap(&mut waiting.woken, &mut taken.woken);
        // Stays here: a task that begins anew has to find it too.
        taken.is_closed = waiting.is_closed;
    }

    /// Ready when there is something; else the context is woken once there is.
    pub(super) fn poll_waiting(&self, context: &mut Context<'_>) -> Poll<()> {
        let Inner { waiting, sleeper } = &mut *self.lock();
        if !waiting.is_empty() {
            return Poll::Ready(());
        }
        *sleeper = Some(context.waker().clone());
        Poll::Pending
    }

    fn put(&self, put: impl FnOnce(&mut Waiting)) {
        let mut inner = self.lock();
        put(&mut inner.waiting);
        let sleeper = inner.sleeper.take();
        drop(inner);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics with the lock; and what is in there is whole at any time.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.arrivals.is_empty() && self.woken.is_empty() && !self.is_closed
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
