//! The rules under any sequence of commands, against a model of what matters.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{TICK, applied, created, report, shown};
use crate::job::{Command, EventName, Job, Json, NewEvent, Refusal, State};

#[derive(Debug, Clone)]
enum Act {
    /// A report's body; an attempt in it is relative to the present one.
    Report(Value, Option<i8>),
    Event,
    Row,
    Cancel,
    Tick,
}

fn acts() -> impl Strategy<Value = Vec<(Act, u64)>> {
    let state = prop_oneof![
        2 => Just("pending"), 4 => Just("processing"), 1 => Just("completed"), 1 => Just("failed"), 1 => Just("cancelled"),
    ];
    let count = prop_oneof![
        3 => (0..120_u64).prop_map(|count| json!({"processed_count": count})),
        3 => (1..20_u64).prop_map(|count| json!({"processed_increment": count})),
        1 => (0..=100_u64).prop_map(|percent| json!({"progress_percentage": percent})),
        1 => prop_oneof![Just(Value::Null), (0..200_u64).prop_map(Value::from)]
            .prop_map(|total| json!({"total_count": total})),
        1 => Just(json!({})),
        1 => prop_oneof![Just(json!({"step": "a"})), Just(json!({"step": null, "message": "b"}))],
    ];
    let body = (prop::option::weighted(0.2, state), count).prop_map(|(state, mut body)| {
        if let Some(state) = state {
            body["status"] = state.into();
        }
        body
    });
    let act = prop_oneof![
        12 => (body, prop::option::weighted(0.2, -1..3_i8)).prop_map(|(body, attempt)| Act::Report(body, attempt)),
        1 => Just(Act::Event),
        1 => Just(Act::Row),
        1 => Just(Act::Cancel),
        2 => Just(Act::Tick),
    ];
    prop::collection::vec((act, prop_oneof![4 => 0..5_u64, 1 => 0..200_u64]), 0..80)
}

/// The act as a command on `job`; `None` when it would name an attempt below 1.
fn command(act: &Act, job: &Job) -> Option<Command> {
    Some(match act {
        Act::Report(body, relative) => {
            let mut body = body.clone();
            if let Some(relative) = relative {
                let attempt = i64::from(job.face.attempt) + i64::from(*relative);
                if attempt < 1 {
                    return None;
                }
                body["attempt"] = attempt.into();
            }
            report(body)
        }
        Act::Event => Command::Events(vec![NewEvent {
            name: EventName::parse("note").expect("a valid name"),
            data: Json::of(&()).expect("null serializes"),
        }]),
        Act::Row => Command::Rows(vec![Json::of(&json!({})).expect("an object serializes")]),
        Act::Cancel => Command::Cancel,
        Act::Tick => TICK,
    })
}

/// The count that a job must show, reckoned from the accepted reports of its attempt alone.
fn counted(before: &Job, act: &Act, after: &Job, model: &mut u64) {
    if after.face.attempt > before.face.attempt {
        *model = 0;
    }
    if let Act::Report(body, _) = act {
        *model = (*model).max(body["processed_count"].as_u64().unwrap_or(0));
        *model += body["processed_increment"].as_u64().unwrap_or(0);
    }
}

fn number(job: &Job, field: &str) -> Option<f64> {
    shown(job, field).as_f64()
}

fn check_shape(job: &Job) -> Result<(), TestCaseError> {
    let face = &job.face;
    prop_assert_eq!(face.finished_at.is_some(), face.state.is_terminal());
    prop_assert!(!face.stalled || face.state == State::Processing);
    if face.stalled || face.state.is_terminal() {
        prop_assert_eq!(shown(job, "rate_per_second"), Value::Null);
        prop_assert_eq!(shown(job, "eta_seconds"), Value::Null);
    }
    prop_assert_eq!(face.state == State::Failed, job.failure().is_some());
    if face.state == State::Completed {
        prop_assert_eq!(shown(job, "progress_percentage"), 100);
    }
    prop_assert_eq!(job.next_deadline().is_none(), face.state.is_terminal());
    Ok(())
}

