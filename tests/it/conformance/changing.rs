//! Commits: compare and swap on the seq, whole or not at all.

use progressd::job::{Job, Seq, State};
use serde_json::json;
use uuid::Uuid;

use super::{Backend, parts::*};

pub(super) async fn a_commit_is_seen_by_every_later_read(backend: &dyn Backend) {
    let store = &**backend.store();
    let mut job = created(store, "a").await;
    for round in 0..20 {
        let text = format!("round {round}");
        job = commit(store, &Proposal::on(&job).message(&text)).await;
        assert_holds(&stored(store, "a").await, &job);
        let list = done("a list", store.list(&Default::default(), None, 10, now())).await;
        assert_eq!(*list[0], job);
    }
    job = commit(store, &Proposal::on(&job).state(State::Completed)).await;
    assert_holds(&stored(store, "a").await, &job);
}

pub(super) async fn seqs_rise_and_are_no_older_than_the_clock(backend: &dyn Backend) {
    let store = &**backend.store();
    let mut job = created(store, "a").await;
    for round in 0..100 {
        let before = now();
        let next = commit(store, &Proposal::on(&job).message(&round.to_string())).await;
        assert!(next.seq > job.seq);
        assert!(next.seq.get() >= before.as_micros(), "{}", next.seq);
        assert!(next.seq.get() <= later(10).as_micros(), "{}", next.seq);
        job = next;
    }
}

pub(super) async fn a_commit_of_no_positions_keeps_the_seq_and_stores_the_job(
    backend: &dyn Backend,
) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    let job = commit(store, &Proposal::on(&job).state(State::Processing)).await;
    // A sign of life: nothing that is shown, and yet something to keep.
    let mut sign = Proposal::on(&job);
    sign.job.reported_at = later(5);
    let alive = commit(store, &sign).await;
    assert_eq!(alive.seq, job.seq);
    assert_eq!(alive.reported_at, sign.job.reported_at);
    let found = stored(store, "a").await;
    assert_holds(&found, &alive);
    assert_eq!(found.nonce, Some(sign.nonce));
    // It is compared like any other.
    let outdated = Job {
        seq: Seq::new(job.seq.get() - 1).expect("a seq"),
        ..alive.clone()
    };
    let refused = conflict(store, &Proposal::on(&outdated).row(&json!({}))).await;
    assert_holds(&refused, &alive);
    assert!(all_rows(store, &job.origin).await.is_empty());
}

pub(super) async fn many_positions_follow_each_other_closely(backend: &dyn Backend) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    let change = (0..500).fold(Proposal::on(&job).message("first"), |change, number| {
        change.event("e", &json!(number))
    });
    let next = commit(store, &change.message("last")).await;
    let seqs: Vec<u64> = kept(store, &job.origin)
        .await
        .iter()
        .map(|event| event.seq.get())
        .collect();
    let first = seqs[0];
    assert!(first > job.seq.get());
    assert_eq!(seqs, Vec::from_iter(first..first + 500));
    assert_eq!(next.seq.get(), first + 500);
    assert_holds(&stored(store, "a").await, &next);
    // The job may now be ahead of the clock: what comes next rises all the same.
    let after = commit(store, &Proposal::on(&next).message("x")).await;
    assert!(after.seq > next.seq);
}

pub(super) async fn a_commit_on_an_old_seq_is_a_conflict_and_changes_nothing(
    backend: &dyn Backend,
) {
    let store = &**backend.store();
    let old = created(store, "a").await;
    let new = commit(store, &Proposal::on(&old).message("first")).await;
    let nonce = stored(store, "a").await.nonce;
    let late = Proposal::on(&old)
        .message("second")
        .event("e", &json!(1))
        .row(&json!({}))
        .answer("r");
    conflict(store, &late).await;
    let found = stored(store, "a").await;
    assert_holds(&found, &new);
    assert_eq!(found.nonce, nonce);
    assert!(kept(store, &new.origin).await.is_empty());
    assert!(all_rows(store, &new.origin).await.is_empty());
    // Its report id was not remembered: the same report counts when it comes on the right seq.
    commit(store, &Proposal::on(&new).message("second").answer("r")).await;
    // Nor is a seq accepted that the job has not reached.
    let ahead = Job {
        seq: Seq::MAX,
        ..new
    };
    conflict(store, &Proposal::on(&ahead).message("third")).await;
}

