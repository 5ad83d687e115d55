//! Public keys as an operator writes them: PEM text, checked against the algorithm that it is for.
//!
//! Every mistake is told apart, since the text comes from people: the private half, a certificate, and the key of
//! another algorithm look alike to whoever pastes them.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use jsonwebtoken::DecodingKey;
use simple_asn1::{ASN1Block, OID, oid};

use crate::config::JwtAlgorithm;

/// The shortest RSA modulus: RFC 7518, section 3.3.
pub(super) const LEAST_RSA_BITS: u64 = 2_048;

/// The longest that the library verifies with, so that no signature costs more time than it may.
pub(super) const MOST_RSA_BITS: u64 = 8_192;

/// Why a text is no key for an algorithm. The displayed phrase completes a sentence that begins with the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyMistake {
    /// No PEM, several blocks of it, or no key inside.
    #[error("is not one PEM block that begins with -----BEGIN PUBLIC KEY-----")]
    Unreadable,
    /// The half that only the issuer may have.
    #[error(
        "is a private key: the server needs the public one alone, and this one should be replaced if others could read the file"
    )]
    Private,
    /// A certificate, of which only the key would be looked at.
    #[error("is a certificate: write the key in it (`openssl x509 -pubkey -noout`)")]
    Certificate,
    /// Another sort of key, or another curve.
    #[error("is {0}, but {1} needs {2}")]
    OtherKind(&'static str, JwtAlgorithm, &'static str),
    /// RSA with fewer bits than RFC 7518 asks for, or more than anybody uses.
    #[error("is an RSA key of {0} bits: it must have 2048 to 8192")]
    RsaSize(u64),
}

/// What a key is, as its text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa(u64),
    P256,
    OtherCurve,
    Ed25519,
    Other,
}

/// Reads the PEM text of a public key for `algorithm`: SubjectPublicKeyInfo (RFC 5280), or PKCS #1 for RSA.
///
/// # Errors
/// The text is something else.
pub fn read_public_key(algorithm: JwtAlgorithm, text: &str) -> Result<DecodingKey, KeyMistake> {
    let blocks = pem::parse_many(text).map_err(|_| KeyMistake::Unreadable)?;
    let [block] = blocks.as_slice() else {
        // Somebody who pastes a pair has pasted a private key.
        let has_private = blocks.iter().any(|block| block.tag().contains("PRIVATE"));
        return Err(if has_private {
            KeyMistake::Private
        } else {
            KeyMistake::Unreadable
        });
    };
    let der = block.contents();
    let kind = match block.tag() {
        "PUBLIC KEY" => kind_of_subject_key(der),
        "RSA PUBLIC KEY" => rsa_bits(der).map(Kind::Rsa),
        tag if tag.contains("PRIVATE") => return Err(KeyMistake::Private),
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
            return Err(KeyMistake::Certificate);
        }
        _ => None,
    };
    let kind = kind.ok_or(KeyMistake::Unreadable)?;
    let (is_sound, key) = match (algorithm, kind) {
        (JwtAlgorithm::Rs256, Kind::Rsa(bits)) => {
            if !(LEAST_RSA_BITS..=MOST_RSA_BITS).contains(&bits) {
                return Err(KeyMistake::RsaSize(bits));
            }
            let is_sound = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).is_ok();
            (is_sound, DecodingKey::from_rsa_der(der))
        }
        (JwtAlgorithm::Es256, Kind::P256) => {
            let is_sound = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der).is_ok();
            (is_sound, DecodingKey::from_ec_der(der))
        }
        (JwtAlgorithm::EdDsa, Kind::Ed25519) => {
            let is_sound = ParsedPublicKey::new(&ED25519, der).is_ok();
            (is_sound, DecodingKey::from_ed_der(der))
        }
        (algorithm, kind) => {
            let needs = needed_kind(algorithm);
            return Err(KeyMistake::OtherKind(kind.name(), algorithm, needs));
        }
    };
    is_sound.then_some(key).ok_or(KeyMistake::Unreadable)
}

fn needed_kind(algorithm: JwtAlgorithm) -> &'static str {
    match algorithm {
        JwtAlgorithm::Hs256 => "a secret",
        JwtAlgorithm::Rs256 => "an RSA key",
        JwtAlgorithm::Es256 => "a key on the curve P-256",
        JwtAlgorithm::EdDsa => "an Ed25519 key",
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Rsa(_) => "an RSA key",
            Self::P256 => "a key on the curve P-256",
            Self::OtherCurve => "a key on another curve",
            Self::Ed25519 => "an Ed25519 key",
            Self::Other => "a key of another sort",
        }
    }
}

/// SubjectPublicKeyInfo: `SEQUENCE { SEQUENCE { algorithm, parameters }, BIT STRING }`.
fn kind_of_subject_key(der: &[u8]) -> Option<Kind> {
    let blocks = simple_asn1::from_der(der).ok()?;
    let [ASN1Block::Sequence(_, parts)] = blocks.as_slice() else {
        return None;
    };
    let [
        ASN1Block::Sequence(_, identifier),
        ASN1Block::BitString(_, _, key),
    ] = parts.as_slice()
    else {
        return None;
    };
    let ASN1Block::ObjectIdentifier(_, algorithm) = identifier.first()? else {
        return None;
    };
    let is = |known: &OID| algorithm == known;
    // RFC 8017, appendix A.1; RFC 5480, section 2.1.1; RFC 8410, section 3.
    if is(&oid!(1, 2, 840, 113_549, 1, 1, 1)) {
        return rsa_bits(key).map(Kind::Rsa);
    }
    if is(&oid!(1, 2, 840, 10_045, 2, 1)) {
        let p256 = oid!(1, 2, 840, 10_045, 3, 1, 7);
        let is_p256 = matches!(identifier.get(1), Some(ASN1Block::ObjectIdentifier(_, curve)) if *curve == p256);
        return Some(if is_p256 {
            Kind::P256
        } else {
            Kind::OtherCurve
        });
    }
    Some(if is(&oid!(1, 3, 101, 112)) {
        Kind::Ed25519
    } else {
        Kind::Other
    })
}

/// The size of the modulus of `RSAPublicKey ::= SEQUENCE { modulus, exponent }`.
fn rsa_bits(der: &[u8]) -> Option<u64> {
    let blocks = simple_asn1::from_der(der).ok()?;
    let [ASN1Block::Sequence(_, numbers)] = blocks.as_slice() else {
        return None;
    };
    match numbers.as_slice() {
        [ASN1Block::Integer(_, modulus), ASN1Block::Integer(..)] => Some(modulus.bits()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
