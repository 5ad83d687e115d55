//! Joining at every cut: state, missed events and live frames together are the whole story.

use progressd::{
    frame::{Ending, FrameKind, event_block},
    hub::Subscription,
    job::{Command, Seq},
    registry::{Attachment, Cursor, JobHandle},
};
use serde_json::json;
use tokio::task::JoinHandle;

use super::*;

/// Changes of every sort; the first moves the job out of `pending` by an event.
fn story() -> Vec<Command> {
    let mut story = vec![
        events(0, 1),
        report(json!({"processed_count": 1, "total_count": 10})),
        report(json!({"step": "one"})),
        events(1, 3),
        report(json!({"processed_increment": 2, "message": "m"})),
        Command::Cancel,
        events(4, 1),
        events(5, 1),
        report(json!({"attempt": 2, "status": "pending"})),
        report(json!({"data": {"a": 1}})),
        events(6, 2),
        report(json!({"status": "failed", "error": "boom"})),
    ];
    // A report that changes nothing leaves no trace in any story.
    story.insert(4, report(json!({})));
    story
}

struct Watcher {
    cursor: Cursor,
    attached: Attachment,
}

async fn attach(handle: &JobHandle, cursor: Cursor) -> Watcher {
    let attached = handle.attach(cursor).await.expect("the store answers");
    Watcher { cursor, attached }
}

/// Checks a watcher against the frames of one that was there from the beginning.
fn check(watcher: &Watcher, whole: &[Frame]) {
    let Watcher { cursor, attached } = watcher;
    let state = attached.snapshot.job.seq;
    let after = match cursor {
        Cursor::Absent => state,
        Cursor::At(cursor) if *cursor <= state => *cursor,
        Cursor::At(_) | Cursor::Malformed => Seq::ZERO,
    };
    assert!(!attached.has_gap && !attached.is_over);
    let missed: Vec<_> = attached.missed.iter().map(event_block).collect();
    let is_missed =
        |frame: &&Frame| frame.kind == FrameKind::Event && frame.seq > after && frame.seq <= state;
    let expected: Vec<_> = whole.iter().filter(is_missed).map(text).collect();
    assert_eq!(missed, expected, "missed by {cursor:?} at {state}");

    let live = attached.live.as_ref().expect("the job was unfinished");
    // As a stream does: what the snapshot tells of already falls away.
    let live: Vec<_> = waiting(live)
        .into_iter()
        .filter(|frame| frame.seq > state)
        .map(|frame| text(&frame).to_owned())
        .collect();
    let expected: Vec<_> = whole
        .iter()
        .filter(|frame| frame.seq > state)
        .map(text)
        .collect();
    assert_eq!(live, expected, "live for {cursor:?} at {state}");
}

#[tokio::test]
async fn a_watcher_may_join_at_every_cut_with_every_cursor() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let first = attach(&handle, Cursor::Absent).await;
    let mut positions = vec![Seq::ZERO, handle.job().seq];
    let mut watchers = Vec::new();
    for command in story() {
        for cursor in positions.iter().map(|seq| Cursor::At(*seq)) {
            watchers.push(attach(&handle, cursor).await);
        }
        watchers.push(attach(&handle, Cursor::Absent).await);
        watchers.push(attach(&handle, Cursor::Malformed).await);
        watchers.push(attach(&handle, Cursor::At(handle.job().seq.plus(1))).await);
        let answer = handle.apply(command, None).await.expect("allowed");
        positions.push(answer.seq);
    }
    assert_eq!(handle.watchers(), watchers.len() + 1);
    let live = first.attached.live.as_ref().expect("unfinished");
    let whole = waiting(live);
    assert!(is_terminal(whole.last().expect("frames")));
    assert_eq!(whole.iter().filter(|frame| is_terminal(frame)).count(), 1);
    assert_eq!(event_numbers(&whole), [0, 1, 2, 3, 4, 5, 6, 7]);
    let ids: Vec<u64> = whole
        .iter()
        .flat_map(|frame| {
            text(frame)
                .lines()
                .filter_map(|line| line.strip_prefix("id: "))
        })
        .map(|id| id.parse().expect("a seq"))
        .collect();
    assert!(ids.is_sorted_by(|before, after| before < after), "{ids:?}");
    for watcher in &watchers {
        check(watcher, &whole);
    }
    drop((first, watchers));
    assert_eq!(handle.watchers(), 0);
}

