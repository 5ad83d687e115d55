//! Layered configuration: embedded defaults, a file, the environment, command line flags.
//!
//! Every value of every layer is checked against one table of rules before the layers are merged, so that a
//! start reports all mistakes at once, each in a sentence that names the key and where its value came from.
//! The typed structs below come after that and refuse unknown fields once more: a key that stands in the
//! rules, in `config/default.toml` or in a struct, but not in all three, fails the tests.

mod auth;
mod layers;
mod limits;
mod origins;
mod proxies;
mod rules;
mod secret;
mod sections;
mod store;
mod views;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt,
    net::SocketAddr,
    path::PathBuf,
};

use serde::Deserialize;

pub(crate) use self::origins::is_loopback_host;
pub use self::{
    auth::{
        ApiKeyConfig, AuthConfig, AuthMode, AuthSetting, JwksLocation, JwtAlgorithm, JwtConfig,
        KeySource, MIN_SECRET_BYTES,
    },
    limits::LimitsConfig,
    origins::{CorsConfig, Host, Origin},
    proxies::TrustedProxies,
    secret::Secret,
    sections::{
        DnsSource, EmailRunnerConfig, EventsConfig, JobsConfig, LogConfig, LogFormat, RunnerConfig,
        ServerConfig, StreamConfig, StreamDelivery, TlsConfig,
    },
    store::{
        Durability, EmbeddedStoreConfig, MemoryStoreConfig, PostgresStoreConfig, RedisStoreConfig,
        StoreBackend, StoreConfig,
    },
    views::SHIPPED_VIEWS,
};

use self::layers::Layer;
use crate::view::Views;

/// The embedded defaults, at the same time the documented example of a configuration file.
pub const DEFAULT_TOML: &str = include_str!("../config/default.toml");

/// What the keys begin with whose values a running server takes over on SIGHUP.
const RELOADED: [&str; 6] = [
    "auth.",
    "cors.",
    "limits.",
    "server.hosts",
    "server.tls.",
    "server.trusted_proxies",
];

/// Where the layers above the embedded defaults come from.
///
/// The environment is passed in rather than read, so that two servers with different settings can live in one
/// process, as they do in tests. Not `Debug`: the environment holds other programs' secrets.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file given by `--config`, in TOML.
    pub file: Option<PathBuf>,
    /// Environment variables; those that name no key of ours are passed over.
    pub environment: Vec<(OsString, OsString)>,
    /// What flags of the command line say.
    pub overrides: Overrides,
}

/// Values from command line flags: the last word.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--listen`: replaces `server.listen`.
    pub listen: Option<String>,
}

/// Everything that an operator can set, checked; one field for each section of `config/default.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[server]`: addresses and TLS.
    pub server: ServerConfig,
    /// `[store]`: where jobs are kept.
    pub store: StoreConfig,
    /// `[stream]`: pace, heartbeats and ends of streams.
    pub stream: StreamConfig,
    /// `[events]`: how many events are kept for resume.
    pub events: EventsConfig,
    /// `[jobs]`: leases and retention.
    pub jobs: JobsConfig,
    /// `[limits]`: what a client may send and hold.
    pub limits: LimitsConfig,
    /// `[runner]`: the built-in workers.
    pub runner: RunnerConfig,
    /// `[cors]`: the web pages of other origins that may use the server.
    pub cors: CorsConfig,
    /// `[log]`: what is logged, and how.
    pub log: LogConfig,
    /// `[auth]`: who may.
    pub auth: AuthConfig,
    /// `[views.NAME]` and those of `server.views`, compiled.
    #[serde(skip)]
    pub views: Views,
    #[serde(skip)]
    changes: Vec<Change>,
}

/// A setting that is not at its default, for `progressd check` and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key, for example `stream.retry_ms` or `auth.jwt[0].issuer`.
    pub key: String,
    /// The value in TOML; a secret is `[redacted]`.
    pub value: String,
    /// Where the value came from, for example ``the variable `SSE_RETRY_MS` ``.
    pub origin: String,
}

