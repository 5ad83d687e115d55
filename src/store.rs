//! Where jobs live: one narrow trait, and the backends behind it.

mod embedded;
mod measured;
mod memory;
mod postgres;
mod redis;
mod shared;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::job::{
    Answer, Event, Job, JobId, Json, Ledger, NewEvent, Origin, ReportId, Seq, State, Timestamp,
};

pub use embedded::{Embedded, EmbeddedLimits, EmbeddedSettings, OpenError};
pub use measured::Measured;
pub use memory::{Memory, MemoryLimits};
pub use postgres::{OpenError as PostgresOpenError, Postgres, PostgresSettings};
pub use redis::{
    OpenError as RedisOpenError, PushedBatch, PushedEntries, PushedEntry, PushedMessage,
    PushedMessages, PushedReports, Redis, RedisSettings, RefusedReport,
};
pub use shared::{Following, Notice, Shared};

/// How long a reserved key stays bound, in seconds: as long as a job remembers a report id.
const RESERVATION_SECONDS: u64 = 86_400;

/// What an event counts besides its text: two allocations, its place in the log and its note in
/// the queue of all. Measured in memory, at 131 bytes with the shortest of events; in a file its
/// entries take about as much.
const EVENT_OVERHEAD: usize = 128;

/// What an event counts against the bounds on kept events, in bytes.
fn event_bytes(name: &str, data: &str) -> usize {
    EVENT_OVERHEAD + name.len() + data.len()
}

/// Keeps jobs, their events and their result rows.
///
/// - **Order.** Commits of one job are applied one after the other; the events of one job come
///   back in the order of their seqs. Nothing is promised about the order between jobs.
/// - **Atomicity.** A commit is there whole or not at all: state, events, rows and answers.
/// - **Compare and swap.** A commit names the seq it was made on. When the job has moved on, or
///   remembers one of the commit's report ids already, nothing is changed and the present state
///   comes back.
/// - **Seq.** The store assigns it: `max(prev + 1, the store's clock in microseconds)`.
/// - **Identity.** Whoever names a job by its `Origin`, or commits on it, means that very job: one
///   that has taken its name since is neither read nor changed.
/// - **Visibility.** After `Ok` every later read sees the commit.
/// - **Errors.** After `Err` the commit may or may not have happened, and even happen later; the
///   caller reads again and knows its commit by the nonce.
/// - **Cancel-safety.** A dropped future counts as `Err`.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Puts a new job, and what its runner will read, unless one of that name is there.
    async fn create(&self, job: &Job, input: Option<&Input>) -> Result<Created, StoreError>;

    /// Binds `key` to `job_id` for a day unless it is bound already; returns what it is bound to.
    async fn reserve(&self, key: &str, job_id: &JobId, now: Timestamp)
    -> Result<JobId, StoreError>;

    /// The job as last committed. One whose retention has ended is [`Loaded::Gone`].
    async fn load(&self, job_id: &JobId, now: Timestamp) -> Result<Loaded, StoreError>;

    /// What the job's runner reads.
    async fn input(&self, origin: &Origin) -> Result<Option<Input>, StoreError>;

    /// Applies a change.
    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, StoreError>;

    /// The kept events with a seq above `after`, in order. [`KeptEvents::of_no_job`] when there is no such job.
    async fn events_after(&self, origin: &Origin, after: Seq) -> Result<KeptEvents, StoreError>;

    /// Jobs that match, newest first, below `before`; at most `limit`, unexpired at `now`.
    async fn list(
        &self,
        filter: &Filter,
        before: Option<&Position>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Job>>, StoreError>;

    /// Unfinished jobs, oldest first, above `after`; at most `limit`. Of this kind, when one is given.
    async fn unfinished(
        &self,
        kind: Option<&str>,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Arc<Job>>, StoreError>;

    /// Result rows from index `from` on, at most `limit`; `None` when the job is not there any more.
    async fn rows(
        &self,
        origin: &Origin,
        from: u64,
        limit: usize,
    ) -> Result<Option<Rows>, StoreError>;

    /// Removes a job; until `gone_until` its name is [`Loaded::Gone`], then unknown.
    async fn remove(&self, origin: &Origin, gone_until: Timestamp) -> Result<(), StoreError>;

    /// Removes up to `limit` jobs whose retention has ended at `now`, and forgets removed names
    /// whose time is over; returns how many jobs it removed.
    async fn expire(
        &self,
        now: Timestamp,
        gone_seconds: u64,
        limit: usize,
    ) -> Result<usize, StoreError>;

    /// Puts `value` under `key`, for `ttl` or for good, unless a value is there already; returns the value that is
    /// there then.
    ///
    /// One of several who put at the same time finds its own value, whatever node they are on, and all others find that
    /// one too. A value whose time is over is not there. Where there is room for no more, this is an error: no value
    /// leaves before its time, since what was put once, a used ticket say, must be found again.
    async fn put_if_absent(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Arc<[u8]>, StoreError>;

    /// How many jobs there are, by state. Asked for at every scrape of the metrics: cheap, if need
    /// be at the price of being some seconds old.
    async fn counts(&self) -> Result<JobCounts, StoreError>;

    /// Whether the store answers, and takes changes.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Waits until everything that was answered will outlive the process: asked for before it ends.
    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// What it does besides when other nodes, or workers, change jobs in it too.
    fn shared(&self) -> Option<&dyn Shared> {
        None
    }
}

/// A change of one job, to be applied whole.
#[derive(Debug, Clone, Copy)]
pub struct Commit<'a> {
    /// The job afterwards; its `seq` is the one that the change was made on.
    pub job: &'a Job,
    /// How many positions the change takes: 0 when it only adds rows.
    pub positions: u64,
    /// Events, each with its place among the positions, from 1.
    pub events: &'a [(u64, NewEvent)],
    /// Result rows to append.
    pub rows: &'a [Json],
    /// Answers to remember; their `seq` is a place among the positions, as in [`Committed::seq_at`].
    pub answers: &'a [(ReportId, u64, Answer)],
    /// The time of the change.
    pub now: Timestamp,
    /// A number of the commit's own, by which it is known again.
    pub nonce: Uuid,
    /// Whether the next report replaces all that this one changes: then it may be answered before
    /// it is on disk.
    pub is_replaceable: bool,
}

/// What a commit came to.
#[derive(Debug)]
pub enum Committed {
    /// It was applied; `prev` is the seq before, `first` the seq of its first position.
    Done {
        /// The seq that the commit was made on.
        prev: Seq,
        /// The seq of the first position.
        first: Seq,
    },
    /// The job had moved on; nothing was changed.
    Conflict(Box<Stored>),
    /// The job is not there any more.
    Missing,
}

/// What a creation came to.
#[derive(Debug)]
pub enum Created {
    /// The job is there, with this seq.
    Done(Seq),
    /// A job of that name was there already.
    Exists(Box<Stored>),
    /// There is no room for it, or for its input.
    Full,
}

/// A name looked up.
#[derive(Debug)]
pub enum Loaded {
    /// The job.
    Job(Box<Stored>),
    /// There was a job of that name.
    Gone(Former),
    /// There is none.
    Unknown,
}

/// What is remembered of a job that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// Whose it was.
    pub owner: Option<Arc<str>>,
    /// Which one of its name it was.
    pub incarnation: Uuid,
}

