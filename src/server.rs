//! A whole server, from its configuration to its drain.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    config::{AuthMode, Config, StoreBackend},
    http::{
        App, Passes, Policy,
        connection::{self, ConnectionLimits, Drained},
        router,
    },
    job::Defaults,
    registry::{Registry, Settings},
    runner::Runners,
    store::{Memory, MemoryLimits, Store},
    stream::StreamSettings,
};

/// A server that is running. Dropping it stops it at once; [`Server::drain`] stops it well.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    app: Arc<App>,
    connection_limits: watch::Sender<ConnectionLimits>,
    registry: Registry,
    runners: Runners,
    /// Cancelled to stop accepting and to let connections end.
    drain: CancellationToken,
    /// How long a drain may take.
    drain_time: Duration,
    connections: JoinHandle<Drained>,
    /// Cancelled, by dropping this, to end the timers behind the registry.
    _timers: DropGuard,
}

impl Server {
    /// Binds the address and begins to serve; the listener is open when this returns.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        Self::start_with(config, open_store(config)).await
    }

    /// The same over a store of the caller's own.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start_with(config: &Config, store: Arc<dyn Store>) -> anyhow::Result<Self> {
        let listen = config.server.listen;
        let listener = connection::bind(listen).with_context(|| format!("listen on {listen}"))?;
        let address = listener
            .local_addr()
            .context("read the address that was bound")?;
        let timers = CancellationToken::new();
        let registry = Registry::start(Arc::clone(&store), settings(config), timers.clone());
        let runners = Runners::new(&config.runner);
        let app = Arc::new(App {
            registry: registry.clone(),
            runners: runners.clone(),
            streams: stream_settings(config),
            policy: ArcSwap::from_pointee(Policy::new(config)),
            passes: Passes::new(store),
        });
        warn_if_open(&app, address);
        let drain = CancellationToken::new();
        let (connection_limits, limits) = watch::channel(connection_limits(config));
        let serving = connection::serve(listener, router(Arc::clone(&app)), limits, drain.clone());
        Ok(Self {
            address,
            app,
            connection_limits,
            registry,
            runners,
            drain,
            drain_time: config.stream.drain(),
            connections: tokio::spawn(serving),
            _timers: timers.drop_guard(),
        })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's base URL, `http://127.0.0.1:8080`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The jobs that the server holds, for whoever embeds it and reports without HTTP.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Takes keys and limits from a new configuration; everything else of it needs a new start.
    ///
    /// Requests and connections that come after this keep to the new ones. Streams, waits and open requests of
    /// whoever was let in by a key that is not there any more, or not as it was, end.
    pub fn reload(&self, config: &Config) {
        let older = self.app.policy();
        let newer = Arc::new(older.renewed(config));
        self.app.policy.store(Arc::clone(&newer));
        // Only now: nobody is let in any more by what is ended here.
        older.authenticator.revoke_all_but(&newer.authenticator);
        let limits = &config.limits;
        self.registry.set_limits(limits.bounds(), limits.max_jobs);
        self.connection_limits
            .send_replace(connection_limits(config));
        warn_if_open(&self.app, self.address);
    }

    /// Stops accepting and taking work, stops the runners, tells the streams, and waits for the
    /// connections to end: all within `stream.drain_seconds`.
    pub async fn drain(mut self) -> Drained {
        // The connections' time begins here, so that what the runners take is part of it.
        self.drain.cancel();
        self.registry.begin_drain();
        // Runners before streams, so that no job changes after its watchers were sent away.
        self.runners.drain(self.drain_time / 2).await;
        self.registry.drain();
        (&mut self.connections).await.unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.connections.abort();
    }
}

/// The one loud line of an open server.
fn warn_if_open(app: &App, address: SocketAddr) {
    if app.policy().authenticator.mode() == AuthMode::Open {
        tracing::warn!(
            server.address = %address,
            "NO KEY IS CONFIGURED: whoever reaches this address may read, change and remove every job"
        );
    }
}

fn open_store(config: &Config) -> Arc<dyn Store> {
    match config.store.backend {
        StoreBackend::Memory => Arc::new(Memory::new(MemoryLimits {
            events_per_job: config.events.max_count,
            event_bytes_per_job: config.events.max_bytes,
            event_bytes: config.events.max_total_bytes,
            finished_jobs: config.store.memory.max_finished_jobs,
            row_bytes: config.store.memory.max_result_bytes,
        })),
    }
}

fn settings(config: &Config) -> Settings {
    let limits = &config.limits;
    Settings {
        bounds: limits.bounds(),
        defaults: Defaults {
            lease_seconds: config.jobs.lease_seconds,
            ttl_seconds: config.jobs.ttl_seconds,
            abandon_after_seconds: config.jobs.abandon_after_seconds,
        },
        update_interval: config.stream.update_interval(),
        max_jobs: limits.max_jobs,
        gone_seconds: config.jobs.gone_seconds,
    }
}

fn stream_settings(config: &Config) -> StreamSettings {
    StreamSettings {
        retry: config.stream.retry(),
        heartbeat: config.stream.heartbeat(),
        max_duration: config.stream.max_duration(),
        drain: config.stream.drain(),
    }
}

fn connection_limits(config: &Config) -> ConnectionLimits {
    let limits = &config.limits;
    let derived = || {
        let descriptors = connection::raise_descriptor_limit().unwrap_or_else(|error| {
            tracing::warn!(%error, "the limit of file descriptors could not be raised");
            1_024
        });
        connection::default_max_connections(descriptors)
    };
    ConnectionLimits {
        header_timeout: limits.header_timeout(),
        max_header_bytes: limits.header_bytes,
        max_connections: limits.max_connections().unwrap_or_else(derived),
        write_timeout: limits.write_timeout(),
        http2_max_streams: limits.http2_max_streams,
        drain: config.stream.drain(),
        send_buffer_bytes: limits.send_buffer_bytes(),
    }
}
