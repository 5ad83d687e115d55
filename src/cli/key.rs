//! `progressd key`: a new API key.

use std::io::Write;

use anyhow::anyhow;
use clap::Args;
use toml::Value;

use crate::auth::{ApiKey, Scope};

/// `progressd key`
#[derive(Debug, Args)]
pub struct KeyArguments {
    /// Name of the key, for logs; left out, it is made from the hash
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// What the key may do: jobs:read, jobs:write, jobs:cancel, admin; repeat it, or put spaces between
    #[arg(
        long,
        value_delimiter = ' ',
        default_value = "jobs:read jobs:write jobs:cancel"
    )]
    pub scope: Vec<Scope>,
    /// Restrict the key to this owner's jobs; left out, it acts on all jobs
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub owner: Option<String>,
}

/// Writes the key on the first line and, after an empty one, its block of configuration.
///
/// # Errors
/// The operating system gives no random bytes, or `output` takes no more.
pub fn run(arguments: KeyArguments, output: &mut impl Write) -> anyhow::Result<()> {
    let key =
        ApiKey::generate().map_err(|_| anyhow!("the operating system gives no random bytes"))?;
    let hash = key.hash().to_string();
    let name = arguments
        .name
        .unwrap_or_else(|| format!("key-{}", &hash[..8]));
    let scopes: Vec<_> = arguments
        .scope
        .iter()
        .map(|scope| Value::from(scope.as_str()))
        .collect();
    writeln!(output, "{}\n", key.expose())?;
    writeln!(
        output,
        "# For the configuration file. The key above is shown only this once; it is stored nowhere."
    )?;
    writeln!(output, "[[auth.api_keys]]")?;
    writeln!(output, "name = {}", Value::from(name))?;
    writeln!(output, "sha256 = {}", Value::from(hash))?;
    writeln!(output, "scopes = {}", Value::from(scopes))?;
    if let Some(owner) = arguments.owner {
        writeln!(output, "owner = {}", Value::from(owner))?;
    }
    Ok(())
}