/// A job with what its writer needs to go on.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The job as last committed.
    pub job: Arc<Job>,
    /// Report ids that it remembers: all, or, where a store does not read that many for nothing,
    /// at least those that a commit named which comes back as a conflict.
    pub ledger: Ledger,
    /// The nonce of its newest commit; `None` until there is one.
    pub nonce: Option<Uuid>,
}

/// Events that are still kept.
#[derive(Debug, Default)]
pub struct KeptEvents {
    /// In order.
    pub events: Vec<Event>,
    /// The highest seq of an event that was dropped; [`Seq::ZERO`] when none was.
    pub dropped: Seq,
}

impl KeptEvents {
    /// Those of a job that is not there any more: whatever it had, if anything, is dropped.
    pub fn of_no_job() -> Self {
        Self {
            events: Vec::new(),
            dropped: Seq::MAX,
        }
    }
}

/// Some of a job's result rows.
#[derive(Debug, Default)]
pub struct Rows {
    /// How many rows there are in all.
    pub total: u64,
    /// The rows asked for.
    pub rows: Vec<Json>,
}

/// What a runner works on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// How to read the content.
    pub format: InputFormat,
    /// The content as it was sent.
    pub content: Arc<[u8]>,
}

/// How an input is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputFormat {
    /// JSON.
    Json,
    /// Plain text, one item a line.
    Text,
    /// Comma-separated values (RFC 4180).
    Csv,
}

impl InputFormat {
    /// The format's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Csv => "csv",
        }
    }
}

/// Which jobs a list shows; empty fields match every job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these states.
    pub states: Vec<State>,
    /// This kind.
    pub kind: Option<String>,
    /// One of the job's tags.
    pub tag: Option<String>,
    /// This owner.
    pub owner: Option<String>,
    /// Part of this job.
    pub parent_id: Option<JobId>,
}

/// A job's place in lists: by time of creation, then by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// When the job was created.
    pub created_at: Timestamp,
    /// Its name.
    pub job_id: JobId,
}

/// How many jobs there are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobCounts([u64; State::ALL.len()]);

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// It cannot be reached, or did not answer in time.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// It answers, and takes no changes. Only [`Store::ping`] tells the one from the other.
    #[error("store takes no changes: {0}")]
    Unwritable(String),
}

impl StoreError {
    /// What is wrong with it.
    pub fn reason(&self) -> &str {
        match self {
            Self::Unavailable(reason) | Self::Unwritable(reason) => reason,
        }
    }
}

impl Former {
    /// What remains of this job.
    pub fn of(origin: &Origin) -> Self {
        Self {
            owner: origin.owner.clone(),
            incarnation: origin.incarnation,
        }
    }
}

impl Committed {
    /// The seq of a place among a commit's positions; 0 stands for the seq before it.
    pub fn seq_at(prev: Seq, first: Seq, place: u64) -> Seq {
        match place {
            0 => prev,
            place => first.plus(place - 1),
        }
    }
}

impl JobCounts {
    /// How many jobs are in this state.
    pub fn of(&self, state: State) -> u64 {
        self.0[state as usize]
    }

    /// Says how many jobs are in this state.
    pub fn set(&mut self, state: State, count: u64) {
        self.0[state as usize] = count;
    }
}

impl Filter {
    /// Whether a list by this filter shows `job`.
    pub fn matches(&self, job: &Job) -> bool {
        let origin = &job.origin;
        let is = |wanted: &Option<String>, have: &Option<Arc<str>>| {
            wanted.is_none() || wanted.as_deref() == have.as_deref()
        };
        (self.states.is_empty() || self.states.contains(&job.face.state))
            && is(&self.kind, &origin.kind)
            && is(&self.owner, &origin.owner)
            && self
                .tag
                .as_ref()
                .is_none_or(|tag| origin.tags.iter().any(|have| **have == **tag))
            && (self.parent_id.is_none() || self.parent_id == origin.parent_id)
    }
}

impl Position {
    /// Where `job` stands.
    pub fn of(job: &Job) -> Self {
        Self {
            created_at: job.origin.created_at,
            job_id: job.id().clone(),
        }
    }
}