pub(super) async fn a_conflict_brings_the_present_state(backend: &dyn Backend) {
    let store = &**backend.store();
    let old = created(store, "a").await;
    let change = Proposal::on(&old)
        .report(json!({"processed_count": 5, "data": {"a": 1}}))
        .answer("known");
    let new = commit(store, &change).await;
    let refused = conflict(store, &Proposal::on(&old).message("x").answer("unknown")).await;
    assert_holds(&refused, &new);
    assert_eq!(refused.nonce, Some(change.nonce));
    assert_eq!(refused.ledger.find(&report_id("unknown"), now()), None);
    // Whoever was refused goes on from what came back.
    commit(store, &Proposal::on(&refused.job).message("x")).await;
}

pub(super) async fn a_seq_far_ahead_of_the_clock_is_risen_from(backend: &dyn Backend) {
    let store = &**backend.store();
    let mut job = created(store, "a").await;
    // Thousands of changes within a few commits outrun microseconds.
    for _ in 0..5 {
        let change = (0..1_000).fold(Proposal::on(&job), |change, number| {
            change.event("e", &json!(number))
        });
        let next = commit(store, &change).await;
        assert!(next.seq.get() >= job.seq.get() + 1_000);
        job = next;
    }
    assert_holds(&stored(store, "a").await, &job);
}

pub(super) async fn every_part_of_a_job_comes_back_as_it_was(backend: &dyn Backend) {
    let store = &**backend.store();
    let mut job = created(store, "a").await;
    let reports = [
        json!({"status": "pending", "total_count": 7}),
        json!({"processed_count": 1, "step": "one", "message": "m", "data": {"b": 1.5, "a": [1e300]}}),
        json!({"processed_increment": 2}),
        json!({"processed_count": 4, "data": {"b": null, "c": {"d": "e"}}}),
        json!({"processed_count": 5, "progress_percentage": 33.33}),
        json!({"step": null, "message": null, "result": {"z": 1, "a": 18446744073709551615_u64}}),
        json!({"attempt": 3, "status": "processing", "error": {"code": "X", "message": "why"}}),
        json!({"processed_count": 3, "total_count": null, "progress_percentage": 12.5}),
        json!({"status": "failed", "error": "at the end"}),
    ];
    for (number, report) in (1..).zip(reports) {
        // Some time apart, so that there is a rate.
        let change = Proposal::on(&job).at(later(number)).report(report);
        job = commit(store, &change).await;
        let found = stored(store, "a").await;
        assert_holds(&found, &job);
        assert_eq!(found.nonce, Some(change.nonce));
    }
    let mut job = created(store, "b").await;
    job.face.cancel_requested = true;
    job.face.stalled = true;
    let flagged = commit(store, &Proposal::on(&job).event("e", &json!(null))).await;
    assert_holds(&stored(store, "b").await, &flagged);
}

pub(super) async fn the_nonce_is_that_of_the_newest_commit(backend: &dyn Backend) {
    let store = &**backend.store();
    let mut job = created(store, "a").await;
    for nonce in [Uuid::nil(), Uuid::max(), Uuid::new_v4(), Uuid::now_v7()] {
        let mut change = Proposal::on(&job).row(&json!({}));
        change.nonce = nonce;
        job = commit(store, &change).await;
        assert_eq!(stored(store, "a").await.nonce, Some(nonce));
    }
    // One whose answer was lost is proposed again: that is a conflict with its own nonce.
    let change = Proposal::on(&job).message("x");
    commit(store, &change).await;
    let refused = conflict(store, &change).await;
    assert_eq!(refused.nonce, Some(change.nonce));
}

pub(super) async fn replaceable_commits_are_seen_at_once_too(backend: &dyn Backend) {
    let store = &**backend.store();
    let mut job = created(store, "a").await;
    job = commit(store, &Proposal::on(&job).state(State::Processing)).await;
    for processed in 1..=50 {
        let report = json!({"processed_count": processed});
        let change = Proposal::on(&job).report(report).replaceable();
        let next = commit(store, &change).await;
        assert!(next.seq > job.seq);
        assert_holds(&stored(store, "a").await, &next);
        conflict(store, &Proposal::on(&job).message("late").replaceable()).await;
        job = next;
        if processed % 10 == 0 {
            // One that must last stands on those that need not.
            job = commit(store, &Proposal::on(&job).event("e", &json!(processed))).await;
            assert_holds(&stored(store, "a").await, &job);
        }
    }
    assert_eq!(kept(store, &job.origin).await.len(), 5);
}
