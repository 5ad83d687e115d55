//! Creating and finding: repeats, races, names used anew, and one slot for everybody.

use futures_util::future::join_all;
use progressd::{
    job::{Seq, State},
    registry::Cursor,
};
use serde_json::json;

use super::*;

#[tokio::test]
async fn the_same_request_finds_what_it_created_and_another_is_told_nothing() {
    let stage = Stage::new();
    let body = || json!({"job_id": "j", "owner": "u", "kind": "k", "data": {"a": 1}});
    let handle = stage.create(body()).await;
    handle
        .apply(report(json!({"message": "m"})), None)
        .await
        .expect("committed");
    let (again, is_new) = stage
        .try_create(body(), None)
        .await
        .expect("the same request");
    assert!(!is_new);
    assert_eq!(again.snapshot().json, handle.snapshot().json);
    for other in [
        json!({"job_id": "j", "owner": "u", "kind": "k", "data": {"a": 2}}),
        json!({"job_id": "j", "owner": "v", "kind": "k", "data": {"a": 1}}),
        json!({"job_id": "j", "kind": "k", "data": {"a": 1}}),
        json!({"job_id": "j"}),
    ] {
        let refused = stage.try_create(other, None).await;
        assert!(matches!(refused, Err(RegistryError::Exists)));
    }
    // Also when it has ended.
    handle
        .apply(report(json!({"status": "completed"})), None)
        .await
        .expect("committed");
    let (again, is_new) = stage
        .try_create(body(), None)
        .await
        .expect("the same request");
    assert!(!is_new && again.job().is_finished());
}

