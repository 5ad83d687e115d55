//! A whole server, from its configuration to its drain.

mod stores;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use axum::Router;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};

use crate::{
    config::{AuthMode, Config, ConfigError, StreamDelivery},
    delivery::Delivery,
    http::{
        App, FORGET_INTERVAL, Metrics, Passes, Policy, Usage, admin_router,
        connection::{self, ConnectionLimits, Drained, Endpoint, Tls, TlsError},
        create_feeds, router,
    },
    intake::Intake,
    job::Defaults,
    metrics::{ConnectionMetrics, Meter, PushedMetrics, RegistryMetrics, StoreMetrics},
    registry::{Registry, Settings},
    runner::Runners,
    store::{Measured, Store},
};
use stores::{Opened, open_store};

/// Connections of operators at a time: a few scrapers and probes, and some patience with them.
const ADMIN_CONNECTIONS: usize = 64;

/// How long an operator's answer that is under way has at the very end.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);

/// How often what histograms were told is taken into their buckets: until then each value takes
/// memory of its own.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How long what takes pushed reports may take to say that it does so no longer.
const INTAKE_DRAIN: Duration = Duration::from_secs(1);

/// A server that is running. Dropping it stops it at once; [`Server::drain`] stops it well.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    tls: Option<Tls>,
    admin: Option<Admin>,
    app: Arc<App>,
    connection_limits: watch::Sender<ConnectionLimits>,
    registry: Registry,
    runners: Runners,
    store: Arc<dyn Store>,
    /// Cancelled to stop accepting and to let connections end.
    drain: CancellationToken,
    /// How long a drain may take.
    drain_time: Duration,
    connections: AbortOnDropHandle<Drained>,
    /// What takes reports that are pushed past HTTP, when there is such a way.
    intake: Option<AbortOnDropHandle<()>>,
    /// Cancelled, by dropping this, to end the timers behind the registry.
    _timers: DropGuard,
}

/// The second listener, for operators.
#[derive(Debug)]
struct Admin {
    address: SocketAddr,
    connection_limits: watch::Sender<ConnectionLimits>,
    /// Cancelled after everything else has ended: until then it tells how that goes.
    drain: CancellationToken,
    connections: AbortOnDropHandle<Drained>,
}

