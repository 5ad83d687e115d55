//! What the server signs itself: watch tokens, tickets and cookies, each for one job.
//!
//! All are compact JWS (RFC 7515) with HS256, under keys drawn from one secret of the server's own, one for each
//! sort. So none is ever taken for another sort, nor for a user's token, whatever its `typ` says; the `typ` is there
//! all the same, to say so early (RFC 8725, section 3.11).

use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{Account, Admission, Bond};

/// How long a ticket may wait for its use, in seconds.
pub const TICKET_SECONDS: u64 = 30;

/// How long a watch token outlives its job's end, in seconds.
pub const WATCH_TOKEN_GRACE_SECONDS: u64 = 3_600;

/// What the `typ` of everything begins with that is signed here.
const TYPE_PREFIX: &str = "progressd-";

/// The `typ` of a watch token.
const WATCH_TOKEN_TYPE: &str = "progressd-watch+jwt";

/// Signs and reads passes; made from the secret that all nodes share.
pub struct PassMint {
    watch_token: Signer,
    ticket: Signer,
    cookie: Signer,
    fingerprint: hmac::Key,
}

/// What a ticket buys and a cookie carries on: reading one job, on somebody's credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The job.
    pub bond: Bond,
    /// Unix time in seconds at which the credential ends that bought it; `None` is never.
    pub expires_at: Option<u64>,
    /// Whom limits count the bearer as: the buyer.
    pub account: Option<Account>,
    /// A keyed hash of the entry that let the buyer in.
    fingerprint: String,
}

/// A ticket that was presented; it may have been used before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Its number, under which its use is noted.
    pub id: Uuid,
    /// What it buys.
    pub pass: Pass,
}

/// The claims of all three sorts.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    /// The job's id.
    job: String,
    /// Its incarnation.
    inc: Uuid,
    /// The ticket's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<Uuid>,
    /// The fingerprint of the buyer's admission.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The buyer's account.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<Account>,
    /// When it was made, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    /// When the credential ends that bought it.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

struct Signer {
    kind: &'static str,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl PassMint {
    /// Draws the keys from the secret.
    pub fn new(secret: &[u8]) -> Self {
        Self {
            watch_token: Signer::new(secret, WATCH_TOKEN_TYPE),
            ticket: Signer::new(secret, "progressd-ticket+jwt"),
            cookie: Signer::new(secret, "progressd-cookie+jwt"),
            fingerprint: hmac::Key::new(hmac::HMAC_SHA256, derived(secret, "fingerprint").as_ref()),
        }
    }

