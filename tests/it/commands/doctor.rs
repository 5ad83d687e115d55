//! `progressd doctor`, in front of servers and of proxies that do well or badly.

mod ends;
mod proxies;

use std::process::Stdio;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::support::{
    certificate::Certificate, in_time, people, ports::free_address, secrets, server::TestServer,
};

/// Heartbeats that somebody waits for.
const SOON: &str = "stream.heartbeat_seconds = 1\n";

/// How a run came out.
#[derive(Debug)]
struct Visit {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// One finding.
#[derive(Debug)]
struct Finding {
    verdict: String,
    seen: String,
    change: String,
}

impl Visit {
    /// Runs the doctor with a credential in its environment.
    async fn with(token: &str, arguments: &[&str]) -> Self {
        let child = start(&[("PROGRESSD_TOKEN", token)], arguments);
        Self::of(child).await
    }

    /// Waits for its end.
    async fn of(child: Child) -> Self {
        let output = in_time("the end of the doctor", child.wait_with_output()).await;
        let output = output.expect("a child");
        let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
        let visit = Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        for text in [&visit.stdout, &visit.stderr] {
            secrets::look_at(text);
        }
        visit
    }

    /// What it wrote for programs.
    #[track_caller]
    fn object(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What it found about one thing.
    #[track_caller]
    fn finding(&self, check: &str) -> Finding {
        let object = self.object();
        let findings = object["findings"].as_array().expect("findings");
        let finding = findings.iter().find(|finding| finding["check"] == check);
        let finding = finding.unwrap_or_else(|| panic!("no {check}: {object:#}"));
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let change = finding["change"].as_array().expect("lines");
        let change: Vec<_> = change.iter().map(text).collect();
        Finding {
            verdict: text(&finding["verdict"]),
            seen: text(&finding["seen"]),
            change: change.join("\n"),
        }
    }

    /// The checks that came to a verdict.
    #[track_caller]
    fn checks(&self, verdict: &str) -> Vec<String> {
        let object = self.object();
        let findings = object["findings"].as_array().expect("findings");
        let findings = findings
            .iter()
            .filter(|finding| finding["verdict"] == verdict);
        let names = findings.map(|finding| finding["check"].as_str().expect("a name").to_owned());
        names.collect()
    }

    /// The one problem, which must be this; and nothing else is worth a word.
    #[track_caller]
    fn only_problem(&self, check: &str) -> Finding {
        assert_eq!(self.checks("problem"), [check], "{:#}", self.object());
        assert!(self.checks("warning").is_empty(), "{:#}", self.object());
        assert_eq!(self.code, Some(1));
        self.finding(check)
    }
}

fn start(variables: &[(&str, &str)], arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_progressd"))
        .arg("doctor")
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts")
}

/// A server with keys, settings above the defaults, and its address.
async fn guarded(toml: &str) -> TestServer {
    TestServer::with(&format!("{toml}{}", people::configuration())).await
}

/// How many jobs there are.
async fn jobs(server: &TestServer) -> usize {
    let list = server.as_bearer("key-admin").get("/api/v1/jobs").await;
    let list = list.expect(StatusCode::OK).json();
    list["jobs"].as_array().expect("a list").len()
}

#[tokio::test]
async fn without_a_proxy_all_is_well_and_nothing_is_left_behind() {
    let server = guarded(&format!(
        "{SOON}cors.allowed_origins = ['https://app.example']\n"
    ))
    .await;
    let arguments = [
        &*server.url,
        "--json",
        "--seconds",
        "3",
        "--origin",
        "https://app.example",
    ];
    let visit = Visit::with("key-all", &arguments).await;
    assert_eq!((visit.code, &*visit.stderr), (Some(0), ""), "{visit:?}");
    let expected = [
        "address",
        "health",
        "head",
        "first block",
        "delivery",
        "heartbeat",
        "duration",
        "end",
        "methods",
        "resume",
        "204",
        "caching",
        "query token",
        "long headers",
        "clock",
        "removal",
        "preflight",
        "answers",
        "errors",
    ];
    assert_eq!(visit.checks("ok"), expected, "{:#}", visit.object());
    let object = visit.object();
    assert_eq!(object["outcome"], "well");
    assert_eq!(object["address"], format!("{}/", server.url));
    assert_eq!(jobs(&server).await, 0);
}

#[tokio::test]
async fn people_read_lines_and_the_address_may_be_that_of_the_environment() {
    let server = TestServer::with(SOON).await;
    let child = start(&[("PROGRESSD_URL", &server.url)], &["--seconds", "2"]);
    let visit = Visit::of(child).await;
    assert_eq!((visit.code, &*visit.stderr), (Some(0), ""), "{visit:?}");
    let lines: Vec<_> = visit.stdout.lines().collect();
    assert_eq!(lines[0], format!("{}/", server.url));
    assert_eq!(lines[1], "server");
    assert!(
        lines[2].starts_with("  ok    address       progressd answers within"),
        "{lines:#?}"
    );
    assert!(lines.contains(&"stream"), "{lines:#?}");
    assert_eq!(lines.last(), Some(&"streams work"));
    // Nothing for a terminal, where there is none.
    assert!(!visit.stdout.contains('\x1b'));
}

#[tokio::test]
async fn http_2_is_seen_and_a_certificate_that_nobody_trusts_is_told_from_a_server_that_is_away() {
    let certificate = Certificate::new();
    let server = TestServer::with(&format!("{SOON}{}", certificate.toml())).await;
    let file = certificate.cert();
    let trusted = [("SSL_CERT_FILE", file.to_str().expect("UTF-8"))];
    let child = start(&trusted, &[&server.url, "--json", "--seconds", "2"]);
    let visit = Visit::of(child).await;
    assert_eq!(visit.code, Some(0), "{visit:?}");
    assert!(visit.finding("protocol").seen.starts_with("HTTP/2"));
    assert!(visit.finding("head").seen.contains("by HTTP/2"));
    let other = Certificate::new();
    let file = other.cert();
    let stranger = [("SSL_CERT_FILE", file.to_str().expect("UTF-8"))];
    let visit = Visit::of(start(&stranger, &[&server.url, "--json"])).await;
    assert_eq!(visit.code, Some(3), "{visit:?}");
    let finding = visit.finding("address");
    assert!(
        finding.seen.starts_with("the handshake of TLS fails"),
        "{finding:?}"
    );
    assert!(finding.change.contains("server.tls.cert"), "{finding:?}");
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_no_look_at_all() {
    let url = format!("http://{}", free_address());
    let visit = Visit::of(start(&[], &[&url])).await;
    assert_eq!(visit.code, Some(3), "{visit:?}");
    assert!(
        visit.stdout.contains("nobody takes the connection: "),
        "{visit:?}"
    );
    let visit = Visit::of(start(&[], &["http://nobody.invalid/", "--json"])).await;
    assert_eq!(visit.code, Some(3), "{visit:?}");
    let finding = visit.finding("address");
    assert!(
        finding.seen.starts_with("the name is not found"),
        "{finding:?}"
    );
    assert_eq!(visit.object()["outcome"], "could_not_look");
}

#[tokio::test]
async fn what_is_no_address_is_an_error_and_no_finding() {
    let visit = Visit::of(start(&[], &["ftp://p.example/"])).await;
    assert_eq!((visit.code, &*visit.stdout), (Some(3), ""), "{visit:?}");
    assert!(visit.stderr.starts_with("error: "), "{visit:?}");
}

#[tokio::test]
async fn a_missing_and_a_wrong_credential_are_named() {
    let server = guarded("").await;
    let visit = Visit::of(start(&[], &[&server.url, "--json"])).await;
    assert_eq!(visit.code, Some(3), "{visit:?}");
    let finding = visit.finding("credential");
    assert!(finding.change.contains("PROGRESSD_TOKEN"), "{finding:?}");
    let visit = Visit::with("key-nobody-has-it", &[&server.url, "--json"]).await;
    let finding = visit.finding("credential");
    assert_eq!(visit.code, Some(3), "{visit:?}");
    assert!(finding.seen.contains("Invalid API key"), "{finding:?}");
    assert!(finding.change.contains("may have expired"), "{finding:?}");
    let visit = Visit::with("key-write", &[&server.url, "--json"]).await;
    let finding = visit.finding("credential");
    assert!(finding.change.contains("jobs:read"), "{finding:?}");
}

#[tokio::test]
async fn who_may_only_read_is_told_what_is_not_looked_at() {
    let server = guarded(SOON).await;
    let visit = Visit::with("key-read", &[&server.url, "--json", "--seconds", "3"]).await;
    assert_eq!(visit.code, Some(0), "{visit:?}");
    assert_eq!(
        visit.checks("not_looked_at"),
        [
            "delivery", "end", "methods", "resume", "204", "caching", "origin"
        ]
    );
    assert!(visit.finding("delivery").seen.contains("jobs:write"));
    for check in ["first block", "heartbeat", "duration"] {
        assert_eq!(visit.finding(check).verdict, "ok", "{visit:?}");
    }
}

#[tokio::test]
async fn a_credential_in_the_address_is_used_and_not_shown() {
    let server = guarded(SOON).await;
    let inside = server.as_bearer("key-all");
    let created = inside.create(json!({"job_id": "j"})).await;
    let token = created["watch_token"].as_str().expect("a token");
    secrets::register(token);
    let address = format!("{}/api/v1/jobs/j/stream?token={token}", server.url);
    // Beside it the one of the environment, which would be one too many.
    let arguments = [&*address, "--json", "--seconds", "3"];
    let visit = Visit::with("key-all", &arguments).await;
    assert_eq!(visit.code, Some(0), "{visit:?}");
    assert!(visit.checks("problem").is_empty(), "{visit:?}");
    assert_eq!(visit.finding("heartbeat").verdict, "ok");
    let shown = visit.object()["address"].clone();
    assert_eq!(
        shown,
        format!("{}/api/v1/jobs/j/stream?token=hidden", server.url)
    );
    // It has only watched.
    assert_eq!(inside.status("j").await["status"], "pending");
    inside.report("j", json!({"status": "completed"})).await;
    let visit = Visit::with("key-all", &arguments).await;
    assert_eq!(visit.code, Some(0), "{visit:?}");
    let finding = visit.finding("duration");
    assert!(
        finding.seen.contains("as a finished job's does"),
        "{finding:?}"
    );
}

#[tokio::test]
async fn pages_of_an_origin_that_is_not_listed_are_told_the_setting() {
    let server = guarded(SOON).await;
    let arguments = [
        &*server.url,
        "--json",
        "--seconds",
        "0",
        "--origin",
        "https://app.example",
    ];
    let visit = Visit::with("key-all", &arguments).await;
    let finding = visit.only_problem("origin");
    let setting = "cors.allowed_origins = [\"https://app.example\"]";
    assert!(finding.change.contains(setting), "{finding:?}");
}
