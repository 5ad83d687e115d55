//! The joining core: a state and the frames that follow from it, behind one lock.
//!
//! Why a reader misses nothing and sees nothing twice. `publish` changes the state and appends
//! the frames that tell of the change inside one critical section; `join` adds the reader and
//! reads the state inside another. The lock orders the two. If `publish` comes first, the state
//! that `join` reads contains the change, and its frames were appended before the reader
//! existed, so it never sees them. If `join` comes first, the state does not contain the change,
//! and the reader, which already exists, finds the frames. No third order exists. A reader that
//! lagged goes through [`Reader::rejoin`], which does the same two things in one section again.
//! `publish_gap` changes the state and tells every present reader in one section that it lagged:
//! each rejoins, and finds the state or a later one.
//!
//! Reading first and subscribing afterwards would lose the frame that falls between; the model
//! in `tests/it/joining_model.rs` explores this file's interleavings against a checker's lock.

use std::task::{Context, Poll};

use super::{
    ring::{Read, ReaderKey, Ring, Weigh},
    sync::{Arc, Mutex, MutexGuard},
};

/// A state of type `S` that is published together with frames of type `F`.
#[derive(Debug)]
pub(super) struct Channel<S, F> {
    // A plain lock: every section is short and none awaits. Wakers are called after its release.
    inner: Mutex<Inner<S, F>>,
}

#[derive(Debug)]
struct Inner<S, F> {
    state: S,
    ring: Ring<F>,
}

/// One reader of a channel; leaves when dropped.
#[derive(Debug)]
pub(super) struct Reader<S, F: Weigh> {
    channel: Arc<Channel<S, F>>,
    key: ReaderKey,
}

/// What a reader got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Got {
    /// Frames, appended to the reader's buffer. When they are all, it is woken by the next.
    Frames {
        /// Whether nothing was left.
        is_all: bool,
    },
    /// Word that it fell behind; it must rejoin.
    Lagged,
}

impl<S, F: Weigh> Channel<S, F> {
    /// A channel without readers.
    pub(super) fn new(state: S) -> Self {
        Self {
            inner: Mutex::new(Inner {
                state,
                ring: Ring::default(),
            }),
        }
    }

    /// Reads or maintains the state; no frame comes of it.
    pub(super) fn with<R>(&self, look: impl FnOnce(&mut S, usize) -> R) -> R {
        let inner = &mut *self.lock();
        look(&mut inner.state, inner.ring.readers())
    }

    /// Changes the state and appends the frames that tell of it, for `change(state, readers, push)`.
    pub(super) fn publish<R>(
        &self,
        change: impl FnOnce(&mut S, usize, &mut dyn FnMut(F)) -> R,
    ) -> R {
        let mut guard = self.lock();
        let Inner { state, ring } = &mut *guard;
        let mut has_pushed = false;
        let readers = ring.readers();
        let answer = change(state, readers, &mut |frame| {
            has_pushed = true;
            ring.push(frame);
        });
        let wakers = if has_pushed {
            ring.take_wakers()
        } else {
            Vec::new()
        };
        drop(guard);
        for waker in wakers {
            waker.wake();
        }
        answer
    }

    /// Changes the state in a way that no frames can tell of: every reader lags, and rejoins.
    pub(super) fn publish_gap(&self, change: impl FnOnce(&mut S)) {
        let mut guard = self.lock();
        change(&mut guard.state);
        guard.ring.lose();
        let wakers = guard.ring.take_wakers();
        drop(guard);
        for waker in wakers {
            waker.wake();
        }
    }

    /// Adds a reader and reads the state, in one section.
    pub(super) fn join<R>(self: &Arc<Self>, look: impl FnOnce(&mut S) -> R) -> (R, Reader<S, F>) {
        let mut guard = self.lock();
        let key = guard.ring.join();
        let seen = look(&mut guard.state);
        drop(guard);
        (
            seen,
            Reader {
                channel: Arc::clone(self),
                key,
            },
        )
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S, F>> {
        self.inner.lock().expect("no section of the channel panics")
    }
}

impl<S, F: Weigh> Reader<S, F> {
    /// Shows waiting frames to `take`, about `most_bytes` of them; arranges to be woken when none is left behind them.
    pub(super) fn poll_read(
        &self,
        context: &mut Context<'_>,
        most_bytes: usize,
        take: impl FnMut(&F),
    ) -> Poll<Got> {
        let mut guard = self.channel.lock();
        let read = guard.ring.read(self.key, most_bytes, take);
        let is_all = guard.ring.has_read_all(self.key);
        if is_all && read != Read::Lagged {
            guard.ring.register(self.key, context.waker());
        }
        match read {
            Read::Frames => Poll::Ready(Got::Frames { is_all }),
            Read::Lagged => Poll::Ready(Got::Lagged),
            Read::Empty => Poll::Pending,
        }
    }

    /// Forgets what waits and reads the state, in one section: how a reader that lagged goes on.
    pub(super) fn rejoin<R>(&self, look: impl FnOnce(&mut S) -> R) -> R {
        let mut guard = self.channel.lock();
        guard.ring.skip(self.key);
        look(&mut guard.state)
    }
}

impl<S, F: Weigh> Drop for Reader<S, F> {
    fn drop(&mut self) {
        let waker = self.channel.lock().ring.leave(self.key);
        drop(waker);
    }
}
