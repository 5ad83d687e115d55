//! A real server on a free port, and short ways to talk to it.

use std::{net::SocketAddr, sync::Arc};

use progressd::{
    config::{Config, StoreBackend},
    http::{Usage, connection::Drained},
    job::JobId,
    registry::Registry,
    server::Server,
    store::Store,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::{certificate::Certificate, in_time, secrets, sse::SseStream};

/// How many events [`TestServer::flood`] posts: 12 MB, where the kernel keeps 4 MiB of what is sent (`tcp_wmem`).
pub(crate) const FLOOD_EVENTS: usize = 200;

/// A running server; stops when dropped.
pub(crate) struct TestServer {
    server: Option<Server>,
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    /// Sent as `Authorization: Bearer` with every request.
    token: Option<String>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl TestServer {
    /// A server with the default configuration.
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// A server with keys of its own above the defaults, on a free port in any case.
    pub(crate) async fn with(toml: &str) -> Self {
        let server = Server::start(&configured(toml)).await;
        Self::of(server.expect("a free port"))
    }

    /// The same over a store of the test's own.
    pub(crate) async fn over(store: Arc<dyn Store>, toml: &str) -> Self {
        let server = Server::start_with(&configured(toml), store).await;
        Self::of(server.expect("a free port"))
    }

    /// A server behind a certificate, and a client that trusts it.
    pub(crate) async fn secured(certificate: &Certificate, toml: &str) -> Self {
        let toml = format!("{}{toml}", certificate.toml());
        let mut server = Self::with(&toml).await;
        server.client = certificate.client().build().expect("a client");
        server
    }

    /// One that somebody else has started.
    pub(crate) fn at(url: &str) -> Self {
        // A connection that has carried a stream is closed, and must not be taken for another request before that is
        // seen: so none is kept.
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build();
        Self {
            server: None,
            url: url.to_owned(),
            client: client.expect("a client"),
            token: None,
        }
    }

    fn of(server: Server) -> Self {
        let outside = Self::at(&server.url());
        Self {
            server: Some(server),
            ..outside
        }
    }

    /// The server itself.
    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("the server itself, no guest")
    }

    /// The registry behind it.
    pub(crate) fn registry(&self) -> &Registry {
        self.server().registry()
    }

    /// What its clients hold.
    pub(crate) fn usage(&self) -> &Usage {
        self.server().usage()
    }

    /// Takes over what a running server takes from another configuration.
    pub(crate) fn reload(&self, toml: &str) {
        let reloaded = self.server().reload(&configured(toml));
        reloaded.expect("a configuration for this address");
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server().address()
    }

    /// How many watch or poll a job, seen without asking the server for anything.
    pub(crate) async fn watchers(&self, job_id: &str) -> usize {
        let job_id = JobId::parse(job_id).expect("a name");
        let job = self.registry().find(&job_id).await;
        job.expect("the job exists").watchers()
    }

    /// The same server for somebody who outlives this handle to it.
    pub(crate) fn guest(&self) -> Self {
        Self {
            server: None,
            url: self.url.clone(),
            client: self.client.clone(),
            token: self.token.clone(),
        }
    }

    /// The same server for somebody with this credential.
    pub(crate) fn as_bearer(&self, token: &str) -> Self {
        secrets::register(token);
        Self {
            server: None,
            url: self.url.clone(),
            client: self.client.clone(),
            token: Some(token.to_owned()),
        }
    }

    /// The server itself, used with this credential from now on.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        secrets::register(token);
        self.token = Some(token.to_owned());
        self
    }

    /// The same server as it is reached at another base URL: through a proxy.
    pub(crate) fn through(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.guest()
        }
    }

    /// Begins a request to a path.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        for secret in secrets_in(path) {
            secrets::register(&secret);
        }
        let request = self.client.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::PATCH, path).json(&body)).await
    }

    /// Creates a job; the answer's JSON.
    pub(crate) async fn create(&self, body: Value) -> Value {
        self.post("/api/v1/jobs", body)
            .await
            .expect(StatusCode::CREATED)
            .json()
    }

    /// Reports on a job; the answer's JSON.
    pub(crate) async fn report(&self, job_id: &str, body: Value) -> Value {
        self.patch(&format!("/api/v1/jobs/{job_id}"), body)
            .await
            .expect(StatusCode::OK)
            .json()
    }

    /// Posts [`FLOOD_EVENTS`] of 60 kB, which fills the connection of whoever does not read them; the newest seq.
    pub(crate) async fn flood(&self, job_id: &str) -> u64 {
        let event = json!({"event": "big", "data": "x".repeat(60_000)});
        let batch = Value::from(vec![event; 10]);
        let path = format!("/api/v1/jobs/{job_id}/events");
        let mut newest = 0;
        for _ in 0..FLOOD_EVENTS / 10 {
            let answer = self.post(&path, batch.clone()).await;
            newest = answer.json()["seq"].as_u64().expect("a seq");
        }
        newest
    }

    /// The status of a job.
    pub(crate) async fn status(&self, job_id: &str) -> Value {
        self.get(&format!("/api/v1/jobs/{job_id}/status"))
            .await
            .expect(StatusCode::OK)
            .json()
    }

    /// Opens the stream at a path.
    pub(crate) async fn stream(&self, path: &str) -> SseStream {
        SseStream::open(self.request(Method::GET, path)).await
    }

    /// Watches a job from now on.
    pub(crate) async fn watch(&self, job_id: &str) -> SseStream {
        self.stream(&format!("/api/v1/jobs/{job_id}/stream")).await
    }

    /// Comes back to a job's stream with a cursor.
    pub(crate) async fn resume(&self, job_id: &str, cursor: &str) -> SseStream {
        let request = self.request(Method::GET, &format!("/api/v1/jobs/{job_id}/stream"));
        SseStream::open(request.header("last-event-id", cursor)).await
    }

    /// Shuts the server down well.
    pub(crate) async fn drain(mut self) -> Drained {
        let server = self.server.take().expect("the server itself, not a guest");
        in_time("the end of the drain", server.drain()).await
    }
}

