//! What a stream has besides its blocks: heartbeats, and a latest end.
//!
//! The one timer of a stream stands in the runtime's wheel for whichever comes first, unless whoever polls it
//! looks at the clock for many streams at once.

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
    /// When to look at the clock again.
    next_look: Instant,
    timer: Timer,
}

/// Who wakes the stream when its time has come.
enum Timer {
    /// The runtime; its timer is made when it is first waited for.
    Own(Option<Pin<Box<Sleep>>>),
    /// Whoever polls.
    Callers,
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
        Self {
            has_visible_heartbeat: options.has_visible_heartbeat,
            revoked: options.revoked,
            patience,
            silent_since: now,
            next_look: (now + patience).min(latest_end.0),
            latest_end,
            timer: Timer::Own(None),
        }
    }

    /// Leaves it to whoever polls to do so again at [`Upkeep::next_look`].
    pub(super) fn leave_time_to_caller(&mut self) {
        self.timer = Timer::Callers;
    }

    /// When to look at the clock again.
    pub(super) fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Something was written.
    pub(super) fn written(&mut self, now: Instant) {
        self.silent_since = now;
    }

    /// Whether the stream has to end by `now`. Not left to the timer, to which a watcher that always
    /// has something to read would never come.
    pub(super) fn end(&mut self, now: Instant, context: &mut Context<'_>) -> Option<StreamEnd> {
        let (latest_end, reason) = self.latest_end;
        if now >= latest_end {
            return Some(reason);
        }
        let revoked = self.revoked.as_mut();
        let is_revoked = revoked.is_some_and(|revoked| revoked.as_mut().poll(context).is_ready());
        is_revoked.then_some(StreamEnd::TokenExpired)
    }

    /// What is due next by the clock. Cancel-safe.
    pub(super) fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<Due> {
        loop {
            ready!(self.poll_next_look(context));
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
            self.look_again((self.silent_since + self.patience).min(latest_end));
            if is_silent {
                return Poll::Ready(Due::Heartbeat(match self.has_visible_heartbeat {
                    true => HEARTBEAT_EVENT,
                    false => HEARTBEAT,
                }));
            }
        }
    }

    fn poll_next_look(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Timer::Own(timer) => timer
                .get_or_insert_with(|| Box::pin(sleep_until(self.next_look)))
                .as_mut()
                .poll(context),
            Timer::Callers if Instant::now() >= self.next_look => Poll::Ready(()),
            Timer::Callers => Poll::Pending,
        }
    }

    fn look_again(&mut self, at: Instant) {
        self.next_look = at;
        if let Timer::Own(Some(timer)) = &mut self.timer {
            timer.as_mut().reset(at);
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
