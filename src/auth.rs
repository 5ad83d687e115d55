//! Credentials in, a [`Principal`] out: who asks, and what they may.
//!
//! Knows neither HTTP frameworks nor jobs' content. A credential is an API key or a JWT; which of the two it was
//! taken for decides the words of the refusal and nothing else, so that a refusal tells nothing about the keys.

mod account;
mod admission;
mod api_key;
mod claims;
mod jwks;
mod jwt;
mod pass;
mod principal;
mod public_key;
mod scope;
mod verified;

use std::{fmt, sync::Arc};

use futures_util::stream::{FuturesUnordered, StreamExt as _};

use crate::config::{AuthConfig, AuthMode};

pub use self::{
    account::Account,
    admission::{Admission, Revoked},
    api_key::{ApiKey, KeyHash},
    jwt::{TokenClaims, TokenRefusal, mint},
    pass::{Pass, PassMint, TICKET_SECONDS, Ticket, WATCH_TOKEN_GRACE_SECONDS},
    principal::{Bond, Forbidden, JobPattern, Principal},
    public_key::{KeyMistake, read_public_key},
    scope::{Scope, Scopes, UnknownScope},
};

use self::jwt::{JwtVerifier, PresentedToken};

/// Checks credentials against the configured keys; built once for each configuration, shared by all requests.
pub struct Authenticator {
    mode: AuthMode,
    everybody: Admission,
    api_keys: Vec<ApiKeyEntry>,
    verifiers: Vec<Arc<JwtVerifier>>,
    /// How often a reload has changed which verifiers there are, or their order. What a verifier remembers holds for
    /// one order: in another an earlier one may accept the token.
    generation: u64,
}

/// Why a request is not let in. The displayed text is the message of the 401 answer.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No credential, or an opaque one that is no API key of ours.
    #[error("Invalid API key")]
    InvalidApiKey,
    /// Something shaped like a JWT that does not hold. The reason is for the log, never for the answer.
    #[error("Invalid token")]
    InvalidToken(#[from] TokenRefusal),
}

struct ApiKeyEntry {
    hash: KeyHash,
    principal: Principal,
}

impl Authenticator {
    /// Takes the keys of a checked configuration.
    pub fn new(config: &AuthConfig) -> Self {
        Self::build(config, None)
    }

    /// Takes those of a newer configuration. Entries that have not changed stay the same ones, with the keys that
    /// were read from their issuers, which are read again; [`Authenticator::revoke_all_but`] ends the others.
    #[must_use]
    pub fn renewed(&self, config: &AuthConfig) -> Self {
        Self::build(config, Some(self))
    }

    fn build(config: &AuthConfig, older: Option<&Self>) -> Self {
        let kept = |new: Admission| {
            let known = older.and_then(|older| older.find_admission(|known| *known == new));
            known.unwrap_or(new)
        };
        let api_keys = config.api_keys.iter().map(|key| {
            let admission = kept(Admission::of_api_key(key));
            let (name, owner) = (key.name.clone(), key.owner.clone());
            ApiKeyEntry {
                hash: key.sha256,
                principal: Principal::of_api_key(name, key.scopes, owner, admission),
            }
        });
        let verifiers = config.jwt.iter().map(|jwt| {
            let admission = Admission::of_jwt(jwt);
            let mut known = older.iter().flat_map(|older| &older.verifiers);
            match known.find(|known| *known.admission() == admission) {
                Some(known) => {
                    known.reread();
                    Arc::clone(known)
                }
                None => Arc::new(JwtVerifier::new(jwt)),
            }
        });
        let verifiers: Vec<_> = verifiers.collect();
        let generation = older.map_or(0, |older| {
            let is_same = older.verifiers.len() == verifiers.len()
                && older
                    .verifiers
                    .iter()
                    .zip(&verifiers)
                    .all(|(old, new)| Arc::ptr_eq(old, new));
            older.generation + u64::from(!is_same)
        });
        Self {
            mode: config.resolved(),
            everybody: kept(Admission::of_everybody()),
            api_keys: api_keys.collect(),
            verifiers,
            generation,
        }
    }

    /// Ends whatever an entry let in that `newer` does not have.
    pub fn revoke_all_but(&self, newer: &Self) {
        for admission in self.admissions() {
            if newer.find_admission(|known| known == admission).is_none() {
                admission.revoke();
            }
        }
    }

    /// Whether credentials are looked at.
    pub fn mode(&self) -> AuthMode {
        self.mode
    }

    /// Who asks, on a server that runs open.
    pub fn everybody(&self) -> Principal {
        Principal::open(self.everybody.clone())
    }

    /// The entry of the present configuration for which `is_it` holds.
    pub fn find_admission(&self, is_it: impl Fn(&Admission) -> bool) -> Option<Admission> {
        self.admissions()
            .find(|admission| is_it(admission))
            .cloned()
    }

