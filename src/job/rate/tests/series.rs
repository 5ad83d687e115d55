//! The estimators on recorded series, each with the band that it must keep.

use super::super::Estimator;
use super::{Noise, Series, after, assert_eta, assert_rate, every_second, micros};

#[test]
fn steady_with_noise_stays_within_a_tenth() {
    let mut noise = Noise(1);
    let series = every_second(1_000, |_| 10.0 * noise.between(0.8, 1.2));
    let total = series[1_000].1;
    for &(seconds, position) in series.iter().filter(|report| report.0 >= 30.0) {
        let estimator = after(&series, seconds);
        assert_rate(estimator, 10.0, 0.15);
        assert_eta(estimator, total - position, 1_000.0 - seconds, 0.1);
    }
    let (halfway, position) = series[500];
    assert_eta(after(&series, halfway), total - position, 500.0, 0.05);
}

#[test]
fn one_report_for_each_burst_shows_the_mean() {
    let series: Series = (0..30)
        .map(|n| (f64::from(n) * 30.0, f64::from(n) * 1_000.0))
        .collect();
    for &(seconds, position) in &series[1..] {
        let estimator = after(&series, seconds);
        assert_rate(estimator, 33.3, 0.001);
        assert_eta(estimator, 29_000.0 - position, 870.0 - seconds, 0.01);
    }
}

#[test]
fn bursts_between_signs_of_life_show_the_mean_all_the_time() {
    let series = every_second(600, |second| if second % 30 == 0 { 1_000.0 } else { 0.0 });
    for second in 30..=600 {
        let estimator = after(&series, f64::from(second));
        assert_rate(estimator, 33.3, 0.001);
        // Work comes at the end of its 30 s, so that up to that much is not to be seen yet.
        let remaining = 20_000.0 - series[second as usize].1;
        assert_eta(estimator, remaining, remaining / 33.333, 0.01);
    }
}

#[test]
fn bursts_of_single_items_show_about_the_mean() {
    let series: Series = (0..20_000)
        .map(|n| {
            (
                f64::from(n / 1_000) * 30.0 + f64::from(n % 1_000) * 1e-4,
                f64::from(n),
            )
        })
        .collect();
    let mut estimator = Estimator::default();
    for (index, &(seconds, position)) in series.iter().enumerate() {
        estimator.observe(micros(seconds), position);
        match index {
            0..1_000 => assert_eq!(estimator.rate_per_second(), None),
            1_000..6_000 => assert_rate(estimator, 33.3, 1.1),
            _ => {
                assert_rate(estimator, 33.3, 0.2);
                // The silence after the last burst needs no waiting for: one period of slack.
                let remaining = 20_000.0 - position;
                let eta = estimator.eta_seconds(remaining).expect("an ETA is known") as f64;
                assert!(
                    (eta - (570.0 - seconds)).abs() < 66.0,
                    "eta {eta} at {seconds}"
                );
            }
        }
    }
}

#[test]
fn reports_without_progress_let_the_rate_fall_to_nothing_and_the_eta_grow_then_vanish() {
    let series = every_second(900, |second| if second <= 300 { 10.0 } else { 0.0 });
    let mut rate_before = f64::INFINITY;
    let mut eta_before = 0;
    for second in 300..=360 {
        let estimator = after(&series, f64::from(second));
        let rate = estimator.rate_per_second().expect("a rate is known");
        let eta = estimator.eta_seconds(1_000.0).expect("an ETA is known");
        assert!(
            rate <= rate_before && eta >= eta_before,
            "{rate} and {eta} at {second}"
        );
        (rate_before, eta_before) = (rate, eta);
    }
    assert!((101..400).contains(&eta_before), "{eta_before}");
    assert_eq!(after(&series, 340.0).rate_per_second(), Some(0.0));
    let idle = after(&series, 900.0);
    assert_eq!(idle.rate_per_second(), Some(0.0));
    assert_eq!(idle.eta_seconds(1_000.0), None);
}

