//! Connections, and what is asked through them.
//!
//! Not sqlx's own pool: it asks the server after every use whether a connection still works, and one
//! whose user has left in the middle keeps its place until the server answers, which a server that
//! is gone never does. Here such a connection is closed.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Error, PgConnection,
    postgres::{PgConnectOptions, PgRow},
    raw_sql,
};
use tokio::sync::Semaphore;

use super::failure::{Verdict, unavailable, verdict};
use crate::store::StoreError;

/// How often a statement that met another transaction is tried.
const MOST_TRIES: u32 = 5;

/// How long a connection may rest before it is asked whether it still works: middleboxes and poolers
/// close what is silent for minutes.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// How long a connection is kept that nobody needs.
const LONGEST_KEPT: Duration = Duration::from_secs(600);

/// How long a connection that has rested, or that others of its age have been lost after, has to say
/// that it works.
const TEST_PATIENCE: Duration = Duration::from_secs(1);

/// How long a statement waits in the database for a row that another transaction holds: longer than
/// commits take, and not so long that many which wait keep the connections from others.
pub(super) const ROW_PATIENCE: Duration = Duration::from_millis(100);

/// How long it is put off when it has waited in vain, and the longest that this grows to.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// How many connections writers leave to those that read: a worker's open transaction may hold the
/// rows of many jobs.
const KEPT_FOR_READERS: usize = 3;

/// A bounded number of connections, opened as they are needed.
pub(super) struct Client {
    options: PgConnectOptions,
    permits: Semaphore,
    /// Those that may wait for a row which somebody else holds.
    writers: Semaphore,
    // A plain lock over the list: sections are short and never await.
    resting: Mutex<Resting>,
}

struct Resting {
    /// The one used last is used next, so that those that are not needed grow old.
    connections: Vec<(PgConnection, Instant)>,
    /// A use was cut off or a connection was lost at this time: those that rest since before may be
    /// lost too.
    doubted_at: Option<Instant>,
}

impl Client {
    /// At most so many connections at a time.
    pub(super) fn new(options: PgConnectOptions, most: u32) -> Self {
        Self {
            options,
            permits: Semaphore::new(most as usize),
            writers: Semaphore::new((most as usize).saturating_sub(KEPT_FOR_READERS).max(1)),
            resting: Mutex::new(Resting {
                connections: Vec::new(),
                doubted_at: None,
            }),
        }
    }

    /// Runs a statement in a transaction of its own; its rows.
    ///
    /// One that meets another transaction is tried again, and so is one whose connection turns out
    /// to have been lost while it rested. So a statement may be done twice, and must not mind.
    /// Dropped in the middle, it may still be done; its connection is closed.
    pub(super) async fn fetch(&self, statement: String) -> Result<Vec<PgRow>, StoreError> {
        let rows = self.run(&Arc::new(statement), true).await;
        rows.map_err(|error| unavailable(&error))
    }

    /// The same for a statement that changes a row, has one row to say, and waits for [`ROW_PATIENCE`]
    /// at most. While the row is held it is sent again, until `patience` is over: in between others
    /// have the connection.
    ///
    /// Whether it was done is then unknown once, and not hidden by a second one that finds it done.
    pub(super) async fn change(
        &self,
        statement: String,
        patience: Duration,
    ) -> Result<PgRow, StoreError> {
        let statement = Arc::new(statement);
        let end = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let outcome = {
                let turn = self.writers.acquire().await;
                let _turn = turn.expect("the semaphore is never closed");
                self.run(&statement, false).await
            };
            let error = match outcome {
                Ok(rows) => return one(rows),
                Err(error) => error,
            };
            if verdict(&error) != Verdict::Held || Instant::now() + pause + ROW_PATIENCE > end {
                return Err(unavailable(&error));
            }
            // As chance has it, so that those which wait do not go on meeting each other.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn run(
        &self,
        statement: &Arc<String>,
        may_be_repeated: bool,
    ) -> Result<Vec<PgRow>, Error> {
        let permit = self.permits.acquire().await;
        let _permit = permit.expect("the semaphore is never closed");
        let mut tries = 0;
        loop {
            tries += 1;
            let (mut connection, is_rested) = match self.take().await {
                Some(connection) => (connection, true),
                None => (self.options.connect().await?, false),
            };
            let doubt = Doubt(self);
            let query = raw_sql(AssertSqlSafe(Arc::clone(statement)));
            let outcome = query.fetch_all(&mut connection).await;
            let error = match outcome {
                Ok(rows) => {
                    doubt.dispel();
                    self.put_back(connection);
                    return Ok(rows);
                }
                Err(error) => error,
            };
            match verdict(&error) {
                // The others that rest are doubted, and so tested before they are used.
                Verdict::ConnectionLost => {
                    drop(doubt);
                    if !may_be_repeated || !is_rested || tries == MOST_TRIES {
                        return Err(error);
                    }
                }
                Verdict::Collision if tries < MOST_TRIES => {
                    doubt.dispel();
                    self.put_back(connection);
                }
                Verdict::Collision | Verdict::Held | Verdict::Final => {
                    doubt.dispel();
                    self.put_back(connection);
                    return Err(error);
                }
            }
        }
    }

    /// The one row of a statement that always has one.
    pub(super) async fn fetch_one(&self, statement: String) -> Result<PgRow, StoreError> {
        one(self.fetch(statement).await?)
    }

    /// A connection that rests and works.
    async fn take(&self) -> Option<PgConnection> {
        loop {
            let (mut connection, is_trusted) = {
                let mut resting = self.lock();
                let (connection, since) = resting.connections.pop()?;
                let is_doubted = resting.doubted_at.is_some_and(|at| since <= at);
                (connection, !is_doubted && since.elapsed() < LONGEST_REST)
            };
            if is_trusted {
                return Some(connection);
            }
            let test = tokio::time::timeout(TEST_PATIENCE, connection.ping()).await;
            if matches!(test, Ok(Ok(()))) {
                return Some(connection);
            }
        }
    }

    fn put_back(&self, connection: PgConnection) {
        let now = Instant::now();
        let connections = &mut self.lock().connections;
        connections.retain(|(_, since)| now - *since < LONGEST_KEPT);
        connections.push((connection, now));
    }

    fn lock(&self) -> MutexGuard<'_, Resting> {
        self.resting
            .lock()
            .expect("no section under the lock panics")
    }
}

impl fmt::Debug for Client {
    /// Without the options, which hold the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resting = self.lock().connections.len();
        formatter
            .debug_struct("Client")
            .field("resting", &resting)
            .finish_non_exhaustive()
    }
}

/// A use that is not over. Dropped, it was cut off.
struct Doubt<'client>(&'client Client);

impl Doubt<'_> {
    fn dispel(self) {
        std::mem::forget(self);
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.0.lock().doubted_at = Some(Instant::now());
    }
}

fn one(mut rows: Vec<PgRow>) -> Result<PgRow, StoreError> {
    let row = rows.pop();
    row.ok_or_else(|| StoreError::Unavailable("PostgreSQL: a row is missing".to_owned()))
}
