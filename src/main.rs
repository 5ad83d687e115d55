//! The binary: reads the command line and does what it says.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use progressd::cli::{self, Cli, Command};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                eprintln!("error: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match cli.command {
        Command::Serve(_) | Command::Demo(_) => anyhow::bail!("this build has no server"),
        Command::Token(arguments) => cli::token::run(arguments, &mut output),
        Command::Key(arguments) => cli::key::run(arguments, &mut output),
        Command::Check(arguments) => cli::check::run(arguments, &mut output),
    }
}
