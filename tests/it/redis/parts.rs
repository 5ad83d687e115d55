//! What the store makes up for by itself: indexes that a dead node left half written, and more
//! notices than it holds.

use std::sync::Arc;

use progressd::{
    job::{Job, JobId, State, Timestamp},
    store::{Created, Filter, Following, Notice, Redis, Shared as _, Store},
};
use serde_json::json;

use super::cost::{commit_next, created};
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
                Notice::Touched(_) => {}
                Notice::Emptied => panic!("nothing was emptied"),
            }
        }
    };
    in_time("word that some were lost", told).await;
    drop(following);
}
