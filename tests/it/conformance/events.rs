//! Events: in order, after a cursor, bounded.

use progressd::job::{Job, Seq, State};
use serde_json::{Value, json};

use super::{Backend, parts::*};

pub(super) async fn events_come_back_in_order_with_the_seqs_of_their_places(backend: &dyn Backend) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    let change = Proposal::on(&job)
        .event("log", &json!({"line": 1}))
        .message("between")
        .event("error", &json!("text"))
        .event("a.b-c_D9", &json!(null));
    let next = commit(store, &change).await;
    let events = kept(store, &job.origin).await;
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["log", "error", "a.b-c_D9"]);
    assert_eq!(
        data_of(&events),
        [json!({"line": 1}), json!("text"), json!(null)]
    );
    let last = next.seq.get();
    let seqs: Vec<_> = events.iter().map(|event| event.seq.get()).collect();
    assert_eq!(seqs, [last - 3, last - 1, last]);
    assert!(seqs[0] > job.seq.get());
}

pub(super) async fn only_events_above_the_cursor_come_back(backend: &dyn Backend) {
    let store = &**backend.store();
    let mut job = created(store, "a").await;
    for number in 0..30 {
        let change = Proposal::on(&job).event("e", &json!(number));
        job = commit(store, &change).await;
    }
    let events = kept(store, &job.origin).await;
    assert_eq!(events.len(), 30);
    for (place, event) in events.iter().enumerate() {
        let after = kept_after(store, &job.origin, event.seq).await;
        assert_eq!(after.events, events[place + 1..]);
        assert_eq!(after.dropped, Seq::ZERO);
        // Between two events, and just below this one.
        let below = Seq::new(event.seq.get() - 1).expect("a seq");
        let after = kept_after(store, &job.origin, below).await;
        assert_eq!(after.events, events[place..]);
    }
    let after = kept_after(store, &job.origin, Seq::MAX).await;
    assert!(after.events.is_empty());
}

pub(super) async fn events_of_one_job_are_not_those_of_another(backend: &dyn Backend) {
    let store = &**backend.store();
    // Names of which one begins another.
    for name in ["a", "aa", "a:", "a:e"] {
        let job = created(store, name).await;
        commit(store, &Proposal::on(&job).event("e", &json!(name))).await;
    }
    for name in ["a", "aa", "a:", "a:e"] {
        let origin = stored(store, name).await.job.origin.clone();
        assert_eq!(data_of(&kept(store, &origin).await), [json!(name)]);
    }
}

/// Commits events with these numbers, so many at a time.
async fn commit_numbers(backend: &dyn Backend, job: Job, numbers: &[u64], at_once: usize) -> Job {
    let store = &**backend.store();
    let mut job = job;
    for numbers in numbers.chunks(at_once) {
        let change = numbers.iter().fold(Proposal::on(&job), |change, number| {
            change.event("e", &json!(number))
        });
        job = commit(store, &change).await;
    }
    job
}

pub(super) async fn a_thousand_events_are_kept_and_the_oldest_leave(backend: &dyn Backend) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    let numbers: Vec<u64> = (0..1_250).collect();
    let job = commit_numbers(backend, job, &numbers[..1_000], 40).await;
    let kept_now = kept_after(store, &job.origin, Seq::ZERO).await;
    assert_eq!(kept_now.events.len(), 1_000);
    assert_eq!(kept_now.dropped, Seq::ZERO);
    let last_dropped = kept_now.events[249].seq;
    let job = commit_numbers(backend, job, &numbers[1_000..], 25).await;
    let kept_now = kept_after(store, &job.origin, Seq::ZERO).await;
    let data: Vec<Value> = (250..1_250).map(Value::from).collect();
    assert_eq!(data_of(&kept_now.events), data);
    assert_eq!(kept_now.dropped, last_dropped);
}

pub(super) async fn a_thousand_events_in_one_commit_are_kept_in_order(backend: &dyn Backend) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    let numbers: Vec<u64> = (0..1_000).collect();
    let job = commit_numbers(backend, job, &numbers, 1_000).await;
    let data: Vec<Value> = (0..1_000).map(Value::from).collect();
    assert_eq!(data_of(&kept(store, &job.origin).await), data);
}

pub(super) async fn nothing_is_dropped_before_it_must_be(backend: &dyn Backend) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    let job = commit(store, &Proposal::on(&job).event("e", &json!(1))).await;
    // The end of a job keeps its events.
    let change = Proposal::on(&job)
        .event("e", &json!(2))
        .state(State::Completed);
    let job = commit(store, &change).await;
    let kept_now = kept_after(store, &job.origin, Seq::ZERO).await;
    assert_eq!(data_of(&kept_now.events), [json!(1), json!(2)]);
    assert_eq!(kept_now.dropped, Seq::ZERO);
}
