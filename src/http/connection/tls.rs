//! TLS 1.2 and 1.3 on a listener, with a certificate that can be replaced while it serves.
//!
//! The session lies above the socket that notices when its peer has stopped reading
//! (`progress_io`): there every record counts as progress, while hyper above sees only
//! that its bytes were taken into the session's buffer.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, InconsistentKeys, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::preface::Protocol;

/// Output that a session holds beyond what the kernel takes. One full record: hyper keeps
/// the shared frames that wait, so that nothing is gained by encrypting more of them.
const SESSION_BUFFER: usize = 16 * 1024;

/// The names of protocols in the handshake (RFC 7301, section 6), the preferred one first.
const HTTP2: &[u8] = b"h2";
const HTTP1: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// The certificate of a listener, and everything else that its handshakes need. Clones
/// share it.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ArcSwap<ServerConfig>>,
}

/// Why a certificate and its key cannot be served; each a sentence that names the file.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("cannot read `{key}`, the file `{path}`: {reason}")]
    Unreadable {
        /// The configuration key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate's file has none.
    #[error(
        "the file `{0}` of `server.tls.cert` holds no certificate: it must have a PEM block `CERTIFICATE`"
    )]
    NoCertificate(PathBuf),
    /// The key's file has none.
    #[error(
        "the file `{0}` of `server.tls.key` holds no private key: it must have a PEM block `PRIVATE KEY`, not encrypted"
    )]
    NoKey(PathBuf),
    /// Both are fine, but not together.
    #[error("the key in `{key}` does not belong to the certificate in `{cert}`")]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate, or the key, is of a sort that TLS cannot use.
    #[error("the certificate in `{cert}` and the key in `{key}` cannot be used: {reason}")]
    Unusable {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        reason: rustls::Error,
    },
}

impl Tls {
    /// Reads a certificate chain, the server's own first, and its private key from PEM files.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            config: Arc::new(ArcSwap::new(read_config(cert, key)?)),
        })
    }

    /// Reads the files again: handshakes from now on show what is in them. Connections
    /// that stand are not touched.
    ///
    /// # Errors
    /// What is wrong with the files; then what was there before stays.
    pub fn reload(&self, cert: &Path, key: &Path) -> Result<(), TlsError> {
        self.config.store(read_config(cert, key)?);
        Ok(())
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// The client speaks no TLS, wants none that is offered here, or is gone.
    pub(super) async fn accept<I>(&self, io: I) -> io::Result<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(self.config.load_full());
        let limit = |session: &mut rustls::ServerConnection| {
            session.set_buffer_limit(Some(SESSION_BUFFER));
        };
        acceptor.accept_with(io, limit).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// What the handshake has agreed on; `None` when the client named no protocol.
pub(super) fn agreed_protocol<I>(stream: &TlsStream<I>) -> Option<Protocol> {
    match stream.get_ref().1.alpn_protocol()? {
        HTTP2 => Some(Protocol::Http2),
        _ => Some(Protocol::Http1),
    }
}

fn read_config(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = read_chain(cert)?;
    let private_key = read_key(key)?;
    let unusable = |reason| match reason {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch {
            cert: cert.to_owned(),
            key: key.to_owned(),
        },
        reason => TlsError::Unusable {
            cert: cert.to_owned(),
            key: key.to_owned(),
            reason,
        },
    };
    // Named, since a process-wide default could have been set by any other library.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private_key)
        .map_err(unusable)?;
    config.alpn_protocols = [HTTP2]
        .iter()
        .chain(&HTTP1)
        .map(|name| name.to_vec())
        .collect();
    // Sessions are resumed from what clients keep: a storm of reconnects costs less, and
    // no session is kept here.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(unusable)?;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |error| unreadable("server.tls.cert", path, &error);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect();
    let chain = chain.map_err(unreadable)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey(path.to_owned()),
        error => unreadable("server.tls.key", path, &error),
    })
}

/// Says what is wrong without a word of what the file holds.
fn unreadable(key: &'static str, path: &Path, error: &pem::Error) -> TlsError {
    let reason = match error {
        pem::Error::Io(error) => error.to_string(),
        _ => "it is not valid PEM".to_owned(),
    };
    TlsError::Unreadable {
        key,
        path: path.to_owned(),
        reason,
    }
}
