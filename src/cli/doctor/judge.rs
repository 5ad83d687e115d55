//! From what was seen to what it means: no calls and no clocks here.

pub(super) mod pages;
pub(super) mod server;
pub(super) mod stream;
pub(super) mod trial;

use std::time::Duration;

use reqwest::Version;

use super::calls::{Stage, Unreached};

/// A time for people: `3 ms`, `4.2 s`.
fn time(time: Duration) -> String {
    match time {
        time if time < Duration::from_millis(1) => "less than 1 ms".to_owned(),
        time if time < Duration::from_secs(1) => format!("{} ms", time.as_millis()),
        time => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// A sentence on why there is no answer.
fn unreached(unreached: &Unreached) -> String {
    let cause = &unreached.cause;
    match unreached.at {
        Stage::Name => format!("the name is not found: {cause}"),
        Stage::Connection => format!("nobody takes the connection: {cause}"),
        Stage::Tls => format!("the handshake of TLS fails: {cause}"),
        Stage::Answer => format!("no answer of HTTP comes: {cause}"),
    }
}

/// A protocol's name.
fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/3",
    }
}
