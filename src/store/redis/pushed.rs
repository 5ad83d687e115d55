//! Reports that others push straight into Redis: a stream, and messages.
//!
//! One node at a time reads both, the one that holds a lease. The lease has a number, which rises
//! whenever it changes hands. So entries are applied in their order, and a message by one node:
//! a node subscribes while it holds the lease under a number, and before it uses what it has heard
//! it makes sure that it still does under the same one: then nobody else had subscribed meanwhile.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{ErrorKind, PushInfo, RedisError, RedisResult, aio::SendError, cmd};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{Redis, address::Line, failure::unavailable, notices::message_of, scripts::call};
use crate::store::StoreError;

/// The name that readers of the stream share: Redis gives each entry to one of them.
const GROUP: &str = "progressd";

/// Entries, or messages, that are taken at a time: a job's fit into one commit.
const BATCH: usize = 128;

/// Messages that wait to be taken; more are lost, and counted.
const QUEUE: usize = 4_096;

/// How long a read waits for an entry.
const WAIT: Duration = Duration::from_secs(1);

/// A reader that has been silent for so long will not come back.
const CONSUMER_SILENCE: Duration = Duration::from_secs(3_600);

/// Refused reports that are kept, about; the oldest leave first.
const MOST_REFUSED: usize = 1_000;

/// Bytes that are kept of a refused report.
const MOST_REFUSED_BYTES: usize = 16 * 1024;

/// What others push into a Redis.
#[derive(Debug, Clone)]
pub struct PushedReports {
    redis: Arc<Redis>,
}

/// An entry of the stream.
#[derive(Debug)]
pub struct PushedEntry {
    /// Its id there.
    pub id: String,
    /// Its field `report`; `None` when it has another one, or more.
    pub report: Option<Vec<u8>>,
}

/// A message.
#[derive(Debug)]
pub struct PushedMessage {
    /// The job that its channel is about, as it stands there.
    pub job_id: String,
    /// What it says.
    pub report: Vec<u8>,
}

/// A report that nobody will take.
#[derive(Debug)]
pub struct RefusedReport<'a> {
    /// How it came.
    pub way: &'static str,
    /// The entry that it was, or the job of its channel.
    pub source: &'a str,
    /// The word for programs.
    pub code: &'a str,
    /// The sentence for people.
    pub message: &'a str,
    /// The report as it came.
    pub report: &'a [u8],
}

/// The stream, for the node that holds the lease.
pub struct PushedEntries {
    redis: Arc<Redis>,
    /// Its own, since a read that waits holds up whatever comes after it.
    line: Line,
    /// Where the search stands for entries that were given out and not finished.
    unfinished_from: Option<String>,
}

/// What is published, for the node that holds the lease.
pub struct PushedMessages {
    line: Line,
    messages: mpsc::Receiver<(Vec<u8>, Vec<u8>)>,
    lost: Arc<AtomicU64>,
    prefix: String,
    patience: Duration,
}

impl PushedReports {
    /// Those of a Redis.
    pub fn of(redis: Arc<Redis>) -> Self {
        Self { redis }
    }

    fn lease(&self) -> [String; 1] {
        [self.redis.keys.own("intake")]
    }

    fn node(&self) -> String {
        self.redis.node.to_string()
    }

    /// Takes the lease or renews it; its number, or `None` while another node holds it.
    pub async fn claim(&self, ttl: Duration) -> Result<Option<u64>, StoreError> {
        let mut claim = call(&self.redis.scripts.claim, &self.lease());
        claim.arg(self.node()).arg(millis(ttl));
        self.redis.link.call(claim).await
    }

    /// Whether the lease is still this node's under that number.
    pub async fn holds(&self, number: u64) -> Result<bool, StoreError> {
        let mut holds = call(&self.redis.scripts.holds, &self.lease());
        holds.arg(self.node()).arg(number);
        self.redis.link.call(holds).await
    }

    /// Lets go of the lease.
    pub async fn release(&self) -> Result<(), StoreError> {
        let mut release = call(&self.redis.scripts.release, &self.lease());
        release.arg(self.node());
        self.redis.link.call(release).await
    }

