//! Jobs that others make, end or remove, where nobody here follows them: told by notification, found by
//! polling where there is none, and in whatever order transactions end.

use std::time::Duration;

use futures_util::FutureExt as _;
use progressd::{
    job::{Job, JobId, State, Timestamp},
    store::{Following, Notice, Postgres, PostgresSettings, Shared as _, Store as _},
};
use sqlx::PgConnection;

use crate::support::{
    in_time,
    postgres_server::{Database, PostgresServer, database, execute},
    until,
};

/// Takes notifications away: commits tell nobody of anything.
const MUTE: &str = "CREATE OR REPLACE FUNCTION progressd.notify(node text, job_id text, seq bigint) \
    RETURNS void LANGUAGE sql RETURN NULL";

/// A store that looks as often as this, besides when it is told.
async fn polling(database: &Database, poll_interval: Duration) -> (Postgres, Following) {
    let settings = PostgresSettings {
        poll_interval,
        ..database.settings()
    };
    let store = Postgres::open(settings).await.expect("a database");
    let following = store.follow_lifecycle().await.expect("a snapshot");
    (store, following)
}

/// One that is told of everything.
async fn told_of_all(database: &Database) -> (Postgres, Following) {
    polling(database, Duration::from_secs(3_600)).await
}

/// One that is told of nothing.
async fn told_of_nothing(database: &Database) -> (Postgres, Following) {
    let opened = polling(database, Duration::from_millis(100)).await;
    database.execute(MUTE).await;
    opened
}

