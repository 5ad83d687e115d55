//! The log: no credential ever stands in that of the real binary at its most talkative, and the cause of
//! trouble does, under the id of the request that met it.

use std::{
    fs, io,
    process::Stdio,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::Command,
};

use crate::support::{
    in_time,
    people::{self, SECRET, sign, token},
    secrets,
    server::TestServer,
    staged_store::{CAUSE, Fate, StagedStore},
};

/// Lines that this thread logs.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes).into_owned();
        secrets::look_at(&line);
        self.0.lock().expect("nobody panics here").push(line);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a client does with a credential, good or bad, over HTTP/1.1 or HTTP/2.
async fn use_credential(client: &Client, url: &str, credential: &str) {
    for (method, path, body) in [
        (
            Method::POST,
            "/api/v1/jobs".to_owned(),
            json!({"job_id": "a"}),
        ),
        (Method::GET, "/api/v1/jobs/a".to_owned(), Value::Null),
        (
            Method::PATCH,
            "/api/v1/jobs/a".to_owned(),
            json!({"message": credential}),
        ),
        (
            Method::PATCH,
            "/api/v1/jobs/a".to_owned(),
            json!({"step": [credential]}),
        ),
        (
            Method::POST,
            "/api/v1/reports".to_owned(),
            json!({"job_id": "a", "data": {"k": credential}}),
        ),
        (
            Method::GET,
            format!("/api/v1/jobs?token={credential}"),
            Value::Null,
        ),
        (
            Method::GET,
            format!("/api/v1/jobs/a/status?ticket={credential}"),
            Value::Null,
        ),
    ] {
        let request = client.request(method, format!("{url}{path}"));
        let request = request
            .bearer_auth(credential)
            .header("cookie", format!("c={credential}"));
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        let response = in_time("an answer", request.send())
            .await
            .expect("an answer");
        in_time("the body", response.bytes())
            .await
            .expect("a whole body");
    }
    let twice = client.get(format!("{url}/api/v1/jobs"));
    let twice = twice.bearer_auth(credential).bearer_auth(credential);
    in_time("an answer", twice.send()).await.expect("an answer");
}

/// The same credential on every other way in, and on no two at once.
async fn use_alone(client: &Client, url: &str, credential: &str) -> Vec<(StatusCode, String)> {
    let mut answers = Vec::new();
    for (path, cookie) in [
        (format!("/api/v1/jobs/a?token={credential}"), false),
        (format!("/api/v1/jobs/a/status?token={credential}"), false),
        (format!("/api/v1/jobs/a/results?token={credential}"), false),
        (format!("/api/v1/jobs/a/stream?token={credential}"), false),
        (format!("/api/v1/jobs/a?ticket={credential}"), false),
        (format!("/api/v1/jobs/a/stream?ticket={credential}"), false),
        ("/api/v1/jobs/a/status".to_owned(), true),
        ("/api/v1/jobs/a/stream".to_owned(), true),
    ] {
        let mut request = client.get(format!("{url}{path}"));
        if cookie {
            request = request.header("cookie", format!("progressd_ticket={credential}"));
        }
        let response = in_time("an answer", request.send())
            .await
            .expect("an answer");
        let cookie = response.headers().get("set-cookie");
        let cookie = cookie.map_or("", |cookie| cookie.to_str().expect("ASCII"));
        let value = cookie.split([';', '=']).nth(1).unwrap_or_default();
        answers.push((response.status(), value.to_owned()));
    }
    answers
}

/// Has the server make what it hands out itself, and uses it; the secrets among it.
async fn use_passes(client: &Client, url: &str) -> Vec<String> {
    let post = async |path: &str| -> Value {
        let request = client.post(format!("{url}{path}")).bearer_auth("key-admin");
        let response = in_time("an answer", request.json(&json!({})).send()).await;
        let body = response.expect("an answer").json();
        in_time("the body", body).await.expect("JSON")
    };
    let text = |value: &Value| value.as_str().expect("a secret").to_owned();
    let watch_token = text(&post("/api/v1/jobs").await["watch_token"]);
    let first = text(&post("/api/v1/jobs/a/ticket").await["ticket"]);
    let mut secrets = vec![watch_token, first];
    // The ticket holds once, and its cookie from then on.
    let mut of_ticket = use_alone(client, url, &secrets[1]).await;
    let is_used = |(status, cookie): &(StatusCode, String)| *status == 200 && !cookie.is_empty();
    of_ticket.retain(is_used);
    assert_eq!(of_ticket.len(), 1);
    secrets.push(of_ticket.remove(0).1);
    let of_cookie = use_alone(client, url, &secrets[2]).await;
    assert_eq!(
        of_cookie
            .iter()
            .filter(|(status, _)| *status == 200)
            .count(),
        2
    );
    use_alone(client, url, &secrets[0]).await;
    for secret in &secrets {
        use_credential(client, url, secret).await;
    }
    secrets
}

/// The parts of a text that is no JSON of a token, in the shape of one.
fn token_of(header: &str, claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.x", part(header), part(claims))
}

