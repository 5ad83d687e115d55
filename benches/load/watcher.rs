//! One watcher: a raw SSE connection that knows which messages it has had.

use std::io::{self, Read as _, Write as _};

use mio::{Interest, Registry, Token, net::TcpStream};

use crate::mark::{self, Mark, scan};

/// What comes at once from a socket at most; a block of a status has some 700 bytes.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;

/// Numbers below the highest that are remembered one by one.
const WINDOW: u32 = u64::BITS;

/// A connection, from its request on.
pub(crate) struct Watcher {
    socket: TcpStream,
    pub(crate) channel: u32,
    /// What the socket has not taken of the request.
    request: Vec<u8>,
    /// The end of what was read last, which may be the beginning of a mark.
    carried: Vec<u8>,
    pub(crate) progress: Option<Progress>,
}

/// Whether there may be more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Open,
    /// The server has ended it, or refused it.
    Ended,
}

impl Watcher {
    /// Begins a connection; a refused one is told by the first reading.
    pub(crate) fn open(
        address: std::net::SocketAddr,
        channel: u32,
        request: Vec<u8>,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        // Once writable it stays so for a request of some hundred bytes, and readable comes again with
        // each block.
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            socket,
            channel,
            request,
            carried: Vec::new(),
            progress: None,
        })
    }

    /// Reads what has come, and hands over each mark. `buffer` has room for what was carried as well.
    pub(crate) fn turn(
        &mut self,
        buffer: &mut [u8],
        mut found: impl FnMut(&mut Option<Progress>, Mark),
    ) -> State {
        if !self.request.is_empty() {
            match self.socket.write(&self.request) {
                Ok(written) => drop(self.request.drain(..written)),
                Err(error) if is_not_yet(&error) => {}
                Err(_) => return State::Ended,
            }
        }
        loop {
            let carried = self.carried.len();
            buffer[..carried].copy_from_slice(&self.carried);
            let read = match self.socket.read(&mut buffer[carried..]) {
                Ok(0) => return State::Ended,
                Ok(read) => read,
                Err(error) if is_not_yet(&error) => return State::Open,
                Err(_) => return State::Ended,
            };
            let bytes = &buffer[..carried + read];
            let rest = scan(bytes, |mark| found(&mut self.progress, mark));
            self.carried.clear();
            self.carried.extend_from_slice(&bytes[rest..]);
            // A buffer that was not filled has emptied the socket.
            if carried + read < buffer.len() {
                return State::Open;
            }
        }
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted
    )
}

/// What a watcher has had since it joined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) highest: u32,
    /// Bit n: `highest - n` was had.
    window: u64,
    /// Numbers below the highest that were not had.
    pub(crate) missing: u32,
}

/// What a message is to the watcher who gets it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Arrival {
    New,
    /// Behind a higher number.
    Late,
    Repeated,
}

impl Progress {
    /// The state that a watcher finds when it joins.
    pub(crate) fn begin(number: u32) -> Self {
        Self {
            highest: number,
            window: 1,
            missing: 0,
        }
    }

    pub(crate) fn arrived(&mut self, number: u32) -> Arrival {
        if number > self.highest {
            let step = number - self.highest;
            self.missing += step - 1;
            self.window = self.window.checked_shl(step).unwrap_or(0) | 1;
            self.highest = number;
            return Arrival::New;
        }
        let back = self.highest - number;
        let bit = 1_u64.checked_shl(back).unwrap_or(0);
        if back >= WINDOW || self.window & bit != 0 {
            return Arrival::Repeated;
        }
        self.window |= bit;
        self.missing = self.missing.saturating_sub(1);
        Arrival::Late
    }
}

/// Room for a whole reading and what was carried into it.
pub(crate) fn buffer() -> Vec<u8> {
    vec![0; BUFFER_BYTES + mark::MOST_CARRIED]
}
