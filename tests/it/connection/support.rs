//! A server on a free port, and an app that can be steered.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http_body::Frame;
use progressd::http::connection::{
    CloseGuard, ConnectionHandle, ConnectionLimits, Drained, Endpoint, Tls, bind, serve,
};
use progressd::metrics::{ConnectionMetrics, Meter};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{self, raw_client::RawClient};

/// A running server; `drain` or dropping it ends it.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    drain: CancellationToken,
    served: JoinHandle<Drained>,
    meter: Meter,
}

/// The sending end of a streamed body: dropped, it ends the body; `gone` reports that
/// the server has dropped the body.
pub(crate) struct Stream {
    pub(crate) blocks: mpsc::UnboundedSender<Bytes>,
    pub(crate) gone: mpsc::UnboundedReceiver<()>,
}

struct StreamBody {
    blocks: mpsc::UnboundedReceiver<Bytes>,
    _close: CloseGuard,
    _gone: mpsc::UnboundedSender<()>,
}

/// Limits under which nothing is cut within a test.
pub(crate) fn limits() -> ConnectionLimits {
    ConnectionLimits {
        header_timeout: Duration::from_secs(60),
        max_header_bytes: 16 * 1024,
        max_connections: 100,
        max_connections_per_address: 0,
        trusted_proxies: Default::default(),
        write_timeout: Duration::from_secs(60),
        http2_max_streams: 100,
        drain: Duration::from_secs(60),
        send_buffer_bytes: None,
    }
}

/// `/` answers `hello`, `/panic` panics, `/ended-early` drops its guard before it
/// answers, `/stream` opens a stream whose other end comes
/// out of the receiver.
pub(crate) fn app() -> (Router, mpsc::UnboundedReceiver<Stream>) {
    let (opened, streams) = mpsc::unbounded_channel();
    let stream = move |Extension(handle): Extension<ConnectionHandle>| async move {
        let (blocks, body_blocks) = mpsc::unbounded_channel();
        let (body_gone, gone) = mpsc::unbounded_channel();
        let body = StreamBody {
            blocks: body_blocks,
            _close: handle.close_after_response(),
            _gone: body_gone,
        };
        opened
            .send(Stream { blocks, gone })
            .expect("the test waits for its streams");
        ([("connection", "keep-alive")], Body::new(body)).into_response()
    };
    let ended_early = |Extension(handle): Extension<ConnectionHandle>| async move {
        drop(handle.close_after_response());
        tokio::task::yield_now().await;
        ([("connection", "keep-alive")], "hello")
    };
    let app = Router::new()
        .route("/ended-early", get(ended_early))
        .route(
            "/",
            get(|| async { "hello" }).post(|body: Bytes| async { body }),
        )
        .route("/panic", get(panicking))
        .route("/stream", get(stream));
    (app, streams)
}

async fn panicking() -> Response {
    panic!("a handler's fault, on purpose")
}

impl TestServer {
    pub(crate) async fn start(app: Router, limits: ConnectionLimits) -> Self {
        Self::secured(None, app, limits).await
    }

    /// The same behind a handshake, if there is a certificate for it.
    pub(crate) async fn secured(tls: Option<Tls>, app: Router, limits: ConnectionLimits) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = bind(address, limits.write_timeout).expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let drain = CancellationToken::new();
        let (_, limits) = watch::channel(limits);
        let meter = Meter::new();
        let endpoint = Endpoint {
            listener,
            tls,
            app,
            delivery: None,
            limits,
            metrics: ConnectionMetrics::new(&meter),
        };
        let served = tokio::spawn(serve(endpoint, drain.clone()));
        Self {
            address,
            drain,
            served,
            meter,
        }
    }

    pub(crate) async fn connect(&self) -> RawClient {
        RawClient::connect(&format!("http://{}", self.address)).await
    }

    /// What a series of its metrics says.
    pub(crate) fn counted(&self, series: &str) -> f64 {
        let text = self.meter.render();
        let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        let line = lines.find(|(known, _)| *known == series);
        let (_, value) = line.unwrap_or_else(|| panic!("no {series} in {text}"));
        value.parse().expect("a number")
    }

    pub(crate) fn start_drain(&self) {
        self.drain.cancel();
    }

    /// Waits for the end of `serve`.
    pub(crate) async fn drained(mut self) -> Drained {
        in_time(&mut self.served)
            .await
            .expect("serve does not panic")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl HttpBody for StreamBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let block = self.blocks.poll_recv(context);
        block.map(|block| block.map(|block| Ok(Frame::data(block))))
    }
}

/// Waits for `future`, but not for ever.
pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    support::in_time("what the test waits for", future).await
}
