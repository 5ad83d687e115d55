//! A client that speaks bytes, for what a library would hide and for what none would send.

use std::fmt::Write as _;

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::in_time;

/// One connection.
#[derive(Debug)]
pub(crate) struct RawClient {
    stream: TcpStream,
    /// Received and not handed out yet.
    received: Vec<u8>,
    /// Everything handed out.
    seen: String,
}

impl RawClient {
    /// Connects to a server's base URL.
    pub(crate) async fn connect(url: &str) -> Self {
        let address = url.strip_prefix("http://").expect("a plain URL");
        let stream = in_time("a connection", TcpStream::connect(address))
            .await
            .expect("a listener");
        Self {
            stream,
            received: Vec::new(),
            seen: String::new(),
        }
    }

    /// Connects as one whose system keeps little of what it does not read.
    pub(crate) async fn connect_with_little_room(url: &str) -> Self {
        let client = Self::connect(url).await;
        SockRef::from(&client.stream)
            .set_recv_buffer_size(16 * 1024)
            .expect("a socket option");
        client
    }

    /// Connects and sends a request without a body.
    pub(crate) async fn request(url: &str, line: &str, headers: &[(&str, &str)]) -> Self {
        let mut client = Self::connect(url).await;
        let mut head = format!("{line}\r\nHost: localhost\r\n");
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        client.send(format!("{head}\r\n")).await;
        client
    }

    /// Sends `request` on a connection of its own and reads until the server closes it: the
    /// request says `Connection: close`, or is one after which the server does so itself.
    pub(crate) async fn exchange(url: &str, request: impl AsRef<[u8]>) -> String {
        let mut client = Self::connect(url).await;
        // A server that has refused already need not read the rest.
        let sending = client.stream.write_all(request.as_ref());
        let _ = in_time("room to write", sending).await;
        client.read_to_end().await
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        in_time("room to write", self.stream.write_all(bytes.as_ref()))
            .await
            .expect("a server that reads");
    }

    /// What one single read brings; empty at the end.
    pub(crate) async fn read_once(&mut self) -> String {
        assert!(self.received.is_empty(), "there is something left already");
        self.read_more().await;
        self.take(self.received.len())
    }

    /// Everything up to and including `end`.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        loop {
            let mut windows = self.received.windows(end.len());
            if let Some(position) = windows.position(|window| window == end.as_bytes()) {
                return self.take(position + end.len());
            }
            let before = String::from_utf8_lossy(&self.received).into_owned();
            assert!(
                self.read_more().await,
                "ended without {end:?} after {before:?}"
            );
        }
    }

    /// What is left until the server closes; a reset is a failure.
    pub(crate) async fn read_to_end(&mut self) -> String {
        while self.read_more().await {}
        self.take(self.received.len())
    }

    /// Everything that was handed out so far.
    pub(crate) fn transcript(&self) -> &str {
        &self.seen
    }

    /// The socket, to set its options.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// The socket itself, of which nothing that has come may be left unread.
    pub(crate) fn into_socket(self) -> TcpStream {
        assert!(self.received.is_empty(), "there is something left unread");
        self.stream
    }

    async fn read_more(&mut self) -> bool {
        // Room for all that has come, so that a write of the server is not read in parts.
        self.received.reserve(64 * 1024);
        let reading = self.stream.read_buf(&mut self.received);
        let read = in_time("more from the server", reading).await;
        read.expect("closed, not reset") > 0
    }

    fn take(&mut self, length: usize) -> String {
        let rest = self.received.split_off(length);
        let taken = std::mem::replace(&mut self.received, rest);
        let taken = String::from_utf8(taken).expect("the server sends text");
        self.seen.push_str(&taken);
        taken
    }
}
