//! What the store asks of Redis, in commands and round trips: so that a change which makes it dear
//! is seen.

use std::collections::BTreeMap;

use progressd::{
    job::{Command, Defaults, Job, JobId, NewJob, Report, State, Timestamp},
    store::{Commit, Committed, Created, Filter, Shared as _, Store},
};
use redis::aio::MultiplexedConnection;
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    redis_server::{RedisServer, own_prefix},
    server::TestServer,
};

/// How often each command was called so far.
async fn calls(client: &mut MultiplexedConnection) -> BTreeMap<String, u64> {
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(client)
        .await
        .expect("statistics");
    let lines = stats.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(':')?;
        let calls = rest.strip_prefix("calls=")?.split(',').next()?;
        Some((name.to_owned(), calls.parse().expect("a number")))
    });
    lines.collect()
}

/// The commands that came from outside of scripts since then.
async fn since(
    client: &mut MultiplexedConnection,
    before: &mut BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let after = calls(client).await;
    let mut new = BTreeMap::new();
    for (name, count) in &after {
        // Those of the test, of the watch over the connections, and those that nobody waits for.
        if ["info", "get", "ping", "zrem"].contains(&name.as_str()) {
            continue;
        }
        let count = count - before.get(name).copied().unwrap_or(0);
        if count > 0 {
            new.insert(name.clone(), count);
        }
    }
    *before = after;
    new
}

fn job_named(name: &str) -> Job {
    job_of(NewJob::default(), name)
}

pub(super) fn job_of(new_job: NewJob, name: &str) -> Job {
    let defaults = Defaults {
        lease_seconds: 60,
        ttl_seconds: 3_600,
        abandon_after_seconds: 0,
    };
    let now = Timestamp::from_micros(1_795_287_600_000_000);
    let job_id = JobId::parse(name).expect("a name");
    new_job.into_job(job_id, None, None, &defaults, Uuid::new_v4(), now)
}

fn commit(job: &Job) -> Commit<'_> {
    Commit {
        job,
        positions: 1,
        events: &[],
        rows: &[],
        answers: &[],
        now: job.updated_at,
        nonce: Uuid::new_v4(),
        is_replaceable: true,
    }
}

fn reported(job: &Job, report: &serde_json::Value) -> Job {
    let bounds = progressd::job::Bounds::default();
    let report = Report::parse(report.to_string().as_bytes(), &bounds).expect("a report");
    let command = Command::Report(Box::new(report.report));
    let now = Timestamp::from_micros(job.updated_at.as_micros() + 1);
    let change = progressd::job::step(job, &command, &bounds, now);
    change.expect("an allowed report").job
}

/// A new job in the store.
pub(super) async fn created(store: &dyn Store, name: &str) -> Job {
    put(store, job_named(name)).await
}

pub(super) async fn put(store: &dyn Store, job: Job) -> Job {
    match store.create(&job, None).await.expect("a job") {
        Created::Done(seq) => Job { seq, ..job },
        other => panic!("{other:?}"),
    }
}

