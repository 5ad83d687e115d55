//! Reading a JWK Set: a bounded number of bytes, from exactly the place that was named.

use std::{io::Read as _, path::Path};

use reqwest::{Certificate, Client, StatusCode, Url, redirect};

use crate::config::{JwksLocation, is_loopback_host};

/// The largest set that is read.
const MOST_BYTES: usize = 1 << 20;

/// Why a set was not read. Says nothing of what was in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The file, or that of the certificates, cannot be read.
    #[error("read `{0}`: {1}")]
    File(String, std::io::Error),
    /// The connection, its certificate, or the answer's form.
    #[error("{}", crate::telemetry::causes(.0))]
    Http(#[from] reqwest::Error),
    /// An answer other than 200. Redirects are not followed: they may lead anywhere.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// It is too large.
    #[error("it has more than {MOST_BYTES} bytes")]
    TooLarge,
    /// It did not come in time.
    #[error("it did not come within 5 seconds")]
    Late,
    /// It is no JWK Set. What is wrong in which line is not said in serde's words: they may quote a
    /// secret of a file that is something else.
    #[error("it is no JWK Set (line {}, column {})", .0.line(), .0.column())]
    Malformed(serde_json::Error),
}

/// The place for the log, without a query, which may hold what is nobody's business.
pub(super) fn shown(location: &JwksLocation) -> String {
    match location {
        JwksLocation::File(path) => path.display().to_string(),
        JwksLocation::Url { url, .. } => {
            let mut url = url.clone();
            url.set_query(None);
            url.set_fragment(None);
            url.to_string()
        }
    }
}

/// Reads the bytes; the caller limits the time.
pub(super) async fn fetch(location: JwksLocation) -> Result<Vec<u8>, FetchError> {
    match location {
        JwksLocation::File(path) => {
            let read = tokio::task::spawn_blocking(move || read_file(&path));
            read.await.expect("reading a file does not panic")
        }
        JwksLocation::Url { url, ca } => {
            // Both anew each time: certificates are exchanged too, and an hour lies between.
            let certificates = match ca {
                None => None,
                Some(path) => {
                    let read = tokio::task::spawn_blocking(move || read_file(&path));
                    let text = read.await.expect("reading a file does not panic")?;
                    Some(Certificate::from_pem_bundle(&text)?)
                }
            };
            download(&client(&url, certificates)?, url).await
        }
    }
}

fn client(url: &Url, certificates: Option<Vec<Certificate>>) -> reqwest::Result<Client> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .https_only(url.scheme() == "https")
        .user_agent(concat!("progressd/", env!("CARGO_PKG_VERSION")));
    if is_loopback_host(url.host_str().unwrap_or_default()) {
        // A proxy of the environment does not reach this machine's own addresses.
        builder = builder.no_proxy();
    }
    if let Some(certificates) = certificates {
        builder = builder.tls_certs_only(certificates);
    }
    builder.build()
}

async fn download(client: &Client, url: Url) -> Result<Vec<u8>, FetchError> {
    let request = client.get(url).header("accept", "application/json");
    let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    // Counted as it comes: a length that was announced is a promise at most.
    let mut bytes = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(reqwest::Error::without_url)?
    {
        if bytes.len() + chunk.len() > MOST_BYTES {
            return Err(FetchError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn read_file(path: &Path) -> Result<Vec<u8>, FetchError> {
    let failed = |error| FetchError::File(path.display().to_string(), error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let read = file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes);
    if read.map_err(failed)? > MOST_BYTES {
        return Err(FetchError::TooLarge);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn certificates_that_are_missing_or_half_written_are_an_error_and_no_panic() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ca = folder.path().join("ca.pem");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let pem = made.expect("a certificate").cert.pem();
        let location = JwksLocation::Url {
            // Nobody listens there.
            url: "https://localhost:1/keys".parse().expect("a URL"),
            ca: Some(ca.clone()),
        };
        let missing = fetch(location.clone()).await;
        assert!(matches!(missing, Err(FetchError::File(..))), "{missing:?}");
        for length in [0, 10, pem.len() / 2, pem.len() - 10, pem.len()] {
            std::fs::write(&ca, &pem[..length]).expect("a file");
            let unread = fetch(location.clone()).await;
            assert!(matches!(unread, Err(FetchError::Http(_))), "{unread:?}");
        }
    }
}
