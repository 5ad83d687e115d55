//! The programs of `tests/clients`: real SSE clients that print what they see.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{Instant, timeout_at},
};

use super::{PATIENCE, in_time};

/// A client that a page or a program would use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientProgram {
    /// The `EventSource` of Chromium.
    Chromium,
    /// The npm package `eventsource` 2.0.2.
    EventSource2,
    /// The same package in its newest version.
    EventSourceLatest,
    /// The `EventSource` of the npm package `undici`.
    Undici,
    /// The npm package `@microsoft/fetch-event-source`, in Chromium.
    FetchEventSource,
    /// The npm package `eventsource-client`.
    EventSourceClient,
    /// The npm package `reconnecting-eventsource`, in Chromium.
    ReconnectingEventSource,
    /// The npm package `event-source-polyfill`, in Chromium.
    EventSourcePolyfill,
    /// The npm package `sse.js`, in Chromium.
    SseJs,
    /// The Python package `sseclient-py`, on `requests`.
    SseclientPy,
    /// The Python package `httpx-sse`.
    HttpxSse,
    /// The Python package `requests-sse`.
    RequestsSse,
    /// The Python package `aiohttp-sse-client2`.
    AiohttpSseClient2,
    /// The crate `reqwest-eventsource`.
    ReqwestEventsource,
    /// The crate `eventsource-client`.
    EventsourceClientCrate,
    /// `curl -N` in a loop.
    Curl,
}

/// A client program that runs; killed when dropped.
#[derive(Debug)]
pub(crate) struct Following {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
    /// What it has printed.
    pub(crate) lines: Vec<Value>,
}

impl ClientProgram {
    /// Every one.
    pub(crate) const ALL: [Self; 16] = [
        Self::Chromium,
        Self::EventSource2,
        Self::EventSourceLatest,
        Self::Undici,
        Self::FetchEventSource,
        Self::EventSourceClient,
        Self::ReconnectingEventSource,
        Self::EventSourcePolyfill,
        Self::SseJs,
        Self::SseclientPy,
        Self::HttpxSse,
        Self::RequestsSse,
        Self::AiohttpSseClient2,
        Self::ReqwestEventsource,
        Self::EventsourceClientCrate,
        Self::Curl,
    ];

    /// Those with the interface of `EventSource` that most people use, on Node.js.
    pub(crate) const EVENT_SOURCES: [Self; 3] =
        [Self::Chromium, Self::EventSource2, Self::EventSourceLatest];

    /// Runs it on the stream at `url` to its end, with options that the programs on Node.js know; the
    /// lines that it printed.
    pub(crate) async fn follow(self, url: &str, options: &[&str]) -> Vec<Value> {
        let mut arguments = self.command_line().split_off(1);
        arguments.extend(["--url", url]);
        run([&arguments, options].concat()).await
    }

    /// Starts it on the stream at `url`; it listens for this event besides the status.
    pub(crate) fn start(self, url: &str, event: &str) -> Following {
        let arguments = self.command_line();
        let mut command = match arguments[0] {
            "python" => Command::new(installed("python/bin/python")),
            "rust" => Command::new(installed("rust/debug/progressd-test-clients")),
            program => Command::new(program),
        };
        command.args(&arguments[1..]).args(["--url", url]);
        if arguments[0] == "node" {
            // Whoever started it ends it.
            command.args(["--event", event, "--timeout-ms", "999999"]);
        }
        command
            .current_dir(folder())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A browser whose program is gone finds its pipe closed and ends too.
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the program is installed");
        let output = child.stdout.take().expect("standard output is piped");
        Following {
            child,
            output: BufReader::new(output).lines(),
            lines: Vec::new(),
        }
    }

    /// What runs it, and what that is told.
    fn command_line(self) -> Vec<&'static str> {
        let line = match self {
            Self::Chromium => "node chromium.mjs",
            Self::EventSource2 => "node eventsource.mjs --package eventsource-2",
            Self::EventSourceLatest => "node eventsource.mjs --package eventsource-latest",
            Self::Undici => "node eventsource.mjs --package undici",
            Self::FetchEventSource => "node chromium.mjs --library fetch-event-source",
            Self::EventSourceClient => "node eventsource-client.mjs",
            Self::ReconnectingEventSource => "node chromium.mjs --library reconnecting-eventsource",
            Self::EventSourcePolyfill => "node chromium.mjs --library event-source-polyfill",
            Self::SseJs => "node chromium.mjs --library sse.js",
            Self::SseclientPy => "python python/follow.py --client sseclient-py",
            Self::HttpxSse => "python python/follow.py --client httpx-sse",
            Self::RequestsSse => "python python/follow.py --client requests-sse",
            Self::AiohttpSseClient2 => "python python/follow.py --client aiohttp-sse-client2",
            Self::ReqwestEventsource => "rust --client reqwest-eventsource",
            Self::EventsourceClientCrate => "rust --client eventsource-client",
            Self::Curl => "bash curl.sh",
        };
        line.split(' ').collect()
    }
}

impl Following {
    /// Reads on until its lines are as they should be; an error when they do not get so.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        holds: impl Fn(&[Value]) -> bool,
    ) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.lines) {
            match timeout_at(deadline, self.output.next_line()).await {
                Err(_) => return Err(format!("{what} did not come within {PATIENCE:?}")),
                Ok(Ok(Some(line))) => self.take(&line),
                Ok(_) => {
                    let mut errors = String::new();
                    let errors_of = self.child.stderr.as_mut().expect("it is piped");
                    let _ = errors_of.read_to_string(&mut errors).await;
                    return Err(format!("it ended before {what}: {errors}"));
                }
            }
        }
        Ok(())
    }

    /// Reads whatever it prints for so long.
    pub(crate) async fn listen(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Ok(Ok(Some(line))) = timeout_at(deadline, self.output.next_line()).await {
            self.take(&line);
        }
        // Also after its end.
        tokio::time::sleep_until(deadline).await;
    }

    fn take(&mut self, line: &str) {
        let line = serde_json::from_str(line).expect("JSON lines");
        self.lines.push(line);
    }
}

/// Opens the stream at `url` so many times at once in one page of Chromium, and waits for a status
/// of each; the one line that it printed.
pub(crate) async fn open_in_one_page(url: &str, count: usize) -> Value {
    let count = count.to_string();
    let mut lines = run(vec!["many-streams.mjs", "--url", url, "--count", &count]).await;
    lines.pop().expect("a line")
}

/// Runs a program to its end; the lines that it printed.
pub(crate) async fn run(arguments: Vec<&str>) -> Vec<Value> {
    let running = Command::new("node")
        .args(&arguments)
        .current_dir(folder())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = in_time("the end of the client", running).await;
    let output = output.expect("`node` is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        output.status.success(),
        "{arguments:?} failed: {errors}\n{text}"
    );
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON lines"))
        .collect()
}

/// Where the programs are.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    assert!(
        folder.join("node_modules").is_dir(),
        "the client programs are not installed: run `npm ci` in tests/clients"
    );
    folder
}

/// What `scripts/test` and `scripts/clients` put beside the server.
fn installed(path: &str) -> PathBuf {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients");
    let path = clients.join(path);
    assert!(path.is_file(), "{} is not installed", path.display());
    path
}
