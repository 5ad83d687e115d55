//! One task with one timer wheel for whatever a job has to do at a certain time.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, time::DelayQueue};

use super::{Inner, slot::Slot};

/// The longest a timer runs at once; the wheel holds no more than about two years. A later
/// deadline is looked at once a day on the way.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Sets alarms for jobs; each fires in the keeper's own task.
#[derive(Debug, Clone)]
pub(super) struct Timekeeper {
    // Unbounded, and yet bounded by the jobs: a slot has at most one alarm of each sort
    // that is earlier than all others it has set.
    alarms: mpsc::UnboundedSender<(Instant, Alarm)>,
}

/// What to do when the time has come. Weak: an alarm keeps no job in memory.
#[derive(Debug)]
pub(super) enum Alarm {
    /// A paced status is due.
    Flush(Weak<Slot>),
    /// A lease, a stall or a job's patience may have ended.
    Deadline(Weak<Slot>, Weak<Inner>),
}

impl Timekeeper {
    /// Starts the task; it ends when `stop` is cancelled.
    pub(super) fn start(stop: CancellationToken) -> Self {
        let (alarms, incoming) = mpsc::unbounded_channel();
        tokio::spawn(keep_time(incoming, stop));
        Self { alarms }
    }

    /// Fires `alarm` at `at`, or a little later.
    pub(super) fn set(&self, at: Instant, alarm: Alarm) {
        // Nobody listens only when the server has stopped: then no alarm matters.
        let _ = self.alarms.send((at, alarm));
    }
}

async fn keep_time(
    mut incoming: mpsc::UnboundedReceiver<(Instant, Alarm)>,
    stop: CancellationToken,
) {
    let mut queue = DelayQueue::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some((at, alarm)) = incoming.recv() => {
                let delay = at.saturating_duration_since(Instant::now());
                queue.insert(alarm, delay.min(LONGEST));
            }
            Some(expired) = queue.next() => fire(expired.into_inner()),
        }
    }
}

fn fire(alarm: Alarm) {
    match alarm {
        Alarm::Flush(slot) => {
            if let Some(slot) = slot.upgrade() {
                slot.hub().flush(Instant::now());
            }
        }
        Alarm::Deadline(slot, inner) => {
            if let (Some(slot), Some(inner)) = (slot.upgrade(), inner.upgrade()) {
                Slot::on_deadline(slot, &inner);
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
