//! Counts and percentages: rounding, monotony, growing and shrinking totals.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{after, created, new_job, shown};
use crate::job::{Count, Percentage, Progress};

fn count(value: u64) -> Count {
    Count::saturating(value)
}

fn written(percentage: Percentage) -> String {
    serde_json::to_string(&percentage).expect("a number serializes")
}

#[test]
fn percentages_of_counts_are_rounded_down_and_whole_numbers_have_no_fraction() {
    for (processed, total, expected) in [
        (1, 3, "33.33"),
        (2, 3, "66.66"),
        (750, 1_000, "75"),
        (1, 8, "12.5"),
        (999_999, 1_000_000, "99.99"),
        (1, 1_000_000, "0"),
        (0, 0, "0"),
        (5, 0, "100"),
        (7, 5, "100"),
        (Count::MAX - 1, Count::MAX, "99.99"),
        (Count::MAX, Count::MAX, "100"),
    ] {
        let percentage = Percentage::of(count(processed), count(total));
        assert_eq!(written(percentage), expected, "{processed} of {total}");
    }
}

#[test]
fn reported_percentages_are_rounded_down_but_never_below_what_was_written() {
    for (reported, expected) in [
        (0.0, "0"),
        (-0.0, "0"),
        (33.33, "33.33"),
        (66.66, "66.66"),
        (33.339_999_999, "33.33"),
        (33.329_999_999_9, "33.32"),
        (0.29, "0.29"),
        (0.57, "0.57"),
        (99.999_999_999_9, "99.99"),
        (1e-300, "0"),
        (100.0, "100"),
    ] {
        let percentage = Percentage::new(reported).expect("between 0 and 100");
        assert_eq!(written(percentage), expected, "{reported}");
    }
}

#[test]
fn percentages_outside_0_to_100_do_not_exist() {
    for reported in [-1e-9, 100.000_000_1, 1e300, f64::NAN, f64::INFINITY] {
        assert_eq!(Percentage::new(reported), None, "{reported}");
    }
}

#[test]
fn every_hundredth_of_a_percent_survives_the_wire() {
    for hundredths in 0..=10_000 {
        let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
        let percentage: Percentage = serde_json::from_str(&text).expect("a percentage");
        assert_eq!(percentage.percent(), text.parse::<f64>().expect("a number"));
        let again: Percentage = serde_json::from_str(&written(percentage)).expect("a percentage");
        assert_eq!(again, percentage);
    }
}

#[test]
fn a_late_lower_value_is_accepted_and_ignored() {
    let job = after(
        created(json!({"total_count": 10})),
        [json!({"processed_count": 7}), json!({"processed_count": 4})],
    );
    assert_eq!(shown(&job, "processed_count"), 7);
    assert_eq!(shown(&job, "progress_percentage"), 70);
    let job = after(
        new_job(),
        [
            json!({"progress_percentage": 40.5}),
            json!({"progress_percentage": 12}),
        ],
    );
    assert_eq!(shown(&job, "progress_percentage"), 40.5);
}

#[test]
fn a_growing_total_keeps_the_percentage_until_the_counts_catch_up() {
    let job = after(
        created(json!({"total_count": 100})),
        [json!({"processed_count": 50}), json!({"total_count": 200})],
    );
    assert_eq!(shown(&job, "progress_percentage"), 50);
    let job = after(job, [json!({"processed_count": 99})]);
    assert_eq!(shown(&job, "progress_percentage"), 50);
    let job = after(job, [json!({"processed_count": 120})]);
    assert_eq!(shown(&job, "progress_percentage"), 60);
}

#[test]
fn a_count_above_the_total_is_kept_and_shows_100() {
    let job = after(
        created(json!({"total_count": 10})),
        [json!({"processed_count": 12})],
    );
    assert_eq!(shown(&job, "processed_count"), 12);
    assert_eq!(shown(&job, "progress_percentage"), 100);
}

#[test]
fn without_a_total_the_percentage_is_what_the_worker_reported() {
    let job = after(
        new_job(),
        [json!({"processed_count": 3, "progress_percentage": 12.345})],
    );
    assert_eq!(shown(&job, "progress_percentage"), 12.34);
    let job = after(new_job(), [json!({"processed_count": 3})]);
    assert_eq!(shown(&job, "progress_percentage"), Value::Null);
    assert_eq!(shown(&job, "total_count"), Value::Null);
}

#[test]
fn a_completed_job_shows_100_whatever_was_counted() {
    let job = after(
        created(json!({"total_count": 10})),
        [json!({"processed_count": 3, "status": "completed"})],
    );
    assert_eq!(shown(&job, "processed_count"), 3);
    assert_eq!(shown(&job, "progress_percentage"), 100);
    let job = after(new_job(), [json!({"status": "failed"})]);
    assert_eq!(shown(&job, "progress_percentage"), Value::Null);
}

#[derive(Debug, Clone)]
enum Action {
    Total(Option<u64>),
    CountTo(u64),
    CountOn(u64),
    Report(u32),
}

fn action() -> impl Strategy<Value = Action> {
    let number = || prop_oneof![4 => 0..200_u64, 1 => Just(Count::MAX), 1 => any::<u64>()];
    prop_oneof![
        prop::option::of(number()).prop_map(Action::Total),
        number().prop_map(Action::CountTo),
        number().prop_map(Action::CountOn),
        (0..=10_000_u32).prop_map(Action::Report),
    ]
}

proptest! {
    #[test]
    fn nothing_that_an_attempt_reports_takes_progress_back(
        actions in prop::collection::vec(action(), 0..60),
    ) {
        let mut progress = Progress::default();
        let (mut highest_count, mut highest_percentage) = (0, Percentage::default());
        for action in actions {
            match action {
                Action::Total(total) => progress.set_total(total.map(count)),
                Action::CountTo(value) => progress.count_to(count(value)),
                Action::CountOn(value) => progress.count_on(count(value)),
                Action::Report(hundredths) => {
                    progress.report(Percentage::new(f64::from(hundredths) / 100.0).expect("in range"));
                }
            }
            if let Some(processed) = progress.processed() {
                prop_assert!(processed.get() >= highest_count);
                highest_count = processed.get();
            }
            if let Some(percentage) = progress.percentage() {
                prop_assert!(percentage >= highest_percentage);
                highest_percentage = percentage;
            }
        }
    }

    #[test]
    fn increments_add_up_in_any_order(
        (increments, shuffled) in prop::collection::vec(1..10_000_u64, 1..40)
            .prop_flat_map(|increments| (Just(increments.clone()), Just(increments).prop_shuffle())),
    ) {
        let sum = |increments: &[u64]| {
            let mut progress = Progress::new(Some(count(1_000)));
            for increment in increments {
                progress.count_on(count(*increment));
            }
            progress
        };
        prop_assert_eq!(sum(&increments), sum(&shuffled));
        let expected: u64 = increments.iter().sum();
        prop_assert_eq!(sum(&increments).processed(), Some(count(expected)));
    }
}
