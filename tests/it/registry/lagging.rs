//! Falling behind: nothing is lost while it is kept, and what is not kept any more is told.

use progressd::{
    job::Seq,
    registry::{Attachment, Cursor},
};
use serde_json::json;

use super::*;

/// More frames than wait for a slow watcher.
const TOO_MANY: usize = 8_300;

/// A stage that keeps them all.
fn keeping_all() -> Stage {
    let limits = MemoryLimits {
        events_per_job: 2 * TOO_MANY,
        event_bytes_per_job: 1 << 24,
        ..roomy_limits()
    };
    Stage::with(roomy_settings(), limits)
}

/// `TOO_MANY` events, some with each commit.
async fn pass_by(handle: &JobHandle) {
    for first in (0..TOO_MANY).step_by(100) {
        let committed = handle.apply(events(first, 100), None).await;
        committed.expect("committed");
    }
}

/// A watcher that joined, and read nothing while `TOO_MANY` events passed by.
async fn lagging(stage: &Stage) -> (JobHandle, Attachment, Seq) {
    let handle = stage.create(json!({"job_id": "j"})).await;
    let attached = handle
        .attach(Cursor::Absent)
        .await
        .expect("the store answers");
    let seen = attached.snapshot.job.seq;
    pass_by(&handle).await;
    let live = attached.live.expect("unfinished");
    let mut frames = Vec::new();
    let received = poll_fn(|context| live.poll_receive(context, &mut frames)).await;
    assert_eq!((received, frames.len()), (Received::Lagged, 0));
    let attached = handle
        .catch_up(live, seen)
        .await
        .expect("the store answers");
    assert_eq!(attached.snapshot.job.seq, handle.job().seq);
    (handle, attached, seen)
}

fn numbers(attached: &Attachment) -> Vec<usize> {
    let number = |event: &progressd::job::Event| event.data.as_str().parse().expect("a number");
    attached.missed.iter().map(number).collect()
}

#[tokio::test]
async fn a_watcher_that_lagged_gets_every_kept_event_and_goes_on() {
    let stage = keeping_all();
    let (handle, attached, _) = lagging(&stage).await;
    assert!(!attached.has_gap);
    assert_eq!(numbers(&attached), (0..TOO_MANY).collect::<Vec<_>>());
    let live = attached.live.expect("unfinished");
    assert!(waiting(&live).is_empty());
    handle
        .apply(events(TOO_MANY, 2), None)
        .await
        .expect("committed");
    assert_eq!(event_numbers(&waiting(&live)), [TOO_MANY, TOO_MANY + 1]);
    drop(live);
    assert_eq!(handle.watchers(), 0);
}

#[tokio::test]
async fn a_watcher_that_lagged_too_far_is_told_of_the_gap() {
    let limits = MemoryLimits {
        events_per_job: 50,
        ..roomy_limits()
    };
    let stage = Stage::with(roomy_settings(), limits);
    let (_, attached, _) = lagging(&stage).await;
    assert!(attached.has_gap);
    assert_eq!(
        numbers(&attached),
        (TOO_MANY - 50..TOO_MANY).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_watcher_that_lagged_past_the_end_gets_the_last_status() {
    let stage = keeping_all();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let seen = handle.job().seq;
    let live = watch(&handle).await;
    pass_by(&handle).await;
    handle
        .apply(report(json!({"status": "completed"})), None)
        .await
        .expect("committed");
    let attached = handle
        .catch_up(live, seen)
        .await
        .expect("the store answers");
    assert!(attached.snapshot.job.is_finished());
    assert_eq!(attached.missed.len(), TOO_MANY);
    assert!(attached.live.is_none() && !attached.has_gap);
    assert_eq!(handle.watchers(), 0);
}

#[tokio::test]
async fn large_events_let_a_watcher_lag_by_their_bytes() {
    let stage = keeping_all();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let seen = handle.job().seq;
    let live = watch(&handle).await;
    for _ in 0..40 {
        let large = NewEvent {
            name: EventName::parse("large").expect("a valid name"),
            data: Json::of(&"x".repeat(60_000)).expect("a string serializes"),
        };
        handle
            .apply(Command::Events(vec![large]), None)
            .await
            .expect("committed");
    }
    let mut frames = Vec::new();
    let received = poll_fn(|context| live.poll_receive(context, &mut frames)).await;
    assert_eq!(received, Received::Lagged);
    let attached = handle
        .catch_up(live, seen)
        .await
        .expect("the store answers");
    assert_eq!((attached.missed.len(), attached.has_gap), (40, false));
}

#[tokio::test]
async fn kept_events_are_bounded_in_number_in_bytes_and_in_all() {
    for limits in [
        MemoryLimits {
            events_per_job: 10,
            ..roomy_limits()
        },
        // Each weighs its name and its number, and the 128 bytes that any event costs.
        MemoryLimits {
            event_bytes_per_job: 1_400,
            ..roomy_limits()
        },
        MemoryLimits {
            event_bytes: 1_400,
            ..roomy_limits()
        },
    ] {
        let stage = Stage::with(roomy_settings(), limits);
        let handle = stage.create(json!({"job_id": "j"})).await;
        let created = handle.job().seq;
        let answer = handle.apply(events(10, 80), None).await.expect("committed");
        let attached = handle
            .attach(Cursor::At(created))
            .await
            .expect("the store answers");
        assert!(attached.has_gap);
        assert_eq!(
            numbers(&attached),
            (80..90).collect::<Vec<_>>(),
            "{limits:?}"
        );
        // Who has seen what was dropped misses nothing.
        let position = attached.missed[0].seq;
        let attached = handle
            .attach(Cursor::At(position))
            .await
            .expect("the store answers");
        assert_eq!((attached.missed.len(), attached.has_gap), (9, false));
        let attached = handle
            .attach(Cursor::At(answer.seq))
            .await
            .expect("the store answers");
        assert_eq!((attached.missed.len(), attached.has_gap), (0, false));
        // A new watcher asks for nothing that was.
        let attached = handle
            .attach(Cursor::Absent)
            .await
            .expect("the store answers");
        assert_eq!((attached.missed.len(), attached.has_gap), (0, false));
    }
}