fn check_change(
    before: &Job,
    act: &Act,
    after: &Job,
    is_status: bool,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(is_status, before.face != after.face);
    let is_event = matches!(act, Act::Event);
    prop_assert_eq!(
        after.updated_at == before.updated_at || is_status || is_event,
        true
    );
    prop_assert_eq!(
        after.seq,
        before.seq,
        "the store assigns seqs, not the rules"
    );
    prop_assert!(after.reported_at >= before.reported_at);
    prop_assert!(after.face.attempt >= before.face.attempt);
    if let Some(started_at) = before.face.started_at {
        prop_assert_eq!(after.face.started_at, Some(started_at));
    }
    if before.is_finished() {
        prop_assert_eq!(after, before, "terminal is final");
    }
    if after.face.attempt == before.face.attempt {
        for field in ["processed_count", "progress_percentage"] {
            if let (Some(was), Some(is)) = (number(before, field), number(after, field)) {
                prop_assert!(is >= was, "{field} went from {was} to {is}");
            }
        }
    } else {
        let Act::Report(body, _) = act else {
            return Err(TestCaseError::fail("only a report starts an attempt"));
        };
        for field in ["step", "message"] {
            prop_assert_eq!(
                shown(after, field),
                body.get(field).cloned().unwrap_or_default()
            );
        }
        if body.get("total_count").is_none() {
            prop_assert_eq!(shown(after, "total_count"), shown(before, "total_count"));
        }
    }
    Ok(())
}

fn check_refusal(job: &Job, act: &Act, refusal: &Refusal) -> Result<(), TestCaseError> {
    match refusal {
        Refusal::Finished(state) => {
            prop_assert!(job.is_finished() && job.face.state == *state);
            if let Act::Report(body, _) = act {
                prop_assert_ne!(body["status"].as_str(), Some(state.as_str()));
            }
        }
        Refusal::StaleAttempt { reported, current } => {
            prop_assert!(reported < current && *current == job.face.attempt);
        }
        Refusal::Invalid(error) => {
            prop_assert_eq!(&error.field, "status");
            prop_assert_eq!(job.face.state, State::Processing);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_sequence_of_commands_keeps_the_rules(acts in acts(), total in prop::option::of(0..150_u64)) {
        let mut job = created(json!({"total_count": total, "fail_stalled_after_seconds": 100}));
        let mut now = 0;
        let mut model_count = 0;
        for (act, passed) in acts {
            now += passed;
            let Some(command) = command(&act, &job) else { continue };
            match applied(&job, &command, now) {
                Ok((next, is_status)) => {
                    prop_assert_eq!(&applied(&job, &command, now), &Ok((next.clone(), is_status)), "pure");
                    check_change(&job, &act, &next, is_status)?;
                    if !job.is_finished() {
                        counted(&job, &act, &next, &mut model_count);
                    }
                    job = next;
                }
                Err(refusal) => check_refusal(&job, &act, &refusal)?,
            }
            check_shape(&job)?;
            let count = shown(&job, "processed_count").as_u64().unwrap_or(0);
            prop_assert_eq!(count, model_count);
        }
    }

    /// Workers that know nothing of each other, in any order of arrival.
    #[test]
    fn increments_of_parallel_workers_add_up(
        (ordered, shuffled) in prop::collection::vec(1..1_000_u64, 1..40)
            .prop_flat_map(|increments| (Just(increments.clone()), Just(increments).prop_shuffle())),
    ) {
        let fold = |increments: &[u64]| {
            increments.iter().fold(created(json!({"total_count": 10_000})), |job, increment| {
                let increment = report(json!({"processed_increment": increment}));
                applied(&job, &increment, 1).expect("allowed").0
            })
        };
        let (one, other) = (fold(&ordered), fold(&shuffled));
        prop_assert_eq!(shown(&one, "processed_count"), ordered.iter().sum::<u64>());
        prop_assert_eq!(one.face, other.face);
    }
}
