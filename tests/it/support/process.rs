//! The real binary as a process.

use std::{path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

use super::in_time;

/// `progressd serve` on a free port; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    pub(crate) url: String,
}

impl Process {
    /// Starts it with nothing but these variables in its environment, and waits for its address.
    pub(crate) async fn start(variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_progressd"));
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        Self::run(command.env_clear().envs(variables.iter().copied())).await
    }

    /// Starts it with a configuration file and an empty environment, and waits for its address.
    pub(crate) async fn configured_by(file: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_progressd"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]);
        Self::run(command.arg(file).env_clear()).await
    }

    async fn run(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        let mut lines = BufReader::new(stdout).lines();
        let line = in_time("the address", lines.next_line()).await;
        let line = line.expect("UTF-8").expect("a first line");
        let url = line.strip_prefix("listening on ").expect("an address");
        Self {
            child,
            log: BufReader::new(stderr).lines(),
            url: url.to_owned(),
        }
    }

    /// Sends it a signal by name.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("a running process").to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().await;
        assert!(status.expect("kill is there").success());
    }

    /// The next line of its log that holds `text`.
    pub(crate) async fn logged(&mut self, text: &str) -> String {
        let line = async {
            loop {
                let line = self.log.next_line().await.expect("UTF-8");
                let line = line.expect("the log goes on");
                if line.contains(text) {
                    return line;
                }
            }
        };
        in_time(text, line).await
    }

    /// Waits for its end.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let status = in_time("the end of the process", self.child.wait()).await;
        status.expect("a process that can be waited for").code()
    }
}
