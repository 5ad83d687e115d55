//! One task with one timer wheel for whatever a job has to do at a certain time.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::{
    sync::CancellationToken,
    time::{DelayQueue, delay_queue::Key},
};

use super::{Inner, slot::Slot};

/// The longest a timer runs at once; the wheel holds no more than about two years. A later
/// deadline is looked at once a day on the way.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Sets alarms for jobs; each fires in the keeper's own task.
///
/// Bounded by the jobs that are held: a slot has at most one deadline in the queue, which leaves
/// with it, and flushes wait no longer than the pace's interval.
#[derive(Debug, Clone)]
pub(super) struct Timekeeper {
    // Unbounded, since a writer must not wait; the task does nothing but take them out.
    wishes: mpsc::UnboundedSender<Wish>,
}

/// What to do when the time has come. Weak: an alarm keeps no job in memory.
#[derive(Debug)]
pub(super) enum Alarm {
    /// A paced status is due.
    Flush(Weak<Slot>),
    /// A lease, a stall or a job's patience may have ended; replaces the slot's deadline before.
    Deadline(Weak<Slot>),
}

#[derive(Debug)]
enum Wish {
    Set(Instant, Alarm),
    /// The slot at this address has no deadlines any more.
    Cancel(usize),
}

impl Timekeeper {
    /// A handle, and the task that it needs to be run; it ends when `stop` is cancelled.
    pub(super) fn new(stop: CancellationToken) -> (Self, Keeper) {
        let (wishes, incoming) = mpsc::unbounded_channel();
        let keeper = Keeper {
            incoming,
            stop,
            queue: DelayQueue::new(),
            deadlines: HashMap::new(),
        };
        (Self { wishes }, keeper)
    }

    /// Fires `alarm` at `at`, or a little later.
    pub(super) fn set(&self, at: Instant, alarm: Alarm) {
        // Nobody listens only when the server has stopped: then no alarm matters.
        let _ = self.wishes.send(Wish::Set(at, alarm));
    }

    /// Forgets the deadline of a slot.
    pub(super) fn cancel(&self, slot: &Arc<Slot>) {
        let _ = self.wishes.send(Wish::Cancel(Arc::as_ptr(slot).addr()));
    }
}

/// The task behind a [`Timekeeper`].
pub(super) struct Keeper {
    incoming: mpsc::UnboundedReceiver<Wish>,
    stop: CancellationToken,
    queue: DelayQueue<Alarm>,
    /// Where each slot's deadline stands in the queue, by the slot's address. That is not given
    /// to another slot while the weak reference in the queue holds the allocation.
    deadlines: HashMap<usize, Key>,
}

impl Keeper {
    /// Fires alarms until it is stopped.
    pub(super) async fn run(mut self, inner: Weak<Inner>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                Some(wish) = self.incoming.recv() => self.grant(wish),
                Some(expired) = self.queue.next() => self.fire(expired.into_inner(), &inner),
            }
        }
    }

    fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::Set(at, alarm) => {
                let delay = at.saturating_duration_since(Instant::now()).min(LONGEST);
                let address = match &alarm {
                    Alarm::Flush(_) => None,
                    Alarm::Deadline(slot) => Some(slot.as_ptr().addr()),
                };
                if let Some(key) = address.and_then(|address| self.deadlines.get(&address)) {
                    self.queue.reset(key, delay);
                    return;
                }
                let key = self.queue.insert(alarm, delay);
                if let Some(address) = address {
                    self.deadlines.insert(address, key);
                }
            }
            Wish::Cancel(address) => {
                if let Some(key) = self.deadlines.remove(&address) {
                    self.queue.remove(&key);
                }
            }
        }
    }

    fn fire(&mut self, alarm: Alarm, inner: &Weak<Inner>) {
        match alarm {
            Alarm::Flush(slot) => {
                if let Some(slot) = slot.upgrade() {
                    slot.hub().flush(Instant::now());
                }
            }
            Alarm::Deadline(slot) => {
                self.deadlines.remove(&slot.as_ptr().addr());
                if let (Some(slot), Some(inner)) = (slot.upgrade(), inner.upgrade()) {
                    slot.on_deadline(&inner);
                }
            }
        }
    }
}

/// Sets the alarm for a paced status.
pub(super) fn remind(inner: &Inner, slot: &Arc<Slot>, reminder: crate::hub::Reminder) {
    if let Some(at) = reminder.0 {
        inner.timekeeper.set(at, Alarm::Flush(Arc::downgrade(slot)));
    }
}
