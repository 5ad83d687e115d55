//! One commit at a time: nothing before it, what arrives meanwhile folds into the next, and a
//! client that leaves takes nothing with it.

use futures_util::{FutureExt as _, future::join_all};
use progressd::{
    frame::{Ending, FrameKind},
    job::State,
    registry::{Cursor, Gathering},
};
use serde_json::json;

use super::*;
use crate::support::staged_store::{Call, Fate};

#[tokio::test]
async fn nothing_is_shown_or_answered_before_its_commit() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let live = watch(&handle).await;
    let before = handle.snapshot();
    stage.store.commits.shut();
    let mut report_answer = handle.submit(report(json!({"message": "m"})), None);
    let mut event_answer = handle.submit(events(0, 1), None);
    stage.store.commits.until_arrivals(1).await;
    for handle in [&handle, &stage.find("j").await.expect("there")] {
        assert_eq!(handle.snapshot().json, before.json);
        let attached = handle
            .attach(Cursor::At(before.job.seq))
            .await
            .expect("joined");
        assert_eq!(attached.snapshot.job.seq, before.job.seq);
        assert!(attached.missed.is_empty());
        let waited = handle
            .wait(before.job.seq, Duration::ZERO)
            .await
            .expect("there");
        assert_eq!(waited.json, before.json);
    }
    assert!(waiting(&live).is_empty());
    assert!((&mut report_answer).now_or_never().is_none());
    assert!((&mut event_answer).now_or_never().is_none());

    stage.store.commits.open();
    let report_answer = report_answer.await.expect("committed");
    let event_answer = event_answer.await.expect("committed");
    assert!(before.job.seq < report_answer.seq && report_answer.seq < event_answer.seq);
    assert_eq!(handle.job().seq, event_answer.seq);
    let kinds: Vec<_> = waiting(&live).iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [FrameKind::Status, FrameKind::Event]);
}

#[tokio::test]
async fn what_arrives_during_a_commit_folds_into_the_next() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    stage.store.commits.shut();
    let first = handle.submit(report(json!({"processed_increment": 1})), None);
    stage.store.commits.until_arrivals(1).await;
    let mut others: Vec<_> = (0..100)
        .map(|_| handle.submit(report(json!({"processed_increment": 1})), None))
        .collect();
    others.push(handle.submit(events(0, 3), None));
    stage.store.commits.open();
    first.await.expect("committed");
    let answers = join_all(others).await;
    let seqs: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.expect("committed").seq)
        .collect();
    assert!(
        seqs.is_sorted_by(|before, after| before < after),
        "each change has a seq of its own"
    );
    assert_eq!(stage.store.committed(), 2);
    assert_eq!(shown(&handle.job(), "processed_count"), 101);
}

#[tokio::test]
async fn what_is_gathered_is_one_commit_for_each_job_in_the_order_in_which_it_came() {
    let stage = Stage::new();
    let handles = [
        stage.create(json!({"job_id": "a"})).await,
        stage.create(json!({"job_id": "b"})).await,
    ];
    let mut gathering = Gathering::default();
    let mut answers = Vec::new();
    for number in 0..100 {
        let report = report(json!({"message": number.to_string()}));
        answers.push(handles[number % 2].submit_into(&mut gathering, report, None));
    }
    // Somebody else's report comes in its place among them.
    let other = handles[0].submit(report(json!({"message": "other"})), None);
    assert!(
        answers
            .iter_mut()
            .all(|answer| answer.try_answer().is_none())
    );
    gathering.begin();
    let mut seqs = [Vec::new(), Vec::new()];
    for (number, answer) in answers.iter_mut().enumerate() {
        let answer = answer.try_answer().expect("done on the spot");
        seqs[number % 2].push(answer.expect("committed").seq);
    }
    for seqs in &seqs {
        assert!(seqs.is_sorted_by(|before, after| before < after));
    }
    assert!(other.await.expect("committed").seq > seqs[0][49]);
    assert_eq!(shown(&handles[0].job(), "message"), "other");
    assert_eq!(shown(&handles[1].job(), "message"), "99");
    assert_eq!(stage.store.committed(), 2);
}

#[tokio::test]
async fn what_was_gathered_begins_when_whoever_did_it_has_left() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let mut gathering = Gathering::default();
    let answer = handle.submit_into(&mut gathering, report(json!({"message": "m"})), None);
    drop(gathering);
    answer.await.expect("committed");
    let answer = handle.apply(report(json!({"message": "n"})), None).await;
    answer.expect("the desk is free");
}

