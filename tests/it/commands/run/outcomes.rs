//! How commands end, and how their jobs do.

use std::fs;

use progressd::job::{JobId, State};
use reqwest::StatusCode;
use serde_json::json;

use super::{Begun, end_of, run, text, that_may_write, until_status};
use crate::support::server::TestServer;

#[tokio::test]
async fn a_command_that_succeeds_completes_its_job() {
    let server = TestServer::start().await;
    let script = "echo 1/4; echo 2/4; echo 4/4; echo all done";
    let options = [
        "--id", "a", "--unit", "files", "--tag", "x", "--tag", "y", "--",
    ];
    let output = end_of(run(
        &server.url,
        &[&options[..], &["sh", "-c", script]].concat(),
    ))
    .await;
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "1/4\n2/4\n4/4\nall done\n");
    let place = format!("progressd: {}/#/jobs/a\n", server.url);
    assert_eq!(text(&output.stderr), place);
    let status = server.status("a").await;
    assert_eq!(status["status"], "completed");
    assert_eq!(status["kind"], "sh");
    assert_eq!(status["processed_count"], 4);
    assert_eq!(status["total_files"], 4);
    assert_eq!(status["message"], "all done");
    assert_eq!(status["tags"], json!(["x", "y"]));
    assert_eq!(status["error"], json!(null));
}

#[tokio::test]
async fn a_command_that_fails_fails_its_job_with_its_code_and_its_last_line() {
    let server = TestServer::start().await;
    let script = "(echo 42%; echo 'no space left') >&2; exit 3";
    let arguments = ["--id", "a", "--kind", "backup", "--", "sh", "-c", script];
    let output = end_of(run(&server.url, &arguments)).await;
    assert_eq!(output.status.code(), Some(3));
    let status = server.status("a").await;
    assert_eq!(status["status"], "failed");
    assert_eq!(status["kind"], "backup");
    assert_eq!(status["progress_percentage"], 42);
    let message = "exited with 3: no space left";
    assert_eq!(
        status["error"],
        json!({"code": "EXIT_CODE", "message": message})
    );
}

#[tokio::test]
async fn a_command_that_a_signal_ends_has_the_code_that_shells_give() {
    let server = TestServer::start().await;
    let arguments = ["--id", "a", "--", "sh", "-c", "kill -KILL $$"];
    let output = end_of(run(&server.url, &arguments)).await;
    assert_eq!(output.status.code(), Some(137));
    let error = &server.status("a").await["error"];
    let message = "ended by signal: 9 (SIGKILL)";
    assert_eq!(*error, json!({"code": "SIGNAL", "message": message}));
}

#[tokio::test]
async fn a_command_that_cannot_be_run_fails_its_job_with_the_code_that_shells_give() {
    let server = TestServer::start().await;
    for (job_id, program, code, name) in [
        ("a", "progressd-no-such-program", 127, "COMMAND_NOT_FOUND"),
        ("b", "/etc/hostname", 126, "COMMAND_NOT_RUN"),
    ] {
        let output = end_of(run(&server.url, &["--id", job_id, "--", program])).await;
        assert_eq!(output.status.code(), Some(code));
        assert!(text(&output.stderr).contains(&format!("run {program}: ")));
        let status = server.status(job_id).await;
        assert_eq!(
            (&status["status"], &status["error"]["code"]),
            (&json!("failed"), &json!(name))
        );
    }
}

#[tokio::test]
async fn cancelling_the_job_ends_a_quiet_command_and_all_that_it_has_started() {
    let server = TestServer::start().await;
    let script = "sleep 1000 & sleep 1000; echo never";
    let script = format!("echo ready; {script}");
    let begun = Begun::start(run(&server.url, &["--id", "a", "--", "sh", "-c", &script])).await;
    until_status(&server, "a", |status| status["message"] == "ready").await;
    let cancelled = server.post("/api/v1/jobs/a/cancel", json!({})).await;
    cancelled.expect(StatusCode::ACCEPTED);
    assert_eq!(begun.code().await, Some(143));
    assert_eq!(server.status("a").await["status"], "cancelled");
}

#[tokio::test]
async fn a_command_that_does_not_end_when_cancelled_is_killed() {
    let server = TestServer::start().await;
    let script = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    let arguments = ["--id", "a", "--grace", "1", "--", "sh", "-c", script];
    let begun = Begun::start(run(&server.url, &arguments)).await;
    until_status(&server, "a", |status| status["message"] == "ready").await;
    server.post("/api/v1/jobs/a/cancel", json!({})).await;
    assert_eq!(begun.code().await, Some(137));
    assert_eq!(server.status("a").await["status"], "cancelled");
}

