//! One HTTP/1.0 or HTTP/1.1 connection, from its first request to the closed socket.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Version, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tower_service::Service;

use super::Shared;
use super::handing_over::{Flushed, IntoSocket, surrendered};
use super::handle::{ConnectionHandle, Surrendered};
use crate::{delivery::LINGER, metrics::ConnectionRefusal};

/// Why a request gets no response: it was sent behind one whose response ends the
/// connection. The client sees the end and knows that the request was not processed.
#[derive(Debug)]
struct ConnectionEnds;

/// How a connection ended.
pub(super) enum Served {
    /// For good.
    Closed(hyper::Result<()>),
    /// For HTTP: what is on the socket from now on is a stream.
    Surrendered(tokio::net::TcpStream, Surrendered),
}

/// Serves requests from `io` until the client leaves, a limit cuts it, a response asked
/// for the end (`ConnectionHandle::close_after_response`) or a drain begins; a response
/// that is under way is finished in both of the last cases. Or until a stream begins, when
/// streams are delivered without hyper.
pub(super) async fn serve<I>(io: I, shared: &Shared, handle: ConnectionHandle) -> Served
where
    I: AsyncRead + AsyncWrite + IntoSocket + Unpin + Send + 'static,
{
    let service = service_fn(|request| respond(shared, &handle, request));
    let io = Flushed {
        io,
        handle: handle.clone(),
    };
    let mut connection = shared.http1.serve_connection(TokioIo::new(io), service);
    let mut ending = false;
    let outcome = poll_fn(|context| {
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut connection).poll(context) {
                return Poll::Ready(Ok(outcome));
            }
            if let Some(answer) = handle.take_surrendered() {
                return Poll::Ready(Err(answer));
            }
            // Only looked at between two polls: hyper writes a head in the poll in which
            // the handler returns, so that none is between handler and socket here.
            if ending || handle.poll_end(context).is_pending() {
                return Poll::Pending;
            }
            ending = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
    })
    .await;
    // One that comes too late: its client has left.
    handle.drop_surrendered();
    // The type is still hyper's own here, so that the socket can be taken back.
    let io = connection.into_parts().io.into_inner().io;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(answer) => {
            let socket = io.into_socket();
            return socket.map_or(Served::Closed(Ok(())), |socket| {
                Served::Surrendered(socket, answer)
            });
        }
    };
    if outcome.as_ref().is_err_and(hyper::Error::is_timeout) && !handle.was_asked() {
        let refused = &shared.metrics.refused;
        refused.of(ConnectionRefusal::HeaderTimeout).increment(1);
    }
    if outcome
        .as_ref()
        .err()
        .is_none_or(|error| error.is_parse() || error.is_user())
    {
        linger(io).await;
    }
    Served::Closed(outcome)
}

/// Closes the sending side and reads the rest away for a while ([`LINGER`]).
async fn linger<I: AsyncRead + AsyncWrite + Unpin>(mut io: I) {
    let read_away = async {
        // An error means that there is no connection any more.
        if io.shutdown().await.is_ok() {
            let mut discarded = vec![0; 4 * 1024];
            while io.read(&mut discarded).await.is_ok_and(|read| read > 0) {}
        }
    };
    // Running out of time is as good an end as any.
    let _ = tokio::time::timeout(LINGER, read_away).await;
}

/// Answers one request; boxed, so that the future's memory is given back while the
/// body streams (hyper keeps the place for it as long as the connection lives).
fn respond(
    shared: &Shared,
    handle: &ConnectionHandle,
    mut request: Request<Incoming>,
) -> Pin<Box<dyn Future<Output = Result<Response, ConnectionEnds>> + Send>> {
    if handle.is_close_asked() {
        return Box::pin(std::future::ready(Err(ConnectionEnds)));
    }
    handle.mark_asked();
    let answering = handle.start_answer();
    let version = request.version();
    let asks_to_close = asks_to_close(request.headers());
    request.extensions_mut().insert(handle.clone());
    let response = shared.app.clone().call(request);
    let handle = handle.clone();
    Box::pin(async move {
        let Ok::<_, Infallible>(mut response) = response.await;
        if handle.is_draining() {
            // Also in place of a handler's `keep-alive`, which hyper would leave there.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        if version == Version::HTTP_10 && response.body().size_hint().exact().is_none() {
            // Such a body ends with the connection. hyper would still promise to keep it
            // to a client that asked for that, unless the response is HTTP/1.0 as well.
            *response.version_mut() = Version::HTTP_10;
        }
        if let Some(answer) = surrendered(&mut response, handle.is_draining() || asks_to_close) {
            handle.surrender(answer);
            // Until the connection is taken from hyper, and this with it.
            std::future::pending::<()>().await;
        }
        drop(answering);
        Ok(response)
    })
}

