//! Telling HTTP/2 from HTTP/1 by the first bytes of a connection.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What an HTTP/2 client with prior knowledge sends first (RFC 9113, section 3.4).
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A socket whose first bytes were looked at and are read again.
pub(super) struct Rewound<I> {
    io: I,
    first: [u8; PREFACE.len()],
    /// The part of `first` that is still to be read.
    unread: std::ops::Range<usize>,
}

/// Reads until the bytes differ from the HTTP/2 preface or are all of it.
///
/// A connection that ends before is HTTP/1, whose server knows what to do with a broken
/// head. How long a client may take is the caller's business.
///
/// # Errors
/// Whatever reading from `io` fails with.
pub(super) async fn detect<I: AsyncRead + Unpin>(mut io: I) -> io::Result<(Protocol, Rewound<I>)> {
    let mut first = [0; PREFACE.len()];
    let mut filled = 0;
    let protocol = loop {
        if filled == PREFACE.len() {
            break Protocol::Http2;
        }
        let mut rest = ReadBuf::new(&mut first[filled..]);
        poll_fn(|context| Pin::new(&mut io).poll_read(context, &mut rest)).await?;
        let read = rest.filled().len();
        filled += read;
        if read == 0 || !PREFACE.starts_with(&first[..filled]) {
            break Protocol::Http1;
        }
    };
    let unread = 0..filled;
    Ok((protocol, Rewound { io, first, unread }))
}

impl<I> Rewound<I> {
    /// A socket of which nothing was read.
    pub(super) fn untouched(io: I) -> Self {
        Self {
            io,
            first: [0; PREFACE.len()],
            unread: 0..0,
        }
    }

    /// What lies below.
    pub(super) fn into_inner(self) -> I {
        self.io
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Rewound<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.unread.is_empty() {
            return Pin::new(&mut this.io).poll_read(context, buffer);
        }
        let copied = this.unread.len().min(buffer.remaining());
        let end = this.unread.start + copied;
        buffer.put_slice(&this.first[this.unread.start..end]);
        this.unread.start = end;
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Rewound<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Sends `bytes` one by one, so that every read is a partial one, then the end.
    async fn detect_bytewise(bytes: &'static [u8]) -> (Protocol, Vec<u8>) {
        let (mut client, server) = tokio::io::duplex(1);
        let sender = tokio::spawn(async move {
            client.write_all(bytes).await.expect("the server reads on");
        });
        let (protocol, mut rewound) = detect(server).await.expect("a duplex never fails");
        let mut all = Vec::new();
        rewound
            .read_to_end(&mut all)
            .await
            .expect("a duplex never fails");
        sender.await.expect("the sender does not panic");
        (protocol, all)
    }

    #[tokio::test]
    async fn the_whole_preface_in_single_bytes_is_http2_and_nothing_is_lost() {
        let (protocol, bytes) = detect_bytewise(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nsettings").await;
        assert_eq!(protocol, Protocol::Http2);
        assert_eq!(bytes, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nsettings");
    }

    #[tokio::test]
    async fn a_head_that_begins_like_the_preface_is_http1_and_nothing_is_lost() {
        for bytes in [
            &b"PRI * HTTP/1.1\r\n\r\n"[..],
            b"PROPFIND / HTTP/1.1\r\n",
            b"",
            b"PRI",
        ] {
            let (protocol, read) = detect_bytewise(bytes).await;
            assert_eq!(protocol, Protocol::Http1);
            assert_eq!(read, bytes);
        }
    }

    #[tokio::test]
    async fn the_first_differing_byte_decides_without_waiting_for_more() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(b"PU").await.expect("the pipe has room");
        // The client stays and sends nothing more: waiting for 24 bytes would hang here.
        let (protocol, _) = detect(server).await.expect("a duplex never fails");
        assert_eq!(protocol, Protocol::Http1);
    }
}
