//! The README's commands, run as they stand there.

use std::process::Output;

use tokio::process::Command;

use crate::support::{in_time, server::TestServer};

/// The `curl` lines of the README's shell blocks, in order.
fn curl_lines() -> Vec<String> {
    let readme = include_str!("../../README.md");
    let blocks = readme.split("```sh\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap_or_default());
    let lines = blocks.flat_map(str::lines);
    lines
        .filter(|line| line.starts_with("curl "))
        .map(str::to_owned)
        .collect()
}

/// Runs a line in `folder` against `server`; curl fails on an error answer, and after a second
/// of a stream that goes on.
async fn run(line: &str, server: &TestServer, folder: &std::path::Path) -> Output {
    let address = server.url.trim_start_matches("http://");
    let line = line.replace("localhost:8080", address);
    let line = line.replacen("curl ", "curl -sS --fail-with-body --max-time 1 ", 1);
    let mut bash = Command::new("bash");
    bash.args(["-c", &line])
        .current_dir(folder)
        .kill_on_drop(true);
    in_time(&line, bash.output()).await.expect("bash runs")
}

#[tokio::test]
async fn every_curl_line_of_the_readme_works_in_its_order() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("list.csv"), "email\nann@example.com\n").expect("a file");
    let lines = curl_lines();
    assert!(lines.len() >= 4, "{lines:?}");
    for line in &lines {
        let output = run(line, &server, folder.path()).await;
        let printed = String::from_utf8_lossy(&output.stdout);
        if line.contains(" -N ") {
            // The stream outlasts the second that it is given: curl's exit code 28.
            assert_eq!(output.status.code(), Some(28), "{line}: {printed}");
            assert!(
                printed.starts_with("event: status\ndata: {\"job_id\":\"import-7\""),
                "{line}: {printed}"
            );
            assert!(
                printed.contains("\"processed_count\":250"),
                "{line}: {printed}"
            );
        } else {
            assert!(output.status.success(), "{line}: {printed}");
            assert!(printed.starts_with("{\"job_id\":"), "{line}: {printed}");
        }
    }
}
