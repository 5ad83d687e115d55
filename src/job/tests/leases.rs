//! Time alone: stalling, failing after a stall, abandonment, and the alarms for them.

use proptest::prelude::*;
use serde_json::json;

use super::{TICK, after, applied, at, created, new_job, report, shown};
use crate::job::{Command, Job, State};

fn ticked(job: &Job, seconds: u64) -> Job {
    applied(job, &TICK, seconds).expect("time passes").0
}

#[test]
fn a_processing_job_stalls_when_its_lease_is_over_and_not_before() {
    let job = after(created(json!({"lease_seconds": 10})), [json!({})]);
    assert_eq!(job.next_deadline(), Some(at(11)));
    assert_eq!(ticked(&job, 10), job);
    let stalled = ticked(&job, 11);
    assert!(stalled.face.stalled);
    assert_eq!(stalled.face.state, State::Processing);
    assert_eq!(stalled.updated_at, at(11));
    assert_eq!(ticked(&stalled, 12), stalled);
}

#[test]
fn the_default_lease_is_that_of_the_configuration() {
    let job = after(new_job(), [json!({})]);
    assert_eq!(job.next_deadline(), Some(at(61)));
}

#[test]
fn any_report_clears_the_stall_and_renews_the_lease() {
    let job = after(created(json!({"lease_seconds": 10})), [json!({})]);
    let stalled = ticked(&job, 20);
    let (alive, is_status) = applied(&stalled, &report(json!({})), 25).expect("a sign of life");
    assert!(is_status);
    assert!(!alive.face.stalled);
    assert_eq!(alive.next_deadline(), Some(at(35)));
}

#[test]
fn asking_for_cancellation_is_no_sign_of_life() {
    let job = after(created(json!({"lease_seconds": 10})), [json!({})]);
    let stalled = ticked(&job, 20);
    let (asked, _) = applied(&stalled, &Command::Cancel, 25).expect("allowed");
    assert!(asked.face.stalled);
    assert_eq!(asked.reported_at, at(1));
}

#[test]
fn without_a_lease_and_while_pending_nothing_stalls() {
    let job = after(created(json!({"lease_seconds": 0})), [json!({})]);
    assert_eq!(ticked(&job, 100_000), job);
    let pending = created(json!({"lease_seconds": 10}));
    assert_eq!(ticked(&pending, 100_000), pending);
}

#[test]
fn a_stalled_job_fails_when_asked_to() {
    let body = json!({"lease_seconds": 10, "fail_stalled_after_seconds": 5});
    let job = after(created(body), [json!({"message": "at it"})]);
    let stalled = ticked(&job, 11);
    assert_eq!(stalled.next_deadline(), Some(at(16)));
    let failed = ticked(&stalled, 16);
    assert_eq!(failed.face.state, State::Failed);
    assert!(!failed.face.stalled, "only a processing job is stalled");
    assert_eq!(shown(&failed, "error")["code"], "STALLED");
    assert_eq!(shown(&failed, "message"), "at it");
    // An alarm that comes late does both at once.
    assert_eq!(ticked(&job, 16).face, failed.face);
}

#[test]
fn failing_at_once_when_stalled_is_allowed() {
    let body = json!({"lease_seconds": 10, "fail_stalled_after_seconds": 0});
    let failed = ticked(&after(created(body), [json!({})]), 11);
    assert_eq!(shown(&failed, "error")["code"], "STALLED");
}

#[test]
fn a_job_without_any_report_is_given_up() {
    const WEEK: u64 = 7 * 86_400;
    let pending = new_job();
    assert_eq!(pending.next_deadline(), Some(at(WEEK)));
    assert_eq!(ticked(&pending, WEEK - 1), pending);
    let failed = ticked(&pending, WEEK);
    assert_eq!(failed.face.state, State::Failed);
    assert_eq!(shown(&failed, "error")["code"], "ABANDONED");
    // A report in between starts the week anew.
    let reported = after(created(json!({"lease_seconds": 0})), [json!({})]);
    assert_eq!(ticked(&reported, WEEK), reported);
    assert_eq!(ticked(&reported, WEEK + 1).face.state, State::Failed);
}

#[test]
fn silence_while_no_report_could_be_taken_is_not_the_workers() {
    let job = after(
        created(json!({"lease_seconds": 10, "fail_stalled_after_seconds": 5})),
        [json!({})],
    );
    // Back after 100 seconds: the lease begins anew, and so does what comes after it.
    let back = Command::Tick { since: at(100) };
    let ticked = |seconds| applied(&job, &back, seconds).expect("time passes").0;
    assert_eq!(ticked(101), job);
    assert_eq!(job.next_deadline_since(at(100)), Some(at(110)));
    assert!(ticked(110).face.stalled);
    assert_eq!(ticked(115).face.state, State::Failed);
    // A report since then counts for itself.
    let (later, _) = applied(&job, &report(json!({})), 108).expect("allowed");
    assert_eq!(later.next_deadline_since(at(100)), Some(at(118)));
}

#[test]
fn an_abandonment_of_zero_seconds_is_never() {
    let mut job = new_job();
    let mut origin = (*job.origin).clone();
    origin.abandon_after_seconds = 0;
    job.origin = origin.into();
    assert_eq!(job.next_deadline(), None);
    assert_eq!(ticked(&job, 1_000_000_000), job);
}

proptest! {
    /// The timers look at a job at its deadline only: that must do something, and end.
    #[test]
    fn a_tick_at_the_deadline_always_does_something(
        lease in 0..100_u64, fail_after in prop::option::of(0..100_u64), abandon in 0..200_u64,
        is_processing: bool, away in 0..300_u64,
    ) {
        let since = at(away);
        let body = json!({"lease_seconds": lease, "fail_stalled_after_seconds": fail_after});
        let mut job = created(body);
        let mut origin = (*job.origin).clone();
        origin.abandon_after_seconds = abandon;
        job.origin = origin.into();
        if is_processing {
            job = after(job, [json!({})]);
        }
        let mut ticks = 0;
        while let Some(deadline) = job.next_deadline_since(since) {
            let bounds = crate::job::Bounds::default();
            let change = crate::job::step(&job, &Command::Tick { since }, &bounds, deadline).expect("time passes");
            prop_assert!(change.is_status, "nothing happened at {deadline}");
            prop_assert!(change.job.next_deadline_since(since).is_none_or(|next| next >= deadline));
            job = change.job;
            ticks += 1;
            prop_assert!(ticks <= 3);
        }
    }
}
