//! The one place that reads the wall clock for jobs.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::job::Timestamp;

/// The wall clock in UTC, set by that of a store which nodes share. A step back is harmless: a seq
/// still rises by one.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// How many microseconds the store's clock is ahead. It guards nothing, hence relaxed.
    ahead_micros: AtomicI64,
}

impl Clock {
    pub(super) fn now(&self) -> Timestamp {
        self.at(self.own())
    }

    /// What it said, or would have said, when this machine's own clock said `own`.
    pub(super) fn at(&self, own: Timestamp) -> Timestamp {
        let ahead = self.ahead_micros.load(Ordering::Relaxed);
        Timestamp::from_micros(own.as_micros().saturating_add_signed(ahead))
    }

    /// From now on the clock says `theirs` where it would have said `here`.
    pub(super) fn set(&self, here: Timestamp, theirs: Timestamp) {
        let micros = |time: Timestamp| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let ahead = micros(theirs).saturating_sub(micros(here));
        self.ahead_micros.store(ahead, Ordering::Relaxed);
    }

    /// This machine's own clock.
    pub(super) fn own(&self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX))
    }
}
