//! Streams that tests hold the other end of, written to sockets of all sorts.

mod tasks;
mod writing;

use std::{
    any::Any,
    collections::VecDeque,
    io,
    panic::panic_any,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Connection, HandOver};
use crate::{
    metrics::{ConnectionMetrics, Meter},
    stream::{Blocks, Piece},
};

const HEAD: &str = "HTTP/1.1 200 OK\r\n\r\n";

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);

/// The longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A stream that a test holds the other end of.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    pieces: VecDeque<&'static str>,
    is_over: bool,
    panics: bool,
    /// Panics before it is looked after.
    panics_at_once: bool,
    /// Panics with something that panics in its turn, where no fault of a stream is looked for.
    breaks_task: bool,
    waker: Option<Waker>,
    look_in: Option<Duration>,
    polls: usize,
    /// Makes each look long, and notes what is counted elsewhere meanwhile.
    watched: Option<Arc<AtomicUsize>>,
    counts: Vec<usize>,
}

struct Scripted {
    script: Script,
    /// Whether the last piece was all, so that the next one wakes.
    has_said_all: bool,
    next_look: Instant,
    /// Tells of its end.
    _gone: mpsc::Sender<()>,
}

/// What panics when it is thrown away.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("as the test wants it");
    }
}

impl Script {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.0.lock().expect("no test panics with the lock");
        let result = change(&mut state);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        result
    }

    fn say(&self, piece: &'static str) {
        self.with(|state| state.pieces.push_back(piece));
    }

    fn end(&self) {
        self.with(|state| state.is_over = true);
    }
}

impl Blocks for Scripted {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        let script = self.script.clone();
        let mut state = script.0.lock().expect("no test panics with the lock");
        state.polls += 1;
        if let Some(count) = &state.watched {
            let count = count.load(Ordering::SeqCst);
            state.counts.push(count);
            thread::sleep(Duration::from_millis(1));
        }
        if state.panics {
            drop(state);
            panic!("as the test wants it");
        }
        if state.breaks_task {
            drop(state);
            panic_any(Bomb);
        }
        if let Some(piece) = state.pieces.pop_front() {
            self.has_said_all = state.pieces.is_empty() && !state.is_over;
            if self.has_said_all {
                state.waker = Some(context.waker().clone());
            }
            let piece = Bytes::from_static(piece.as_bytes());
            return Poll::Ready(Some(piece.into()));
        }
        if state.is_over {
            return Poll::Ready(None);
        }
        if let Some(look_in) = state.look_in {
            let now = Instant::now();
            if now >= self.next_look {
                self.next_look = now + look_in;
                return Poll::Ready(Some(Bytes::from_static(b":\n").into()));
            }
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn has_ended(&self) -> bool {
        let state = self.script.0.lock().expect("no test panics with the lock");
        state.is_over && state.pieces.is_empty()
    }

    fn leave_time_to_caller(&mut self) {
        let panics = self.script.with(|state| state.panics_at_once);
        assert!(!panics, "as the test wants it");
    }

    fn next_look(&self) -> Instant {
        self.next_look
    }

    fn rests(&mut self) -> bool {
        self.has_said_all
    }
}

/// A connection that nobody hears of, with what it frees.
struct Unheard<T>(T);

impl<T: Send> Connection for Unheard<T> {
    fn ended_early(&self, _: &io::Error) {}

    fn panicked(&self, _: &(dyn Any + Send)) {}
}

fn metrics() -> Arc<ConnectionMetrics> {
    ConnectionMetrics::new(&Meter::new())
}

/// A stream of a script, and word of when it is dropped.
fn stream<S>(socket: S, script: &Script, is_chunked: bool) -> (HandOver<S>, mpsc::Receiver<()>) {
    let (gone, was_dropped) = mpsc::channel();
    let look_in = script.with(|state| state.look_in);
    let blocks = Scripted {
        script: script.clone(),
        has_said_all: false,
        next_look: Instant::now() + look_in.unwrap_or(NEVER),
        _gone: gone,
    };
    let stream = HandOver {
        socket,
        head: HEAD.as_bytes().into(),
        is_chunked,
        blocks: Box::new(blocks),
        write_timeout: NEVER,
        connection: Box::new(Unheard(())),
    };
    (stream, was_dropped)
}

/// Waits until a stream is dropped.
fn ends(gone: &mpsc::Receiver<()>) {
    let word = gone.recv_timeout(PATIENCE);
    assert_eq!(word, Err(mpsc::RecvTimeoutError::Disconnected));
}
