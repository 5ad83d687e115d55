//! Events of which only few are kept: three, and two thousand bytes.

use progressd::job::Seq;
use serde_json::{Value, json};

use super::{Backend, parts::*};

pub(super) async fn beyond_the_count_the_oldest_leave_and_it_is_known_up_to_where(
    backend: &dyn Backend,
) {
    let store = &**backend.store();
    let mut job = created(store, "a").await;
    let mut seqs = Vec::new();
    for number in 0..10 {
        let change = Proposal::on(&job)
            .event("e", &json!(number))
            .message(&number.to_string());
        job = commit(store, &change).await;
        let kept_now = kept_after(store, &job.origin, Seq::ZERO).await;
        seqs.push(kept_now.events.last().expect("the newest").seq);
        let expected: Vec<Value> = (number.max(2) - 2..=number).map(Value::from).collect();
        assert_eq!(data_of(&kept_now.events), expected);
        let dropped = match seqs.len() {
            0..=3 => Seq::ZERO,
            length => seqs[length - 4],
        };
        assert_eq!(kept_now.dropped, dropped, "after {number}");
        // The cursor changes nothing about what was dropped.
        let kept_now = kept_after(store, &job.origin, job.seq).await;
        assert_eq!((kept_now.events.len(), kept_now.dropped), (0, dropped));
    }
}

pub(super) async fn beyond_the_bytes_the_oldest_leave_and_it_is_known_up_to_where(
    backend: &dyn Backend,
) {
    let store = &**backend.store();
    let mut job = created(store, "a").await;
    let text = "x".repeat(800);
    for number in 0..6 {
        let change = Proposal::on(&job).event("e", &json!([number, text]));
        let before = kept(store, &job.origin).await;
        job = commit(store, &change).await;
        let kept_now = kept_after(store, &job.origin, Seq::ZERO).await;
        let numbers: Vec<_> = data_of(&kept_now.events)
            .iter()
            .map(|data| data[0].clone())
            .collect();
        // Two such fit, whatever an event costs besides its text.
        let expected: Vec<Value> = (i32::max(number, 1) - 1..=number)
            .map(Value::from)
            .collect();
        assert_eq!(numbers, expected);
        if number >= 2 {
            assert_eq!(kept_now.dropped, before[0].seq);
        }
    }
}

pub(super) async fn an_event_larger_than_the_bound_is_dropped_and_known_as_such(
    backend: &dyn Backend,
) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    let job = commit(store, &Proposal::on(&job).event("e", &json!("small"))).await;
    let change = Proposal::on(&job).event("e", &json!("x".repeat(5_000)));
    let job = commit(store, &change).await;
    let kept_now = kept_after(store, &job.origin, Seq::ZERO).await;
    assert!(kept_now.events.is_empty());
    assert_eq!(kept_now.dropped, job.seq);
    let job = commit(store, &Proposal::on(&job).event("e", &json!("after"))).await;
    assert_eq!(data_of(&kept(store, &job.origin).await), [json!("after")]);
}

pub(super) async fn one_commit_with_more_events_than_are_kept_keeps_the_newest(
    backend: &dyn Backend,
) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    let change = (0..10).fold(Proposal::on(&job), |change, number| {
        change.event("e", &json!(number))
    });
    let job = commit(store, &change).await;
    let kept_now = kept_after(store, &job.origin, Seq::ZERO).await;
    assert_eq!(data_of(&kept_now.events), [json!(7), json!(8), json!(9)]);
    assert_eq!(kept_now.dropped.get(), job.seq.get() - 3);
}