    /// Takes a credential, an API key or a JWT, without a scheme before it. May wait, a few seconds at most, for the
    /// keys of an issuer.
    ///
    /// # Errors
    /// It is no configured API key, and no JWT that a configured key verifies.
    pub async fn authenticate(&self, credential: &[u8]) -> Result<Principal, AuthError> {
        let hash = KeyHash::of(credential);
        match self.recognize(&hash) {
            Some(principal) => Ok(principal),
            None => self.verify(credential, hash).await,
        }
    }

    /// The same for a JWT alone.
    ///
    /// # Errors
    /// It is no JWT that a configured key verifies.
    pub async fn authenticate_token(&self, credential: &[u8]) -> Result<Principal, AuthError> {
        let hash = KeyHash::of(credential);
        match self.recall(&hash) {
            Some(principal) => Ok(principal),
            None => self.verify(credential, hash).await,
        }
    }

    /// Whom the credential of that hash lets in, if it needs no verification: an API key, or a JWT that has been
    /// verified.
    pub fn recognize(&self, hash: &KeyHash) -> Option<Principal> {
        self.find_api_key(hash).or_else(|| self.recall(hash))
    }

    /// Whom a JWT lets in that is not recognized by its hash.
    ///
    /// # Errors
    /// It is no JWT that a configured key verifies.
    pub async fn verify(&self, credential: &[u8], hash: KeyHash) -> Result<Principal, AuthError> {
        if !is_shaped_like_token(credential) {
            return Err(AuthError::InvalidApiKey);
        }
        let token = PresentedToken::read(credential, hash)?;
        let mut refusal = TokenRefusal::NoVerifier;
        // While no earlier verifier could ever accept the token, whatever keys or time bring.
        let mut generation = Some(self.generation);
        for verifier in &self.verifiers {
            match verifier.verify(&token, generation) {
                Ok(principal) => return Ok(principal),
                Err(reason) => {
                    generation = generation.filter(|_| verifier.never_accepts(&token, &reason));
                    refusal = reason;
                }
            }
        }
        // Only now, so that nobody waits for an issuer whose token it is not; and for all of them at once, so that one
        // that is slow keeps nobody from the keys of another.
        let token = &token;
        let looks = self.verifiers.iter().map(|verifier| async move {
            let may_hold = verifier.look_again(token).await;
            // It is remembered by the next request, when the order of the verifiers decides again.
            may_hold.then(|| verifier.verify(token, None))
        });
        let mut looks: FuturesUnordered<_> = looks.collect();
        while let Some(outcome) = looks.next().await {
            match outcome {
                Some(Ok(principal)) => return Ok(principal),
                Some(Err(reason)) => refusal = reason,
                None => {}
            }
        }
        Err(refusal.into())
    }

    /// Compares with every key, each in constant time, so that the time tells neither which key came near nor how near.
    fn find_api_key(&self, hash: &KeyHash) -> Option<Principal> {
        let mut found = None;
        for entry in &self.api_keys {
            if entry.hash.is_same(hash) {
                found = Some(&entry.principal);
            }
        }
        found.cloned()
    }

    /// Whom a token lets in that has been verified.
    fn recall(&self, hash: &KeyHash) -> Option<Principal> {
        let mut verifiers = self.verifiers.iter();
        verifiers.find_map(|verifier| verifier.recall(hash, self.generation))
    }

    /// What lets somebody in at present: everybody's own on an open server, or those of the keys.
    fn admissions(&self) -> impl Iterator<Item = &Admission> {
        let everybody = (self.mode == AuthMode::Open).then_some(&self.everybody);
        let of_keys = self.api_keys.iter();
        let of_keys = of_keys.filter_map(|entry| entry.principal.admission());
        let of_tokens = self.verifiers.iter().map(|verifier| verifier.admission());
        everybody.into_iter().chain(of_keys).chain(of_tokens)
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.api_keys.iter().map(|entry| entry.principal.name());
        formatter
            .debug_struct("Authenticator")
            .field("mode", &self.mode)
            .field("api_keys", &names.collect::<Vec<_>>())
            .field("verifiers", &self.verifiers)
            .finish()
    }
}

/// Whether a credential looks like a JWT: three parts in base64url, of which the last may be empty (`alg` none).
pub fn is_shaped_like_token(credential: &[u8]) -> bool {
    jwt::is_shaped_like_one(credential)
}

/// The credential of `Bearer <credential>`; `None` for another scheme, an empty credential, or two of them.
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer";
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    let credential = rest.trim_ascii();
    let is_bearer = scheme.eq_ignore_ascii_case(SCHEME) && rest.first() == Some(&b' ');
    let is_single = !credential.is_empty() && credential.iter().all(u8::is_ascii_graphic);
    (is_bearer && is_single).then_some(credential)
}

#[cfg(test)]
mod tests;
