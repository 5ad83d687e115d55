//! Single calls: an answer as it came, or how far the way to it went.

use std::time::{Duration, Instant};

use reqwest::{RequestBuilder, Response, Url, Version, header::HeaderMap};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::client::{Refusal, beginning};

/// How long an answer may take: above what a proxy waits for a server that is not there, as a rule.
const LONGEST_ANSWER: Duration = Duration::from_secs(15);

/// How long a bare connection may take, where the reason for a failure is looked for.
const LONGEST_CONNECT: Duration = Duration::from_secs(5);

/// How much is read of an answer: more than those asked for have.
const MOST_BODY_BYTES: usize = 1024 * 1024;

/// What became of a request.
pub(super) type Outcome = Result<Answer, Unreached>;

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// Its status code.
    pub(super) status: u16,
    /// The protocol that it came by.
    pub(super) version: Version,
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// Its body as JSON; null when it is none.
    pub(super) body: Value,
    /// How long it took.
    pub(super) took: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreached {
    /// Where it failed.
    pub(super) at: Stage,
    /// In the words of the system.
    pub(super) cause: String,
}

/// How far a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The name has no address.
    Name,
    /// Nobody takes the connection.
    Connection,
    /// The handshake of TLS fails.
    Tls,
    /// No answer comes, or none of HTTP.
    Answer,
}

impl Answer {
    /// Whether it is a success.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What it says when it is an error of progressd.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        Refusal::deserialize(&self.body["error"]).ok()
    }

    /// A header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// In a few words what was answered, for a finding.
    pub(super) fn in_words(&self) -> String {
        match self.refusal() {
            Some(Refusal { code, message }) => format!("{} {message} ({code})", self.status),
            None => self.status.to_string(),
        }
    }
}

/// Sends a request and reads the answer.
pub(super) async fn call(request: RequestBuilder) -> Outcome {
    let (client, request) = request.build_split();
    let request = request.map_err(|error| unreached(Stage::Answer, error))?;
    let url = request.url().clone();
    let begin = Instant::now();
    let answer = async {
        let response = client.execute(request).await?;
        let (status, version) = (response.status().as_u16(), response.version());
        let headers = response.headers().clone();
        let took = begin.elapsed();
        let body = read_body(response).await;
        Ok::<_, reqwest::Error>(Answer {
            status,
            version,
            headers,
            body: serde_json::from_slice(&body).unwrap_or_default(),
            took,
        })
    };
    match tokio::time::timeout(LONGEST_ANSWER, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is_connect() => Err(diagnose(&url, error).await),
        Ok(Err(error)) => Err(unreached(Stage::Answer, error)),
        Err(_) => Err(Unreached {
            at: Stage::Answer,
            cause: format!("nothing came within {} s", LONGEST_ANSWER.as_secs()),
        }),
    }
}

/// The beginning of a body; what breaks off is judged by that.
pub(super) async fn read_body(response: Response) -> Vec<u8> {
    beginning(response, MOST_BODY_BYTES).await
}

/// Why no stream could be opened.
pub(super) async fn diagnose(url: &Url, error: reqwest::Error) -> Unreached {
    if !error.is_connect() {
        return unreached(Stage::Answer, error);
    }
    // The same way once more, in steps: the error itself says which one failed only in words that change.
    let (host, port) = (url.host_str(), url.port_or_known_default());
    let (Some(host), Some(port)) = (host, port) else {
        return unreached(Stage::Name, error);
    };
    let host = host.trim_matches(['[', ']']);
    let connecting = async {
        let addresses: Vec<_> = match tokio::net::lookup_host((host, port)).await {
            Ok(addresses) => addresses.collect(),
            Err(error) => return Some((Stage::Name, error.to_string())),
        };
        let connection = tokio::net::TcpStream::connect(&*addresses).await;
        let error = connection.err()?;
        Some((Stage::Connection, error.to_string()))
    };
    match tokio::time::timeout(LONGEST_CONNECT, connecting).await {
        Ok(Some((at, cause))) => Unreached { at, cause },
        Ok(None) if url.scheme() == "https" => unreached(Stage::Tls, error),
        Ok(None) => unreached(Stage::Answer, error),
        Err(_) => Unreached {
            at: Stage::Connection,
            cause: format!("nobody took it within {} s", LONGEST_CONNECT.as_secs()),
        },
    }
}

fn unreached(at: Stage, error: reqwest::Error) -> Unreached {
    // The URL may hold a credential.
    let cause = last_cause(&error.without_url());
    Unreached { at, cause }
}

/// The last cause says most; the outer ones only repeat that sending failed.
pub(super) fn last_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
