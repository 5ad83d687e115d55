//! What the estimators say, and when they say nothing; the helpers that all their tests share.

use super::Estimator;

mod properties;
mod series;

const START_MICROS: u64 = 1_795_287_600_000_000;

/// Reports as seconds since the start, and position.
type Series = Vec<(f64, f64)>;

/// Repeatable noise (the splitmix64 sequence).
struct Noise(u64);

impl Noise {
    /// Evenly distributed in `low..high`.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        low + (high - low) * (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn micros(seconds: f64) -> u64 {
    START_MICROS + (seconds * 1e6).round() as u64
}

/// The estimator after all reports of `series` up to `until` seconds.
fn after(series: &[(f64, f64)], until: f64) -> Estimator {
    let mut estimator = Estimator::default();
    for &(seconds, position) in series.iter().take_while(|report| report.0 <= until) {
        estimator.observe(micros(seconds), position);
    }
    estimator
}

/// Reports each second until `seconds`; `pace(second)` units are done in the second before.
fn every_second(seconds: u32, mut pace: impl FnMut(u32) -> f64) -> Series {
    let mut position = 0.0;
    (0..=seconds)
        .map(|second| {
            position += if second == 0 { 0.0 } else { pace(second) };
            (f64::from(second), position)
        })
        .collect()
}

#[track_caller]
fn assert_rate(estimator: Estimator, expected: f64, tolerance: f64) {
    let rate = estimator.rate_per_second().expect("a rate is known");
    assert!(
        (rate - expected).abs() <= expected * tolerance,
        "rate {rate}, expected {expected} within {tolerance}"
    );
}

#[track_caller]
fn assert_eta(estimator: Estimator, remaining: f64, expected: f64, tolerance: f64) {
    let eta = estimator.eta_seconds(remaining).expect("an ETA is known") as f64;
    assert!(
        (eta - expected).abs() <= expected * tolerance + 1.0,
        "eta {eta}, expected {expected} within {tolerance}"
    );
}

#[test]
fn says_nothing_before_there_is_enough_to_say() {
    let mut estimator = Estimator::default();
    assert_eq!(estimator.rate_per_second(), None);
    assert_eq!(estimator.eta_seconds(100.0), None);
    assert_eq!(estimator.eta_seconds(0.0), None);

    estimator.observe(micros(0.0), 0.0);
    estimator.observe(micros(0.9), 9.0);
    assert_eq!(estimator.rate_per_second(), None);
    assert_eq!(estimator.eta_seconds(100.0), None);

    estimator.observe(micros(2.0), 20.0);
    assert_eq!(estimator.rate_per_second(), Some(10.0));
    assert_eq!(estimator.eta_seconds(100.0), None);

    for second in 3..=6 {
        estimator.observe(micros(f64::from(second)), f64::from(second) * 10.0);
    }
    assert_eq!(estimator.eta_seconds(100.0), Some(10));
}

#[test]
fn one_short_gap_is_no_forecast_but_one_long_gap_is() {
    let short = after(&[(0.0, 0.0), (10.0, 1.0)], 10.0);
    assert_eq!(short.rate_per_second(), Some(0.1));
    assert_eq!(short.eta_seconds(9.0), None);

    let long = after(&[(0.0, 0.0), (600.0, 1.0)], 600.0);
    assert_eq!(long.eta_seconds(9.0), Some(5_400));
}

#[test]
fn signs_of_life_without_any_progress_give_no_rate() {
    let waiting = after(&every_second(300, |_| 0.0), 300.0);
    assert_eq!(waiting.rate_per_second(), None);
    assert_eq!(waiting.eta_seconds(100.0), None);
}

#[test]
fn nothing_remaining_takes_no_time_and_something_takes_at_least_a_second() {
    let estimator = after(&every_second(60, |_| 1_000.0), 60.0);
    assert_eq!(estimator.eta_seconds(0.0), Some(0));
    assert_eq!(estimator.eta_seconds(-5.0), Some(0));
    assert_eq!(estimator.eta_seconds(1.0), Some(1));
    assert_eq!(estimator.eta_seconds(f64::MIN_POSITIVE), Some(1));
    assert_eq!(estimator.eta_seconds(f64::INFINITY), None);
    assert_eq!(estimator.eta_seconds(f64::NAN), None);
}

#[test]
fn beyond_ten_years_there_is_no_eta() {
    let estimator = after(&every_second(60, |_| 1.0), 60.0);
    assert_eq!(estimator.eta_seconds(315_000_000.0), Some(315_000_000));
    assert_eq!(estimator.eta_seconds(316_000_000.0), None);
}

#[test]
fn reports_that_overtake_each_other_count_no_time_twice() {
    let mut estimator = Estimator::default();
    for n in 0_u32..2_000 {
        let early = if n % 2 == 1 { 400_000 } else { 0 };
        estimator.observe(micros(f64::from(n) * 0.1) - early, f64::from(n));
    }
    assert_rate(estimator, 10.0, 0.05);
    assert_eta(estimator, 1_000.0, 100.0, 0.02);
}

#[test]
fn a_clock_set_back_or_forward_by_an_hour_does_no_harm() {
    for hour in [-3_600.0, 3_600.0] {
        let mut series = every_second(300, |_| 10.0);
        for report in &mut series[150..] {
            report.0 += hour;
        }
        let mut estimator = Estimator::default();
        for (index, &(seconds, position)) in series.iter().enumerate() {
            estimator.observe(micros(seconds + 3_600.0), position);
            if index >= 60 {
                assert_eta(estimator, 1_000.0, 100.0, 0.05);
            }
        }
        assert_rate(estimator, 10.0, 0.01);
    }
}

#[test]
fn a_lower_or_impossible_position_is_no_progress() {
    let mut estimator = after(&every_second(60, |_| 10.0), 60.0);
    let position = estimator.track.expect("reports were seen").position;
    for odd in [5.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        estimator.observe(micros(60.0), odd);
    }
    assert_eq!(estimator, after(&every_second(60, |_| 10.0), 60.0));
    assert_eq!(position, 600.0);

    let mut unstarted = Estimator::default();
    unstarted.observe(micros(0.0), f64::NAN);
    assert_eq!(unstarted, Estimator::default());
}

#[test]
fn rates_are_rounded_to_one_decimal_or_three_digits() {
    for (pace, shown) in [
        (12_345.678, "12345.7"),
        (41.68, "41.7"),
        (9.996, "10.0"),
        (9.876, "9.88"),
        (0.41234, "0.412"),
        (0.0041666, "0.00417"),
        (1e-13, "0.0"),
    ] {
        let series: Series = (0..=10)
            .map(|n| (f64::from(n) * 10.0, f64::from(n) * 10.0 * pace))
            .collect();
        let rate = after(&series, 100.0).rate_per_second();
        assert_eq!(serde_json::to_string(&rate).expect("a number"), shown);
    }
}

#[test]
fn is_small_and_survives_being_stored() {
    assert!(size_of::<Estimator>() < 96, "{}", size_of::<Estimator>());
    let mut noise = Noise(5);
    let series = every_second(200, |_| noise.between(0.0, 3.0));
    let mut kept = Estimator::default();
    let mut stored = serde_json::to_string(&kept).expect("plain numbers");
    for &(seconds, position) in &series {
        let mut loaded: Estimator = serde_json::from_str(&stored).expect("what was written");
        kept.observe(micros(seconds), position);
        loaded.observe(micros(seconds), position);
        assert_eq!(loaded, kept);
        stored = serde_json::to_string(&loaded).expect("plain numbers");
    }
}
