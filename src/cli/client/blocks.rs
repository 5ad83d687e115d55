//! A stream as its client reads it: block after block, with an eye on how long the line is silent.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use eventsource_stream::{Event, EventStreamError, Eventsource as _};
use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use reqwest::Response;
use tokio::time::{Instant, timeout};

use super::CallError;

/// The most bytes that may come without ending a block: above what a server puts into one by any
/// sensible configuration, and little enough to be held.
const MOST_BLOCK_BYTES: usize = 16 << 20;

/// A heartbeat as it comes alone.
const HEARTBEAT: &[u8] = b":\n";

/// How short the learned patience may get: a busy machine is late too.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// The byte order mark in UTF-8, which a stream may begin with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A block with data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its name; `message` when it has none.
    pub event: String,
    /// What it carries.
    pub data: String,
    /// When to come back.
    pub retry: Option<Duration>,
    /// Its id, unless it has none or that of the block before.
    pub id: Option<String>,
}

/// Why there are no further blocks, other than by the end of the stream.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Not a byte came for so long.
    #[error("nothing came for {} s", .0.as_secs())]
    Silent(Duration),
    /// The connection broke.
    #[error(transparent)]
    Cut(#[from] CallError),
    /// It is no stream of events, or one with a block without an end.
    #[error("what came is no stream of events")]
    Garbled,
}

/// The blocks of an answer.
pub struct Blocks {
    events: BoxStream<'static, Result<Event, EventStreamError<Broken>>>,
    line: Arc<Mutex<Line>>,
    last_id: String,
}

/// What is known of the connection. A lock for looking only; nothing is awaited under it.
#[derive(Debug)]
struct Line {
    /// Pieces that have come.
    pieces: usize,
    /// Bytes since the last block.
    unread: usize,
    /// How long the first piece may take, then each.
    first: Duration,
    patience: Duration,
}

impl Blocks {
    /// Reads an answer whose first byte may take `first`, and each later one `patience`, until
    /// heartbeats have shown how often they come.
    pub fn of(response: Response, first: Duration, patience: Duration) -> Self {
        let line = Arc::new(Mutex::new(Line {
            pieces: 0,
            unread: 0,
            first,
            patience,
        }));
        let events = pieces(response, Arc::clone(&line)).eventsource().boxed();
        Self {
            events,
            line,
            last_id: String::new(),
        }
    }

    /// The next block; `None` at the end. What has not come yet is not lost when it is dropped.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn next(&mut self) -> Result<Option<Block>, Broken> {
        let event = match self.events.next().await {
            None => return Ok(None),
            Some(Ok(event)) => event,
            Some(Err(EventStreamError::Transport(broken))) => return Err(broken),
            Some(Err(_)) => return Err(Broken::Garbled),
        };
        lock(&self.line).unread = 0;
        let id = (event.id != self.last_id).then(|| event.id.clone());
        self.last_id = event.id;
        Ok(Some(Block {
            event: event.event,
            data: event.data,
            retry: event.retry,
            id,
        }))
    }

    /// How many pieces have come.
    pub fn pieces(&self) -> usize {
        lock(&self.line).pieces
    }

    /// How long a silence may be by now.
    pub fn patience(&self) -> Duration {
        lock(&self.line).patience
    }
}

impl Line {
    fn limit(&self) -> Duration {
        match self.pieces {
            0 => self.first,
            _ => self.patience,
        }
    }

    /// A piece has come after so long.
    fn heard(&mut self, piece: &[u8], after: Duration) -> Result<(), Broken> {
        if self.pieces > 0 && piece == HEARTBEAT {
            // They come up to a tenth early, and never without that silence before them.
            let longest = after.mul_f64(1.5 / 0.9);
            self.patience = longest.max(LEAST_PATIENCE);
        }
        self.pieces += 1;
        self.unread += piece.len();
        match self.unread > MOST_BLOCK_BYTES {
            true => Err(Broken::Garbled),
            false => Ok(()),
        }
    }
}

/// The pieces as they come, without a byte order mark: the parser behind would take one for a single byte and
/// panic.
fn pieces(
    response: Response,
    line: Arc<Mutex<Line>>,
) -> impl Stream<Item = Result<Bytes, Broken>> + Send {
    let state = (response, line, Some(Vec::new()));
    futures_util::stream::try_unfold(state, |(mut response, line, mut head)| async move {
        loop {
            let (limit, since) = (lock(&line).limit(), Instant::now());
            let piece = timeout(limit, response.chunk()).await;
            let piece = piece.map_err(|_| Broken::Silent(limit))?;
            let Some(piece) = piece.map_err(CallError::from)? else {
                return Ok(None);
            };
            lock(&line).heard(&piece, since.elapsed())?;
            let Some(begun) = &mut head else {
                return Ok(Some((piece, (response, line, head))));
            };
            begun.extend_from_slice(&piece);
            if begun.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(begun) {
                continue;
            }
            let begun = Bytes::from(head.take().unwrap_or_default());
            let is_marked = begun.starts_with(BYTE_ORDER_MARK);
            let text = begun.slice(if is_marked { BYTE_ORDER_MARK.len() } else { 0 }..);
            return Ok(Some((text, (response, line, head))));
        }
    })
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    // Numbers, whatever happened to whoever held them.
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