#[tokio::test]
async fn fold_takes_no_more_bytes_than_a_store_does_beside_its_other_work() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    stage.store.commits.shut();
    let send = || {
        let big = json!({"big": "x".repeat(1024 * 1024)});
        let row = Json::of(&big).expect("an object serializes");
        handle.submit(Command::Rows(vec![row]), None)
    };
    let first = send();
    stage.store.commits.until_arrivals(1).await;
    let rest: Vec<_> = (0..5).map(|_| send()).collect();
    stage.store.commits.open();
    first.await.expect("committed");
    for answer in join_all(rest).await {
        answer.expect("committed");
    }
    // The first alone, then two megabytes at a time.
    assert_eq!(stage.store.committed(), 4);
}

#[tokio::test]
async fn without_a_pace_each_of_the_reports_that_folded_is_shown_between_its_events() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let live = watch(&handle).await;
    stage.store.commits.shut();
    let first = handle.submit(report(json!({"processed_count": 1})), None);
    stage.store.commits.until_arrivals(1).await;
    let others = [
        handle.submit(report(json!({"processed_count": 2})), None),
        handle.submit(events(0, 2), None),
        handle.submit(report(json!({"processed_count": 3})), None),
    ];
    stage.store.commits.open();
    first.await.expect("committed");
    join_all(others).await;
    assert_eq!(stage.store.committed(), 2);
    let frames = waiting(&live);
    let kinds: Vec<_> = frames.iter().map(|frame| frame.kind).collect();
    let (status, event) = (FrameKind::Status, FrameKind::Event);
    assert_eq!(kinds, [status, status, event, event, status]);
    assert!(frames.is_sorted_by(|before, after| before.seq < after.seq));
}

#[tokio::test]
async fn no_more_than_one_commit_is_in_flight() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    stage.store.commits.shut();
    let answers: Vec<_> = (0..5)
        .map(|number| handle.submit(events(number, 1), None))
        .collect();
    stage.store.commits.until_arrivals(1).await;
    let more: Vec<_> = (5..10)
        .map(|number| handle.submit(events(number, 1), None))
        .collect();
    // Other jobs do not wait for this one.
    let other = stage.create(json!({"job_id": "other"})).await;
    let other_answer = other.submit(report(json!({})), None);
    stage.store.commits.until_arrivals(2).await;
    assert_eq!(stage.store.commits.arrivals(), 2, "one of each job");
    stage.store.commits.open();
    for answer in answers.into_iter().chain(more).chain([other_answer]) {
        answer.await.expect("committed");
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_no_commit_with_it() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let live = watch(&handle).await;
    stage.store.commits.shut();
    let leaving = tokio::spawn({
        let handle = handle.clone();
        async move { handle.apply(events(0, 1), None).await }
    });
    stage.store.commits.until_arrivals(1).await;
    drop(handle.submit(events(1, 1), None));
    leaving.abort();
    assert!(leaving.await.expect_err("aborted").is_cancelled());
    drop(handle.submit(report(json!({"status": "completed"})), None));
    stage.store.commits.open();
    let frames = until(&live, is_terminal).await;
    assert_eq!(event_numbers(&frames), [0, 1]);
}

#[tokio::test]
async fn a_repeat_is_answered_as_the_first_was_wherever_that_is() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let increment = || report(json!({"processed_increment": 5}));
    let id = || Some(report_id("r"));
    stage.store.commits.shut();
    // The first in flight, a repeat in the next batch, and a pair of twins within one batch.
    let first = handle.submit(increment(), id());
    stage.store.commits.until_arrivals(1).await;
    let repeat = handle.submit(increment(), id());
    let twins = [(); 2].map(|()| handle.submit(increment(), Some(report_id("twin"))));
    stage.store.commits.open();
    let first = first.await.expect("committed");
    assert_eq!(repeat.await.expect("known"), first);
    let [one, other] = twins.map(|twin| twin.now_or_never());
    let (one, other) = (one.expect("answered"), other.expect("answered"));
    let one = one.expect("committed");
    assert_eq!(one, other.expect("committed"));
    assert!(one.seq > first.seq);
    // And later, after other changes, also for events, and by a registry that starts anew.
    handle
        .apply(events(0, 1), Some(report_id("e")))
        .await
        .expect("committed");
    handle
        .apply(events(0, 1), Some(report_id("e")))
        .await
        .expect("known");
    let restarted = stage.beside();
    for handle in [handle, restarted.find("j").await.expect("there")] {
        assert_eq!(handle.apply(increment(), id()).await.expect("known"), first);
        assert_eq!(shown(&handle.job(), "processed_count"), 10);
        let attached = handle.attach(Cursor::At(first.seq)).await.expect("joined");
        assert_eq!(attached.missed.len(), 1);
    }
}

