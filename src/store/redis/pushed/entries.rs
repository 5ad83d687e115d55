//! The stream of reports, as the node that holds the claim reads it.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use redis::{FromRedisValue, cmd};

use super::{BATCH, PushedReports, bounded, millis};
use crate::store::{
    StoreError,
    redis::{Redis, address::Line, failure::unavailable, link::query, scripts::call},
};

/// The name that readers of the stream share: Redis gives each entry to one of them.
const GROUP: &str = "progressd";

/// Bytes of reports that are enough for a batch.
const BATCH_BYTES: usize = 4 << 20;

/// A reader that has been silent for so long will not come back.
const CONSUMER_SILENCE: Duration = Duration::from_secs(3_600);

/// An entry of the stream.
#[derive(Debug)]
pub struct PushedEntry {
    /// Its id there.
    pub id: String,
    /// Its field `report`; `None` when it has another one, or more. Of one that is too large only
    /// the beginning, one byte longer than the largest.
    pub report: Option<Vec<u8>>,
}

/// Some entries, in order.
#[derive(Debug)]
pub struct PushedBatch {
    /// The entries.
    pub entries: Vec<PushedEntry>,
    /// Whether nobody had read them before. Then whatever had been, and was not finished, has come.
    pub is_new: bool,
}

/// The stream, for the node that holds the claim.
pub struct PushedEntries {
    redis: Arc<Redis>,
    /// Its own, since a read that waits holds up whatever comes after it.
    line: Line,
    most_bytes: usize,
    /// Where the search stands for entries that were given out and not finished.
    unfinished_from: Option<String>,
    /// Such entries that were found, and not read yet.
    unfinished: VecDeque<String>,
}

type Fields = Option<Vec<Vec<u8>>>;
type Read = (usize, Vec<(String, Option<Vec<u8>>)>);

impl PushedReports {
    /// Opens the stream, which is made where there is none; what a reader before did not finish
    /// comes first.
    pub async fn entries(&self) -> Result<PushedEntries, StoreError> {
        let line = self.redis.address.connect().await.map_err(super::away)?;
        let entries = PushedEntries {
            redis: Arc::clone(&self.redis),
            line,
            most_bytes: self.most_bytes,
            unfinished_from: Some("0-0".to_owned()),
            unfinished: VecDeque::new(),
        };
        let mut make = redis::pipe();
        make.cmd("XGROUP").arg("CREATE").arg(entries.stream());
        make.arg(GROUP).arg("0").arg("MKSTREAM");
        match bounded(self.redis.patience, query(&entries.line, &make)).await? {
            Err(error) if error.code() != Some("BUSYGROUP") => Err(unavailable(&error)),
            // Or it was there already.
            Ok(()) | Err(_) => Ok(entries),
        }
    }
}

impl PushedEntries {
    /// The next entries, as many as fit into a commit and into memory: those that were not finished
    /// before, then new ones; none when there was none for so long.
    pub async fn next(&mut self, wait: Duration) -> Result<PushedBatch, StoreError> {
        loop {
            if !self.unfinished.is_empty() {
                let ids: Vec<&str> = self.unfinished.iter().map(String::as_str).collect();
                let (looked, entries) = self.read(&ids).await?;
                self.unfinished.drain(..looked.clamp(1, ids.len()));
                if !entries.is_empty() {
                    let is_new = false;
                    return Ok(PushedBatch { entries, is_new });
                }
            } else if let Some(from) = self.unfinished_from.take() {
                self.find_unfinished(&from).await?;
            } else {
                break;
            }
        }
        let (_, mut entries) = self.read(&[]).await?;
        if entries.is_empty() && !wait.is_zero() {
            entries = self.wait_for_one(wait).await?;
        }
        let is_new = true;
        Ok(PushedBatch { entries, is_new })
    }

    /// From now on entries come again that were not finished; with them, what another reader was
    /// given after it had lost the claim.
    pub fn begin_again(&mut self) {
        self.unfinished.clear();
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

    fn node(&self) -> String {
        self.redis.node.to_string()
    }

    /// Reads these entries, or new ones; with how many of these it has looked at.
    async fn read(&self, ids: &[&str]) -> Result<(usize, Vec<PushedEntry>), StoreError> {
        let mut read = call(&self.redis.scripts.entries, &[self.stream()]);
        read.arg(GROUP)
            .arg(self.node())
            .arg(BATCH)
            .arg(BATCH_BYTES)
            .arg(self.most_bytes + 1)
            .arg(ids);
        let (looked, found): Read = self.redis.link.call(read).await?;
        let entries = found
            .into_iter()
            .map(|(id, report)| PushedEntry { id, report });
        Ok((looked, entries.collect()))
    }

    /// Waits for a new entry. It may be of any size, hence no more than one.
    async fn wait_for_one(&self, wait: Duration) -> Result<Vec<PushedEntry>, StoreError> {
        let mut get = cmd("XREADGROUP");
        get.arg("GROUP")
            .arg(GROUP)
            .arg(self.node())
            .arg("COUNT")
            .arg(1)
            .arg("BLOCK")
            // Zero would be for ever.
            .arg(millis(wait).max(1))
            .arg("STREAMS")
            .arg(self.stream())
            .arg(">");
        type Streams = Option<Vec<(String, Vec<(String, Fields)>)>>;
        let found: Streams = self.ask(get, wait).await?;
        let entries = found.into_iter().flatten().flat_map(|(_, entries)| entries);
        let entry = |(id, fields): (String, Fields)| {
            let mut fields = fields?.into_iter();
            let report = match (fields.next(), fields.next(), fields.next()) {
                (Some(name), Some(mut report), None) if name == b"report" => {
                    super::shorten(&mut report, self.most_bytes);
                    Some(report)
                }
                _ => None,
            };
            Some(PushedEntry { id, report })
        };
        Ok(entries.filter_map(entry).collect())
    }

    /// Takes over entries that were given to whomever and not finished, from there on.
    async fn find_unfinished(&mut self, from: &str) -> Result<(), StoreError> {
        let mut claim = cmd("XAUTOCLAIM");
        claim
            .arg(self.stream())
            .arg(GROUP)
            .arg(self.node())
            .arg(0)
            .arg(from)
            .arg("COUNT")
            .arg(BATCH)
            .arg("JUSTID");
        type Found = (String, Vec<String>, redis::Value);
        let (next, ids, _): Found = self.ask(claim, Duration::ZERO).await?;
        self.unfinished.extend(ids);
        if next == "0-0" {
            let mut forget = call(&self.redis.scripts.consumers, &[self.stream()]);
            forget.arg(GROUP).arg(self.node());
            forget.arg(millis(CONSUMER_SILENCE));
            let _: u64 = self.redis.link.call(forget).await?;
        } else {
            self.unfinished_from = Some(next);
        }
        Ok(())
    }

    /// Asks on the line for reads that wait.
    async fn ask<T: FromRedisValue>(
        &self,
        command: redis::Cmd,
        wait: Duration,
    ) -> Result<T, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.add_command(command);
        let asking = query::<(T,)>(&self.line, &pipeline);
        let answer = bounded(self.redis.patience + wait, asking).await?;
        let (value,) = answer.map_err(|error| unavailable(&error))?;
        Ok(value)
    }
}

impl fmt::Debug for PushedEntries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PushedEntries")
            .finish_non_exhaustive()
    }
}
