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
use tokio::sync::{Semaphore, SemaphorePermit};

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

/// How long a statement waits in the database for what another transaction holds: longer than commits
/// take, and not so long that many which wait keep the connections from others.
const LOCK_PATIENCE: Duration = Duration::from_millis(100);

/// How long it is put off when it has waited in vain, and the longest that this grows to.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// How many connections those that write leave to all others, and those that read much leave to all
/// others: the rows of many jobs may be held, and so may what is read.
const KEPT_FREE: usize = 3;

/// A bounded number of connections, opened as they are needed.
pub(super) struct Client {
    options: PgConnectOptions,
    /// How long an operation has, whatever it tries again.
    patience: Duration,
    permits: Semaphore,
    /// Those that read much: what they read may be locked, and for long.
    readers: Semaphore,
    /// Those that may wait for a row which somebody else holds.
    writers: Semaphore,
    /// Those among them that have done so in vain, so that many held rows leave connections to those
    /// that want others.
    held_up: Semaphore,
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

/// Whether a statement may be done twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It does not mind: it is sent again when the connection turns out to have been lost.
    Harmless,
    /// Whether it was done is then unknown once, and not hidden by a second one that finds it done.
    Never,
}

impl Client {
    /// At most so many connections at a time, and so long for each operation.
    pub(super) fn new(options: PgConnectOptions, most: u32, patience: Duration) -> Self {
        let most = most as usize;
        let of_a_kind = most - KEPT_FREE.min(most / 2);
        Self {
            options,
            patience,
            permits: Semaphore::new(most),
            readers: Semaphore::new(of_a_kind),
            writers: Semaphore::new(of_a_kind),
            held_up: Semaphore::new(of_a_kind.div_ceil(2)),
            resting: Mutex::new(Resting {
                connections: Vec::new(),
                doubted_at: None,
            }),
        }
    }

    /// How long a statement may wait in the database for one lock.
    pub(super) fn lock_timeout(&self) -> Duration {
        LOCK_PATIENCE.min(self.patience / 4)
    }

    /// Runs a statement that is done soon, in a transaction of its own; its rows.
    ///
    /// One that meets another transaction is tried again, and so is one whose connection turns out
    /// to have been lost while it rested. So a statement may be done twice, and must not mind.
    /// Dropped in the middle, it may still be done; its connection is closed.
    pub(super) async fn fetch(&self, statement: String) -> Result<Vec<PgRow>, StoreError> {
        self.in_time(async {
            let _turn = turn(&[&self.permits]).await;
            let latest = Instant::now() + self.patience;
            self.run(&Arc::new(statement), Repeat::Harmless, latest)
                .await
        })
        .await
    }

    /// The same for a statement that reads what may be much, or may be locked.
    pub(super) async fn read(&self, statement: String) -> Result<Vec<PgRow>, StoreError> {
        self.in_time(async {
            let _turn = turn(&[&self.readers, &self.permits]).await;
            let latest = Instant::now() + self.patience;
            self.run(&Arc::new(statement), Repeat::Harmless, latest)
                .await
        })
        .await
    }

    /// The same for a statement that changes something, and waits for [`Client::lock_timeout`] at most.
    /// While a row is held it is sent again: in between others have the connection. None is sent so
    /// late that it could be done after its caller has gone.
    pub(super) async fn write(
        &self,
        statement: String,
        repeat: Repeat,
    ) -> Result<Vec<PgRow>, StoreError> {
        self.in_time(self.insist(&Arc::new(statement), repeat))
            .await
    }

    async fn insist(&self, statement: &Arc<String>, repeat: Repeat) -> Result<Vec<PgRow>, Error> {
        let latest = Instant::now() + self.patience.mul_f32(0.8) - self.lock_timeout();
        let mut pause = FIRST_PAUSE;
        let mut failed: Option<Error> = None;
        loop {
            let all: &[&Semaphore] = match failed {
                None => &[&self.writers, &self.permits],
                Some(_) => &[&self.held_up, &self.writers, &self.permits],
            };
            let outcome = {
                let Ok(_turn) = tokio::time::timeout_at(latest.into(), turn(all)).await else {
                    return Err(failed.unwrap_or(Error::PoolTimedOut));
                };
                self.run(statement, repeat, latest).await
            };
            let error = match outcome {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            if verdict(&error) != Verdict::Held || Instant::now() + pause > latest {
                return Err(error);
            }
            // As chance has it, so that those which wait do not go on meeting each other.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            failed = Some(error);
        }
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.patience, work).await {
            Ok(done) => done.map_err(|error| unavailable(&error)),
            Err(_) => Err(StoreError::Unavailable(
                "PostgreSQL: it did not answer in time".to_owned(),
            )),
        }
    }

    /// Sends a statement until it is answered, and never after `latest`.
    async fn run(
        &self,
        statement: &Arc<String>,
        repeat: Repeat,
        latest: Instant,
    ) -> Result<Vec<PgRow>, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (mut connection, is_rested) = match self.take().await {
                Some(connection) => (connection, true),
                None => (self.options.connect().await?, false),
            };
            if Instant::now() > latest {
                self.put_back(connection);
                return Err(Error::PoolTimedOut);
            }
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
                    if repeat == Repeat::Never || !is_rested || tries == MOST_TRIES {
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

    /// The one row of a statement that is done soon and always has one.
    pub(super) async fn fetch_one(&self, statement: String) -> Result<PgRow, StoreError> {
        one(self.fetch(statement).await?)
    }

    /// The one row of a statement that changes something and always has one.
    pub(super) async fn write_one(
        &self,
        statement: String,
        repeat: Repeat,
    ) -> Result<PgRow, StoreError> {
        one(self.write(statement, repeat).await?)
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

/// Waits for one place of each, in this order.
async fn turn<'a>(all: &[&'a Semaphore]) -> Vec<SemaphorePermit<'a>> {
    let mut places = Vec::with_capacity(all.len());
    for semaphore in all {
        let place = semaphore.acquire().await;
        places.push(place.expect("the semaphore is never closed"));
    }
    places
}

fn one(mut rows: Vec<PgRow>) -> Result<PgRow, StoreError> {
    let row = rows.pop();
    row.ok_or_else(|| StoreError::Unavailable("PostgreSQL: a row is missing".to_owned()))
}
