//! A store that fails: what was stepped on a failed commit is refused, what was committed without
//! an answer is found again, and no deadline is lost.

use std::panic::{AssertUnwindSafe, catch_unwind};

use progressd::{
    job::Seq,
    registry::{Cursor, Gathering},
};
use serde_json::json;

use super::*;
use crate::support::staged_store::Fate;

fn is_store_error<T>(outcome: &Result<T, RegistryError>) -> bool {
    matches!(outcome, Err(RegistryError::Store(_)))
}

#[tokio::test]
async fn a_failed_commit_refuses_everything_stepped_on_it_and_shows_nothing() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    handle
        .apply(report(json!({"message": "before"})), None)
        .await
        .expect("committed");
    let live = watch(&handle).await;
    let before = handle.snapshot();
    stage.store.commits.shut();
    stage.store.plan(&[Fate::Done, Fate::Failed]);
    let first = handle.submit(report(json!({"message": "first"})), None);
    stage.store.commits.until_arrivals(2).await;
    let end = handle.submit(report(json!({"status": "completed"})), None);
    // Refused by the rules, but only because of the end that is not committed yet.
    let refused = handle.submit(events(0, 1), None);
    stage.store.commits.let_one_through();
    let first = first.await.expect("committed");
    stage.store.commits.open();
    assert!(is_store_error(&end.await));
    assert!(is_store_error(&refused.await));
    assert!(first.seq > before.job.seq);
    assert_eq!(handle.job().seq, first.seq);
    assert!(!handle.job().is_finished());
    assert_eq!(waiting(&live).len(), 1, "the first report alone");
    // The job goes on as if nothing had been said.
    handle.apply(events(0, 1), None).await.expect("committed");
    let ended = handle
        .apply(report(json!({"status": "completed"})), None)
        .await;
    assert!(ended.expect("committed").seq > first.seq);
    assert_eq!(event_numbers(&waiting(&live)), [0]);
}

#[tokio::test]
async fn a_lost_answer_is_found_in_the_store_and_shown_once() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let live = watch(&handle).await;
    stage.store.plan(&[Fate::AnswerLost]);
    let found = handle.apply(events(0, 2), None).await.expect("committed");
    assert_eq!(stage.store.committed(), 1, "it was not tried again");
    assert_eq!(found.seq, handle.job().seq);
    handle.apply(events(2, 1), None).await.expect("committed");
    let frames = waiting(&live);
    assert_eq!(event_numbers(&frames), [0, 1, 2]);
    assert!(frames.is_sorted_by_key(|frame| frame.seq));
    let attached = handle
        .attach(Cursor::At(Seq::ZERO))
        .await
        .expect("the store answers");
    assert_eq!(attached.missed.len(), 3, "the store has each once");
    assert!(found.seq < attached.snapshot.job.seq);
}

/// The same, where the store cannot even be read until the next report conflicts with it.
#[tokio::test]
async fn a_lost_answer_that_could_not_be_looked_up_is_adopted_by_the_next_report() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let live = watch(&handle).await;
    stage.store.plan(&[Fate::AnswerLost]);
    stage.store.set_unreadable(true);
    assert!(is_store_error(&handle.apply(events(0, 2), None).await));
    assert!(waiting(&live).is_empty());
    let before = handle.job().seq;
    // While in doubt nothing is done, and nothing is shown that might go back.
    assert!(is_store_error(&handle.apply(events(9, 1), None).await));
    assert_eq!(handle.job().seq, before);
    stage.store.set_unreadable(false);
    handle.apply(events(2, 1), None).await.expect("committed");
    let frames = waiting(&live);
    assert_eq!(event_numbers(&frames), [0, 1, 2]);
    assert!(frames.is_sorted_by_key(|frame| frame.seq));
}

