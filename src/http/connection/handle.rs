//! What a request may know of its connection and ask of it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

use crate::stream::Blocks;

/// The drain has begun: this connection is to take no further request.
const DRAINING: u8 = 1;
/// A response asked for the connection to be closed after it.
const CLOSE_ASKED: u8 = 2;
/// A handler is at work and the head of its response is not written yet.
const ANSWERING: u8 = 4;
/// A request has come.
const ASKED: u8 = 8;
/// The socket can be taken from hyper.
const HANDS_OVER: u8 = 16;
/// Output of earlier answers may still be in hyper's buffer.
const UNFLUSHED: u8 = 32;

/// The connection of a request, found among the request's extensions.
#[derive(Clone)]
pub struct ConnectionHandle {
    shared: Arc<Shared>,
}

/// Closes an HTTP/1 connection when it is dropped, but never before the head of the
/// response has left, and only after everything that hyper holds has been written.
///
/// A stream's body holds it: so the response can say `Connection: keep-alive`, as
/// proxies expect of a stream, and the connection still ends with the last block. On
/// HTTP/2 it does nothing.
#[derive(Debug)]
#[must_use = "dropping the guard is what closes the connection"]
pub struct CloseGuard {
    handle: ConnectionHandle,
}

/// Marks the time between a request's head and its response's head.
pub(super) struct Answering {
    handle: ConnectionHandle,
}

struct Shared {
    peer: SocketAddr,
    is_tls: bool,
    flags: AtomicU8,
    /// The connection's task.
    task: AtomicWaker,
    /// What is to be delivered on the socket alone.
    surrendered: Mutex<Option<Surrendered>>,
}

/// An answer that is a stream, for whoever takes the socket over.
pub(super) struct Surrendered {
    pub(super) head: Box<[u8]>,
    pub(super) is_chunked: bool,
    pub(super) blocks: Box<dyn Blocks>,
}

impl ConnectionHandle {
    /// The address at the other end of the socket; behind a proxy, the proxy's.
    pub fn peer_address(&self) -> SocketAddr {
        self.shared.peer
    }

    /// Whether the connection is encrypted here; behind a proxy that does it, it is not.
    pub fn is_tls(&self) -> bool {
        self.shared.is_tls
    }

    /// Closes this connection after the present response, without a `Connection: close`
    /// header, once the guard has been dropped.
    pub fn close_after_response(&self) -> CloseGuard {
        CloseGuard {
            handle: self.clone(),
        }
    }

    /// Whether a stream on this connection may be answered by its blocks alone (`HandedOver`).
    pub fn hands_over(&self) -> bool {
        self.flags() & HANDS_OVER != 0
    }

    /// Says that the socket can be taken from hyper.
    pub(super) fn set_hands_over(&self) {
        self.shared.flags.fetch_or(HANDS_OVER, Ordering::AcqRel);
    }

    /// Says that it cannot, after all.
    pub(super) fn keep_socket(&self) {
        self.shared.flags.fetch_and(!HANDS_OVER, Ordering::AcqRel);
    }

    /// Says whether everything that hyper holds has been written.
    pub(super) fn set_flushed(&self, is_flushed: bool) {
        match is_flushed {
            true => self.shared.flags.fetch_and(!UNFLUSHED, Ordering::AcqRel),
            false => self.shared.flags.fetch_or(UNFLUSHED, Ordering::AcqRel),
        };
    }

    /// Leaves an answer to whoever takes the socket over.
    pub(super) fn surrender(&self, answer: Surrendered) {
        *self.surrendered() = Some(answer);
    }

    /// That answer, once nothing stands before it.
    pub(super) fn take_surrendered(&self) -> Option<Surrendered> {
        match self.flags() & (HANDS_OVER | UNFLUSHED) {
            HANDS_OVER => self.surrendered().take(),
            _ => None,
        }
    }

    /// Ends a stream that nobody has taken.
    pub(super) fn drop_surrendered(&self) {
        let left = self.surrendered().take();
        drop(left);
    }

    fn surrendered(&self) -> std::sync::MutexGuard<'_, Option<Surrendered>> {
        let lock = &self.shared.surrendered;
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn new(peer: SocketAddr, is_tls: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                peer,
                is_tls,
                flags: AtomicU8::new(0),
                task: AtomicWaker::new(),
                surrendered: Mutex::default(),
            }),
        }
    }

    pub(super) fn start_drain(&self) {
        self.raise(DRAINING);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.flags() & DRAINING != 0
    }

    pub(super) fn is_close_asked(&self) -> bool {
        self.flags() & CLOSE_ASKED != 0
    }

    /// Says that a request has come.
    pub(super) fn mark_asked(&self) {
        self.shared.flags.fetch_or(ASKED, Ordering::AcqRel);
    }

    /// Whether any request has come.
    pub(super) fn was_asked(&self) -> bool {
        self.flags() & ASKED != 0
    }

    /// Ready once the drain has begun.
    pub(super) fn poll_drain(&self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_flags(context, |flags| flags & DRAINING != 0)
    }

    /// Ready once an HTTP/1 connection is to end: at once in a drain, so that a response
    /// in the making can announce it, but after the head when a response asked for it.
    pub(super) fn poll_end(&self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_flags(context, |flags| {
            flags & DRAINING != 0 || flags & (CLOSE_ASKED | ANSWERING) == CLOSE_ASKED
        })
    }

    /// Says that a handler is at work, until the result is dropped. The drop wakes
    /// nobody: it happens inside the poll that also writes the head.
    pub(super) fn start_answer(&self) -> Answering {
        self.shared.flags.fetch_or(ANSWERING, Ordering::AcqRel);
        Answering {
            handle: self.clone(),
        }
    }

    fn poll_flags(&self, context: &mut Context<'_>, reached: impl Fn(u8) -> bool) -> Poll<()> {
        if reached(self.flags()) {
            return Poll::Ready(());
        }
        // Registered first and looked at again: a flag that was raised in between has
        // either found the waker or is seen here.
        self.shared.task.register(context.waker());
        if reached(self.flags()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn raise(&self, flag: u8) {
        self.shared.flags.fetch_or(flag, Ordering::AcqRel);
        self.shared.task.wake();
    }

    fn flags(&self) -> u8 {
        self.shared.flags.load(Ordering::Acquire)
    }
}

impl fmt::Debug for ConnectionHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConnectionHandle")
            .field("peer", &self.shared.peer)
            .finish_non_exhaustive()
    }
}

impl Drop for CloseGuard {
    fn drop(&mut self) {
        self.handle.raise(CLOSE_ASKED);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.handle
            .shared
            .flags
            .fetch_and(!ANSWERING, Ordering::AcqRel);
    }
}
