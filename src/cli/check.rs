//! `progressd check`: is the configuration valid, and what does it change?

use std::{io::Write, path::PathBuf};

use clap::Args;

use crate::{
    config::{AuthMode, Config, Overrides, Sources},
    server::load_tls,
};

/// `progressd check`
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Configuration file (TOML); left out, only the environment is checked
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Writes the verdict and the settings that are not at their defaults.
///
/// # Errors
/// The configuration has mistakes, its certificate cannot be served, or `output` takes no more.
pub fn run(arguments: CheckArguments, output: &mut impl Write) -> anyhow::Result<()> {
    let config = Config::load(&Sources::of_process(arguments.config, Overrides::default()))?;
    load_tls(&config)?;
    let access = match config.auth.resolved() {
        AuthMode::Open => "open, no credential is asked for".to_owned(),
        AuthMode::Keys => {
            format!(
                "by {} and {}",
                count(config.auth.api_keys.len(), "API key"),
                count(config.auth.jwt.len(), "JWT key")
            )
        }
    };
    writeln!(output, "configuration is valid")?;
    writeln!(output, "access: {access}")?;
    for view in config.views.iter() {
        let paths = view.places().iter().flat_map(|place| place.paths());
        let paths: Vec<_> = paths.map(|path| path.as_str()).collect();
        writeln!(output, "view {}: {}", view.name(), paths.join(", "))?;
    }
    for change in config.changes() {
        writeln!(output, "{change}")?;
    }
    Ok(())
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
