//! The servers that are compared, behind one seam: how each is started, and how one speaks with it.

mod bare;
mod nchan;
mod progressd;
mod pushpin;

use std::{net::SocketAddr, path::PathBuf, process::Command};

use anyhow::Context as _;
use tempfile::TempDir;

pub(crate) use bare::serve as serve_bare;

use crate::{
    mark::{Mark, Template},
    process::Process,
};

/// What takes part in a comparison, each time as a fresh server.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    Progressd(Build),
    Nchan,
    Pushpin,
    /// A loop that does nothing but `send` to every socket: the yardstick.
    Bare,
}

/// A progressd under a name of its own, so that two builds or two settings can stand side by side.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    /// Variables for it, beside those of the load.
    pub(crate) settings: Vec<(String, String)>,
}

impl Peer {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Progressd(build) => &build.name,
            Self::Nchan => "Nchan",
            Self::Pushpin => "Pushpin",
            Self::Bare => "bare loop",
        }
    }

    pub(crate) fn is_progressd(&self) -> bool {
        matches!(self, Self::Progressd(_))
    }

    /// What is compared, in the words of its own program.
    pub(crate) fn version(&self) -> anyhow::Result<String> {
        let package = |package| {
            said(
                "dpkg-query",
                &["--show", "--showformat=${Version}", package],
            )
        };
        Ok(match self {
            Self::Progressd(build) => {
                let version = said(&build.program.to_string_lossy(), &["--version"])?;
                format!("{} ({version})", build.name)
            }
            Self::Nchan => format!(
                "Nchan {} in nginx {}",
                package("libnginx-mod-nchan")?,
                package("nginx")?
            ),
            Self::Pushpin => format!(
                "Pushpin {} with Condure {}",
                package("pushpin")?,
                package("condure")?
            ),
            Self::Bare => "bare loop of sends".to_owned(),
        })
    }

    /// A fresh server on that core, or on all.
    pub(crate) fn start(&self, template: &Template, core: Option<usize>) -> anyhow::Result<Server> {
        let folder = tempfile::Builder::new().prefix("load").tempdir()?;
        match self {
            Self::Progressd(build) => progressd::start(build, template, folder, core),
            Self::Nchan => nchan::start(template, folder, core),
            Self::Pushpin => pushpin::start(template, folder, core),
            Self::Bare => bare::start(template, core),
        }
    }
}

/// A message on its way to the watchers of a channel, which is a job in progressd.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) channel: u32,
    pub(crate) mark: Mark,
    pub(crate) kind: Kind,
}

impl Message {
    /// The one that a channel begins with.
    fn first(channel: u32) -> Self {
        Self {
            channel,
            mark: Mark { number: 0, sent: 0 },
            kind: Kind::Status,
        }
    }
}

/// What a message is to progressd; to the others it is bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A report, which becomes a status: a newer one may replace it before a slow watcher has it.
    Status,
    /// An event of the same size, which is never left out.
    Event,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) watch_address: SocketAddr,
    pub(crate) publish_address: SocketAddr,
    pub(crate) dialect: Box<dyn Dialect>,
    /// The credential, where one is needed.
    pub(crate) token: Option<String>,
    /// Its files, gone with it; behind the process, which has them open.
    _folder: Option<TempDir>,
}

/// The requests that a server understands, whole and ready to be sent.
pub(crate) trait Dialect {
    /// Makes a channel and its first message, number 0.
    fn create(&self, channel: u32) -> Vec<Vec<u8>> {
        vec![self.publish(&[Message::first(channel)])]
    }

    /// Opens a stream.
    fn watch(&self, channel: u32, last_id: Option<&str>) -> Vec<u8>;

    /// Sends messages: as many as `most_at_once`.
    fn publish(&self, messages: &[Message]) -> Vec<u8>;

    /// Messages in one request, where waiting ones go together.
    fn most_at_once(&self) -> usize {
        1
    }

    /// Whether a connection takes a request after the other, so that they need not wait for answers.
    fn keeps_connections(&self) -> bool {
        true
    }

    /// Many reports on one channel in one request, where there is such a thing.
    fn bulk(&self, _channel: u32, _count: u32) -> Option<Vec<u8>> {
        None
    }
}

/// A request of HTTP/1.1; `headers` are whole lines.
fn request(method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = match method {
        "GET" => String::new(),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n{body}")
        .into_bytes()
}

/// The header of a request for a stream, and the one by which it is resumed.
fn stream_headers(last_id: Option<&str>) -> String {
    let accept = "Accept: text/event-stream\r\n";
    match last_id {
        Some(id) => format!("{accept}Last-Event-ID: {id}\r\n"),
        None => accept.to_owned(),
    }
}

/// What a program says, without the line's end.
fn said(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("run {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{program}: {errors}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
