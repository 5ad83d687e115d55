//! One stream and its socket, from the head of the answer to the closed connection.

use std::{
    any::Any,
    io::{self, ErrorKind, Write},
    mem,
    net::Shutdown,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use socket2::SockRef;
use tokio::net::TcpStream;

use super::{Connection, HandOver, LINGER, inbox::StreamWaker, stopped_reading};
use crate::{
    metrics::ConnectionMetrics,
    stream::{Blocks, Piece},
};

/// How many pieces a stream may write before others have their turn.
const PIECES_AT_A_TIME: usize = 16;

/// How much of what a client still sends is read away: more than a polite one has under way. What comes then waits in
/// the socket, until the client is pushed back.
const MOST_READ: usize = 256 * 1024;

/// How much room for output is kept from one write to the next.
const OUT_KEPT: usize = 128 * 1024;

/// What ends a body in chunks.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What a task's watchers share while it looks after one of them.
pub(super) struct Desk {
    pub(super) metrics: Arc<ConnectionMetrics>,
    /// What is written next, made here so that no watcher has to keep room for it.
    out: Vec<u8>,
    /// The piece that this is and nothing else, for the next watcher of the same job, and whether it is a chunk.
    laid_out: Option<(Piece, bool)>,
    /// What clients send is of no interest.
    discarded: Box<[u8]>,
}

/// What becomes of a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is looked after again when its socket, its stream or the clock asks for it.
    Waits,
    /// It has more to do, after the others.
    GoesOn,
    /// Its connection is over.
    Leaves,
}

/// A socket that does not block.
pub(super) trait Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize>;

    /// Whether it is worth while to write; when not, the context is woken once it is.
    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The same for reading.
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Says that the end follows what is written next, so that both leave together: a client that sees the last block
    /// sees the end behind it, and does not take the connection for one that it may use again.
    fn hold_for_end(&self);

    /// Says that nothing more will be written.
    fn end(&self) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write(bytes)
    }

    fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.try_read(bytes)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_ready(context)
    }

    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context)
    }

    fn hold_for_end(&self) {
        // Where there is no such thing, the end comes a moment later.
        #[cfg(target_os = "linux")]
        let _ = SockRef::from(self).set_tcp_cork(true);
    }

    fn end(&self) -> io::Result<()> {
        SockRef::from(self).shutdown(Shutdown::Write)
    }
}

/// A stream on its way to a client.
pub(super) struct Watcher<S = TcpStream> {
    socket: S,
    waker: Arc<StreamWaker>,
    phase: Phase,
    write_timeout: Duration,
    /// When the clock has something to say to it.
    due: Instant,
    /// How much may still be read away.
    unread: usize,
    /// Whether it stands among those that have more to do.
    pub(super) is_busy: bool,
    connection: Box<dyn Connection>,
}

enum Phase {
    Streaming {
        blocks: Box<dyn Blocks>,
        head: Option<Box<[u8]>>,
        is_chunked: bool,
        /// In a place of its own: only slow clients need it.
        unsent: Option<Box<Unsent>>,
    },
    /// Everything is written: what the client still sends is read away for a while.
    Lingering,
}

/// Output that the socket did not take.
struct Unsent {
    bytes: Box<[u8]>,
    sent: usize,
    /// When the socket last took something.
    since: Instant,
    /// Whether nothing follows.
    is_last: bool,
}

impl Desk {
    pub(super) fn new(metrics: Arc<ConnectionMetrics>) -> Self {
        Self {
            metrics,
            out: Vec::new(),
            laid_out: None,
            discarded: vec![0; 16 * 1024].into(),
        }
    }

    /// Lays out what one write is to bring: the head if it has not left, and one piece of the body.
    fn lay_out(&mut self, head: Option<Box<[u8]>>, piece: Piece, is_chunked: bool, is_last: bool) {
        let is_plain = head.is_none() && !is_last;
        let is_there = |(known, form): &(Piece, bool)| *form == is_chunked && known.is_same(&piece);
        if is_plain && self.laid_out.as_ref().is_some_and(is_there) {
            return;
        }
        let Self { out, .. } = self;
        out.clear();
        // One large piece must not cost its room for ever.
        out.shrink_to(OUT_KEPT);
        out.extend_from_slice(&head.unwrap_or_default());
        // An empty chunk would be the last.
        let is_chunk = is_chunked && !piece.is_empty();
        if is_chunk {
            write!(out, "{:X}\r\n", piece.len()).expect("a vector takes everything");
        }
        piece.parts().for_each(|part| out.extend_from_slice(part));
        if is_chunk {
            out.extend_from_slice(b"\r\n");
        }
        if is_chunked && is_last {
            out.extend_from_slice(LAST_CHUNK);
        }
        // Kept, so that no other bytes come to stand where they are.
        self.laid_out = is_plain.then_some((piece, is_chunked));
    }

    /// Ends a round: what the next one brings are other pieces, and nobody waits for these.
    pub(super) fn clear(&mut self) {
        self.laid_out = None;
    }
}

impl<S: Socket> Watcher<S> {
    pub(super) fn new(stream: HandOver<S>, waker: Arc<StreamWaker>) -> Self {
        let HandOver {
            socket,
            head,
            is_chunked,
            mut blocks,
            write_timeout,
            connection,
        } = stream;
        blocks.leave_time_to_caller();
        Self {
            socket,
            waker,
            due: blocks.next_look(),
            phase: Phase::Streaming {
                blocks,
                head: Some(head),
                is_chunked,
                unsent: None,
            },
            write_timeout,
            unread: MOST_READ,
            is_busy: false,
            connection,
        }
    }

