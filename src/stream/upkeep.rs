//! What a stream has besides its blocks: heartbeats, and a latest end.
//!
//! The one timer of a stream stands in the runtime's wheel for whichever comes first.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{StreamEnd, StreamOptions, StreamSettings, jitter};
use crate::frame::{HEARTBEAT, HEARTBEAT_EVENT};

/// What is due.
#[derive(Debug)]
pub(super) enum Due {
    /// Nothing was written for long enough: this.
    Heartbeat(Bytes),
    /// The end, whatever the jobs do.
    End(StreamEnd),
}

/// The upkeep of one stream.
pub(super) struct Upkeep {
    has_visible_heartbeat: bool,
    revoked: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// How long a silence may last, with this connection's jitter.
    patience: Duration,
    silent_since: Instant,
    latest_end: (Instant, StreamEnd),
    timer: Pin<Box<Sleep>>,
}

impl Upkeep {
    /// That of a stream which begins now.
    pub(super) fn new(settings: &StreamSettings, options: StreamOptions) -> Self {
        let now = Instant::now();
        let longest = jitter::shortened(settings.max_duration);
        let latest_end = match options.expires_in {
            Some(expires_in) if expires_in < longest => (now + expires_in, StreamEnd::TokenExpired),
            _ => (now + longest, StreamEnd::Timeout),
        };
        let patience = jitter::shortened(settings.heartbeat);
        let first_wake = (now + patience).min(latest_end.0);
        Self {
            has_visible_heartbeat: options.has_visible_heartbeat,
            revoked: options.revoked,
            patience,
            silent_since: now,
            latest_end,
            timer: Box::pin(sleep_until(first_wake)),
        }
    }

    /// Something was written.
    pub(super) fn written(&mut self, now: Instant) {
        self.silent_since = now;
    }

    /// Whether the stream has to end by now. Not left to the timer, to which a watcher that always
    /// has something to read would never come.
    pub(super) fn end(&mut self, context: &mut Context<'_>) -> Option<StreamEnd> {
        let (latest_end, reason) = self.latest_end;
        if Instant::now() >= latest_end {
            return Some(reason);
        }
        let revoked = self.revoked.as_mut();
        let is_revoked = revoked.is_some_and(|revoked| revoked.as_mut().poll(context).is_ready());
        is_revoked.then_some(StreamEnd::TokenExpired)
    }

    /// What is due next by the clock. Cancel-safe.
    pub(super) fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<Due> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            let now = Instant::now();
            let (latest_end, reason) = self.latest_end;
            if now >= latest_end {
                return Poll::Ready(Due::End(reason));
            }
            let is_silent = now >= self.silent_since + self.patience;
            if is_silent {
                self.silent_since = now;
            }
            // Bytes move the silence, not the timer: it looks again when the silence could be over.
            let next_wake = (self.silent_since + self.patience).min(latest_end);
            self.timer.as_mut().reset(next_wake);
            if is_silent {
                return Poll::Ready(Due::Heartbeat(match self.has_visible_heartbeat {
                    true => HEARTBEAT_EVENT,
                    false => HEARTBEAT,
                }));
            }
        }
    }
}

impl fmt::Debug for Upkeep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Upkeep")
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