/// Applies a report to a job, which is then as it is in the store.
pub(super) async fn commit_next(store: &dyn Store, job: &mut Job, report: &serde_json::Value) {
    let next = reported(job, report);
    match store.commit(commit(&next)).await.expect("a commit") {
        Committed::Done { first, .. } => *job = Job { seq: first, ..next },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_report_is_one_command_and_one_round_trip() {
    // A Redis of its own, since it counts the commands of all.
    let redis = RedisServer::start().await;
    let store = redis.store(&own_prefix()).await;
    let mut client = redis.client().await;
    let mut counted = calls(&mut client).await;
    let mut job = created(&store, "a").await;
    // The script, its commands, and an entry in each index that has the job.
    let created = since(&mut client, &mut counted).await;
    assert_eq!(created["evalsha"], 1);
    let mut commit_of = async |report| {
        commit_next(&store, &mut job, &report).await;
        since(&mut client, &mut counted).await
    };
    // The state changes with the first.
    assert_eq!(commit_of(json!({"processed_count": 1})).await["evalsha"], 1);
    let ordinary = commit_of(json!({"processed_count": 2})).await;
    let expected = [
        ("evalsha", 1),
        ("hmget", 1),
        ("hset", 1),
        ("publish", 1),
        ("time", 1),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(ordinary, BTreeMap::from(expected));
    // So does it with the last.
    let last = commit_of(json!({"status": "completed"})).await;
    assert_eq!(last["evalsha"], 1);
    let now = job.updated_at;
    store.load(job.id(), now).await.expect("a job");
    let load = since(&mut client, &mut counted).await;
    assert_eq!(load, BTreeMap::from([("hmget".to_owned(), 1)]));
    store.now().await.expect("a time");
    store.seqs(&[&job.origin]).await.expect("a seq");
    let looks = since(&mut client, &mut counted).await;
    assert_eq!(looks["hmget"] + looks["time"], 2);
    let filter = Filter {
        states: vec![State::Completed],
        ..Filter::default()
    };
    let listed = store.list(&filter, None, 10, now).await.expect("a list");
    assert_eq!(listed.len(), 1);
    let list = since(&mut client, &mut counted).await;
    assert_eq!((list["zrange"], list["hmget"]), (1, 1));
}

#[tokio::test]
async fn a_report_over_http_asks_redis_for_nothing_but_its_commit() {
    const REPORTS: u64 = 50;
    let redis = RedisServer::start().await;
    let server = TestServer::with(&redis.toml(&own_prefix())).await;
    server.create(json!({"job_id": "j"})).await;
    server.report("j", json!({})).await;
    let mut client = redis.client().await;
    let mut counted = calls(&mut client).await;
    for number in 1..=REPORTS {
        let report = json!({"processed_count": number});
        server.report("j", report).await;
    }
    let calls = since(&mut client, &mut counted).await;
    assert_eq!(calls["publish"], REPORTS, "{calls:?}");
    // A look within each commit, and a few of the server's own now and then.
    assert!(
        (REPORTS..REPORTS + REPORTS / 2).contains(&calls["hmget"]),
        "{calls:?}"
    );
}

#[tokio::test]
async fn a_list_of_jobs_that_two_indexes_share_reads_no_other() {
    const EACH: u64 = 3_000;
    let redis = RedisServer::start().await;
    let prefix = own_prefix();
    let store = redis.store(&prefix).await;
    let mut client = redis.client().await;
    let of = |body: &str, name: &str| {
        let new_job = NewJob::parse(body.as_bytes(), &progressd::job::Bounds::default());
        job_of(new_job.expect("a job"), name)
    };
    // Jobs of the kind, then jobs with the tag; and one with both among each.
    let kind = put(&store, of(r#"{"kind": "k"}"#, "kind")).await;
    let tag = put(&store, of(r#"{"tags": ["t"]}"#, "tag")).await;
    for name in ["both-1", "both-2"] {
        put(&store, of(r#"{"kind": "k", "tags": ["t"]}"#, name)).await;
    }
    for (job, index) in [(&kind, "kind:k"), (&tag, "tag:t")] {
        let incarnation = job.origin.incarnation.simple();
        for number in 0..EACH {
            let name = format!("{}-{number}", job.id());
            let mut add = redis::cmd("ZADD");
            add.arg(format!("{prefix}index:{index}"))
                .arg(0)
                .arg(format!(
                    "{:018}{name} {incarnation}",
                    job.origin.created_at.as_micros()
                ));
            let () = add.query_async(&mut client).await.expect("a number");
        }
    }
    let mut counted = calls(&mut client).await;
    let filter = Filter {
        kind: Some("k".to_owned()),
        tag: Some("t".to_owned()),
        ..Filter::default()
    };
    let now = kind.updated_at;
    let listed = store.list(&filter, None, 10, now).await.expect("a list");
    let names: Vec<_> = listed.iter().map(|job| job.id().as_str()).collect();
    assert_eq!(names, ["both-2", "both-1"]);
    let asked = since(&mut client, &mut counted).await;
    assert_eq!(asked["hmget"], 2, "{asked:?}");
    assert!(asked["zrange"] + asked["zmscore"] <= 16, "{asked:?}");
}

/// By hand: how long it takes to find that two filters over 120,000 jobs each do not meet.
#[tokio::test]
#[ignore = "it measures, for a minute"]
async fn two_filters_over_120_000_jobs_that_do_not_meet() {
    const FILL: &str = "for number = tonumber(ARGV[2]), ARGV[3] - 1 do \
        local name = ARGV[4] .. number \
        redis.call('COPY', KEYS[1], ARGV[1] .. 'job:{' .. name .. '}') \
        redis.call('ZADD', KEYS[2], 0, ARGV[5] .. name .. ' ' .. ARGV[6]) end";
    let redis = RedisServer::start().await;
    let prefix = own_prefix();
    let store = redis.store(&prefix).await;
    let mut client = redis.client().await;
    let mut at = None;
    for (body, name, index) in [
        (r#"{"kind": "k"}"#, "kind", "kind:k"),
        (r#"{"tags": ["t"]}"#, "tag", "tag:t"),
    ] {
        let new_job = NewJob::parse(body.as_bytes(), &progressd::job::Bounds::default());
        let job = put(&store, job_of(new_job.expect("a job"), name)).await;
        for slice in 0..120 {
            let mut fill = redis::cmd("EVAL");
            fill.arg(FILL).arg(2);
            fill.arg(format!("{prefix}job:{{{name}}}"));
            fill.arg(format!("{prefix}index:{index}"));
            fill.arg(&prefix)
                .arg(slice * 1_000)
                .arg((slice + 1) * 1_000);
            fill.arg(name);
            fill.arg(format!("{:018}", job.origin.created_at.as_micros()));
            fill.arg(job.origin.incarnation.simple().to_string());
            let () = fill.query_async(&mut client).await.expect("jobs");
        }
        at = Some(job.updated_at);
    }
    let filter = Filter {
        kind: Some("k".to_owned()),
        tag: Some("t".to_owned()),
        ..Filter::default()
    };
    let begin = std::time::Instant::now();
    let listed = store.list(&filter, None, 10, at.expect("a time")).await;
    println!(
        "{:?} for {} jobs",
        begin.elapsed(),
        listed.expect("a list").len()
    );
}