/// All mistakes of a configuration, a sentence each; displayed one per line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(Vec<String>);

impl Sources {
    /// The sources of this process: `file`, its environment variables, and the flags in `overrides`.
    pub fn of_process(file: Option<PathBuf>, overrides: Overrides) -> Self {
        Self {
            file,
            environment: std::env::vars_os().collect(),
            overrides,
        }
    }
}

impl Config {
    /// Reads, checks and merges all layers.
    ///
    /// # Errors
    /// Every mistake in every layer: an unreadable file, unknown keys, values of a wrong type or out of range,
    /// and settings that contradict each other (those only once each layer is right in itself).
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut layers = Vec::new();
        if let Some(path) = &sources.file {
            match Layer::from_file(path) {
                Ok(layer) => layers.push(layer),
                Err(problem) => problems.push(problem),
            }
        }
        layers.push(Layer::from_environment(&sources.environment, &mut problems));
        layers.push(Layer::from_overrides(&sources.overrides));
        Self::from_layers(layers, problems)
    }

    /// The embedded defaults with the keys of a TOML text above them, and no other layer.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        match Layer::from_toml(text, "the configuration") {
            Ok(layer) => Self::from_layers(vec![layer], Vec::new()),
            Err(problem) => Err(ConfigError(vec![problem])),
        }
    }

    /// The same for a server that listens there already, whatever `server.listen` says by now.
    ///
    /// # Errors
    /// Settings that are impossible together with that address.
    pub fn listening_on(&self, address: SocketAddr) -> Result<Self, ConfigError> {
        let mut config = self.clone();
        config.server.listen = address;
        config.consistent()
    }

    /// Nothing, unless a server that has run in `mode` would be open from now on without its being
    /// meant: a file that is just being written is empty for a moment.
    ///
    /// # Errors
    /// It would.
    pub fn still_closed(&self, mode: AuthMode) -> Result<(), ConfigError> {
        let opens = mode == AuthMode::Keys && self.auth.resolved() == AuthMode::Open;
        if opens && self.auth.mode == AuthSetting::Auto {
            return Err(ConfigError(vec![
                "there is no key under [auth] any more, which would open the server to everybody: write \
                 `auth.mode = \"none\"` if that is meant"
                    .into(),
            ]));
        }
        Ok(())
    }

    /// The keys whose values differ in `new` and that only a new start can change, sorted.
    pub fn keys_for_a_restart(&self, new: &Self) -> Vec<String> {
        let old = self.changes.iter().map(Change::setting);
        let new: BTreeMap<_, _> = new.changes.iter().map(Change::setting).collect();
        let old: BTreeMap<_, _> = old.collect();
        let keys: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
        keys.into_iter()
            .filter(|key| old.get(key) != new.get(key) && !is_reloaded(key))
            .map(str::to_owned)
            .collect()
    }

    /// The settings that are not at their defaults, sorted by key.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    fn from_layers(layers: Vec<Layer>, mut problems: Vec<String>) -> Result<Self, ConfigError> {
        let defaults = Layer::from_toml(DEFAULT_TOML, "the defaults")
            .map_err(|problem| ConfigError(vec![problem]))?;
        for layer in &layers {
            rules::check(layer, &mut problems);
        }
        let own_views = views::read_own(&layers, &mut problems);
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }

        let mut changes = changes(&defaults, &layers);
        changes.extend(views::changes(&own_views));
        let mut builder = ::config::Config::builder().add_source(defaults);
        for layer in layers {
            builder = builder.add_source(layer);
        }
        let merged = builder
            .build()
            .and_then(|merged| merged.try_deserialize::<Self>());
        let mut config = merged.map_err(|error| ConfigError(vec![error.to_string()]))?;
        config.changes = changes;
        config.views = views::compile_all(own_views, &config.server.views).map_err(ConfigError)?;

        config.consistent()
    }

    /// Itself, unless its settings are impossible together.
    fn consistent(self) -> Result<Self, ConfigError> {
        let problems = self.contradictions();
        if problems.is_empty() {
            Ok(self)
        } else {
            Err(ConfigError(problems))
        }
    }

    /// What no single value shows: settings that are fine alone and impossible together.
    fn contradictions(&self) -> Vec<String> {
        let mut problems = self.auth.contradictions();
        if self.events.max_bytes > self.events.max_total_bytes {
            problems.push(
                "`events.max_bytes` must not be above `events.max_total_bytes`: one job may not keep more than all"
                    .into(),
            );
        }
        for (key, bytes) in [
            ("json_body_bytes", self.limits.json_body_bytes),
            ("upload_bytes", self.limits.upload_bytes),
            ("ndjson_line_bytes", self.limits.ndjson_line_bytes),
        ] {
            if bytes > self.limits.bodies_in_flight_bytes {
                problems.push(format!(
                    "`limits.{key}` must not be above `limits.bodies_in_flight_bytes`: one body may not be larger than all"
                ));
            }
        }
        match (&self.server.tls.cert, &self.server.tls.key) {
            (Some(_), None) => problems.push(
                "`server.tls.cert` is set without `server.tls.key`: TLS needs the certificate and its private key"
                    .into(),
            ),
            (None, Some(_)) => problems.push(
                "`server.tls.key` is set without `server.tls.cert`: TLS needs the private key and its certificate"
                    .into(),
            ),
            _ => {}
        }
        if let Some(admin) = self.server.admin_listen
            && admin == self.server.listen
            && admin.port() != 0
        {
            problems.push(
                "`server.admin_listen` must not be the address of `server.listen`: leave it empty to serve metrics there"
                    .into(),
            );
        }
        if self.server.delivery == StreamDelivery::Handover && self.server.tls.files().is_some() {
            problems.push(
                "`server.delivery` is \"handover\", but streams over TLS cannot be handed over: use \"auto\", or leave `server.tls` to a proxy"
                    .into(),
            );
        }
        // A mistaken listener on an open server is found by strangers before it is found by its owner.
        if self.auth.resolved() == AuthMode::Open
            && self.auth.mode == AuthSetting::Auto
            && !self.server.is_on_loopback()
        {
            problems.push(format!(
                "`server.listen` is {}, where others can reach it, but no key is configured: add one with \
                 `progressd key`, listen on 127.0.0.1, or write `auth.mode = \"none\"` to serve everybody",
                self.server.listen
            ));
        }
        problems
    }
}

