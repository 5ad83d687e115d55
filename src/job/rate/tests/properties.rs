//! The estimators on arbitrary reports.

use proptest::prelude::*;

use super::super::Estimator;
use super::{START_MICROS, Series, after, assert_eta, assert_rate, micros};

/// Reports as an unkind client may send them: any time, any position.
fn any_reports() -> impl Strategy<Value = Vec<(u64, f64)>> {
    let time = prop_oneof![
        4 => START_MICROS..START_MICROS + 100_000_000,
        2 => START_MICROS..START_MICROS + 100,
        1 => any::<u64>(),
        1 => prop_oneof![Just(0), Just(u64::MAX)],
    ];
    let position = prop_oneof![4 => 0.0..1e6, 2 => any::<f64>(), 1 => Just(f64::MAX), 1 => Just(u64::MAX as f64)];
    prop::collection::vec((time, position), 0..60)
}

/// Gaps in seconds and the work done in each.
fn gaps_with_work(gap: std::ops::Range<f64>) -> impl Strategy<Value = Vec<(f64, f64)>> {
    prop::collection::vec((gap, 0.5..1.5_f64), 10..80)
}

fn summed(gaps: &[(f64, f64)], time_factor: f64, work_factor: f64) -> Series {
    let mut now = (0.0, 0.0);
    let steps = gaps.iter().map(|&(gap, work)| {
        now = (now.0 + gap * time_factor, now.1 + work * work_factor);
        now
    });
    std::iter::once((0.0, 0.0)).chain(steps).collect()
}

proptest! {
    #[test]
    fn values_are_always_sane(reports in any_reports(), remaining in any::<f64>()) {
        let mut estimator = Estimator::default();
        for (at_micros, position) in reports {
            estimator.observe(at_micros, position);
            if let Some(rate) = estimator.rate_per_second() {
                prop_assert!(rate.is_finite() && rate >= 0.0, "rate {}", rate);
            }
            for remaining in [remaining, 1.0, 1e9] {
                let eta = estimator.eta_seconds(remaining);
                prop_assert!(eta.is_none_or(|eta| eta <= 315_576_000), "eta {:?}", eta);
                prop_assert!(remaining <= 0.0 || eta != Some(0));
            }
        }
    }

    #[test]
    fn less_than_a_second_of_reports_says_nothing(
        reports in prop::collection::vec((0_u64..999_999, 0.0..1e6), 0..200),
    ) {
        let mut estimator = Estimator::default();
        for (offset, position) in reports {
            estimator.observe(START_MICROS + offset, position);
            prop_assert_eq!(estimator.rate_per_second(), None);
            prop_assert_eq!(estimator.eta_seconds(10.0), None);
        }
    }

    #[test]
    fn a_hundred_reports_within_a_millisecond_are_like_one(gaps in gaps_with_work(0.2..20.0)) {
        let merged = summed(&gaps, 1.0, 100.0);
        let mut apart = Estimator::default();
        for (index, &(seconds, position)) in merged.iter().enumerate() {
            let work = if index == 0 { 0.0 } else { position - merged[index - 1].1 };
            for part in (0..100).rev() {
                let part = f64::from(part);
                apart.observe(micros(seconds) - (part * 10.0) as u64, position - work * part / 100.0);
            }
        }
        let together = after(&merged, f64::INFINITY);
        match (together.rate_per_second(), together.eta_seconds(1e6)) {
            (Some(rate), Some(eta)) => {
                // The last of a hundred ends the gap, the first begins it: hence not quite equal.
                assert_rate(apart, rate, 0.35);
                assert_eta(apart, 1e6, eta as f64, 0.15);
            }
            neither => prop_assert!(false, "{neither:?}"),
        }
    }

    #[test]
    fn slower_by_a_factor_takes_longer_by_it(gaps in gaps_with_work(100.0..200.0), factor in 1.0..20.0_f64) {
        let eta = after(&summed(&gaps, 1.0, 1.0), f64::INFINITY).eta_seconds(1e4).expect("an ETA is known");
        let slower = after(&summed(&gaps, factor, 1.0), f64::INFINITY);
        assert_eta(slower, 1e4, eta as f64 * factor, 0.001);
    }

    #[test]
    fn the_unit_of_work_does_not_matter(gaps in gaps_with_work(0.5..20.0), factor in 0.01..1e6_f64) {
        let series = summed(&gaps, 1.0, 1.0);
        let in_other_unit = after(&summed(&gaps, 1.0, factor), f64::INFINITY);
        let estimator = after(&series, f64::INFINITY);
        let eta = estimator.eta_seconds(1e4).expect("an ETA is known") as f64;
        assert_eta(in_other_unit, 1e4 * factor, eta, 0.001);
        assert_rate(in_other_unit, estimator.rate_per_second().expect("a rate is known") * factor, 0.2);
    }

    #[test]
    fn an_even_pace_is_found_whatever_the_gaps(
        gaps in prop::collection::vec(0.001..900.0_f64, 40..80), pace in 0.01..1e5_f64,
    ) {
        let even: Vec<_> = gaps.iter().map(|&gap| (gap, gap * pace)).collect();
        let estimator = after(&summed(&even, 1.0, 1.0), f64::INFINITY);
        assert_rate(estimator, pace, 0.05);
        assert_eta(estimator, pace * 1e6, 1e6, 0.001);
    }
}