    /// When it is to be looked after at the latest.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Does whatever its socket, its stream or the clock asks for.
    pub(super) fn look_after(&mut self, desk: &mut Desk) -> Next {
        self.waker.rearm();
        let waker = Waker::from(Arc::clone(&self.waker));
        let mut context = Context::from_waker(&waker);
        // Whoever will send no more is answered all the same, as far as the answer is there.
        let is_unanswered = matches!(&self.phase, Phase::Streaming { head: Some(_), .. });
        if is_unanswered {
            let next = self.write(desk, &mut context);
            if next == Next::Leaves {
                return next;
            }
            let read = self.read(desk, &mut context);
            return read.map_or_else(|error| self.leave_early(&error), |()| next);
        }
        match self.read(desk, &mut context) {
            Err(error) => self.leave_early(&error),
            Ok(()) => self.write(desk, &mut context),
        }
    }

    /// Writes what the stream brings until it has no more, or the socket takes no more.
    fn write(&mut self, desk: &mut Desk, context: &mut Context<'_>) -> Next {
        for _ in 0..PIECES_AT_A_TIME {
            let Phase::Streaming {
                blocks,
                head,
                is_chunked,
                unsent,
            } = &mut self.phase
            else {
                return self.linger_on();
            };
            let is_last = match unsent.take() {
                None => {
                    let Poll::Ready(piece) = blocks.poll_next(context) else {
                        self.due = blocks.next_look();
                        return Next::Waits;
                    };
                    let is_last = piece.is_none() || blocks.has_ended();
                    let piece = piece.unwrap_or_default();
                    desk.lay_out(head.take(), piece, *is_chunked, is_last);
                    if is_last {
                        self.socket.hold_for_end();
                    }
                    match write_some(&self.socket, &desk.out, &desk.metrics) {
                        Err(error) => return self.leave_early(&error),
                        Ok(sent) if sent < desk.out.len() => {
                            let since = Instant::now();
                            *unsent = Some(Box::new(Unsent {
                                bytes: desk.out[sent..].into(),
                                sent: 0,
                                since,
                                is_last,
                            }));
                            return self.wait_for_room(since, context);
                        }
                        Ok(_) if !is_last && blocks.rests() => {
                            self.due = blocks.next_look();
                            return Next::Waits;
                        }
                        Ok(_) => is_last,
                    }
                }
                Some(mut rest) => {
                    let now = Instant::now();
                    match write_some(&self.socket, &rest.bytes[rest.sent..], &desk.metrics) {
                        Err(error) => return self.leave_early(&error),
                        Ok(0) if now >= rest.since + self.write_timeout => {
                            desk.metrics.write_timeouts.increment(1);
                            return self.leave_early(&stopped_reading());
                        }
                        Ok(0) => {}
                        Ok(sent) => {
                            rest.sent += sent;
                            rest.since = now;
                        }
                    }
                    if rest.sent < rest.bytes.len() {
                        let since = rest.since;
                        *unsent = Some(rest);
                        return self.wait_for_room(since, context);
                    }
                    rest.is_last
                }
            };
            if is_last {
                return self.begin_to_linger();
            }
        }
        Next::GoesOn
    }

    /// What is unsent waits since then, and behind it a heartbeat and the end of the stream's time.
    fn wait_for_room(&mut self, since: Instant, context: &mut Context<'_>) -> Next {
        self.due = since + self.write_timeout;
        match self.socket.poll_write_ready(context) {
            Poll::Pending => Next::Waits,
            Poll::Ready(Ok(())) => Next::GoesOn,
            Poll::Ready(Err(error)) => self.leave_early(&error),
        }
    }

    /// Reads away what the client sends, as far as that is bearable. One that will send no more is gone; behind more
    /// than is read away, that shows when it is written to.
    fn read(&mut self, desk: &mut Desk, context: &mut Context<'_>) -> io::Result<()> {
        while self.unread > 0
            && let Poll::Ready(ready) = self.socket.poll_read_ready(context)
        {
            ready?;
            match self.socket.try_read(&mut desk.discarded) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    desk.metrics.received_bytes.increment(read as u64);
                    self.unread = self.unread.saturating_sub(read);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Its stream has panicked.
    pub(super) fn tell_panic(&self, panic: &(dyn Any + Send)) {
        self.connection.panicked(panic);
    }

    /// The connection is over; before its time, unless everything has been written.
    fn leave_early(&self, error: &io::Error) -> Next {
        if matches!(self.phase, Phase::Streaming { .. }) {
            self.connection.ended_early(error);
        }
        Next::Leaves
    }

    /// Ends the sending side, and frees the stream.
    fn begin_to_linger(&mut self) -> Next {
        self.due = Instant::now() + LINGER;
        drop(mem::replace(&mut self.phase, Phase::Lingering));
        match self.socket.end() {
            Ok(()) => Next::Waits,
            // There is no connection any more.
            Err(_) => Next::Leaves,
        }
    }

    fn linger_on(&self) -> Next {
        match Instant::now() >= self.due {
            true => Next::Leaves,
            false => Next::Waits,
        }
    }
}

/// Writes until everything is written or the socket takes no more, so that it says when it does again.
fn write_some(
    socket: &impl Socket,
    bytes: &[u8],
    metrics: &ConnectionMetrics,
) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match socket.try_write(&bytes[sent..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                metrics.sent_bytes.increment(written as u64);
                sent += written;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
