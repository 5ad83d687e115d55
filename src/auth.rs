//! Credentials in, a [`Principal`] out: who asks, and what they may.
//!
//! Knows neither HTTP frameworks nor jobs' content. A credential is an API key or a JWT; which of the two it was
//! taken for decides the words of the refusal and nothing else, so that a refusal tells nothing about the keys.

mod api_key;
mod jwt;
mod principal;
mod scope;

use crate::config::{AuthConfig, AuthMode};

pub use self::{
    api_key::{ApiKey, KeyHash},
    jwt::{TokenClaims, TokenRefusal, mint},
    principal::{Forbidden, JobPattern, Principal},
    scope::{Scope, Scopes, UnknownScope},
};

use self::jwt::JwtVerifier;

/// Checks credentials against the configured keys; built once, shared by all requests.
#[derive(Debug)]
pub struct Authenticator {
    mode: AuthMode,
    api_keys: Vec<ApiKeyEntry>,
    verifiers: Vec<JwtVerifier>,
}

/// Why a request is not let in. The displayed text is the message of the 401 answer.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No credential, several, or an opaque one that is no API key of ours.
    #[error("Invalid API key")]
    InvalidApiKey,
    /// Something shaped like a JWT that does not hold. The reason is for the log, never for the answer.
    #[error("Invalid token")]
    InvalidToken(#[source] TokenRefusal),
}

#[derive(Debug)]
struct ApiKeyEntry {
    hash: KeyHash,
    principal: Principal,
}

impl Authenticator {
    /// Takes the keys of a checked configuration.
    pub fn new(config: &AuthConfig) -> Self {
        let api_keys = config.api_keys.iter().map(|key| ApiKeyEntry {
            hash: key.sha256,
            principal: Principal::of_api_key(key.name.clone(), key.scopes, key.owner.clone()),
        });
        Self {
            mode: config.resolved(),
            api_keys: api_keys.collect(),
            verifiers: config.jwt.iter().map(JwtVerifier::new).collect(),
        }
    }

    /// Whether credentials are looked at.
    pub fn mode(&self) -> AuthMode {
        self.mode
    }

    /// Takes the values of all `Authorization` headers of a request.
    ///
    /// In open mode they are not looked at, so that a client that sends a credential works there too.
    ///
    /// # Errors
    /// No header, more than one, another scheme than `Bearer` (in any case, RFC 9110, section 11.1), or a
    /// credential that is no configured API key, and no JWT that a configured key verifies.
    pub fn authenticate<'h>(
        &self,
        authorization: impl IntoIterator<Item = &'h [u8]>,
    ) -> Result<Principal, AuthError> {
        if self.mode == AuthMode::Open {
            return Ok(Principal::open());
        }
        // Of two headers, a proxy in between may have checked the other one.
        let mut values = authorization.into_iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(AuthError::InvalidApiKey);
        };
        self.authenticate_credential(bearer(value).ok_or(AuthError::InvalidApiKey)?)
    }

    /// Takes the credential itself, an API key or a JWT, without a scheme before it.
    fn authenticate_credential(&self, credential: &[u8]) -> Result<Principal, AuthError> {
        if let Some(principal) = self.find_api_key(credential) {
            return Ok(principal);
        }
        if !jwt::is_shaped_like_one(credential) {
            return Err(AuthError::InvalidApiKey);
        }
        let mut refusal = TokenRefusal::NoVerifier;
        for verifier in &self.verifiers {
            match verifier.verify(credential) {
                Ok(principal) => return Ok(principal),
                Err(reason) => refusal = reason,
            }
        }
        Err(AuthError::InvalidToken(refusal))
    }

    /// Compares with every key, each in constant time, so that the time tells neither which key came near nor how near.
    fn find_api_key(&self, credential: &[u8]) -> Option<Principal> {
        let hash = KeyHash::of(credential);
        let mut found = None;
        for entry in &self.api_keys {
            if entry.hash.is_same(&hash) {
                found = Some(&entry.principal);
            }
        }
        found.cloned()
    }
}

/// The credential of `Bearer <credential>`; `None` for another scheme, an empty credential, or two of them.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer";
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    let credential = rest.trim_ascii();
    let is_bearer = scheme.eq_ignore_ascii_case(SCHEME) && rest.first() == Some(&b' ');
    let is_single = !credential.is_empty() && credential.iter().all(u8::is_ascii_graphic);
    (is_bearer && is_single).then_some(credential)
}

#[cfg(test)]
mod tests;
