//! The one place that reads the wall clock for jobs.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::job::Timestamp;

/// The wall clock in UTC. A step back is harmless: a seq still rises by one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock;

impl Clock {
    pub(super) fn now(self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX))
    }
}