/// What is told next.
async fn next(store: &Postgres) -> Result<Job, String> {
    loop {
        match in_time("a notice", store.next_notice()).await {
            Notice::Entered(job) => return Ok(Job::clone(&job)),
            Notice::Removed { job_id, .. } => return Err(job_id.to_string()),
            Notice::LifecycleMissed => return Err("missed".to_owned()),
            Notice::Missed => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn next_entry(store: &Postgres) -> (String, State) {
    let job = next(store).await.expect("a job that is there");
    (job.id().to_string(), job.face.state)
}

fn entry(name: &str, state: State) -> (String, State) {
    (name.to_owned(), state)
}

async fn make(worker: &mut PgConnection, name: &str) {
    let sql = format!("SELECT progressd.create_job('{name}', kind => 'k', tags => '{{a}}')");
    execute(worker, &sql).await;
}

async fn update(worker: &mut PgConnection, name: &str, set: &str) {
    let sql = format!("UPDATE progressd.jobs SET {set} WHERE job_id = '{name}'");
    execute(worker, &sql).await;
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let micros = since.expect("a clock after 1970").as_micros();
    Timestamp::from_micros(u64::try_from(micros).expect("64 bits"))
}

#[tokio::test]
async fn what_workers_do_by_sql_is_told_when_it_is_committed_and_found_when_it_is_not_told() {
    for is_told in [true, false] {
        let database = database().await;
        let (store, _following) = match is_told {
            true => told_of_all(&database).await,
            false => told_of_nothing(&database).await,
        };
        let mut worker = database.connect().await;
        make(&mut worker, "j").await;
        assert_eq!(next_entry(&store).await, entry("j", State::Pending));
        update(&mut worker, "j", "message = 'begun'").await;
        assert_eq!(next_entry(&store).await, entry("j", State::Processing));
        // These change no state.
        for number in 0..10 {
            update(&mut worker, "j", &format!("processed_count = {number}")).await;
        }
        update(&mut worker, "j", "status = 'pending', attempt = 2").await;
        assert_eq!(next_entry(&store).await, entry("j", State::Pending));
        update(&mut worker, "j", "status = 'completed', result = '[1]'").await;
        let end = next(&store).await.expect("a job");
        assert_eq!(end.face.state, State::Completed);
        assert_eq!(end.face.attempt, 2);
        let stored = store.load(end.id(), now()).await.expect("a job");
        let progressd::store::Loaded::Job(stored) = stored else {
            panic!("{stored:?}")
        };
        assert_eq!(*stored.job, end);
        let other = database.store().await;
        let removing = other.remove(&end.origin, now().plus_seconds(60)).await;
        removing.expect("a removal");
        assert_eq!(next(&store).await, Err("j".to_owned()));
    }
}

#[tokio::test]
async fn many_jobs_of_one_transaction_are_told_by_one_notification_and_each_is_found() {
    let database = database().await;
    let mut worker = database.connect().await;
    let (store, _following) = told_of_all(&database).await;
    let mut listener = sqlx::postgres::PgListener::connect(&database.url)
        .await
        .expect("a listener");
    listener.listen("progressd").await.expect("a channel");
    let sql = "SELECT progressd.create_job('job-' || n) FROM generate_series(1, 1200) AS n";
    execute(&mut worker, sql).await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 1_200 {
        let (name, state) = next_entry(&store).await;
        assert_eq!(state, State::Pending);
        assert!(seen.insert(name));
    }
    execute(&mut worker, "SELECT pg_notify('progressd', 'the end')").await;
    let mut notifications = Vec::new();
    while notifications.last().is_none_or(|last| last != "the end") {
        let notification = in_time("a notification", listener.recv()).await;
        let notification = notification.expect("a connection");
        notifications.push(notification.payload().to_owned());
    }
    // Besides that by which a node finds out whether it hears any.
    notifications.retain(|payload| !payload.ends_with('?'));
    assert_eq!(notifications, [" 0 +", "the end"]);
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_found_late_and_not_lost() {
    for is_told in [true, false] {
        let database = database().await;
        let (store, _following) = match is_told {
            true => told_of_all(&database).await,
            false => told_of_nothing(&database).await,
        };
        let mut late = database.connect().await;
        let mut other = database.connect().await;
        make(&mut other, "late").await;
        assert_eq!(next_entry(&store).await, entry("late", State::Pending));
        execute(&mut late, "BEGIN").await;
        update(&mut late, "late", "status = 'completed'").await;
        make(&mut late, "later").await;
        // Meanwhile others begin later and are done before.
        for number in 0..5 {
            let name = format!("other-{number}");
            make(&mut other, &name).await;
            assert_eq!(next_entry(&store).await, entry(&name, State::Pending));
        }
        execute(&mut late, "COMMIT").await;
        let mut found = [next_entry(&store).await, next_entry(&store).await];
        found.sort();
        let expected = [
            entry("late", State::Completed),
            entry("later", State::Pending),
        ];
        assert_eq!(found, expected);
        // One that is rolled back is found by nobody.
        execute(&mut late, "BEGIN").await;
        make(&mut late, "never").await;
        execute(&mut late, "ROLLBACK").await;
        make(&mut other, "last").await;
        assert_eq!(next_entry(&store).await, entry("last", State::Pending));
    }
}

#[tokio::test]
async fn a_transaction_that_was_open_before_somebody_followed_is_found() {
    let database = database().await;
    drop(database.store().await);
    let mut late = database.connect().await;
    execute(&mut late, "BEGIN").await;
    make(&mut late, "late").await;
    let (store, _following) = told_of_all(&database).await;
    assert!(
        store
            .next_notice()
            .now_or_never()
            .is_none_or(|notice| matches!(notice, Notice::Missed))
    );
    execute(&mut late, "COMMIT").await;
    assert_eq!(next_entry(&store).await, entry("late", State::Pending));
}

#[tokio::test]
async fn jobs_that_a_dump_brought_from_elsewhere_are_found_by_nobody_again_and_again() {
    let database = database().await;
    let mut worker = database.connect().await;
    let (store, _following) = polling(&database, Duration::from_millis(50)).await;
    make(&mut worker, "old").await;
    assert_eq!(next_entry(&store).await, entry("old", State::Pending));
    // By a transaction that this cluster has not had yet.
    let sql = "SET progressd.writer = 'server'; \
        UPDATE progressd.jobs SET entered_xid = '9000000000000000000'; RESET progressd.writer";
    execute(&mut worker, sql).await;
    for number in 0..3 {
        let name = format!("new-{number}");
        make(&mut worker, &name).await;
        assert_eq!(next_entry(&store).await, entry(&name, State::Pending));
    }
    update(&mut worker, "old", "status = 'failed'").await;
    assert_eq!(next_entry(&store).await, entry("old", State::Failed));
}

#[tokio::test]
async fn a_worker_may_not_say_when_a_job_came_into_its_state() {
    let database = database().await;
    drop(database.store().await);
    let mut worker = database.connect().await;
    make(&mut worker, "j").await;
    for set in ["entered_xid = '1'", "entered_by = 'me'"] {
        let sql = format!("UPDATE progressd.jobs SET {set}");
        let refused = crate::support::postgres_server::try_execute(&mut worker, &sql).await;
        assert_eq!(
            refused.err().map(|(code, _)| code).as_deref(),
            Some("PD004")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_away_tells_that_something_may_be_missed_and_then_goes_on() {
    let postgres = tokio::task::spawn_blocking(|| PostgresServer::start(&[])).await;
    let postgres = postgres.expect("a server");
    let database = postgres.database().await;
    let (store, _following) = told_of_all(&database).await;
    make(&mut database.connect().await, "before").await;
    assert_eq!(next_entry(&store).await, entry("before", State::Pending));
    tokio::task::block_in_place(|| {
        postgres.stop("immediate");
        postgres.start_again();
    });
    let mut worker = database.connect().await;
    make(&mut worker, "meanwhile").await;
    // Whoever lists the jobs after this finds what was made before.
    until("word of it", async || {
        next(&store).await == Err("missed".to_owned())
    })
    .await;
    make(&mut worker, "after").await;
    let mut names = vec![next_entry(&store).await.0];
    while names.last().is_some_and(|name| name != "after") {
        names.push(next_entry(&store).await.0);
    }
    let job_id = JobId::parse("before").expect("a name");
    assert!(store.load(&job_id, now()).await.is_ok());
}
