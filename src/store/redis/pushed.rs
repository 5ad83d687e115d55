//! Reports that others push straight into Redis: a stream, and messages.
//!
//! One node at a time reads both, the one that holds a claim. The claim has a number, which rises
//! whenever it changes hands. So entries are applied in their order, and a message by one node:
//! a node subscribes while it holds the claim under a number, and before it uses what it has heard
//! it makes sure that it still does under the same one: then nobody else had subscribed meanwhile.

mod entries;
mod messages;

use std::{sync::Arc, time::Duration};

use redis::RedisResult;
use tokio::time::timeout;

use super::{Redis, failure::Failure, scripts::call};
use crate::store::{Store as _, StoreError};
pub use entries::{PushedBatch, PushedEntries, PushedEntry};
pub use messages::{PushedMessage, PushedMessages};

/// Entries, or messages, that are taken at a time: a job's fit into one commit.
const BATCH: usize = 128;

/// Refused reports that are kept, about; the oldest leave first.
const MOST_REFUSED: usize = 1_000;

/// Bytes that are kept of a refused report.
const MOST_REFUSED_BYTES: usize = 16 * 1024;

/// What others push into a Redis.
#[derive(Debug, Clone)]
pub struct PushedReports {
    redis: Arc<Redis>,
    most_bytes: usize,
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

impl PushedReports {
    /// Those of a Redis; the largest that anybody takes has so many bytes.
    pub fn of(redis: Arc<Redis>, most_bytes: usize) -> Self {
        Self { redis, most_bytes }
    }

    /// Bytes of the largest report that anybody takes.
    pub fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    fn claim_keys(&self) -> [String; 1] {
        [self.redis.keys.own("intake")]
    }

    fn node(&self) -> String {
        self.redis.node.to_string()
    }

    /// Takes the claim or renews it; its number, or `None` while another node holds it.
    pub async fn claim(&self, ttl: Duration) -> Result<Option<u64>, StoreError> {
        let mut claim = call(&self.redis.scripts.claim, &self.claim_keys());
        claim.arg(self.node()).arg(millis(ttl));
        self.redis.link.call(claim).await
    }

    /// Whether the claim is still this node's under that number.
    pub async fn holds(&self, number: u64) -> Result<bool, StoreError> {
        let mut holds = call(&self.redis.scripts.holds, &self.claim_keys());
        holds.arg(self.node()).arg(number);
        self.redis.link.call(holds).await
    }

    /// Lets go of the claim.
    pub async fn release(&self) -> Result<(), StoreError> {
        let mut release = call(&self.redis.scripts.release, &self.claim_keys());
        release.arg(self.node());
        self.redis.link.call(release).await
    }

    /// Whether Redis takes changes at all: what fails then is the fault of what it was about.
    pub async fn works(&self) -> bool {
        self.redis.ping().await.is_ok()
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

/// Leaves of a report that is too large only so much that this can be seen.
fn shorten(report: &mut Vec<u8>, most_bytes: usize) {
    if report.len() > most_bytes {
        report.truncate(most_bytes + 1);
        report.shrink_to_fit();
    }
}

async fn bounded<T>(
    patience: Duration,
    work: impl Future<Output = RedisResult<T>>,
) -> Result<RedisResult<T>, StoreError> {
    let late = |_| StoreError::Unavailable("Redis: it did not answer in time".to_owned());
    timeout(patience, work).await.map_err(late)
}

fn away(failure: Failure) -> StoreError {
    StoreError::Unavailable(failure.reason().to_owned())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
