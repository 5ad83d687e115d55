//! A stream on its way out: with its place among all that are open, and as a body where hyper writes it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    body::{Body, Bytes},
    response::Response,
};

use crate::{
    http::{connection::CloseGuard, limits::Seat},
    stream::{Blocks, Piece},
};

/// A stream together with its place among all that are open, which its end frees.
pub(super) struct Seated {
    pub(super) blocks: Box<dyn Blocks>,
    pub(super) _seat: Seat,
}

/// A stream as a body.
pub(super) struct Streaming(pub(super) Seated);

/// The body of a stream, whose end closes the connection.
struct Closing<B> {
    body: B,
    _close: Option<CloseGuard>,
}

/// A stream, after whose last block an HTTP/1 connection closes.
pub(super) fn closing<B>(body: B, close: Option<CloseGuard>) -> Response
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    Response::new(Body::new(Closing {
        body,
        _close: close,
    }))
}

impl<B: http_body::Body<Data = Bytes, Error = Infallible> + Unpin> http_body::Body for Closing<B> {
    type Data = Bytes;
    type Error = Infallible;

    // No size: the body ends where the stream does, whatever is known before.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

impl http_body::Body for Streaming {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let piece = self.0.poll_next(context);
        piece.map(|piece| piece.map(|piece| Ok(http_body::Frame::data(piece.joined()))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.has_ended()
    }
}

impl Blocks for Seated {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        self.blocks.poll_next(context)
    }

    fn has_ended(&self) -> bool {
        self.blocks.has_ended()
    }

    fn leave_time_to_caller(&mut self) {
        self.blocks.leave_time_to_caller();
    }

    fn next_look(&self) -> Instant {
        self.blocks.next_look()
    }

    fn rests(&mut self) -> bool {
        self.blocks.rests()
    }
}
