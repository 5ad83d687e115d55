//! PostgreSQL: jobs that several nodes share, and workers that write plain SQL.
//!
//! Everything that has to be whole is one call of a function (`migrations/0002_server.sql`), which is
//! one transaction and one round trip. Nothing is kept in a session between two calls, so that a
//! pooler may stand in between.

mod announcer;
mod client;
mod failure;
mod lifecycle;
mod list;
mod listener;
mod open;
mod outcome;
mod row;
mod shared;
mod sql;
mod write;

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use sqlx::error::BoxDynError;
use uuid::Uuid;

use super::{
    Commit, Committed, Created, Filter, Former, Input, JobCounts, KeptEvents, Loaded, Position,
    RESERVATION_SECONDS, Rows, Shared, Store, StoreError,
};
use crate::job::{Job, JobId, Origin, Seq, State, Timestamp};
use announcer::Announcer;
use client::{Client, Repeat};
use lifecycle::Lifecycle;
use listener::Listener;
use outcome::Outcome;
use row::{Columns, JOB, stored, unreadable};
use sql::Literal;

pub use open::OpenError;

/// How old the numbers of jobs may be: counting goes through an index of all of them.
const COUNTS_AGE: Duration = Duration::from_secs(5);

/// What the store is told by the configuration.
#[derive(Clone)]
pub struct PostgresSettings {
    /// Where the database is.
    pub url: String,
    /// The same past any pooler, where there is one.
    pub listen_url: Option<String>,
    /// Most connections, besides two for notifications.
    pub max_connections: u32,
    /// How often jobs are looked for that are new or have another state, in case nobody tells of it.
    pub poll_interval: Duration,
    /// How long an operation has.
    pub patience: Duration,
    /// How long a PostgreSQL that is not there yet is waited for at the start.
    pub start_patience: Duration,
    /// Kept events per job.
    pub events_per_job: usize,
    /// Bytes of kept events per job.
    pub event_bytes_per_job: usize,
}

/// Jobs in a PostgreSQL database.
#[derive(Debug)]
pub struct Postgres {
    settings: PostgresSettings,
    client: Arc<Client>,
    listener: Listener,
    lifecycle: Lifecycle,
    announcer: Announcer,
    /// By which this node knows notifications of its own.
    node: String,
    /// The newest numbers of jobs, and when they were counted. A plain lock, held for no await.
    counts: Mutex<Option<(Instant, JobCounts)>>,
}

impl fmt::Debug for PostgresSettings {
    /// Without the URLs, which hold passwords.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PostgresSettings")
            .field("max_connections", &self.max_connections)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl Postgres {
    /// In milliseconds, how long a change may wait in the database for a lock, for the functions that
    /// take it. Far shorter than whoever waits for the answer does, so that nothing is done after it
    /// was given up.
    fn lock_timeout(&self) -> Literal {
        let longest = self.client.lock_timeout().as_millis();
        sql::small_number(usize::try_from(longest).unwrap_or(1).max(1))
    }

    async fn count(&self) -> Result<JobCounts, StoreError> {
        let statement = "SELECT j.status, count(*) FROM progressd.jobs AS j GROUP BY j.status";
        let rows = self.client.read(statement.to_owned()).await?;
        let mut counts = JobCounts::default();
        for row in &rows {
            let mut columns = Columns::of(row);
            let mut read = || -> Result<_, BoxDynError> {
                Ok((State::parse(columns.take()?)?, columns.number()?))
            };
            let (state, count) = read().map_err(unreadable)?;
            counts.set(state, count);
        }
        Ok(counts)
    }
}

#[async_trait]
impl Store for Postgres {
    async fn create(&self, job: &Job, input: Option<&Input>) -> Result<Created, StoreError> {
        let mut arguments = write::creation(job, input);
        arguments.extend([sql::text(&self.node), self.lock_timeout()]);
        let call = sql::call("create", &arguments);
        let announcement = self.announcer.announce_creation(job.id());
        match Outcome::of(&self.client, &call, Repeat::Harmless).await? {
            Outcome::Done { first, .. } => Ok(Created::Done(first)),
            // A statement may be done twice: then it has met itself.
            Outcome::Met(stored) if stored.job.origin.incarnation == job.origin.incarnation => {
                Ok(Created::Done(stored.job.seq))
            }
            Outcome::Met(stored) => {
                announcement.call_off();
                Ok(Created::Exists(stored))
            }
            Outcome::Missing => Err(unreadable("a new job that is not there".into())),
        }
    }