    /// Opens the stream; what a reader before did not finish comes first.
    pub async fn entries(&self) -> Result<PushedEntries, StoreError> {
        let line = self.redis.address.connect().await.map_err(away)?;
        Ok(PushedEntries {
            redis: Arc::clone(&self.redis),
            line,
            unfinished_from: Some("0-0".to_owned()),
        })
    }

    /// Subscribes; the lease must be held already.
    pub async fn messages(&self) -> Result<PushedMessages, StoreError> {
        let (sender, messages) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        let receiver = move |push: PushInfo| {
            if let Some(message) = message_of(push)
                && sender.try_send(message).is_err()
            {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), SendError>(())
        };
        let line = self.redis.address.listen(receiver).await.map_err(away)?;
        let prefix = self.redis.keys.own("report:");
        let patience = self.redis.patience;
        let mut connection = line.connection();
        let pattern = format!("{}*", literal(&prefix));
        let subscribing = connection.psubscribe(pattern);
        bounded(patience, subscribing).await?;
        Ok(PushedMessages {
            line,
            messages,
            lost,
            prefix,
            patience,
        })
    }

    /// Keeps what was refused, where somebody may look for it.
    pub async fn keep_refused(&self, refused: &[RefusedReport<'_>]) -> Result<(), StoreError> {
        if refused.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for report in refused {
            let bytes = report.report.len().min(MOST_REFUSED_BYTES);
            pipeline
                .cmd("XADD")
                .arg(self.redis.keys.own("reports:refused"))
                .arg("MAXLEN")
                .arg("~")
                .arg(MOST_REFUSED)
                .arg("*")
                .arg(&[("way", report.way), ("source", report.source)])
                .arg(&[("code", report.code), ("message", report.message)])
                .arg("report")
                .arg(&report.report[..bytes])
                .ignore();
        }
        self.redis.link.run(&pipeline).await
    }
}

type Fields = Option<Vec<Vec<u8>>>;
type Entries = Vec<(String, Fields)>;

impl PushedEntries {
    /// The next entries, in order; none when there was none for a second.
    pub async fn next(&mut self) -> Result<Vec<PushedEntry>, StoreError> {
        while let Some(from) = self.unfinished_from.take() {
            let (next, entries) = self.unfinished(&from).await?;
            if next != "0-0" {
                self.unfinished_from = Some(next);
            }
            if !entries.is_empty() {
                return Ok(read(entries));
            }
        }
        let mut get = cmd("XREADGROUP");
        get.arg("GROUP")
            .arg(GROUP)
            .arg(self.redis.node.to_string())
            .arg("COUNT")
            .arg(BATCH)
            .arg("BLOCK")
            .arg(millis(WAIT))
            .arg("STREAMS")
            .arg(self.stream())
            .arg(">");
        let found: Option<Vec<(String, Entries)>> = self.ask(&get).await?;
        let entries = found.into_iter().flatten().flat_map(|(_, entries)| entries);
        Ok(read(entries.collect()))
    }

    /// From now on entries come again that were not finished; with them, what another reader was
    /// given after it had lost the lease.
    pub fn begin_again(&mut self) {
        self.unfinished_from = Some("0-0".to_owned());
    }

    /// Entries that nobody needs any more.
    pub async fn finish(&self, ids: &[&str]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        let stream = self.stream();
        pipeline
            .cmd("XACK")
            .arg(&stream)
            .arg(GROUP)
            .arg(ids)
            .ignore();
        pipeline.cmd("XDEL").arg(&stream).arg(ids).ignore();
        self.redis.link.run(&pipeline).await
    }

    fn stream(&self) -> String {
        self.redis.keys.own("reports")
    }

    /// Entries that were given to whomever and not finished, from there on.
    async fn unfinished(&self, from: &str) -> Result<(String, Entries), StoreError> {
        let mut claim = cmd("XAUTOCLAIM");
        claim
            .arg(self.stream())
            .arg(GROUP)
            .arg(self.redis.node.to_string())
            .arg(0)
            .arg(from)
            .arg("COUNT")
            .arg(BATCH);
        let (next, entries, _): (String, Entries, redis::Value) = self.ask(&claim).await?;
        if next == "0-0" {
            let mut forget = call(&self.redis.scripts.consumers, &[self.stream()]);
            let node = self.redis.node.to_string();
            forget.arg(GROUP).arg(node).arg(millis(CONSUMER_SILENCE));
            let _: u64 = self.redis.link.call(forget).await?;
        }
        Ok((next, entries))
    }

