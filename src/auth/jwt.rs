//! JSON Web Tokens (RFC 7519): verified with one fixed algorithm per key, and minted for `progressd token`.

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde_json::{Map, Value};

use super::{JobPattern, Principal, Scopes};
use crate::config::{JwtAlgorithm, JwtConfig};

/// Verifies tokens with one key.
pub(super) struct JwtVerifier {
    key: DecodingKey,
    validation: Validation,
    config: JwtConfig,
}

/// What a minted token says; the names of the claims are those of the [`JwtConfig`] that it is minted for.
#[derive(Debug, Clone, Default)]
pub struct TokenClaims {
    /// The owner.
    pub owner: Option<String>,
    /// The scopes; left out, the server's default applies.
    pub scopes: Option<Scopes>,
    /// Ids, or `prefix*`, of further jobs.
    pub jobs: Vec<String>,
    /// Unix time in seconds of the minting.
    pub issued_at: u64,
    /// Unix time in seconds from which the token is refused.
    pub expires_at: u64,
}

/// Why a token does not hold.
#[derive(Debug, thiserror::Error)]
pub enum TokenRefusal {
    /// No key for tokens is configured.
    #[error("no key for tokens is configured")]
    NoVerifier,
    /// The form, the algorithm, the signature, or one of `exp`, `nbf`, `iss`, `aud`.
    #[error(transparent)]
    Invalid(#[from] jsonwebtoken::errors::Error),
    /// The header has a `crit` entry, and we understand no extension (RFC 7515, section 4.1.11).
    #[error("the header asks for an extension")]
    CriticalHeader,
    /// The claim has another type than it must have.
    #[error("the claim `{0}` has a wrong type")]
    ClaimType(String),
}

impl JwtVerifier {
    pub(super) fn new(config: &JwtConfig) -> Self {
        let mut validation = Validation::new(algorithm(config.algorithm));
        validation.leeway = config.leeway_seconds;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if let Some(issuer) = &config.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        // Left to itself the library refuses every token with an audience when none is configured.
        validation.validate_aud = config.audience.is_some();
        if let Some(audience) = &config.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        let key = DecodingKey::from_secret(config.secret.expose().as_bytes());
        Self {
            key,
            validation,
            config: config.clone(),
        }
    }

    pub(super) fn verify(&self, token: &[u8]) -> Result<Principal, TokenRefusal> {
        let token = decode::<Map<String, Value>>(token, &self.key, &self.validation)?;
        if token.header.crit.is_some() {
            return Err(TokenRefusal::CriticalHeader);
        }
        let claims = &token.claims;
        let owner = match text_claim(claims, &self.config.owner_claim)? {
            Some("") => return Err(TokenRefusal::ClaimType(self.config.owner_claim.clone())),
            owner => owner.map(str::to_owned),
        };
        let scopes = text_claim(claims, &self.config.scope_claim)?
            .map_or(self.config.default_scope, Scopes::from_claim);
        let jobs = jobs_claim(claims, &self.config.jobs_claim)?;
        Ok(Principal::of_token(owner, scopes, jobs, expiry(claims)?))
    }
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("JwtVerifier")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Signs a token that a server with `config` among its `[[auth.jwt]]` accepts.
///
/// # Errors
/// None in practice: claims of strings and numbers are always valid JSON.
pub fn mint(
    config: &JwtConfig,
    claims: &TokenClaims,
) -> Result<String, jsonwebtoken::errors::Error> {
    let mut payload = Map::new();
    let mut insert = |name: &str, value: Value| payload.insert(name.to_owned(), value);
    if let Some(owner) = &claims.owner {
        insert(&config.owner_claim, owner.as_str().into());
    }
    if let Some(scopes) = claims.scopes {
        insert(&config.scope_claim, scopes.to_string().into());
    }
    if !claims.jobs.is_empty() {
        insert(&config.jobs_claim, claims.jobs.clone().into());
    }
    if let Some(issuer) = &config.issuer {
        insert("iss", issuer.as_str().into());
    }
    if let Some(audience) = &config.audience {
        insert("aud", audience.as_str().into());
    }
    insert("iat", claims.issued_at.into());
    insert("exp", claims.expires_at.into());
    let key = EncodingKey::from_secret(config.secret.expose().as_bytes());
    encode(&Header::new(algorithm(config.algorithm)), &payload, &key)
}

/// Whether a credential looks like a JWT: three parts in base64url, of which the last may be empty (`alg` none).
pub(super) fn is_shaped_like_one(credential: &[u8]) -> bool {
    let parts: Vec<_> = credential.split(|byte| *byte == b'.').collect();
    let is_base64url = |part: &&[u8]| {
        part.iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
    };
    parts.len() == 3
        && !parts[0].is_empty()
        && !parts[1].is_empty()
        && parts.iter().all(is_base64url)
}

fn algorithm(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::Hs256 => Algorithm::HS256,
    }
}

/// A claim that is a string, if it is there at all; null is no string.
fn text_claim<'c>(
    claims: &'c Map<String, Value>,
    name: &str,
) -> Result<Option<&'c str>, TokenRefusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenRefusal::ClaimType(name.to_owned())),
    }
}

/// A list of strings, or one string with spaces between the entries, as the scope claim has it.
fn jobs_claim(claims: &Map<String, Value>, name: &str) -> Result<Vec<JobPattern>, TokenRefusal> {
    let wrong_type = || TokenRefusal::ClaimType(name.to_owned());
    match claims.get(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => {
            Ok(text.split_ascii_whitespace().map(JobPattern::new).collect())
        }
        Some(Value::Array(entries)) => entries
            .iter()
            .map(|entry| entry.as_str().map(JobPattern::new).ok_or_else(wrong_type))
            .collect(),
        Some(_) => Err(wrong_type()),
    }
}

/// `exp` in whole seconds; a fraction is dropped, since a stream must not outlive its token.
fn expiry(claims: &Map<String, Value>) -> Result<u64, TokenRefusal> {
    let exp = claims
        .get("exp")
        .and_then(|exp| exp.as_u64().or_else(|| exp.as_f64().map(|exp| exp as u64)));
    exp.ok_or_else(|| TokenRefusal::ClaimType("exp".to_owned()))
}
