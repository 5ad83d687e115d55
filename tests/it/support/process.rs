//! The real binary as a process.

use std::{fs, path::Path, process::Stdio};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::mpsc,
};

use super::{in_time, secrets, server::delivery_variable};

/// `progressd serve` on a free port; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Where it runs, unless the test says otherwise: its store's file leaves with it.
    _folder: Option<TempDir>,
    log: mpsc::UnboundedReceiver<String>,
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

    /// Starts it in a folder, by the `progressd.toml` there.
    pub(crate) async fn start_in(folder: &Path) -> Self {
        let command = &mut Command::new(env!("CARGO_BIN_EXE_progressd"));
        command.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--config",
            "progressd.toml",
        ]);
        Self::run_in(command.current_dir(folder).env_clear(), None).await
    }

    /// The same, where no file may get longer than so many KiB: a write beyond that fails as on a full disk.
    pub(crate) async fn start_confined(folder: &Path, kibibytes: usize) -> Self {
        // Counted in units of 512 bytes (POSIX, ulimit). The signal would end the process.
        let script = format!(
            "trap '' XFSZ; ulimit -S -f {}; exec \"$0\" serve --listen 127.0.0.1:0 --config progressd.toml",
            2 * kibibytes
        );
        let command = &mut Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_progressd")]);
        Self::run_in(command.current_dir(folder).env_clear(), None).await
    }

    /// Lets its files get as long as they like.
    pub(crate) async fn set_free(&self) {
        let status = Command::new("prlimit")
            .args(["--pid", &self.id(), "--fsize=unlimited"])
            .status();
        assert!(status.await.expect("prlimit is there").success());
    }

    /// Kills it, in whatever it is doing.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("a running process");
    }

    async fn run(command: &mut Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::run_in(command.current_dir(folder.path()), Some(folder)).await
    }

    async fn run_in(command: &mut Command, folder: Option<TempDir>) -> Self {
        let mut child = command
            .envs(delivery_variable())
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
        let (sender, log) = mpsc::unbounded_channel();
        tokio::spawn(read_log(stderr, sender));
        Self {
            child,
            _folder: folder,
            log,
            url: url.to_owned(),
        }
    }

    /// Sends it a signal by name.
    pub(crate) async fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.id()]).status();
        assert!(status.await.expect("kill is there").success());
    }

    /// The next line of its log that holds `text`.
    pub(crate) async fn logged(&mut self, text: &str) -> String {
        let line = async {
            loop {
                let line = self.log.recv().await.expect("the log goes on");
                if line.contains(text) {
                    return line;
                }
            }
        };
        in_time(text, line).await
    }

    /// Bytes of memory that it has in use (Linux, proc(5): `statm`, in pages of 4 KiB).
    pub(crate) fn resident_bytes(&self) -> usize {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.id())).expect("Linux");
        let pages = statm
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse::<usize>().ok());
        pages.expect("a number of pages") * 4096
    }

    /// The lines of its log that nobody has read, to its end, which comes with that of the process.
    pub(crate) async fn rest_of_log(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = in_time("the end of the log", self.log.recv()).await {
            lines.push(line);
        }
        lines
    }

    /// How many sockets it holds.
    pub(crate) fn sockets(&self) -> usize {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.id()));
        let descriptors = descriptors.expect("a running process of ours");
        descriptors
            .flatten()
            // One may be closed in between.
            .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// Waits for its end.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let status = in_time("the end of the process", self.child.wait()).await;
        status.expect("a process that can be waited for").code()
    }

    fn id(&self) -> String {
        self.child.id().expect("a running process").to_string()
    }
}

/// Takes the log as it comes, so that the process never waits for somebody to read it.
async fn read_log(stderr: impl AsyncRead + Unpin, log: mpsc::UnboundedSender<String>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Some(line) = lines.next_line().await.expect("the log is UTF-8") {
        secrets::look_at(&line);
        // A test that does not read the log is no reason to stop reading it here.
        let _ = log.send(line);
    }
}
