//! Report ids: what is remembered, and that nothing known is applied again.

use progressd::job::{Job, Seq};
use serde_json::json;

use super::{Backend, parts::*};

/// What the store answers for a report id: the seq of the answer, when it knows one.
async fn known(backend: &dyn Backend, job: &Job, text: &str) -> Option<Seq> {
    let store = &**backend.store();
    let probe = Proposal::on(job).message("a repetition").answer(text);
    let refused = conflict(store, &probe).await;
    let answer = refused.ledger.find(&report_id(text), now())?;
    assert_eq!(answer.job_id, *job.id());
    Some(answer.seq)
}

pub(super) async fn a_report_id_is_remembered_with_its_answer(backend: &dyn Backend) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    let change = Proposal::on(&job)
        .event("e", &json!(1))
        .answer("after the event")
        .message("x")
        .answer("after the status");
    let job = commit(store, &change).await;
    let event = kept(store, &job.origin).await.remove(0);
    assert_eq!(
        known(backend, &job, "after the event").await,
        Some(event.seq)
    );
    assert_eq!(
        known(backend, &job, "after the status").await,
        Some(job.seq)
    );
    assert_holds(&stored(store, "a").await, &job);
}

pub(super) async fn a_known_report_id_is_a_conflict_that_brings_its_answer(backend: &dyn Backend) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    let mut job = commit(store, &Proposal::on(&job).message("x").answer("r")).await;
    let answered = job.seq;
    for round in 0..3 {
        job = commit(store, &Proposal::on(&job).event("e", &json!(round))).await;
        // On the right seq, and on an old one.
        for base in [job.seq, answered] {
            let base = Job {
                seq: base,
                ..job.clone()
            };
            let again = Proposal::on(&base)
                .report(json!({"processed_increment": 1}))
                .event("e", &json!("again"))
                .row(&json!({}))
                .answer("r");
            let refused = conflict(store, &again).await;
            assert_holds(&refused, &job);
            let answer = refused.ledger.find(&report_id("r"), now());
            let answer = answer.expect("the entry that the commit named");
            assert_eq!(answer.seq, answered);
            assert_eq!(answer.status, job.face.state);
            assert!(!answer.cancel_requested);
        }
    }
    assert_eq!(kept(store, &job.origin).await.len(), 3);
    assert!(all_rows(store, &job.origin).await.is_empty());
    assert_holds(&stored(store, "a").await, &job);
}

pub(super) async fn one_known_report_id_among_many_refuses_the_whole_commit(backend: &dyn Backend) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    let job = commit(
        store,
        &Proposal::on(&job).message("x").answer("b").answer("d"),
    )
    .await;
    let change = ["a", "b", "c", "d", "e"]
        .into_iter()
        .fold(Proposal::on(&job), |change, name| {
            change.event("e", &json!(name)).answer(name)
        });
    let refused = conflict(store, &change).await;
    for (name, is_known) in [("a", false), ("b", true), ("c", false), ("d", true)] {
        let answer = refused.ledger.find(&report_id(name), now());
        assert_eq!(answer.is_some(), is_known, "{name}");
    }
    assert!(kept(store, &job.origin).await.is_empty());
    // Those that were not known are so still.
    let change = Proposal::on(&job).message("y").answer("a").answer("c");
    let job = commit(store, &change).await;
    assert_eq!(known(backend, &job, "c").await, Some(job.seq));
}

pub(super) async fn the_same_report_id_means_nothing_on_another_job(backend: &dyn Backend) {
    let store = &**backend.store();
    let a = created(store, "a").await;
    let b = created(store, "b").await;
    commit(store, &Proposal::on(&a).message("x").answer("r")).await;
    let b = commit(store, &Proposal::on(&b).message("x").answer("r")).await;
    assert_eq!(known(backend, &b, "r").await, Some(b.seq));
}

pub(super) async fn a_thousand_report_ids_are_remembered_and_the_oldest_leaves(
    backend: &dyn Backend,
) {
    let store = &**backend.store();
    let mut job = created(store, "a").await;
    for hundred in 0..10 {
        let change = (0..100).fold(Proposal::on(&job), |change, number| {
            change.answer(&format!("r{}", hundred * 100 + number))
        });
        job = commit(store, &change).await;
    }
    for name in ["r0", "r1", "r500", "r999"] {
        assert!(known(backend, &job, name).await.is_some(), "{name}");
    }
    let change = Proposal::on(&job).message("x").answer("s0").answer("s1");
    job = commit(store, &change).await;
    for name in ["r2", "r999", "s0", "s1"] {
        assert!(known(backend, &job, name).await.is_some(), "{name}");
    }
    // The two oldest made room: as reports they are new ones.
    let change = Proposal::on(&job).message("y").answer("r0").answer("r1");
    job = commit(store, &change).await;
    assert_eq!(known(backend, &job, "r0").await, Some(job.seq));
}

pub(super) async fn a_report_id_is_remembered_for_a_day(backend: &dyn Backend) {
    const DAY: u64 = 86_400;
    if !backend.goes_by_callers_clock() {
        return;
    }
    let store = &**backend.store();
    let begin = now();
    let at = |seconds| begin.plus_seconds(seconds);
    let job = created(store, "a").await;
    let change = Proposal::on(&job).at(at(0)).message("x").answer("r");
    let job = commit(store, &change).await;
    let again = Proposal::on(&job).at(at(DAY - 1)).message("y").answer("r");
    conflict(store, &again).await;
    let again = Proposal::on(&job).at(at(DAY)).message("y").answer("r");
    commit(store, &again).await;
}

pub(super) async fn an_answer_without_positions_carries_the_seq_before_it(backend: &dyn Backend) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    let job = commit(store, &Proposal::on(&job).message("x")).await;
    let after = commit(store, &Proposal::on(&job).row(&json!({})).answer("r")).await;
    assert_eq!(after.seq, job.seq);
    assert_eq!(known(backend, &job, "r").await, Some(job.seq));
    assert_eq!(all_rows(store, &job.origin).await.len(), 1);
}