impl Change {
    fn setting(&self) -> (&str, &str) {
        (&self.key, &self.value)
    }
}

impl ConfigError {
    /// The mistakes, one sentence each.
    pub fn problems(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} = {}  # {}",
            self.key, self.value, self.origin
        )
    }
}

/// Whether a running server takes the key's value from a new configuration.
fn is_reloaded(key: &str) -> bool {
    RELOADED.iter().any(|prefix| key.starts_with(prefix))
}

/// Compares the layers, the last one winning, with the defaults.
fn changes(defaults: &Layer, layers: &[Layer]) -> Vec<Change> {
    let defaults: BTreeMap<_, _> = defaults
        .settings()
        .into_iter()
        .map(|setting| (setting.key, setting.value.kind))
        .collect();
    let effective: BTreeMap<_, _> = layers
        .iter()
        .flat_map(Layer::settings)
        .map(|setting| (setting.key.clone(), setting))
        .filter(|(_, setting)| !matches!(setting.value.kind, ::config::ValueKind::Table(_)))
        .collect();
    effective
        .into_iter()
        .filter(|(key, setting)| defaults.get(key) != Some(&setting.value.kind))
        .map(|(key, setting)| Change {
            value: rules::show(&setting),
            key,
            origin: setting.origin,
        })
        .collect()
}
