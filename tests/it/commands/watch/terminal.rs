//! What a terminal shows: a real pseudo-terminal, and a terminal's emulation to read it with.

use std::{
    fs::File,
    io::Read as _,
    num::NonZeroU16,
    os::unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    path::Path,
    process::{ExitStatus, Stdio},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::json;
use tokio::{
    process::{Child, Command},
    sync::mpsc,
};

use super::{command, quick_server};
use crate::support::{in_time, node::Node};

/// A terminal, and the command that runs on it.
struct Terminal {
    child: Child,
    pieces: mpsc::UnboundedReceiver<Vec<u8>>,
    parser: vt100::Parser,
    written: Vec<u8>,
}

impl Terminal {
    fn run(command: &mut Command, rows: u16, columns: u16) -> Self {
        let mine = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&mine).expect("ours");
        unlockpt(&mine).expect("ours");
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&mine, size).expect("a terminal");
        let name = ptsname(&mine, Vec::new()).expect("a name");
        let name = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let theirs = || {
            let file = File::options().read(true).write(true).open(name);
            Stdio::from(file.expect("the other end"))
        };
        let child = command
            .env("TERM", "xterm-256color")
            .stdin(theirs())
            .stdout(theirs())
            .stderr(theirs())
            .spawn()
            .expect("the binary starts");
        // Until nobody holds the other end, which the command's own copies do.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let (sender, pieces) = mpsc::unbounded_channel();
        let mut mine = File::from(mine);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            // The end is an error on Linux: nobody is there any more.
            while let Ok(read @ 1..) = mine.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        let [rows, columns] = [rows, columns].map(|size| NonZeroU16::new(size).expect("a size"));
        Self {
            child,
            pieces,
            parser: vt100::Parser::new(rows, columns, 100),
            written: Vec::new(),
        }
    }

    fn contents(&self) -> String {
        self.parser.screen().contents()
    }

    /// Reads on until the screen holds `text`.
    async fn shows(&mut self, text: &str) -> String {
        let showing = async {
            while !self.contents().contains(text) {
                let Some(piece) = self.pieces.recv().await else {
                    panic!("ended without {text:?}: {}", self.contents());
                };
                self.parser.process(&piece);
                self.written.extend_from_slice(&piece);
            }
        };
        if tokio::time::timeout(crate::support::PATIENCE, showing)
            .await
            .is_err()
        {
            panic!("{text:?} is not on the screen: {}", self.contents());
        }
        self.contents()
    }

    async fn end(&mut self) -> ExitStatus {
        while let Some(piece) = in_time("the end of the output", self.pieces.recv()).await {
            self.parser.process(&piece);
            self.written.extend_from_slice(&piece);
        }
        let status = in_time("the end of the command", self.child.wait()).await;
        status.expect("a child")
    }

    /// The colour of the first letter of `text`.
    fn color_of(&self, text: &str) -> vt100::Color {
        let screen = self.parser.screen();
        let columns = screen.size().1.get();
        let found = screen.rows(0, columns).enumerate().find_map(|(row, line)| {
            let (before, _) = line.split_once(text)?;
            let column = u16::try_from(before.chars().count()).expect("a column");
            screen.cell(u16::try_from(row).expect("a row"), column)
        });
        found.expect("the text is there").fgcolor()
    }
}

#[tokio::test]
async fn a_bar_shows_how_far_it_is_and_stays_as_it_ended() {
    let server = quick_server().await;
    let job = json!({"job_id": "j", "total_count": 1000, "unit": "emails"});
    server.create(job).await;
    let mut terminal = Terminal::run(&mut command(&server.url, &["j"]), 24, 120);
    terminal.shows("  0 %  0/1000 emails  pending").await;
    let report = json!({"processed_count": 500, "step": "Checking", "message": "gmail.com"});
    server.report("j", report).await;
    let screen = terminal.shows(" 50 %  500/1000 emails  ").await;
    let line = screen.lines().find(|line| line.contains("50 %"));
    let line = line.expect("a bar").trim_end();
    assert!(
        line.starts_with(&"█".repeat(12)) && !line.starts_with(&"█".repeat(13)),
        "{screen}"
    );
    assert!(line.ends_with("Checking: gmail.com"), "{screen}");
    let event = json!({"event": "log", "data": "hello"});
    server.post("/api/v1/jobs/j/events", event).await;
    let screen = terminal.shows("log  \"hello\"").await;
    assert!(
        screen.find("hello") < screen.find("50 %"),
        "events stand above: {screen}"
    );
    server
        .report("j", json!({"status": "failed", "error": "disk full"}))
        .await;
    let status = terminal.end().await;
    assert_eq!(status.code(), Some(1));
    let screen = terminal.contents();
    assert!(
        screen.contains(" 50 %  500/1000 emails  failed  disk full (JOB_FAILED)"),
        "{screen}"
    );
    assert_eq!(terminal.color_of("disk full"), vt100::Color::Idx(1));
    assert_eq!(
        screen.lines().filter(|line| line.contains("/1000")).count(),
        1,
        "{screen}"
    );
    let shown = terminal.parser.screen();
    let rows = shown.rows(0, 120).filter(|row| !row.trim().is_empty());
    assert_eq!(
        shown.cursor_position(),
        (u16::try_from(rows.count()).expect("few"), 0)
    );
    assert!(!terminal.parser.screen().hide_cursor());
}