#[test]
fn a_pause_leaves_the_eta_as_it_was() {
    for (worked, signs_of_life) in [(20, false), (20, true), (600, false), (600, true)] {
        let mut noise = Noise(7);
        let mut series = every_second(worked, |_| 10.0 * noise.between(0.8, 1.2));
        let (asleep_at, position) = series[worked as usize];
        if signs_of_life {
            series.extend((1..180).map(|n| (asleep_at + f64::from(n) * 10.0, position)));
        }
        let awake_at = asleep_at + 1_800.0;
        series.extend((0..300).map(|n| {
            (
                awake_at + f64::from(n),
                position + 1.0 + f64::from(n) * 10.0,
            )
        }));
        for &(seconds, _) in series.iter().filter(|report| report.0 >= awake_at) {
            let estimator = after(&series, seconds);
            assert_eta(estimator, 10_000.0, 1_000.0, 0.1);
            if seconds >= awake_at + 30.0 {
                assert_rate(estimator, 10.0, 0.1);
            }
        }
        // What the first report after the pause says about the rate is true of the pause.
        assert_rate(after(&series, awake_at), 1.0 / 1_800.0, 0.01);
    }
}

#[test]
fn a_second_long_gap_at_once_is_the_pace_and_not_a_pause() {
    let mut series = every_second(100, |_| 10.0);
    series.extend((1..=5).map(|n| (100.0 + f64::from(n) * 1_800.0, 1_000.0 + f64::from(n))));
    assert_eta(after(&series, 1_900.0), 100.0, 10.0, 0.1);
    for gaps in 2..=5 {
        let estimator = after(&series, 100.0 + f64::from(gaps) * 1_800.0);
        assert_rate(estimator, 1.0 / 1_800.0, 0.01);
        assert_eta(estimator, 10.0, 18_000.0, 0.05);
    }
}

#[test]
fn a_pause_is_left_out_after_an_earlier_one_and_a_new_pace_too() {
    // Fast work, a pause, fast work, slow work, a pause, slow work.
    let mut series = every_second(2_000, |second| if second <= 700 { 100.0 } else { 10.0 });
    for report in &mut series[600..] {
        report.0 += 1_800.0;
    }
    for report in &mut series[1_100..] {
        report.0 += 1_800.0;
    }
    for second in 1_000..=2_000 {
        assert_eta(after(&series, series[second].0), 1_000.0, 100.0, 0.1);
    }
}

#[test]
fn silence_in_which_the_work_went_on_is_not_a_pause() {
    let mut series = every_second(100, |_| 10.0);
    series.push((1_900.0, 10_000.0));
    let estimator = after(&series, 1_900.0);
    assert_rate(estimator, 5.0, 0.01);
    assert_eta(estimator, 1_000.0, 200.0, 0.05);
}

#[test]
fn slowing_to_half_is_followed() {
    let mut noise = Noise(3);
    let series = every_second(5_400, |second| {
        noise.between(0.8, 1.2) * if second <= 1_800 { 10.0 } else { 5.0 }
    });
    let total = series[5_400].1;
    for (seconds, tolerance) in [(1_900, 0.5), (2_400, 0.2), (3_000, 0.06), (4_500, 0.05)] {
        let estimator = after(&series, f64::from(seconds));
        assert_rate(estimator, 5.0, 0.2);
        let position = series[seconds as usize].1;
        assert_eta(
            estimator,
            total - position,
            5_400.0 - f64::from(seconds),
            tolerance,
        );
    }
}

#[test]
fn slowing_steadily_is_followed_at_a_distance() {
    let series = every_second(3_600, |second| 10.0 * (-f64::from(second) / 1_800.0).exp());
    for second in (300..=3_600).step_by(60) {
        let rate_now = 10.0 * (-f64::from(second) / 1_800.0).exp();
        let estimator = after(&series, f64::from(second));
        assert_rate(estimator, rate_now, 0.03);
        assert_eta(estimator, 1_000.0, 1_000.0 / rate_now, 0.3);
    }
}

