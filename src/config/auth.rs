//! `[auth]`: the keys, and whether the server runs open.

mod source;

use std::{collections::HashMap, fmt, path::PathBuf, str::FromStr};

use serde::Deserialize;

use super::{Secret, sections::parsed};
use crate::auth::{KeyHash, Scopes};

pub(super) use source::is_url;
pub use source::{JwksLocation, KeySource};

/// An HMAC secret is at least as long as the hash: a shorter one can be found by trying (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// `[auth]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// What to do when no key is configured. Default `auto`.
    #[serde(deserialize_with = "parsed")]
    pub mode: AuthSetting,
    /// Whether somebody else's job looks as if it were not there. Default false.
    pub hide_foreign_jobs: bool,
    /// Longest remaining life of a token in a query, in seconds. Default 3600.
    pub query_token_max_seconds: u64,
    /// `[[auth.api_keys]]`
    pub api_keys: Vec<ApiKeyConfig>,
    /// `[[auth.jwt]]`
    pub jwt: Vec<JwtConfig>,
}

/// What `auth.mode` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthSetting {
    /// With a key: credentials needed. Without: open, on loopback only.
    Auto,
    /// Open, on any address.
    None,
}

/// What `auth.mode` and the keys come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// Everybody may do everything.
    Open,
    /// Every request needs a credential.
    Keys,
}

/// One API key: `[[auth.api_keys]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyConfig {
    /// For logs; unique.
    pub name: String,
    /// SHA-256 of the key, 64 hexadecimal digits; unique.
    #[serde(deserialize_with = "parsed")]
    pub sha256: KeyHash,
    /// A list of scopes.
    pub scopes: Scopes,
    /// Restricts the key to this owner's jobs; left out, it acts on all.
    #[serde(default)]
    pub owner: Option<String>,
}

/// One key that verifies JWTs: `[[auth.jwt]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// The one algorithm that a token may name.
    #[serde(deserialize_with = "parsed")]
    pub algorithm: JwtAlgorithm,
    /// The shared secret of HS256, 32 bytes at least.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// The public key in PEM. As secret as a secret: what is pasted there by mistake is the private one.
    #[serde(default)]
    pub public_key: Option<Secret>,
    /// A JWK Set (RFC 7517): the path of a file, or an https URL.
    #[serde(default)]
    pub jwks: Option<String>,
    /// File with the certificates, in PEM, that the https URL is trusted by; left out, those of the system.
    #[serde(default)]
    pub jwks_ca: Option<PathBuf>,
    /// The `iss` that a token must have; left out, it is not looked at.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The `aud` that a token must have, alone or among others; left out, it is not looked at.
    #[serde(default)]
    pub audience: Option<String>,
    /// The scopes of a token without a scope claim. Default `jobs:read`.
    #[serde(default = "default_scope", deserialize_with = "parsed")]
    pub default_scope: Scopes,
    /// The claim that holds the owner. Default `sub`.
    #[serde(default = "default_owner_claim")]
    pub owner_claim: String,
    /// The claim that holds the scopes, separated by spaces. Default `scope`.
    #[serde(default = "default_scope_claim")]
    pub scope_claim: String,
    /// The claim that holds ids, or `prefix*`, of further jobs. Default `jobs`.
    #[serde(default = "default_jobs_claim")]
    pub jobs_claim: String,
    /// Seconds by which clocks may differ, 30 at most. Default 5.
    #[serde(default = "default_leeway_seconds")]
    pub leeway_seconds: u64,
}

/// The signature algorithms (RFC 7518, section 3.1, and RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSA (PKCS #1 v1.5) with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl AuthConfig {
    /// Whether requests need a credential.
    pub fn resolved(&self) -> AuthMode {
        if self.api_keys.is_empty() && self.jwt.is_empty() {
            AuthMode::Open
        } else {
            AuthMode::Keys
        }
    }

    /// A sentence for each pair of settings that cannot stand together.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.mode == AuthSetting::None && self.resolved() == AuthMode::Keys {
            problems.push(
                "`auth.mode` is \"none\", but keys are configured: remove the keys, or let the mode be \"auto\"".into(),
            );
        }
        let mut names = HashMap::new();
        let mut hashes = HashMap::new();
        for (index, key) in self.api_keys.iter().enumerate() {
            if let Some(first) = names.insert(&key.name, index) {
                problems.push(format!(
                    "`auth.api_keys[{index}].name` is that of `auth.api_keys[{first}]` too: a name in the log must mean one key"
                ));
            }
            if let Some(first) = hashes.insert(&key.sha256, index) {
                problems.push(format!(
                    "`auth.api_keys[{index}]` is the same key as `auth.api_keys[{first}]`"
                ));
            }
        }
        for (index, jwt) in self.jwt.iter().enumerate() {
            let problem = jwt.source().and_then(|_| jwt.check_ca()).err();
            problems.extend(problem.map(|problem| problem.at(index)));
        }
        problems
    }
}

impl JwtConfig {
    /// A verifier with this secret, and every other setting at its default.
    pub fn with_secret(secret: Secret) -> Self {
        Self {
            secret: Some(secret),
            ..Self::without_key(JwtAlgorithm::Hs256)
        }
    }

    /// An entry that has no key, and every other setting at its default: enough to name the claims of a token.
    pub fn without_key(algorithm: JwtAlgorithm) -> Self {
        Self {
            algorithm,
            secret: None,
            public_key: None,
            jwks: None,
            jwks_ca: None,
            issuer: None,
            audience: None,
            default_scope: default_scope(),
            owner_claim: default_owner_claim(),
            scope_claim: default_scope_claim(),
            jobs_claim: default_jobs_claim(),
            leeway_seconds: default_leeway_seconds(),
        }
    }
}

// The errors below complete a sentence that begins with the key.

impl FromStr for AuthSetting {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            _ => Err("must be \"auto\" or \"none\""),
        }
    }
}

impl FromStr for JwtAlgorithm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "HS256" => Ok(Self::Hs256),
            "RS256" => Ok(Self::Rs256),
            "ES256" => Ok(Self::Es256),
            "EdDSA" => Ok(Self::EdDsa),
            _ => Err("must be \"HS256\", \"RS256\", \"ES256\" or \"EdDSA\""),
        }
    }
}

impl fmt::Display for JwtAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        })
    }
}

fn default_scope() -> Scopes {
    Scopes::from(crate::auth::Scope::JobsRead)
}

fn default_owner_claim() -> String {
    "sub".to_owned()
}

fn default_scope_claim() -> String {
    "scope".to_owned()
}

fn default_jobs_claim() -> String {
    "jobs".to_owned()
}

fn default_leeway_seconds() -> u64 {
    5
}
