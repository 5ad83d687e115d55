//! Streams that have left HTTP's server: a few threads own their sockets and write what they bring.
//!
//! An HTTP/1 connection that carries a stream carries nothing else any more. What hyper keeps for it, two buffers of
//! 8 KiB and a task, is worth more than the stream itself; so once the request has been read, let in and routed, the
//! socket comes here ([`HandOver`]), with the head of the answer still to be written. A thread sleeps until a socket or
//! one of its streams has something for it, and looks at the clock for all of them at once. It knows streams by
//! [`Blocks`] alone: what is said, and when, is decided there, for both ways of delivering.

mod inbox;
mod sync;
#[cfg(test)]
mod tests;
mod thread;
mod watcher;

use std::{
    any::Any,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use mio::net::TcpStream;

use self::{inbox::Inbox, thread::Thread};
use crate::{metrics::ConnectionMetrics, stream::Blocks};

/// A stream together with the socket that it goes to.
pub struct HandOver<S = TcpStream> {
    /// Does not block.
    pub socket: S,
    /// The head of the answer, to leave in one write with the first block.
    pub head: Box<[u8]>,
    /// Whether the body is in chunks (RFC 9112, section 7.1), or ends with the connection.
    pub is_chunked: bool,
    /// What is to be written; dropped once it has been.
    pub blocks: Box<dyn Blocks>,
    /// How long output may wait without a single byte being taken.
    pub write_timeout: Duration,
    /// Freed with the socket.
    pub connection: Box<dyn Connection>,
}

/// What a socket stands for, to whoever has handed it over. Dropped once the socket is closed.
pub trait Connection: Send {
    /// It ends before its stream does.
    fn ended_early(&self, error: &io::Error);

    /// It ends since its stream has panicked.
    fn panicked(&self, panic: &(dyn Any + Send));
}

/// The threads.
pub struct Delivery {
    threads: Vec<(Arc<Inbox>, JoinHandle<()>)>,
    next: AtomicUsize,
}

impl Delivery {
    /// Starts so many threads. Their streams may use the runtime that this is called in.
    ///
    /// # Errors
    /// The operating system has no thread, or no descriptors, for them.
    pub fn start(threads: usize, metrics: &Arc<ConnectionMetrics>) -> io::Result<Self> {
        let mut delivery = Self {
            threads: Vec::with_capacity(threads),
            next: AtomicUsize::new(0),
        };
        for number in 0..threads.max(1) {
            let thread = Thread::new(Arc::clone(metrics))?;
            let inbox = thread.inbox();
            let running = thread.start(&format!("delivery-{number}"))?;
            delivery.threads.push((inbox, running));
        }
        Ok(delivery)
    }

    /// Takes a stream over.
    pub fn take_over(&self, stream: HandOver) {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        let (inbox, _) = &self.threads[number];
        inbox.arrive(stream);
    }
}

impl Drop for Delivery {
    /// Cuts what is still open, and ends the threads.
    fn drop(&mut self) {
        self.threads.iter().for_each(|(inbox, _)| inbox.close());
        for (_, thread) in self.threads.drain(..) {
            // It catches its panics itself.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Delivery")
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

impl<S: fmt::Debug> fmt::Debug for HandOver<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HandOver")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}
