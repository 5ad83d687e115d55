//! SIGHUP: keys and limits change while the server runs.

use std::fs;

use progressd::auth::KeyHash;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::support::{
    process::Process,
    server::{Answer, TestServer},
};

/// A configuration with one key, and more.
fn with_key(key: &str, more: &str) -> String {
    let hash = KeyHash::of(key.as_bytes());
    format!(
        "{more}\n[[auth.api_keys]]\nname = 'k'\nsha256 = '{hash}'\nscopes = ['jobs:read', 'jobs:write']\n"
    )
}

struct Reloading {
    file: NamedTempFile,
    process: Process,
}

impl Reloading {
    async fn start(configuration: &str) -> Self {
        let file = NamedTempFile::new().expect("a temporary file");
        fs::write(&file, configuration).expect("a writable file");
        let process = Process::configured_by(file.path()).await;
        Self { file, process }
    }

    /// Writes the configuration, sends SIGHUP, and waits for the line of the log that says `outcome`.
    async fn reload(&mut self, configuration: &str, outcome: &str) -> String {
        fs::write(&self.file, configuration).expect("a writable file");
        self.process.signal("HUP").await;
        self.process.logged(outcome).await
    }

    async fn create(&self, key: &str, message: &str) -> StatusCode {
        let client = reqwest::Client::builder().no_proxy().build();
        let request = client
            .expect("a client")
            .post(format!("{}/api/v1/jobs", self.process.url))
            .bearer_auth(key)
            .json(&json!({"kind": message}));
        request.send().await.expect("an answer").status()
    }
}

#[tokio::test]
async fn sighup_takes_over_keys_and_limits() {
    let mut server = Reloading::start(&with_key("first", "")).await;
    assert_eq!(server.create("first", "word").await, 201);
    let second = with_key("second", "limits.kind_chars = 3");
    server.reload(&second, "reloaded keys and limits").await;
    assert_eq!(server.create("first", "a").await, 401);
    assert_eq!(server.create("second", "word").await, 400);
    assert_eq!(server.create("second", "wor").await, 201);
}

#[tokio::test]
async fn a_wrong_configuration_changes_nothing_and_is_named_in_the_log() {
    let mut server = Reloading::start(&with_key("first", "")).await;
    let wrong = with_key("second", "limits.kind_chars = 'many'");
    let line = server
        .reload(&wrong, "the configuration was not reloaded")
        .await;
    assert!(line.contains("limits.kind_chars"), "{line}");
    assert_eq!(server.create("second", "word").await, 401);
    assert_eq!(server.create("first", "word").await, 201);
}

#[tokio::test]
async fn a_key_that_needs_a_restart_is_named_and_the_rest_taken_over() {
    let mut server = Reloading::start(&with_key("first", "")).await;
    let second = with_key("second", "stream.retry_ms = 7000");
    let line = server.reload(&second, "only a restart").await;
    assert!(line.contains("stream.retry_ms"), "{line}");
    server.process.logged("reloaded keys and limits").await;
    assert_eq!(server.create("second", "word").await, 201);
}

#[tokio::test]
async fn a_file_that_is_empty_for_a_moment_opens_nothing() {
    let mut server = Reloading::start(&with_key("first", "")).await;
    let line = server
        .reload("", "the configuration was not reloaded")
        .await;
    assert!(line.contains("no key"), "{line}");
    assert_eq!(server.create("", "word").await, 401);
    assert_eq!(server.create("first", "word").await, 201);
    server
        .reload("auth.mode = 'none'", "reloaded keys and limits")
        .await;
    assert_eq!(server.create("", "word").await, 201);
}

const PAGE: &str = "https://app.example";

#[tokio::test]
async fn sighup_takes_over_the_origins_whose_pages_may_use_the_server() {
    let mut server = Reloading::start(&with_key("first", "")).await;
    let client = TestServer::at(&server.process.url);
    let allowed = async || {
        let request = client
            .request(Method::GET, "/healthz")
            .header("origin", PAGE);
        let answer = Answer::of(request).await.expect(StatusCode::OK);
        let allowed = answer.header("access-control-allow-origin");
        allowed.map(str::to_owned)
    };
    assert_eq!(allowed().await, None);
    let listed = with_key("first", &format!("cors.allowed_origins = ['{PAGE}']"));
    server.reload(&listed, "reloaded keys and limits").await;
    assert_eq!(allowed().await.as_deref(), Some(PAGE));
    let unlisted = with_key("first", "");
    server.reload(&unlisted, "reloaded keys and limits").await;
    assert_eq!(allowed().await, None);
}

#[tokio::test]
async fn sighup_takes_over_the_hosts_and_the_pages_that_an_open_server_answers() {
    let mut server = Reloading::start("").await;
    let client = TestServer::at(&server.process.url);
    let status = async |name: &str, value: &str| {
        let request = client.request(Method::GET, "/healthz").header(name, value);
        Answer::of(request).await.status
    };
    assert_eq!(status("host", "box.internal").await, 403);
    assert_eq!(status("origin", PAGE).await, 403);
    let listed = format!("server.hosts = ['box.internal']\ncors.allowed_origins = ['{PAGE}']");
    server.reload(&listed, "reloaded keys and limits").await;
    assert_eq!(status("host", "box.internal").await, 200);
    assert_eq!(status("origin", PAGE).await, 200);
    server.reload("", "reloaded keys and limits").await;
    assert_eq!(status("host", "box.internal").await, 403);
    assert_eq!(status("origin", PAGE).await, 403);
}

#[tokio::test]
async fn sighup_takes_over_the_proxies_that_are_trusted() {
    // Each address may ask once or twice, and the proxy names another one each time.
    const ONE_EACH: &str = "limits.requests_per_second_per_address = 1";
    let configured = |more: &str| with_key("first", &format!("{ONE_EACH}\n{more}"));
    let mut server = Reloading::start(&with_key("first", "")).await;
    let client = TestServer::at(&server.process.url);
    let refusals = async || {
        let mut refusals = 0;
        for number in 1..=20 {
            let request = client
                .request(Method::GET, "/api/v1/jobs")
                .bearer_auth("first");
            let request = request.header("x-forwarded-for", format!("203.0.113.{number}"));
            refusals += usize::from(Answer::of(request).await.status == 429);
        }
        refusals
    };
    assert_eq!(refusals().await, 0);
    let trusting = configured("server.trusted_proxies = ['127.0.0.1']");
    server.reload(&trusting, "reloaded keys and limits").await;
    assert_eq!(refusals().await, 0);
    let believing_nobody = configured("");
    server
        .reload(&believing_nobody, "reloaded keys and limits")
        .await;
    assert_ne!(refusals().await, 0);
}
