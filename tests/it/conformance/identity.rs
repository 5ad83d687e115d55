//! Whoever names a job by its origin means that very job, and no other of its name.

use progressd::{
    job::{Job, Seq, State},
    store::{Input, InputFormat, Loaded, Store},
};
use serde_json::json;

use super::{Backend, parts::*};

/// A job that has left, and the one that has its name now; both of them with everything.
async fn namesakes(store: &dyn Store) -> (Job, Job) {
    let input = Input {
        format: InputFormat::Text,
        content: b"x".as_slice().into(),
    };
    let mut jobs = Vec::new();
    for round in 0..2 {
        let job = job("a");
        done("a creation", store.create(&job, Some(&input))).await;
        let job = (*stored(store, "a").await.job).clone();
        let change = Proposal::on(&job)
            .event("e", &json!(round))
            .row(&json!({"round": round}));
        let job = commit(store, &change).await;
        if round == 0 {
            remove(store, &job.origin, later(60)).await;
        }
        jobs.push(job);
    }
    let new = jobs.pop().expect("two jobs");
    (jobs.pop().expect("two jobs"), new)
}

pub(super) async fn reads_by_an_earlier_origin_find_nothing(backend: &dyn Backend) {
    let store = &**backend.store();
    let (old, new) = namesakes(store).await;
    assert!(kept(store, &old.origin).await.is_empty());
    assert!(rows(store, &old.origin, 0, 10).await.is_none());
    assert_eq!(done("an input", store.input(&old.origin)).await, None);
    assert_eq!(data_of(&kept(store, &new.origin).await), [json!(1)]);
    assert_eq!(all_rows(store, &new.origin).await, [r#"{"round":1}"#]);
    let input = done("an input", store.input(&new.origin)).await;
    assert!(input.is_some());
}

pub(super) async fn a_commit_on_an_earlier_job_of_the_name_is_missing(backend: &dyn Backend) {
    let store = &**backend.store();
    let (old, new) = namesakes(store).await;
    missing(store, &Proposal::on(&old).message("late")).await;
    missing(store, &Proposal::on(&old).row(&json!({}))).await;
    // Nor does it help to name the seq of the one that is there.
    let disguised = Job {
        seq: new.seq,
        ..old
    };
    missing(store, &Proposal::on(&disguised).state(State::Failed)).await;
    assert_holds(&stored(store, "a").await, &new);
    assert_eq!(all_rows(store, &new.origin).await.len(), 1);
}

pub(super) async fn removing_an_earlier_job_of_the_name_removes_nothing(backend: &dyn Backend) {
    let store = &**backend.store();
    let (old, new) = namesakes(store).await;
    remove(store, &old.origin, later(60)).await;
    assert_holds(&stored(store, "a").await, &new);
    assert_eq!(kept(store, &new.origin).await.len(), 1);
    assert_eq!(all_rows(store, &new.origin).await.len(), 1);
    // Nor does it make a name gone that nobody has.
    remove(store, &job("b").origin, later(60)).await;
    let loaded = look_up(store, "b").await;
    assert!(matches!(loaded, Loaded::Unknown), "{loaded:?}");
}

pub(super) async fn a_removed_job_takes_nothing_any_more(backend: &dyn Backend) {
    let store = &**backend.store();
    let (_, job) = namesakes(store).await;
    remove(store, &job.origin, later(60)).await;
    let change = Proposal::on(&job)
        .message("late")
        .event("e", &json!(2))
        .row(&json!({}))
        .answer("r");
    missing(store, &change).await;
    let kept = kept_after(store, &job.origin, Seq::ZERO).await;
    assert!(kept.events.is_empty());
    assert_eq!(kept.dropped, Seq::MAX, "whatever it had is dropped");
    assert!(rows(store, &job.origin, 0, 10).await.is_none());
    // Once more is no harm.
    remove(store, &job.origin, later(60)).await;
    let gone = look_up(store, "a").await;
    assert!(matches!(gone, Loaded::Gone(_)), "{gone:?}");
}
