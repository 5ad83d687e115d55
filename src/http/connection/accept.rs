//! The accept loop: it alone owns the connections' tasks, so it alone tells them of a drain and
//! sees how each one ends. Those that are handed over are told by their streams; all have a place.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::handing_over::IntoSocket;
use super::handle::ConnectionHandle;
use super::http1::Served;
use super::listener::{Acceptor, configure_accepted};
use super::places::{Place, Places};
use super::preface::{self, Protocol, Rewound};
use super::progress_io::ProgressIo;
use super::tls::{Tls, agreed_protocol};
use super::{ConnectionLimits, Shared, http1, http2};
use crate::delivery::{self, Delivery, HandOver};
use crate::metrics::{ConnectionMetrics, ConnectionRefusal, Handshake};

/// A listener with what is served there, and how.
#[derive(Debug)]
pub struct Endpoint {
    /// What [`bind`](super::bind) has opened.
    pub listener: TcpListener,
    /// Set when every connection begins with a handshake.
    pub tls: Option<Tls>,
    /// What answers.
    pub app: Router,
    /// Where streams on plain HTTP/1 are delivered; without, hyper does it.
    pub delivery: Option<Delivery>,
    /// What clients are granted.
    pub limits: watch::Receiver<ConnectionLimits>,
    /// What is counted.
    pub metrics: Arc<ConnectionMetrics>,
}

/// How the connections of a listener ended after its drain had begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that ended by themselves within the drain time.
    pub ended: usize,
    /// Connections that were still open then and have been cut.
    pub cut: usize,
}

/// Serves an endpoint to everyone who connects, until `drain` is cancelled.
///
/// New limits hold for the connections that come after them.
///
/// Then the listener is closed and every connection told: idle ones end at once, the
/// others with the response that they are at, which is the app's to bring to an end.
/// What is left after `limits.drain` is cut. Returns when no connection is left.
///
/// Each request carries a `ConnectionHandle` among its extensions.
pub async fn serve(endpoint: Endpoint, drain: CancellationToken) -> Drained {
    let Endpoint {
        listener,
        tls,
        app,
        delivery,
        mut limits,
        metrics,
    } = endpoint;
    let delivery = delivery.map(Arc::new);
    let share = |limits: ConnectionLimits| {
        metrics.limit.set(limits.max_connections as f64);
        let (tls, delivery) = (tls.clone(), delivery.clone());
        Shared::new(app.clone(), tls, delivery, limits, Arc::clone(&metrics))
    };
    let mut shared = share(limits.borrow_and_update().clone());
    let mut connections = Connections {
        tasks: JoinSet::new(),
        handles: HashMap::new(),
        places: Places::new(&metrics),
    };
    let mut acceptor = Acceptor::new(listener);
    // The limits may be others by now than when it was opened.
    acceptor.configure(shared.limits.write_timeout);
    let places = Arc::clone(&connections.places);
    loop {
        let room = places.taken() < shared.limits.max_connections;
        tokio::select! {
            () = drain.cancelled() => break,
            Ok(()) = limits.changed() => {
                shared = share(limits.borrow_and_update().clone());
                acceptor.configure(shared.limits.write_timeout);
            }
            () = connections.next_end(), if !connections.handles.is_empty() => {}
            () = places.freed(), if !room => {}
            (stream, peer) = acceptor.accept(), if room => connections.start(stream, peer, &shared),
        }
    }
    drop(acceptor);
    let drained = connections.drain(shared.limits.drain).await;
    if let Some(delivery) = delivery {
        delivery.end().await;
    }
    drained
}

/// Logs the panic that ended a connection's or a stream's task; an abort is no news.
pub(super) fn log_panic(peer: SocketAddr, ended: JoinError) {
    if let Ok(panic) = ended.try_into_panic() {
        log_panic_of(peer, &*panic);
    }
}

fn log_panic_of(peer: SocketAddr, panic: &(dyn Any + Send)) {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a message");
    error!(peer.address = %peer, panic = message, "connection ended by a panic");
}

/// The open connections, and how to reach those that hyper serves.
struct Connections {
    tasks: JoinSet<()>,
    handles: HashMap<Id, ConnectionHandle>,
    places: Arc<Places>,
}

impl Connections {
    fn start(&mut self, stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) {
        let is_proxy = shared.limits.trusted_proxies.contains(peer.ip());
        let most = match shared.limits.max_connections_per_address {
            0 => None,
            most => Some(most).filter(|_| !is_proxy),
        };
        let Some(place) = Places::take(&self.places, peer.ip(), most) else {
            debug!(peer.address = %peer, "connection refused: its address has too many");
            let refused = &shared.metrics.refused;
            refused.of(ConnectionRefusal::AddressLimit).increment(1);
            return;
        };
        let handle = ConnectionHandle::new(peer, shared.tls.is_some());
        let task = self
            .tasks
            .spawn(serve_one(stream, place, Arc::clone(shared), handle.clone()));
        self.handles.insert(task.id(), handle);
    }

