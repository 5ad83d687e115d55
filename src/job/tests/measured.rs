//! Rate and remaining time as a status shows them; `rate/tests` has the estimator itself.

use serde_json::{Value, json};

use super::{TICK, after, applied, at, created, new_job, report, shown};
use crate::job::{Job, State};

/// A job that has counted ten units a second for a minute, of a thousand.
fn under_way() -> Job {
    let counts = (1..=60).map(|second| json!({"processed_count": second * 10}));
    after(created(json!({"total_count": 1_000})), counts)
}

#[test]
fn steady_work_has_a_rate_and_a_remaining_time() {
    let job = under_way();
    assert_eq!(shown(&job, "rate_per_second"), 10);
    assert_eq!(shown(&job, "eta_seconds"), 40);
}

#[test]
fn the_end_clears_both() {
    for state in ["completed", "failed", "cancelled"] {
        let (job, _) =
            applied(&under_way(), &report(json!({"status": state})), 61).expect("allowed");
        assert_eq!(shown(&job, "rate_per_second"), Value::Null, "{state}");
        assert_eq!(shown(&job, "eta_seconds"), Value::Null, "{state}");
    }
}

#[test]
fn stalling_clears_both() {
    let (job, is_status) = applied(&under_way(), &TICK, 120).expect("time passes");
    assert!(is_status && job.face.stalled);
    assert_eq!(shown(&job, "rate_per_second"), Value::Null);
    assert_eq!(shown(&job, "eta_seconds"), Value::Null);
}

#[test]
fn a_retry_starts_measuring_anew() {
    let retry = report(json!({"attempt": 2, "processed_count": 1}));
    let (job, _) = applied(&under_way(), &retry, 61).expect("allowed");
    assert_eq!(shown(&job, "rate_per_second"), Value::Null);
    assert_eq!(shown(&job, "eta_seconds"), Value::Null);
    assert_eq!(job.face.state, State::Processing);
}

#[test]
fn a_named_percentage_gives_a_remaining_time_but_no_rate_of_units() {
    let reports = (1..=60).map(|second| json!({"progress_percentage": second}));
    let job = after(new_job(), reports);
    assert_eq!(shown(&job, "rate_per_second"), Value::Null);
    assert_eq!(shown(&job, "eta_seconds"), 40);
}

#[test]
fn turning_from_percent_to_units_starts_measuring_anew() {
    let reports = (1..=60).map(|second| json!({"progress_percentage": second}));
    let job = after(created(json!({"total_count": 1_000})), reports);
    assert_eq!(shown(&job, "eta_seconds"), 40);
    let (job, _) = applied(&job, &report(json!({"processed_count": 610})), 61).expect("allowed");
    assert_eq!(shown(&job, "rate_per_second"), Value::Null);
    assert_eq!(shown(&job, "eta_seconds"), Value::Null);
}

#[test]
fn a_total_that_is_cleared_takes_its_remaining_time_along() {
    let job = after(created(json!({"total_count": 0})), [json!({})]);
    assert_eq!(shown(&job, "eta_seconds"), 0);
    let job = after(job, [json!({"total_count": null})]);
    assert_eq!(shown(&job, "eta_seconds"), Value::Null);
    assert_eq!(shown(&job, "progress_percentage"), Value::Null);
}

#[test]
fn both_depend_on_the_reports_alone() {
    let once = under_way();
    let ticked = (1..=60).fold(created(json!({"total_count": 1_000})), |job, second| {
        let (job, _) = applied(&job, &TICK, second).expect("time passes");
        let count = report(json!({"processed_count": second * 10}));
        applied(&job, &count, second).expect("allowed").0
    });
    assert_eq!(once, ticked);
    assert_eq!(once.updated_at, at(60));
}
