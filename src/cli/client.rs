//! What the commands on the other side of HTTP share: which server, which credential, and how a call fails.

pub mod blocks;
pub mod follow;
pub mod target;

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header, redirect};
use serde::Deserialize;

use self::target::Target;
use crate::config::{Secret, is_loopback_host};

/// How long a connection may take; answers have their own times.
const LONGEST_CONNECT: Duration = Duration::from_secs(10);

/// The longest error message that is read from an answer.
const MOST_ERROR_BYTES: usize = 16 * 1024;

/// What stands before the status in the code of an answer that is not progressd's own.
const STRANGE: &str = "HTTP ";

/// Which server, and as whom.
#[derive(Clone, Debug, Args)]
pub struct ClientArguments {
    /// Base URL of the server
    #[arg(
        long,
        value_name = "URL",
        env = "PROGRESSD_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    pub server: Url,
    /// API key or token; only from the environment, since everybody on the machine sees what stands on a command line
    #[arg(skip = credential())]
    pub token: Option<Secret>,
}

fn credential() -> Option<Secret> {
    let token = std::env::var("PROGRESSD_TOKEN").ok()?;
    let token = token.trim();
    (!token.is_empty()).then(|| Secret::from(token.to_owned()))
}

/// Why a call has no answer of use.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server answered, and said no.
    #[error("{message} ({code})")]
    Refused {
        /// Of the answer.
        status: StatusCode,
        /// The code in the envelope, or the status where something else answered.
        code: String,
        /// For people.
        message: String,
        /// When to come back, as far as that was said.
        retry_after: Option<Duration>,
    },
    /// Nobody answered, or not to the end.
    #[error("{}", crate::telemetry::causes(.0))]
    Unreachable(reqwest::Error),
}

impl From<reqwest::Error> for CallError {
    fn from(error: reqwest::Error) -> Self {
        // A URL may carry a credential, and the caller knows it anyway.
        Self::Unreachable(error.without_url())
    }
}

impl CallError {
    /// Whether trying again later may help: nobody answered, or somebody who will be better soon. So will a proxy
    /// whose server is away, whatever it says instead; but not one that wants to know who asks.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Refused { status, .. } => {
                is_overload(*status) || (self.is_strange() && *status != StatusCode::UNAUTHORIZED)
            }
            Self::Unreachable(_) => true,
        }
    }

    /// Whether something else answers where progressd should, and does not say that this will pass.
    pub fn is_strange(&self) -> bool {
        match self {
            Self::Refused { status, code, .. } => {
                code.starts_with(STRANGE) && !is_overload(*status)
            }
            Self::Unreachable(_) => false,
        }
    }
}

/// An error in progressd's own shape.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// What a body says, when it is an error of progressd.
    pub fn read(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Envelope {
            error: Refusal,
        }
        let envelope: Envelope = serde_json::from_slice(body).ok()?;
        Some(envelope.error)
    }
}

/// Calls to servers with one credential.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    token: Option<Secret>,
    server: Url,
}

impl Client {
    /// One for the server and the credential of the command line.
    ///
    /// # Errors
    /// TLS cannot be set up, or the server's address is not one for HTTP.
    pub fn new(arguments: ClientArguments) -> anyhow::Result<Self> {
        Self::with_idle_connections(arguments, usize::MAX)
    }

    /// One that has a connection for each request.
    ///
    /// For streams: progressd closes the connection of a stream behind its last block, and a request that came upon
    /// it in that moment would have no answer.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn for_streams(arguments: ClientArguments) -> anyhow::Result<Self> {
        Self::with_idle_connections(arguments, 0)
    }

    fn with_idle_connections(arguments: ClientArguments, most: usize) -> anyhow::Result<Self> {
        let ClientArguments { mut server, token } = arguments;
        anyhow::ensure!(
            matches!(server.scheme(), "http" | "https"),
            "the address of a server begins with http:// or https://, not with {}:",
            server.scheme()
        );
        target::refuse_user(&server)?;
        anyhow::ensure!(
            server.query().is_none() && server.fragment().is_none(),
            "the address of a server ends with its path"
        );
        // What is joined to it goes below it, also where a proxy gives it a folder.
        if !server.path().ends_with('/') {
            server.set_path(&format!("{}/", server.path()));
        }
        let mut http = reqwest::Client::builder()
            .connect_timeout(LONGEST_CONNECT)
            .pool_max_idle_per_host(most)
            // A credential goes where it was sent, and nowhere else.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("progressd/", env!("CARGO_PKG_VERSION")));
        if is_loopback_host(server.host_str().unwrap_or_default()) {
            // A proxy of the environment does not reach this machine's own addresses.
            http = http.no_proxy();
        }
        Ok(Self {
            http: http.build().context("prepare for requests")?,
            token,
            server,
        })
    }

    /// The server's base URL, with a slash at its end.
    pub fn server(&self) -> &Url {
        &self.server
    }

    /// The same without a credential, for an address that has its own, and for what browsers ask without one.
    pub fn anonymous(&self) -> Self {
        Self {
            token: None,
            ..self.clone()
        }
    }

    /// Whether requests carry a credential.
    pub fn has_credential(&self) -> bool {
        self.token.is_some()
    }

    /// What an argument means that names a server, a job or a stream.
    ///
    /// # Errors
    /// It is no URL for HTTP and no job's name either.
    pub fn target(&self, text: &str) -> anyhow::Result<Target> {
        Target::parse(text, &self.server)
    }

    /// A request with the credential.
    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// Sends a request, and reads why when the answer is no success.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, CallError> {
        let response = request.send().await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(refusal(status, response).await)
    }
}

/// Whether a status says that it will pass.
fn is_overload(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// What the envelope of an error says; what is none says its status alone.
async fn refusal(status: StatusCode, response: Response) -> CallError {
    let retry_after = retry_after(&response);
    let body = beginning(response, MOST_ERROR_BYTES).await;
    let Refusal { code, message } = Refusal::read(&body).unwrap_or_else(|| Refusal {
        code: format!("{STRANGE}{}", status.as_u16()),
        message: status
            .canonical_reason()
            .unwrap_or("No reason given")
            .to_owned(),
    });
    CallError::Refused {
        status,
        code,
        message,
        retry_after,
    }
}

/// When an answer says to come back, as far as it does.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?;
    let seconds = seconds.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The beginning of a body, as far as it comes and a little beyond `most` bytes.
pub async fn beginning(mut response: Response, most: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > most {
            break;
        }
    }
    body
}
