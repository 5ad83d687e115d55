//! One worker's connection: requests out, answers in, in order.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Write as _},
    net::SocketAddr,
};

use anyhow::Context as _;
use mio::{Interest, Registry, Token, net::TcpStream};

use crate::peer::{Dialect, Message};

/// Sends messages over one connection, a request after the other without waiting for answers; or,
/// where the server closes after each, over one after the other.
pub(crate) struct Publisher {
    address: SocketAddr,
    token: Token,
    socket: Option<TcpStream>,
    /// Not in a request yet.
    waiting: VecDeque<Message>,
    output: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    /// Messages of each request that is not answered.
    unanswered: VecDeque<usize>,
    pub(crate) answered: u64,
}

impl Publisher {
    pub(crate) fn new(address: SocketAddr, token: Token) -> Self {
        Self {
            address,
            token,
            socket: None,
            waiting: VecDeque::new(),
            output: Vec::new(),
            written: 0,
            input: Vec::new(),
            unanswered: VecDeque::new(),
            answered: 0,
        }
    }

    /// Messages and requests without an answer.
    pub(crate) fn outstanding(&self) -> usize {
        self.waiting.len() + self.unanswered.iter().sum::<usize>()
    }

    /// Whether there is something to send that does not wait for the socket or an answer.
    pub(crate) fn is_eager(&self) -> bool {
        let is_idle = self.unanswered.is_empty() || self.socket.is_some();
        !self.waiting.is_empty() && is_idle || self.socket.is_none() && !self.output.is_empty()
    }

    pub(crate) fn publish(&mut self, message: Message) {
        self.waiting.push_back(message);
    }

    /// A request that is no message.
    pub(crate) fn send(&mut self, request: &[u8]) {
        self.output.extend_from_slice(request);
        self.unanswered.push_back(1);
    }

    /// Sends and reads as much as there is.
    pub(crate) fn turn(
        &mut self,
        dialect: &dyn Dialect,
        registry: &Registry,
        buffer: &mut [u8],
    ) -> anyhow::Result<()> {
        loop {
            self.fill(dialect);
            if self.socket.is_none() && self.output.is_empty() {
                return Ok(());
            }
            self.write(registry)?;
            if !self.read(dialect, buffer)? {
                return Ok(());
            }
        }
    }

    /// Makes requests of what is waiting.
    fn fill(&mut self, dialect: &dyn Dialect) {
        while !self.waiting.is_empty()
            && (dialect.keeps_connections() || self.unanswered.is_empty())
        {
            let count = self.waiting.len().min(dialect.most_at_once());
            let messages: Vec<_> = self.waiting.drain(..count).collect();
            self.output.extend(dialect.publish(&messages));
            self.unanswered.push_back(count);
        }
    }

    fn write(&mut self, registry: &Registry) -> anyhow::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => {
                let mut socket = TcpStream::connect(self.address)?;
                let interest = Interest::READABLE | Interest::WRITABLE;
                registry.register(&mut socket, self.token, interest)?;
                socket.set_nodelay(true)?;
                none.insert(socket)
            }
        };
        while self.written < self.output.len() {
            match socket.write(&self.output[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if is_not_yet(&error) => return Ok(()),
                Err(error) => return Err(error).context("a publisher's request"),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    /// Takes answers. Whether there is a reason to write again.
    fn read(&mut self, dialect: &dyn Dialect, buffer: &mut [u8]) -> anyhow::Result<bool> {
        let mut is_answered = false;
        while let Some(socket) = &mut self.socket {
            match socket.read(buffer) {
                Ok(0) => {
                    anyhow::ensure!(
                        self.unanswered.is_empty(),
                        "the server has closed a publisher's connection: {}",
                        String::from_utf8_lossy(&self.input)
                    );
                    self.socket = None;
                    self.input.clear();
                }
                Ok(read) => {
                    self.input.extend_from_slice(&buffer[..read]);
                    while let Some(length) = whole_answer(&self.input)? {
                        self.input.drain(..length);
                        let messages = self.unanswered.pop_front();
                        self.answered += messages.context("an answer without a request")? as u64;
                        is_answered = true;
                    }
                    if is_answered && !dialect.keeps_connections() {
                        self.socket = None;
                        self.input.clear();
                    }
                }
                Err(error) if is_not_yet(&error) => break,
                Err(error) => return Err(error).context("an answer to a publisher"),
            }
        }
        // Where the connection stays, what is waiting has been written already.
        Ok(is_answered && !dialect.keeps_connections())
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted
    )
}

/// The length of the first answer, when all of it is there.
fn whole_answer(input: &[u8]) -> anyhow::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(begin) = head.parse(input)? else {
        return Ok(None);
    };
    let length = head
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.context("an answer without a length")?.value;
    let end = begin + std::str::from_utf8(length)?.trim().parse::<usize>()?;
    if input.len() < end {
        return Ok(None);
    }
    anyhow::ensure!(
        head.code.is_some_and(|code| code < 300),
        "refused: {}",
        String::from_utf8_lossy(&input[..end])
    );
    Ok(Some(end))
}