impl Server {
    /// Binds the addresses and begins to serve; the listeners are open when this returns.
    ///
    /// # Errors
    /// An address cannot be bound, or the certificate not be served.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let opened = open_store(config).await?;
        Self::start_over(config, opened).await
    }

    /// The same over a store of the caller's own.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_with(config: &Config, store: Arc<dyn Store>) -> anyhow::Result<Self> {
        Self::start_over(config, store.into()).await
    }

    async fn start_over(config: &Config, opened: Opened) -> anyhow::Result<Self> {
        let Opened { store, pushed } = opened;
        let tls = load_tls(config)?;
        let bind = |address| bind(address, config.limits.write_timeout());
        let (listener, address) = bind(config.server.listen)?;
        let admin_listener = config.server.admin_listen.map(bind).transpose()?;
        let timers = CancellationToken::new();
        let meter = Meter::new();
        tokio::spawn(keep_up(meter.clone(), timers.clone()));
        let store: Arc<dyn Store> = Arc::new(Measured::new(
            store,
            config.store.timeout(),
            StoreMetrics::new(&meter),
        ));
        let registry = Registry::start(
            Arc::clone(&store),
            settings(config),
            RegistryMetrics::new(&meter),
            timers.clone(),
        );
        registry.look_at_the_store().await;
        let counting = PushedMetrics::new(&meter);
        let intake = pushed.map(|reports| {
            let intake = Intake::new(reports, registry.clone(), counting);
            AbortOnDropHandle::new(tokio::spawn(intake.run()))
        });
        let runners = Runners::new(&config.runner);
        let takeover = runners.clone().take_over(registry.clone());
        tokio::spawn(timers.clone().run_until_cancelled_owned(takeover));
        let recovered = registry
            .recover(|job| {
                runners.start(job);
            })
            .await;
        let recovered = recovered.context("read the unfinished jobs")?;
        if recovered > 0 {
            tracing::info!(jobs = recovered, "unfinished jobs go on");
        }
        create_feeds(&registry, &config.views).await;
        let connection_metrics = ConnectionMetrics::new(&meter);
        let app = Arc::new(App {
            registry: registry.clone(),
            runners: runners.clone(),
            streams: Arc::new(config.stream.settings()),
            metrics: Metrics::new(meter, &runners),
            has_admin_listener: admin_listener.is_some(),
            policy: ArcSwap::from_pointee(Policy::new(config)),
            passes: Passes::new(Arc::clone(&store)),
            usage: Usage::new(&config.limits),
            views: config.views.clone(),
        });
        tokio::spawn(keep_usage_small(Arc::clone(&app), timers.clone()));
        let secret = keep_the_secret(Arc::clone(&app));
        tokio::spawn(timers.clone().run_until_cancelled_owned(secret));
        warn_if_open(&app, address);
        let drain = CancellationToken::new();
        let (connection_limits, limits) = watch::channel(connection_limits(config));
        let endpoint = Endpoint {
            listener,
            delivery: delivery(config, &connection_metrics),
            tls: tls.clone(),
            app: router(Arc::clone(&app)),
            limits,
            metrics: connection_metrics,
        };
        let serving = connection::serve(endpoint, drain.clone());
        let admin = admin_listener.map(|(listener, address)| {
            Admin::serve(listener, address, admin_router(Arc::clone(&app)), config)
        });
        Ok(Self {
            address,
            tls,
            admin,
            app,
            connection_limits,
            registry,
            runners,
            store,
            drain,
            drain_time: config.stream.drain(),
            connections: AbortOnDropHandle::new(tokio::spawn(serving)),
            intake,
            _timers: timers.drop_guard(),
        })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `server.admin_listen` listens, when it is set.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// The server's base URL, `http://127.0.0.1:8080`, or `https` when it has a certificate.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The jobs that the server holds, for whoever embeds it and reports without HTTP.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What clients hold at present, for whoever embeds it and watches it without HTTP.
    pub fn usage(&self) -> &Usage {
        &self.app.usage
    }

    /// Takes keys, limits and the certificate from a new configuration; everything else of it
    /// needs a new start.
    ///
    /// Requests and connections that come after this keep to the new ones. Streams, waits and open
    /// requests of whoever was let in by a key that is not there any more, or not as it was, end. A
    /// certificate that cannot be served is logged, and the one before is served on.
    ///
    /// # Errors
    /// It cannot stand where the server listens: without a key, on an address that others reach.
    /// Or it has no key any more and does not say that this is meant. Then nothing is taken over.
    pub fn reload(&self, config: &Config) -> Result<(), ConfigError> {
        let config = &config.listening_on(self.address)?;
        let older = self.app.policy();
        config.still_closed(older.authenticator.mode())?;
        let newer = Arc::new(older.renewed(config));
        self.app.policy.store(Arc::clone(&newer));
        // Only now: nobody is let in any more by what is ended here.
        older.authenticator.revoke_all_but(&newer.authenticator);
        let limits = &config.limits;
        self.app.usage.set_limits(limits);
        self.registry.set_limits(limits.bounds(), limits.max_jobs);
        self.connection_limits
            .send_replace(connection_limits(config));
        if let Some(admin) = &self.admin {
            admin.connection_limits.send_replace(admin_limits(config));
        }
        match (&self.tls, config.server.tls.files()) {
            (Some(tls), Some((cert, key))) => {
                if let Err(error) = tls.reload(cert, key) {
                    tracing::error!(%error, "the certificate was not reloaded");
                }
            }
            (None, None) => {}
            _ => tracing::warn!("only a restart changes whether the server speaks TLS"),
        }
        warn_if_open(&self.app, self.address);
        Ok(())
    }

    /// Stops accepting and taking work, stops the runners, tells the streams, and waits for the
    /// connections to end: all within `stream.drain_seconds`. The admin listener answers to the end.
    pub async fn drain(self) -> Drained {
        // The connections' time begins here, so that what the runners take is part of it.
        self.drain.cancel();
        self.registry.begin_drain();
        // Runners before streams, so that no job changes after its watchers were sent away.
        self.runners.drain(self.drain_time / 2).await;
        self.registry.drain();
        let drained = self.connections.await.unwrap_or_default();
        if let Some(intake) = self.intake {
            // It has ended, as a rule, and is not worth more than a moment.
            let _ = tokio::time::timeout(INTAKE_DRAIN, intake).await;
        }
        if let Some(admin) = self.admin {
            admin.drain.cancel();
            // How operators' connections end is of no interest.
            let _ = admin.connections.await;
        }
        if let Err(error) = self.store.flush().await {
            tracing::error!(%error, "the last progress may be lost");
        }
        drained
    }
}

