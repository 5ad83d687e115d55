//! When jobs leave, and what stays of their names.

use progressd::{
    job::{NewJob, State},
    store::{Former, Loaded, Store},
};

use super::{Backend, parts::*};

/// What the name is at another time.
async fn at(store: &dyn Store, name: &str, seconds: u64) -> &'static str {
    match done("a load", store.load(&id(name), later(seconds))).await {
        Loaded::Job(_) => "there",
        Loaded::Gone(_) => "gone",
        Loaded::Unknown => "unknown",
    }
}

pub(super) async fn a_finished_job_is_there_to_the_end_of_its_retention(backend: &dyn Backend) {
    let store = &**backend.store();
    ended(store, "a", 300, 100).await;
    assert_eq!(at(store, "a", 0).await, "there");
    assert_eq!(at(store, "a", 190).await, "there");
    assert_eq!(at(store, "a", 201).await, "gone");
    created(store, "b").await;
    assert_eq!(at(store, "b", 1_000_000).await, "there", "it is unfinished");
}

pub(super) async fn a_removed_name_is_gone_and_then_unknown(backend: &dyn Backend) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    remove(store, &job.origin, later(100)).await;
    assert_eq!(at(store, "a", 0).await, "gone");
    assert_eq!(at(store, "a", 95).await, "gone");
    assert_eq!(at(store, "a", 105).await, "unknown");
    let job = created(store, "b").await;
    remove(store, &job.origin, ago(1)).await;
    assert_eq!(at(store, "b", 0).await, "unknown");
}

pub(super) async fn who_owned_a_gone_job_is_remembered(backend: &dyn Backend) {
    let store = &**backend.store();
    let mut formers = Vec::new();
    for (name, owner) in [("a", Some("user-1")), ("b", None), ("c", Some("ü \"'{}"))] {
        let new_job = NewJob {
            owner: owner.map(str::to_owned),
            ttl_seconds: Some(10),
            ..NewJob::default()
        };
        let job = create(store, job_of(name, new_job, ago(100))).await;
        let job = if name == "c" {
            let end = Proposal::on(&job).at(ago(50)).state(State::Completed);
            commit(store, &end).await
        } else {
            remove(store, &job.origin, later(60)).await;
            job
        };
        formers.push((name, Former::of(&job.origin)));
    }
    for round in ["before it is expired", "after"] {
        for (name, former) in &formers {
            let loaded = look_up(store, name).await;
            let Loaded::Gone(found) = loaded else {
                panic!("{name} {round}: {loaded:?}");
            };
            assert_eq!(found, *former, "{name} {round}");
        }
        done("an expiry", store.expire(now(), 3_600, 10)).await;
    }
}

pub(super) async fn expiring_removes_what_is_over_and_nothing_else(backend: &dyn Backend) {
    let store = &**backend.store();
    let over = ended(store, "over", 60, 100).await;
    ended(store, "still", 200, 100).await;
    created(store, "open").await;
    let removed = done("an expiry", store.expire(now(), 3_600, 100)).await;
    assert_eq!(removed, 1);
    assert_eq!(at(store, "over", 0).await, "gone");
    assert_eq!(at(store, "still", 0).await, "there");
    assert_eq!(at(store, "open", 0).await, "there");
    assert!(rows(store, &over.origin, 0, 10).await.is_none());
    missing(store, &Proposal::on(&over)).await;
    let removed = done("an expiry", store.expire(now(), 3_600, 100)).await;
    assert_eq!(removed, 0);
}

pub(super) async fn expiring_goes_on_from_call_to_call(backend: &dyn Backend) {
    let store = &**backend.store();
    for number in 0..25 {
        ended(store, &format!("over-{number}"), 60, 100).await;
        ended(store, &format!("still-{number}"), 6_000, 100).await;
    }
    let mut removed = Vec::new();
    loop {
        let count = done("an expiry", store.expire(now(), 3_600, 10)).await;
        assert!(count <= 10);
        if count == 0 {
            break;
        }
        removed.push(count);
    }
    assert_eq!(removed.iter().sum::<usize>(), 25, "{removed:?}");
    let all = listed(store, &Default::default(), None, 100).await;
    assert_eq!(all.len(), 25);
}

pub(super) async fn names_of_expired_jobs_are_gone_for_as_long_as_asked(backend: &dyn Backend) {
    let store = &**backend.store();
    // Over for 40 seconds, and gone for as long again.
    ended(store, "a", 60, 100).await;
    done("an expiry", store.expire(now(), 80, 10)).await;
    assert_eq!(at(store, "a", 0).await, "gone");
    assert_eq!(at(store, "a", 35).await, "gone");
    assert_eq!(at(store, "a", 45).await, "unknown");
    // One that nobody expired in time is not gone for longer.
    ended(store, "b", 60, 1_000).await;
    done("an expiry", store.expire(now(), 80, 10)).await;
    assert_eq!(at(store, "b", 0).await, "unknown");
}
