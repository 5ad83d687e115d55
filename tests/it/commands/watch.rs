//! `progressd watch`: what it writes, and its exit codes.

mod manners;
mod terminal;
mod troubles;

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    task::JoinHandle,
};

use crate::support::{in_time, server::TestServer};

/// The command for a server, with nothing else in its environment.
fn command(url: &str, arguments: &[&str]) -> Command {
    // Whoever runs the tests may ignore signals, as `nohup` does.
    let mut command = Command::new("env");
    command
        .args(["--default-signal", env!("CARGO_BIN_EXE_progressd"), "watch"])
        .args(arguments)
        .env_clear()
        .env("PROGRESSD_URL", url)
        .kill_on_drop(true);
    command
}

/// A running one, its output piped.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    errors: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
}

/// How one ended.
#[derive(Debug)]
struct End {
    status: ExitStatus,
    /// The lines that nobody had read.
    lines: Vec<String>,
    errors: String,
}

impl Watching {
    fn start(url: &str, arguments: &[&str]) -> Self {
        Self::spawn(&mut command(url, arguments))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        let errors = Arc::new(Mutex::new(String::new()));
        let told = Arc::clone(&errors);
        let reading = tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Some(line) = lines.next_line().await.expect("UTF-8") {
                let mut told = told.lock().expect("no panic");
                told.push_str(&line);
                told.push('\n');
            }
        });
        Self {
            child,
            lines: BufReader::new(stdout).lines(),
            errors,
            reading,
        }
    }

    /// What it has written to standard error.
    fn errors(&self) -> String {
        self.errors.lock().expect("no panic").clone()
    }

    /// The next line.
    async fn line(&mut self) -> String {
        let line = in_time("a line", self.lines.next_line()).await;
        line.expect("UTF-8").expect("no end yet")
    }

    /// The next line that holds `text`.
    async fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.line().await;
            if line.contains(text) {
                return line;
            }
        }
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.await.expect("kill is there").success());
    }

    /// Waits for its end.
    async fn end(mut self) -> End {
        let mut lines = Vec::new();
        while let Some(line) = in_time("the end of the output", self.lines.next_line())
            .await
            .expect("UTF-8")
        {
            lines.push(line);
        }
        let status = in_time("the end of the command", self.child.wait()).await;
        let reading = in_time("the end of the errors", &mut self.reading).await;
        reading.expect("no panic");
        End {
            status: status.expect("a child"),
            lines,
            errors: self.errors(),
        }
    }
}

impl End {
    #[track_caller]
    fn expect(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        self
    }

    #[track_caller]
    fn expect_signal(&self, signal: i32) -> &Self {
        assert_eq!(self.status.signal(), Some(signal), "{self:?}");
        self
    }

    #[track_caller]
    fn expect_error(&self, text: &str) -> &Self {
        let is_told = self.errors.lines().any(|line| line.starts_with("error: "));
        assert!(is_told && self.errors.contains(text), "{self:?}");
        self
    }
}

/// Every change, and clients that come back at once.
const QUICK: &str = "stream.update_interval_ms = 0\nstream.retry_ms = 100";

async fn quick_server() -> TestServer {
    TestServer::with(QUICK).await
}

#[tokio::test]
async fn the_exit_code_says_what_became_of_the_job() {
    let server = quick_server().await;
    for (job_id, report, code, last) in [
        (
            "c",
            json!({"status": "completed"}),
            0,
            "completed   100.00 %",
        ),
        (
            "f",
            json!({"status": "failed", "error": {"code": "FULL", "message": "disk full"}}),
            1,
            "failed        0.00 %  0/4  disk full (FULL)",
        ),
        (
            "x",
            json!({"status": "cancelled"}),
            2,
            "cancelled     0.00 %",
        ),
    ] {
        server
            .create(json!({"job_id": job_id, "total_count": 4}))
            .await;
        let mut early = Watching::start(&server.url, &[job_id]);
        assert_eq!(early.line().await, "pending       0.00 %  0/4");
        server.report(job_id, report).await;
        let late = Watching::start(&server.url, &[&format!("{}/#/jobs/{job_id}", server.url)]);
        for watching in [early, late] {
            let end = watching.end().await;
            end.expect(code);
            assert!(
                end.lines.len() == 1 && end.lines[0].starts_with(last),
                "{end:?}"
            );
            assert_eq!(end.errors, "");
        }
    }
}

