//! Pushed reports that cannot be applied, or are larger than anybody takes.

use std::{sync::Arc, time::Duration};

use progressd::{
    intake::Intake,
    job::{JobId, Timestamp},
    metrics::{Meter, PushedMetrics},
    store::{Loaded, PushedReports, Redis, Store},
};
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use super::{
    TOML,
    cost::created,
    pushed::{Pusher, counted},
};
use crate::support::{
    in_time,
    jobs::registry,
    redis_server::{RedisServer, own_prefix},
    server::TestServer,
    until,
};

/// As many entries as are read at a time, and some more.
const MANY: u64 = 200;

const MIB: usize = 1 << 20;

/// Makes a job unreadable; what it was.
async fn spoil(redis: &RedisServer, pusher: &mut Pusher, prefix: &str, job_id: &str) -> String {
    let document = redis
        .ask(&format!("HGET {prefix}job:{{{job_id}}} document"))
        .await;
    let newer = r#"{"from":"a newer version"}"#;
    pusher
        .set(&format!("job:{{{job_id}}}"), &[("document", newer)])
        .await;
    document
}

#[tokio::test]
async fn a_job_that_cannot_be_read_holds_up_its_own_entries_alone() {
    let redis = RedisServer::shared().await;
    let prefix = own_prefix();
    let mut pusher = Pusher::new(redis, &prefix).await;
    let store = redis.store(&prefix).await;
    for name in ["bad", "good"] {
        created(&store, name).await;
    }
    let document = spoil(redis, &mut pusher, &prefix, "bad").await;
    for number in 1..=MANY {
        let message = format!("line {number}");
        pusher
            .add(&json!({"job_id": "bad", "processed_increment": 1, "message": message}))
            .await;
    }
    pusher
        .add(&json!({"job_id": "good", "processed_increment": 1}))
        .await;
    let server = TestServer::with(&format!("{}{TOML}", redis.toml(&prefix))).await;
    until("the other job's", async || {
        server.status("good").await["processed_count"] == 1
    })
    .await;
    // Also those that come while the first ones are tried again.
    for number in 2..=5 {
        pusher
            .add(&json!({"job_id": "good", "processed_increment": 1}))
            .await;
        until("the next", async || {
            server.status("good").await["processed_count"] == number
        })
        .await;
    }
    assert_eq!(counted(&[&server], "stream", "accepted").await, 5.0);
    assert!(counted(&[&server], "stream", "failed").await >= 1.0);
    let late = json!({"job_id": "bad", "processed_increment": 1, "message": "the last"});
    pusher.add(&late).await;
    pusher
        .set("job:{bad}", &[("document", document.as_str())])
        .await;
    until("all of them", async || {
        server.status("bad").await["processed_count"] == MANY + 1
    })
    .await;
    assert_eq!(server.status("bad").await["message"], "the last");
    until("nothing left", async || {
        let mut pusher = Pusher::new(redis, &prefix).await;
        pusher.length("reports").await == 0
    })
    .await;
    assert_eq!(counted(&[&server], "stream", "refused").await, 0.0);
    assert_eq!(counted(&[&server], "stream", "accepted").await, 206.0);
}

/// What applies pushed reports without a server, and gives up soon.
fn impatient(store: &Arc<Redis>) -> AbortOnDropHandle<()> {
    let reports = PushedReports::of(Arc::clone(store), MIB);
    let metrics = PushedMetrics::new(&Meter::new());
    let intake = Intake::new(reports, registry(Arc::clone(store) as _), metrics)
        .giving_up_after(Duration::from_millis(1_500));
    AbortOnDropHandle::new(tokio::spawn(intake.run()))
}

