//! `progressd run`: real commands, wrapped by the real binary, and what becomes of their jobs.

mod away;
mod outcomes;
mod passing;
mod programs;
mod terminal;

use std::{
    borrow::BorrowMut,
    process::{Output, Stdio},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::support::{in_time, server::TestServer, until};

/// A run without a terminal, whoever has one, and with nothing of ours in its environment; signals that we ignore,
/// as under `nohup`, it does not.
fn run(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("env");
    command
        .args(["--default-signal", "setsid"])
        .arg(env!("CARGO_BIN_EXE_progressd"))
        .arg("run")
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("PROGRESSD_URL", url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The configuration of a server that this key may write to.
fn that_may_write(key: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    let hash = hex::encode(hash);
    format!("[[auth.api_keys]]\nname = 'w'\nscopes = ['jobs:write']\nsha256 = '{hash}'\n")
}

/// Runs it to its end.
async fn end_of(mut command: impl BorrowMut<Command>) -> Output {
    let output = in_time("the end of the run", command.borrow_mut().output()).await;
    output.expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A run that has begun.
struct Begun {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Begun {
    /// Starts it and waits for the command's first line, which is `ready`.
    async fn start(mut command: Command) -> Self {
        // What it says on standard error fits into the pipe.
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("standard output is piped");
        let mut begun = Self {
            child,
            lines: BufReader::new(stdout).lines(),
        };
        assert_eq!(begun.line().await.as_deref(), Some("ready"));
        begun
    }

    /// The next line on its standard output.
    async fn line(&mut self) -> Option<String> {
        let line = in_time("a line", self.lines.next_line()).await;
        line.expect("UTF-8")
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().expect("a running process").to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.await.expect("kill is there").success());
    }

    async fn code(mut self) -> Option<i32> {
        let status = in_time("the end of the run", self.child.wait()).await;
        status.expect("a child").code()
    }
}

/// Waits until a job's status is like this.
async fn until_status(server: &TestServer, job_id: &str, is_it: impl Fn(&Value) -> bool) {
    until("the status", async || {
        let path = format!("/api/v1/jobs/{job_id}");
        // It may be away, or not know the job yet.
        let Ok(answer) = server.request(reqwest::Method::GET, &path).send().await else {
            return false;
        };
        let status = answer.json().await.unwrap_or_default();
        is_it(&status)
    })
    .await;
}

/// A script that says `ready`, waits for a file and goes on.
fn waits_for(file: &std::path::Path, rest: &str) -> String {
    format!(
        "echo ready; while [ ! -e {} ]; do sleep 0.05; done; {rest}",
        file.display()
    )
}
