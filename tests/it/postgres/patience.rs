//! How long anybody waits while a transaction of somebody else's stays open: not at all for what it does
//! not hold, and for what it holds no longer than a node waits for its store.

use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use progressd::{
    job::{Job, JobId, NewJob, Seq, State, Timestamp},
    store::{Commit, Created, Filter, Loaded, Postgres, PostgresSettings, Shared as _, Store},
};
use reqwest::StatusCode;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::serve;
use crate::support::{
    in_time,
    postgres_server::{Database, database, execute},
    until,
};

/// A node waits this long for its store, where the wait must not be met.
const LONG: Duration = Duration::from_secs(10);

/// Whoever is kept waiting by nobody has an answer well before.
const SHORT: Duration = Duration::from_secs(3);

fn now() -> Timestamp {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    let micros = since.expect("a clock after 1970").as_micros();
    Timestamp::from_micros(u64::try_from(micros).expect("64 bits"))
}

/// A job that is being worked on since now.
async fn begun(store: &Postgres, name: &str) -> Job {
    let defaults = progressd::job::Defaults {
        lease_seconds: 60,
        ttl_seconds: 3_600,
        abandon_after_seconds: 0,
    };
    let job_id = JobId::parse(name).expect("a name");
    let job = NewJob::default().into_job(job_id, None, None, &defaults, Uuid::new_v4(), now());
    let created = store.create(&job, None).await;
    let Ok(Created::Done(seq)) = created else {
        panic!("{name}: {created:?}")
    };
    let mut job = Job { seq, ..job };
    job.face.state = State::Processing;
    store.commit(proposed(&job)).await.expect("a commit");
    job
}

fn proposed(job: &Job) -> Commit<'_> {
    Commit {
        job,
        positions: 1,
        events: &[],
        rows: &[],
        answers: &[],
        now: now(),
        nonce: Uuid::new_v4(),
        is_replaceable: false,
    }
}

/// Begins a transaction that stays open, with this in it.
async fn begin(database: &Database, sql: &str) -> PgConnection {
    let mut worker = database.connect().await;
    execute(&mut worker, "BEGIN").await;
    execute(&mut worker, sql).await;
    worker
}

/// How many of the nodes' statements there are of which this holds.
async fn statements(database: &Database, condition: &str) -> usize {
    let sql = format!(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name = 'progressd' AND state = 'active' AND {condition}"
    );
    database.execute(&sql).await.len()
}

