//! The command line: what can be asked of the binary, and the commands that need no server.

pub mod check;
pub mod client;
pub mod demo;
pub mod health;
pub mod key;
pub mod run;
pub mod serve;
pub mod token;

use std::path::PathBuf;

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
    /// Ask a server whether it answers
    ///
    /// For the health checks of containers and scripts: the exit code is 0 when the server answers /healthz with
    /// 200 within four seconds, and 1 otherwise. The certificate of a server on a loopback address is not checked.
    Health(health::HealthArguments),
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