/// Whether a job has counted anything.
async fn has_begun(store: &Redis, job_id: &str) -> bool {
    let job_id = JobId::parse(job_id).expect("a name");
    let now = Timestamp::from_micros(1_795_287_600_000_000);
    match store.load(&job_id, now).await.expect("an answer") {
        Loaded::Job(stored) => stored.job.face.progress.processed().is_some(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_fails_for_too_long_is_refused_and_kept() {
    let redis = RedisServer::shared().await;
    let prefix = own_prefix();
    let mut pusher = Pusher::new(redis, &prefix).await;
    let store = Arc::new(redis.store(&prefix).await);
    for name in ["bad", "good"] {
        created(&*store, name).await;
    }
    spoil(redis, &mut pusher, &prefix, "bad").await;
    for number in 1..=MANY {
        pusher
            .add(&json!({"job_id": "bad", "processed_count": number}))
            .await;
    }
    let _intake = impatient(&store);
    until("the end of all", async || {
        let mut pusher = Pusher::new(redis, &prefix).await;
        pusher.length("reports").await == 0
    })
    .await;
    let refused = pusher.refused().await;
    assert_eq!(refused.len() as u64, MANY);
    for (number, fields) in (1..).zip(&refused) {
        assert_eq!(fields[2], "STORE_UNAVAILABLE");
        assert!(fields[4].contains(&format!(":{number}}}")), "{fields:?}");
    }
    pusher
        .add(&json!({"job_id": "good", "processed_count": 1}))
        .await;
    until("the other job's", async || has_begun(&store, "good").await).await;
}

#[tokio::test]
async fn entries_are_read_in_as_many_bytes_as_there_is_room_for() {
    let redis = RedisServer::shared().await;
    let prefix = own_prefix();
    let mut pusher = Pusher::new(redis, &prefix).await;
    let store = Arc::new(redis.store(&prefix).await);
    let reports = PushedReports::of(Arc::clone(&store), MIB);
    let mut expected = Vec::new();
    for number in 0..24 {
        // Each as large as may be, and every fourth is far too large.
        let bytes = if number % 4 == 3 { 4 * MIB } else { MIB };
        expected.push(bytes.min(MIB + 1));
        pusher.add_text(&"x".repeat(bytes)).await;
    }
    // New ones; then, since nobody has finished them, those that another reader left.
    for _ in 0..2 {
        let mut entries = reports.entries().await.expect("a stream");
        let mut found = Vec::new();
        while found.len() < expected.len() {
            let next = entries.next(Duration::from_secs(1));
            let batch = in_time("entries", next).await.expect("entries");
            let sizes = batch
                .entries
                .iter()
                .map(|entry| entry.report.as_ref().map_or(0, Vec::len));
            let sizes: Vec<usize> = sizes.collect();
            assert!(sizes.iter().sum::<usize>() <= 5 * MIB, "{sizes:?}");
            found.extend(sizes);
        }
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn messages_wait_in_as_many_bytes_as_there_is_room_for() {
    let redis = RedisServer::start().await;
    let prefix = own_prefix();
    let mut pusher = Pusher::new(&redis, &prefix).await;
    let store = Arc::new(redis.store(&prefix).await);
    let reports = PushedReports::of(store, MIB);
    let mut messages = reports.messages().await.expect("a subscription");
    for _ in 0..40 {
        pusher.publish_text("j", &"x".repeat(2 * MIB)).await;
    }
    pusher.publish_text("last", "x").await;
    let mut sizes = Vec::new();
    let mut lost = 0;
    while sizes.last() != Some(&1) {
        let batch = in_time("messages", messages.next()).await.expect("some");
        sizes.extend(batch.iter().map(|message| message.report.len()));
        lost += messages.take_lost();
    }
    let large = sizes.len() - 1;
    assert!(sizes[..large].iter().all(|size| *size == MIB + 1));
    assert_eq!(large as u64 + lost, 40);
}

#[tokio::test]
async fn a_subscription_that_breaks_is_counted() {
    let redis = RedisServer::start().await;
    let prefix = own_prefix();
    let server = TestServer::with(&format!("{}{TOML}", redis.toml(&prefix))).await;
    let breaks = async || {
        let scrape = crate::support::scrape::Scrape::of(&server).await;
        scrape.sum("progressd_pushed_subscription_breaks_total")
    };
    until("a break", async || {
        let _: u32 = redis.ask("CLIENT KILL TYPE pubsub").await;
        breaks().await >= 1.0
    })
    .await;
}
