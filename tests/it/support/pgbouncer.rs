//! Debian's PgBouncer before a PostgreSQL, lending sessions for single transactions.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Child, ChildStdin, Stdio},
    sync::OnceLock,
    time::Instant,
};

use tempfile::TempDir;

use super::{
    PATIENCE,
    ports::free_address,
    postgres_server::{Database, PostgresServer, as_postgres, shared},
};

/// Where Debian puts it, which is not on everybody's path.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// Runs it until its standard input ends, which the end of the tests brings with it.
const KEEPER: &str = r#"trap '' INT TERM HUP; "$0" -q "$1" & read -r _; kill -9 $!"#;

/// A running pooler; killed when dropped, or when this process ends.
#[derive(Debug)]
pub(crate) struct PgBouncer {
    keeper: Child,
    alive: Option<ChildStdin>,
    address: SocketAddr,
    _folder: TempDir,
}

/// The one before the server that tests share.
pub(crate) fn before_shared() -> &'static PgBouncer {
    static SHARED: OnceLock<PgBouncer> = OnceLock::new();
    SHARED.get_or_init(|| PgBouncer::start(shared()))
}

impl PgBouncer {
    /// Starts one that has two sessions for each database, whoever asks.
    pub(crate) fn start(server: &PostgresServer) -> Self {
        let (host, port) = server
            .address()
            .split_once(':')
            .map(|(host, port)| (host.to_owned(), port.to_owned()))
            .expect("an address");
        // Between the moment that a port is found free and the start somebody else may take it.
        let started = (0..5).find_map(|_| Self::try_start(&host, &port));
        started.expect("PgBouncer does not start; is it installed (`scripts/test` does so)?")
    }

    fn try_start(host: &str, port: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), readable).expect("it is ours");
        let address = free_address();
        let configuration = format!(
            "[databases]\n* = host={host} port={port} user=postgres\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 1000\n",
            address.port()
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, configuration).expect("a file");
        let mut keeper = as_postgres("sh");
        let mut keeper = keeper
            .args(["-c", KEEPER, PROGRAM])
            .arg(&file)
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let alive = keeper.stdin.take();
        let pooler = Self {
            keeper,
            alive,
            address,
            _folder: folder,
        };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            if begin.elapsed() > PATIENCE {
                return None;
            }
            std::thread::yield_now();
        }
        Some(pooler)
    }

    /// A database as it is reached through this.
    pub(crate) fn before(&self, database: &Database) -> Database {
        Database {
            url: format!("postgres://postgres@{}/{}", self.address, database.name),
            name: database.name.clone(),
        }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.alive.take());
        let _ = self.keeper.wait();
    }
}
