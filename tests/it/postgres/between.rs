//! What may stand between a node and its database: a pooler, TLS.

use std::{fs, io::Write as _, process::Stdio};

use progressd::store::{Postgres, PostgresOpenError, Store};
use serde_json::json;
use sqlx::Row as _;

use crate::support::{
    certificate::Certificate,
    in_time, pgbouncer,
    postgres_server::{Database, PostgresServer, as_postgres, database},
    process::Process,
    server::TestServer,
};

/// A database, and the same through a pooler.
async fn pooled() -> (Database, Database) {
    let database = database().await;
    let pooler = tokio::task::spawn_blocking(pgbouncer::before_shared).await;
    let pooled = pooler.expect("a pooler").before(&database);
    (database, pooled)
}

#[tokio::test]
async fn nodes_behind_a_pooler_hear_of_each_other() {
    let (direct, pooled) = pooled().await;
    let toml = format!(
        "{}store.postgres.listen_url = \"{}\"\nstore.postgres.poll_interval_seconds = 3600\n\
         stream.update_interval_ms = 0\n",
        pooled.keys(),
        direct.url
    );
    let (here, there) = (TestServer::with(&toml).await, TestServer::with(&toml).await);
    here.create(json!({"job_id": "j"})).await;
    let mut stream = there.watch("j").await;
    stream.next_status().await;
    for number in 1..=50 {
        here.report("j", json!({"processed_count": number})).await;
        stream
            .status_where(|status| status["processed_count"] == number)
            .await;
    }
    direct
        .execute("UPDATE progressd.jobs SET status = 'completed'")
        .await;
    stream
        .status_where(|status| status["status"] == "completed")
        .await;
    stream.expect_end().await;
}

#[tokio::test]
async fn a_pooler_that_keeps_notifications_to_itself_is_named_in_the_log() {
    let (direct, pooled) = pooled().await;
    let keys = |url: &str| {
        [
            ("SSE_SOURCE", "db".to_owned()),
            ("PROGRESSD__STORE__POSTGRES__URL", url.to_owned()),
        ]
    };
    // One that has made the tables, and says nothing of the kind.
    drop(direct.store().await);
    let keys = keys(&pooled.url);
    let keys: Vec<_> = keys
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let mut process = Process::start(&keys).await;
    let line = process.logged("do not arrive").await;
    assert!(line.contains("set store.postgres.listen_url"), "{line}");
    process.signal("TERM").await;
    assert_eq!(process.exit_code().await, Some(0));
}

/// Puts a file where only PostgreSQL reads it.
fn put(server: &PostgresServer, name: &str, content: &[u8]) {
    let mut writing = as_postgres("sh");
    let file = server.data().join(name);
    let mut writing = writing
        .args(["-c", "umask 077; cat > \"$0\""])
        .arg(file)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut input = writing.stdin.take().expect("it is piped");
    input.write_all(content).expect("a reader");
    drop(input);
    assert!(writing.wait().expect("an end").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_reached_by_tls_and_known_by_its_certificate() {
    let server = tokio::task::spawn_blocking(|| PostgresServer::start(&["fsync=off"])).await;
    let server = server.expect("a server");
    let (theirs, others) = (Certificate::new(), Certificate::new());
    let read = |path| fs::read(path).expect("a file");
    put(&server, "server.crt", &read(theirs.cert()));
    put(&server, "server.key", &read(theirs.key()));
    let database = server.database().await;
    let switch_on = "ALTER SYSTEM SET ssl = on";
    database.execute(switch_on).await;
    tokio::task::block_in_place(|| {
        server.stop("fast");
        server.start_again();
    });
    let with = |query: &str| {
        let mut settings = database.settings();
        settings.url = format!("{}?{query}", settings.url);
        settings
    };
    let verified = |certificate: &Certificate| {
        let path = certificate.cert();
        with(&format!(
            "sslmode=verify-full&sslrootcert={}",
            path.display()
        ))
    };
    let store = Postgres::open(verified(&theirs)).await.expect("a store");
    store.ping().await.expect("an answer");
    let store_of_require = Postgres::open(with("sslmode=require")).await;
    store_of_require
        .expect("a store")
        .ping()
        .await
        .expect("an answer");
    let sessions = "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl \
        JOIN pg_stat_activity USING (pid) WHERE application_name = 'progressd'";
    let rows = database.execute(sessions).await;
    let (all, by_tls): (i64, i64) = (rows[0].get(0), rows[0].get(1));
    assert!(all > 0);
    assert_eq!(all, by_tls);
    let opened = in_time("an answer", Postgres::open(verified(&others))).await;
    let error = opened.expect_err("another's certificate");
    assert!(
        matches!(error, PostgresOpenError::Unreachable { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("certificate"), "{error}");
}
