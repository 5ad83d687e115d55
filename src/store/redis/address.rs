//! Where Redis is, and connections to it.

use std::{fmt, fs, io, path::Path, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion,
    RedisConnectionInfo,
    aio::{AsyncPushSender, MultiplexedConnection},
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::failure::Failure;

/// A silent connection is asked for a sign of life after so long, then this often: so that what
/// lies between, a NAT say, does not forget it.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(5));

/// Commands that may wait for the socket. More wait for their turn: enough that it is no
/// bottleneck, and few enough that a stall holds little.
const QUEUE: usize = 1_024;

/// Where Redis is, who we are there, and what its certificate is checked against.
pub(super) struct Address {
    host: String,
    port: u16,
    login: RedisConnectionInfo,
    tls: Option<Tls>,
    /// How long a connection may take, and how long what was sent may stay unacknowledged.
    patience: Duration,
}

struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// One connection; commands of many share it.
pub(super) struct Line {
    connection: MultiplexedConnection,
    /// Cancelled when the connection has ended, or is given up.
    broken: CancellationToken,
    _driver: AbortOnDropHandle<()>,
}

impl Address {
    /// Reads a URL and the certificates that are trusted: those in `ca`, or the system's.
    ///
    /// # Errors
    /// A sentence that names the key which is wrong.
    pub(super) fn parse(url: &str, ca: Option<&Path>, patience: Duration) -> Result<Self, String> {
        let wrong = |reason: &str| format!("`store.redis.url` cannot be used: {reason}");
        let info = url
            .into_connection_info()
            .map_err(|error| wrong(&error.to_string()))?;
        let (host, port, is_secure) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host.clone(), *port, false),
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return Err(wrong("a certificate is always checked"));
            }
            ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port, true),
            _ => return Err(wrong("it must name a host")),
        };
        let tls = match is_secure {
            false => None,
            true => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| wrong("the host is no name that a certificate can have"))?;
                let connector = connector(trusted(ca)?);
                Some(Tls { connector, name })
            }
        };
        let login = info.redis_settings().clone().set_skip_set_lib_name();
        Ok(Self {
            host,
            port,
            login,
            tls,
            patience,
        })
    }

    /// The number of the database.
    pub(super) fn database(&self) -> i64 {
        self.login.db()
    }

    /// A connection for commands.
    pub(super) async fn connect(&self) -> Result<Line, Failure> {
        let config = AsyncConnectionConfig::new().set_pipeline_buffer_size(QUEUE);
        self.connect_by(ProtocolVersion::RESP2, config).await
    }

    /// A connection for subscriptions too; `receiver` is called with each message, and must not
    /// block.
    pub(super) async fn listen(&self, receiver: impl AsyncPushSender) -> Result<Line, Failure> {
        let config = AsyncConnectionConfig::new().set_push_sender(receiver);
        self.connect_by(ProtocolVersion::RESP3, config).await
    }

    async fn connect_by(
        &self,
        protocol: ProtocolVersion,
        config: AsyncConnectionConfig,
    ) -> Result<Line, Failure> {
        let login = self.login.clone().set_protocol(protocol);
        // Commands have a time limit of their own.
        let config = config.set_response_timeout(None);
        let connecting = async {
            let socket = self.dial().await?;
            let Some(tls) = &self.tls else {
                return Line::over(socket, &login, config).await;
            };
            let secured = tls.connector.connect(tls.name.clone(), socket).await;
            let secured = secured.map_err(|error| self.tls_failure(&error))?;
            Line::over(secured, &login, config).await
        };
        tokio::time::timeout(self.patience, connecting)
            .await
            .unwrap_or_else(|_| Err(Failure::Away(format!("Redis: no answer from {self}"))))
    }

    async fn dial(&self) -> Result<TcpStream, Failure> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await;
        let set = |socket: TcpStream| {
            let options = SockRef::from(&socket);
            let (idle, interval) = KEEPALIVE;
            let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
            options.set_tcp_nodelay(true)?;
            options.set_tcp_keepalive(&keepalive)?;
            #[cfg(target_os = "linux")]
            options.set_tcp_user_timeout(Some(self.patience))?;
            Ok(socket)
        };
        socket.and_then(set).map_err(|error: io::Error| {
            Failure::Away(format!("Redis: cannot connect to {self}: {error}"))
        })
    }

    /// A certificate that does not hold stays so; a connection that broke may be another one next
    /// time.
    fn tls_failure(&self, error: &io::Error) -> Failure {
        let reason = format!("Redis: no TLS session with {self}: {error}");
        match error.kind() {
            io::ErrorKind::InvalidData => Failure::Wrong(reason),
            _ => Failure::Away(reason),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

impl Line {
    async fn over(
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        login: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Result<Self, Failure> {
        let opening = MultiplexedConnection::new_with_config(login, socket, config);
        let (connection, driver) = opening.await?;
        let broken = CancellationToken::new();
        let over = broken.clone().drop_guard();
        let driver = tokio::spawn(async move {
            driver.await;
            drop(over);
        });
        Ok(Self {
            connection,
            broken,
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    /// The connection, to be used until [`Line::broken`].
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Ends with the connection.
    pub(super) fn broken(&self) -> &CancellationToken {
        &self.broken
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Line").finish_non_exhaustive()
    }
}

fn connector(roots: RootCertStore) -> TlsConnector {
    let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider has TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

fn trusted(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        // What a system has beside those that can be read is of no use anyway.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return match roots.is_empty() {
            true => Err("the system trusts no authority: name one in `store.redis.ca`".to_owned()),
            false => Ok(roots),
        };
    };
    let wrong = |reason: String| {
        let path = path.display();
        format!("cannot use `store.redis.ca`, the file `{path}`: {reason}")
    };
    let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| wrong(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(wrong("it holds no certificate".to_owned())),
        false => Ok(roots),
    }
}
