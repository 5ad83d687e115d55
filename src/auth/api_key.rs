//! API keys: how they are made, and what is kept of them.

use std::{fmt, str::FromStr};

use aws_lc_rs::{constant_time, digest, error::Unspecified, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// What every key of ours begins with, so that a scanner for leaked secrets knows one.
const PREFIX: &str = "pgd_";

/// A new API key: `pgd_` and 256 random bits in base64url. Only its bearer keeps it; `Debug` does not show it.
pub struct ApiKey(String);

/// SHA-256 of an API key: 64 hexadecimal digits.
///
/// A plain hash is enough here, without salt and stretching: nobody guesses 256 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 64 hexadecimal digits")]
pub struct InvalidHash;

impl ApiKey {
    /// Draws a key.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn generate() -> Result<Self, Unspecified> {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes)?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The key itself, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What goes into the configuration.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.0.as_bytes())
    }
}

impl KeyHash {
    /// Hashes a credential.
    pub fn of(credential: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, credential);
        Self(digest.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
    }

    /// A number below `limit`, which is not 0, from bits that are as good as random.
    pub(super) fn index_below(&self, limit: usize) -> usize {
        let [first, second, third, fourth, ..] = self.0;
        u32::from_be_bytes([first, second, third, fourth]) as usize % limit
    }

    /// Compares in a time that does not depend on where the two differ.
    pub fn is_same(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl FromStr for KeyHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidHash)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_what_sha256sum_prints() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyHash::of(b"abc").to_string(), expected);
        assert_eq!(expected.to_uppercase().parse(), Ok(KeyHash::of(b"abc")));
    }

    #[test]
    fn a_new_key_is_url_safe_and_new_each_time() {
        let keys = [ApiKey::generate(), ApiKey::generate()]
            .map(|key| key.expect("random bytes are there"));
        assert_ne!(keys[0].expose(), keys[1].expose());
        for key in &keys {
            let random = key
                .expose()
                .strip_prefix("pgd_")
                .expect("the prefix is there");
            assert_eq!(
                URL_SAFE_NO_PAD.decode(random).map(|bytes| bytes.len()),
                Ok(32)
            );
            assert!(!format!("{key:?}").contains(random));
        }
    }

    #[test]
    fn only_64_hexadecimal_digits_are_a_hash() {
        for text in [
            String::new(),
            "0".repeat(63),
            "0".repeat(65),
            "0".repeat(66),
            "g".repeat(64),
        ] {
            assert_eq!(text.parse::<KeyHash>(), Err(InvalidHash), "{text}");
        }
    }
}
