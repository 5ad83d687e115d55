//! What whoever delivers a stream asks it, and what it says then.

use std::{
    task::{Context, Poll},
    time::Instant,
};

use super::Piece;

/// What one watcher reads, whoever delivers it: pieces that each go out in one write.
pub trait Blocks: Send {
    /// The next piece; `None` at the end. Cancel-safe.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Piece>>;

    /// Whether nothing comes any more: then the end can leave in one write with the last piece.
    fn has_ended(&self) -> bool;

    /// From now on whoever polls looks at the clock too, for many streams at once: nothing wakes them
    /// for the time's sake, and they poll again at [`Blocks::next_look`].
    fn leave_time_to_caller(&mut self);

    /// When the stream has to be polled at the latest.
    fn next_look(&self) -> Instant;

    /// The piece is written for which it was asked just now. True when that was all: then it need not be asked again
    /// before it wakes whoever asked. Not to be relied on later: by then it may have done so.
    fn rests(&mut self) -> bool;
}
