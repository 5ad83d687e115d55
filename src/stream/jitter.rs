//! Chance, so that what begins together does not come back together.

use std::time::Duration;

/// The `retry` of one connection in milliseconds: ± 20 %.
pub fn jittered_retry_ms(retry: Duration) -> u64 {
    let factor = rand::random_range(0.8..=1.2);
    (retry.as_secs_f64() * 1_000.0 * factor).round() as u64
}

/// A span less up to 10 %.
pub(super) fn shortened(span: Duration) -> Duration {
    span.mul_f64(rand::random_range(0.9..=1.0))
}

/// Some part of a span.
pub(super) fn part_of(span: Duration) -> Duration {
    span.mul_f64(rand::random_range(0.0..=1.0))
}
