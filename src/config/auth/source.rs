//! Where the key of a `[[auth.jwt]]` entry comes from: exactly one place, which fits the algorithm.

use std::path::PathBuf;

use jsonwebtoken::DecodingKey;
use reqwest::{Certificate, Url};

use super::{JwtAlgorithm, JwtConfig};
use crate::{
    auth::{KeyMistake, read_public_key},
    config::is_loopback_host,
};

/// The key of an entry, or where keys are found.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// `secret` or `public_key`: one key, for good.
    Fixed(DecodingKey),
    /// `jwks`: keys that come and go.
    Jwks(JwksLocation),
}

/// What `jwks` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksLocation {
    /// A file on this machine.
    File(PathBuf),
    /// An https URL, or an http one on this machine.
    Url {
        /// Without a user and a password.
        url: Url,
        /// File with the certificates that it is trusted by; `None` is those of the system.
        ca: Option<PathBuf>,
    },
}

/// Why an entry has no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceMistake {
    /// None of the three settings.
    #[error("`auth.jwt[]` needs one of `secret`, `public_key` and `jwks`")]
    Missing,
    /// More than one of them.
    #[error("`auth.jwt[]` has both `{0}` and `{1}`: it must have one source of keys")]
    Several(&'static str, &'static str),
    /// A source of another algorithm.
    #[error("`auth.jwt[].{0}` does not go with `algorithm = \"{1}\"`: use {2}")]
    Unfit(&'static str, JwtAlgorithm, &'static str),
    /// What stands under `public_key` is no such key.
    #[error("`auth.jwt[].public_key` {0}")]
    PublicKey(#[from] KeyMistake),
    /// What stands under `jwks` is neither a path nor a usable URL. It is not repeated: it may hold a password.
    #[error("`auth.jwt[].jwks` {0}")]
    Jwks(&'static str),
    /// `jwks_ca` without an https URL, or no file of certificates.
    #[error("`auth.jwt[].jwks_ca` {0}")]
    Ca(String),
}

impl JwtConfig {
    /// The one source of keys. No file is looked at: one that is exchanged while the server runs must not be in its way.
    ///
    /// # Errors
    /// None or several are configured, or the one does not fit the algorithm, or is not written as it must be.
    pub fn source(&self) -> Result<KeySource, SourceMistake> {
        let given = [
            ("secret", self.secret.is_some()),
            ("public_key", self.public_key.is_some()),
            ("jwks", self.jwks.is_some()),
        ];
        let mut given = given.iter().filter(|(_, is_given)| *is_given);
        match (given.next(), given.next()) {
            (None, _) => return Err(SourceMistake::Missing),
            (Some((first, _)), Some((second, _))) => {
                return Err(SourceMistake::Several(first, second));
            }
            (Some(_), None) => {}
        }
        let algorithm = self.algorithm;
        let is_symmetric = algorithm == JwtAlgorithm::Hs256;
        let unfit = |name, instead| Err(SourceMistake::Unfit(name, algorithm, instead));
        if let Some(secret) = &self.secret {
            if !is_symmetric {
                return unfit("secret", "`public_key` or `jwks`");
            }
            self.refuse_ca("goes with `jwks` alone")?;
            return Ok(KeySource::Fixed(DecodingKey::from_secret(
                secret.expose().as_bytes(),
            )));
        }
        if let Some(text) = &self.public_key {
            if is_symmetric {
                return unfit("public_key", "`secret`");
            }
            self.refuse_ca("goes with `jwks` alone")?;
            return Ok(KeySource::Fixed(read_public_key(algorithm, text.expose())?));
        }
        if is_symmetric {
            return unfit("jwks", "`secret`");
        }
        self.location().map(KeySource::Jwks)
    }

    /// Reads the file of certificates, if one is named, so that a wrong one is told of when the server starts.
    pub(super) fn check_ca(&self) -> Result<(), SourceMistake> {
        let Some(path) = &self.jwks_ca else {
            return Ok(());
        };
        let shown = path.display();
        let text = std::fs::read(path)
            .map_err(|error| SourceMistake::Ca(format!("`{shown}` cannot be read: {error}")))?;
        match Certificate::from_pem_bundle(&text) {
            Ok(certificates) if !certificates.is_empty() => Ok(()),
            _ => Err(SourceMistake::Ca(format!(
                "`{shown}` holds no certificate in PEM"
            ))),
        }
    }

    fn location(&self) -> Result<JwksLocation, SourceMistake> {
        let text = self.jwks.as_deref().unwrap_or_default();
        if !is_url(text) {
            self.refuse_ca("goes with an https URL alone")?;
            return Ok(JwksLocation::File(text.into()));
        }
        let url = Url::parse(text).map_err(|_| SourceMistake::Jwks("is no valid URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(SourceMistake::Jwks(
                "must have no user and no password: the keys in it are public",
            ));
        }
        match url.scheme() {
            "https" => {}
            // A sidecar: what stays on this machine needs no certificate.
            "http" if is_loopback_host(url.host_str().unwrap_or_default()) => {
                self.refuse_ca("goes with an https URL alone")?
            }
            _ => {
                return Err(SourceMistake::Jwks(
                    "must be the path of a file or an https URL; plain http is for loopback addresses alone",
                ));
            }
        }
        let ca = self.jwks_ca.clone();
        Ok(JwksLocation::Url { url, ca })
    }

    fn refuse_ca(&self, rule: &str) -> Result<(), SourceMistake> {
        match self.jwks_ca {
            None => Ok(()),
            Some(_) => Err(SourceMistake::Ca(rule.to_owned())),
        }
    }
}

impl SourceMistake {
    /// The sentence, with the number of the entry.
    pub(super) fn at(&self, index: usize) -> String {
        let sentence = self.to_string();
        sentence.replacen("auth.jwt[]", &format!("auth.jwt[{index}]"), 1)
    }
}

/// Whether `jwks` is meant as a URL: also one that is written wrong, which as a path would be shown with its password.
pub(in crate::config) fn is_url(text: &str) -> bool {
    let begins_with = |scheme: &str| {
        let beginning = text.trim_start().get(..scheme.len());
        beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(scheme))
    };
    text.contains("://") || begins_with("http:") || begins_with("https:")
}
