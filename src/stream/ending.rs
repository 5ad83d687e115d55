//! How a stream ends other than with its job: an `error` block, without an id.

use std::time::Duration;

use serde::Serialize;

use super::{StreamSettings, jitter};
use crate::{
    frame::{HEARTBEAT, RETRY_NEVER_MS, error_block},
    hub::as_text,
    view::{Control, View},
};

/// A stream's end outside its job's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// The longest duration is over; the client comes back.
    Timeout,
    /// The server is shutting down; the client comes back, spread over the drain.
    Draining,
    /// Something failed here; the client comes back.
    Internal,
    /// The token has expired; coming back with the same one is no use.
    TokenExpired,
    /// The job was removed; there is nothing to come back to.
    Removed,
}

/// `{"error": …, "message": …, "code": …}`
#[derive(Serialize)]
struct Data<'a> {
    error: &'a str,
    message: &'a str,
    code: &'a str,
}

impl StreamEnd {
    /// The last block; a view may have none for it.
    pub fn block(self, settings: &StreamSettings, view: Option<&View>) -> Option<String> {
        let retry_ms = match self {
            Self::Timeout | Self::Internal => None,
            Self::Draining => Some(spread_ms(settings.retry, settings.drain)),
            Self::TokenExpired | Self::Removed => Some(RETRY_NEVER_MS),
        };
        if let Some(view) = view {
            return view.control_block(self.control(), retry_ms);
        }
        let (message, code) = match self {
            Self::Timeout => ("Stream timeout", "STREAM_TIMEOUT"),
            Self::Draining => ("Server is shutting down", "DRAINING"),
            Self::Internal => ("Internal server error", "INTERNAL"),
            Self::TokenExpired => ("Token expired", "TOKEN_EXPIRED"),
            Self::Removed => ("Job gone", "JOB_GONE"),
        };
        Some(error_block(&data(message, code), retry_ms))
    }

    fn control(self) -> Control {
        match self {
            Self::Timeout => Control::Timeout,
            Self::Draining => Control::Drain,
            Self::Internal => Control::Internal,
            Self::TokenExpired => Control::Expiry,
            Self::Removed => Control::Removal,
        }
    }
}

/// The whole of a stream that is refused although its client would come back: an `EventSource`
/// never does after a status other than 200.
pub fn refusal_block(message: &str, code: &str, retry: Duration) -> String {
    error_block(&data(message, code), Some(jitter::jittered_retry_ms(retry)))
}

/// The same in the words of a view: its block for such an end or, when it has none, no more than a sign of life.
pub fn refusal_through(view: &View, control: Option<Control>, retry: Duration) -> String {
    let retry_ms = Some(jitter::jittered_retry_ms(retry));
    let block = control.and_then(|control| view.control_block(control, retry_ms));
    block.unwrap_or_else(|| as_text(&HEARTBEAT).to_owned())
}

fn data(message: &str, code: &str) -> String {
    let data = Data {
        error: message,
        message,
        code,
    };
    serde_json::to_string(&data).expect("three strings serialize")
}

/// `retry` plus a random part of the drain, in milliseconds.
fn spread_ms(retry: Duration, drain: Duration) -> u64 {
    u64::try_from((retry + jitter::part_of(drain)).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
