//! The store that several nodes share: Redis 7 or newer.
//!
//! Every change of a job is one script that Redis runs whole (`redis/*.lua`): it compares, takes
//! the time, sets the state, appends, and tells the other nodes. Everything of a job lies under
//! keys with its name in braces, so that a cluster keeps it together; what jobs are found by lies
//! elsewhere (`redis/index.rs`). The connection is watched over and replaced (`redis/link.rs`);
//! what others do is heard on another one (`redis/notices.rs`).

mod address;
mod browse;
mod change;
mod contents;
mod failure;
mod index;
mod keys;
mod link;
mod marker;
mod notices;
mod pushed;
mod read;
mod rights;
mod scripts;
mod sharing;
mod signals;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::cmd;
use thiserror::Error;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Commit, Committed, Created, Filter, Former, Input, JobCounts, KeptEvents, Loaded, Position,
    RESERVATION_SECONDS, Rows, Shared, Store, StoreError,
};
use crate::job::{Job, JobId, Origin, Seq, State, Timestamp};
use address::Address;
use browse::{Direction, Upkeep};
use failure::unreadable;
use keys::{Entry, Keys};
use link::Link;
use marker::Marker;
use notices::Hearing;
pub use pushed::{
    PushedBatch, PushedEntries, PushedEntry, PushedMessage, PushedMessages, PushedReports,
    RefusedReport,
};
use read::{Found, Held, JOB_FIELDS};
use scripts::{Scripts, call};
use signals::Signals;

/// Where Redis is, and how it is used.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://user:password@host:port/database`, or `rediss`.
    pub url: String,
    /// What every key and every channel begins with.
    pub prefix: String,
    /// PEM file with the authorities that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a Redis that is not there yet is waited for at the start.
    pub start_patience: Duration,
    /// Kept events per job.
    pub events_per_job: usize,
    /// Bytes of kept events per job.
    pub event_bytes_per_job: usize,
}

/// Why a Redis cannot be used: a sentence for operators.
#[derive(Debug, Clone, Error)]
#[error("{0}")]
pub struct OpenError(String);

/// Jobs in Redis.
pub struct Redis {
    address: Arc<Address>,
    patience: Duration,
    link: Link,
    hearing: Hearing,
    keys: Arc<Keys>,
    scripts: Scripts,
    signals: Arc<Signals>,
    upkeep: Upkeep,
    /// Who this is among those who use the same Redis.
    node: Uuid,
    events_per_job: usize,
    event_bytes_per_job: usize,
}

impl Redis {
    /// Connects. A Redis that is away, or still loading, is waited for.
    ///
    /// # Errors
    /// A sentence: what is wrong with the settings, or what Redis has against them; or that it was
    /// waited for in vain.
    pub async fn open(settings: RedisSettings) -> Result<Self, OpenError> {
        let patience = settings.timeout;
        let address =
            Address::parse(&settings.url, settings.ca.as_deref(), patience).map_err(OpenError)?;
        let address = Arc::new(address);
        let keys = Arc::new(Keys::new(&settings.prefix, address.database()));
        let signals = Arc::new(Signals::default());
        let give_up = Instant::now() + settings.start_patience;
        let link = Link::open(
            Arc::clone(&address),
            Marker::new(keys.own("marker"), Arc::clone(&signals)),
            patience,
            give_up,
        )
        .await
        .map_err(|failure| OpenError(failure.reason().to_owned()))?;
        rights::check(&address, &keys, patience, give_up)
            .await
            .map_err(OpenError)?;
        let node = Uuid::now_v7();
        Ok(Self {
            address: Arc::clone(&address),
            patience,
            link,
            hearing: Hearing::start(
                address,
                Arc::clone(&keys),
                Arc::clone(&signals),
                node,
                patience,
            ),
            keys,
            scripts: Scripts::new(),
            signals,
            upkeep: Upkeep::default(),
            node,
            events_per_job: settings.events_per_job,
            event_bytes_per_job: settings.event_bytes_per_job,
        })
    }

    /// What is not there, unless Redis has just lost everything: then it may yet come back, and
    /// nobody is told that a job is gone which another node still holds.
    async fn absent<T>(&self, told: T) -> Result<T, StoreError> {
        self.link.check().await?;
        match self.signals.is_returning() {
            true => Err(StoreError::Unavailable(
                "Redis: it came back empty, and jobs are being put back".to_owned(),
            )),
            false => Ok(told),
        }
    }

    async fn put(
        &self,
        key: String,
        value: &[u8],
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Vec<u8>, StoreError> {
        let end = ttl.map_or(0, |ttl| {
            let micros = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
            Timestamp::from_micros(now.as_micros().saturating_add(micros)).as_micros()
        });
        let mut put = call(&self.scripts.put, &[key]);
        put.arg(value).arg(now.as_micros()).arg(end);
        self.link.call(put).await
    }
}

#[async_trait]
impl Store for Redis {
    async fn create(&self, job: &Job, input: Option<&Input>) -> Result<Created, StoreError> {
        self.put_new(job, input).await
    }

