//! A change's position in its job's history.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// A change's position: on the wire a decimal number, for example `1795287600123456`.
///
/// Unix time in microseconds, or one more than the job's last seq where the clock has not
/// moved past it. So it rises strictly within a job, survives restarts without an epoch, and
/// orders the changes of different jobs by time. It stays below 2^53 until the year 2255,
/// since JavaScript reads it as a number.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(u64);

impl Seq {
    /// Before every change; as a cursor it means "from the start".
    pub const ZERO: Self = Self(0);

    /// The largest seq, 2^53 - 1: beyond it JavaScript's numbers lose precision.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// A seq from its number; `None` above [`Seq::MAX`].
    pub fn new(value: u64) -> Option<Self> {
        (value <= Self::MAX.0).then_some(Self(value))
    }

    /// The first seq that a change committed after `self` at `now` gets.
    pub fn next(self, now: Timestamp) -> Self {
        Self(now.as_micros().max(self.0 + 1).min(Self::MAX.0))
    }

    /// The seq `count` places further on: the changes of one commit follow each other closely.
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count).min(Self::MAX.0))
    }

    /// The bare number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<Timestamp> for Seq {
    /// The highest seq that a change at this time can have, unless others came in the same microsecond.
    fn from(time: Timestamp) -> Self {
        Self::new(time.as_micros()).unwrap_or(Self::MAX)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::str::FromStr for Seq {
    type Err = ();

    /// Reads what `Display` writes: one to sixteen ASCII digits, nothing else.
    fn from_str(text: &str) -> Result<Self, ()> {
        let plain =
            (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = if plain { text.parse().ok() } else { None };
        value.and_then(Self::new).ok_or(())
    }
}
