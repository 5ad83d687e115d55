//! A certificate for loopback in files, and clients that trust it and nothing else.

use std::{fs, path::PathBuf, sync::Arc};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use super::in_time;

/// The files `cert.pem` and `key.pem` in a folder of their own.
#[derive(Debug)]
pub(crate) struct Certificate {
    folder: TempDir,
}

impl Certificate {
    /// A new certificate, signed by itself, for 127.0.0.1 and localhost.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let certificate = Self { folder };
        certificate.renew();
        certificate
    }

    /// Puts another certificate and its key into the same files.
    pub(crate) fn renew(&self) {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(names).expect("valid names");
        fs::write(self.cert(), cert.pem()).expect("a file");
        fs::write(self.key(), signing_key.serialize_pem()).expect("a file");
    }

    /// The certificate's file.
    pub(crate) fn cert(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// The key's file.
    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// The configuration that serves it.
    pub(crate) fn toml(&self) -> String {
        let (cert, key) = (self.cert(), self.key());
        format!(
            "[server.tls]\ncert = '{}'\nkey = '{}'\n",
            cert.display(),
            key.display()
        )
    }

    /// A client that trusts the certificate as it is in the file now.
    pub(crate) fn client(&self) -> reqwest::ClientBuilder {
        let pem = fs::read(self.cert()).expect("the certificate");
        let root = reqwest::Certificate::from_pem(&pem).expect("a certificate");
        let builder = reqwest::Client::builder().no_proxy();
        builder.tls_certs_only([root])
    }

    /// Shakes hands over `socket` as a client that offers these protocols.
    pub(crate) async fn secure(
        &self,
        socket: TcpStream,
        protocols: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let root = CertificateDer::from_pem_file(self.cert()).expect("the certificate");
        let mut roots = RootCertStore::empty();
        roots.add(root).expect("a root");
        let mut config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("the provider has both")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").expect("a name");
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, socket);
        in_time("the handshake", connecting).await
    }
}
