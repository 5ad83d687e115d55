//! Asking for an end.

use serde_json::json;

use super::{after, applied, new_job, report, shown};
use crate::job::{Command, Refusal, State};

#[test]
fn a_pending_job_is_cancelled_at_once() {
    let (job, is_status) = applied(&new_job(), &Command::Cancel, 3).expect("allowed");
    assert!(is_status);
    assert_eq!(job.face.state, State::Cancelled);
    assert!(job.face.cancel_requested);
    assert_eq!(shown(&job, "finished_at"), "2026-11-21T19:00:03.000Z");
    assert_eq!(shown(&job, "started_at"), serde_json::Value::Null);
}

#[test]
fn a_processing_job_is_only_asked_and_asking_again_changes_nothing() {
    let job = after(new_job(), [json!({})]);
    let (asked, is_status) = applied(&job, &Command::Cancel, 3).expect("allowed");
    assert!(is_status && asked.face.cancel_requested);
    assert_eq!(asked.face.state, State::Processing);
    assert_eq!(applied(&asked, &Command::Cancel, 4), Ok((asked, false)));
}

#[test]
fn a_worker_that_was_asked_may_stop_or_still_complete_or_fail() {
    let job = after(new_job(), [json!({})]);
    let (asked, _) = applied(&job, &Command::Cancel, 3).expect("allowed");
    for end in [State::Cancelled, State::Completed, State::Failed] {
        let (ended, _) = applied(&asked, &report(json!({"status": end})), 4).expect("allowed");
        assert_eq!(ended.face.state, end);
        assert!(ended.face.cancel_requested);
    }
}

#[test]
fn a_cancelled_job_may_be_cancelled_again_and_a_finished_one_not() {
    for end in [State::Cancelled, State::Completed, State::Failed] {
        let job = after(new_job(), [json!({"status": end})]);
        let outcome = applied(&job, &Command::Cancel, 9);
        if end == State::Cancelled {
            assert_eq!(outcome, Ok((job, false)));
        } else {
            assert_eq!(outcome, Err(Refusal::Finished(end)));
        }
    }
}
