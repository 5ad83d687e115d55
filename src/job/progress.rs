//! Counts and percentage of one attempt, which never go down.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Count;

/// 0 to 100 %, in whole hundredths of a per cent, rounded down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percentage(u16);

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    total: Option<Count>,
    processed: Option<Count>,
    reported: Option<Percentage>,
    /// The highest percentage that this attempt has shown: a growing total does not take it back.
    highest: Percentage,
}

/// What [`Progress`] consists of, for a store that keeps each in a place of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProgressParts {
    /// How many units there are to do.
    pub total: Option<Count>,
    /// How many the worker has counted.
    pub processed: Option<Count>,
    /// The percentage that the worker has named.
    pub reported: Option<Percentage>,
    /// The highest percentage that the attempt has shown.
    pub highest: Percentage,
}

impl Percentage {
    /// All of it.
    pub const FULL: Self = Self(10_000);

    /// From hundredths of a per cent; `None` above 10,000.
    pub fn from_hundredths(hundredths: u16) -> Option<Self> {
        (hundredths <= Self::FULL.0).then_some(Self(hundredths))
    }

    /// In hundredths of a per cent.
    pub fn hundredths(self) -> u16 {
        self.0
    }

    /// From a number of per cent; `None` outside 0 to 100.
    pub fn new(percent: f64) -> Option<Self> {
        if !(0.0..=100.0).contains(&percent) {
            return None;
        }
        let nearest = Self((percent * 100.0).round() as u16);
        // A division of two whole numbers is the double closest to the decimal that a worker
        // wrote: so 33.33 stays, and the smallest step below it is rounded down.
        let is_above = nearest.percent() > percent;
        Some(Self(nearest.0 - u16::from(is_above)))
    }

    /// The share of `processed` in `total`; a count above the total is 100 %, nothing of nothing 0 %.
    pub fn of(processed: Count, total: Count) -> Self {
        if processed.get() == 0 {
            return Self::default();
        }
        if processed >= total {
            return Self::FULL;
        }
        let hundredths = u128::from(processed.get()) * 10_000 / u128::from(total.get());
        Self(u16::try_from(hundredths).expect("less than the whole is less than 10,000 hundredths"))
    }

    /// As a number of per cent.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl Serialize for Percentage {
    /// Whole numbers without a fraction: `75`, `33.33`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(100) {
            serializer.serialize_u16(self.0 / 100)
        } else {
            serializer.serialize_f64(self.percent())
        }
    }
}

impl<'de> Deserialize<'de> for Percentage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = f64::deserialize(deserializer)
            .map_err(|_| de::Error::custom("must be a number from 0 to 100"))?;
        Self::new(percent).ok_or_else(|| de::Error::custom("must be a number from 0 to 100"))
    }
}

impl From<Progress> for ProgressParts {
    fn from(progress: Progress) -> Self {
        let Progress {
            total,
            processed,
            reported,
            highest,
        } = progress;
        Self {
            total,
            processed,
            reported,
            highest,
        }
    }
}

impl From<ProgressParts> for Progress {
    /// Whatever the parts: the highest percentage is never below the present one.
    fn from(parts: ProgressParts) -> Self {
        let ProgressParts {
            total,
            processed,
            reported,
            highest,
        } = parts;
        let mut progress = Self {
            total,
            processed,
            reported,
            highest,
        };
        progress.raise();
        progress
    }
}

impl Progress {
    /// The start of an attempt.
    pub fn new(total: Option<Count>) -> Self {
        Self {
            total,
            ..Self::default()
        }
    }

    /// How many units there are to do, when known.
    pub fn total(&self) -> Option<Count> {
        self.total
    }

    /// How many are done: 0 before the first count when the total is known, else unknown.
    pub fn processed(&self) -> Option<Count> {
        self.processed.or(self.total.map(|_| Count::default()))
    }

    /// The percentage to show: from the counts when there are both, else what the worker reported.
    pub fn percentage(&self) -> Option<Percentage> {
        self.bare_percentage().map(|bare| bare.max(self.highest))
    }

    /// Whether the worker counts units, rather than only naming a percentage.
    pub fn is_counted(&self) -> bool {
        self.processed.is_some() || (self.total.is_some() && self.reported.is_none())
    }

    /// What speed is measured by: the position, and what remains when that is known.
    ///
    /// In units when the worker counts, in per cent when it only names a percentage.
    pub fn measure(&self) -> Option<(f64, Option<f64>)> {
        if self.is_counted() {
            let done = self.processed()?.get() as f64;
            let remaining = self.total.map(|total| (total.get() as f64 - done).max(0.0));
            Some((done, remaining))
        } else {
            let percent = self.reported?.percent();
            Some((percent, Some(100.0 - percent)))
        }
    }

    /// Sets or clears the total; it may grow and shrink.
    pub fn set_total(&mut self, total: Option<Count>) {
        self.total = total;
        self.raise();
    }

    /// Takes a count; a lower one than before is late and ignored.
    pub fn count_to(&mut self, processed: Count) {
        self.processed = self.processed.max(Some(processed));
        self.raise();
    }

    /// Adds to the count: parallel workers need not know of each other.
    pub fn count_on(&mut self, increment: Count) {
        let before = self.processed.unwrap_or_default();
        self.processed = Some(before.plus(increment));
        self.raise();
    }

    /// Takes a percentage; a lower one than before is late and ignored.
    pub fn report(&mut self, percentage: Percentage) {
        self.reported = self.reported.max(Some(percentage));
        self.raise();
    }

    fn raise(&mut self) {
        self.highest = self.highest.max(self.bare_percentage().unwrap_or_default());
    }

    fn bare_percentage(&self) -> Option<Percentage> {
        match self.total {
            Some(total) if self.is_counted() => {
                Some(Percentage::of(self.processed.unwrap_or_default(), total))
            }
            _ => self.reported,
        }
    }
}