/// Whether the client wants the connection closed: then hyper says so, and nobody the contrary.
pub(in crate::http) fn asks_to_close(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    let mut options = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    options.any(|option| option.trim().eq_ignore_ascii_case("close"))
}

impl std::fmt::Display for ConnectionEnds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("connection ends after the previous response")
    }
}

impl std::error::Error for ConnectionEnds {}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::task::Context;
    use std::time::Duration;

    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use http_body::Frame;
    use tokio::io::{DuplexStream, ReadBuf};

    use super::*;
    use crate::http::connection::{ConnectionLimits, progress_io::ProgressIo};
    use crate::metrics::{ConnectionMetrics, Meter};

    /// Notes every single write.
    struct Recorder {
        io: DuplexStream,
        writes: Arc<Mutex<Vec<Vec<u8>>>>,
    }

    /// A body with one block that is there at once, and no end.
    struct OneBlock(Option<Bytes>);

    impl HttpBody for OneBlock {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.take() {
                Some(block) => Poll::Ready(Some(Ok(Frame::data(block)))),
                None => Poll::Pending,
            }
        }
    }

    impl IntoSocket for Recorder {
        fn into_socket(self) -> Option<tokio::net::TcpStream> {
            None
        }
    }

    impl AsyncRead for Recorder {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Recorder {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &[u8],
        ) -> Poll<io::Result<usize>> {
            let outcome = Pin::new(&mut self.io).poll_write(context, buffer);
            if let Poll::Ready(Ok(written)) = outcome {
                let mut writes = self.writes.lock().expect("no test panics with the lock");
                writes.push(buffer[..written].to_vec());
            }
            outcome
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_flush(context)
        }

        fn poll_shutdown(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_shutdown(context)
        }
    }

    #[tokio::test]
    async fn the_head_and_the_first_block_leave_in_one_write() {
        let block = "event: status\ndata: {}\n\n";
        let app = Router::new().route(
            "/",
            get(move || async move { Body::new(OneBlock(Some(Bytes::from(block)))) }),
        );
        let limits = ConnectionLimits {
            header_timeout: Duration::from_secs(30),
            max_header_bytes: 16 * 1024,
            max_connections: 1,
            max_connections_per_address: 0,
            trusted_proxies: Default::default(),
            write_timeout: Duration::from_secs(30),
            http2_max_streams: 1,
            drain: Duration::from_secs(30),
            send_buffer_bytes: None,
        };
        let metrics = ConnectionMetrics::new(&Meter::new());
        let shared = Shared::new(app, None, None, limits, Arc::clone(&metrics));
        let (mut client, io) = tokio::io::duplex(64 * 1024);
        let writes = Arc::new(Mutex::new(Vec::new()));
        let recorder = Recorder {
            io,
            writes: Arc::clone(&writes),
        };
        let recorder = ProgressIo::new(recorder, shared.limits.write_timeout, metrics);
        let peer = "127.0.0.1:9".parse().expect("an address");
        let handle = ConnectionHandle::new(peer, false);
        let server = tokio::spawn(async move { serve(recorder, &shared, handle).await });
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            .await
            .expect("the pipe has room");
        let mut received = Vec::new();
        while !received.ends_with(b"data: {}\n\n\r\n") {
            let read = client.read_buf(&mut received).await.expect("a pipe");
            assert_ne!(read, 0, "the stream ended before its first block");
        }
        drop(client);
        let served = server.await.expect("the server does not panic");
        assert!(
            matches!(served, Served::Closed(Err(_))),
            "the client left in the middle of the stream"
        );
        let writes = writes.lock().expect("no test panics with the lock");
        assert_eq!(writes.len(), 1, "{writes:?}");
        assert!(writes[0].starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}
