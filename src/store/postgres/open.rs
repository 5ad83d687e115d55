//! The start: is the database there, is it one that will do, and does it have our tables?

use std::{
    str::FromStr as _,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions as _, Connection as _, Error, PgConnection,
    migrate::{MigrateError, Migrator},
    postgres::PgConnectOptions,
    raw_sql,
};
use thiserror::Error as ThisError;
use uuid::Uuid;

use super::{
    Postgres, PostgresSettings, announcer::Announcer, client::Client, failure,
    lifecycle::Lifecycle, listener::Listener, row::Columns,
};

/// The oldest that has what the functions use: `trim_scale`, and SQL between `RETURN` and the end.
const OLDEST: i32 = 140_000;

/// How long the database has to let us in, or another node to make the tables.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks whether a server is there that was not: a start need not be quicker than that.
const PAUSE: Duration = Duration::from_millis(250);

/// For `pg_advisory_xact_lock`: whoever makes the tables has it. The letters of "progress".
const MIGRATION_LOCK: i64 = 0x7072_6f67_7265_7373;

/// What a URL may say after its question mark. sqlx warns of others and shows their values, which
/// a misspelt `password` should not be.
const PARAMETERS: [&str; 20] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
    "connect_timeout",
    "target_session_attrs",
];

/// Why a database will not do.
#[derive(Debug, ThisError)]
pub enum OpenError {
    /// The URL is none of PostgreSQL's.
    #[error("`{key}` is no URL of PostgreSQL: {reason}")]
    Url {
        /// Which of the two.
        key: &'static str,
        /// What is wrong with it, without what it says.
        reason: String,
    },
    /// Nobody is let in.
    #[error("cannot use the database of `{key}`: {reason}")]
    Unreachable {
        /// Which of the two.
        key: &'static str,
        /// What was answered.
        reason: String,
    },
    /// It lacks what we use.
    #[error("PostgreSQL {0} is too old: 14 is the oldest that will do")]
    TooOld(String),
    /// It cannot hold every text.
    #[error("the database has the encoding {0}: make one with UTF8")]
    Encoding(String),
    /// Its transactions see other than ours have to.
    #[error(
        "the database has the isolation level {0:?} for its transactions: ALTER ROLE … SET \
         default_transaction_isolation = 'read committed' for the user of progressd"
    )]
    Isolation(String),
    /// It only follows another.
    #[error(
        "PostgreSQL is a standby, which takes no writes: name the primary in `store.postgres.url`"
    )]
    Standby,
    /// Another version has been there.
    #[error(
        "the database was migrated by a newer version of progressd (it has migration {0}): start that version"
    )]
    Newer(i64),
    /// It is not ours.
    #[error(
        "the database user {user:?} may not do this: {reason}; make it the owner of the schema `progressd`, or \
         let it make one (GRANT CREATE ON DATABASE)"
    )]
    NotAllowed {
        /// Who we are there.
        user: String,
        /// What was refused.
        reason: String,
    },
    /// Making the tables failed.
    #[error("cannot make the tables of progressd: {0}")]
    Migration(String),
}

impl Postgres {
    /// Opens the database, makes or renews the tables in it, and begins to listen. One that is not there
    /// yet, or has not started yet, is waited for.
    ///
    /// # Errors
    /// It will not do; the sentence says why.
    pub async fn open(settings: PostgresSettings) -> Result<Self, OpenError> {
        let options = parse("store.postgres.url", &settings.url)?;
        let (listen_key, listen_options) = match &settings.listen_url {
            Some(url) => {
                let key = "store.postgres.listen_url";
                (key, parse(key, url)?)
            }
            None => ("store.postgres.url", options.clone()),
        };
        let give_up = Instant::now() + settings.start_patience;
        let connection = connect(listen_key, &listen_options, give_up).await?;
        in_time(listen_key, prepare(listen_key, connection)).await?;
        let connection = connect("store.postgres.url", &options, give_up).await?;
        in_time("store.postgres.url", look(connection)).await?;
        let (most, patience) = (settings.max_connections, settings.patience);
        let client = Arc::new(Client::new(options.clone(), most, patience));
        // A connection of its own, so that news do not queue up with what they tell of.
        let herald = Client::new(options.clone(), 1, PATIENCE);
        let node = Uuid::now_v7().simple().to_string();
        let lifecycle = Lifecycle::start(Arc::clone(&client), node.clone(), settings.poll_interval);
        let listener = Listener::start(listen_options, node.clone(), lifecycle.bell());
        listener.warn_if_deaf(Client::new(options, 1, PATIENCE));
        Ok(Self {
            listener,
            lifecycle,
            announcer: Announcer::start(herald, node.clone()),
            client,
            node,
            settings,
            counts: Mutex::default(),
        })
    }
}

