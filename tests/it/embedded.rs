//! The server with its jobs in a file: killed, started again, refused, and on a full disk.

mod full_disk;
mod restarts;
mod starts;

use std::fs;

use tempfile::TempDir;

use crate::support::{people, process::Process, server::TestServer};

/// A folder with a configuration: every sort of key, and jobs in a file beside it.
fn folder(toml: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let toml = format!("{toml}\n{}", people::configuration());
    fs::write(folder.path().join("progressd.toml"), toml).expect("a file");
    folder
}

/// A server that runs there, for somebody who may do everything.
async fn started(folder: &TempDir) -> (Process, TestServer) {
    let process = Process::start_in(folder.path()).await;
    let server = TestServer::at(&process.url).with_token("key-admin");
    (process, server)
}

/// The same after it was killed.
async fn killed_and_started(mut process: Process, folder: &TempDir) -> (Process, TestServer) {
    process.kill().await;
    started(folder).await
}
