//! Streams that have left HTTP's server: a few tasks own their sockets and write what they bring.
//!
//! An HTTP/1 connection that carries a stream carries nothing else any more. What hyper keeps for it, two buffers of
//! 8 KiB and a task, is worth more than the stream itself; so once the request has been read, let in and routed, the
//! socket comes here ([`HandOver`]), with the head of the answer still to be written. A task sleeps until a socket or
//! one of its streams has something for it, and looks at the clock for all of them at once. It knows streams by
//! [`Blocks`] alone: what is said, and when, is decided there, for both ways of delivering.
//!
//! They are tasks of the runtime rather than threads: from a report to those who watch its job nothing has to be woken,
//! as a rule, that sleeps in the kernel, which would cost more than a few deliveries.

mod inbox;
mod sync;
mod task;
#[cfg(test)]
mod tests;
mod watcher;

use std::{
    any::Any,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpStream, task::unconstrained};
use tokio_util::task::TaskTracker;

use self::{inbox::Inbox, task::Task};
use crate::{metrics::ConnectionMetrics, stream::Blocks};

/// How long a client may go on sending after the last answer: closing a socket with unread bytes resets it, and a reset
/// can destroy what was not read yet (a 431, or a 413 during an upload). Source: RFC 9112, section 9.6.
pub const LINGER: Duration = Duration::from_secs(2);

/// Why a client is cut that takes nothing.
pub fn stopped_reading() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "peer has stopped reading")
}

/// A stream together with the socket that it goes to.
pub struct HandOver<S = TcpStream> {
    /// Of the runtime that the tasks are on.
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

/// The tasks.
pub struct Delivery {
    inboxes: Vec<Arc<Inbox>>,
    tasks: TaskTracker,
    next: AtomicUsize,
}

impl Delivery {
    /// Starts so many tasks on the runtime that this is called in.
    ///
    /// # Panics
    /// There is no runtime, or it keeps no time.
    pub fn start(tasks: usize, metrics: &Arc<ConnectionMetrics>) -> Self {
        let delivery = Self {
            inboxes: (0..tasks.max(1)).map(|_| Arc::default()).collect(),
            tasks: TaskTracker::new(),
            next: AtomicUsize::new(0),
        };
        for inbox in &delivery.inboxes {
            let task = Task::new(Arc::clone(inbox), Arc::clone(metrics));
            // It sees to it itself that others have their turn; its streams need not share one budget for that.
            delivery.tasks.spawn(unconstrained(task.run()));
        }
        delivery
    }

    /// Takes a stream over. After the end it is dropped, and with it its connection.
    pub fn take_over(&self, stream: HandOver) {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
        self.inboxes[number].arrive(stream);
    }

    /// Cuts what is still open; returns when nothing is.
    pub async fn end(&self) {
        self.close();
        self.tasks.wait().await;
    }

    fn close(&self) {
        self.inboxes.iter().for_each(|inbox| inbox.close());
        self.tasks.close();
    }
}

impl Drop for Delivery {
    /// Has the tasks cut what is still open.
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Delivery")
            .field("tasks", &self.inboxes.len())
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
