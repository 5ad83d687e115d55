//! `progressd token`: a JWT signed with the server's own secret, or with the private key to its public one.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow, bail, ensure};
use clap::{Args, builder::NonEmptyStringValueParser};
use jsonwebtoken::EncodingKey;

use crate::{
    auth::{Scope, Scopes, TokenClaims, mint},
    config::{Config, JwtAlgorithm, JwtConfig, MIN_SECRET_BYTES, Overrides, Secret, Sources},
};

/// `progressd token`
#[derive(Debug, Args)]
pub struct TokenArguments {
    /// Configuration file whose first fitting [[auth.jwt]] entry signs, and names the claims
    #[arg(long, value_name = "FILE", required_unless_present_any = ["secret_file", "private_key"])]
    pub config: Option<PathBuf>,
    /// File that holds the secret, 32 bytes at least; a line break at its end does not count
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub secret_file: Option<PathBuf>,
    /// File that holds a private key in PEM (RSA, P-256 or Ed25519), for a server that has the public one
    #[arg(long, value_name = "FILE", conflicts_with = "secret_file")]
    pub private_key: Option<PathBuf>,
    /// Name of the private key in the JWK Set of the server
    #[arg(long, value_name = "NAME", requires = "private_key")]
    pub kid: Option<String>,
    /// Owner of the jobs that the bearer creates and acts on
    #[arg(long, value_name = "OWNER", value_parser = NonEmptyStringValueParser::new())]
    pub sub: Option<String>,
    /// What the bearer may do: jobs:read, jobs:write, jobs:cancel, admin; repeat it, or put spaces between.
    /// Left out, the server's default_scope applies
    #[arg(long, value_delimiter = ' ')]
    pub scope: Vec<Scope>,
    /// Further jobs that the bearer may act on: an id, or the beginning of ids as in 'import-*'; may be repeated
    #[arg(long, value_name = "JOB", value_delimiter = ' ', value_parser = NonEmptyStringValueParser::new())]
    pub jobs: Vec<String>,
    /// Seconds until the token expires, ten years at most
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=315_360_000))]
    pub ttl: u64,
    /// The iss claim; left out, that of the configuration
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub issuer: Option<String>,
    /// The aud claim; left out, that of the configuration
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub audience: Option<String>,
}

/// Writes the token on a line.
///
/// # Errors
/// The secret or the key cannot be read, the secret is too short, the configuration has no fitting entry, the token would be good for
/// nothing, or `output` takes no more.
pub fn run(arguments: TokenArguments, output: &mut impl Write) -> anyhow::Result<()> {
    let is_admin = arguments.scope.contains(&Scope::Admin);
    ensure!(
        arguments.sub.is_some() || !arguments.jobs.is_empty() || is_admin,
        "such a token may act on no job: give it --sub, --jobs or --scope admin"
    );
    let (config, key) = signer(&arguments)?;
    let issued_at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?
        .as_secs();
    let claims = TokenClaims {
        owner: arguments.sub,
        scopes: (!arguments.scope.is_empty())
            .then(|| arguments.scope.into_iter().collect::<Scopes>()),
        jobs: arguments.jobs,
        issued_at,
        expires_at: issued_at + arguments.ttl,
    };
    writeln!(
        output,
        "{}",
        mint(&config, &key, arguments.kid, &claims).context("sign the token")?
    )?;
    Ok(())
}

/// The key and what goes with it: from its own file, or from the configuration.
fn signer(arguments: &TokenArguments) -> anyhow::Result<(JwtConfig, EncodingKey)> {
    let (mut config, key) = match (&arguments.secret_file, &arguments.private_key) {
        (Some(path), _) => {
            let secret = read_secret(path)?;
            let key = EncodingKey::from_secret(secret.expose().as_bytes());
            (JwtConfig::with_secret(secret), key)
        }
        (None, Some(path)) => {
            let (algorithm, key) = read_private_key(path)?;
            let config = match &arguments.config {
                Some(_) => configured(arguments, |entry| entry.algorithm == algorithm)?,
                None => JwtConfig::without_key(algorithm),
            };
            (config, key)
        }
        (None, None) => {
            let config = configured(arguments, |entry| entry.secret.is_some())?;
            let secret = config.secret.as_ref().map_or("", Secret::expose);
            let key = EncodingKey::from_secret(secret.as_bytes());
            (config, key)
        }
    };
    config.issuer = arguments.issuer.clone().or(config.issuer);
    config.audience = arguments.audience.clone().or(config.audience);
    Ok((config, key))
}

/// The first entry for the key whose server would accept the issuer and the audience that were asked for.
fn configured(
    arguments: &TokenArguments,
    is_for_key: impl Fn(&JwtConfig) -> bool,
) -> anyhow::Result<JwtConfig> {
    let config = Config::load(&Sources::of_process(
        arguments.config.clone(),
        Overrides::default(),
    ))?;
    if config.auth.jwt.is_empty() {
        bail!("the configuration has no [[auth.jwt]] entry, so that the server accepts no token");
    }
    if !config.auth.jwt.iter().any(&is_for_key) {
        bail!(
            "no [[auth.jwt]] entry goes with the key: without --private-key there must be one with a secret, with it \
             one with the algorithm of the key"
        );
    }
    let accepts = |required: &Option<String>, asked: &Option<String>| match (required, asked) {
        (Some(required), Some(asked)) => required == asked,
        _ => true,
    };
    let fits = |entry: &JwtConfig| {
        is_for_key(entry)
            && accepts(&entry.issuer, &arguments.issuer)
            && accepts(&entry.audience, &arguments.audience)
    };
    config
        .auth
        .jwt
        .into_iter()
        .find(fits)
        .context("no [[auth.jwt]] entry accepts that issuer and audience")
}

fn read_secret(path: &Path) -> anyhow::Result<Secret> {
    let secret = fs::read_to_string(path)
        .with_context(|| format!("read the secret file `{}`", path.display()))?;
    let secret = secret.trim_end_matches(['\r', '\n']);
    ensure!(
        secret.len() >= MIN_SECRET_BYTES,
        "a secret must have at least {MIN_SECRET_BYTES} bytes"
    );
    Ok(Secret::from(secret.to_owned()))
}

/// The key, and the algorithm that goes with a key of its sort.
fn read_private_key(path: &Path) -> anyhow::Result<(JwtAlgorithm, EncodingKey)> {
    let text = fs::read(path).with_context(|| format!("read the key file `{}`", path.display()))?;
    // In this order: the reader for RSA takes whatever is no key of the others for one.
    let key = EncodingKey::from_ed_pem(&text)
        .map(|key| (JwtAlgorithm::EdDsa, key))
        .or_else(|_| EncodingKey::from_ec_pem(&text).map(|key| (JwtAlgorithm::Es256, key)))
        .or_else(|_| EncodingKey::from_rsa_pem(&text).map(|key| (JwtAlgorithm::Rs256, key)));
    key.map_err(|_| {
        anyhow!(
            "`{}` holds no private key in PEM for RS256, ES256 or EdDSA (PKCS #8; PKCS #1 for RSA)",
            path.display()
        )
    })
}
