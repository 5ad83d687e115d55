//! Runs in a terminal: the command has one of its own.

use std::fs;

use pty_process::{Command, Pty, Size};
use rustix::termios::{LocalModes, tcgetattr};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Child,
};

use super::until_status;
use crate::support::{in_time, ports::free_address, server::TestServer, until};

/// Somebody's terminal, and all that was on it.
struct Screen {
    pty: Pty,
    text: String,
}

impl Screen {
    /// Runs a script as the job `a` in a terminal of 30 lines of 100 characters.
    fn with_run(url: &str, script: &str) -> (Self, Child) {
        let run = [env!("CARGO_BIN_EXE_progressd"), "run", "--id", "a", "--"];
        Self::with(url, &[&run[..], &["sh", "-c", script]].concat())
    }

    /// The same for any command.
    fn with(url: &str, command: &[&str]) -> (Self, Child) {
        let (pty, pts) = pty_process::open().expect("a terminal");
        pty.resize(Size::new(30, 100)).expect("a terminal");
        // What we ignore, as under `nohup`, the run does not.
        let command = Command::new("env")
            .arg("--default-signal")
            .args(command)
            .env("PROGRESSD_URL", url)
            .kill_on_drop(true);
        let child = command.spawn(pts).expect("the binary starts");
        let text = String::new();
        (Self { pty, text }, child)
    }

    async fn shows(&mut self, wanted: &str) {
        let reading = async {
            let mut chunk = [0; 1024];
            while !self.text.contains(wanted) {
                let length = self.pty.read(&mut chunk).await;
                let length = length.unwrap_or_else(|error| panic!("{error} after {:?}", self.text));
                self.text += &String::from_utf8_lossy(&chunk[..length]);
            }
        };
        in_time(wanted, reading).await;
    }

    async fn type_in(&mut self, keys: &str) {
        self.pty
            .write_all(keys.as_bytes())
            .await
            .expect("a terminal");
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.pty).expect("a terminal");
        !modes.local_modes.contains(LocalModes::ICANON)
    }
}

#[tokio::test]
async fn keys_size_and_screen_are_those_of_a_terminal() {
    let server = TestServer::start().await;
    let script = "test -t 0 && test -t 1 && test -t 2 && stty size
        trap 'stty size' WINCH
        read line; echo \"got $line\"
        while :; do sleep 0.05; done";
    let (mut screen, mut child) = Screen::with_run(&server.url, script);
    screen.shows("30 100").await;
    assert!(screen.is_raw());
    screen.type_in("hello\n").await;
    screen.shows("got hello").await;
    screen.pty.resize(Size::new(40, 120)).expect("a terminal");
    screen.shows("40 120").await;
    screen.type_in("\u{3}").await;
    let status = in_time("the end", child.wait()).await.expect("a child");
    assert_eq!(status.code(), Some(130));
    assert!(!screen.is_raw(), "it is again as it was");
    assert_eq!(server.status("a").await["status"], "cancelled");
}

#[tokio::test]
async fn a_bar_that_is_drawn_only_in_terminals_is_seen() {
    let server = TestServer::start().await;
    let script = "test -t 2 && printf '\\r 10%%' >&2 && printf '\\r 70%%' >&2; exit 3";
    let (mut screen, mut child) = Screen::with_run(&server.url, script);
    screen.shows("\r 70%").await;
    let status = in_time("the end", child.wait()).await.expect("a child");
    assert_eq!(status.code(), Some(3));
    let status = server.status("a").await;
    assert_eq!(status["progress_percentage"], 70);
    assert_eq!(status["error"]["message"], "exited with 3: 70%");
}

#[tokio::test]
async fn keys_are_left_alone_once_the_command_has_ended() {
    let program = env!("CARGO_BIN_EXE_progressd");
    let script =
        format!("{program} run --wait 2 -- echo over; read line; echo \"and $line\"; read line");
    let url = format!("http://{}", free_address());
    let (mut screen, _child) = Screen::with(&url, &["sh", "-c", &script]);
    screen.shows("over\r\n").await;
    until("the end of the command", async || !screen.is_raw()).await;
    // The server is waited for still.
    screen.type_in("then\n").await;
    screen.shows("and then").await;
    assert!(screen.text.contains("was not told"), "{}", screen.text);
}

#[tokio::test]
async fn what_a_cancelled_command_leaves_behind_in_a_pipeline_is_killed_too() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let number = folder.path().join("number");
    // The shell ends at once, its child does not.
    let child = folder.path().join("child");
    let text = "trap '' TERM; echo $$ > \"$0\"; echo ready; while :; do sleep 0.1; done";
    fs::write(&child, text).expect("a file");
    let script = format!(
        "{} run --id a --grace 1 -- sh -c 'sh -c \"$(cat {})\" {} & wait' | cat",
        env!("CARGO_BIN_EXE_progressd"),
        child.display(),
        number.display()
    );
    let (mut screen, mut shell) = Screen::with(&server.url, &["sh", "-c", &script]);
    screen.shows("ready").await;
    until_status(&server, "a", |status| status["message"] == "ready").await;
    server
        .post("/api/v1/jobs/a/cancel", serde_json::json!({}))
        .await;
    in_time("the end", shell.wait()).await.expect("a child");
    let number = fs::read_to_string(number).expect("a number");
    let state = fs::read_to_string(format!("/proc/{}/stat", number.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
    assert_eq!(server.status("a").await["status"], "cancelled");
}
