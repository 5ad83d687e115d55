//! A node that is killed and comes back at the same address.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use super::{in_time, ports::free_address, server::delivery_variable};

/// The real binary with a configuration of its own; killed when dropped. `PROGRESSD_PROGRAM` names another one
/// than that which was built with the tests.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    folder: TempDir,
    variables: Vec<(String, String)>,
    child: Option<Child>,
}

impl Node {
    /// A node that does not run yet. `FOLDER` in the configuration is a folder of its own.
    pub(crate) fn new(toml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let toml = toml.replace("FOLDER", &folder.path().display().to_string());
        std::fs::write(folder.path().join("progressd.toml"), toml).expect("a file");
        Self {
            address: free_address(),
            folder,
            variables: Vec::new(),
            child: None,
        }
    }

    /// The same with a variable in its environment.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts it, and waits for so long, or until it listens.
    pub(crate) async fn start_within(&mut self, patience: Duration) {
        let mut child = self.spawn();
        let _ = tokio::time::timeout(patience, listening(&mut child)).await;
        self.child = Some(child);
    }

    /// Starts it and waits until it listens.
    pub(crate) async fn start(&mut self) {
        let mut child = self.spawn();
        let line = in_time("the node", listening(&mut child)).await;
        assert_eq!(
            line.as_deref(),
            Some(&*format!("listening on http://{}", self.address)),
            "the node's log: {}",
            self.log()
        );
        self.child = Some(child);
    }

    fn spawn(&self) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .expect("a log file");
        let built = || env!("CARGO_BIN_EXE_progressd").into();
        let program = std::env::var_os("PROGRESSD_PROGRAM").unwrap_or_else(built);
        let mut command = Command::new(program);
        command
            .args(["serve", "--listen", &self.address.to_string(), "--config"])
            .arg(self.folder().join("progressd.toml"))
            .env_clear()
            .envs(delivery_variable())
            .envs(self.variables.iter().cloned())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        command.spawn().expect("the binary starts")
    }

    /// Kills it, in whatever it is doing.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.child.take().expect("a running node");
        child.start_kill().expect("a child");
        child.wait().await.expect("a child");
    }

    /// Asks it to stop.
    pub(crate) async fn ask_to_stop(&self) {
        self.signal("TERM").await;
    }

    /// Sends it a signal by name.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self
            .child
            .as_ref()
            .and_then(Child::id)
            .expect("a running node");
        let status = Command::new("kill")
            .args(["-s", name, &id.to_string()])
            .status();
        assert!(status.await.expect("kill is there").success());
    }

    /// Stops it well.
    pub(crate) async fn stop(&mut self) {
        self.ask_to_stop().await;
        let mut child = self.child.take().expect("a running node");
        let status = in_time("the end of the node", child.wait()).await;
        let status = status.expect("a child");
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// What it has logged, over all its lives.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log_file(&self) -> PathBuf {
        self.folder().join("log")
    }
}

/// The first line that it writes; `None` when it ends before.
async fn listening(child: &mut Child) -> Option<String> {
    let stdout = child.stdout.take().expect("standard output is piped");
    let line = BufReader::new(stdout).lines().next_line().await;
    line.expect("UTF-8")
}