#[tokio::test]
async fn a_repeat_of_the_end_is_answered_after_it() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let first = handle
        .apply(events(0, 1), Some(report_id("e")))
        .await
        .expect("committed");
    let end = report(json!({"status": "completed"}));
    let ended = handle
        .apply(end.clone(), Some(report_id("end")))
        .await
        .expect("committed");
    for handle in [handle, stage.find("j").await.expect("finished")] {
        let repeat = handle.apply(end.clone(), Some(report_id("end"))).await;
        assert_eq!(repeat.expect("known"), ended);
        let repeat = handle.apply(events(0, 1), Some(report_id("e"))).await;
        assert_eq!(repeat.expect("known"), first);
        assert_eq!(
            handle
                .apply(end.clone(), None)
                .await
                .expect("the same end")
                .seq,
            ended.seq
        );
        let refused = handle.apply(events(1, 1), Some(report_id("late"))).await;
        assert!(matches!(refused, Err(RegistryError::Refused(_))));
    }
}

#[tokio::test]
async fn a_removal_waits_for_the_commit_in_flight_and_refuses_what_follows() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let live = watch(&handle).await;
    stage.store.commits.shut();
    let in_flight = handle.submit(events(0, 1), None);
    stage.store.commits.until_arrivals(1).await;
    let mut removal = Box::pin(handle.remove());
    assert!(removal.as_mut().now_or_never().is_none());
    let late = handle.submit(events(1, 1), None);
    stage.store.commits.open();
    in_flight.await.expect("committed before the removal");
    removal.await.expect("removed");
    assert!(matches!(late.await, Err(RegistryError::Gone)));
    assert!(matches!(stage.find("j").await, Err(RegistryError::Gone)));
    let frames = waiting(&live);
    assert_eq!(event_numbers(&frames), [0]);
    let last = frames.last().expect("frames").kind;
    assert_eq!(last, FrameKind::Ending(Ending::Removed));
}

#[tokio::test]
async fn a_writer_on_the_spot_serves_its_own_batch_and_leaves_the_rest_to_a_task() {
    const REPORTS: usize = 50;
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let live = watch(&handle).await;
    // Others keep reporting: with every commit there is one more to serve.
    let mut sent = 1;
    stage.store.follow({
        let handle = handle.clone();
        move |call| {
            if call == Call::Commit && sent < REPORTS {
                sent += 1;
                drop(handle.submit(report(json!({"processed_increment": 1})), None));
            }
            Fate::Done
        }
    });
    let answer = handle.submit(report(json!({"processed_increment": 1})), None);
    assert_eq!(
        stage.store.committed(),
        1,
        "the others are not this client's work"
    );
    let answer = answer
        .now_or_never()
        .expect("served on the spot")
        .expect("committed");
    assert_eq!(answer.status, State::Processing);
    until(&live, |frame| {
        text(frame).contains(&format!("\"processed_count\":{REPORTS},"))
    })
    .await;
    assert_eq!(stage.store.committed(), REPORTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_of_many_clients_at_once_add_up() {
    let stage = Stage::new();
    let handle = stage.create(json!({"job_id": "j"})).await;
    let clients = (0..8).map(|_| {
        let handle = handle.clone();
        tokio::spawn(async move {
            let mut last = handle.job().seq;
            for _ in 0..200 {
                let increment = report(json!({"processed_increment": 1}));
                let answer = handle.apply(increment, None).await.expect("committed");
                assert!(answer.seq > last);
                last = answer.seq;
                assert!(handle.job().seq >= last, "an answer is shown");
            }
        })
    });
    for client in join_all(clients).await {
        client.expect("no panic");
    }
    assert_eq!(shown(&handle.job(), "processed_count"), 1_600);
}