#[tokio::test]
async fn deadlines_of_other_jobs_are_found_while_a_worker_holds_rows_whose_lease_is_over() {
    let database = database().await;
    let store = database.store().await;
    for name in ["held", "free"] {
        begun(&store, name).await;
    }
    let after_the_lease = now().plus_seconds(120);
    let due = async || {
        let found = store.due(after_the_lease, 10).await.expect("names");
        let mut names: Vec<_> = found.iter().map(JobId::to_string).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(due().await, ["free", "held"]);
    let hold = "UPDATE progressd.jobs SET message = 'x' WHERE job_id = 'held'";
    let mut worker = begin(&database, hold).await;
    assert_eq!(due().await, ["free"]);
    execute(&mut worker, "ROLLBACK").await;
    assert_eq!(due().await, ["free", "held"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_or_a_join_that_waits_keeps_no_writer_of_another_job_waiting() {
    let database = database().await;
    let server = serve(&database, LONG).await;
    for job_id in ["read", "other"] {
        server.create(json!({"job_id": job_id})).await;
    }
    let cursor = server.status("read").await["seq"].to_string();
    let event = json!({"event": "e", "data": 1});
    let posted = server.post("/api/v1/jobs/read/events", event).await;
    posted.expect(StatusCode::OK);
    let lock = "LOCK TABLE progressd.events IN ACCESS EXCLUSIVE MODE";
    let mut worker = begin(&database, lock).await;
    let joins: Vec<_> = (0..20)
        .map(|_| {
            let (server, cursor) = (server.guest(), cursor.clone());
            tokio::spawn(async move {
                let mut stream = server.resume("read", &cursor).await;
                stream.next_status().await;
                assert_eq!(stream.next().await.name(), "e");
            })
        })
        .collect();
    let waiting = "wait_event_type = 'Lock' AND query LIKE '%progressd.events%'";
    until("joins that wait", async || {
        statements(&database, waiting).await >= 5
    })
    .await;
    let begin = Instant::now();
    for count in 1..=20 {
        server
            .report("other", json!({"processed_count": count}))
            .await;
        server.create(json!({})).await;
    }
    assert!(begin.elapsed() < SHORT, "{:?}", begin.elapsed());
    assert!(statements(&database, waiting).await >= 5);
    execute(&mut worker, "COMMIT").await;
    for join in joins {
        in_time("the joins", join).await.expect("no panic");
    }
}

/// More held rows than a node has connections, many times over.
const HELD: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_on_many_held_rows_leave_the_reports_on_others_as_quick_as_they_were() {
    let database = database().await;
    let server = serve(&database, LONG).await;
    let names: Vec<_> = (0..HELD).map(|number| format!("held-{number}")).collect();
    for job_id in names.iter().map(String::as_str).chain(["other"]) {
        server.create(json!({"job_id": job_id})).await;
    }
    let hold = "UPDATE progressd.jobs SET message = 'held' WHERE job_id LIKE 'held%'";
    let mut worker = begin(&database, hold).await;
    let reports: Vec<_> = names
        .iter()
        .map(|job_id| {
            let (server, job_id) = (server.guest(), job_id.clone());
            tokio::spawn(async move { server.report(&job_id, json!({"processed_count": 1})).await })
        })
        .collect();
    until("reports that wait for their rows", async || {
        statements(&database, "wait_event_type = 'Lock'").await > 0
    })
    .await;
    let mut took = Vec::new();
    for count in 1..=10 {
        let begin = Instant::now();
        server
            .report("other", json!({"processed_count": count}))
            .await;
        took.push(begin.elapsed());
    }
    assert!(took.iter().sum::<Duration>() < SHORT, "{took:?}");
    // None of the others was given up meanwhile, and each is done once its row is free.
    execute(&mut worker, "COMMIT").await;
    for report in join_all(reports).await {
        report.expect("it was taken");
    }
    for job_id in &names {
        assert_eq!(server.status(job_id).await["processed_count"], 1);
    }
}

#[tokio::test]
async fn a_creation_of_a_name_that_somebody_holds_costs_a_503_and_nothing_is_made_behind_it() {
    let database = database().await;
    let server = serve(&database, Duration::from_millis(500)).await;
    let create = "SELECT progressd.create_job('j')";
    let mut worker = begin(&database, create).await;
    let refused = server.post("/api/v1/jobs", json!({"job_id": "j"})).await;
    refused.error(503, "STORE_UNAVAILABLE");
    let creating = "query LIKE '%progressd.create(%'";
    assert_eq!(statements(&database, creating).await, 0);
    execute(&mut worker, "ROLLBACK").await;
    until("the end of the creation", async || {
        statements(&database, creating).await == 0
    })
    .await;
    let unknown = server.get("/api/v1/jobs/j").await;
    unknown.error(404, "JOB_NOT_FOUND");
    server.create(json!({"job_id": "j"})).await;
}

#[tokio::test]
async fn every_operation_ends_within_its_patience_whatever_it_tries_again() {
    let database = database().await;
    let settings = PostgresSettings {
        patience: Duration::from_millis(800),
        ..database.settings()
    };
    let store = Postgres::open(settings).await.expect("a store");
    let job = begun(&store, "j").await;
    let lock = "LOCK TABLE progressd.jobs, progressd.reservations, progressd.put_values \
        IN ACCESS EXCLUSIVE MODE";
    let _worker = begin(&database, lock).await;
    let (filter, node) = (Filter::default(), Uuid::new_v4());
    macro_rules! ends {
        ($($call:expr),* $(,)?) => {$(
            let begin = Instant::now();
            let outcome = in_time(stringify!($call), $call).await;
            assert!(outcome.is_err(), stringify!($call));
            assert!(begin.elapsed() < SHORT, "{}: {:?}", stringify!($call), begin.elapsed());
        )*};
    }
    ends![
        store.create(&job, None),
        store.reserve("k", job.id(), now()),
        store.load(job.id(), now()),
        store.input(&job.origin),
        store.commit(proposed(&job)),
        store.events_after(&job.origin, Seq::ZERO),
        store.list(&filter, None, 10, now()),
        store.unfinished(None, None, 10),
        store.rows(&job.origin, 0, 10),
        store.remove(&job.origin, now()),
        store.expire(now(), 60, 10),
        store.put_if_absent("k", b"v", None, now()),
        store.counts(),
        store.seqs(&[&job.origin]),
        store.due(now(), 10),
        store.claim(&job.origin, node, LONG),
        store.release(&job.origin, node),
        store.answers(&job.origin, &[]),
        store.restore(&job),
    ];
    // They have left nothing behind that keeps the next one waiting.
    let begin = Instant::now();
    store.ping().await.expect("an answer");
    assert!(begin.elapsed() < SHORT, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_creation_that_the_database_comes_to_after_its_jobs_removal_makes_nothing() {
    let store = database().await.store().await;
    let job = begun(&store, "j").await;
    let removal = store.remove(&job.origin, now().plus_seconds(60));
    removal.await.expect("a removal");
    // As of a node that has given up waiting, and asked once more, before.
    let late = store.create(&job, None).await;
    late.expect_err("it was made and removed");
    let found = store.load(job.id(), now()).await.expect("an answer");
    assert!(matches!(found, Loaded::Gone(_)), "{found:?}");
    // Another job may have the name.
    let other = begun(&store, "j").await;
    assert!(other.seq > job.seq);
}
