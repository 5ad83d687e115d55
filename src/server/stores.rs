//! The store that is configured, opened.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;

use crate::{
    config::{Config, Durability, StoreBackend},
    job::Timestamp,
    store::{
        Embedded, EmbeddedLimits, EmbeddedSettings, Memory, MemoryLimits, Postgres,
        PostgresSettings, PushedReports, Redis, RedisSettings, Store,
    },
};

/// How long the start waits for a Redis or a PostgreSQL that is not there yet: machines and containers
/// that start together do so in any order.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Most names of each sort that the embedded store remembers: those of removed jobs, reserved keys,
/// used tickets. As many as jobs; in a small file fewer, so that each sort takes some eighth of it.
const MOST_NAMES: u64 = 1_000_000;
const BYTES_PER_NAME: u64 = 8 * 256;

/// A store, and what comes to it by another way than through the server.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    pub(super) pushed: Option<PushedReports>,
}

impl From<Arc<dyn Store>> for Opened {
    fn from(store: Arc<dyn Store>) -> Self {
        let pushed = None;
        Self { store, pushed }
    }
}

/// Opens the store that is configured.
///
/// # Errors
/// Why that cannot be, in a sentence.
pub(super) async fn open_store(config: &Config) -> anyhow::Result<Opened> {
    let store: Arc<dyn Store> = match config.store.backend {
        StoreBackend::Memory => Arc::new(Memory::new(MemoryLimits {
            events_per_job: config.events.max_count,
            event_bytes_per_job: config.events.max_bytes,
            event_bytes: config.events.max_total_bytes,
            finished_jobs: config.store.memory.max_finished_jobs,
            row_bytes: config.store.memory.max_result_bytes,
        })),
        StoreBackend::Embedded => Arc::new(open_file(embedded_settings(config)).await?),
        StoreBackend::Redis => {
            let redis = Arc::new(Redis::open(redis_settings(config)).await?);
            let pushed = Some(PushedReports::of(
                Arc::clone(&redis),
                config.limits.ndjson_line_bytes,
            ));
            let store = redis;
            return Ok(Opened { store, pushed });
        }
        StoreBackend::Postgres => Arc::new(Postgres::open(postgres_settings(config)).await?),
    };
    Ok(store.into())
}

/// Opens the embedded store's file where waiting for the disk holds nobody up.
async fn open_file(settings: EmbeddedSettings) -> anyhow::Result<Embedded> {
    let opening = tokio::task::spawn_blocking(|| Embedded::open(settings, wall_clock()));
    Ok(opening.await.context("open the store's file")??)
}

fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let micros = since_epoch.unwrap_or_default().as_micros();
    Timestamp::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

fn embedded_settings(config: &Config) -> EmbeddedSettings {
    let store = &config.store.embedded;
    EmbeddedSettings {
        path: store.path.clone(),
        flush: store.flush(),
        is_all_durable: store.durability == Durability::All,
        cache_bytes: store.cache_bytes,
        limits: EmbeddedLimits {
            max_bytes: store.max_bytes,
            events_per_job: config.events.max_count as u64,
            event_bytes_per_job: config.events.max_bytes as u64,
            event_bytes: config.events.max_total_bytes as u64,
            names: (store.max_bytes / BYTES_PER_NAME).min(MOST_NAMES),
        },
    }
}

fn redis_settings(config: &Config) -> RedisSettings {
    let redis = &config.store.redis;
    RedisSettings {
        url: redis.url.expose().to_owned(),
        prefix: redis.prefix.clone(),
        ca: redis.ca.clone(),
        timeout: config.store.timeout(),
        start_patience: START_PATIENCE,
        events_per_job: config.events.max_count,
        event_bytes_per_job: config.events.max_bytes,
    }
}

fn postgres_settings(config: &Config) -> PostgresSettings {
    let postgres = &config.store.postgres;
    let listen_url = postgres.listen_url.expose();
    PostgresSettings {
        url: postgres.url.expose().to_owned(),
        listen_url: (!listen_url.is_empty()).then(|| listen_url.to_owned()),
        max_connections: postgres.max_connections,
        poll_interval: config.store.check_interval(),
        patience: config.store.timeout(),
        start_patience: START_PATIENCE,
        events_per_job: config.events.max_count,
        event_bytes_per_job: config.events.max_bytes,
    }
}
