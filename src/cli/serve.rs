//! `progressd serve`: runs the server until it is told to stop.

use std::io::Write;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::ServeArguments;
use crate::{
    config::{Config, Overrides, Sources},
    server::Server,
    telemetry,
};

/// Reads the configuration, serves, and drains on SIGTERM or SIGINT; a second signal ends at once.
///
/// # Errors
/// The configuration is wrong, or the address cannot be bound.
pub async fn run(arguments: ServeArguments, output: &mut impl Write) -> anyhow::Result<()> {
    let overrides = Overrides {
        listen: arguments.listen,
    };
    let config = Config::load(&Sources::of_process(arguments.config, overrides))?;
    telemetry::init(&config.log)?;
    let server = Server::start(&config).await?;
    // The first line of standard output: whoever started us on port 0 reads the address here.
    writeln!(output, "listening on {}", server.url())?;
    output.flush()?;
    wait_for_signal().await?;
    tracing::info!("shutting down");
    tokio::select! {
        drained = server.drain() => {
            tracing::info!(connections.ended = drained.ended, connections.cut = drained.cut, "stopped");
        }
        signal = wait_for_signal() => {
            signal?;
            tracing::warn!("stopped at once by a second signal");
        }
    }
    Ok(())
}

/// Waits for SIGTERM or SIGINT.
pub(super) async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
