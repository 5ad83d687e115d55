//! JSON Web Tokens (RFC 7519): verified with one fixed algorithm per key, and minted for `progressd token`.

use std::fmt;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, dangerous::insecure_decode_claims,
    decode, decode_header, encode, errors::ErrorKind,
};
use serde_json::{Map, Value};

use super::{
    Admission, JobPattern, KeyHash, PassMint, Principal, Scopes, claims::Claims, jwks::Jwks,
    verified::VerifiedTokens,
};
use crate::config::{JwtAlgorithm, JwtConfig, KeySource};

/// The longest token that is looked at: as long as a whole header block by default.
const MOST_TOKEN_BYTES: usize = 16_384;

/// Verifies tokens with one key, or with those of one issuer.
pub(super) struct JwtVerifier {
    admission: Admission,
    keys: Keys,
    validation: Validation,
    config: JwtConfig,
}

/// A token whose header was read, and nothing believed yet.
pub(super) struct PresentedToken<'t> {
    text: &'t [u8],
    hash: KeyHash,
    header: Header,
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
    /// Longer than any token has reason to be.
    #[error("it is too long")]
    TooLong,
    /// The form, the algorithm, the signature, or one of `exp`, `nbf`, `iss`, `aud`.
    #[error("{}", phrase(.0))]
    Invalid(#[from] jsonwebtoken::errors::Error),
    /// The header has a `crit` entry, and we understand no extension (RFC 7515, section 4.1.11).
    #[error("the header asks for an extension")]
    CriticalHeader,
    /// The header names something that this server signs for itself.
    #[error("it is no token of a user")]
    OwnType,
    /// No key has the name that the header gives, or it gives none and there are several.
    #[error("no key fits the `kid`")]
    UnknownKey,
    /// The claim has another type than it must have.
    #[error("the claim `{0}` has a wrong type")]
    ClaimType(String),
    /// In a query: it may write, lives too long, or the call is none that reads.
    #[error("it may not stand in a query")]
    NotForQueries,
    /// A watch token, ticket or cookie that does not hold, or not here.
    #[error("it does not hold for this call")]
    Pass,
    /// It ended while it was in use.
    #[error("it has ended meanwhile")]
    Ended,
}

enum Keys {
    Fixed(Box<DecodingKey>, VerifiedTokens),
    Jwks(Jwks),
}

impl<'t> PresentedToken<'t> {
    /// Reads the header, and refuses what no key could make good.
    pub(super) fn read(text: &'t [u8], hash: KeyHash) -> Result<Self, TokenRefusal> {
        if text.len() > MOST_TOKEN_BYTES {
            return Err(TokenRefusal::TooLong);
        }
        let header = decode_header(text)?;
        if header.crit.is_some() {
            return Err(TokenRefusal::CriticalHeader);
        }
        if header.typ.as_deref().is_some_and(PassMint::is_own_type) {
            return Err(TokenRefusal::OwnType);
        }
        Ok(Self { text, hash, header })
    }
}

impl JwtVerifier {
    /// From an entry of a checked configuration; begins to read the keys of an issuer.
    pub(super) fn new(config: &JwtConfig) -> Self {
        let algorithm = config.algorithm;
        let mut validation = Validation::new(library_algorithm(algorithm));
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
        let keys = match config
            .source()
            .expect("a configuration is checked before it is used")
        {
            KeySource::Fixed(key) => Keys::Fixed(Box::new(key), VerifiedTokens::default()),
            KeySource::Jwks(location) => Keys::Jwks(Jwks::start(location, algorithm)),
        };
        Self {
            admission: Admission::of_jwt(config),
            keys,
            validation,
            config: config.clone(),
        }
    }

    /// What lets the bearers in.
    pub(super) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Has the keys of an issuer read again.
    pub(super) fn reread(&self) {
        if let Keys::Jwks(jwks) = &self.keys {
            jwks.reread();
        }
    }

    /// Who the token of that hash says it is, when the keys that are known now have verified it in that generation of
    /// the configuration.
    pub(super) fn recall(&self, hash: &KeyHash, generation: u64) -> Option<Principal> {
        match &self.keys {
            Keys::Fixed(_, verified) => verified.recall(hash, generation),
            Keys::Jwks(jwks) => jwks.keys().verified.recall(hash, generation),
        }
    }

    /// Who the token says it is, by the keys that are known now. `generation`: in which it is remembered, if it is.
    pub(super) fn verify(
        &self,
        token: &PresentedToken<'_>,
        generation: Option<u64>,
    ) -> Result<Principal, TokenRefusal> {
        // Before a key is looked for: a key is for its algorithm alone (RFC 8725, section 3.1).
        if token.header.alg != library_algorithm(self.config.algorithm) {
            return Err(wrong_algorithm());
        }
        match &self.keys {
            Keys::Fixed(key, verified) => {
                let principal = self.verify_with(key, token)?;
                verified.remember(token.text, token.hash, &principal, generation);
                Ok(principal)
            }
            Keys::Jwks(jwks) => {
                let keys = jwks.keys();
                let mut refusal = TokenRefusal::UnknownKey;
                for key in keys.candidates(token.header.kid.as_deref()) {
                    match self.verify_with(key, token) {
                        Ok(principal) => {
                            let verified = &keys.verified;
                            verified.remember(token.text, token.hash, &principal, generation);
                            return Ok(principal);
                        }
                        Err(reason) => refusal = reason,
                    }
                }
                Err(refusal)
            }
        }
    }

