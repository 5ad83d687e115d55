//! Jobs are created once, and their names given again when they are free.

use progressd::{
    job::{NewJob, Seq, State},
    store::{Created, Input, InputFormat, Loaded},
};
use serde_json::json;

use super::{Backend, parts::*};

pub(super) async fn a_new_job_is_there_as_it_was_made_with_a_seq_of_its_time(
    backend: &dyn Backend,
) {
    let store = &**backend.store();
    let before = now();
    let new_job = NewJob {
        kind: some("import"),
        total_count: count(1_000),
        unit: some("emails"),
        owner: some("user-456"),
        tags: Some(vec!["a".to_owned(), "b c".to_owned()]),
        parent_id: Some(id("parent")),
        data: json!({"z": 1, "a": {"b": [true, null]}})
            .as_object()
            .cloned(),
        lease_seconds: Some(5),
        fail_stalled_after_seconds: Some(6),
        ttl_seconds: Some(7),
        ..NewJob::default()
    };
    let job = create(store, job_of("a", new_job, now())).await;
    assert!(job.seq.get() >= before.as_micros(), "{:?}", job.seq);
    assert!(job.seq.get() <= later(10).as_micros(), "{:?}", job.seq);
    let stored = stored(store, "a").await;
    assert_holds(&stored, &job);
    assert_eq!(stored.nonce, None);
    assert!(kept(store, &job.origin).await.is_empty());
    assert!(all_rows(store, &job.origin).await.is_empty());
}

pub(super) async fn a_name_that_is_taken_is_not_given_again(backend: &dyn Backend) {
    let store = &**backend.store();
    let first = created(store, "a").await;
    let first = commit(store, &Proposal::on(&first).message("here")).await;
    let input = Input {
        format: InputFormat::Text,
        content: b"of another".as_slice().into(),
    };
    let second = done("a creation", store.create(&job("a"), Some(&input))).await;
    let Created::Exists(stored_one) = second else {
        panic!("{second:?}");
    };
    assert_holds(&stored_one, &first);
    assert_holds(&stored(store, "a").await, &first);
    let input = done("an input", store.input(&first.origin)).await;
    assert_eq!(input, None);
    // A finished job has its name until it leaves.
    commit(store, &Proposal::on(&first).state(State::Completed)).await;
    let third = done("a creation", store.create(&job("a"), None)).await;
    assert!(matches!(third, Created::Exists(_)), "{third:?}");
}

pub(super) async fn a_name_is_free_again_once_its_job_was_removed(backend: &dyn Backend) {
    let store = &**backend.store();
    let mut last = Seq::ZERO;
    for round in 0..5 {
        let job = created(store, "a").await;
        assert!(job.seq > last, "{:?} is not above {last:?}", job.seq);
        // Many changes, so that the job's seqs may run ahead of the clock.
        let many = (0..50).fold(Proposal::on(&job), |change, number| {
            change.event("e", &json!(number))
        });
        let job = commit(store, &many).await;
        last = job.seq;
        remove(store, &job.origin, later(60)).await;
        let gone = look_up(store, "a").await;
        assert!(matches!(gone, Loaded::Gone(_)), "round {round}: {gone:?}");
    }
}

pub(super) async fn a_name_is_free_again_once_its_jobs_retention_has_ended(backend: &dyn Backend) {
    let store = &**backend.store();
    let old = ended(store, "a", 60, 100).await;
    let gone = look_up(store, "a").await;
    assert!(matches!(gone, Loaded::Gone(_)), "{gone:?}");
    let new = created(store, "a").await;
    assert!(new.seq > old.seq);
    assert_holds(&stored(store, "a").await, &new);
    // What is done about the old one later does not meet the new one.
    done("an expiry", store.expire(now(), 60, 10)).await;
    assert_holds(&stored(store, "a").await, &new);
}

pub(super) async fn a_name_that_was_given_away_begins_anew(backend: &dyn Backend) {
    let store = &**backend.store();
    let input = Input {
        format: InputFormat::Csv,
        content: b"of the first".as_slice().into(),
    };
    let first = job("a");
    let created_first = done("a creation", store.create(&first, Some(&input))).await;
    let Created::Done(seq) = created_first else {
        panic!("{created_first:?}");
    };
    let change = Proposal::on(&progressd::job::Job { seq, ..first })
        .event("e", &json!(1))
        .row(&json!({"a": 1}))
        .answer("r");
    let first = commit(store, &change).await;
    remove(store, &first.origin, later(60)).await;

    let second = created(store, "a").await;
    let found = stored(store, "a").await;
    assert_holds(&found, &second);
    assert_eq!(found.nonce, None);
    let kept = kept_after(store, &second.origin, Seq::ZERO).await;
    assert!(kept.events.is_empty());
    assert_eq!(kept.dropped, Seq::ZERO);
    assert!(all_rows(store, &second.origin).await.is_empty());
    assert_eq!(done("an input", store.input(&second.origin)).await, None);
    // The same report id is a new one on a new job.
    let change = Proposal::on(&second).message("x").answer("r");
    commit(store, &change).await;
}

pub(super) async fn a_job_comes_with_its_input_and_without(backend: &dyn Backend) {
    let store = &**backend.store();
    for (number, format) in [InputFormat::Json, InputFormat::Text, InputFormat::Csv]
        .into_iter()
        .enumerate()
    {
        let input = Input {
            format,
            content: format!("content {number}\r\n\0").into_bytes().into(),
        };
        let job = job(&format!("with-{number}"));
        done("a creation", store.create(&job, Some(&input))).await;
        let found = done("an input", store.input(&job.origin)).await;
        assert_eq!(found, Some(input));
    }
    let without = created(store, "without").await;
    assert_eq!(done("an input", store.input(&without.origin)).await, None);
    let empty = Input {
        format: InputFormat::Text,
        content: b"".as_slice().into(),
    };
    let job = job("empty");
    done("a creation", store.create(&job, Some(&empty))).await;
    let found = done("an input", store.input(&job.origin)).await;
    assert_eq!(found, Some(empty));
}

pub(super) async fn an_unknown_name_is_unknown(backend: &dyn Backend) {
    let store = &**backend.store();
    created(store, "a").await;
    for name in ["b", "A", "a:", "aa", "a."] {
        let loaded = look_up(store, name).await;
        assert!(matches!(loaded, Loaded::Unknown), "{name}: {loaded:?}");
    }
}
