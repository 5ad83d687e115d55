//! The command line: what can be asked of the binary, and the commands that need no server.

pub mod check;
pub mod client;
pub mod demo;
pub mod display;
pub mod doctor;
pub mod ending;
pub mod health;
pub mod key;
pub mod run;
pub mod serve;
pub mod token;
pub mod watch;

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// Shows the progress of long-running jobs: workers report over HTTP, pages watch a live stream.
#[derive(Debug, Parser)]
#[command(name = "progressd", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    ///
    /// Settings come from the built-in defaults, then the file of --config, then environment variables such as
    /// PROGRESSD__STREAM__RETRY_MS, then flags. Without a configured key the server is open to everybody, and
    /// listens on loopback addresses only.
    Serve(ServeArguments),
    /// Start a server, give it a real job, and show the progress in the terminal
    Demo(DemoArguments),
    /// Watch jobs to their end
    ///
    /// On a terminal each job is a bar; elsewhere each change is a line. Jobs are named, or given by their address;
    /// the address of a server, or of a stream such as http://127.0.0.1:8080/api/v1/stream?tag=import, shows all jobs
    /// that match until it is interrupted. The credential comes from PROGRESSD_TOKEN.
    ///
    /// The exit code is 0 when all jobs completed, 1 when one failed, else 2 when one was cancelled; and 3 when one
    /// could not be watched, whatever became of the others.
    Watch(watch::WatchArguments),
    /// Run a command, and show its progress as a job
    ///
    /// Reads "n/m" and "n%" from what the command prints; the last line is the job's message, and the exit code
    /// decides whether the job is completed or failed. Output, signals and the exit code pass through unchanged.
    /// Cancelling the job ends the command. While the server is away the command runs all the same.
    Run(run::RunArguments),
    /// Make a token (JWT) for a worker or a watcher
    ///
    /// The token is signed with a secret that the server has too, and goes into the header
    /// "Authorization: Bearer TOKEN".
    Token(token::TokenArguments),
    /// Make an API key, and the block of configuration that lets it in
    ///
    /// The key itself is shown once and stored nowhere: the configuration holds only its SHA-256. It goes into
    /// the header "Authorization: Bearer KEY".
    Key(key::KeyArguments),
    /// Check the configuration, and show what differs from the defaults
    ///
    /// Reads what `serve` would read, the environment included. The exit code is 0 when all is well; otherwise
    /// it is 1, and each mistake is a line on standard error.
    Check(check::CheckArguments),
    /// Print the description of the HTTP API (OpenAPI 3.1, JSON)
    ///
    /// The same as a server answers at /openapi.json; the page for people is at /docs.
    #[command(name = "openapi")]
    OpenApi,
    /// Find out what proxies do to streams, and what to change
    ///
    /// Makes a job on the server, watches it through the public address, and removes it again; with the address of
    /// a job or a stream, or without the scope jobs:write, it only watches. The credential is taken from
    /// PROGRESSD_TOKEN. The exit code is 0 when streams work, 1 when there is a problem, and 3 when no stream could
    /// be looked at.
    Doctor(doctor::DoctorArguments),
    /// Ask a server whether it answers
    ///
    /// For the health checks of containers and scripts: the exit code is 0 when the server answers /healthz with
    /// 200 within four seconds, and 1 otherwise. The certificate of a server on a loopback address is not checked.
    Health(health::HealthArguments),
}

impl Command {
    /// The exit code when it could not be done.
    pub fn failure(&self) -> u8 {
        match self {
            Self::Watch(_) => watch::UNWATCHED,
            _ => 1,
        }
    }
}

/// The exit code of a command line that cannot be understood.
pub fn misused(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    // With 2, as elsewhere, `watch` tells of a cancelled job.
    match arguments.nth(1) {
        Some(command) if command == "watch" => watch::UNWATCHED,
        // All codes below are those of commands.
        Some(command) if command == "run" => run::NOT_STARTED,
        _ => 2,
    }
}

/// `progressd serve`
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// IP address and port to listen on, such as 127.0.0.1:8080; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
}

/// `progressd demo`
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// Where mail servers are looked up: "off", "system", or the address and port of a DNS server
    #[arg(long, value_name = "DNS", default_value = "off")]
    pub dns: crate::config::DnsSource,
    /// Addresses checked per second; 0 checks as fast as possible
    #[arg(long, value_name = "NUMBER", default_value_t = 40)]
    pub speed: u32,
}