/// The log of a server, and what came of what clients of both versions did to it.
async fn log_of<T>(
    filter: &str,
    format: &str,
    act: impl AsyncFnOnce([&Client; 2], &str) -> T,
) -> (String, T) {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("progressd.toml");
    let settings = format!("[log]\nfilter = '{filter}'\nformat = '{format}'\n");
    fs::write(&path, format!("{settings}{}", people::configuration())).expect("a file");
    let mut child = Command::new(env!("CARGO_BIN_EXE_progressd"))
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&path)
        .current_dir(folder.path())
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut stderr = child.stderr.take().expect("piped");
    // Read all the while, so that the server never waits for its log to be taken.
    let log = tokio::spawn(async move {
        let mut log = String::new();
        stderr
            .read_to_string(&mut log)
            .await
            .expect("the log is UTF-8");
        log
    });
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = in_time("the address", lines.next_line()).await;
    let line = line.expect("UTF-8").expect("a first line");
    let url = line.strip_prefix("listening on ").expect("an address");
    let http1 = Client::builder().no_proxy().build().expect("a client");
    let http2 = Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    let outcome = act([&http1, &http2], url).await;
    child.kill().await.expect("the server is ended");
    let log = in_time("the log", log).await.expect("a reader that ends");
    (log, outcome)
}

/// Uses them all, and what the server hands out itself: that.
async fn use_everything(clients: [&Client; 2], url: &str, credentials: &[String]) -> Vec<String> {
    let mut let_in = 0;
    let mut handed_out = Vec::new();
    for client in clients {
        for credential in credentials {
            use_credential(client, url, credential).await;
            let answers = use_alone(client, url, credential).await;
            let_in += answers.iter().filter(|(status, _)| *status == 200).count();
        }
        handed_out.extend(use_passes(client, url).await);
    }
    // By the one token that may stand in a query: on each of its four paths, over either version.
    assert_eq!(let_in, 8);
    handed_out
}

#[tokio::test]
async fn no_credential_ever_stands_in_the_log() {
    let other = "another secret of thirty-two bytes and more";
    let credentials = [
        // The first one creates the job, so that it is Ann's.
        "key-ann".to_owned(),
        "key-admin".to_owned(),
        "opaque-and-wrong".to_owned(),
        token(&json!({"sub": "ann", "scope": "jobs:read jobs:write"})),
        token(&json!({"sub": "ann", "scope": "jobs:read"})),
        token(&json!({"sub": "ann", "exp": 1})),
        sign(
            jsonwebtoken::Algorithm::HS256,
            other,
            &json!({"sub": "ann"}),
        ),
        "a.b.c-and-wrong".to_owned(),
        token_of(r#"{"alg":"alg-show-me-not"}"#, "{}"),
        token(&json!({"sub": "ann", "exp": "exp-show-me-not"})),
        token(&json!({"sub": "ann", "nbf": ["nbf-show-me-not"]})),
    ];
    for format in ["text", "json"] {
        let (log, handed_out) =
            log_of("trace", format, async |clients: [&Client; 2], url: &str| {
                use_everything(clients, url, &credentials).await
            })
            .await;
        // The log is there, and it is a talkative one.
        assert!(
            log.contains("request refused") && log.contains("TRACE"),
            "{log}"
        );
        assert!(log.contains("/api/v1/jobs/a/status"), "{log}");
        // What a token says is not the log's business either.
        let line = log.lines().find(|line| line.contains("show-me-not"));
        assert_eq!(line, None);
        let secrets = credentials.iter().chain(&handed_out).map(String::as_str);
        for secret in secrets.chain([SECRET]) {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret}");
            // Nor the part of a token that makes it one.
            if let Some((_, signature)) = secret.rsplit_once('.') {
                assert!(signature.len() < 8 || !log.contains(signature), "{secret}");
            }
        }
    }
}

#[tokio::test]
async fn credentials_that_do_not_hold_leave_nothing_in_the_log_of_every_day() {
    let credentials = [
        "opaque-and-wrong".to_owned(),
        "a.b.c-and-wrong".to_owned(),
        token(&json!({"sub": "ann", "exp": 1})),
        token_of(&json!({"alg": "A".repeat(7_000)}).to_string(), "{}"),
    ];
    let use_them = async |clients: [&Client; 2], url: &str| {
        for client in clients {
            for credential in &credentials {
                use_credential(client, url, credential).await;
            }
        }
    };
    let (log, ()) = log_of("info", "text", use_them).await;
    // The test above shows that they were logged if the filter let them through.
    assert!(!log.contains("refused") && log.len() < 2_000, "{log}");
}

#[tokio::test]
async fn the_cause_of_trouble_is_in_the_log_under_the_requests_id_and_nowhere_else() {
    let store = StagedStore::new();
    let server = TestServer::over(store.clone(), "").await;
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // The server is in this thread, too.
    let _guard = tracing::subscriber::set_default(subscriber);
    let stream = "/api/v1/jobs/a/stream";
    for (number, (fate, path, accept, status, cause)) in [
        (Fate::Failed, "/api/v1/jobs", "*/*", 503, CAUSE),
        (Fate::Failed, "/api/v1/jobs/a", "*/*", 503, CAUSE),
        (Fate::Failed, stream, "*/*", 503, CAUSE),
        (Fate::Failed, stream, "text/event-stream", 200, CAUSE),
        (Fate::Panics, "/api/v1/jobs", "*/*", 500, "on purpose"),
        (Fate::Panics, stream, "text/event-stream", 200, "on purpose"),
    ]
    .into_iter()
    .enumerate()
    {
        store.every_call(fate);
        let id = format!("met-trouble-{number}");
        let request = server.request(Method::GET, path).header("accept", accept);
        let response = in_time("an answer", request.header("x-request-id", &id).send()).await;
        let response = response.expect("an answer");
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["x-request-id"], *id);
        let text = in_time("the body", response.text()).await.expect("a body");
        assert!(!text.contains(cause), "{text}");
        let lines = lines.0.lock().expect("nobody panics here");
        let of_request: Vec<_> = lines.iter().filter(|line| line.contains(&id)).collect();
        let [line] = &of_request[..] else {
            panic!("{path}: {of_request:#?}");
        };
        assert!(line.contains("ERROR") && line.contains(cause), "{line}");
    }
}
