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

#[cfg(test)]
mod tests {
    use super::*;

    /// The least and the most of many draws; more than one value must come.
    fn extremes<T: Copy + Ord + std::fmt::Debug>(draw: impl Fn() -> T) -> (T, T) {
        let draws: Vec<T> = (0..10_000).map(|_| draw()).collect();
        let (least, most) = (draws.iter().min(), draws.iter().max());
        let (least, most) = (*least.expect("draws"), *most.expect("draws"));
        assert!(least < most, "always {least:?}");
        (least, most)
    }

    #[test]
    fn a_shortened_span_is_less_by_up_to_a_tenth_and_never_longer() {
        let span = Duration::from_secs(100);
        let (least, most) = extremes(|| shortened(span));
        assert!(least >= Duration::from_secs(90), "{least:?}");
        assert!(most <= span, "{most:?}");
        // A tenth of the draws lies in each of these parts: that none of ten thousand does is no chance.
        assert!(least < Duration::from_secs(91) && most > Duration::from_secs(99));
        assert_eq!(shortened(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_retry_is_a_fifth_more_or_less_at_most() {
        let (least, most) = extremes(|| jittered_retry_ms(Duration::from_secs(5)));
        assert!((4_000..4_200).contains(&least), "{least}");
        assert!((5_801..=6_000).contains(&most), "{most}");
    }

    #[test]
    fn a_part_of_a_span_is_anything_up_to_the_whole() {
        let span = Duration::from_secs(10);
        let (least, most) = extremes(|| part_of(span));
        assert!(least < Duration::from_secs(1) && most > Duration::from_secs(9));
        assert!(most <= span, "{most:?}");
    }
}