    /// Whether a `typ` belongs to something that is signed here, and therefore to no user's token.
    pub(super) fn is_own_type(kind: &str) -> bool {
        let beginning = kind.as_bytes().get(..TYPE_PREFIX.len());
        beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(TYPE_PREFIX.as_bytes()))
    }

    /// Whether a credential says that it is a watch token: then it is taken for nothing else.
    pub fn claims_to_be_watch_token(credential: &[u8]) -> bool {
        let header = decode_header(credential).ok();
        let kind = header.and_then(|header| header.typ);
        kind.as_deref() == Some(WATCH_TOKEN_TYPE)
    }

    /// A token that reads this job alone. `now` is Unix time in seconds.
    pub fn watch_token(&self, bond: &Bond, now: u64) -> String {
        self.watch_token.sign(&Claims {
            iat: Some(now),
            ..Claims::of(bond)
        })
    }

    /// What a watch token reads; `None` when it is none of ours. Whether its time is over is for the job to say.
    pub fn read_watch_token(&self, token: &[u8]) -> Option<Bond> {
        self.watch_token.read::<Claims>(token).map(Claims::bond)
    }

    /// A ticket for the job, and for how many seconds it may be used.
    pub fn ticket(
        &self,
        bond: &Bond,
        admission: &Admission,
        account: Option<Account>,
        expires_at: Option<u64>,
        id: Uuid,
        now: u64,
    ) -> (String, u64) {
        let seconds = expires_at.map_or(TICKET_SECONDS, |end| {
            end.saturating_sub(now).min(TICKET_SECONDS)
        });
        let ticket = self.ticket.sign(&Claims {
            jti: Some(id),
            key: Some(self.fingerprint(admission)),
            by: account,
            exp: Some(now + seconds),
            until: expires_at,
            ..Claims::of(bond)
        });
        (ticket, seconds)
    }

    /// A ticket that holds at `now`.
    pub fn read_ticket(&self, text: &[u8], now: u64) -> Option<Ticket> {
        let claims = self.ticket.read::<Claims>(text)?;
        let id = claims.jti?;
        if claims.exp? <= now {
            return None;
        }
        let pass = claims.pass(now)?;
        Some(Ticket { id, pass })
    }

    /// The cookie's value for who has used a ticket.
    pub fn cookie(&self, pass: &Pass) -> String {
        self.cookie.sign(&Claims {
            key: Some(pass.fingerprint.clone()),
            by: pass.account,
            until: pass.expires_at,
            ..Claims::of(&pass.bond)
        })
    }

    /// A cookie's value that holds at `now`.
    pub fn read_cookie(&self, text: &[u8], now: u64) -> Option<Pass> {
        self.cookie.read::<Claims>(text)?.pass(now)
    }

    /// Whether the pass was bought by somebody whom this entry let in.
    pub fn was_bought_by(&self, pass: &Pass, admission: &Admission) -> bool {
        let fingerprint = self.fingerprint(admission);
        constant_time::verify_slices_are_equal(fingerprint.as_bytes(), pass.fingerprint.as_bytes())
            .is_ok()
    }

    fn fingerprint(&self, admission: &Admission) -> String {
        let tag = hmac::sign(&self.fingerprint, admission.digest());
        URL_SAFE_NO_PAD.encode(&tag.as_ref()[..16])
    }
}

impl Claims {
    fn of(bond: &Bond) -> Self {
        Self {
            job: bond.job_id.clone(),
            inc: bond.incarnation,
            jti: None,
            key: None,
            by: None,
            iat: None,
            exp: None,
            until: None,
        }
    }

    fn bond(self) -> Bond {
        Bond {
            job_id: self.job,
            incarnation: self.inc,
        }
    }

    /// Unless the credential that bought it has ended.
    fn pass(mut self, now: u64) -> Option<Pass> {
        let expires_at = self.until;
        if expires_at.is_some_and(|end| end <= now) {
            return None;
        }
        let fingerprint = self.key.take()?;
        let account = self.by;
        Some(Pass {
            account,
            bond: self.bond(),
            expires_at,
            fingerprint,
        })
    }
}

impl Signer {
    fn new(secret: &[u8], kind: &'static str) -> Self {
        let key = derived(secret, kind);
        Self {
            kind,
            encoding: EncodingKey::from_secret(key.as_ref()),
            decoding: DecodingKey::from_secret(key.as_ref()),
        }
    }

    fn sign(&self, claims: &Claims) -> String {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(self.kind.to_owned());
        encode(&header, claims, &self.encoding).expect("claims of strings and numbers are JSON")
    }

    fn read<T: DeserializeOwned>(&self, token: &[u8]) -> Option<T> {
        // Times are looked at by whoever reads: they mean different things.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let token = decode::<T>(token, &self.decoding, &validation).ok()?;
        (token.header.typ.as_deref() == Some(self.kind)).then_some(token.claims)
    }
}

/// A key of its own for each use of the secret.
fn derived(secret: &[u8], purpose: &str) -> hmac::Tag {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::sign(&key, format!("progressd {purpose}").as_bytes())
}

impl fmt::Debug for PassMint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PassMint([redacted])")
    }
}

#[cfg(test)]
mod tests;