impl Admin {
    fn serve(listener: TcpListener, address: SocketAddr, app: Router, config: &Config) -> Self {
        tracing::info!(server.admin_address = %address, "serving metrics and health");
        let drain = CancellationToken::new();
        let (connection_limits, limits) = watch::channel(admin_limits(config));
        let endpoint = Endpoint {
            listener,
            tls: None,
            app,
            delivery: None,
            limits,
            // Operators' own connections are not what they want to know about.
            metrics: ConnectionMetrics::new(&Meter::new()),
        };
        let serving = connection::serve(endpoint, drain.clone());
        Self {
            address,
            connection_limits,
            drain,
            connections: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }
}

/// Keeps the memory of measurements bounded, until `stop` is cancelled.
async fn keep_up(meter: Meter, stop: CancellationToken) {
    let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        meter.run_upkeep();
    }
}

/// Binds an address; with the one that came of it.
fn bind(listen: SocketAddr, write_timeout: Duration) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = connection::bind(listen, write_timeout);
    let listener = listener.with_context(|| format!("listen on {listen}"))?;
    let address = listener
        .local_addr()
        .context("read the address that was bound")?;
    Ok((listener, address))
}

/// The certificate and key that a configuration names, read and checked.
///
/// # Errors
/// What is wrong with the files.
pub fn load_tls(config: &Config) -> Result<Option<Tls>, TlsError> {
    let files = config.server.tls.files();
    files.map(|(cert, key)| Tls::load(cert, key)).transpose()
}

/// The tasks that write streams, when there are to be any.
fn delivery(config: &Config, metrics: &Arc<ConnectionMetrics>) -> Option<Delivery> {
    let is_plain = config.server.tls.files().is_none();
    if config.server.delivery == StreamDelivery::Body || !is_plain {
        return None;
    }
    let tasks = match config.server.delivery_tasks {
        0 => std::thread::available_parallelism()
            .map_or(1, |processors| processors.get().div_ceil(2)),
        tasks => tasks,
    };
    Some(Delivery::start(tasks, metrics))
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

/// Sees to it that what this server has signed stays good, when the store has lost the secret.
async fn keep_the_secret(app: Arc<App>) {
    let mut emptied = app.registry.emptied();
    while emptied.changed().await.is_ok() {
        app.passes.put_back(&app.registry).await;
    }
}

/// Forgets clients that have left, from time to time, until `end`.
async fn keep_usage_small(app: Arc<App>, end: CancellationToken) {
    let mut times = tokio::time::interval(FORGET_INTERVAL);
    let upkeep = async {
        loop {
            times.tick().await;
            app.usage.forget_the_idle();
        }
    };
    end.run_until_cancelled(upkeep).await;
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
        check_interval: config.store.check_interval(),
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
        max_connections_per_address: limits.max_connections_per_address,
        trusted_proxies: config.server.trusted_proxies.clone(),
        http2_max_streams: limits.http2_max_streams,
        drain: config.stream.drain(),
        send_buffer_bytes: limits.send_buffer_bytes(),
    }
}

/// What operators' connections are granted instead.
fn admin_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        max_connections: ADMIN_CONNECTIONS,
        drain: ADMIN_DRAIN,
        ..connection_limits(config)
    }
}
