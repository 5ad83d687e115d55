//! A private PostgreSQL on a free port, and databases in it.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use progressd::store::{Postgres, PostgresSettings};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, postgres::PgRow, raw_sql};

use super::{PATIENCE, in_time, ports::free_address};

/// Where Debian puts the programs of each version.
const PROGRAMS: &str = "/usr/lib/postgresql";

/// Makes a cluster, says where, and waits for its standard input to end, which the end of the tests
/// brings with it, however they end. Then nothing is left.
const KEEPER: &str = r#"
trap '' INT TERM HUP
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
"$0/initdb" -D "$folder/data" -U postgres -A "$1" --pwfile="$2" -E UTF8 --locale=C.UTF-8 \
    --no-sync --no-instructions >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
echo "$folder"
read -r _
"$0/pg_ctl" -D "$folder/data" -m immediate -w stop >/dev/null 2>&1
"#;

/// The password of the user `postgres`, where there is one.
pub(crate) const PASSWORD: &str = "p@ss:w/rd'";

/// A running server; stopped and removed when dropped, or when this process ends.
#[derive(Debug)]
pub(crate) struct PostgresServer {
    keeper: Child,
    /// Its end is the cluster's.
    alive: Option<ChildStdin>,
    folder: PathBuf,
    port: u16,
    options: String,
    databases: AtomicUsize,
}

/// A database of a test's own.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) name: String,
}

/// The server that tests share which do it no harm. It may lose what it holds when the machine goes down,
/// which spares it the waits.
pub(crate) fn shared() -> &'static PostgresServer {
    static SHARED: OnceLock<PostgresServer> = OnceLock::new();
    SHARED.get_or_init(|| PostgresServer::start(&["fsync=off", "max_connections=400"]))
}

/// A database in the server that tests share.
pub(crate) async fn database() -> Database {
    let server = tokio::task::spawn_blocking(shared).await;
    server.expect("a server").database().await
}

