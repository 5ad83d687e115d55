//! Kept events: bounded per job, and in all.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{KeptEvents, MemoryLimits, Record};
use crate::{
    job::{Event, NewEvent, Seq},
    store::event_bytes,
};

/// How many outdated notes the budget's queue carries before it is swept, beyond one for each
/// live event: a sweep then costs no more than the notes it removes.
const SWEEP_SLACK: usize = 1_024;

/// The kept events of one job, oldest first.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    events: VecDeque<Event>,
    bytes: usize,
    dropped: Seq,
}

/// Events that have left a log.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Freed {
    events: usize,
    bytes: usize,
}

/// What the kept events of all jobs may weigh, and which of them is the oldest.
#[derive(Debug)]
pub(super) struct EventBudget {
    most_bytes: usize,
    // Plain counters: they steer eviction and guard no other memory, hence relaxed.
    bytes: AtomicUsize,
    live: AtomicUsize,
    /// Every event in order of arrival. A note whose event has left its log is skipped. Weak, so
    /// that the note of an event keeps no removed job's rows and input in memory.
    queue: Mutex<VecDeque<(Weak<Record>, Seq)>>,
}

impl EventLog {
    /// Appends an event and drops the oldest until the job's bounds hold.
    pub(super) fn append(&mut self, seq: Seq, event: &NewEvent, limits: &MemoryLimits) -> Freed {
        let NewEvent { name, data } = event.clone();
        self.bytes += event_bytes(name.as_str(), data.as_str());
        self.events.push_back(Event { seq, name, data });
        let mut freed = Freed::default();
        while self.events.len() > limits.events_per_job || self.bytes > limits.event_bytes_per_job {
            freed = freed.and(self.drop_oldest());
        }
        freed
    }

    /// The events above `after`.
    pub(super) fn after(&self, after: Seq) -> KeptEvents {
        let start = self.events.partition_point(|event| event.seq <= after);
        KeptEvents {
            events: self.events.range(start..).cloned().collect(),
            dropped: self.dropped,
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) -> Freed {
        let freed = Freed {
            events: self.events.len(),
            bytes: self.bytes,
        };
        *self = Self {
            dropped: self.dropped,
            ..Self::default()
        };
        freed
    }

    fn first_seq(&self) -> Option<Seq> {
        self.events.front().map(|event| event.seq)
    }

    fn drop_oldest(&mut self) -> Freed {
        let Some(event) = self.events.pop_front() else {
            return Freed::default();
        };
        let bytes = event_bytes(event.name.as_str(), event.data.as_str());
        self.bytes -= bytes;
        self.dropped = event.seq;
        Freed { events: 1, bytes }
    }
}

impl Freed {
    fn and(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl EventBudget {
    pub(super) fn new(most_bytes: usize) -> Self {
        Self {
            most_bytes,
            bytes: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            queue: Mutex::default(),
        }
    }

    /// Counts events that are about to be appended. Before the append, so that a release that
    /// follows at once finds them counted.
    pub(super) fn charge(&self, events: &[(u64, NewEvent)]) {
        let bytes = events
            .iter()
            .map(|(_, event)| event_bytes(event.name.as_str(), event.data.as_str()));
        self.bytes.fetch_add(bytes.sum(), Ordering::Relaxed);
        self.live.fetch_add(events.len(), Ordering::Relaxed);
    }

    /// Counts events out that have left their log.
    pub(super) fn release(&self, freed: Freed) {
        self.bytes.fetch_sub(freed.bytes, Ordering::Relaxed);
        self.live.fetch_sub(freed.events, Ordering::Relaxed);
    }

    /// Notes appended events, and drops the oldest of all jobs while there are too many bytes.
    /// The caller holds no record's lock.
    pub(super) fn settle(&self, record: &Arc<Record>, seqs: impl Iterator<Item = Seq>) {
        let mut queue = self
            .queue
            .lock()
            .expect("no section under the queue's lock panics");
        queue.extend(seqs.map(|seq| (Arc::downgrade(record), seq)));
        while self.bytes.load(Ordering::Relaxed) > self.most_bytes
            && let Some((record, seq)) = queue.pop_front()
        {
            let Some(record) = record.upgrade() else {
                continue;
            };
            let mut state = record.lock();
            if state.events.first_seq() == Some(seq) {
                self.release(state.events.drop_oldest());
            }
        }
        if queue.len() > 2 * self.live.load(Ordering::Relaxed) + SWEEP_SLACK {
            queue.retain(|(record, seq)| {
                let first = record
                    .upgrade()
                    .and_then(|record| record.lock().events.first_seq());
                first.is_some_and(|first| first <= *seq)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{EventName, Json};

    fn limits(events_per_job: usize, event_bytes_per_job: usize) -> MemoryLimits {
        MemoryLimits {
            events_per_job,
            event_bytes_per_job,
            event_bytes: 1_000,
            finished_jobs: 10,
            row_bytes: 1_000,
        }
    }

    fn event(text: &str) -> NewEvent {
        NewEvent {
            name: EventName::parse("e").unwrap(),
            data: Json::of(text).unwrap(),
        }
    }

    #[test]
    fn the_oldest_leave_and_the_log_knows_up_to_where() {
        let mut log = EventLog::default();
        for number in 1..=5 {
            log.append(Seq::new(number).unwrap(), &event("x"), &limits(3, 1_000));
        }
        let kept = log.after(Seq::ZERO);
        let seqs: Vec<u64> = kept.events.iter().map(|event| event.seq.get()).collect();
        assert_eq!(seqs, [3, 4, 5]);
        assert_eq!(kept.dropped.get(), 2);
        assert_eq!(log.after(Seq::new(4).unwrap()).events.len(), 1);
    }

    #[test]
    fn an_event_larger_than_the_bound_is_not_kept() {
        let mut log = EventLog::default();
        log.append(Seq::new(1).unwrap(), &event("0123456789"), &limits(3, 8));
        let kept = log.after(Seq::ZERO);
        assert!(kept.events.is_empty());
        assert_eq!(kept.dropped.get(), 1);
    }
}
