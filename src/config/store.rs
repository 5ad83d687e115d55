//! Where jobs are kept: `[store]` and a section for each backend.

use std::{path::PathBuf, str::FromStr, time::Duration};

use serde::Deserialize;

use super::{
    Secret,
    sections::{none_if_empty, parsed},
};

/// `[store]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// Where jobs are kept. Default `embedded`; also `SSE_SOURCE`.
    #[serde(deserialize_with = "parsed")]
    pub backend: StoreBackend,
    /// Milliseconds that a store which nodes share has to answer. Default 5000.
    pub timeout_ms: u64,
    /// `[store.memory]`: bounds of the store that keeps everything in this process.
    pub memory: MemoryStoreConfig,
    /// `[store.embedded]`: the file of the store that one node has to itself.
    pub embedded: EmbeddedStoreConfig,
    /// `[store.redis]`
    pub redis: RedisStoreConfig,
    /// `[store.postgres]`
    pub postgres: PostgresStoreConfig,
}

/// `[store.memory]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryStoreConfig {
    /// Finished jobs; beyond it the one that expires first leaves early. Default 1000000.
    pub max_finished_jobs: usize,
    /// Bytes of result rows and of runners' inputs; beyond it the finished job that expires first
    /// leaves early. Default 2 GiB.
    pub max_result_bytes: usize,
}

/// `[store.embedded]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedStoreConfig {
    /// The file; made when it is not there. Default `./progressd.redb`.
    pub path: PathBuf,
    /// Milliseconds that progress may be on its way to the disk. Default 200.
    pub flush_ms: u64,
    /// What is on disk before it is answered. Default `changes`.
    #[serde(deserialize_with = "parsed")]
    pub durability: Durability,
    /// Bytes of the file; beyond it the finished job that expires first leaves early. Default 8 GiB.
    pub max_bytes: u64,
    /// Bytes of memory for parts of the file. Default 64 MiB.
    pub cache_bytes: usize,
}

/// `[store.redis]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisStoreConfig {
    /// Where it is: `redis://user:password@host:6379/0`, or `rediss` for TLS.
    pub url: Secret,
    /// What every key and channel begins with. Default `progressd:`.
    pub prefix: String,
    /// PEM file with the authority behind its certificate. Empty, the default, is the system's.
    #[serde(deserialize_with = "none_if_empty")]
    pub ca: Option<PathBuf>,
    /// Seconds between two looks at jobs that are watched, in case a notice was lost. Default 10.
    pub check_interval_seconds: u64,
}

/// `[store.postgres]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresStoreConfig {
    /// Where it is: `postgres://user:password@host:5432/database`.
    pub url: Secret,
    /// The same without a pooler in between, for notifications and migrations. Empty, the default,
    /// is `url`.
    pub listen_url: Secret,
    /// Seconds between two looks at jobs that are watched, in case a notification was lost. Default
    /// 10; also `SSE_FALLBACK_DB_INTERVAL_SECONDS`.
    pub poll_interval_seconds: u64,
    /// Connections besides two for notifications. Default 10.
    pub max_connections: u32,
}

/// The stores that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreBackend {
    /// In this process, gone when it ends.
    Memory,
    /// In a file of this node's own.
    Embedded,
    /// In Redis, shared by nodes.
    Redis,
    /// In PostgreSQL, shared by nodes and by workers that write SQL.
    Postgres,
}

/// What the embedded store has on disk before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Everything but progress that the next report replaces.
    Changes,
    /// Everything.
    All,
}

impl StoreConfig {
    /// `timeout_ms`
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// How often jobs are looked at whose notices may have got lost.
    pub fn check_interval(&self) -> Duration {
        let seconds = match self.backend {
            StoreBackend::Postgres => self.postgres.poll_interval_seconds,
            _ => self.redis.check_interval_seconds,
        };
        Duration::from_secs(seconds)
    }
}

impl EmbeddedStoreConfig {
    /// `flush_ms`
    pub fn flush(&self) -> Duration {
        Duration::from_millis(self.flush_ms)
    }
}

// The errors below complete a sentence that begins with the key.

impl FromStr for StoreBackend {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "memory" => Ok(Self::Memory),
            "embedded" => Ok(Self::Embedded),
            "redis" => Ok(Self::Redis),
            "db" | "postgres" => Ok(Self::Postgres),
            _ => Err("must be \"memory\", \"embedded\", \"redis\" or \"db\" (PostgreSQL)"),
        }
    }
}

impl FromStr for Durability {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "changes" => Ok(Self::Changes),
            "all" => Ok(Self::All),
            _ => Err("must be \"changes\" or \"all\""),
        }
    }
}
