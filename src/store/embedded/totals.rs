//! Numbers about the whole file, stored with every transaction that changes them.

use redb::{ReadableTable, StorageError, Table};

use crate::{
    job::{Seq, State, Timestamp},
    store::JobCounts,
};

/// What is known of the file without looking through it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// See [`FORMAT`](super::tables::FORMAT).
    pub(super) format: u64,
    /// No seq above this one was shown, whether or not its change reached the disk. The next
    /// opening begins above it, also when the clock was set back meanwhile.
    pub(super) ceiling: u64,
    /// The seq that the last opening gave to every unfinished job.
    pub(super) floor: u64,
    /// When that was, in microseconds.
    pub(super) opened_at: u64,
    /// The number of the next job.
    pub(super) next_number: u64,
    /// What everything weighs.
    pub(super) weight: u64,
    /// The part of it that leaves with finished jobs.
    pub(super) finished_weight: u64,
    /// The part of it that removed jobs have left to be swept.
    pub(super) trash_weight: u64,
    /// What kept events count against the bound on all of them.
    pub(super) event_bytes: u64,
    /// Names that are known as gone, reserved keys, and values put once.
    pub(super) gone: u64,
    pub(super) reservations: u64,
    pub(super) values: u64,
    jobs: [u64; State::ALL.len()],
}

impl Totals {
    /// Every number under its name in the file.
    fn fields(&mut self) -> [(&'static str, &mut u64); 17] {
        let [pending, processing, completed, failed, cancelled] = &mut self.jobs;
        [
            ("format", &mut self.format),
            ("ceiling", &mut self.ceiling),
            ("floor", &mut self.floor),
            ("opened_at", &mut self.opened_at),
            ("next_number", &mut self.next_number),
            ("weight", &mut self.weight),
            ("finished_weight", &mut self.finished_weight),
            ("trash_weight", &mut self.trash_weight),
            ("event_bytes", &mut self.event_bytes),
            ("gone", &mut self.gone),
            ("reservations", &mut self.reservations),
            ("values", &mut self.values),
            ("jobs.pending", pending),
            ("jobs.processing", processing),
            ("jobs.completed", completed),
            ("jobs.failed", failed),
            ("jobs.cancelled", cancelled),
        ]
    }

    /// As the file has them; zeros where it has none.
    pub(super) fn load(
        numbers: &impl ReadableTable<&'static str, u64>,
    ) -> Result<Self, StorageError> {
        let mut totals = Self::default();
        for (name, field) in totals.fields() {
            *field = numbers.get(name)?.map_or(0, |number| number.value());
        }
        Ok(totals)
    }

    /// Writes what differs from what the file has.
    pub(super) fn save(
        &self,
        before: &Self,
        numbers: &mut Table<'_, &'static str, u64>,
    ) -> Result<(), StorageError> {
        let (mut after, mut before) = (self.clone(), before.clone());
        for ((name, new), (_, old)) in after.fields().into_iter().zip(before.fields()) {
            if new != old {
                numbers.insert(name, *new)?;
            }
        }
        Ok(())
    }

    pub(super) fn floor(&self) -> Seq {
        Seq::new(self.floor).unwrap_or(Seq::MAX)
    }

    pub(super) fn opened_at(&self) -> Timestamp {
        Timestamp::from_micros(self.opened_at)
    }

    /// Counts a job that is there now.
    pub(super) fn add_job(&mut self, state: State) {
        self.jobs[state as usize] += 1;
    }

    /// Counts a job out.
    pub(super) fn remove_job(&mut self, state: State) {
        let count = &mut self.jobs[state as usize];
        *count = count.saturating_sub(1);
    }

    /// How many jobs there are, by state.
    pub(super) fn counts(&self) -> JobCounts {
        let mut counts = JobCounts::default();
        for state in State::ALL {
            counts.set(state, self.jobs[state as usize]);
        }
        counts
    }
}
