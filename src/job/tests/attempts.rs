//! Retries: what starts anew, what stays, and what a replaced attempt may still say.

use serde_json::{Value, json};

use super::{after, applied, created, report, shown};
use crate::job::{Job, Refusal, State};

/// A job in its first attempt, with something in every field.
fn first_attempt() -> Job {
    after(
        created(json!({"total_count": 100, "data": {"a": 1}})),
        [json!({"processed_count": 60, "step": "S", "message": "M", "data": {"b": 2}})],
    )
}

#[test]
fn a_retry_starts_count_percentage_step_and_message_anew_and_keeps_the_total() {
    for state in ["pending", "processing"] {
        let retry =
            json!({"status": state, "attempt": 2, "error": {"code": "E", "message": "boom"}});
        let (job, is_status) = applied(&first_attempt(), &report(retry), 2).expect("a retry");
        assert!(is_status);
        for (field, expected) in [
            ("status", json!(state)),
            ("attempt", json!(2)),
            ("processed_count", json!(0)),
            ("progress_percentage", json!(0)),
            ("total_count", json!(100)),
            ("step", Value::Null),
            ("message", Value::Null),
            ("data", json!({"a": 1, "b": 2})),
            ("error", json!({"code": "E", "message": "boom"})),
            ("finished_at", Value::Null),
        ] {
            assert_eq!(shown(&job, field), expected, "{field}");
        }
    }
}

#[test]
fn a_retry_may_bring_values_of_its_own() {
    let retry = json!({"attempt": 5, "total_count": 10, "processed_count": 1, "step": "again"});
    let (job, _) = applied(&first_attempt(), &report(retry), 2).expect("numbers may be skipped");
    assert_eq!(job.face.state, State::Processing);
    assert_eq!(shown(&job, "attempt"), 5);
    assert_eq!(shown(&job, "progress_percentage"), 10);
    assert_eq!(shown(&job, "step"), "again");
    assert_eq!(shown(&job, "error"), Value::Null);
}

#[test]
fn a_replaced_attempt_is_refused_whatever_it_reports() {
    let (job, _) = applied(&first_attempt(), &report(json!({"attempt": 3})), 2).expect("a retry");
    for body in [
        json!({"attempt": 2}),
        json!({"attempt": 1, "processed_count": 99}),
        json!({"attempt": 1, "status": "completed"}),
    ] {
        let reported = body["attempt"].as_u64().expect("a number") as u32;
        let refusal = Refusal::StaleAttempt {
            reported,
            current: 3,
        };
        assert_eq!(applied(&job, &report(body), 3), Err(refusal));
    }
}

#[test]
fn the_present_attempt_may_name_itself_or_not() {
    let (job, _) = applied(&first_attempt(), &report(json!({"attempt": 2})), 2).expect("a retry");
    let named = applied(
        &job,
        &report(json!({"attempt": 2, "processed_count": 7})),
        3,
    );
    let unnamed = applied(&job, &report(json!({"processed_count": 7})), 3);
    assert_eq!(named, unnamed);
    assert!(named.is_ok());
}

#[test]
fn a_retry_keeps_when_the_job_started_and_that_it_should_stop() {
    let (job, _) = applied(&first_attempt(), &crate::job::Command::Cancel, 2).expect("allowed");
    let (retried, _) =
        applied(&job, &report(json!({"attempt": 2, "status": "pending"})), 9).expect("a retry");
    assert_eq!(retried.face.started_at, job.face.started_at);
    assert!(retried.face.cancel_requested);
}