    /// Whether a token that was refused for `reason` is refused for ever: it is for another algorithm or of another
    /// issuer, or its signature is not by the only key that there is.
    pub(super) fn never_accepts(&self, token: &PresentedToken<'_>, reason: &TokenRefusal) -> bool {
        let is_forged = matches!(
            reason,
            TokenRefusal::Invalid(error) if *error.kind() == ErrorKind::InvalidSignature
        );
        let has_one_key = matches!(self.keys, Keys::Fixed(..));
        (is_forged && has_one_key)
            || token.header.alg != library_algorithm(self.config.algorithm)
            || !self.is_of_this_issuer(token)
    }

    /// Waits, if need be, until the key with the token's `kid` may be known; says whether to try once more.
    pub(super) async fn look_again(&self, token: &PresentedToken<'_>) -> bool {
        let Keys::Jwks(jwks) = &self.keys else {
            return false;
        };
        let is_for_this = token.header.alg == library_algorithm(self.config.algorithm);
        let kid = token.header.kid.as_deref();
        if !is_for_this
            || jwks.keys().candidates(kid).next().is_some()
            || !self.is_of_this_issuer(token)
        {
            return false;
        }
        jwks.look_again().await;
        jwks.keys().candidates(kid).next().is_some()
    }

    /// Whether the token names the issuer of this entry, or the entry has none. Nothing of it is believed yet: it says
    /// only whom to ask.
    fn is_of_this_issuer(&self, token: &PresentedToken<'_>) -> bool {
        let Some(issuer) = &self.config.issuer else {
            return true;
        };
        let claims = insecure_decode_claims::<Claims>(token.text);
        claims.is_ok_and(|Claims(claims)| match claims.get("iss") {
            Some(Value::Array(names)) => names.iter().any(|name| name == issuer),
            name => name.is_some_and(|name| name == issuer),
        })
    }

    fn verify_with(
        &self,
        key: &DecodingKey,
        token: &PresentedToken<'_>,
    ) -> Result<Principal, TokenRefusal> {
        let claims = decode::<Claims>(token.text, key, &self.validation)?
            .claims
            .0;
        let owner = match text_claim(&claims, &self.config.owner_claim)? {
            Some("") => return Err(TokenRefusal::ClaimType(self.config.owner_claim.clone())),
            owner => owner.map(str::to_owned),
        };
        let scopes = text_claim(&claims, &self.config.scope_claim)?
            .map_or(self.config.default_scope, Scopes::from_claim);
        let jobs = jobs_claim(&claims, &self.config.jobs_claim)?;
        let expires_at = expiry(&claims)?;
        let admission = self.admission.clone();
        Ok(Principal::of_token(
            owner, scopes, jobs, expires_at, admission,
        ))
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

/// Signs a token that a server with `config` among its `[[auth.jwt]]` accepts; `kid` names the key in a JWK Set.
///
/// # Errors
/// The key does not go with the algorithm.
pub fn mint(
    config: &JwtConfig,
    key: &EncodingKey,
    kid: Option<String>,
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
    let mut header = Header::new(library_algorithm(config.algorithm));
    header.kid = kid;
    encode(&header, &payload, key)
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

fn library_algorithm(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::Hs256 => Algorithm::HS256,
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Es256 => Algorithm::ES256,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

fn wrong_algorithm() -> TokenRefusal {
    jsonwebtoken::errors::Error::from(ErrorKind::InvalidAlgorithm).into()
}

/// What is wrong, without the library's own words where they quote the token.
fn phrase(error: &jsonwebtoken::errors::Error) -> String {
    match error.kind() {
        ErrorKind::Json(_) => "its JSON is malformed".to_owned(),
        ErrorKind::Base64(_) => "its base64url is malformed".to_owned(),
        ErrorKind::Utf8(_) => "it is not UTF-8".to_owned(),
        ErrorKind::InvalidRsaKey(_) | ErrorKind::Signing(_) | ErrorKind::Provider(_) => {
            "its signature cannot be checked".to_owned()
        }
        _ => error.to_string(),
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

impl fmt::Debug for PresentedToken<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PresentedToken([redacted])")
    }
}

/// `exp` in whole seconds; a fraction is dropped, since a stream must not outlive its token.
fn expiry(claims: &Map<String, Value>) -> Result<u64, TokenRefusal> {
    let exp = claims
        .get("exp")
        .and_then(|exp| exp.as_u64().or_else(|| exp.as_f64().map(|exp| exp as u64)));
    exp.ok_or_else(|| TokenRefusal::ClaimType("exp".to_owned()))
}
