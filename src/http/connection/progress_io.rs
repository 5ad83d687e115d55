//! A socket that fails when its peer has stopped reading.
//!
//! A timeout inside a response body never fires for such a client, since nobody asks the
//! body for more; so the clock runs here, below hyper, where output waits.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::{delivery::stopped_reading, metrics::ConnectionMetrics};

/// Up to this many bytes, pieces are copied together instead of being handed to the
/// kernel one by one: for frames of some hundred bytes the copy is the cheaper way.
const JOIN_UP_TO: usize = 16 * 1024;

thread_local! {
    /// One buffer per runtime thread, so that no connection has to keep one.
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Passes everything through, and fails with `TimedOut` when output has been waiting for
/// `write_timeout` without a single byte being accepted.
pub(super) struct ProgressIo<I> {
    io: I,
    write_timeout: Duration,
    metrics: Arc<ConnectionMetrics>,
    /// Runs only while output waits. Its waker is the connection's task, which then
    /// tries to write once more and learns of the failure.
    blocked: Option<Pin<Box<Sleep>>>,
}

impl<I> ProgressIo<I> {
    pub(super) fn new(io: I, write_timeout: Duration, metrics: Arc<ConnectionMetrics>) -> Self {
        Self {
            io,
            write_timeout,
            metrics,
            blocked: None,
        }
    }

    /// What lies below.
    pub(super) fn into_inner(self) -> I {
        self.io
    }

    fn count_sent(&self, outcome: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(written)) = outcome {
            self.metrics.sent_bytes.increment(*written as u64);
        }
    }

    /// Takes note of what became of an attempt to write.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.blocked = None;
            return outcome;
        }
        let blocked = self
            .blocked
            .get_or_insert_with(|| Box::pin(sleep(self.write_timeout)));
        let is_over = blocked.as_mut().poll(context);
        if is_over.is_ready() {
            // What hyper does with the error is to end the connection, so that this comes once.
            self.blocked = None;
            self.metrics.write_timeouts.increment(1);
        }
        is_over.map(|()| Err(stopped_reading()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for ProgressIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        if read > 0 {
            self.metrics.received_bytes.increment(read as u64);
        }
        outcome
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for ProgressIo<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(context, buffer);
        self.count_sent(&outcome);
        self.watch(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let io = Pin::new(&mut self.io);
        let outcome = if buffers.len() == 1 || length > JOIN_UP_TO {
            io.poll_write_vectored(context, buffers)
        } else {
            JOINED.with_borrow_mut(|joined| {
                joined.clear();
                for buffer in buffers {
                    joined.extend_from_slice(buffer);
                }
                io.poll_write(context, joined)
            })
        };
        self.count_sent(&outcome);
        self.watch(context, outcome)
    }

    /// Always true: hyper then keeps the shared frames as they are, instead of copying
    /// them into a buffer of the connection's own that would grow to the largest one.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(context);
        self.watch(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_shutdown(context);
        self.watch(context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

    fn metrics() -> Arc<ConnectionMetrics> {
        ConnectionMetrics::new(&crate::metrics::Meter::new())
    }

    #[tokio::test(start_paused = true)]
    async fn output_that_nobody_takes_fails_when_the_time_is_up() {
        let (_client, server) = tokio::io::duplex(64);
        let mut io = ProgressIo::new(server, WRITE_TIMEOUT, metrics());
        let begin = Instant::now();
        let error = tokio::time::timeout(WRITE_TIMEOUT * 2, io.write_all(&[7; 100]))
            .await
            .expect("waiting has an end")
            .expect_err("nobody reads the other end");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // Paused time moves only by the timer, so this is exact to its millisecond.
        assert_eq!(begin.elapsed().as_secs(), WRITE_TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_that_moves_is_not_cut() {
        let (mut client, server) = tokio::io::duplex(1);
        let mut io = ProgressIo::new(server, WRITE_TIMEOUT, metrics());
        let reader = tokio::spawn(async move {
            let mut bytes = Vec::new();
            while let Ok(byte) = client.read_u8().await {
                bytes.push(byte);
                sleep(WRITE_TIMEOUT - Duration::from_secs(1)).await;
            }
            bytes
        });
        let begin = Instant::now();
        io.write_all(b"progress")
            .await
            .expect("every byte is taken in time");
        assert!(begin.elapsed() > WRITE_TIMEOUT * 3);
        drop(io);
        let received = reader.await.expect("the reader does not panic");
        assert_eq!(received, b"progress");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_output_has_all_the_time() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut io = ProgressIo::new(server, WRITE_TIMEOUT, metrics());
        sleep(WRITE_TIMEOUT * 10).await;
        io.write_all(b"late").await.expect("the pipe has room");
        let mut received = [0; 4];
        client.read_exact(&mut received).await.expect("was written");
        assert_eq!(&received, b"late");
    }

    #[tokio::test]
    async fn pieces_arrive_whole_and_in_order_whatever_their_size() {
        for size in [1, JOIN_UP_TO / 2, JOIN_UP_TO] {
            let (mut client, server) = tokio::io::duplex(4 * JOIN_UP_TO);
            let mut io = ProgressIo::new(server, WRITE_TIMEOUT, metrics());
            let (first, second) = (vec![b'a'; size], vec![b'b'; size]);
            let mut expected = first.clone();
            expected.extend_from_slice(&second);
            let mut written = 0;
            while written < 2 * size {
                let pieces = [
                    IoSlice::new(&first[written.min(size)..]),
                    IoSlice::new(&second[written.saturating_sub(size)..]),
                ];
                written += io.write_vectored(&pieces).await.expect("the pipe has room");
            }
            drop(io);
            let mut received = Vec::new();
            client
                .read_to_end(&mut received)
                .await
                .expect("was written");
            assert!(received == expected);
        }
    }
}
