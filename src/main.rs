//! The binary: reads the command line and does what it says.

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser;
use progressd::{
    cli::{self, Cli, Command},
    http::openapi,
};

// Many small, long-lived allocations and bursts of frames: measured ahead of the system's
// allocator. Huge pages are switched off by its feature, since they cost 8 KiB a connection.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long threads may go on when the work is done. Nobody waits for what they do, and all of it
/// ends by itself in less, unless it hangs: then the process must end all the same, since the
/// signals that could end it are no longer listened to.
const LAST_THREADS_TIME: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // Nobody is left to be told when that is closed.
            let _ = answer.print();
            return match answer.use_stderr() {
                true => ExitCode::from(cli::misused(env::args_os())),
                // Help and the version were asked for.
                false => ExitCode::SUCCESS,
            };
        }
    };
    let failure = cli.command.failure();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                eprintln!("error: {line}");
            }
            ExitCode::from(failure)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let mut output = io::stdout();
    match cli.command {
        Command::Serve(arguments) => block_on(cli::serve::run(arguments, &mut output))?,
        Command::Demo(arguments) => block_on(cli::demo::run(arguments, &mut output))?,
        Command::Watch(arguments) => {
            return block_on(cli::watch::run(arguments, &mut output)).map(ExitCode::from);
        }
        Command::Run(arguments) => return block_on(async { Ok(cli::run::run(arguments).await) }),
        Command::Token(arguments) => cli::token::run(arguments, &mut output)?,
        Command::Key(arguments) => cli::key::run(arguments, &mut output)?,
        Command::Check(arguments) => cli::check::run(arguments, &mut output)?,
        Command::OpenApi => output
            .write_all(openapi::document().as_bytes())
            .context("print the document")?,
        Command::Doctor(arguments) => return block_on(cli::doctor::run(arguments, &mut output)),
        Command::Health(arguments) => block_on(cli::health::run(arguments, &mut output))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_THREADS_TIME);
    result
}
