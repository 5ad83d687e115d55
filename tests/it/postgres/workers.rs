//! Workers that write plain SQL.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{PgConnection, Row as _};

use crate::support::{
    in_time,
    postgres_server::{Database, database, execute, try_execute},
    server::TestServer,
};

/// Every change is sent, and polls come so rarely that only notifications tell of anything.
const QUIET: &str = "stream.update_interval_ms = 0\nstore.postgres.poll_interval_seconds = 3600\n";

/// A server over a database, and somebody else's connection to it.
async fn start() -> (TestServer, PgConnection, Database) {
    let database = database().await;
    let server = TestServer::with(&format!("{}{QUIET}", database.keys())).await;
    let worker = database.connect().await;
    (server, worker, database)
}

/// Updates the job `j`, which must be refused; the SQLSTATE and the message.
async fn refused(worker: &mut PgConnection, set: &str) -> (String, String) {
    let sql = format!("UPDATE progressd.jobs SET {set} WHERE job_id = 'j'");
    match try_execute(worker, &sql).await {
        Err(refusal) => refusal,
        Ok(_) => panic!("{sql} was taken"),
    }
}

async fn update(worker: &mut PgConnection, set: &str) {
    let sql = format!("UPDATE progressd.jobs SET {set} WHERE job_id = 'j' RETURNING job_id");
    let rows = execute(worker, &sql).await;
    assert_eq!(rows.len(), 1, "{sql}");
}

