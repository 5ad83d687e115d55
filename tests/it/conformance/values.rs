//! Keys that are bound, and values that are put, once.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use progressd::store::Store;

use super::{Backend, parts::*};
use crate::support::until;

async fn reserve(store: &dyn Store, key: &str, name: &str) -> String {
    let bound = done("a key", store.reserve(key, &id(name), now())).await;
    bound.to_string()
}

async fn put(store: &dyn Store, key: &str, value: &[u8], ttl: Option<u64>) -> Vec<u8> {
    let ttl = ttl.map(Duration::from_secs);
    let found = done("a value", store.put_if_absent(key, value, ttl, now())).await;
    found.to_vec()
}

pub(super) async fn a_key_is_bound_once(backend: &dyn Backend) {
    let store = &**backend.store();
    assert_eq!(reserve(store, "k", "a").await, "a");
    assert_eq!(reserve(store, "k", "b").await, "a");
    assert_eq!(reserve(store, "K", "b").await, "b");
    // Whether a job of the name is there does not matter.
    created(store, "a").await;
    assert_eq!(reserve(store, "k", "c").await, "a");
    assert_eq!(reserve(store, "l", "a").await, "a");
}

pub(super) async fn keys_do_not_meet_job_names_or_values(backend: &dyn Backend) {
    let store = &**backend.store();
    created(store, "x").await;
    assert_eq!(reserve(store, "x", "y").await, "y");
    assert_eq!(put(store, "x", b"value", None).await, b"value");
    assert_eq!(reserve(store, "x", "z").await, "y");
    assert_eq!(put(store, "x", b"other", None).await, b"value");
    assert_eq!(*stored(store, "x").await.job.id(), id("x"));
}

pub(super) async fn a_key_is_bound_for_a_day(backend: &dyn Backend) {
    const DAY: u64 = 86_400;
    if !backend.goes_by_callers_clock() {
        return;
    }
    let store = &**backend.store();
    let begin = now();
    let reserve = async |name: &str, seconds| {
        let at = begin.plus_seconds(seconds);
        done("a key", store.reserve("k", &id(name), at))
            .await
            .to_string()
    };
    assert_eq!(reserve("a", 0).await, "a");
    assert_eq!(reserve("b", DAY - 1).await, "a");
    assert_eq!(reserve("c", DAY).await, "c");
}

pub(super) async fn a_value_is_put_once(backend: &dyn Backend) {
    let store = &**backend.store();
    assert_eq!(put(store, "k", b"1", Some(3_600)).await, b"1");
    assert_eq!(put(store, "k", b"2", Some(3_600)).await, b"1");
    assert_eq!(put(store, "k", b"3", None).await, b"1");
    assert_eq!(put(store, "other", b"2", Some(3_600)).await, b"2");
}

pub(super) async fn a_value_leaves_when_its_time_is_over(backend: &dyn Backend) {
    let store = &**backend.store();
    assert_eq!(put(store, "k", b"1", Some(1)).await, b"1");
    assert_eq!(put(store, "k", b"2", Some(1)).await, b"1");
    // The other value neither lengthens nor shortens that of the first.
    until("the end of the first value's time", async || {
        put(store, "k", b"3", Some(3_600)).await == b"3"
    })
    .await;
    assert_eq!(put(store, "k", b"4", None).await, b"3");
}

pub(super) async fn a_value_stays_for_parts_of_a_second_too(backend: &dyn Backend) {
    if !backend.goes_by_callers_clock() {
        return;
    }
    let store = &**backend.store();
    let begin = now();
    let ttl = Some(Duration::from_millis(1_500));
    let put = async |value: &[u8], millis: u64| {
        let at = begin.plus(Duration::from_millis(millis));
        let found = done("a value", store.put_if_absent("k", value, ttl, at)).await;
        found.to_vec()
    };
    assert_eq!(put(b"1", 0).await, b"1");
    assert_eq!(put(b"2", 1_400).await, b"1");
    assert_eq!(put(b"3", 1_600).await, b"3");
}

pub(super) async fn a_value_without_an_end_stays(backend: &dyn Backend) {
    let store = &**backend.store();
    assert_eq!(put(store, "k", b"1", None).await, b"1");
    let far = later(1_000_000_000);
    let found = done("a value", store.put_if_absent("k", b"2", None, far)).await;
    assert_eq!(&*found, b"1");
}

pub(super) async fn one_of_many_who_put_at_once_wins_and_all_see_it(backend: &dyn Backend) {
    let other = backend.another_node().await;
    for round in 0..10 {
        let key = format!("k{round}");
        let tasks = (0..20).map(|number: u8| {
            // By both nodes, where there are two.
            let store = other.iter().filter(|_| number.is_multiple_of(2));
            let store = Arc::clone(store.chain([backend.store()]).next().expect("a store"));
            let key = key.clone();
            tokio::spawn(async move { put(&*store, &key, &[number], Some(60)).await })
        });
        let found = join_all(tasks).await.into_iter();
        let found: HashSet<_> = found.map(|value| value.expect("no panic")).collect();
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

pub(super) async fn one_of_many_who_bind_at_once_wins_and_all_see_it(backend: &dyn Backend) {
    let tasks = (0..20).map(|number| {
        let store = Arc::clone(backend.store());
        tokio::spawn(async move { reserve(&*store, "k", &format!("job-{number}")).await })
    });
    let found = join_all(tasks).await.into_iter();
    let found: HashSet<_> = found.map(|name| name.expect("no panic")).collect();
    assert_eq!(found.len(), 1, "{found:?}");
}

pub(super) async fn values_hold_any_bytes(backend: &dyn Backend) {
    let store = &**backend.store();
    let every: Vec<u8> = (0..=255).collect();
    let large = every.repeat(16);
    for (key, value) in [("empty", &[][..]), ("every", &every), ("large", &large)] {
        assert_eq!(put(store, key, value, None).await, value);
        assert_eq!(put(store, key, b"x", None).await, value, "{key}");
    }
}

pub(super) async fn the_store_answers_a_ping(backend: &dyn Backend) {
    done("a ping", backend.store().ping()).await;
}
