//! What is published, as the node that holds the claim hears it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::{PushInfo, aio::SendError, cmd};
use tokio::{sync::mpsc, time::sleep};

use super::{BATCH, PushedReports, bounded, shorten};
use crate::store::{
    StoreError,
    redis::{address::Line, failure::unavailable, notices::message_of},
};

/// Messages that wait to be taken; more are lost, and counted.
const QUEUE: usize = 4_096;

/// Bytes of them.
const QUEUE_BYTES: usize = 16 << 20;

/// How long nothing may come before the connection is asked whether it is one.
const SILENCE: Duration = Duration::from_secs(1);

/// A message.
#[derive(Debug)]
pub struct PushedMessage {
    /// The job that its channel is about, as it stands there.
    pub job_id: String,
    /// What it says. Of one that is too large only the beginning, one byte longer than the largest.
    pub report: Vec<u8>,
}

/// What is published, for the node that holds the claim.
pub struct PushedMessages {
    line: Line,
    messages: mpsc::Receiver<(Vec<u8>, Vec<u8>)>,
    room: Arc<Room>,
    prefix: String,
    patience: Duration,
}

/// What the queue holds, and what did not fit in. Counts of their own, hence relaxed.
#[derive(Debug, Default)]
struct Room {
    bytes: AtomicUsize,
    lost: AtomicU64,
}

impl PushedReports {
    /// Subscribes; the claim must be held already.
    pub async fn messages(&self) -> Result<PushedMessages, StoreError> {
        let (sender, messages) = mpsc::channel(QUEUE);
        let room = Arc::new(Room::default());
        let (heard, most_bytes) = (Arc::clone(&room), self.most_bytes);
        let receiver = move |push: PushInfo| {
            if let Some((channel, mut report)) = message_of(push) {
                shorten(&mut report, most_bytes);
                let bytes = channel.len() + report.len();
                if !heard.take(bytes) {
                    heard.lost.fetch_add(1, Ordering::Relaxed);
                } else if sender.try_send((channel, report)).is_err() {
                    heard.give_back(bytes);
                    heard.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok::<(), SendError>(())
        };
        let line = self.redis.address.listen(receiver).await;
        let line = line.map_err(super::away)?;
        let patience = self.redis.patience;
        let mut connection = line.connection();
        let subscribing = connection.psubscribe(self.redis.keys.pushed_messages());
        let subscribed = bounded(patience, subscribing).await?;
        subscribed.map_err(|error| unavailable(&error))?;
        Ok(PushedMessages {
            line,
            messages,
            room,
            prefix: self.redis.keys.pushed_to(),
            patience,
        })
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
                    return Ok(batch.into_iter().map(|message| self.read(message)).collect());
                }
                () = sleep(SILENCE) => {
                    let mut connection = self.line.connection();
                    let command = cmd("PING");
                    let asking = command.query_async::<()>(&mut connection);
                    let answer = bounded(self.patience, asking).await?;
                    answer.map_err(|error| unavailable(&error))?;
                }
            }
        }
    }

    /// How many were lost since the last look, since more came than were taken.
    pub fn take_lost(&self) -> u64 {
        self.room.lost.swap(0, Ordering::Relaxed)
    }

    fn read(&self, (channel, report): (Vec<u8>, Vec<u8>)) -> PushedMessage {
        self.room.give_back(channel.len() + report.len());
        let channel = String::from_utf8(channel).unwrap_or_default();
        let job_id = channel.strip_prefix(&self.prefix).unwrap_or_default();
        PushedMessage {
            job_id: job_id.to_owned(),
            report,
        }
    }
}

impl Room {
    /// Whether there is room for so many bytes, which are then taken. One caller at a time.
    fn take(&self, bytes: usize) -> bool {
        let fits = self.bytes.load(Ordering::Relaxed) + bytes <= QUEUE_BYTES;
        if fits {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl fmt::Debug for PushedMessages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PushedMessages")
            .finish_non_exhaustive()
    }
}