#[tokio::test]
async fn an_update_is_a_report_that_watchers_see_at_once() {
    let (server, mut worker, _database) = start().await;
    let created = server
        .create(json!({"job_id": "j", "total_count": 8, "unit": "emails"}))
        .await;
    let mut stream = server.watch("j").await;
    assert_eq!(stream.next_status().await["status"], "pending");
    update(&mut worker, "processed_count = 1, message = 'it''s'").await;
    let status = stream.next_status().await;
    assert_eq!(status["status"], "processing");
    assert_eq!(status["processed_count"], 1);
    assert_eq!(status["progress_percentage"], 12.5);
    assert_eq!(status["message"], "it's");
    assert_eq!(status["rate_per_second"], Value::Null);
    assert!(status["started_at"].is_string());
    assert!(status["seq"].as_u64() > created["seq"].as_u64());
    // What watchers are shown is what a poll shows.
    assert_eq!(server.status("j").await, status);
    update(
        &mut worker,
        "step = 'Second', data = '{\"b\": 1.50,\n \"a\": [true]}'",
    )
    .await;
    let status = stream.next_status().await;
    assert_eq!(status["data"].to_string(), r#"{"b":1.5,"a":[true]}"#);
    update(
        &mut worker,
        "status = 'completed', result = '{\"z\": 1.50, \"a\": \"\\u00e9\"}'",
    )
    .await;
    let end = stream.next().await;
    assert!(
        end.data.contains(r#""result":{"z":1.50,"a":"\u00e9"}"#),
        "{}",
        end.data
    );
    let status = end.json();
    assert_eq!(status["progress_percentage"], 100);
    assert_eq!(status["processed_count"], 1);
    stream.expect_end().await;
    assert_eq!(server.status("j").await["status"], "completed");
}

#[tokio::test]
async fn workers_over_http_and_by_sql_share_a_job() {
    let (server, mut worker, _database) = start().await;
    server
        .create(json!({"job_id": "j", "total_count": 1000}))
        .await;
    for round in 1..=20 {
        server.report("j", json!({"processed_increment": 1})).await;
        update(&mut worker, "processed_count = processed_count + 1").await;
        assert_eq!(server.status("j").await["processed_count"], 2 * round);
    }
    update(&mut worker, "status = 'failed', error = '\"no more\"'").await;
    let late = server.patch("/api/v1/jobs/j", json!({})).await;
    late.error(409, "JOB_FINISHED");
    let status = server.status("j").await;
    assert_eq!(
        status["error"],
        json!({"code": "JOB_FAILED", "message": "no more"})
    );
}

#[tokio::test]
async fn what_no_report_may_bring_is_refused_by_name() {
    let (server, mut worker, _database) = start().await;
    server
        .create(json!({"job_id": "j", "total_count": 10}))
        .await;
    update(
        &mut worker,
        "processed_count = 5, attempt = 3, error = '{}', result = '1'",
    )
    .await;
    let before = server.status("j").await;
    let long = "x".repeat(1_001);
    let large = "x".repeat(65_536);
    let deep = format!("{}1{}", "[".repeat(127), "]".repeat(127));
    for (set, code, part) in [
        ("status = 'done'", "PD003", "status must be"),
        ("status = NULL", "PD003", "status must be"),
        ("status = 'pending'", "PD003", "higher attempt"),
        (
            "attempt = 2",
            "PD002",
            "attempt 2 was replaced by attempt 3",
        ),
        ("attempt = 0", "PD003", "attempt must be"),
        ("attempt = NULL", "PD003", "attempt must be"),
        ("attempt = 4294967296", "PD003", "attempt must be"),
        ("processed_count = -1", "PD003", "counts must be"),
        (
            "processed_count = 9007199254740992",
            "PD003",
            "counts must be",
        ),
        ("total_count = -1", "PD003", "counts must be"),
        ("processed_count = NULL", "PD003", "can be cleared"),
        ("progress_percentage = NULL", "PD003", "can be cleared"),
        ("error = NULL", "PD003", "can be cleared"),
        ("result = NULL", "PD003", "can be cleared"),
        ("result = 'null'", "PD003", "must not be null"),
        ("progress_percentage = 100.01", "PD003", "0 to 100"),
        ("progress_percentage = 'NaN'", "PD003", "0 to 100"),
        (&format!("message = '{long}'"), "PD003", "1000 characters"),
        (&format!("step = '{long}'"), "PD003", "200 characters"),
        ("data = '[]'", "PD003", "data must be an object"),
        ("data = 'null'", "PD003", "data must be an object"),
        ("data = '{'", "22P02", "json"),
        ("data = '{\"a\": \"\\ud800\"}'", "22P02", "json"),
        ("data = '{\"a\\u0000\": 1}'", "22P05", "Unicode"),
        ("data = '{\"a\": 1e999}'", "PD003", "double"),
        ("result = '-1e400'", "PD003", "double"),
        (&format!("result = '{deep}'"), "PD003", "levels deep"),
        (&format!("result = '\"{large}\"'"), "PD003", "65536 bytes"),
        ("error = '{\"cod\": \"X\"}'", "PD003", "code and message"),
        ("error = '{\"code\": 1}'", "PD003", "code and message"),
        ("error = '{\"code\": \"\"}'", "PD003", "not be empty"),
        ("error = '17'", "PD003", "an object"),
        (&format!("error = '\"{long}\"'"), "PD003", "1000 characters"),
    ] {
        let (found, message) = refused(&mut worker, set).await;
        assert_eq!(found, code, "{set}: {message}");
        assert!(message.contains(part), "{set}: {message}");
    }
    assert_eq!(server.status("j").await, before);
}

#[tokio::test]
async fn the_servers_own_columns_are_not_a_workers() {
    let (server, mut worker, _database) = start().await;
    server.create(json!({"job_id": "j"})).await;
    for set in [
        "seq = seq + 1",
        "job_id = 'k'",
        "owner = 'me'",
        "tags = '{x}'",
        "kind = 'k'",
        "stalled = true",
        "cancel_requested = true",
        "created_at = now()",
        "finished_at = now()",
        "updated_at = now()",
        "reported_at = now()",
        "expires_at = now()",
        "due_at = now()",
        "deadline_at = now()",
        "incarnation = gen_random_uuid()",
        "nonce = gen_random_uuid()",
        "highest_hundredths = 1",
        "row_count = 1",
        "estimator = '{}'",
        "lease_seconds = 1",
    ] {
        let (code, message) = refused(&mut worker, set).await;
        assert_eq!(code, "PD004", "{set}: {message}");
    }
    for sql in [
        "DELETE FROM progressd.jobs",
        "INSERT INTO progressd.jobs (job_id, status) VALUES ('k', 'pending')",
    ] {
        let (code, message) = try_execute(&mut worker, sql).await.expect_err("refused");
        assert_eq!(code, "PD004", "{sql}: {message}");
    }
    // Naming one without changing it does no harm, as programs do that write whole rows back.
    update(&mut worker, "message = 'x', seq = seq, owner = owner").await;
}

#[tokio::test]
async fn nothing_follows_the_end_but_its_repetition() {
    let (server, mut worker, _database) = start().await;
    server.create(json!({"job_id": "j"})).await;
    update(&mut worker, "status = 'cancelled', message = 'last'").await;
    let end = server.status("j").await;
    assert_eq!(end["status"], "cancelled");
    // A worker that lost its connection at the end says it again.
    update(&mut worker, "status = 'cancelled', message = 'again'").await;
    assert_eq!(server.status("j").await, end);
    for set in [
        "status = 'completed'",
        "message = 'x'",
        "attempt = 2, status = 'pending'",
    ] {
        let (code, message) = refused(&mut worker, set).await;
        assert_eq!(code, "PD001");
        assert_eq!(message, "the job j has ended: it is cancelled");
    }
    assert_eq!(server.status("j").await, end);
}

#[tokio::test]
async fn an_update_renews_the_lease_also_when_it_says_nothing() {
    let (server, mut worker, _database) = start().await;
    server
        .create(json!({"job_id": "j", "lease_seconds": 1}))
        .await;
    let mut stream = server.watch("j").await;
    update(&mut worker, "processed_count = 1").await;
    stream
        .status_where(|status| status["stalled"] == true)
        .await;
    // A sign of life.
    update(&mut worker, "processed_count = processed_count").await;
    stream
        .status_where(|status| status["stalled"] == false)
        .await;
    stream
        .status_where(|status| status["stalled"] == true)
        .await;
}

#[tokio::test]
async fn one_statement_reports_on_many_jobs_and_is_taken_or_refused_whole() {
    let (server, mut worker, _database) = start().await;
    for number in 0..20 {
        let job = json!({"job_id": format!("j{number}"), "kind": "many"});
        server.create(job).await;
    }
    let all = "UPDATE progressd.jobs SET message = 'all' WHERE kind = 'many' RETURNING job_id";
    assert_eq!(execute(&mut worker, all).await.len(), 20);
    server.report("j7", json!({"status": "completed"})).await;
    let again = "UPDATE progressd.jobs SET message = 'again' WHERE kind = 'many'";
    let (code, _) = try_execute(&mut worker, again).await.expect_err("refused");
    assert_eq!(code, "PD001");
    for number in 0..20 {
        let status = server.status(&format!("j{number}")).await;
        assert_eq!(status["message"], "all");
    }
}

#[tokio::test]
async fn a_job_is_made_by_a_function() {
    let (server, mut worker, _database) = start().await;
    let make = "SELECT progressd.create_job('j', kind => 'import', total_count => 4, unit => 'rows', \
                owner => 'ann', tags => '{a,b}', data => '{\"x\": 1}', lease_seconds => 5)";
    let rows = execute(&mut worker, make).await;
    assert_eq!(rows[0].get::<&str, _>(0), "j");
    let status = server.status("j").await;
    assert_eq!(status["total_rows"], 4);
    assert_eq!(status["tags"], json!(["a", "b"]));
    assert_eq!(status["data"], json!({"x": 1}));
    assert_eq!(status["progress_percentage"], 0);
    let (code, message) = try_execute(&mut worker, make).await.expect_err("taken");
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("23505", "a job named j exists")
    );
    // The same name over HTTP is somebody else's.
    let taken = server.post("/api/v1/jobs", json!({"job_id": "j"})).await;
    taken.error(409, "JOB_EXISTS");
    for wrong in [
        "'a b'",
        "'..'",
        "kind => ''",
        "tags => array_fill('x'::text, ARRAY[21])",
        "total_count => -1",
        "ttl_seconds => -1",
        "data => '[]'",
        "parent_id => 'ü'",
        "tags => '{NULL}'",
    ] {
        let make = format!("SELECT progressd.create_job({wrong})");
        let (code, message) = try_execute(&mut worker, &make).await.expect_err(wrong);
        assert_eq!(code, "PD003", "{wrong}: {message}");
    }
    let rows = execute(&mut worker, "SELECT progressd.create_job()").await;
    let listed = server.get("/api/v1/jobs").await.expect(StatusCode::OK);
    assert_eq!(
        listed.json()["jobs"][0]["job_id"],
        rows[0].get::<&str, _>(0)
    );
    // Within a transaction that made a job, the rules for workers hold on.
    execute(&mut worker, "BEGIN; SELECT progressd.create_job('k')").await;
    let forged = "UPDATE progressd.jobs SET seq = 1 WHERE job_id = 'k'";
    let (code, _) = try_execute(&mut worker, forged).await.expect_err("refused");
    assert_eq!(code, "PD004");
}

#[tokio::test]
async fn a_role_that_may_write_a_workers_columns_can_do_what_a_worker_does_and_no_more() {
    let (server, mut owner, database) = start().await;
    server.create(json!({"job_id": "j"})).await;
    let role = format!("worker_of_{}", database.name);
    let grants = readme_grants().replace("importer", &role);
    execute(
        &mut owner,
        &format!("CREATE ROLE {role} LOGIN PASSWORD 'x'; {grants}"),
    )
    .await;
    let mut worker = database.as_user(&role).connect().await;
    update(
        &mut worker,
        "processed_count = 3, status = 'processing', data = '{\"a\": 1}'",
    )
    .await;
    assert_eq!(server.status("j").await["processed_count"], 3);
    execute(&mut worker, "SELECT progressd.create_job('k')").await;
    for sql in [
        "UPDATE progressd.jobs SET seq = 1",
        "UPDATE progressd.jobs SET named_columns = 1",
        "DELETE FROM progressd.jobs",
        "SELECT * FROM progressd.put_values",
        "SELECT progressd.remove('j', gen_random_uuid(), 0, '', 1)",
        "SELECT progressd.expire(9000000000000000, 0, 10, '', 1)",
        "SET progressd.writer = 'server'; UPDATE progressd.jobs SET owner = 'me'",
    ] {
        let (code, message) = try_execute(&mut worker, sql).await.expect_err(sql);
        assert_eq!(code, "42501", "{sql}: {message}");
    }
    // Nor does it get around the rules by saying that it is the server.
    let forged = "SET progressd.writer = 'server'; UPDATE progressd.jobs SET data = '[]'";
    let (code, _) = try_execute(&mut worker, forged).await.expect_err("refused");
    assert_eq!(code, "PD003");
}

#[tokio::test]
async fn the_readmes_psql_line_reports() {
    let (server, _worker, database) = start().await;
    server
        .create(json!({"job_id": "import-7", "total_count": 1000}))
        .await;
    let readme = include_str!("../../../README.md");
    let line = readme.lines().find(|line| line.starts_with("psql "));
    let mut bash = tokio::process::Command::new("bash");
    bash.args(["-c", line.expect("a line")])
        .env("DATABASE_URL", &database.url);
    let output = in_time("psql", bash.output()).await.expect("bash runs");
    assert!(output.status.success(), "{output:?}");
    let status = server.status("import-7").await;
    assert_eq!(status["step"], "Reading");
    assert_eq!(status["progress_percentage"], 25);
}

/// The SQL block of the README that lets a role report.
fn readme_grants() -> String {
    let readme = include_str!("../../../README.md");
    let block = readme.split("```sql\n").nth(1).expect("a block of SQL");
    block.split("```").next().unwrap_or_default().to_owned()
}
