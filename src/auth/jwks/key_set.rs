//! What is in a JWK Set: the keys that fit one algorithm; all others are passed over.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    auth::{
        public_key::{LEAST_RSA_BITS, MOST_RSA_BITS},
        verified::VerifiedTokens,
    },
    config::JwtAlgorithm,
};

/// Most keys of one issuer: a rotation has two or three.
const MOST_KEYS: usize = 100;

/// The keys that verify with one algorithm.
#[derive(Default)]
pub(in crate::auth) struct KeySet {
    entries: Vec<Entry>,
    /// What they have verified, which none of a newer reading needs to.
    pub(in crate::auth) verified: VerifiedTokens,
}

struct Entry {
    kid: Option<String>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// The members of a key that we know (RFC 7517, section 4, and RFC 7518, section 6).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl KeySet {
    /// Reads a set. Keys that do not fit, or that make no sense, are no mistake: an issuer serves others too.
    ///
    /// # Errors
    /// It is not `{"keys": […]}`.
    pub(super) fn parse(bytes: &[u8], algorithm: JwtAlgorithm) -> Result<Self, serde_json::Error> {
        let document: Document = serde_json::from_slice(bytes)?;
        let keys = document.keys.into_iter();
        let fitting = keys.filter_map(|key| {
            let jwk: Jwk = serde_json::from_value(key).ok()?;
            let key = jwk.key(algorithm)?;
            Some(Entry { kid: jwk.kid, key })
        });
        Ok(Self {
            entries: fitting.take(MOST_KEYS).collect(),
            verified: VerifiedTokens::default(),
        })
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The keys that a token with this `kid` may be signed with: those of that name, of which an issuer may have
    /// several (RFC 7517, section 4.5), or without a name the only one that there is.
    pub(in crate::auth) fn candidates(
        &self,
        kid: Option<&str>,
    ) -> impl Iterator<Item = &DecodingKey> {
        let is_only = self.entries.len() == 1;
        let fits = move |entry: &&Entry| match kid {
            Some(kid) => entry.kid.as_deref() == Some(kid),
            None => is_only,
        };
        self.entries.iter().filter(fits).map(|entry| &entry.key)
    }
}

impl Jwk {
    /// The key, when it is one for this algorithm.
    fn key(&self, algorithm: JwtAlgorithm) -> Option<DecodingKey> {
        let is_for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig");
        let may_verify = self
            .key_ops
            .as_ref()
            .is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        let names: &[&str] = match algorithm {
            // A secret that is published is none.
            JwtAlgorithm::Hs256 => return None,
            JwtAlgorithm::Rs256 => &["RS256"],
            JwtAlgorithm::Es256 => &["ES256"],
            // The second is its newer name (RFC 9864).
            JwtAlgorithm::EdDsa => &["EdDSA", "Ed25519"],
        };
        let is_for_this = self.alg.as_deref().is_none_or(|name| names.contains(&name));
        if !(is_for_signatures && may_verify && is_for_this) {
            return None;
        }
        match (algorithm, &*self.kty, self.crv.as_deref()) {
            (JwtAlgorithm::Rs256, "RSA", _) => self.rsa(),
            (JwtAlgorithm::Es256, "EC", Some("P-256")) => self.p256(),
            (JwtAlgorithm::EdDsa, "OKP", Some("Ed25519")) => self.ed25519(),
            _ => None,
        }
    }

    fn rsa(&self) -> Option<DecodingKey> {
        // Some issuers write a sign byte that does not belong there.
        let modulus = without_leading_zeros(member(&self.n)?);
        let exponent = without_leading_zeros(member(&self.e)?);
        let leading = modulus.first()?.leading_zeros();
        let bits = modulus.len() as u64 * 8 - u64::from(leading);
        let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
        // The exponent 1 would let everything pass.
        let is_sound = is_odd(&modulus) && is_odd(&exponent) && exponent != [1];
        ((LEAST_RSA_BITS..=MOST_RSA_BITS).contains(&bits) && is_sound)
            .then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
    }

    fn p256(&self) -> Option<DecodingKey> {
        let (x, y) = (member(&self.x)?, member(&self.y)?);
        // An uncompressed point (SEC 1, section 2.3.3), which must be on the curve.
        let point = [&[4], &*x, &*y].concat();
        let is_sound =
            x.len() == 32 && ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).is_ok();
        is_sound.then(|| DecodingKey::from_ec_der(&point))
    }

    fn ed25519(&self) -> Option<DecodingKey> {
        let x = member(&self.x)?;
        let is_sound = x.len() == 32 && ParsedPublicKey::new(&ED25519, &x).is_ok();
        is_sound.then(|| DecodingKey::from_ed_der(&x))
    }
}

fn member(text: &Option<String>) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text.as_deref()?).ok()?;
    (!bytes.is_empty()).then_some(bytes)
}

fn without_leading_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}