#[tokio::test]
async fn an_idempotency_key_names_a_request_of_one_owner() {
    let stage = Stage::new();
    let body = |owner: &str| json!({"kind": "k", "owner": owner});
    let (first, is_new) = stage.try_create(body("u"), Some("key")).await.expect("new");
    assert!(is_new);
    let (again, is_new) = stage
        .try_create(body("u"), Some("key"))
        .await
        .expect("a repeat");
    assert!(!is_new);
    assert_eq!(again.id(), first.id());
    let (others, is_new) = stage
        .try_create(body("v"), Some("key"))
        .await
        .expect("another's key");
    assert!(is_new);
    assert_ne!(others.id(), first.id());
    let different = json!({"kind": "other", "owner": "u"});
    let refused = stage.try_create(different, Some("key")).await;
    assert!(matches!(refused, Err(RegistryError::Exists)));
    let named = json!({"kind": "k", "owner": "u", "job_id": "j"});
    let refused = stage.try_create(named, Some("key")).await;
    assert!(matches!(refused, Err(RegistryError::Exists)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_equal_requests_at_once_one_creates() {
    let stage = Stage::new();
    for round in 0..50 {
        let name = format!("j-{round}");
        let by_name = (0..4).map(|_| stage.try_create(json!({"job_id": name}), None));
        let by_key = (0..4).map(|_| stage.try_create(json!({"kind": "k"}), Some(&name)));
        for outcomes in [join_all(by_name).await, join_all(by_key).await] {
            let outcomes: Vec<_> = outcomes
                .into_iter()
                .map(|outcome| outcome.expect("the same"))
                .collect();
            assert_eq!(outcomes.iter().filter(|(_, is_new)| *is_new).count(), 1);
            assert!(
                outcomes
                    .iter()
                    .all(|(handle, _)| handle.id() == outcomes[0].0.id())
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_different_requests_for_one_name_one_creates() {
    let stage = Stage::new();
    for round in 0..100 {
        let request = |kind: &str| {
            let registry = stage.registry.clone();
            let body = json!({"job_id": format!("j-{round}"), "kind": kind}).to_string();
            let new_job = NewJob::parse(body.as_bytes(), &Bounds::default()).expect("valid");
            tokio::spawn(async move { registry.create(new_job, None, None, None).await })
        };
        let requests = [request("a"), request("b")];
        let outcomes = join_all(requests).await;
        let created = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Ok(Ok((_, true)))))
            .count();
        let refused = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Ok(Err(RegistryError::Exists))));
        assert_eq!((created, refused.count()), (1, 1));
    }
}

#[tokio::test]
async fn beyond_the_most_jobs_only_what_is_there_is_answered() {
    let settings = Settings {
        max_jobs: 2,
        ..roomy_settings()
    };
    let stage = Stage::with(settings, roomy_limits());
    let handle = stage.create(json!({"job_id": "a"})).await;
    stage.create(json!({"job_id": "b"})).await;
    let full = stage.try_create(json!({"job_id": "c"}), None).await;
    assert!(matches!(full, Err(RegistryError::Full)));
    let (_, is_new) = stage
        .try_create(json!({"job_id": "a"}), None)
        .await
        .expect("a repeat");
    assert!(!is_new);
    let exists = stage
        .try_create(json!({"job_id": "a", "kind": "k"}), None)
        .await;
    assert!(matches!(exists, Err(RegistryError::Exists)));
    // An end makes room.
    handle
        .apply(report(json!({"status": "completed"})), None)
        .await
        .expect("committed");
    stage.create(json!({"job_id": "c"})).await;
}

#[tokio::test]
async fn unknown_names_are_not_found() {
    let stage = Stage::new();
    assert!(matches!(
        stage.find("nobody").await,
        Err(RegistryError::NotFound)
    ));
}

#[tokio::test]
async fn a_removed_name_is_gone_and_can_be_used_anew() {
    let stage = Stage::new();
    let old = stage.create(json!({"job_id": "j"})).await;
    let position = old.apply(events(0, 1), None).await.expect("committed").seq;
    old.remove().await.expect("removed");
    assert!(matches!(stage.find("j").await, Err(RegistryError::Gone)));
    let new = stage
        .create(json!({"job_id": "j", "kind": "another"}))
        .await;
    assert!(matches!(
        old.apply(report(json!({})), None).await,
        Err(RegistryError::Gone)
    ));
    assert!(new.job().seq > position);
    // A watcher of the old one comes back: nothing of the old job is left for it.
    let attached = new
        .attach(Cursor::At(position))
        .await
        .expect("the store answers");
    assert!(attached.missed.is_empty());
    assert_eq!(attached.snapshot.job.face.state, State::Pending);
    assert_eq!(stage.find("j").await.expect("there").watchers(), 1);
}

/// A finished job's handle, found by a request whose body came slowly, meets another job under
/// the name: nothing of the one reaches the other, whatever its holder does.
#[tokio::test]
async fn a_handle_never_reaches_another_job_that_took_the_name() {
    let stage = Stage::new();
    let old = stage.create(json!({"job_id": "j"})).await;
    old.apply(row(1), None).await.expect("committed");
    old.apply(report(json!({"status": "completed"})), None)
        .await
        .expect("committed");
    let old = stage.find("j").await.expect("finished");
    stage
        .find("j")
        .await
        .expect("finished")
        .remove()
        .await
        .expect("removed");
    let new = stage.create(json!({"job_id": "j", "owner": "ann"})).await;
    new.apply(row(2), None).await.expect("committed");
    let before = new.snapshot();

    let end = report(json!({"status": "completed", "result": "not yours"}));
    let repeated = old.apply(end, Some(report_id("r"))).await;
    assert!(matches!(repeated, Err(RegistryError::Gone)), "{repeated:?}");
    assert!(matches!(old.rows(0, 10).await, Err(RegistryError::Gone)));
    assert!(matches!(old.remove().await, Err(RegistryError::Gone)));
    assert_eq!(
        stage.find("j").await.expect("there").snapshot().json,
        before.json
    );
    assert_eq!(new.rows(0, 10).await.expect("there").total, 1);
    new.apply(report(json!({"processed_count": 1})), None)
        .await
        .expect("the new job goes on");
}

#[tokio::test]
async fn a_slot_of_another_node_gives_way_to_the_job_that_took_its_name() {
    let stage = Stage::new();
    let elsewhere = stage.beside();
    stage.create(json!({"job_id": "j"})).await;
    let old = elsewhere.find("j").await.expect("there");
    stage
        .find("j")
        .await
        .expect("there")
        .remove()
        .await
        .expect("removed");
    let new = stage
        .create(json!({"job_id": "j", "kind": "another"}))
        .await;
    let stepped = old.apply(report(json!({"processed_count": 5})), None).await;
    assert!(matches!(stepped, Err(RegistryError::Gone)), "{stepped:?}");
    let found = elsewhere.find("j").await.expect("the new one");
    assert_eq!(found.job().origin.incarnation, new.job().origin.incarnation);
    assert_eq!(
        shown(&found.job(), "processed_count"),
        serde_json::Value::Null
    );
}

#[tokio::test]
async fn finds_of_one_job_share_one_slot() {
    let stage = Stage::new();
    stage.create(json!({"job_id": "j"})).await;
    let restarted = stage.beside();
    let finds = join_all((0..8).map(|_| restarted.find("j"))).await;
    let handles: Vec<_> = finds
        .into_iter()
        .map(|found| found.expect("there"))
        .collect();
    let _watching = handles[0]
        .attach(Cursor::Absent)
        .await
        .expect("the store answers");
    for handle in handles {
        assert_eq!(handle.watchers(), 1);
    }
}

/// Everything at once on one name: made, found, reported on, ended or removed, and made again.
/// Whoever looks sees seqs that never go back, and a report is never lost to a second slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_of_a_name_never_goes_back() {
    const ROUNDS: usize = 300;
    let stage = Stage::new();
    let stop = CancellationToken::new();
    let finders: Vec<_> = (0..2)
        .map(|_| {
            let (registry, stop) = (stage.registry.clone(), stop.clone());
            tokio::spawn(async move {
                let mut last = Seq::ZERO;
                while !stop.is_cancelled() {
                    if let Ok(handle) = registry.find(&job_id("j")).await {
                        let seq = handle.job().seq;
                        assert!(seq >= last, "{seq} after {last}");
                        last = seq;
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for round in 0..ROUNDS {
        let (handle, is_new) = stage
            .try_create(json!({"job_id": "j"}), None)
            .await
            .expect("free");
        assert!(is_new);
        assert_eq!(handle.job().face.state, State::Pending);
        handle
            .apply(report(json!({"processed_increment": 1})), None)
            .await
            .expect("committed");
        let found = stage.find("j").await.expect("there");
        found
            .apply(report(json!({"processed_increment": 1})), None)
            .await
            .expect("committed");
        assert_eq!(shown(&handle.job(), "processed_count"), 2);
        if round % 2 == 0 {
            handle
                .apply(report(json!({"status": "completed"})), None)
                .await
                .expect("committed");
            assert!(stage.find("j").await.expect("finished").job().is_finished());
        }
        stage
            .find("j")
            .await
            .expect("there")
            .remove()
            .await
            .expect("removed");
    }
    stop.cancel();
    for finder in finders {
        finder.await.expect("nothing went back");
    }
}
