//! Counts: integers that JavaScript can hold.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

/// A count of units: an integer from 0 to 2^53 - 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Count(u64);

impl Count {
    /// The largest count, 2^53 - 1.
    pub const MAX: u64 = (1 << 53) - 1;

    /// A count from its number, no larger than [`Count::MAX`].
    pub fn saturating(value: u64) -> Self {
        Self(value.min(Self::MAX))
    }

    /// The sum, no larger than [`Count::MAX`].
    pub fn plus(self, other: Self) -> Self {
        Self::saturating(self.0.saturating_add(other.0))
    }

    /// The bare number.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// For `#[serde(deserialize_with)]`: a whole number that may be left out or null.
pub(super) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<Count>::deserialize(deserializer)?.map(Count::get))
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl de::Visitor<'_> for CountVisitor {
    type Value = Count;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an integer from 0 to 9007199254740991")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Count, E> {
        if value > Count::MAX {
            return Err(E::invalid_value(de::Unexpected::Unsigned(value), &self));
        }
        Ok(Count(value))
    }

    /// `3.0` is the integer 3 (JSON Schema, section 4.2.3), and what Python writes for a quotient.
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Count, E> {
        let is_whole = value.fract() == 0.0 && (0.0..=Count::MAX as f64).contains(&value);
        if !is_whole {
            return Err(E::invalid_value(de::Unexpected::Float(value), &self));
        }
        Ok(Count(value as u64))
    }
}
