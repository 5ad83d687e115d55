//! Runs in a terminal: the command has one of its own.

use pty_process::{Command, Pty, Size};
use rustix::termios::{LocalModes, tcgetattr};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Child,
};

use crate::support::{in_time, server::TestServer};

/// Somebody's terminal, and all that was on it.
struct Screen {
    pty: Pty,
    text: String,
}

impl Screen {
    /// Runs a script as the job `a` in a terminal of 30 lines of 100 characters.
    fn with_run(url: &str, script: &str) -> (Self, Child) {
        let (pty, pts) = pty_process::open().expect("a terminal");
        pty.resize(Size::new(30, 100)).expect("a terminal");
        // What we ignore, as under `nohup`, the run does not.
        let command = Command::new("env")
            .args(["--default-signal", env!("CARGO_BIN_EXE_progressd")])
            .args(["run", "--id", "a", "--", "sh", "-c", script])
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