/// Connects, once PostgreSQL is there and has started, or when it is `give_up`.
async fn connect(
    key: &'static str,
    options: &PgConnectOptions,
    give_up: Instant,
) -> Result<PgConnection, OpenError> {
    let is_by_socket = options.get_socket().is_some() || options.get_host().starts_with('/');
    let mut is_told = false;
    loop {
        let connecting = async { Ok(options.connect().await) };
        let error = match in_time(key, connecting).await? {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        if !failure::may_pass(&error, is_by_socket) || Instant::now() >= give_up {
            return Err(unreachable(key, &error));
        }
        if !is_told {
            let reason = failure::describe(&error);
            tracing::warn!(reason, "waiting for PostgreSQL");
            is_told = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn in_time<T>(
    key: &'static str,
    work: impl Future<Output = Result<T, OpenError>>,
) -> Result<T, OpenError> {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| {
        Err(OpenError::Unreachable {
            key,
            reason: format!("no answer within {} seconds", PATIENCE.as_secs()),
        })
    })
}

fn unreachable(key: &'static str, error: &Error) -> OpenError {
    OpenError::Unreachable {
        key,
        reason: failure::describe(error),
    }
}

fn parse(key: &'static str, url: &str) -> Result<PgConnectOptions, OpenError> {
    let wrong = |reason: String| OpenError::Url { key, reason };
    let parsed = url::Url::parse(url).map_err(|error| wrong(error.to_string()))?;
    let is_known = |name: &str| PARAMETERS.contains(&name) || name.starts_with("options[");
    if let Some((name, _)) = parsed.query_pairs().find(|(name, _)| !is_known(name)) {
        return Err(wrong(format!("the parameter {name:?} is unknown")));
    }
    let options = PgConnectOptions::from_str(url).map_err(|error| match error {
        Error::Configuration(error) => wrong(error.to_string()),
        error => wrong(failure::describe(&error)),
    })?;
    Ok(options
        .application_name("progressd")
        // A pooler refuses to begin a session with it; doubles are written in full without it.
        .extra_float_digits(None)
        .statement_cache_capacity(0)
        // Statements hold what clients send, and secrets.
        .disable_statement_logging())
}

/// Looks at the database and makes what is missing in it.
async fn prepare(key: &'static str, mut connection: PgConnection) -> Result<(), OpenError> {
    let unreachable = |error: Error| unreachable(key, &error);
    check(&mut connection, unreachable).await?;
    migrate(&mut connection, unreachable).await?;
    // It has done its work, however it ends.
    let _ = connection.close().await;
    Ok(())
}

/// Reads what every call reads.
async fn look(mut connection: PgConnection) -> Result<(), OpenError> {
    let looked = raw_sql("SELECT seq FROM progressd.jobs LIMIT 0")
        .fetch_all(&mut connection)
        .await;
    looked.map_err(|error| unreachable("store.postgres.url", &error))?;
    let _ = connection.close().await;
    Ok(())
}

async fn check(
    connection: &mut PgConnection,
    unreachable: impl Fn(Error) -> OpenError,
) -> Result<(), OpenError> {
    let statement = "SELECT current_setting('server_version_num')::integer, current_setting('server_version'), \
         current_setting('server_encoding'), current_setting('default_transaction_isolation'), \
         pg_is_in_recovery()";
    let row = raw_sql(statement).fetch_one(&mut *connection).await;
    let row = row.map_err(&unreachable)?;
    let mut columns = Columns::of(&row);
    let mut read = || -> Result<(i32, String, String, String, bool), sqlx::error::BoxDynError> {
        Ok((
            columns.take()?,
            columns.take()?,
            columns.take()?,
            columns.take()?,
            columns.take()?,
        ))
    };
    let (number, version, encoding, isolation, is_standby) =
        read().map_err(|error| unreachable(Error::Decode(error)))?;
    if number < OLDEST {
        Err(OpenError::TooOld(version))
    } else if encoding != "UTF8" {
        Err(OpenError::Encoding(encoding))
    } else if isolation != "read committed" {
        // A commit waits for the one before it, and then has to see it.
        Err(OpenError::Isolation(isolation))
    } else if is_standby {
        Err(OpenError::Standby)
    } else {
        Ok(())
    }
}

/// Makes or renews the tables. When they are as they should be nothing is written, so that a user will
/// do who may only use them.
async fn migrate(
    connection: &mut PgConnection,
    unreachable: impl Fn(Error) -> OpenError,
) -> Result<(), OpenError> {
    let migrator = migrator();
    let applied = applied(connection).await.map_err(&unreachable)?;
    if let Some(newer) = applied
        .iter()
        .find(|version| !migrator.version_exists(**version))
    {
        return Err(OpenError::Newer(*newer));
    }
    if applied.len() == migrator.iter().count() {
        return Ok(());
    }
    // One transaction for all, and a lock that ends with it: it needs no session of its own, and
    // several nodes may start at once.
    let mut transaction = connection.begin().await.map_err(&unreachable)?;
    let lock = format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
    let locked = raw_sql(sqlx::AssertSqlSafe(lock))
        .execute(&mut *transaction)
        .await;
    locked.map_err(&unreachable)?;
    let outcome = migrator.run_direct(None, &mut *transaction, false).await;
    if let Err(error) = outcome {
        let _ = transaction.rollback().await;
        return Err(refused(connection, error).await);
    }
    transaction.commit().await.map_err(&unreachable)
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!();
    migrator.set_locking(false);
    migrator.dangerous_set_table_name("progressd.migrations");
    migrator.create_schema("progressd");
    migrator
}

/// The migrations that the database has.
async fn applied(connection: &mut PgConnection) -> Result<Vec<i64>, Error> {
    let statement = "SELECT to_regclass('progressd.migrations') IS NOT NULL";
    let row = raw_sql(statement).fetch_one(&mut *connection).await?;
    let has_any: bool = Columns::of(&row).take().map_err(Error::Decode)?;
    if !has_any {
        return Ok(Vec::new());
    }
    let statement = "SELECT version FROM progressd.migrations ORDER BY version";
    let rows = raw_sql(statement).fetch_all(&mut *connection).await?;
    let versions = rows.iter().map(|row| Columns::of(row).take());
    versions.collect::<Result<_, _>>().map_err(Error::Decode)
}

async fn refused(connection: &mut PgConnection, error: MigrateError) -> OpenError {
    let error = match error {
        // Another node was quicker, and newer.
        MigrateError::VersionMissing(version) => return OpenError::Newer(version),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error,
        error => return OpenError::Migration(error.to_string()),
    };
    let reason = failure::describe(&error);
    if failure::code(&error) != Some("42501") {
        return OpenError::Migration(reason);
    }
    let user = raw_sql("SELECT current_user::text")
        .fetch_one(connection)
        .await;
    let user = user.ok().and_then(|row| Columns::of(&row).take().ok());
    OpenError::NotAllowed {
        user: user.unwrap_or_default(),
        reason,
    }
}