#[tokio::test]
async fn what_a_cancelled_command_leaves_behind_is_killed_too() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let number = folder.path().join("number");
    // The shell ends at once, its child does not.
    let child = "trap \"\" TERM; echo $$ > \"$0\"; echo ready; while :; do sleep 0.1; done";
    let script = format!("sh -c '{child}' {} & wait", number.display());
    let arguments = ["--id", "a", "--grace", "1", "--", "sh", "-c", &script];
    let begun = Begun::start(run(&server.url, &arguments)).await;
    until_status(&server, "a", |status| status["message"] == "ready").await;
    server.post("/api/v1/jobs/a/cancel", json!({})).await;
    assert_eq!(begun.code().await, Some(143));
    let number = fs::read_to_string(number).expect("a number");
    let state = fs::read_to_string(format!("/proc/{}/stat", number.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[tokio::test]
async fn what_is_wrong_for_good_is_said_before_the_command_starts() {
    let key = "wrong-and-right-are-told-apart";
    let hash = "sha256 = '00000000000000000000000000000000000000000000000000000000000000ff'";
    let toml = format!("[[auth.api_keys]]\nname = 'w'\nscopes = ['jobs:write']\n{hash}\n");
    let server = TestServer::with(&toml).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("started").display().to_string();
    let mut command = run(&server.url, &["--", "touch", &file]);
    command.env("PROGRESSD_TOKEN", key);
    for (command, message) in [
        (command, "create the job: Invalid API key (UNAUTHORIZED)"),
        (
            run(&server.url, &["--kind", "demo", "--", "touch", &file]),
            "take another --kind",
        ),
        (
            run("ftp://a.example", &["--", "touch", &file]),
            "begins with http:// or https://",
        ),
    ] {
        let output = end_of(command).await;
        assert_eq!(output.status.code(), Some(125));
        assert!(
            text(&output.stderr).contains(message),
            "{}",
            text(&output.stderr)
        );
    }
    assert!(!folder.path().join("started").exists());
}

#[tokio::test]
async fn a_command_line_that_cannot_be_understood_starts_nothing() {
    let most = u64::MAX.to_string();
    for option in ["--grace", "--wait", "--total"] {
        let output = end_of(run(
            "http://127.0.0.1:1",
            &[option, &most, "--", "echo", "run"],
        ))
        .await;
        assert_eq!(
            (output.status.code(), text(&output.stdout)),
            (Some(125), String::new()),
            "{option}"
        );
    }
}

#[tokio::test]
async fn a_command_that_reports_its_own_end_is_no_complaint() {
    let server = TestServer::start().await;
    let script = "wget -q -O /dev/null --method PATCH --header 'Content-Type: application/json' \
        --body-data '{\"status\":\"completed\",\"message\":\"by itself\"}' \
        $PROGRESSD_URL/api/v1/jobs/$PROGRESSD_JOB_ID";
    let output = end_of(run(&server.url, &["--id", "a", "--", "sh", "-c", script])).await;
    let said = text(&output.stderr);
    assert_eq!(
        (output.status.code(), said.lines().count()),
        (Some(0), 1),
        "{said}"
    );
    assert_eq!(server.status("a").await["message"], "by itself");
}

#[tokio::test]
async fn a_key_that_may_write_is_enough() {
    let key = "a-key-that-may-write";
    let server = TestServer::with(&that_may_write(key)).await;
    let script = "echo $PROGRESSD_JOB_ID; echo 5/10";
    let mut command = run(&server.url, &["--id", "a", "--", "sh", "-c", script]);
    command.env("PROGRESSD_TOKEN", key);
    let output = end_of(command).await;
    assert_eq!(
        text(&output.stdout),
        "a\n5/10\n",
        "{}",
        text(&output.stderr)
    );
    assert!(!text(&output.stderr).contains(key));
    let job_id = JobId::parse("a").expect("a name");
    let job = server.registry().find(&job_id).await.expect("a job");
    assert_eq!(job.job().face.state, State::Completed);
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused() {
    let server = TestServer::start().await;
    let arguments = ["--id", "a", "--", "echo", "run"];
    assert_eq!(
        end_of(run(&server.url, &arguments)).await.status.code(),
        Some(0)
    );
    let again = end_of(run(&server.url, &arguments)).await;
    assert_eq!(
        (again.status.code(), text(&again.stdout)),
        (Some(125), String::new())
    );
    assert!(
        text(&again.stderr).contains("(JOB_EXISTS)"),
        "{}",
        text(&again.stderr)
    );
    server.create(json!({"job_id": "b"})).await;
    let other = end_of(run(&server.url, &["--id", "b", "--", "echo", "run"])).await;
    assert_eq!(other.status.code(), Some(125));
}
