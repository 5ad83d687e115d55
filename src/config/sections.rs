//! The smaller sections: server, stream, events, jobs, runner, log.

use std::{
    fmt::Display,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Deserializer, de};

use super::{Host, TrustedProxies};
use crate::stream::StreamSettings;

/// `[server]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Address to listen on; port 0 takes a free one. Default 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// Hosts that an open server answers to besides those of loopback. Default none.
    pub hosts: Vec<Host>,
    /// Views that ship with the server and are switched on. Default none.
    pub views: Vec<String>,
    /// Proxies whose word on a client's address is believed. Default none.
    pub trusted_proxies: TrustedProxies,
    /// Address of a second listener, for operators: metrics and health without a credential.
    /// Empty, the default, is none.
    #[serde(deserialize_with = "none_if_empty")]
    pub admin_listen: Option<SocketAddr>,
    /// Who writes streams to plain HTTP/1 connections. Default auto.
    pub delivery: StreamDelivery,
    /// Tasks that share this work; 0, the default, is one for two processors.
    pub delivery_tasks: usize,
    /// `[server.tls]`: HTTPS.
    pub tls: TlsConfig,
}

/// Who writes streams to their connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamDelivery {
    /// Delivery tasks where they can, which is on plain HTTP/1, and hyper elsewhere.
    Auto,
    /// hyper.
    Body,
    /// Delivery tasks; a server that could not hand any stream over does not start.
    Handover,
}

impl FromStr for StreamDelivery {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "body" => Ok(Self::Body),
            "handover" => Ok(Self::Handover),
            _ => Err("must be \"auto\", \"body\" or \"handover\""),
        }
    }
}

impl<'de> Deserialize<'de> for StreamDelivery {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// `[server.tls]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate chain, the server's own first. Empty, the default, is none.
    #[serde(deserialize_with = "none_if_empty")]
    pub cert: Option<PathBuf>,
    /// PEM file with its private key. Empty, the default, is none.
    #[serde(deserialize_with = "none_if_empty")]
    pub key: Option<PathBuf>,
}

/// `[stream]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamConfig {
    /// Milliseconds between two statuses of one job, 0 sends every report. Default 1000.
    pub update_interval_ms: u64,
    /// Milliseconds after which clients reconnect, before jitter. Default 5000; also `SSE_RETRY_MS`.
    pub retry_ms: u64,
    /// Seconds of silence before a heartbeat, before jitter. Default 30; also `SSE_HEARTBEAT_SECONDS`.
    pub heartbeat_seconds: u64,
    /// Longest life of a stream in seconds, before jitter. Default 3600; also `SSE_MAX_DURATION`.
    pub max_duration_seconds: u64,
    /// Milliseconds before its cursor from which on a stream of many jobs repeats events. Default 10000.
    pub rewind_ms: u64,
    /// Seconds that a stopping server gives its requests and streams. Default 10.
    pub drain_seconds: u64,
}

/// `[events]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsConfig {
    /// Events that one job keeps. Default 1000.
    pub max_count: usize,
    /// Bytes that one job's kept events may take. Default 1 MiB.
    pub max_bytes: usize,
    /// Bytes that the kept events of all jobs may take. Default 256 MiB.
    pub max_total_bytes: usize,
}

/// `[jobs]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobsConfig {
    /// Seconds without a report until a job is stalled, 0 is never. Default 60.
    pub lease_seconds: u64,
    /// Seconds that a finished job stays. Default 86400.
    pub ttl_seconds: u64,
    /// Seconds without a report until an unfinished job fails, 0 is never. Default 604800.
    pub abandon_after_seconds: u64,
    /// Seconds that a job which is no longer kept is answered with 410. Default 86400.
    pub gone_seconds: u64,
}

/// `[runner]`: a section for each built-in worker that has settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunnerConfig {
    /// `[runner.email]`: the kind `email-validation`.
    pub email: EmailRunnerConfig,
}

/// `[runner.email]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailRunnerConfig {
    /// Where mail servers are looked up. Default `system`.
    #[serde(deserialize_with = "parsed")]
    pub dns: DnsSource,
    /// Addresses in one list. Default 100000.
    pub max_emails: usize,
    /// Lists checked at a time. Default 4.
    pub max_concurrent_jobs: usize,
    /// DNS lookups under way at a time, over all lists. Default 64.
    pub max_concurrent_lookups: usize,
    /// Milliseconds until a lookup is given up. Default 5000.
    pub lookup_timeout_ms: u64,
    /// Addresses of one list checked in a second, 0 is as many as possible. Default 0.
    pub max_per_second: u32,
}

/// Where mail servers are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsSource {
    /// The resolvers of this machine.
    System,
    /// Nowhere: what needs DNS is `unknown`.
    Off,
    /// This DNS server, by UDP and, for long answers, TCP.
    Server(SocketAddr),
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// Levels, also by module, in the syntax of `tracing_subscriber::EnvFilter`. Default `info`.
    pub filter: String,
    /// Default `text`.
    #[serde(deserialize_with = "parsed")]
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object on a line.
    Json,
}

impl ServerConfig {
    /// Whether only this machine can reach the address.
    pub fn is_on_loopback(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }
}

impl TlsConfig {
    /// The certificate's file and the key's; `None` serves plain HTTP.
    pub fn files(&self) -> Option<(&Path, &Path)> {
        self.cert.as_deref().zip(self.key.as_deref())
    }
}

impl StreamConfig {
    /// `update_interval_ms`; zero sends every report.
    pub fn update_interval(&self) -> Duration {
        Duration::from_millis(self.update_interval_ms)
    }

    /// The settings of streams, as those take them.
    pub fn settings(&self) -> StreamSettings {
        StreamSettings {
            retry: Duration::from_millis(self.retry_ms),
            heartbeat: Duration::from_secs(self.heartbeat_seconds),
            max_duration: Duration::from_secs(self.max_duration_seconds),
            rewind: Duration::from_millis(self.rewind_ms),
            drain: self.drain(),
        }
    }

    /// `drain_seconds`
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

impl EmailRunnerConfig {
    /// `lookup_timeout_ms`
    pub fn lookup_timeout(&self) -> Duration {
        Duration::from_millis(self.lookup_timeout_ms)
    }
}

// The errors below complete a sentence that begins with the key.

impl FromStr for DnsSource {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "system" => Ok(Self::System),
            "off" => Ok(Self::Off),
            address => address.parse().map(Self::Server).map_err(
                |_| "must be \"system\", \"off\", or the IP address and port of a DNS server, such as \"127.0.0.1:5353\"",
            ),
        }
    }
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be \"text\" or \"json\""),
        }
    }
}

/// Reads a string field, in which nothing stands for `None`, through `FromStr`.
pub(super) fn none_if_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(de::Error::custom)
}

/// Reads a string field through `FromStr`.
pub(super) fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    String::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}