#[tokio::test]
async fn a_repeat_after_a_lost_answer_changes_nothing() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    handle
        .apply(report(json!({})), None)
        .await
        .expect("committed");
    for is_unreadable in [false, true] {
        let before = handle.rows(0, 10).await.expect("the store answers").total;
        for (command, id) in [
            (
                report(json!({"processed_increment": 5})),
                format!("increment-{is_unreadable}"),
            ),
            (events(0, 1), format!("event-{is_unreadable}")),
            // Rows alone take no seq, so that no conflict tells of them.
            (row(1), format!("row-{is_unreadable}")),
        ] {
            let id = || Some(report_id(&id));
            stage.store.set_unreadable(is_unreadable);
            stage.store.plan(&[Fate::AnswerLost]);
            let lost = handle.apply(command.clone(), id()).await;
            assert_eq!(is_store_error(&lost), is_unreadable);
            stage.store.set_unreadable(false);
            let committed = stage.store.committed();
            let repeat = handle.apply(command.clone(), id()).await.expect("known");
            assert_eq!(
                stage.store.committed(),
                committed,
                "nothing was committed again"
            );
            assert_eq!(handle.apply(command, id()).await.expect("known"), repeat);
        }
        let after = handle.rows(0, 10).await.expect("the store answers").total;
        assert_eq!(after, before + 1);
    }
    assert_eq!(shown(&handle.job(), "processed_count"), 10);
}

#[tokio::test]
async fn a_lost_end_reaches_every_watcher_although_nobody_asks_again() {
    let stage = Stage::new();
    // Without a lease no deadline of the job's own would look at it for a week.
    let handle = stage
        .create(json!({"job_id": "j", "lease_seconds": 0}))
        .await;
    let live = watch(&handle).await;
    stage.store.plan(&[Fate::AnswerLost]);
    stage.store.set_unreadable(true);
    let end = report(json!({"status": "completed"}));
    assert!(is_store_error(&handle.apply(end, None).await));
    assert!(!handle.job().is_finished());
    stage.store.set_unreadable(false);
    let frames = until(&live, is_terminal).await;
    assert_eq!(frames.len(), 1);
    assert!(stage.find("j").await.expect("finished").job().is_finished());
}

#[tokio::test]
async fn a_deadline_whose_commit_failed_comes_again() {
    let stage = Stage::new();
    let handle = stage
        .create(json!({"job_id": "j", "lease_seconds": 1}))
        .await;
    let live = watch(&handle).await;
    handle
        .apply(report(json!({})), None)
        .await
        .expect("committed");
    stage.store.plan(&[Fate::Failed]);
    until(&live, |frame| text(frame).contains("\"stalled\":true")).await;
    assert!(handle.job().face.stalled);
}

#[tokio::test]
async fn a_removal_whose_answer_was_lost_is_a_removal() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    stage.store.plan(&[Fate::Failed]);
    assert!(is_store_error(&handle.remove().await));
    handle
        .apply(report(json!({})), None)
        .await
        .expect("still there");
    stage.store.plan(&[Fate::AnswerLost]);
    assert!(is_store_error(&handle.remove().await));
    assert!(matches!(
        handle.apply(report(json!({})), None).await,
        Err(RegistryError::Gone)
    ));
    assert!(matches!(stage.find("j").await, Err(RegistryError::Gone)));
}

#[tokio::test]
async fn a_commit_that_panics_leaves_nobody_behind_it_without_an_answer() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let live = watch(&handle).await;
    let increment = || report(json!({"processed_increment": 1}));
    stage.store.commits.shut();
    stage.store.plan(&[Fate::Panics]);
    let first = handle.submit(increment(), None);
    stage.store.commits.until_arrivals(1).await;
    let queued = [increment(), events(0, 1)].map(|command| handle.submit(command, None));
    stage.store.commits.open();
    for answer in [first].into_iter().chain(queued) {
        let answer = in_time("an answer", answer).await;
        assert!(matches!(answer, Err(RegistryError::Interrupted)));
    }
    assert!(waiting(&live).is_empty());
    // The job goes on as if nothing had been said.
    let next = in_time("an answer", handle.apply(increment(), None)).await;
    assert_eq!(next.expect("committed").seq, handle.job().seq);
    assert_eq!(shown(&handle.job(), "processed_count"), 1);
    assert_eq!(waiting(&live).len(), 1);
}

