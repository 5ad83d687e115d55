//! The programs of `tests/clients`: real SSE clients that print what they see.

use std::{path::Path, process::Stdio};

use serde_json::Value;
use tokio::process::Command;

use super::in_time;

/// A client that a page or a program would use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientProgram {
    /// The `EventSource` of Chromium.
    Chromium,
    /// The npm package `eventsource` 2.0.2.
    EventSource2,
    /// The same package in its newest version.
    EventSourceLatest,
}

impl ClientProgram {
    pub(crate) const ALL: [Self; 3] = [Self::Chromium, Self::EventSource2, Self::EventSourceLatest];

    /// Runs it on the stream at `url` to its end; the lines that it printed.
    pub(crate) async fn follow(self, url: &str, options: &[&str]) -> Vec<Value> {
        let program: &[&str] = match self {
            Self::Chromium => &["chromium.mjs"],
            Self::EventSource2 => &["eventsource.mjs", "--version", "2"],
            Self::EventSourceLatest => &["eventsource.mjs", "--version", "latest"],
        };
        run([program, &["--url", url], options].concat()).await
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    assert!(
        folder.join("node_modules").is_dir(),
        "the client programs are not installed: run `npm ci` in tests/clients"
    );
    let running = Command::new("node")
        .args(&arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        // A browser whose program is gone finds its pipe closed and ends too.
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