    /// Asks on the line for reads that wait; where there is no stream yet, it is made.
    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, StoreError> {
        let patience = self.redis.patience + WAIT;
        match bounded(patience, self.query(command)).await {
            Err(Asked::NoGroup) => {
                let mut make = cmd("XGROUP");
                let make = make.arg("CREATE").arg(self.stream()).arg(GROUP);
                let make = make.arg("0").arg("MKSTREAM");
                match bounded::<()>(patience, self.query(make)).await {
                    // Another node was quicker.
                    Ok(()) | Err(Asked::IsThere) => {}
                    Err(error) => return Err(error.into()),
                }
                Ok(bounded(patience, self.query(command)).await?)
            }
            outcome => Ok(outcome?),
        }
    }

    async fn query<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> RedisResult<T> {
        let mut connection = self.line.connection();
        tokio::select! {
            outcome = command.query_async(&mut connection) => outcome,
            () = self.line.broken().cancelled() => {
                Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into())
            }
        }
    }
}

impl PushedMessages {
    /// The next messages; waits for the first. Cancel-safe.
    ///
    /// # Errors
    /// The subscription has ended.
    pub async fn next(&mut self) -> Result<Vec<PushedMessage>, StoreError> {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = self.line.broken().cancelled() => {
                    return Err(StoreError::Unavailable("Redis: the connection broke".to_owned()));
                }
                taken = self.messages.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return Err(StoreError::Unavailable("Redis: nobody listens".to_owned()));
                    }
                    let prefix = &self.prefix;
                    let message = |(channel, report): (Vec<u8>, Vec<u8>)| {
                        let channel = String::from_utf8(channel).unwrap_or_default();
                        let job_id = channel.strip_prefix(prefix).unwrap_or_default().to_owned();
                        PushedMessage { job_id, report }
                    };
                    return Ok(batch.into_iter().map(message).collect());
                }
                () = sleep(WAIT) => {
                    let mut connection = self.line.connection();
                    let command = cmd("PING");
                    bounded::<()>(self.patience, command.query_async(&mut connection)).await?;
                }
            }
        }
    }

    /// How many were lost since the last look, since more came than were taken.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// What came of a question.
enum Asked {
    NoGroup,
    IsThere,
    Failed(StoreError),
}

async fn bounded<T>(
    patience: Duration,
    work: impl Future<Output = RedisResult<T>>,
) -> Result<T, Asked> {
    let failed = |reason: &str| Asked::Failed(StoreError::Unavailable(reason.to_owned()));
    let outcome = timeout(patience, work).await;
    let outcome = outcome.map_err(|_| failed("Redis: it did not answer in time"))?;
    outcome.map_err(Asked::from)
}

impl From<RedisError> for Asked {
    fn from(error: RedisError) -> Self {
        match (error.kind(), error.code()) {
            (ErrorKind::Extension, Some("NOGROUP")) => Self::NoGroup,
            (ErrorKind::Extension, Some("BUSYGROUP")) => Self::IsThere,
            _ => Self::Failed(unavailable(&error)),
        }
    }
}

impl From<Asked> for StoreError {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Failed(error) => error,
            Asked::NoGroup | Asked::IsThere => {
                Self::Unavailable("Redis: the stream of reports went away".to_owned())
            }
        }
    }
}

fn away(failure: super::failure::Failure) -> StoreError {
    StoreError::Unavailable(failure.reason().to_owned())
}

/// Entries with the one field that is understood. What was deleted meanwhile is none.
fn read(entries: Entries) -> Vec<PushedEntry> {
    let entry = |(id, fields): (String, Fields)| {
        let mut fields = fields?.into_iter();
        let report = match (fields.next(), fields.next(), fields.next()) {
            (Some(name), Some(report), None) if name == b"report" => Some(report),
            _ => None,
        };
        Some(PushedEntry { id, report })
    };
    entries.into_iter().filter_map(entry).collect()
}

/// A text as a pattern that only it matches.
fn literal(text: &str) -> String {
    let mut pattern = String::new();
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for PushedEntries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PushedEntries")
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PushedMessages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PushedMessages")
            .finish_non_exhaustive()
    }
}