#[tokio::test]
async fn a_commit_that_panics_on_the_spot_takes_no_other_job_with_it_that_was_gathered() {
    let stage = Stage::new();
    let increment = || report(json!({"processed_increment": 1}));
    let handles = [
        stage.create(json!({"job_id": "a"})).await,
        stage.create(json!({"job_id": "b"})).await,
    ];
    // By word and by drop, which may be the end of a request that panicked itself.
    for (round, is_told) in [true, false].into_iter().enumerate() {
        stage.store.plan(&[Fate::Panics]);
        let mut gathering = Gathering::default();
        let [first, second] = [&handles[0], &handles[1]]
            .map(|handle| handle.submit_into(&mut gathering, increment(), None));
        if is_told {
            gathering.begin();
        } else {
            let panic = catch_unwind(AssertUnwindSafe(|| {
                let _gathering = gathering;
                panic!("while something is gathered");
            }));
            panic.expect_err("it panicked");
        }
        let first = in_time("an answer", first).await;
        assert!(matches!(first, Err(RegistryError::Interrupted)));
        in_time("an answer", second).await.expect("committed");
        for handle in &handles {
            let next = in_time("an answer", handle.apply(increment(), None)).await;
            next.expect("committed");
        }
        let counts = handles
            .each_ref()
            .map(|handle| shown(&handle.job(), "processed_count"));
        assert_eq!(counts, [round + 1, 2 * round + 2]);
    }
}

#[tokio::test]
async fn a_conflict_with_another_node_is_adopted_and_the_report_applied_on_top() {
    let stage = Stage::new();
    let here = stage.create(json!({"job_id": "j"})).await;
    let other_node = stage.beside();
    let there = other_node.find("j").await.expect("there");
    let live = watch(&here).await;
    for round in 0..5 {
        there
            .apply(events(2 * round, 1), None)
            .await
            .expect("committed");
        there
            .apply(report(json!({"processed_increment": 1})), None)
            .await
            .expect("committed");
        here.apply(report(json!({"processed_increment": 1})), None)
            .await
            .expect("committed");
        here.apply(events(2 * round + 1, 1), None)
            .await
            .expect("committed");
    }
    let frames = waiting(&live);
    assert_eq!(event_numbers(&frames), (0..10).collect::<Vec<_>>());
    assert!(frames.is_sorted_by_key(|frame| frame.seq));
    assert_eq!(shown(&here.job(), "processed_count"), 10);
    // The other one ends the job: here its end is shown, and nothing follows it.
    there
        .apply(report(json!({"status": "completed"})), None)
        .await
        .expect("committed");
    let late = here
        .apply(report(json!({"processed_increment": 1})), None)
        .await;
    assert!(matches!(late, Err(RegistryError::Refused(_))));
    let frames = waiting(&live);
    assert!(frames.len() == 1 && is_terminal(&frames[0]));
}

#[tokio::test]
async fn events_that_were_dropped_before_they_could_be_adopted_are_told_as_a_gap() {
    let limits = MemoryLimits {
        events_per_job: 3,
        ..roomy_limits()
    };
    let stage = Stage::with(roomy_settings(), limits);
    let handle = stage.create(json!({"job_id": "j"})).await;
    let live = watch(&handle).await;
    let seen = handle.job().seq;
    stage.store.plan(&[Fate::AnswerLost]);
    stage.store.set_unreadable(true);
    assert!(is_store_error(&handle.apply(events(0, 10), None).await));
    stage.store.set_unreadable(false);
    handle
        .apply(report(json!({})), None)
        .await
        .expect("answered");
    let mut frames = Vec::new();
    let received = poll_fn(|context| live.poll_receive(context, &mut frames)).await;
    assert_eq!(received, Received::Lagged);
    let attached = handle
        .catch_up(live, seen)
        .await
        .expect("the store answers");
    assert!(attached.has_gap);
    assert_eq!(attached.missed.len(), 3);
    let live = attached.live.expect("unfinished");
    handle.apply(events(10, 1), None).await.expect("committed");
    assert_eq!(event_numbers(&waiting(&live)), [10]);
}
