//! How many jobs are in each state, kept up to date with every change.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{job::State, store::JobCounts};

/// A number for each state. Each changes under the lock of the job that it counts; they guard no
/// other memory, hence relaxed.
#[derive(Debug, Default)]
pub(super) struct Tally([AtomicU64; State::ALL.len()]);

impl Tally {
    /// A job is there.
    pub(super) fn add(&self, state: State) {
        self.0[state as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A job is no more.
    pub(super) fn remove(&self, state: State) {
        self.0[state as usize].fetch_sub(1, Ordering::Relaxed);
    }

    /// A job has changed.
    pub(super) fn change(&self, from: State, to: State) {
        if from != to {
            self.add(to);
            self.remove(from);
        }
    }

    pub(super) fn counts(&self) -> JobCounts {
        let mut counts = JobCounts::default();
        for state in State::ALL {
            counts.set(state, self.0[state as usize].load(Ordering::Relaxed));
        }
        counts
    }
}
