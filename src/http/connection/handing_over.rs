//! Taking the socket of a stream from hyper, with the head that hyper would have written.

use std::convert::Infallible;
use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::http::{Version, header};
use axum::response::Response;
use futures_util::stream::empty;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::handle::{ConnectionHandle, Surrendered};
use super::preface::Rewound;
use super::progress_io::ProgressIo;
use crate::stream::Blocks;

/// An answer whose body is a stream, on a connection that [hands over](ConnectionHandle::hands_over): it stands among
/// the extensions of a response, whose own body is empty, so that all layers see a response like any other.
#[derive(Clone)]
pub struct HandedOver(Arc<Mutex<Option<Box<dyn Blocks>>>>);

impl HandedOver {
    /// A response that brings `blocks`.
    pub fn answer(blocks: Box<dyn Blocks>) -> Response {
        let mut response = Response::new(stand_in());
        let handed_over = Self(Arc::new(Mutex::new(Some(blocks))));
        response.extensions_mut().insert(handed_over);
        response
    }

    fn take(&self) -> Option<Box<dyn Blocks>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The body of an answer that looks like a stream and brings none: of unknown length, as a stream's own is.
pub fn stand_in() -> Body {
    Body::from_stream(empty::<Result<Bytes, Infallible>>())
}

/// What is to be delivered, when a response is such an answer.
pub(super) fn surrendered(response: &mut Response, closes: bool) -> Option<Surrendered> {
    let blocks = response.extensions_mut().remove::<HandedOver>()?.take()?;
    let is_chunked = response.version() != Version::HTTP_10;
    Some(Surrendered {
        head: head(response, is_chunked, closes).into(),
        is_chunked,
        blocks,
    })
}

/// The head of a response, byte for byte as hyper writes it.
fn head(response: &Response, is_chunked: bool, closes: bool) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    let version = match is_chunked {
        true => "HTTP/1.1",
        false => "HTTP/1.0",
    };
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| head.extend_from_slice(part));
    put(&[
        version.as_bytes(),
        b" ",
        status.as_str().as_bytes(),
        b" ",
        reason.as_bytes(),
        b"\r\n",
    ]);
    for (name, value) in response.headers() {
        put(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    // What HTTP/1.0 does anyway needs no word.
    if closes && is_chunked && !response.headers().contains_key(header::CONNECTION) {
        put(&[b"connection: close\r\n"]);
    }
    if is_chunked {
        put(&[b"transfer-encoding: chunked\r\n"]);
    }
    let date = httpdate::HttpDate::from(SystemTime::now());
    write!(head, "date: {date}\r\n\r\n").expect("a vector takes everything");
    head
}

/// What may be a bare TCP socket at its bottom.
pub(super) trait IntoSocket {
    /// The socket, when nothing stands between.
    fn into_socket(self) -> Option<TcpStream>;
}

impl IntoSocket for TcpStream {
    fn into_socket(self) -> Option<TcpStream> {
        Some(self)
    }
}

impl<I: IntoSocket> IntoSocket for ProgressIo<I> {
    fn into_socket(self) -> Option<TcpStream> {
        self.into_inner().into_socket()
    }
}

impl<I: IntoSocket> IntoSocket for Rewound<I> {
    fn into_socket(self) -> Option<TcpStream> {
        self.into_inner().into_socket()
    }
}

impl<I> IntoSocket for TlsStream<I> {
    fn into_socket(self) -> Option<TcpStream> {
        None
    }
}

/// Notes whether hyper has written everything that it holds: it flushes what is below only then.
pub(super) struct Flushed<I> {
    pub(super) io: I,
    pub(super) handle: ConnectionHandle,
}

impl<I: AsyncRead + Unpin> AsyncRead for Flushed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Flushed<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.handle.set_flushed(false);
        Pin::new(&mut self.io).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.handle.set_flushed(false);
        Pin::new(&mut self.io).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(context);
        if matches!(outcome, Poll::Ready(Ok(()))) {
            self.handle.set_flushed(true);
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
