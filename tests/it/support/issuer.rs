//! An issuer of tokens: keys that a test makes, and the https address where it publishes them.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use super::in_time;

/// A P-256 key with a name.
pub(crate) struct IssuerKey {
    kid: String,
    pair: KeyPair,
}

/// What the address answers.
#[derive(Debug, Clone)]
pub(crate) enum Published {
    /// 200 with these bytes.
    Bytes(Vec<u8>),
    /// Another status, and where to go on.
    Redirect(String),
    /// Connections are closed before anything is said.
    Nothing,
    /// Connections stay open, and nothing is said.
    Silence,
}

/// A running issuer; ends when dropped.
pub(crate) struct Issuer {
    pub(crate) url: String,
    folder: TempDir,
    published: Arc<Mutex<Published>>,
    requests: watch::Receiver<usize>,
    kept_waiting: Arc<watch::Sender<usize>>,
    serving: JoinHandle<()>,
}

impl IssuerKey {
    pub(crate) fn new(kid: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key pair");
        Self {
            kid: kid.to_owned(),
            pair,
        }
    }

    /// The public half as a JWK.
    pub(crate) fn jwk(&self) -> Value {
        let point = self.pair.der_bytes();
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        })
    }

    /// A token of Ann's for ten minutes.
    pub(crate) fn token(&self) -> String {
        self.token_named(Some(&self.kid))
    }

    /// The same with another `kid`, or none.
    pub(crate) fn token_named(&self, kid: Option<&str>) -> String {
        self.sign(kid, &json!({}))
    }

    /// The same that says which issuer has made it, or which ones.
    pub(crate) fn token_by(&self, issuer: Value) -> String {
        self.sign(Some(&self.kid), &json!({ "iss": issuer }))
    }

    fn sign(&self, kid: Option<&str>, more: &Value) -> String {
        let mut claims = json!({"sub": "ann", "exp": get_current_timestamp() + 600});
        for (name, value) in more.as_object().expect("claims are an object") {
            claims[name] = value.clone();
        }
        let mut header = Header::new(Algorithm::ES256);
        header.kid = kid.map(str::to_owned);
        let key = EncodingKey::from_ec_pem(self.pair.serialize_pem().as_bytes());
        encode(&header, &claims, &key.expect("a key")).expect("claims are JSON")
    }
}

/// A JWK Set of these keys.
pub(crate) fn key_set(keys: &[&IssuerKey]) -> Published {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    Published::Bytes(json!({ "keys": keys }).to_string().into_bytes())
}

impl Issuer {
    /// Begins to publish on a free port, under a certificate of its own.
    pub(crate) async fn start(published: Published) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.expect("a certificate");
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).expect("a file");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
            .expect("a certificate and its key");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let published = Arc::new(Mutex::new(published));
        let (count, requests) = watch::channel(0);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let kept_waiting = Arc::<watch::Sender<usize>>::default();
        let serving = serve(
            listener,
            acceptor,
            Arc::clone(&published),
            count,
            Arc::clone(&kept_waiting),
        );
        Self {
            url: format!("https://localhost:{port}/keys"),
            folder,
            published,
            requests,
            kept_waiting,
            serving: tokio::spawn(serving),
        }
    }

    /// From now on it answers so.
    pub(crate) fn publish(&self, published: Published) {
        *self.published.lock().expect("no section panics") = published;
    }

    /// How often it was asked.
    pub(crate) fn requests(&self) -> usize {
        *self.requests.borrow()
    }

    /// Waits until it was asked so often.
    pub(crate) async fn until_requests(&self, count: usize) {
        let mut requests = self.requests.clone();
        let asked = requests.wait_for(|asked| *asked >= count);
        in_time("a request for the keys", asked)
            .await
            .expect("a running issuer");
    }

    /// Waits until a client waits for it in vain.
    pub(crate) async fn until_it_keeps_waiting(&self) {
        let mut kept_waiting = self.kept_waiting.subscribe();
        let waits = kept_waiting.wait_for(|count| *count > 0);
        in_time("a client that waits", waits)
            .await
            .expect("a running issuer");
    }

    /// An entry of configuration that trusts it.
    pub(crate) fn configuration(&self) -> String {
        let ca: PathBuf = self.folder.path().join("ca.pem");
        format!(
            "{}jwks_ca = '{}'\n",
            self.configuration_without_ca(),
            ca.display()
        )
    }

    /// The same by the certificates of the system, among which its own is not.
    pub(crate) fn configuration_without_ca(&self) -> String {
        format!("[[auth.jwt]]\nalgorithm = 'ES256'\njwks = '{}'\n", self.url)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    published: Arc<Mutex<Published>>,
    count: watch::Sender<usize>,
    kept_waiting: Arc<watch::Sender<usize>>,
) {
    let count = Arc::new(count);
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a listener that accepts");
        connections.spawn(answer(
            stream,
            acceptor.clone(),
            Arc::clone(&published),
            Arc::clone(&count),
            Arc::clone(&kept_waiting),
        ));
    }
}

/// One connection; what its client breaks off is no concern of the test's.
async fn answer(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    published: Arc<Mutex<Published>>,
    count: Arc<watch::Sender<usize>>,
    kept_waiting: Arc<watch::Sender<usize>>,
) {
    let published = published.lock().expect("no section panics").clone();
    count.send_modify(|count| *count += 1);
    if matches!(published, Published::Nothing) {
        return;
    }
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    if matches!(published, Published::Silence) {
        kept_waiting.send_modify(|count| *count += 1);
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        kept_waiting.send_modify(|count| *count -= 1);
        return;
    }
    let service = service_fn(|_| {
        let response = match published.clone() {
            Published::Bytes(bytes) => Response::builder().body(Full::new(Bytes::from(bytes))),
            Published::Redirect(to) => {
                let found = Response::builder().status(302).header("location", to);
                found.body(Full::default())
            }
            Published::Nothing | Published::Silence => unreachable!("it ended before"),
        };
        async { Ok::<_, Infallible>(response.expect("a response")) }
    });
    let mut http = http1::Builder::new();
    let _ = http
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