#[test]
fn a_new_pace_after_skipped_work_is_found_within_two_minutes() {
    // A resumed worker runs through 3,000 finished items in 10 s and then works at 1/s.
    let mut series: Series = (0..3_000)
        .map(|n| (f64::from(n) / 300.0, f64::from(n)))
        .collect();
    series.extend((0..600).map(|n| (10.0 + f64::from(n), 3_000.0 + f64::from(n))));
    assert_rate(after(&series, 60.0), 1.0, 0.3);
    for seconds in 120..600 {
        assert_eta(after(&series, f64::from(seconds)), 1_000.0, 1_000.0, 0.1);
    }
}

#[test]
fn hours_of_work_outweigh_the_last_seconds() {
    // Ten hours at one report a minute, then a minute at three times the pace.
    let mut series: Series = (0..=600)
        .map(|n| (f64::from(n) * 60.0, f64::from(n) * 60.0))
        .collect();
    series.push((36_060.0, 36_180.0));
    assert_eta(after(&series, 36_060.0), 36_000.0, 36_000.0, 0.03);
}

#[test]
fn a_retry_with_a_new_estimator_knows_only_its_own_work() {
    let first_attempt = after(&every_second(100, |_| 100.0), 100.0);
    assert_rate(first_attempt, 100.0, 0.001);
    let mut second_attempt = Estimator::default();
    for second in 0..=10 {
        second_attempt.observe(micros(200.0 + f64::from(second)), f64::from(second) * 2.0);
    }
    assert_rate(second_attempt, 2.0, 0.001);
    assert_eta(second_attempt, 100.0, 50.0, 0.0);
}

#[test]
fn a_jump_at_the_start_is_where_counting_begins() {
    let series: Series = (0..=50)
        .map(|n| (f64::from(n), 500.0 + f64::from(n) * 2.0))
        .collect();
    let estimator = after(&series, 50.0);
    assert_eq!(estimator.rate_per_second(), Some(2.0));
    assert_eta(estimator, 400.0, 200.0, 0.0);
}

#[test]
fn increments_of_parallel_workers_add_up() {
    // Eight workers, each with its own period and batch: 10 units a second together.
    let mut increments: Vec<(f64, f64)> = (1..=8)
        .flat_map(|worker| {
            let period = f64::from(worker) * 0.7;
            (1..=(600.0 / period) as u32).map(move |n| (f64::from(n) * period, period * 10.0 / 8.0))
        })
        .collect();
    increments.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut position = 0.0;
    let mut estimator = Estimator::default();
    estimator.observe(micros(0.0), 0.0);
    for (seconds, increment) in increments {
        position += increment;
        estimator.observe(micros(seconds), position);
        if seconds >= 60.0 {
            assert_rate(estimator, 10.0, 0.25);
            assert_eta(estimator, 1_000.0, 100.0, 0.1);
        }
    }
}

#[test]
fn a_growing_total_changes_the_eta_and_nothing_else() {
    let mut noise = Noise(11);
    let series = every_second(500, |_| noise.between(5.0, 15.0));
    for second in (60..500).step_by(20) {
        let estimator = after(&series, f64::from(second));
        let position = series[second as usize].1;
        let total_now = 6_000.0 + f64::from(second) * 5.0;
        assert_eta(
            estimator,
            total_now - position,
            (total_now - position) / 10.0,
            0.1,
        );
    }
}

#[test]
fn a_hundred_thousand_reports_a_second_are_as_good_as_one() {
    let mut estimator = Estimator::default();
    for n in 0_u32..1_000_000 {
        estimator.observe(super::START_MICROS + u64::from(n) * 10, f64::from(n));
    }
    assert_rate(estimator, 100_000.0, 0.001);
    assert_eta(estimator, 3_000_000.0, 30.0, 0.01);
}

#[test]
fn one_report_in_ten_minutes_is_enough() {
    let series: Series = (0..20)
        .map(|n| (f64::from(n) * 600.0, f64::from(n)))
        .collect();
    for &(seconds, position) in &series[1..] {
        let estimator = after(&series, seconds);
        assert_eq!(estimator.rate_per_second(), Some(0.00167));
        assert_eta(
            estimator,
            100.0 - position,
            (100.0 - position) * 600.0,
            0.001,
        );
    }
}
