//! Lines of NDJSON, as they come with the pieces of a request's body.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder as _, LinesCodec, LinesCodecError};

use super::{ApiError, ErrorCode};

/// The longest silence of a client in a body of lines; a blank one breaks it as well as any other.
pub(super) const LONGEST_SILENCE: Duration = Duration::from_secs(300);

/// Cuts a body into its lines, which have a longest length.
#[derive(Debug)]
pub(super) struct Lines {
    codec: LinesCodec,
    /// What came and was not taken yet.
    buffer: BytesMut,
    has_ended: bool,
    number: u64,
}

impl Lines {
    /// Of a body whose lines have at most so many bytes.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self {
            codec: LinesCodec::new_with_max_length(most_bytes),
            buffer: BytesMut::new(),
            has_ended: false,
            number: 0,
        }
    }

    /// Takes the next piece of the body; `None` is its end.
    pub(super) fn feed(&mut self, piece: Option<Bytes>) {
        self.has_ended |= piece.is_none();
        self.buffer.extend_from_slice(&piece.unwrap_or_default());
    }

    /// The next line that is whole and not blank, or why it cannot be taken: then the one behind it
    /// comes next.
    pub(super) fn next_line(&mut self) -> Option<Result<String, ApiError>> {
        loop {
            let decoded = if self.has_ended {
                self.codec.decode_eof(&mut self.buffer)
            } else {
                self.codec.decode(&mut self.buffer)
            };
            self.number += u64::from(!matches!(decoded, Ok(None)));
            return Some(match decoded {
                Ok(None) => return None,
                Ok(Some(text)) if text.trim().is_empty() => continue,
                Ok(Some(text)) => Ok(text),
                Err(LinesCodecError::MaxLineLengthExceeded) => {
                    let most = self.codec.max_length();
                    let message = format!("The line must have at most {most} bytes");
                    Err(ApiError::new(ErrorCode::PayloadTooLarge).because(message))
                }
                Err(LinesCodecError::Io(_)) => Err(ApiError::invalid("", "the line must be UTF-8")),
            });
        }
    }

    /// The number of the newest line, counted from 1, blank ones too.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether the body has ended; lines may still be there.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// How many bytes came and were not taken yet.
    pub(super) fn held_bytes(&self) -> usize {
        self.buffer.len()
    }
}
