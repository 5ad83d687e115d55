//! What the tests share.

pub(crate) mod certificate;
pub(crate) mod client_program;
pub(crate) mod cut_proxy;
pub(crate) mod dns;
pub(crate) mod fault_proxy;
pub(crate) mod gated_runner;
pub(crate) mod issuer;
pub(crate) mod jobs;
pub(crate) mod ndjson;
pub(crate) mod nginx;
pub(crate) mod node;
pub(crate) mod pages;
pub(crate) mod people;
pub(crate) mod pgbouncer;
pub(crate) mod ports;
pub(crate) mod postgres_server;
pub(crate) mod process;
pub(crate) mod raw_client;
pub(crate) mod redis_server;
pub(crate) mod scrape;
pub(crate) mod secrets;
pub(crate) mod server;
pub(crate) mod shared_memory;
pub(crate) mod sse;
pub(crate) mod staged_store;
pub(crate) mod transcript;

use std::time::Duration;

/// The longest that a test waits for something that must come: far above what it takes, so
/// that only a thing that never comes runs into it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for `future`; says what did not come in time.
pub(crate) async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not come within {PATIENCE:?}"),
    }
}

/// Waits until something holds that nobody tells of.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    in_time(what, waiting).await;
}
