//! A server that is not there: at the beginning, in between, or at all.

use std::fs;

use reqwest::StatusCode;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};

use super::{Begun, end_of, run, text, that_may_write, until_status, waits_for};
use crate::support::{in_time, node::Node, ports::free_address, server::TestServer};

const MEMORY: &str = "store.backend = 'memory'";
const EMBEDDED: &str = "store.backend = 'embedded'\nstore.embedded.path = 'FOLDER/jobs.redb'";

#[tokio::test]
async fn a_server_that_never_comes_costs_the_command_nothing_but_the_wait() {
    let url = format!("http://{}", free_address());
    let output = end_of(run(
        &url,
        &["--wait", "1", "--", "sh", "-c", "echo hi; exit 5"],
    ))
    .await;
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(5), "hi\n".to_owned())
    );
    let said = text(&output.stderr);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(
        lines[0].contains("is not there; the command runs all the same"),
        "{said}"
    );
    assert!(
        lines[1].contains("was not told within 1 s that the job is failed"),
        "{said}"
    );
}

#[tokio::test]
async fn a_server_that_comes_later_learns_how_far_the_command_is() {
    let mut node = Node::new(MEMORY);
    let server = TestServer::at(&node.url());
    let file = node.folder().join("go");
    let script = waits_for(&file, "echo 6/10; exit 4");
    let script = format!(
        "echo ready; echo 5/10; {}",
        script.replacen("echo ready; ", "", 1)
    );
    let begun = Begun::start(run(&node.url(), &["--id", "a", "--", "sh", "-c", &script])).await;
    node.start().await;
    until_status(&server, "a", |status| status["processed_count"] == 5).await;
    fs::write(file, "").expect("a file");
    assert_eq!(begun.code().await, Some(4));
    let status = server.status("a").await;
    assert_eq!(
        (&status["status"], &status["processed_count"]),
        (&"failed".into(), &6.into())
    );
}

#[tokio::test]
async fn a_server_that_comes_after_the_command_learns_its_end() {
    let mut node = Node::new(MEMORY);
    let server = TestServer::at(&node.url());
    let script = "echo ready; echo 5/10; exit 4";
    let arguments = ["--id", "a", "--wait", "60", "--", "sh", "-c", script];
    let begun = Begun::start(run(&node.url(), &arguments)).await;
    node.start().await;
    assert_eq!(begun.code().await, Some(4));
    assert_eq!(
        server.status("a").await["error"]["message"],
        "exited with 4: 5/10"
    );
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_goes_on() {
    for store in [MEMORY, EMBEDDED] {
        let mut node = Node::new(store);
        node.start().await;
        let server = TestServer::at(&node.url());
        let file = node.folder().join("go");
        let script = waits_for(&file, "echo 6/10");
        let script = format!("echo 5/10 >&2; {script}");
        let arguments = ["--id", "a", "--", "sh", "-c", &script];
        let begun = Begun::start(run(&node.url(), &arguments)).await;
        until_status(&server, "a", |status| status["processed_count"] == 5).await;
        node.kill().await;
        node.start().await;
        until_status(&server, "a", |status| status["processed_count"] == 5).await;
        fs::write(file, "").expect("a file");
        assert_eq!(begun.code().await, Some(0));
        let status = server.status("a").await;
        assert_eq!(status["status"], "completed", "{store}");
        assert_eq!(status["processed_count"], 6, "{store}");
    }
}

#[tokio::test]
async fn a_job_that_somebody_removes_is_not_made_anew() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("go");
    let script = waits_for(&file, "echo 6/10; exit 3");
    let begun = Begun::start(run(&server.url, &["--id", "a", "--", "sh", "-c", &script])).await;
    until_status(&server, "a", |status| status["message"] == "ready").await;
    server
        .delete("/api/v1/jobs/a")
        .await
        .expect(StatusCode::NO_CONTENT);
    fs::write(file, "").expect("a file");
    assert_eq!(begun.code().await, Some(3));
    server.get("/api/v1/jobs/a").await.expect(StatusCode::GONE);
}

#[tokio::test]
async fn a_server_that_takes_the_key_again_learns_the_end() {
    let key = "a-key-that-is-changed";
    let configured = |key| format!("{EMBEDDED}\n{}", that_may_write(key));
    let mut node = Node::new(&configured(key));
    let file = node.folder().join("progressd.toml");
    let configure = |text: String| {
        let folder = file.parent().expect("a folder").display().to_string();
        fs::write(&file, text.replace("FOLDER", &folder)).expect("a file");
    };
    node.start().await;
    let go = node.folder().join("go");
    let script = waits_for(&go, "exit 4");
    let mut command = run(&node.url(), &["--id", "a", "--", "sh", "-c", &script]);
    command.env("PROGRESSD_TOKEN", key);
    let mut begun = Begun::start(command).await;
    node.kill().await;
    configure(configured("another-key-for-a-while"));
    node.start().await;
    let mut errors = BufReader::new(begun.child.stderr.take().expect("a pipe")).lines();
    let refused = async {
        while let Ok(Some(line)) = errors.next_line().await {
            if line.contains("is not reported on before its end") {
                return;
            }
        }
        panic!("it is not said");
    };
    in_time("the refusal", refused).await;
    node.kill().await;
    configure(EMBEDDED.to_owned());
    node.start().await;
    fs::write(go, "").expect("a file");
    assert_eq!(begun.code().await, Some(4));
    let status = TestServer::at(&node.url()).status("a").await;
    assert_eq!(status["error"]["code"], "EXIT_CODE");
}

#[tokio::test]
async fn a_strangers_refusal_stops_nothing() {
    let mut node = Node::new(MEMORY);
    let server = TestServer::at(&node.url());
    let go = node.folder().join("go");
    let script = waits_for(&go, "exit 4");
    for refusal in ["403 Forbidden", "404 Not Found"] {
        let stranger = TcpListener::bind(node.address).await.expect("a free port");
        let stranger = tokio::spawn(async move {
            loop {
                let (mut caller, _) = stranger.accept().await.expect("a caller");
                let mut request = [0; 4096];
                let _ = caller.read(&mut request).await;
                let answer = format!(
                    "HTTP/1.1 {refusal}\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"
                );
                let _ = caller.write_all(answer.as_bytes()).await;
            }
        });
        let job_id = &refusal[..3];
        let arguments = ["--id", job_id, "--", "sh", "-c", &script];
        let begun = Begun::start(run(&node.url(), &arguments)).await;
        stranger.abort();
        let _ = stranger.await;
        node.start().await;
        until_status(&server, job_id, |status| status["message"] == "ready").await;
        fs::write(&go, "").expect("a file");
        assert_eq!(begun.code().await, Some(4));
        assert_eq!(server.status(job_id).await["status"], "failed");
        fs::remove_file(&go).expect("a file");
        node.kill().await;
    }
}