impl PostgresServer {
    /// Starts one with these settings, into which everybody is let in who can reach it.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_with("trust", settings)
    }

    /// Starts one that asks for a password, [`PASSWORD`], when `method` does.
    pub(crate) fn start_with(method: &str, settings: &[&str]) -> Self {
        let mut password = tempfile::NamedTempFile::new().expect("a file");
        std::io::Write::write_all(&mut password, PASSWORD.as_bytes()).expect("a password");
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(password.path(), readable).expect("it is ours");
        let mut keeper = as_postgres("sh");
        keeper.args(["-c", KEEPER]).arg(programs());
        keeper.arg(method).arg(password.path());
        let mut keeper = keeper
            // Whoever interrupts the tests must not interrupt what cleans up after them.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut folder = String::new();
        let output = keeper.stdout.take().expect("it is piped");
        let read = BufReader::new(output).read_line(&mut folder);
        read.expect("UTF-8");
        assert!(
            !folder.is_empty(),
            "PostgreSQL makes no cluster; is it installed (`scripts/test` does so)?"
        );
        let mut server = Self {
            alive: keeper.stdin.take(),
            keeper,
            folder: folder.trim_end().into(),
            port: 0,
            options: String::new(),
            databases: AtomicUsize::new(0),
        };
        // Between the moment that a port is found free and the start somebody else may take it.
        let is_started = (0..5).any(|_| {
            server.port = free_address().port();
            server.options = format!(
                "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories=",
                server.port
            );
            for setting in settings {
                write!(server.options, " -c {setting}").expect("a string takes all");
            }
            server.control(&["start"])
        });
        assert!(is_started, "PostgreSQL does not start: {}", server.log());
        server
    }

    /// Stops it: `smart`, `fast`, or as if it had crashed, `immediate`.
    pub(crate) fn stop(&self, mode: &str) {
        assert!(self.control(&["stop", "-m", mode]), "{}", self.log());
    }

    /// Starts it again after a stop.
    pub(crate) fn start_again(&self) {
        assert!(self.control(&["start"]), "{}", self.log());
    }

    /// A new database.
    pub(crate) async fn database(&self) -> Database {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let database = self.database_named(&format!("test_{number}"));
        let create = format!("CREATE DATABASE {}", database.name);
        self.database_named("postgres").execute(&create).await;
        database
    }

    /// One that may be there.
    pub(crate) fn database_named(&self, name: &str) -> Database {
        Database {
            url: format!(
                "postgres://postgres:{}@{}/{name}",
                encoded_password(),
                self.address()
            ),
            name: name.to_owned(),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The folder of the cluster.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn control(&self, arguments: &[&str]) -> bool {
        let mut command = as_postgres(&programs().join("pg_ctl").display().to_string());
        let status = command
            .args(arguments)
            .args(["-w", "-t", &PATIENCE.as_secs().to_string()])
            .args(["-o", &self.options])
            .arg("-D")
            .arg(self.data())
            .arg("-l")
            .arg(self.folder.join("log"))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.expect("pg_ctl is there").success()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        drop(self.alive.take());
        // It ends by itself, and so does everything that it keeps.
        let _ = self.keeper.wait();
    }
}

impl Database {
    /// The keys by which a server uses it.
    pub(crate) fn keys(&self) -> String {
        format!(
            "store.backend = \"db\"\nstore.postgres.url = \"{}\"\n",
            self.url
        )
    }

    /// The same for a user of the database, whose password is `x`.
    pub(crate) fn as_user(&self, user: &str) -> Self {
        let (_, place) = self.url.split_once('@').expect("a user");
        Self {
            url: format!("postgres://{user}:x@{place}"),
            name: self.name.clone(),
        }
    }

    /// What a store is told that uses it.
    pub(crate) fn settings(&self) -> PostgresSettings {
        PostgresSettings {
            url: self.url.clone(),
            listen_url: None,
            max_connections: 4,
            // So rarely that a test which needs it says so.
            poll_interval: Duration::from_secs(3_600),
            patience: Duration::from_secs(5),
            start_patience: Duration::ZERO,
            events_per_job: 1_000,
            event_bytes_per_job: 1 << 20,
        }
    }

    /// A store in it.
    pub(crate) async fn store(&self) -> Postgres {
        Postgres::open(self.settings()).await.expect("a database")
    }

    /// A connection of somebody else's.
    pub(crate) async fn connect(&self) -> PgConnection {
        let connection = in_time("a connection", PgConnection::connect(&self.url)).await;
        connection.expect("a server that lets us in")
    }

    /// Runs SQL as somebody else would; the rows.
    pub(crate) async fn execute(&self, sql: &str) -> Vec<PgRow> {
        execute(&mut self.connect().await, sql).await
    }
}

/// Runs SQL; the rows.
pub(crate) async fn execute(connection: &mut PgConnection, sql: &str) -> Vec<PgRow> {
    try_execute(connection, sql)
        .await
        .unwrap_or_else(|(code, message)| panic!("{sql}: {message} ({code})"))
}

/// Runs SQL; the rows, or the SQLSTATE and the message.
pub(crate) async fn try_execute(
    connection: &mut PgConnection,
    sql: &str,
) -> Result<Vec<PgRow>, (String, String)> {
    let running = raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(connection);
    in_time(sql, running).await.map_err(|error| {
        let error = match error {
            sqlx::Error::Database(error) => error,
            error => return (String::new(), error.to_string()),
        };
        (
            error.code().unwrap_or_default().into_owned(),
            error.message().to_owned(),
        )
    })
}

/// A command as the user that PostgreSQL runs as: itself, or `postgres` when we are root, whom it refuses.
pub(crate) fn as_postgres(program: &str) -> Command {
    let is_root = fs::metadata("/proc/self").is_ok_and(|myself| myself.uid() == 0);
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=postgres",
        "--regid=postgres",
        "--clear-groups",
        program,
    ]);
    command
}

/// The programs of the newest version.
fn programs() -> PathBuf {
    let versions = fs::read_dir(PROGRAMS).into_iter().flatten().flatten();
    let versions = versions.map(|version| version.path().join("bin"));
    let complete = versions.filter(|folder| folder.join("initdb").exists());
    let newest = complete.max_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name);
        version.and_then(|version| version.to_str()?.parse::<u32>().ok())
    });
    newest.unwrap_or_else(|| panic!("{PROGRAMS} is empty (`scripts/test` installs PostgreSQL)"))
}

fn encoded_password() -> String {
    form_urlencoded::byte_serialize(PASSWORD.as_bytes()).collect()
}
