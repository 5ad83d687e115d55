//! The streams of one HTTP/2 connection: their tasks, their panics, and the clock that
//! runs when a client takes nothing from one of them.
//!
//! A client can stop reading a single stream by leaving its flow-control window shut.
//! Then the socket is never blocked, and the body, not being asked, cannot time out.
//! hyper holds one frame of the body meanwhile; so a stream whose body has handed out a
//! frame and is not asked for the next is one whose output waits.

use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};

use crate::http::connection::accept::log_panic;
use crate::metrics::ConnectionMetrics;

/// Larger frames are handed out in pieces of this size, so that a slow reader shows
/// progress with each; it is also HTTP/2's own default frame size.
const PIECE: usize = 16 * 1024;

thread_local! {
    /// What the body did during the present poll of its stream's task. The two are
    /// joined only by being on one call stack: hyper's type lies between them.
    static BODY: Cell<BodyPoll> = const { Cell::new(BodyPoll::NotAsked) };
}

/// The tasks of one connection's streams; they are aborted when this is dropped.
pub(super) struct StreamTasks {
    tasks: Arc<Mutex<JoinSet<()>>>,
    peer: SocketAddr,
    write_timeout: Duration,
    metrics: Arc<ConnectionMetrics>,
}

/// Starts a task for each stream, on behalf of hyper.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    /// Weak, since hyper keeps an executor within every task.
    tasks: Weak<Mutex<JoinSet<()>>>,
    write_timeout: Duration,
    metrics: Arc<ConnectionMetrics>,
}

/// A response body whose polls are noted.
pub(super) struct WatchedBody {
    body: Body,
    /// What is left of a frame that is handed out in pieces.
    rest: Bytes,
}

/// A stream's task, which ends with a reset of the stream when its output has been
/// waiting for the write timeout.
struct Stream<F> {
    task: Pin<Box<F>>,
    write_timeout: Duration,
    metrics: Arc<ConnectionMetrics>,
    blocked: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyPoll {
    NotAsked,
    HadNothing,
    GaveFrame,
}

impl StreamTasks {
    pub(super) fn new(
        peer: SocketAddr,
        write_timeout: Duration,
        metrics: Arc<ConnectionMetrics>,
    ) -> Self {
        Self {
            tasks: Arc::default(),
            peer,
            write_timeout,
            metrics,
        }
    }

    pub(super) fn executor(&self) -> StreamExecutor {
        StreamExecutor {
            tasks: Arc::downgrade(&self.tasks),
            write_timeout: self.write_timeout,
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// Ready when no stream is open; logs those that ended in a panic, which hyper
    /// answers with a reset of the stream alone.
    pub(super) fn poll_all_ended(&self, context: &mut Context<'_>) -> Poll<()> {
        // A plain lock: held for a few instructions and never across an await.
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match tasks.poll_join_next(context) {
                Poll::Ready(Some(Ok(()))) => {}
                Poll::Ready(Some(Err(error))) => log_panic(self.peer, error),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        // Without the connection there is nobody left to answer.
        if let Some(tasks) = self.tasks.upgrade() {
            let stream = Stream {
                task: Box::pin(task),
                write_timeout: self.write_timeout,
                metrics: Arc::clone(&self.metrics),
                blocked: None,
            };
            tasks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .spawn(stream);
        }
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        BODY.set(BodyPoll::NotAsked);
        if this.task.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        match BODY.get() {
            BodyPoll::NotAsked => {}
            BodyPoll::HadNothing => this.blocked = None,
            BodyPoll::GaveFrame => this.blocked = Some(Box::pin(sleep(this.write_timeout))),
        }
        let Some(blocked) = &mut this.blocked else {
            return Poll::Pending;
        };
        let is_over = blocked.as_mut().poll(context);
        if is_over.is_ready() {
            this.metrics.stream_write_timeouts.increment(1);
        }
        is_over
    }
}

impl WatchedBody {
    pub(super) fn new(body: Body) -> Self {
        Self {
            body,
            rest: Bytes::new(),
        }
    }

    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                other => return other,
            };
            match frame.into_data() {
                Ok(data) if data.len() > PIECE => self.rest = data,
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = self.rest.split_to(PIECE.min(self.rest.len()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = self.poll_piece(context);
        BODY.set(match &polled {
            Poll::Ready(Some(Ok(_))) => BodyPoll::GaveFrame,
            _ => BodyPoll::HadNothing,
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let mut hint = self.body.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}
