//! What the store makes up for by itself: indexes that a dead node left half written, and more
//! notices than it holds.

use std::{sync::Arc, time::Duration};

use progressd::{
    job::{Bounds, Job, JobId, NewJob, State, Timestamp},
    store::{Created, Filter, Following, Notice, Redis, Shared as _, Store},
};
use serde_json::json;

use super::cost::{commit_next, created, job_of, put};
use crate::support::{
    in_time,
    redis_server::{RedisServer, own_prefix},
    until,
};

/// The jobs of a state.
async fn of_state(store: &Redis, state: State) -> Vec<JobId> {
    let filter = Filter {
        states: vec![state],
        ..Filter::default()
    };
    let now = store.now().await.expect("a time");
    let jobs = store.list(&filter, None, 10, now).await.expect("a list");
    jobs.iter().map(|job| job.id().clone()).collect()
}

async fn entries(client: &mut redis::aio::MultiplexedConnection, index: &str) -> Vec<String> {
    let mut range = redis::cmd("ZRANGE");
    range.arg(index).arg(0).arg(-1);
    range.query_async(client).await.expect("entries")
}

#[tokio::test]
async fn an_entry_too_many_is_not_shown_and_one_too_few_comes_back() {
    let redis = RedisServer::shared().await;
    let prefix = own_prefix();
    let store = redis.store(&prefix).await;
    let mut client = redis.client().await;
    let mut job = created(&store, "a").await;
    commit_next(&store, &mut job, &json!({"processed_count": 1})).await;
    let id = job.id().clone();
    let index = |state: &str| format!("{prefix}index:state:{state}");
    let [entry] = &entries(&mut client, &index("processing")).await[..] else {
        panic!("one job, one entry");
    };
    // As a node leaves it that dies before its commit, or after it.
    let mut add = redis::cmd("ZADD");
    add.arg(index("completed")).arg(0).arg(entry);
    let () = add.query_async(&mut client).await.expect("a number");
    assert_eq!(of_state(&store, State::Completed).await, []);
    assert_eq!(of_state(&store, State::Processing).await, vec![id.clone()]);
    // Lost, by whatever hand: the upkeep comes by.
    for lost in [index("processing"), format!("{prefix}index:due")] {
        let mut delete = redis::cmd("DEL");
        let () = delete
            .arg(&lost)
            .query_async(&mut client)
            .await
            .expect("a number");
        until("its return", async || {
            let now = Timestamp::from_micros(0);
            store.expire(now, 60, 10).await.expect("an upkeep");
            let mut client = redis.client().await;
            entries(&mut client, &lost).await == [entry.clone()]
        })
        .await;
    }
    assert_eq!(of_state(&store, State::Processing).await, [id]);
}

#[tokio::test]
async fn what_leaves_the_indexes_leaves_them_before_what_comes_next_is_put_there() {
    let redis = RedisServer::shared().await;
    let store = redis.store(&own_prefix()).await;
    let job = created(&store, "a").await;
    for _ in 0..20 {
        let now = store.now().await.expect("a time");
        store.remove(&job.origin, now).await.expect("a removal");
        // The very same once more, with the same entries.
        let again = store.create(&job, None).await.expect("a job");
        assert!(matches!(again, Created::Done(_)), "{again:?}");
        assert_eq!(
            of_state(&store, State::Pending).await,
            vec![job.id().clone()]
        );
    }
}

#[tokio::test]
async fn more_notices_than_are_held_are_told_as_missed() {
    let redis = RedisServer::shared().await;
    let prefix = own_prefix();
    let here = redis.store(&prefix).await;
    let there: Arc<dyn Store> = Arc::new(redis.store(&prefix).await);
    let mut job = created(&*there, "a").await;
    let following: Following = here.follow(job.id()).await.expect("a subscription");
    let mut newest = job.seq;
    for number in 1..=2_000 {
        commit_next(&*there, &mut job, &json!({"processed_count": number})).await;
        newest = job.seq;
    }
    let told = async {
        loop {
            match here.next_notice().await {
                Notice::Missed => return,
                Notice::Change { job, .. } => {
                    // Of those that came before, all are kept, and none is made up.
                    let job: Arc<Job> = job;
                    assert!(job.seq <= newest);
                }
                Notice::Touched(_) | Notice::LifecycleMissed => {}
                other => panic!("{other:?}"),
            }
        }
    };
    in_time("word that some were lost", told).await;
    drop(following);
}

#[tokio::test]
async fn what_is_left_of_a_job_that_is_gone_leaves_every_index_that_it_can_be_in() {
    let redis = RedisServer::shared().await;
    let prefix = own_prefix();
    let store = redis.store(&prefix).await;
    let mut client = redis.client().await;
    let body = br#"{"kind": "k", "tags": ["t", "u"], "parent_id": "p"}"#;
    let new_job = NewJob::parse(body, &Bounds::default()).expect("a job");
    let job = put(&store, job_of(new_job, "a")).await;
    let [entry] = &entries(&mut client, &format!("{prefix}index:all")).await[..] else {
        panic!("one job, one entry");
    };
    let known = [
        "all",
        "state:pending",
        "kind:k",
        "tag:t",
        "tag:u",
        "parent:p",
    ];
    // Of another job nothing is there but what its creator wrote before it died.
    let other = format!("{entry}x");
    let guessed = ["all", "state:pending", "state:completed", "due", "tag:t"];
    let now = job.updated_at;
    let far = Timestamp::from_micros(1 << 52);
    store.remove(&job.origin, far).await.expect("a removal");
    until("its entries' end", async || {
        let mut client = redis.client().await;
        entries(&mut client, &format!("{prefix}index:all")).await == [] as [String; 0]
    })
    .await;
    let leftovers = known.iter().map(|index| (index, entry));
    for (index, entry) in leftovers.chain(guessed.iter().map(|index| (index, &other))) {
        let mut add = redis::cmd("ZADD");
        add.arg(format!("{prefix}index:{index}")).arg(0).arg(entry);
        let () = add.query_async(&mut client).await.expect("a number");
    }
    let filter = Filter {
        tag: Some("t".to_owned()),
        ..Filter::default()
    };
    let listed = store.list(&filter, None, 10, now).await.expect("a list");
    assert!(listed.is_empty());
    // A minute later it is certain.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    until("their end", async || {
        let listed = store.list(&filter, None, 10, now).await;
        assert!(listed.is_ok_and(|listed| listed.is_empty()));
        let mut client = redis.client().await;
        for index in known.iter().chain(&guessed) {
            if !entries(&mut client, &format!("{prefix}index:{index}"))
                .await
                .is_empty()
            {
                return false;
            }
        }
        true
    })
    .await;
}
