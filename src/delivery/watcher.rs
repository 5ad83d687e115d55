//! One stream and its socket, from the head of the answer to the closed connection.

use std::{
    io::{self, ErrorKind, Read, Write},
    mem,
    net::Shutdown,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::BufMut as _;
use mio::net::TcpStream;

use super::{HandOver, inbox::StreamWaker};
use crate::{metrics::ConnectionMetrics, stream::Blocks};

/// How many pieces a stream may write before others have their turn.
const PIECES_AT_A_TIME: usize = 16;

/// How much of what a client still sends is read away before others have their turn.
const BYTES_READ_AT_A_TIME: usize = 64 * 1024;

/// How long a client may go on sending after the last block: closing a socket with unread bytes resets it, and a reset
/// can destroy what was not read yet. Source: RFC 9112, section 9.6.
const LINGER: Duration = Duration::from_secs(2);

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
    /// Says that nothing more will be written.
    fn end(&self) -> io::Result<()>;
}

impl Socket for TcpStream {
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
    _connection: Box<dyn Send>,
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
            _connection: connection,
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
            if unsent.is_none() {
                self.waker.rearm();
                let waker = Waker::from(Arc::clone(&self.waker));
                let piece = Pin::new(&mut **blocks).poll_frame(&mut Context::from_waker(&waker));
                let piece = match piece {
                    Poll::Pending => {
                        self.due = blocks.next_look();
                        return Next::Waits;
                    }
                    Poll::Ready(piece) => piece,
                };
                desk.out.clear();
                desk.out.extend_from_slice(&head.take().unwrap_or_default());
                let is_last = match piece {
                    Some(Ok(frame)) => {
                        let bytes = frame.into_data().unwrap_or_default();
                        put_chunk(&mut desk.out, &bytes, *is_chunked);
                        blocks.is_end_stream()
                    }
                    None => true,
                };
                if is_last && *is_chunked {
                    desk.out.extend_from_slice(LAST_CHUNK);
                }
                let sent = match write_some(&mut self.socket, &desk.out, &desk.metrics) {
                    Ok(sent) => sent,
                    Err(_) => return Next::Leaves,
                };
                if sent < desk.out.len() {
                    *unsent = Some(Box::new(Unsent {
                        bytes: desk.out[sent..].into(),
                        sent: 0,
                        since: Instant::now(),
                        is_last,
                    }));
                } else if is_last {
                    return self.begin_to_linger();
                } else {
                    continue;
                }
            }
            if let Some(rest) = unsent {
                let now = Instant::now();
                let sent =
                    match write_some(&mut self.socket, &rest.bytes[rest.sent..], &desk.metrics) {
                        Ok(sent) => sent,
                        Err(_) => return Next::Leaves,
                    };
                rest.sent += sent;
                if sent > 0 {
                    rest.since = now;
                }
                if rest.sent < rest.bytes.len() {
                    let latest = rest.since + self.write_timeout;
                    if now >= latest {
                        desk.metrics.write_timeouts.increment(1);
                        return Next::Leaves;
                    }
                    // A heartbeat, or the end of its time, would wait behind what waits already.
                    self.due = latest;
                    return Next::Waits;
                }
                let is_last = rest.is_last;
                *unsent = None;
                if is_last {
                    return self.begin_to_linger();
                }
            }
        }
        Next::GoesOn
    }

    /// Reads away what the client sends; a client that sends no more is gone.
    pub(super) fn read(&mut self, desk: &mut Desk) -> Next {
        let mut most = BYTES_READ_AT_A_TIME;
        while most > 0 {
            match self.socket.read(&mut desk.discarded) {
                Ok(0) => return Next::Leaves,
                Ok(read) => {
                    desk.metrics.received_bytes.increment(read as u64);
                    most = most.saturating_sub(read);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Waits,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Next::Leaves,
            }
        }
        Next::GoesOn
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

/// Appends one piece of the body.
fn put_chunk(out: &mut Vec<u8>, bytes: &[u8], is_chunked: bool) {
    if bytes.is_empty() {
        // As a chunk it would be the last.
        return;
    }
    if is_chunked {
        write!(out.writer(), "{:X}\r\n", bytes.len()).expect("a vector takes everything");
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    } else {
        out.extend_from_slice(bytes);
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
            Ok(written) => sent += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    metrics.sent_bytes.increment(sent as u64);
    Ok(sent)
}
