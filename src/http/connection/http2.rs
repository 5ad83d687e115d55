//! One HTTP/2 connection: the streams on it, and when it ends.

mod streams;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use self::streams::{StreamTasks, WatchedBody};
use super::Shared;
use super::handle::ConnectionHandle;
use crate::metrics::ConnectionRefusal;

/// Upload bytes in flight per stream and per connection, the latter being the most that
/// a connection can make us hold. Reports are small; an upload of 32 MiB still moves at
/// some 5 MB/s over 50 ms of round-trip time.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Response bytes per stream that wait inside the connection. Small, because a frame
/// that waits there can no longer be replaced by a newer status.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that a client may open and reset before they were even looked at; beyond it the
/// connection ends. A page that is left resets some; a flood of them is an attack
/// (CVE-2023-44487). hyper has the same number, but as a default that may change.
const PENDING_RESETS: usize = 20;

/// Streams that we may have to reset for their client's mistakes; beyond it the connection
/// ends (CVE-2025-8671). Each is one that no proper client makes.
const LOCAL_RESETS: usize = 256;

/// After this time without a frame from the client, a ping asks whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Serves streams from `io` until the client leaves, a limit cuts it, or a drain begins,
/// in which case the open streams are finished. A connection without any stream for the
/// header timeout is closed too.
///
/// # Errors
/// What ended the connection before its time; only worth a debug line.
pub(super) async fn serve<I>(io: I, shared: &Shared, handle: ConnectionHandle) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &shared.limits;
    let header_list = u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX);
    let tasks = StreamTasks::new(
        handle.peer_address(),
        limits.write_timeout,
        Arc::clone(&shared.metrics),
    );
    let service = service_fn(|mut request: Request<Incoming>| {
        handle.mark_asked();
        request.extensions_mut().insert(handle.clone());
        let response = shared.app.clone().call(request);
        async move {
            let response = response.await?;
            Ok::<_, Infallible>(response.map(WatchedBody::new))
        }
    });
    let mut connection = Builder::new(tasks.executor())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_max_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(header_list)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(limits.write_timeout)
        .serve_connection(TokioIo::new(io), service);
    let mut ending = false;
    let mut idle: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut connection).poll(context) {
                return Poll::Ready(outcome);
            }
            let end = if tasks.poll_all_ended(context).is_pending() {
                idle = None;
                false
            } else {
                let idle = idle.get_or_insert_with(|| Box::pin(sleep(limits.header_timeout)));
                idle.as_mut().poll(context).is_ready()
            };
            if end && ending {
                // Told to go, given the same time again, and still there.
                return Poll::Ready(Ok(()));
            }
            if !end && (ending || handle.poll_drain(context).is_pending()) {
                return Poll::Pending;
            }
            if end && !handle.was_asked() {
                let refused = &shared.metrics.refused;
                refused.of(ConnectionRefusal::HeaderTimeout).increment(1);
            }
            ending = true;
            idle = None;
            Pin::new(&mut connection).graceful_shutdown();
        }
    })
    .await
}