    async fn reserve(
        &self,
        key: &str,
        job_id: &JobId,
        now: Timestamp,
    ) -> Result<JobId, StoreError> {
        let call = sql::call(
            "reserve",
            &[
                sql::text(key),
                sql::text(job_id.as_str()),
                sql::micros(now),
                sql::micros(now.plus_seconds(RESERVATION_SECONDS)),
            ],
        );
        let binding = self
            .client
            .write_one(format!("SELECT {call}"), Repeat::Harmless);
        Columns::of(&binding.await?).job_id().map_err(unreadable)
    }

    async fn load(&self, job_id: &JobId, now: Timestamp) -> Result<Loaded, StoreError> {
        let now = sql::moment(now);
        // One look at both tables: between two the job could go from one to the other.
        let statement = format!(
            "SELECT coalesce(j.expires_at <= {now}, false), g.incarnation, g.owner, {JOB} \
             FROM (SELECT {job_id} AS job_id) AS q \
             LEFT JOIN progressd.jobs AS j ON j.job_id = q.job_id \
             LEFT JOIN progressd.gone AS g ON g.job_id = q.job_id AND g.gone_until > {now} \
             WHERE j.job_id IS NOT NULL OR g.job_id IS NOT NULL",
            job_id = sql::text(job_id.as_str()),
        );
        let Some(row) = self.client.fetch(statement).await?.pop() else {
            return Ok(Loaded::Unknown);
        };
        let read = || -> Result<_, BoxDynError> {
            let mut columns = Columns::of(&row);
            let is_expired: bool = columns.take()?;
            let gone: Option<Uuid> = columns.take()?;
            let owner: Option<&str> = columns.take()?;
            if let Some(incarnation) = gone {
                let owner = owner.map(Arc::from);
                return Ok(Loaded::Gone(Former { owner, incarnation }));
            }
            let stored = stored(&mut columns, None)?;
            Ok(if is_expired {
                Loaded::Gone(Former::of(&stored.job.origin))
            } else {
                Loaded::Job(Box::new(stored))
            })
        };
        read().map_err(unreadable)
    }

    async fn input(&self, origin: &Origin) -> Result<Option<Input>, StoreError> {
        let statement = format!(
            "SELECT i.format, replace(encode(i.content, 'base64'), E'\\n', '') \
             FROM progressd.inputs AS i JOIN progressd.jobs AS j USING (job_no) WHERE {}",
            is_job(origin)
        );
        let row = self.client.read(statement).await?.pop();
        row.map(|row| row::input(&row))
            .transpose()
            .map_err(unreadable)
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        let mut arguments = write::change(&commit);
        arguments.extend([
            sql::small_number(self.settings.events_per_job),
            sql::number(self.settings.event_bytes_per_job as u64),
            sql::text(&self.node),
            self.lock_timeout(),
        ]);
        let call = sql::call("commit", &arguments);
        let prev = commit.job.seq;
        // Whatever comes of it, also when nobody waits for it any more: it may have been done.
        let announcement = self.announcer.announce_in_the_end(commit.job.id(), prev);
        let outcome = Outcome::of(&self.client, &call, Repeat::Never).await?;
        match outcome {
            Outcome::Done { first, has_entered } if commit.positions > 0 => {
                let seq = Committed::seq_at(prev, first, commit.positions);
                announcement.make(seq, has_entered);
            }
            _ => announcement.call_off(),
        }
        Ok(match outcome {
            Outcome::Done { first, .. } => Committed::Done { prev, first },
            Outcome::Met(stored) => Committed::Conflict(stored),
            Outcome::Missing => Committed::Missing,
        })
    }

    async fn events_after(&self, origin: &Origin, after: Seq) -> Result<KeptEvents, StoreError> {
        let statement = format!(
            "SELECT j.dropped_seq, e.seq, e.name, e.data FROM progressd.jobs AS j \
             LEFT JOIN progressd.events AS e ON e.job_no = j.job_no AND e.seq > {} \
             WHERE {} ORDER BY e.seq",
            sql::number(after.get()),
            is_job(origin)
        );
        let mut kept = KeptEvents::of_no_job();
        for row in &self.client.read(statement).await? {
            let (dropped, event) = row::event(row).map_err(unreadable)?;
            kept.dropped = dropped;
            kept.events.extend(event);
        }
        Ok(kept)
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<&Position>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let statement = list::newest(filter, before, limit, now);
        Ok(row::jobs(&self.client.read(statement).await?))
    }

