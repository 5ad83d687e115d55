//! One stream and its socket, from the head of the answer to the closed connection.

use std::{
    any::Any,
    io::{self, ErrorKind, Read, Write},
    mem,
    net::Shutdown,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use mio::net::TcpStream;
#[cfg(target_os = "linux")]
use socket2::SockRef;

use super::{Connection, HandOver, inbox::StreamWaker};
use crate::{metrics::ConnectionMetrics, stream::Blocks};

/// How many pieces a stream may write before others have their turn.
const PIECES_AT_A_TIME: usize = 16;

/// How much of what a client still sends is read away: more than a polite one has under way. What comes then waits in
/// the socket, until the client is pushed back.
const MOST_READ: usize = 256 * 1024;

/// How much room for output is kept from one write to the next.
const OUT_KEPT: usize = 128 * 1024;

/// How long a client may go on sending after the last block: closing a socket with unread bytes resets it, and a reset
/// can destroy what was not read yet. Source: RFC 9112, section 9.6.
const LINGER: Duration = Duration::from_secs(2);

/// Why a client is cut that takes nothing.
const STOPPED_READING: &str = "peer has stopped reading";

/// What ends a body in chunks.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What a thread's watchers share while it looks after one of them.
pub(super) struct Desk {
    pub(super) metrics: Arc<ConnectionMetrics>,
    /// What is written next, made here so that no watcher has to keep room for it.
    out: Vec<u8>,
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
pub(super) trait Socket: Read + Write {
    /// Says that the end follows what is written next, so that both leave together: a client that sees the last block
    /// sees the end behind it, and does not take the connection for one that it may use again.
    fn hold_for_end(&self);

    /// Says that nothing more will be written.
    fn end(&self) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn hold_for_end(&self) {
        // Where there is no such thing, the end comes a moment later.
        #[cfg(target_os = "linux")]
        let _ = SockRef::from(self).set_tcp_cork(true);
    }

    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
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
            discarded: vec![0; 16 * 1024].into(),
        }
    }
}

impl Desk {
    /// Lays out what one write is to bring: the head if it has not left, and one piece of the body.
    fn lay_out(&mut self, head: Option<Box<[u8]>>, piece: &[u8], is_chunked: bool, is_last: bool) {
        let Self { out, .. } = self;
        out.clear();
        // One large piece must not cost its room for ever.
        out.shrink_to(OUT_KEPT);
        out.extend_from_slice(&head.unwrap_or_default());
        // An empty chunk would be the last.
        if is_chunked && !piece.is_empty() {
            write!(out, "{:X}\r\n", piece.len()).expect("a vector takes everything");
            out.extend_from_slice(piece);
            out.extend_from_slice(b"\r\n");
        } else {
            out.extend_from_slice(piece);
        }
        if is_chunked && is_last {
            out.extend_from_slice(LAST_CHUNK);
        }
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

    pub(super) fn socket(&mut self) -> &mut S {
        &mut self.socket
    }

    /// When it is to be looked after at the latest.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// The stream has something to say; what waits for the socket waits on.
    pub(super) fn woken(&mut self, desk: &mut Desk) -> Next {
        match self.phase {
            Phase::Streaming {
                unsent: Some(_), ..
            } => Next::Waits,
            _ => self.write(desk),
        }
    }

    /// Writes what the stream brings until it has no more, or the socket takes no more.
    pub(super) fn write(&mut self, desk: &mut Desk) -> Next {
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
                    self.waker.rearm();
                    let waker = Waker::from(Arc::clone(&self.waker));
                    let mut context = Context::from_waker(&waker);
                    let Poll::Ready(piece) = Pin::new(&mut **blocks).poll_frame(&mut context)
                    else {
                        self.due = blocks.next_look();
                        return Next::Waits;
                    };
                    let piece = piece.map(|Ok(frame)| frame.into_data().unwrap_or_default());
                    let is_last = piece.is_none() || blocks.is_end_stream();
                    let piece = piece.unwrap_or_default();
                    desk.lay_out(head.take(), &piece, *is_chunked, is_last);
                    if is_last {
                        self.socket.hold_for_end();
                    }
                    match write_some(&mut self.socket, &desk.out, &desk.metrics) {
                        Err(error) => return self.leave_early(&error),
                        Ok(sent) if sent < desk.out.len() => {
                            let since = Instant::now();
                            *unsent = Some(Box::new(Unsent {
                                bytes: desk.out[sent..].into(),
                                sent: 0,
                                since,
                                is_last,
                            }));
                            // A heartbeat, or the end of its time, would wait behind what waits already.
                            self.due = since + self.write_timeout;
                            return Next::Waits;
                        }
                        Ok(_) => is_last,
                    }
                }
                Some(mut rest) => {
                    let now = Instant::now();
                    match write_some(&mut self.socket, &rest.bytes[rest.sent..], &desk.metrics) {
                        Err(error) => return self.leave_early(&error),
                        Ok(0) => {}
                        Ok(sent) => {
                            rest.sent += sent;
                            rest.since = now;
                        }
                    }
                    if rest.sent < rest.bytes.len() {
                        self.due = rest.since + self.write_timeout;
                        *unsent = Some(rest);
                        if now >= self.due {
                            desk.metrics.write_timeouts.increment(1);
                            let error = io::Error::new(ErrorKind::TimedOut, STOPPED_READING);
                            return self.leave_early(&error);
                        }
                        return Next::Waits;
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

    /// Reads away what the client sends, as far as that is bearable; a client that will send no more, which
    /// `has_ended` may tell already, is gone.
    pub(super) fn read(&mut self, desk: &mut Desk, has_ended: bool) -> Next {
        while self.unread > 0 {
            match self.socket.read(&mut desk.discarded) {
                Ok(0) => return self.leave_early(&ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    desk.metrics.received_bytes.increment(read as u64);
                    self.unread = self.unread.saturating_sub(read);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Waits,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.leave_early(&error),
            }
        }
        match has_ended {
            true => self.leave_early(&ErrorKind::UnexpectedEof.into()),
            false => Next::Waits,
        }
    }

    /// Its stream has panicked.
    pub(super) fn tell_panic(&self, panic: &(dyn Any + Send)) {
        self.connection.panicked(panic);
    }

    /// The connection is over; before its time, unless everything has been written.
    pub(super) fn leave_early(&self, error: &io::Error) -> Next {
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
    socket: &mut impl Write,
    bytes: &[u8],
    metrics: &ConnectionMetrics,
) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match socket.write(&bytes[sent..]) {
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