#[tokio::test]
async fn more_jobs_than_rows_are_counted() {
    let server = quick_server().await;
    let names: Vec<_> = (0..20).map(|number| format!("job-{number:02}")).collect();
    for name in &names {
        server
            .create(json!({"job_id": name, "total_count": 2}))
            .await;
    }
    let arguments: Vec<_> = names.iter().map(String::as_str).collect();
    let mut terminal = Terminal::run(&mut command(&server.url, &arguments), 8, 70);
    terminal.shows("14 more of 20 jobs: 20 pending").await;
    for name in &names[..19] {
        server.report(name, json!({"status": "completed"})).await;
    }
    terminal.shows("1 pending, 19 completed").await;
    server
        .report("job-19", json!({"status": "failed", "error": "no"}))
        .await;
    assert_eq!(terminal.end().await.code(), Some(1));
    let screen = terminal.contents();
    assert!(
        screen.contains("job-19  "),
        "what failed stays in sight: {screen}"
    );
    assert!(screen.contains("19 completed, 1 failed"), "{screen}");
    assert_eq!(screen.matches("job-").count(), 6, "{screen}");
}

#[tokio::test]
async fn nothing_from_a_worker_moves_the_cursor_and_long_lines_are_cut() {
    let server = quick_server().await;
    server
        .create(json!({"job_id": "j", "total_count": 4}))
        .await;
    let mut terminal = Terminal::run(&mut command(&server.url, &["j"]), 10, 60);
    terminal.shows("0/4").await;
    let hostile = "\u{1b}[2J\u{1b}[1;1Hgone\u{1b}]0;title\u{7}\u{9b}7m\nforged";
    let event = json!({"event": "log", "data": {"x": hostile}});
    server.post("/api/v1/jobs/j/events", event).await;
    let message = "検査".repeat(200);
    server
        .report(
            "j",
            json!({"processed_count": 1, "step": hostile, "message": message}),
        )
        .await;
    let screen = terminal.shows(" 25 %  1/4  ").await;
    assert!(screen.lines().count() <= 3, "{screen}");
    assert!(
        !screen.lines().any(|line| line.starts_with("forged")),
        "{screen}"
    );
    server.report("j", json!({"status": "completed"})).await;
    assert_eq!(terminal.end().await.code(), Some(0));
    let written = String::from_utf8_lossy(&terminal.written);
    for order in ["\u{1b}[2J", "\u{1b}[1;1H", "\u{1b}]0", "\u{7}", "\u{9b}"] {
        assert!(!written.contains(order), "{order:?} in {written:?}");
    }
}

#[tokio::test]
async fn without_colours_there_are_none() {
    let server = quick_server().await;
    server
        .create(json!({"job_id": "j", "total_count": 4}))
        .await;
    let mut command = command(&server.url, &["j"]);
    let mut terminal = Terminal::run(command.env("NO_COLOR", "1"), 10, 80);
    terminal.shows("0/4").await;
    server
        .report("j", json!({"status": "failed", "error": "no"}))
        .await;
    assert_eq!(terminal.end().await.code(), Some(1));
    let written = String::from_utf8_lossy(&terminal.written);
    let is_colour = |piece: &str| {
        let end = piece.find(|letter: char| !letter.is_ascii_digit() && letter != ';');
        end.is_some_and(|end| piece[end..].starts_with('m'))
    };
    assert!(
        !written.split("\u{1b}[").skip(1).any(is_colour),
        "{written:?}"
    );
}

#[tokio::test]
async fn a_connection_that_is_lost_is_seen_and_an_interrupt_leaves_the_cursor_below() {
    let mut node = Node::new("stream.retry_ms = 100\nstore.backend = 'memory'");
    node.start().await;
    let server = crate::support::server::TestServer::at(&node.url());
    server
        .create(json!({"job_id": "j", "total_count": 4}))
        .await;
    let mut terminal = Terminal::run(&mut command(&server.url, &["j"]), 10, 100);
    terminal.shows("0/4").await;
    node.kill().await;
    let screen = terminal.shows("reconnecting…").await;
    assert!(screen.contains("0/4"), "{screen}");
    let id = terminal.child.id().expect("it runs").to_string();
    let status = Command::new("kill").args(["-s", "INT", &id]).status();
    assert!(status.await.expect("kill is there").success());
    assert_eq!(terminal.end().await.signal(), Some(2));
    assert_eq!(terminal.parser.screen().cursor_position().1, 0);
}

#[tokio::test]
async fn the_demo_is_such_a_bar() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_progressd"));
    command
        .args(["demo", "--speed", "0"])
        .env_clear()
        .kill_on_drop(true);
    let mut terminal = Terminal::run(&mut command, 24, 200);
    let screen = terminal.shows("The server runs on until Ctrl-C.").await;
    assert!(
        screen.contains("100 %  370/370 emails  completed"),
        "{screen}"
    );
    let line = screen
        .lines()
        .find(|line| line.starts_with("dashboard  http://127.0.0.1:"));
    let address = line
        .expect("its address")
        .trim_start_matches("dashboard  ")
        .trim_end();
    let page = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let page = in_time("the page", page.get(address).send()).await;
    assert_eq!(page.expect("an answer").status(), 200);
    let id = terminal.child.id().expect("it runs").to_string();
    let status = Command::new("kill").args(["-s", "INT", &id]).status();
    assert!(status.await.expect("kill is there").success());
    assert_eq!(terminal.end().await.code(), Some(0));
}
