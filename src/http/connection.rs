//! The connections: progressd's own accept loop on hyper, with every limit that protects it.
//!
//! `axum::serve` is not used: it has no header timeout, no connection cap, no write
//! timeout, and its graceful shutdown waits for ever on an open stream. hyper-util's
//! general connection is not used either: it cannot give its socket back, which the
//! second way of delivering streams needs (`handing_over`). So a connection's first bytes decide
//! (`preface`), or the TLS handshake (`tls`), which of hyper's two servers gets it
//! (`http1`, `http2`), and below all lies a socket that notices when its peer has stopped
//! reading (`progress_io`).

mod accept;
mod descriptors;
mod handing_over;
mod handle;
mod http1;
mod http2;
mod listener;
mod places;
mod preface;
mod progress_io;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::TokioTimer;

use crate::config::TrustedProxies;
use crate::delivery::Delivery;
use crate::metrics::ConnectionMetrics;

pub use accept::{Drained, Endpoint, serve};
pub use descriptors::{default_max_connections, raise_descriptor_limit};
pub use handing_over::{HandedOver, stand_in};
pub(super) use http1::asks_to_close;

pub use handle::{CloseGuard, ConnectionHandle};
pub use listener::bind;
pub use tls::{Tls, TlsError};

/// What one listener grants its clients.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// The longest wait for a whole request head, and for the next request on a kept
    /// connection. It begins anew after a TLS handshake, which has as long, and after the
    /// first bytes have told HTTP/1 from HTTP/2, so a new HTTP/1 connection has at most
    /// three times this time.
    pub header_timeout: Duration,
    /// The longest request head in bytes, request line included; beyond it the answer is
    /// 431. HTTP/2 counts 32 more per header (RFC 9113, section 6.5.2). hyper reads in
    /// pieces of 8 KiB, so that it buffers that much even when this is less.
    pub max_header_bytes: usize,
    /// Open connections at a time; further ones wait in the listener's backlog.
    pub max_connections: usize,
    /// Those of one address, an IPv6 network counting as one; further ones are closed at
    /// once. 0 is no limit.
    pub max_connections_per_address: usize,
    /// Addresses that this limit does not apply to: their connections are those of others.
    pub trusted_proxies: TrustedProxies,
    /// The longest time in which pending output may make no progress at all before the
    /// connection (HTTP/1) or the stream (HTTP/2, when only it is blocked) is cut.
    pub write_timeout: Duration,
    /// Concurrent HTTP/2 streams on one connection.
    pub http2_max_streams: u32,
    /// The longest wait for open connections after the drain has begun.
    pub drain: Duration,
    /// Size in bytes of the kernel's send buffer per connection; none leaves it to the
    /// kernel, which lets it grow to some megabytes for a slow reader.
    pub send_buffer_bytes: Option<usize>,
}

/// What the connections of one listener share.
struct Shared {
    app: Router,
    tls: Option<Tls>,
    delivery: Option<Arc<Delivery>>,
    limits: ConnectionLimits,
    metrics: Arc<ConnectionMetrics>,
    http1: hyper::server::conn::http1::Builder,
}

impl Shared {
    fn new(
        app: Router,
        tls: Option<Tls>,
        delivery: Option<Arc<Delivery>>,
        limits: ConnectionLimits,
        metrics: Arc<ConnectionMetrics>,
    ) -> Arc<Self> {
        let mut http1 = hyper::server::conn::http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            // hyper refuses a smaller buffer than this and would panic.
            .max_buf_size(limits.max_header_bytes.max(8 * 1024))
            .max_header_size(limits.max_header_bytes)
            // A half-closed socket cannot be told from a client that is gone.
            .half_close(false);
        Arc::new(Self {
            app,
            tls,
            delivery,
            limits,
            metrics,
            http1,
        })
    }
}
