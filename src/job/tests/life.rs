//! States: who may go where, and that an end is final.

use serde_json::{Value, json};

use super::{TICK, after, applied, at, created, new_job, report, shown};
use crate::job::{Command, EventName, Failure, Job, Json, NewEvent, Refusal, State};

fn event() -> Command {
    Command::Events(vec![NewEvent {
        name: EventName::parse("note").expect("a valid name"),
        data: Json::of(&1).expect("a number serializes"),
    }])
}

fn rows() -> Command {
    Command::Rows(vec![Json::of(&json!({"a": 1})).expect("JSON serializes")])
}

/// A job in `state`, reached as a worker would.
fn job_in(state: State) -> Job {
    match state {
        State::Pending => new_job(),
        state => after(new_job(), [json!({"status": state})]),
    }
}

#[test]
fn a_new_job_is_pending_and_knows_nothing_yet() {
    let job = new_job();
    for field in [
        "total_count",
        "processed_count",
        "progress_percentage",
        "started_at",
    ] {
        assert_eq!(shown(&job, field), Value::Null, "{field}");
    }
    assert_eq!(shown(&job, "status"), "pending");
    assert_eq!(shown(&job, "attempt"), 1);
}

#[test]
fn a_report_without_status_an_event_and_a_row_start_a_pending_job() {
    for command in [report(json!({})), event(), rows()] {
        let (job, is_status) = applied(&new_job(), &command, 5).expect("allowed");
        assert!(is_status, "{command:?}");
        assert_eq!(job.face.state, State::Processing);
        assert_eq!(job.face.started_at, Some(at(5)));
        assert_eq!(job.reported_at, at(5));
        assert_eq!(job.updated_at, at(5));
    }
}

#[test]
fn a_pending_job_that_reports_pending_stays_pending() {
    let (job, is_status) =
        applied(&new_job(), &report(json!({"status": "pending"})), 5).expect("allowed");
    assert!(!is_status);
    assert_eq!(job.face.state, State::Pending);
    assert_eq!(job.reported_at, at(5));
    assert_eq!(job.face.started_at, None);
}

#[test]
fn unfinished_states_move_to_every_state_but_back() {
    for before in [State::Pending, State::Processing] {
        for to in State::ALL {
            let outcome = applied(&job_in(before), &report(json!({"status": to})), 9);
            if (before, to) == (State::Processing, State::Pending) {
                let Err(Refusal::Invalid(error)) = outcome else {
                    panic!("going back is refused, not {outcome:?}");
                };
                assert_eq!(error.field, "status");
            } else {
                let (job, _) = outcome.expect("allowed");
                assert_eq!(job.face.state, to, "from {before}");
                assert_eq!(job.face.finished_at.is_some(), to.is_terminal());
            }
        }
    }
}

#[test]
fn nothing_changes_a_finished_job() {
    for end in [State::Completed, State::Failed, State::Cancelled] {
        let job = job_in(end);
        for to in State::ALL {
            let body = json!({"status": to, "message": "late", "result": {"n": 1}, "attempt": 9});
            let outcome = applied(&job, &report(body), 50);
            if to == end {
                assert_eq!(outcome, Ok((job.clone(), false)), "the same end again");
            } else {
                assert_eq!(outcome, Err(Refusal::Finished(end)), "{end} to {to}");
            }
        }
        for command in [
            report(json!({})),
            report(json!({"processed_count": 5})),
            event(),
            rows(),
        ] {
            assert_eq!(
                applied(&job, &command, 50),
                Err(Refusal::Finished(end)),
                "{command:?}"
            );
        }
        assert_eq!(applied(&job, &TICK, 10_000_000), Ok((job.clone(), false)));
        assert_eq!(job.next_deadline(), None);
    }
}

#[test]
fn retention_begins_at_the_end() {
    let job = after(
        created(json!({"ttl_seconds": 10})),
        [json!({}), json!({"status": "completed"})],
    );
    assert_eq!(shown(&job, "finished_at"), "2026-11-21T19:00:02.000Z");
    assert_eq!(job.expires_at(), Some(at(12)));
    assert_eq!(new_job().expires_at(), None);
}

#[test]
fn a_failure_carries_its_reason_or_says_that_there_is_none() {
    for (error, expected) in [
        (
            json!("disk full"),
            json!({"code": "JOB_FAILED", "message": "disk full"}),
        ),
        (
            json!({"code": "DISK"}),
            json!({"code": "DISK", "message": "Job failed"}),
        ),
        (
            json!({"message": "m", "code": "C"}),
            json!({"code": "C", "message": "m"}),
        ),
    ] {
        let job = after(new_job(), [json!({"status": "failed", "error": error})]);
        assert_eq!(shown(&job, "error"), expected);
        assert!(job.failure().is_some());
    }
    let job = after(new_job(), [json!({"status": "failed"})]);
    assert_eq!(job.failure(), Some(&Failure::unexplained()));
    let told_before = [json!({"error": "disk full"}), json!({"status": "failed"})];
    let job = after(new_job(), told_before);
    assert_eq!(shown(&job, "error")["message"], "disk full");
}

#[test]
fn a_success_forgets_why_an_earlier_attempt_failed() {
    let retry = json!({"status": "processing", "attempt": 2, "error": "timeout"});
    let job = after(new_job(), [retry]);
    assert_eq!(shown(&job, "error")["message"], "timeout");
    assert_eq!(job.failure(), None, "only a failed job has a failure");
    let job = after(job, [json!({"status": "completed", "result": [1, 2]})]);
    assert_eq!(shown(&job, "error"), Value::Null);
    assert_eq!(shown(&job, "result"), json!([1, 2]));
}

#[test]
fn a_report_that_changes_nothing_is_a_sign_of_life_and_no_change() {
    let job = after(
        created(json!({"total_count": 5})),
        [json!({"processed_count": 3, "step": "a"})],
    );
    for body in [
        json!({}),
        json!({"processed_count": 2}),
        json!({"step": "a", "processed_count": 3}),
    ] {
        let (next, is_status) = applied(&job, &report(body), 30).expect("allowed");
        assert!(!is_status);
        assert_eq!(next.face, job.face);
        assert_eq!(next.updated_at, job.updated_at);
        assert_eq!(next.reported_at, at(30));
    }
}

#[test]
fn an_event_is_a_change_even_when_the_status_stays() {
    let job = after(new_job(), [json!({})]);
    let (next, is_status) = applied(&job, &event(), 30).expect("allowed");
    assert!(!is_status);
    assert_eq!(next.updated_at, at(30));
    assert_eq!(next.face, job.face);
}