/// The credentials in a path's query.
fn secrets_in(path: &str) -> Vec<String> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs
        .filter(|(name, _)| name == "token" || name == "ticket")
        .map(|(_, secret)| secret.into_owned())
        .collect()
}

fn configured(toml: &str) -> Config {
    // Every server of the suite begins here.
    secrets::watch_the_log();
    let mut config = Config::from_toml(toml).expect("the test's configuration is valid");
    config.server.listen = "127.0.0.1:0".parse().expect("an address");
    // Who does not say where jobs are kept wants no file of them.
    let table: toml::Table = toml.parse().expect("TOML, as it has been read");
    let backend = table.get("store").and_then(|store| store.get("backend"));
    if backend.is_none() {
        config.store.backend = StoreBackend::Memory;
    }
    let is_given = || table.get("server")?.get("delivery").cloned();
    if let Some(delivery) = delivery().filter(|_| is_given().is_none()) {
        config.server.delivery = delivery.parse().expect("a way of delivering");
    }
    config
}

/// How streams are delivered in this run of the tests, where a test does not say it.
pub(super) fn delivery() -> Option<String> {
    std::env::var("PROGRESSD_TEST_DELIVERY").ok()
}

/// The same for the environment of a server's process.
pub(super) fn delivery_variable() -> Option<(&'static str, String)> {
    delivery().map(|delivery| ("PROGRESSD__SERVER__DELIVERY", delivery))
}

/// What a server hands out: from then on a secret like any other.
fn register_secrets_of(headers: &reqwest::header::HeaderMap, text: &str) {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    for name in ["watch_token", "ticket"] {
        if let Some(secret) = body[name].as_str() {
            secrets::register(secret);
        }
    }
    for cookie in headers.get_all("set-cookie") {
        let cookie = cookie.to_str().unwrap_or_default();
        let value = cookie.split([';', '=']).nth(1);
        secrets::register(value.unwrap_or_default());
    }
}

impl Answer {
    /// Sends a request and reads the whole answer.
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response = in_time("an answer", request.send())
            .await
            .expect("a server that answers");
        Self::read(response).await
    }

    async fn read(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = in_time("the body", response.text())
            .await
            .expect("a whole body");
        register_secrets_of(&headers, &text);
        Self {
            status,
            headers,
            text,
        }
    }

    /// The same answer, of which the status is known.
    #[track_caller]
    pub(crate) fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Checks the error envelope; returns the message.
    #[track_caller]
    pub(crate) fn error(&self, status: u16, code: &str) -> String {
        let body = self.json();
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(body["success"], false, "{}", self.text);
        assert_eq!(body["error"]["code"], code, "{}", self.text);
        assert_eq!(
            body["error"]["request_id"].as_str(),
            self.header("x-request-id")
        );
        body["error"]["message"]
            .as_str()
            .expect("a message")
            .to_owned()
    }
}