    async fn reserve(
        &self,
        key: &str,
        job_id: &JobId,
        now: Timestamp,
    ) -> Result<JobId, StoreError> {
        let key = self.keys.own(&format!("request:{key}"));
        let ttl = Duration::from_secs(RESERVATION_SECONDS);
        let bound = self
            .put(key, job_id.as_str().as_bytes(), Some(ttl), now)
            .await?;
        let bound = String::from_utf8(bound).map_err(|error| unreadable("a name", error))?;
        JobId::parse(&bound).map_err(|rule| unreadable("a name", rule))
    }

    async fn load(&self, job_id: &JobId, now: Timestamp) -> Result<Loaded, StoreError> {
        let mut get = cmd("HMGET");
        get.arg(self.keys.job(job_id)).arg(&JOB_FIELDS[..]);
        let found: Found = self.link.call(get).await?;
        match Held::read(found)? {
            Held::Job(stored) if is_expired(&stored.job, now) => {
                Ok(Loaded::Gone(Former::of(&stored.job.origin)))
            }
            Held::Job(stored) => Ok(Loaded::Job(stored)),
            Held::Gone(origin, until) if until > now => Ok(Loaded::Gone(Former::of(&origin))),
            Held::Gone(..) => Ok(Loaded::Unknown),
            Held::Nothing => self.absent(Loaded::Unknown).await,
        }
    }

    async fn input(&self, origin: &Origin) -> Result<Option<Input>, StoreError> {
        self.input_of(origin).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError> {
        self.change(&commit).await
    }

    async fn events_after(&self, origin: &Origin, after: Seq) -> Result<KeptEvents, StoreError> {
        self.events_of(origin, after).await
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<&Position>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let indexes = self.indexes_for(filter).await?;
        let from = Entry::before(before);
        let fits = |job: &Job| filter.matches(job) && !is_expired(job, now);
        self.browse(indexes, &from, Direction::NewestFirst, limit, fits)
            .await
    }

    async fn unfinished(
        &self,
        kind: Option<&str>,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Arc<Job>>, StoreError> {
        let states = [State::Pending, State::Processing];
        let indexes = match kind {
            Some(kind) => vec![vec![self.keys.index("unfinished", kind)]],
            None => vec![states.map(|state| self.keys.state(state)).into()],
        };
        let from = Entry::after(after);
        let fits = |job: &Job| {
            !job.is_finished() && (kind.is_none() || kind == job.origin.kind.as_deref())
        };
        self.browse(indexes, &from, Direction::OldestFirst, limit, fits)
            .await
    }

    async fn rows(
        &self,
        origin: &Origin,
        from: u64,
        limit: usize,
    ) -> Result<Option<Rows>, StoreError> {
        self.rows_of(origin, from, limit).await
    }

    async fn remove(&self, origin: &Origin, gone_until: Timestamp) -> Result<(), StoreError> {
        let remove = self.call_remove(origin, gone_until.as_micros(), None);
        let _: Option<String> = self.link.call(remove).await?;
        let mut pipeline = redis::pipe();
        index::forget(&mut pipeline, &self.keys, origin);
        self.link.tell(pipeline).await;
        Ok(())
    }

    async fn expire(
        &self,
        now: Timestamp,
        gone_seconds: u64,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let removed = self.expire_some(now, gone_seconds, limit).await?;
        // Names that are gone leave by themselves.
        self.look_after().await?;
        Ok(removed)
    }

    async fn put_if_absent(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Arc<[u8]>, StoreError> {
        let key = self.keys.own(&format!("value:{key}"));
        self.put(key, value, ttl, now).await.map(Arc::from)
    }

    async fn counts(&self) -> Result<JobCounts, StoreError> {
        let mut pipeline = redis::pipe();
        for state in State::ALL {
            pipeline.cmd("ZCARD").arg(self.keys.state(state));
        }
        let found: Vec<u64> = self.link.run(&pipeline).await?;
        let mut counts = JobCounts::default();
        for (state, count) in State::ALL.into_iter().zip(found) {
            counts.set(state, count);
        }
        Ok(counts)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let mut ping = call(&self.scripts.ping, &[self.keys.own("ping")]);
        // To nobody: there is no job without a name.
        ping.arg(self.keys.channel(""));
        let Err(error) = self.link.call::<()>(ping).await else {
            return Ok(());
        };
        // What can still be read, when its memory is full, say, is read.
        match self.link.call::<()>(cmd("PING")).await {
            Ok(()) => Err(StoreError::Unwritable(error.reason().to_owned())),
            Err(error) => Err(error),
        }
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.to_string();
        formatter
            .debug_struct("Redis")
            .field("address", &address)
            .finish_non_exhaustive()
    }
}

fn is_expired(job: &Job, now: Timestamp) -> bool {
    job.expires_at().is_some_and(|end| end <= now)
}

fn incarnation(origin: &Origin) -> String {
    origin.incarnation.to_string()
}

/// A moment as scripts take it: nothing when there is none.
fn micros(moment: Option<Timestamp>) -> String {
    moment.map_or_else(String::new, |moment| moment.as_micros().to_string())
}