#[tokio::test]
async fn a_finished_job_answers_every_cursor_and_lets_nobody_wait() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let created = handle.job().seq;
    for command in story() {
        handle.apply(command, None).await.expect("allowed");
    }
    // Both the slot that saw the end and one that the store answers for.
    for handle in [handle, stage.find("j").await.expect("finished")] {
        let end = handle.job().seq;
        for (cursor, missed, is_over) in [
            (Cursor::Absent, 0, false),
            (Cursor::Malformed, 0, false),
            (Cursor::At(end.plus(1)), 0, false),
            (Cursor::At(end), 0, true),
            (Cursor::At(Seq::ZERO), 8, false),
            (Cursor::At(created), 8, false),
        ] {
            let attached = handle.attach(cursor).await.expect("the store answers");
            assert_eq!(attached.missed.len(), missed, "{cursor:?}");
            assert_eq!(attached.is_over, is_over, "{cursor:?}");
            assert!(attached.live.is_none() && !attached.has_gap);
            assert_eq!(attached.snapshot.job.seq, end);
        }
        assert_eq!(handle.watchers(), 0);
    }
}

/// An attachment that stands between its two steps: it has joined and has not yet read the events.
async fn attach_half(stage: &Stage, handle: &JobHandle, cursor: Cursor) -> JoinHandle<Attachment> {
    stage.store.event_reads.shut();
    let arrivals = stage.store.event_reads.arrivals();
    let handle = handle.clone();
    let attaching =
        tokio::spawn(async move { handle.attach(cursor).await.expect("the store answers") });
    stage.store.event_reads.until_arrivals(arrivals + 1).await;
    attaching
}

#[tokio::test]
async fn what_happens_between_joining_and_reading_comes_once_and_live() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    handle.apply(events(0, 2), None).await.expect("allowed");
    let attaching = attach_half(&stage, &handle, Cursor::At(Seq::ZERO)).await;
    handle.apply(events(2, 2), None).await.expect("allowed");
    handle
        .apply(report(json!({"status": "completed"})), None)
        .await
        .expect("allowed");
    stage.store.event_reads.open();
    let attached = attaching.await.expect("attached");
    let missed: Vec<_> = attached
        .missed
        .iter()
        .map(|event| event.data.as_str())
        .collect();
    assert_eq!(missed, ["0", "1"]);
    assert_eq!(
        attached.snapshot.job.face.state,
        progressd::job::State::Processing
    );
    let frames = waiting(attached.live.as_ref().expect("unfinished when it joined"));
    assert_eq!(event_numbers(&frames), [2, 3]);
    assert!(is_terminal(frames.last().expect("frames")));
}

#[tokio::test]
async fn events_that_are_dropped_between_joining_and_reading_are_told_as_a_gap() {
    let limits = MemoryLimits {
        events_per_job: 2,
        ..roomy_limits()
    };
    let stage = Stage::with(roomy_settings(), limits);
    let handle = stage.create(json!({"job_id": "j"})).await;
    handle.apply(events(0, 2), None).await.expect("allowed");
    let attaching = attach_half(&stage, &handle, Cursor::At(Seq::ZERO)).await;
    handle.apply(events(2, 2), None).await.expect("allowed");
    stage.store.event_reads.open();
    let attached = attaching.await.expect("attached");
    assert!(attached.has_gap);
    assert!(attached.missed.is_empty());
    let frames = waiting(attached.live.as_ref().expect("unfinished"));
    assert_eq!(event_numbers(&frames), [2, 3]);
}

