//! A PostgreSQL that is not there yet when a node starts, or has not started yet itself.

use std::time::{Duration, Instant};

use progressd::store::{Postgres, PostgresSettings};

use crate::support::{
    in_time,
    ports::free_address,
    postgres_server::{PASSWORD, PostgresServer, as_postgres, database, shared},
    process::Process,
    secrets, until,
};

/// Longer than a test waits for anything.
const FOR_EVER: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_has_not_started_yet_is_waited_for_and_the_log_says_so_once() {
    let postgres = tokio::task::spawn_blocking(|| PostgresServer::start(&["fsync=off"])).await;
    let postgres = postgres.expect("a server");
    let database = postgres.database().await;
    // One that follows nobody and lets nobody read: it says that it has not started, for as long as we like.
    let standby = postgres.data().join("standby.signal");
    database.execute("ALTER SYSTEM SET hot_standby = off").await;
    tokio::task::block_in_place(|| {
        postgres.stop("fast");
        let touched = as_postgres("touch").arg(&standby).status();
        assert!(touched.expect("touch is there").success());
        postgres.start_again();
    });
    let url = database.url.clone();
    let starting = tokio::spawn(async move {
        let keys = [
            ("SSE_SOURCE", "db"),
            ("PROGRESSD__STORE__POSTGRES__URL", url.as_str()),
        ];
        Process::start(&keys).await
    });
    let turned_away = async || {
        postgres
            .log()
            .matches("FATAL:  the database system")
            .count()
            >= 3
    };
    until("tries that are turned away", turned_away).await;
    tokio::task::block_in_place(|| {
        // From here on there is nobody at all for a while.
        postgres.stop("fast");
        let removed = as_postgres("rm").arg(&standby).status();
        assert!(removed.expect("rm is there").success());
        postgres.start_again();
    });
    let mut process = in_time("the start", starting).await.expect("no panic");
    let line = process.logged("waiting for PostgreSQL").await;
    assert!(line.contains("57P03"), "{line}");
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
    let log = process.rest_of_log().await;
    let again = log.iter().find(|line| line.contains("waiting for"));
    assert_eq!(again, None);
}

#[tokio::test]
async fn a_postgres_that_does_not_come_is_given_up() {
    let patience = Duration::from_millis(600);
    let settings = PostgresSettings {
        url: format!("postgres://me@{}/x", free_address()),
        start_patience: patience,
        ..shared().database_named("postgres").settings()
    };
    let begin = Instant::now();
    let opened = in_time("an answer", Postgres::open(settings)).await;
    let error = opened.expect_err("nobody is there").to_string();
    assert!(error.contains("refused"), "{error}");
    assert!(begin.elapsed() >= patience, "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waiting_does_not_mend_ends_the_start_at_once() {
    let server =
        tokio::task::spawn_blocking(|| PostgresServer::start_with("scram-sha-256", &["fsync=off"]));
    let server = server.await.expect("a server");
    secrets::register(PASSWORD);
    let there = database().await;
    let with = |url: &str| PostgresSettings {
        url: url.to_owned(),
        start_patience: FOR_EVER,
        ..there.settings()
    };
    let of_nobody = server.database_named("nowhere");
    let by_tls = format!("{}?sslmode=require", there.url);
    for (url, part) in [
        (of_nobody.url.as_str(), "\"nowhere\" does not exist"),
        (
            of_nobody.as_user("postgres").url.as_str(),
            "password authentication failed",
        ),
        (by_tls.as_str(), "does not support TLS"),
    ] {
        let opened = in_time("an answer", Postgres::open(with(url))).await;
        let error = opened.expect_err("it will not do").to_string();
        assert!(error.contains(part), "{error}");
    }
}
