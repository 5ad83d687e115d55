//! A moment, in whole microseconds since the Unix epoch.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// A moment in UTC; shown as RFC 3339 with milliseconds, `2026-11-21T19:00:00.000Z`.
///
/// Stored as microseconds. The caller reads the clock; the domain only compares and adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

/// The last moment that can be written whatever the time zone: two hours before the end of 9999-12-30.
/// RFC 3339 ends with that year, and `jiff` keeps a day's distance for its largest UTC offsets.
const LAST_MICROSECOND: u64 = 253_402_207_200_000_000;

impl Timestamp {
    /// The Unix epoch: before every job.
    pub const ZERO: Self = Self(0);

    /// A moment from microseconds since the Unix epoch; later than the end of the year 9999 is that end.
    pub fn from_micros(micros: u64) -> Self {
        Self(micros.min(LAST_MICROSECOND))
    }

    /// Microseconds since the Unix epoch.
    pub fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub fn as_seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The moment `seconds` later.
    pub fn plus_seconds(self, seconds: u64) -> Self {
        Self::from_micros(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// The moment so much later.
    pub fn plus(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = i64::try_from(self.0).expect("the year 9999 fits into 63 bits");
        let moment =
            jiff::Timestamp::from_microsecond(micros).expect("no later than LAST_MICROSECOND");
        write!(formatter, "{moment:.3}")
    }
}