    /// Waits until a connection ends; only to be called while there is one.
    async fn next_end(&mut self) {
        let (id, panic) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, None),
            Some(Err(error)) => (error.id(), Some(error)),
            None => return,
        };
        let Some(handle) = self.handles.remove(&id) else {
            return;
        };
        if let Some(panic) = panic {
            log_panic(handle.peer_address(), panic);
        }
    }

    async fn drain(mut self, longest: Duration) -> Drained {
        let open = self.places.taken();
        for handle in self.handles.values() {
            handle.start_drain();
        }
        let all_ended = async {
            while !self.handles.is_empty() {
                self.next_end().await;
            }
            while self.places.taken() > 0 {
                self.places.freed().await;
            }
        };
        // Whether the time was up shows in what is left.
        let _ = tokio::time::timeout(longest, all_ended).await;
        let cut = self.places.taken();
        self.tasks.shutdown().await;
        Drained {
            ended: open - cut,
            cut,
        }
    }
}

/// A connection that carries a stream and nothing else any more.
struct OfStream {
    peer: SocketAddr,
    _place: Place,
}

impl delivery::Connection for OfStream {
    fn ended_early(&self, error: &io::Error) {
        log_early_end(self.peer, error);
    }

    fn panicked(&self, panic: &(dyn Any + Send)) {
        log_panic_of(self.peer, panic);
    }
}

fn log_early_end(peer: SocketAddr, error: &dyn Display) {
    debug!(peer.address = %peer, error = %error, "connection ended early");
}

/// One connection from the accepted socket to its end.
async fn serve_one(stream: TcpStream, place: Place, shared: Arc<Shared>, handle: ConnectionHandle) {
    let metrics = &shared.metrics;
    metrics.accepted.increment(1);
    configure_accepted(&stream, &shared.limits);
    let io = ProgressIo::new(stream, shared.limits.write_timeout, Arc::clone(metrics));
    let peer = handle.peer_address();
    let served = match &shared.tls {
        None => {
            if shared.delivery.is_some() {
                handle.set_hands_over();
            }
            serve_plain(io, &shared, handle).await
        }
        // Boxed, so that the others do not carry the size of a session.
        Some(tls) => Box::pin(serve_secure(io, tls, &shared, handle)).await,
    };
    match (served, &shared.delivery) {
        (Served::Surrendered(socket, answer), Some(delivery)) => delivery.take_over(HandOver {
            socket,
            head: answer.head,
            is_chunked: answer.is_chunked,
            blocks: answer.blocks,
            write_timeout: shared.limits.write_timeout,
            connection: Box::new(OfStream {
                peer,
                _place: place,
            }),
        }),
        (Served::Closed(Err(error)), _) => {
            log_early_end(peer, &error);
        }
        _ => {}
    }
}

/// A connection that begins with a handshake.
async fn serve_secure(
    io: ProgressIo<TcpStream>,
    tls: &Tls,
    shared: &Shared,
    handle: ConnectionHandle,
) -> Served {
    let shaken = until_drain(&handle, shared.limits.header_timeout, tls.accept(io)).await;
    let outcome = match &shaken {
        Some(Ok(_)) => Handshake::Completed,
        Some(Err(_)) => Handshake::Failed,
        None => Handshake::CutOff,
    };
    shared.metrics.handshakes.of(outcome).increment(1);
    let stream = match shaken {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => {
            debug!(peer.address = %handle.peer_address(), %error, "TLS handshake failed");
            return Served::Closed(Ok(()));
        }
        None => return Served::Closed(Ok(())),
    };
    match agreed_protocol(&stream) {
        Some(protocol) => {
            serve_protocol(protocol, Rewound::untouched(stream), shared, handle).await
        }
        None => serve_plain(stream, shared, handle).await,
    }
}

/// A connection whose first bytes tell what it speaks.
async fn serve_plain<I>(io: I, shared: &Shared, handle: ConnectionHandle) -> Served
where
    I: AsyncRead + AsyncWrite + IntoSocket + Unpin + Send + 'static,
{
    let detected = until_drain(&handle, shared.limits.header_timeout, preface::detect(io)).await;
    match detected {
        Some(Ok((protocol, io))) => return serve_protocol(protocol, io, shared, handle).await,
        // It was gone.
        Some(Err(_)) => {}
        None if handle.is_draining() => {}
        None => {
            let refused = &shared.metrics.refused;
            refused.of(ConnectionRefusal::HeaderTimeout).increment(1);
        }
    }
    Served::Closed(Ok(()))
}

async fn serve_protocol<I>(
    protocol: Protocol,
    io: Rewound<I>,
    shared: &Shared,
    handle: ConnectionHandle,
) -> Served
where
    I: AsyncRead + AsyncWrite + IntoSocket + Unpin + Send + 'static,
{
    match protocol {
        Protocol::Http1 => http1::serve(io, shared, handle).await,
        // Boxed, since it is the rarer and much the larger of the two.
        Protocol::Http2 => {
            handle.keep_socket();
            Served::Closed(Box::pin(http2::serve(io, shared, handle)).await)
        }
    }
}

/// What `beginning` comes to; nothing when it takes too long or the drain begins first.
async fn until_drain<T>(
    handle: &ConnectionHandle,
    longest: Duration,
    beginning: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        () = poll_fn(|context| handle.poll_drain(context)) => None,
        begun = tokio::time::timeout(longest, beginning) => begun.ok(),
    }
}