    async fn unfinished(
        &self,
        kind: Option<&str>,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let statement = list::unfinished(kind, after, limit);
        Ok(row::jobs(&self.client.read(statement).await?))
    }

    async fn rows(
        &self,
        origin: &Origin,
        from: u64,
        limit: usize,
    ) -> Result<Option<Rows>, StoreError> {
        let statement = format!(
            "SELECT j.row_count, r.content FROM progressd.jobs AS j \
             LEFT JOIN progressd.result_rows AS r \
             ON r.job_no = j.job_no AND r.place >= {} AND r.place < {} \
             WHERE {} ORDER BY r.place",
            sql::number(from),
            sql::number(from.saturating_add(limit as u64)),
            is_job(origin)
        );
        let rows = self.client.read(statement).await?;
        let read = || -> Result<_, BoxDynError> {
            let mut found = Rows::default();
            for row in &rows {
                let mut columns = Columns::of(row);
                found.total = columns.number()?;
                let content: Option<&str> = columns.take()?;
                found.rows.extend(content.map(row::json_text).transpose()?);
            }
            Ok((!rows.is_empty()).then_some(found))
        };
        read().map_err(unreadable)
    }

    async fn remove(&self, origin: &Origin, gone_until: Timestamp) -> Result<(), StoreError> {
        let call = sql::call(
            "remove",
            &[
                sql::text(origin.job_id.as_str()),
                sql::uuid(origin.incarnation),
                sql::micros(gone_until),
                sql::text(&self.node),
                self.lock_timeout(),
            ],
        );
        // A second one finds the job removed.
        let removing = self
            .client
            .write(format!("SELECT {call}"), Repeat::Harmless);
        removing.await.map(drop)
    }

    async fn expire(
        &self,
        now: Timestamp,
        gone_seconds: u64,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let call = sql::call(
            "expire",
            &[
                sql::micros(now),
                sql::number(gone_seconds),
                sql::small_number(limit),
                sql::text(&self.node),
                self.lock_timeout(),
            ],
        );
        let expiring = self
            .client
            .write_one(format!("SELECT {call}"), Repeat::Harmless);
        let row = expiring.await?;
        let removed = Columns::of(&row).number().map_err(unreadable)?;
        Ok(usize::try_from(removed).unwrap_or(limit))
    }

    async fn put_if_absent(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Arc<[u8]>, StoreError> {
        let until = ttl.map(|ttl| now.plus(ttl));
        let call = sql::call(
            "put_if_absent",
            &[
                sql::text(key),
                sql::bytes(value),
                sql::micros(now),
                sql::maybe(until, sql::micros),
            ],
        );
        let statement = format!("SELECT encode({call}, 'hex')");
        let putting = self.client.write_one(statement, Repeat::Harmless);
        let row = putting.await?;
        let read = || -> Result<_, BoxDynError> {
            let text: &str = Columns::of(&row).take()?;
            Ok(hex::decode(text)?.into())
        };
        read().map_err(unreadable)
    }

    async fn counts(&self) -> Result<JobCounts, StoreError> {
        let newest = *self.counts.lock().expect("no section panics");
        if let Some((at, counts)) = newest
            && at.elapsed() < COUNTS_AGE
        {
            return Ok(counts);
        }
        let counts = self.count().await?;
        *self.counts.lock().expect("no section panics") = Some((Instant::now(), counts));
        Ok(counts)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let statement = "SELECT current_setting('transaction_read_only')::boolean";
        let row = self.client.fetch_one(statement.to_owned()).await?;
        let is_read_only: bool = Columns::of(&row).take().map_err(unreadable)?;
        match is_read_only {
            true => Err(StoreError::Unavailable(
                "PostgreSQL takes no writes: is it a standby?".to_owned(),
            )),
            false => Ok(()),
        }
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }
}

/// The condition that `j` is that very job.
fn is_job(origin: &Origin) -> String {
    format!(
        "j.job_id = {} AND j.incarnation = {}",
        sql::text(origin.job_id.as_str()),
        sql::uuid(origin.incarnation)
    )
}