#[tokio::test]
async fn lines_tell_all_that_there_is_to_see() {
    let server = quick_server().await;
    let job = json!({"job_id": "j", "total_count": 1000, "unit": "emails"});
    server.create(job).await;
    let mut watching = Watching::start(&server.url, &["j"]);
    watching.line().await;
    let event = json!([{"event": "log", "data": {"line": "Opened\tlist.csv"}}, {"event": "error", "data": "row 7"}]);
    let events = server.post("/api/v1/jobs/j/events", event).await;
    events.expect(reqwest::StatusCode::OK);
    assert_eq!(
        watching.line().await,
        r#"event       log  {"line":"Opened\tlist.csv"}"#
    );
    assert_eq!(watching.line().await, r#"event       error  "row 7""#);
    let report = json!({"processed_count": 750, "step": "Checking mail servers", "message": "gmail.com", "attempt": 2});
    server.report("j", report).await;
    let line = watching.line_with("gmail.com").await;
    assert_eq!(
        line,
        "processing   75.00 %  750/1000 emails  attempt 2  Checking mail servers: gmail.com"
    );
    let cancel = server.post("/api/v1/jobs/j/cancel", json!({})).await;
    cancel.expect(reqwest::StatusCode::ACCEPTED);
    watching.line_with("  cancel requested  ").await;
    server.report("j", json!({"status": "cancelled"})).await;
    watching.end().await.expect(2);
}

#[tokio::test]
async fn several_jobs_are_told_by_their_names_and_end_by_the_worst() {
    let server = quick_server().await;
    for job_id in ["a", "b", "c"] {
        server.create(json!({"job_id": job_id})).await;
    }
    let mut three = Watching::start(&server.url, &["a", "b", "c"]);
    let mut two = Watching::start(&server.url, &["a", "c"]);
    let mut unknown = Watching::start(&server.url, &["a", "b", "nobody"]);
    for (watching, lines) in [(&mut three, 3), (&mut two, 2), (&mut unknown, 3)] {
        for _ in 0..lines {
            watching.line().await;
        }
    }
    server.report("c", json!({"status": "cancelled"})).await;
    server
        .report("b", json!({"status": "failed", "error": "no"}))
        .await;
    three.line_with("b  failed").await;
    server.report("a", json!({"status": "completed"})).await;
    let end = three.end().await;
    end.expect(1);
    // Why a job failed is told once.
    assert!(
        !end.lines.iter().any(|line| line.contains("event")),
        "{end:?}"
    );
    assert_eq!(end.lines, ["a  completed   100.00 %"]);
    two.end().await.expect(2);
    unknown
        .end()
        .await
        .expect(3)
        .expect_error("nobody: JOB_NOT_FOUND");
}

#[tokio::test]
async fn jobs_of_several_servers_are_told_apart() {
    let (first, second) = (quick_server().await, quick_server().await);
    for server in [&first, &second] {
        server.create(json!({"job_id": "j"})).await;
        server.report("j", json!({"status": "completed"})).await;
    }
    let other = format!("{}/api/v1/jobs/j", second.url);
    let end = Watching::start(&first.url, &["j", &other]).end().await;
    end.expect(0);
    for server in [&first, &second] {
        let line = format!("{}/j  completed   100.00 %", server.address());
        assert!(end.lines.contains(&line), "{end:?}");
    }
}

#[tokio::test]
async fn json_is_what_was_on_the_wire() {
    let server = quick_server().await;
    server
        .create(json!({"job_id": "a", "data": {"x": 1.50}}))
        .await;
    server.create(json!({"job_id": "b"})).await;
    server.report("a", json!({})).await;
    for (arguments, with_events) in [
        (&["--json", "a", "b"][..], true),
        (&["--json", "--no-events", "a", "b"], false),
    ] {
        let mut watching = Watching::start(&server.url, arguments);
        let lines = [watching.line().await, watching.line().await];
        let now = server.get("/api/v1/jobs/a").await.text;
        assert!(lines.contains(&now), "{lines:?}: {now}");
        let event = json!({"event": "found", "data": {"n": 1}});
        let answer = server.post("/api/v1/jobs/a/events", event).await.json();
        server
            .report("a", json!({"step": format!("{with_events}")}))
            .await;
        let now = server.get("/api/v1/jobs/a").await.text;
        let mut line = watching.line_with("\"a\"").await;
        if with_events {
            let told: Value = serde_json::from_str(&line).expect("JSON");
            let seq = &answer["seq"];
            let event = json!({"event": "found", "job_id": "a", "seq": seq, "data": {"n": 1}});
            assert_eq!(told, event);
            line = watching.line_with("\"a\"").await;
        }
        assert_eq!(line, now);
    }
    let watching = Watching::start(&server.url, &["--json", "a", "b"]);
    server.delete("/api/v1/jobs/b").await;
    server.report("a", json!({"status": "completed"})).await;
    let end = watching.end().await;
    end.expect(3).expect_error("b: ");
    let removed: Value = json!({"event": "removed", "job_id": "b"});
    let lines = end.lines.iter();
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    // It may have gone before it was looked for.
    let is_removal = |line: &Value| {
        let mut line = line.clone();
        if let Some(line) = line.as_object_mut() {
            line.remove("code");
        }
        line == removed
    };
    assert!(lines.iter().any(is_removal), "{lines:?}");
}

#[tokio::test]
async fn a_servers_jobs_are_shown_until_it_is_interrupted() {
    let server = quick_server().await;
    server.create(json!({"job_id": "a", "tags": ["t"]})).await;
    server.create(json!({"job_id": "b"})).await;
    let stream = format!("{}/api/v1/stream?tag=t", server.url);
    let mut all = Watching::start("http://127.0.0.1:1", &[&server.url]);
    let mut tagged = Watching::start("http://127.0.0.1:1", &[&stream]);
    let mut first = [all.line().await, all.line().await];
    first.sort();
    assert_eq!(
        first,
        ["a  pending       0.00 %", "b  pending       0.00 %"]
            .map(|line| line.replace("  0.00", "     -"))
    );
    tagged.line_with("a  pending").await;
    server
        .report("a", json!({"status": "failed", "error": "no"}))
        .await;
    server.create(json!({"job_id": "c", "tags": ["t"]})).await;
    all.line_with("a  failed").await;
    tagged.line_with("a  failed").await;
    tagged.line_with("c  pending").await;
    server.delete("/api/v1/jobs/c").await;
    tagged
        .line_with("c  removed     it is gone, or does not match any more")
        .await;
    all.signal("INT").await;
    all.end().await.expect_signal(2);
    tagged.signal("TERM").await;
    tagged.end().await.expect_signal(15);
}

#[tokio::test]
async fn a_job_that_is_removed_could_not_be_watched() {
    let server = quick_server().await;
    server.create(json!({"job_id": "j"})).await;
    let mut watching = Watching::start(&server.url, &["j"]);
    watching.line().await;
    server.delete("/api/v1/jobs/j").await;
    watching
        .end()
        .await
        .expect(3)
        .expect_error("j: the job is gone (JOB_GONE)");
}
