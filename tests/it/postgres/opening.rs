//! What a start does with the database that it finds.

use std::process::Stdio;

use futures_util::future::join_all;
use progressd::store::{Postgres, PostgresOpenError, PostgresSettings, Store};
use sqlx::Row as _;
use tokio::process::Command;

use crate::support::{
    in_time,
    ports::free_address,
    postgres_server::{Database, PASSWORD, PostgresServer, database, shared},
    secrets,
};

/// Opens a database that will not do; the sentence.
async fn refused(settings: PostgresSettings) -> String {
    match in_time("an answer", Postgres::open(settings)).await {
        Ok(_) => panic!("the database will do"),
        Err(error) => error.to_string(),
    }
}

fn at(url: &str, database: &Database) -> PostgresSettings {
    PostgresSettings {
        url: url.to_owned(),
        ..database.settings()
    }
}

#[tokio::test]
async fn nodes_that_start_at_once_make_the_tables_once() {
    let database = database().await;
    let opened = join_all((0..8).map(|_| Postgres::open(database.settings()))).await;
    for store in opened {
        let store = store.expect("a store");
        store.ping().await.expect("an answer");
    }
    let again = Postgres::open(database.settings()).await;
    again.expect("a store in a database that has the tables");
    let rows = database
        .execute("SELECT count(*) FROM progressd.migrations WHERE success")
        .await;
    assert_eq!(rows[0].get::<i64, _>(0), 3);
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let database = database().await;
    drop(database.store().await);
    database
        .execute(
            "INSERT INTO progressd.migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'from later', true, '', 0)",
        )
        .await;
    let opened = Postgres::open(database.settings()).await;
    let error = opened.expect_err("too new");
    assert!(matches!(error, PostgresOpenError::Newer(9999)), "{error}");
    assert!(
        error.to_string().contains("a newer version of progressd"),
        "{error}"
    );
}

#[tokio::test]
async fn a_user_who_may_not_make_tables_is_told_so_and_may_use_those_that_are_there() {
    let database = database().await;
    let user = format!("user_of_{}", database.name);
    database
        .execute(&format!("CREATE ROLE {user} LOGIN PASSWORD 'x'"))
        .await;
    let settings = database.as_user(&user).settings();
    let error = refused(settings.clone()).await;
    assert!(
        error.contains(&format!("{user:?} may not do this")),
        "{error}"
    );
    assert!(error.contains("GRANT CREATE ON DATABASE"), "{error}");
    // With the tables there, and rights on them, it is enough.
    drop(database.store().await);
    let error = refused(settings.clone()).await;
    assert!(error.contains("permission denied"), "{error}");
    database
        .execute(&format!(
            "GRANT USAGE ON SCHEMA progressd TO {user}; GRANT ALL ON ALL TABLES IN SCHEMA progressd TO {user}"
        ))
        .await;
    let store = Postgres::open(settings).await.expect("a store");
    store.ping().await.expect("an answer");
}

#[tokio::test]
async fn one_who_may_make_a_schema_needs_no_more() {
    let database = database().await;
    let user = format!("maker_of_{}", database.name);
    let name = &database.name;
    database
        .execute(&format!(
            "CREATE ROLE {user} LOGIN PASSWORD 'x'; GRANT CREATE ON DATABASE {name} TO {user}"
        ))
        .await;
    let opened = Postgres::open(database.as_user(&user).settings()).await;
    opened.expect("a store").ping().await.expect("an answer");
}

#[tokio::test]
async fn what_is_wrong_with_the_way_there_is_said_in_a_sentence_without_the_password() {
    let database = database().await;
    let address = free_address();
    let server = shared().address();
    for (url, parts) in [
        (
            format!("postgres://me:hidden@{address}/x"),
            vec!["store.postgres.url", "refused"],
        ),
        (
            format!("postgres://postgres:hidden@{server}/nowhere"),
            vec!["store.postgres.url", "\"nowhere\" does not exist"],
        ),
        (
            format!("postgres://nobody:hidden@{server}/postgres"),
            vec!["store.postgres.url", "\"nobody\" does not exist"],
        ),
        (
            format!("postgres://me:hidden@{server}/x?sslmod=require"),
            vec!["store.postgres.url", "sslmod", "unknown"],
        ),
        (
            format!("postgres://me:hidden@{server}/x?sslmode=sometimes"),
            vec!["store.postgres.url", "sometimes"],
        ),
        (
            format!("postgres://postgres:hidden@{server}/postgres?sslmode=require"),
            vec!["store.postgres.url", "TLS"],
        ),
    ] {
        let error = refused(at(&url, &database)).await;
        assert!(!error.contains("hidden"), "{error}");
        assert!(!error.contains('\n'), "{error}");
        for part in parts {
            assert!(error.contains(part), "{url}: {error}");
        }
    }
    let settings = PostgresSettings {
        listen_url: Some(format!("postgres://me:hidden@{address}/x")),
        ..database.settings()
    };
    let error = refused(settings).await;
    assert!(error.contains("store.postgres.listen_url"), "{error}");
}

#[tokio::test]
async fn an_encoding_that_cannot_hold_every_text_will_not_do() {
    let database = database().await;
    let name = format!("{}_latin", database.name);
    database
        .execute(&format!(
            "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
        ))
        .await;
    let error = refused(shared().database_named(&name).settings()).await;
    assert!(
        error.contains("LATIN1") && error.contains("UTF8"),
        "{error}"
    );
}

#[tokio::test]
async fn an_isolation_level_that_shows_the_past_will_not_do() {
    let database = database().await;
    let name = &database.name;
    database
        .execute(&format!(
            "ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"
        ))
        .await;
    let error = refused(database.settings()).await;
    assert!(error.contains("\"serializable\""), "{error}");
    assert!(error.contains("read committed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_asked_for_and_never_told() {
    let server =
        tokio::task::spawn_blocking(|| PostgresServer::start_with("scram-sha-256", &["fsync=off"]));
    let server = server.await.expect("a server");
    let database = server.database().await;
    secrets::register(PASSWORD);
    drop(database.store().await);
    let wrong = database.as_user("postgres").settings();
    let error = refused(wrong).await;
    assert!(error.contains("password authentication failed"), "{error}");
    assert!(!format!("{:?}", database.settings()).contains(PASSWORD));
    // The real program, with the variables of the environment.
    let mut command = Command::new(env!("CARGO_BIN_EXE_progressd"));
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env_clear()
        .env("SSE_SOURCE", "db")
        .env(
            "PROGRESSD__STORE__POSTGRES__URL",
            &database.as_user("postgres").url,
        )
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = in_time("the end", command.output()).await.expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(output.stdout.is_empty());
    assert!(
        errors.contains("password authentication failed"),
        "{errors}"
    );
    assert_eq!(errors.trim_end().lines().count(), 1, "{errors}");
}
