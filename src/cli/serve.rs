//! `progressd serve`: runs the server until it is told to stop.

use std::io::Write;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::ServeArguments;
use crate::{
    config::{Config, Overrides, Sources},
    server::Server,
    telemetry,
};

/// Reads the configuration, serves, and drains on SIGTERM or SIGINT; a second signal ends at once.
///
/// SIGHUP has the configuration read anew; a wrong one changes nothing.
///
/// # Errors
/// The configuration is wrong, or the address cannot be bound.
pub async fn run(arguments: ServeArguments, output: &mut impl Write) -> anyhow::Result<()> {
    let overrides = Overrides {
        listen: arguments.listen,
    };
    let sources = Sources::of_process(arguments.config, overrides);
    let config = Config::load(&sources)?;
    telemetry::init(&config.log)?;
    // Before anybody can know the address: a signal that comes early is not the end of the process.
    let mut signals = Signals::listen()?;
    let mut reloads = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let server = Server::start(&config).await?;
    // The first line of standard output: whoever started us on port 0 reads the address here.
    writeln!(output, "listening on {}", server.url())?;
    output.flush()?;
    loop {
        tokio::select! {
            _ = signals.next() => break,
            _ = reloads.recv() => reload(&server, &sources, &config),
        }
    }
    tracing::info!("shutting down");
    tokio::select! {
        drained = server.drain() => {
            tracing::info!(connections.ended = drained.ended, connections.cut = drained.cut, "stopped");
        }
        _ = signals.next() => {
            tracing::warn!("stopped at once by a second signal");
        }
    }
    Ok(())
}

/// Reads the sources anew and hands them to the server; `started_with` is what it was started with.
fn reload(server: &Server, sources: &Sources, started_with: &Config) {
    let reloaded = Config::load(sources).and_then(|config| {
        server.reload(&config)?;
        Ok(config)
    });
    match reloaded {
        Ok(config) => {
            for key in started_with.keys_for_a_restart(&config) {
                tracing::warn!(key, "only a restart changes this key");
            }
            tracing::info!("reloaded keys and limits");
        }
        Err(error) => {
            for problem in error.problems() {
                tracing::error!(problem, "the configuration was not reloaded");
            }
        }
    }
}

/// SIGTERM and SIGINT, from the moment of its making on.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on: until then a signal ends the process.
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    /// Waits for either, and says which.
    pub(super) async fn next(&mut self) -> i32 {
        let signal = tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        };
        signal.as_raw_value()
    }
}
