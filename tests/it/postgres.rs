//! Jobs in PostgreSQL: what only this store does, beside what all do (`conformance`).

mod between;
mod cost;
mod differential;
mod faults;
mod goes_back;
mod held_rows;
mod lifecycle;
mod notices;
mod opening;
mod patience;
mod start;
mod workers;

use std::time::Duration;

use crate::support::{postgres_server::Database, server::TestServer};

/// A node that waits so long for its store, and shows every report.
async fn serve(database: &Database, timeout: Duration) -> TestServer {
    let toml = format!(
        "{}store.timeout_ms = {}\nstream.update_interval_ms = 0\n",
        database.keys(),
        timeout.as_millis()
    );
    TestServer::with(&toml).await
}