#[tokio::test]
async fn a_poll_is_answered_by_news_or_at_once_when_there_is_some() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let created = handle.job().seq;
    let polling = tokio::spawn({
        let handle = handle.clone();
        async move { handle.wait(created, Duration::from_secs(60)).await }
    });
    while handle.watchers() == 0 {
        tokio::task::yield_now().await;
    }
    let answer = handle
        .apply(report(json!({"message": "news"})), None)
        .await
        .expect("allowed");
    let snapshot = polling.await.expect("no panic").expect("the job is there");
    assert_eq!(snapshot.job.seq, answer.seq);
    // With something newer than the poll knows, and none to come, there is nothing to wait for.
    let again = handle
        .wait(created, Duration::from_secs(60))
        .await
        .expect("the job is there");
    assert_eq!(again.json, snapshot.json);
    // Patience without news ends with what is there.
    let same = handle
        .wait(answer.seq, Duration::ZERO)
        .await
        .expect("the job is there");
    assert_eq!(same.job.seq, answer.seq);
    assert_eq!(handle.watchers(), 0);
}

#[tokio::test]
async fn a_poll_learns_of_the_end_and_of_a_removal() {
    for is_removal in [false, true] {
        let stage = Stage::new();
        let handle = stage.create(json!({"job_id": "j"})).await;
        let polling = tokio::spawn({
            let handle = handle.clone();
            async move { handle.wait(handle.job().seq, Duration::from_secs(60)).await }
        });
        while handle.watchers() == 0 {
            tokio::task::yield_now().await;
        }
        if is_removal {
            handle.remove().await.expect("the store answers");
            let outcome = polling.await.expect("no panic");
            assert!(matches!(outcome, Err(RegistryError::Gone)));
        } else {
            handle
                .apply(report(json!({"status": "completed"})), None)
                .await
                .expect("allowed");
            let snapshot = polling.await.expect("no panic").expect("the job is there");
            assert!(snapshot.job.is_finished());
            let later = handle.wait(snapshot.job.seq, Duration::from_secs(60)).await;
            assert_eq!(later.expect("answered at once").json, snapshot.json);
        }
    }
}

#[tokio::test]
async fn draining_tells_those_who_watch_and_those_who_join() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let live = |attached: Attachment| -> Subscription { attached.live.expect("unfinished") };
    let before = live(
        handle
            .attach(Cursor::Absent)
            .await
            .expect("the store answers"),
    );
    stage.registry.drain();
    let kinds: Vec<_> = waiting(&before).iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [FrameKind::Ending(Ending::Draining)]);
    let late = stage.create(json!({"job_id": "late"})).await;
    for handle in [&handle, &late] {
        let attached = handle
            .attach(Cursor::Absent)
            .await
            .expect("the store answers");
        assert_eq!(attached.snapshot.ending, Some(Ending::Draining));
        // Work goes on until the server is gone.
        handle
            .apply(report(json!({})), None)
            .await
            .expect("allowed");
    }
    assert!(stage.registry.is_draining());
}

#[tokio::test]
async fn when_all_have_left_no_frame_is_held() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let quick = attach(&handle, Cursor::Absent).await;
    let slow = attach(&handle, Cursor::Absent).await;
    handle.apply(events(0, 5), None).await.expect("allowed");
    let frames = waiting(quick.attached.live.as_ref().expect("unfinished"));
    assert!(
        !frames[0].bytes.is_unique(),
        "the slow watcher has still to read it"
    );
    drop(quick);
    assert_eq!(handle.watchers(), 1);
    drop(slow);
    assert_eq!(handle.watchers(), 0);
    for frame in frames {
        assert!(frame.bytes.is_unique(), "the ring holds a frame for nobody");
    }
}
