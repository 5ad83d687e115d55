//! What passes through: output, input, signals and the environment.

use std::{fs, io::Read as _, process::Stdio};

use rand::Rng as _;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

use super::{Begun, end_of, run, text, until_status, waits_for};
use crate::support::{in_time, server::TestServer};

#[tokio::test]
async fn output_and_error_pass_byte_for_byte() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut bytes = vec![0; 3_000_000];
    rand::rng().fill_bytes(&mut bytes);
    fs::write(folder.path().join("output"), &bytes).expect("a file");
    let error = [b"10%\r20%\r\x1b[31m30%\0\xff\xfe", &bytes[..100_000]].concat();
    fs::write(folder.path().join("error"), &error).expect("a file");
    let script = "cat output; cat error >&2";
    let mut command = run(&server.url, &["--quiet", "--", "sh", "-c", script]);
    command.current_dir(folder.path());
    let output = end_of(command).await;
    assert!(output.stdout == bytes, "{} bytes", output.stdout.len());
    assert!(output.stderr == error, "{} bytes", output.stderr.len());
}

#[tokio::test]
async fn output_and_error_to_the_same_place_stay_in_order() {
    let server = TestServer::start().await;
    let lines = "for i in $(seq 500); do echo o$i; echo e$i >&2; done";
    let script = format!(
        "exec {} run -q -- sh -c '{lines}' 2>&1",
        env!("CARGO_BIN_EXE_progressd")
    );
    let mut command = Command::new("setsid");
    command
        .args(["sh", "-c", &script])
        .env("PROGRESSD_URL", &server.url);
    let output = end_of(command).await;
    let expected: String = (1..=500).map(|i| format!("o{i}\ne{i}\n")).collect();
    assert_eq!(text(&output.stdout), expected);
}

#[tokio::test]
async fn input_reaches_the_command() {
    let server = TestServer::start().await;
    let mut command = run(&server.url, &["--", "tr", "a-z", "A-Z"]);
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    stdin.write_all(b"hello").await.expect("an open pipe");
    drop(stdin);
    let output = in_time("the end", child.wait_with_output())
        .await
        .expect("a child");
    assert_eq!(text(&output.stdout), "HELLO");
}

#[tokio::test]
async fn a_bar_without_the_end_of_its_line_is_seen_before_it_is_drawn_over() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("go");
    let script = waits_for(&file, "");
    let script = format!("printf 'ready\\n\\r 50%%|#####     | 5/10 [00:01<00:01]' && {script}");
    let begun = Begun::start(run(&server.url, &["--id", "a", "--", "sh", "-c", &script])).await;
    until_status(&server, "a", |status| status["processed_count"] == 5).await;
    fs::write(file, "").expect("a file");
    assert_eq!(begun.code().await, Some(0));
}

#[tokio::test]
async fn signals_reach_the_command_and_an_end_by_them_is_no_failure() {
    let server = TestServer::start().await;
    for (signal, code, state) in [
        ("TERM", 7, "cancelled"),
        ("INT", 7, "cancelled"),
        ("HUP", 7, "cancelled"),
        ("QUIT", 7, "cancelled"),
        ("USR1", 7, "failed"),
        ("USR2", 0, "completed"),
    ] {
        let script = format!(
            "trap 'echo got {signal}; exit {code}' {signal}; echo ready; while :; do sleep 0.05; done"
        );
        let mut begun = Begun::start(run(
            &server.url,
            &["--id", signal, "--", "sh", "-c", &script],
        ))
        .await;
        begun.signal(signal).await;
        assert_eq!(begun.line().await, Some(format!("got {signal}")));
        assert_eq!(begun.code().await, Some(code));
        assert_eq!(server.status(signal).await["status"], state, "{signal}");
    }
}

#[tokio::test]
async fn a_signal_that_is_switched_off_stays_off_for_the_command() {
    let server = TestServer::start().await;
    let inner = "kill -HUP $PPID; kill -HUP $$; echo alive";
    let script = format!(
        "trap '' HUP; exec {} run --id a -- sh -c '{inner}'",
        env!("CARGO_BIN_EXE_progressd")
    );
    let mut command = Command::new("setsid");
    command
        .args(["sh", "-c", &script])
        .env("PROGRESSD_URL", &server.url);
    let output = end_of(command).await;
    assert_eq!(text(&output.stdout), "alive\n");
    assert_eq!(server.status("a").await["status"], "completed");
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_command_as_it_would_without_us() {
    let server = TestServer::start().await;
    let script = format!(
        "{} run -q --id a -- yes | head -n 1",
        env!("CARGO_BIN_EXE_progressd")
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .env("PROGRESSD_URL", &server.url);
    let output = end_of(command).await;
    assert_eq!(text(&output.stdout), "y\n");
    until_status(&server, "a", |status| status["status"] == "failed").await;
    let status = server.status("a").await;
    let message = status["error"]["message"].as_str().expect("a message");
    assert!(message.contains("SIGPIPE"), "{message}");
}

#[tokio::test]
async fn what_prints_on_behind_the_command_holds_nobody_up() {
    let server = TestServer::start().await;
    for pause in ["sleep 0.2", ":"] {
        let script = format!("(while echo x; do {pause}; done) & exit 3");
        let output = end_of(run(&server.url, &["-q", "--", "sh", "-c", &script])).await;
        assert_eq!(output.status.code(), Some(3), "{pause}");
    }
}

#[tokio::test]
async fn output_that_cannot_be_written_is_no_success() {
    let server = TestServer::start().await;
    let mut command = run(&server.url, &["-q", "--id", "a", "--", "echo", "hi"]);
    let full = fs::File::options().write(true).open("/dev/full");
    let mut child = command
        .stdout(full.expect("a place that is full"))
        .spawn()
        .expect("the binary starts");
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("standard error is piped");
    let reading = stderr.read_to_string(&mut said);
    in_time("the end", reading).await.expect("UTF-8");
    let ended = in_time("the end", child.wait()).await.expect("a child");
    let reason = "write: No space left on device (os error 28)";
    assert_eq!(
        (ended.code(), said),
        (Some(1), format!("progressd: {reason}\n"))
    );
    let error = &server.status("a").await["error"];
    assert_eq!(*error, json!({"code": "OUTPUT_LOST", "message": reason}));
}

#[tokio::test]
async fn a_place_that_is_full_for_the_moment_is_waited_for() {
    let server = TestServer::start().await;
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    rustix::io::ioctl_fionbio(&writer, true).expect("a pipe");
    let script = "seq 100000";
    let mut command = run(&server.url, &["-q", "--id", "a", "--", "sh", "-c", script]);
    let mut child = command.stdout(writer).spawn().expect("the binary starts");
    drop(command);
    // By then the pipe has taken something.
    until_status(&server, "a", |status| status["message"].is_string()).await;
    let reading = tokio::task::spawn_blocking(move || {
        let mut output = String::new();
        reader.read_to_string(&mut output).expect("numbers");
        output
    });
    let output = in_time("the output", reading).await.expect("a thread");
    assert_eq!(output.lines().count(), 100_000);
    let ended = in_time("the end", child.wait()).await.expect("a child");
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn what_the_command_leaves_running_holds_nobody_up() {
    let server = TestServer::start().await;
    let script = "sleep 1000 & echo $!";
    let output = end_of(run(&server.url, &["--id", "a", "--", "sh", "-c", script])).await;
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(server.status("a").await["status"], "completed");
    let sleeping = text(&output.stdout);
    let killed = Command::new("kill").arg(sleeping.trim()).status().await;
    assert!(killed.expect("kill is there").success(), "it runs on");
}
