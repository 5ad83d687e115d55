//! What was seen of the clients, as the table that stands in the README.

use std::{fs, path::Path, process::Command};

use super::watch::Seen;
use crate::support::client_program::ClientProgram;

/// What was seen of a client: directly, and through nginx.
pub(super) struct Row<'a> {
    pub(super) program: ClientProgram,
    pub(super) seen: [&'a Seen; 2],
    /// How often it asked behind the end.
    pub(super) asked: [usize; 2],
    /// Whether it came back after the server had been away for longer than it waits.
    pub(super) came_back: [bool; 2],
    /// How many messages were spoilt, or what was missed, when a block broke off.
    pub(super) cut: &'a Result<usize, String>,
}

/// The table's head.
const HEAD: &str = "\
| client | version | what comes back | events, directly and through nginx | requests after the end | asked behind the end, 204 | server away for longer | the same through nginx | cut off within a block |
|---|---|---|---|---|---|---|---|---|
";

/// The table.
pub(super) fn table(rows: &[Row<'_>]) -> String {
    let rows = rows.iter().map(Row::line);
    HEAD.to_owned() + &rows.collect::<String>()
}

impl Row<'_> {
    /// What is not as it should be.
    pub(super) fn complaint(&self) -> Option<String> {
        let complaints = self.seen.map(|seen| seen.complaints.join("\n")).concat();
        (!complaints.is_empty()).then(|| format!("{:?}: {complaints}", self.program))
    }

    fn line(&self) -> String {
        let events = self.seen.map(Seen::events_told);
        let after = self.seen.map(|seen| seen.requests_after_the_end);
        let asked = match self.asked {
            [1, 1] => "stays away".to_owned(),
            asked => format!("goes on, {} requests in 10 s", told(asked)),
        };
        let [direct, nginx] = self.came_back.map(|back| match back {
            true => "comes back",
            false => "gives up",
        });
        let cut = match self.cut {
            Ok(0) => "nothing is lost".to_owned(),
            Ok(spoilt) => format!("spoilt messages: {spoilt}"),
            Err(missed) => missed.lines().next().unwrap_or_default().to_owned(),
        };
        format!(
            "| `{}` | {} | {} | {} | {} | {asked} | {direct} | {nginx} | {cut} |\n",
            name(self.program),
            version(self.program),
            way_back(self.program),
            told(events),
            told(after),
        )
    }
}

/// Two values, or the one that both are.
fn told<T: PartialEq + ToString>([direct, nginx]: [T; 2]) -> String {
    match direct == nginx {
        true => direct.to_string(),
        false => format!("{} and {}", direct.to_string(), nginx.to_string()),
    }
}

/// What its users call it.
fn name(program: ClientProgram) -> &'static str {
    match program {
        ClientProgram::Chromium => "EventSource",
        ClientProgram::EventSource2 | ClientProgram::EventSourceLatest => "eventsource",
        ClientProgram::Undici => "undici",
        ClientProgram::FetchEventSource => "@microsoft/fetch-event-source",
        ClientProgram::EventSourceClient | ClientProgram::EventsourceClientCrate => {
            "eventsource-client"
        }
        ClientProgram::ReconnectingEventSource => "reconnecting-eventsource",
        ClientProgram::EventSourcePolyfill => "event-source-polyfill",
        ClientProgram::SseJs => "sse.js",
        ClientProgram::SseclientPy => "sseclient-py",
        ClientProgram::HttpxSse => "httpx-sse",
        ClientProgram::RequestsSse => "requests-sse",
        ClientProgram::AiohttpSseClient2 => "aiohttp-sse-client2",
        ClientProgram::ReqwestEventsource => "reqwest-eventsource",
        ClientProgram::Curl => "curl -N",
    }
}

/// What brings it back, and what its program does for that.
fn way_back(program: ClientProgram) -> &'static str {
    match program {
        ClientProgram::SseclientPy | ClientProgram::HttpxSse | ClientProgram::Curl => {
            "a loop around it"
        }
        ClientProgram::FetchEventSource => "itself, when `onclose` throws",
        ClientProgram::SseJs => "itself, with `autoReconnect`",
        ClientProgram::RequestsSse => "itself, after twice the time",
        ClientProgram::AiohttpSseClient2 => {
            "itself after a whole end, after twice the time; else a loop around it"
        }
        ClientProgram::EventsourceClientCrate => "itself; an error is not the end of its stream",
        _ => "itself",
    }
}

/// Where it is from, and the version that was run.
fn version(program: ClientProgram) -> String {
    let name = name(program);
    match program {
        ClientProgram::Chromium => {
            let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
            format!("Chromium {}", first_number(&output_of(&chromium)))
        }
        ClientProgram::Curl => format!("curl {}", first_number(&output_of("curl"))),
        ClientProgram::SseclientPy
        | ClientProgram::HttpxSse
        | ClientProgram::RequestsSse
        | ClientProgram::AiohttpSseClient2 => {
            let pinned = read("python/requirements.txt");
            format!("PyPI {}", between(&pinned, &format!("\n{name}=="), "\n"))
        }
        ClientProgram::ReqwestEventsource | ClientProgram::EventsourceClientCrate => {
            let lock = read("rust/Cargo.lock");
            let version = between(&lock, &format!("name = \"{name}\"\nversion = \""), "\"");
            format!("crates.io {version}")
        }
        _ => {
            let key = match program {
                ClientProgram::EventSource2 => "eventsource-2",
                ClientProgram::EventSourceLatest => "eventsource-latest",
                _ => name,
            };
            let package = read("package.json");
            let pinned = between(&package, &format!("\"{key}\": \""), "\"");
            format!("npm {}", pinned.rsplit('@').next().unwrap_or(pinned))
        }
    }
}

fn read(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    fs::read_to_string(folder.join(file)).expect("a file that is there")
}

/// What stands between two texts.
#[track_caller]
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let rest = text.split_once(begin).map(|(_, rest)| rest);
    let found = rest.and_then(|rest| rest.split_once(end));
    found.unwrap_or_else(|| panic!("no {begin:?}")).0
}

fn output_of(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    String::from_utf8_lossy(&output.expect("it is installed").stdout).into_owned()
}

fn first_number(text: &str) -> &str {
    let mut words = text.split_whitespace();
    let is_number = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_digit());
    words.find(is_number).unwrap_or("?")
}

#[test]
fn the_readme_tells_of_every_client_in_the_version_that_is_run() {
    let readme = include_str!("../../../README.md");
    let rows = readme
        .lines()
        .skip_while(|line| !HEAD.starts_with(*line) || line.is_empty());
    let rows: Vec<_> = rows
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(rows.len(), ClientProgram::ALL.len());
    for (row, program) in rows.into_iter().zip(ClientProgram::ALL) {
        // Each machine has a browser and a curl of its own.
        let version = match program {
            ClientProgram::Chromium | ClientProgram::Curl => String::new(),
            _ => version(program),
        };
        let beginning = format!("| `{}` | {version}", name(program));
        assert!(
            row.starts_with(&beginning),
            "{row} does not begin with {beginning}"
        );
    }
}
