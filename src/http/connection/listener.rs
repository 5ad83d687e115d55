//! A listener: how it is opened, the options of the sockets that come from it, and how it goes on when accepting fails.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tracing::{debug, warn};

use super::ConnectionLimits;

/// Connections that the kernel completes ahead of us: after a restart all watchers come
/// back at once. Linux cuts this to `net.core.somaxconn`, whose default is the same.
const BACKLOG: u32 = 4096;

/// The pause after a failed accept. Running out of descriptors ends when connections
/// do, and each such end tries again at once; the pause covers everything else.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether accepted sockets have the options of their listener, which saves setting them for each.
const ARE_OPTIONS_INHERITED: bool = cfg!(target_os = "linux");

/// Listens on `address`, with port 0 on a free port, and with room for many clients that
/// connect at the same moment. What is written to them may wait for `write_timeout`.
///
/// # Errors
/// What the operating system says against the address.
pub fn bind(address: SocketAddr, write_timeout: Duration) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restarted server must not wait for its predecessor's closed connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // Before anybody can connect: clients have the options of that moment.
    inherit(SockRef::from(&socket), write_timeout);
    socket.listen(BACKLOG)
}

/// A listener whose errors are survived.
pub(super) struct Acceptor {
    listener: TcpListener,
    /// The last accept failed, and the log says so already.
    failing: bool,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            failing: false,
        }
    }

    /// Sets the options of those who connect from now on.
    pub(super) fn configure(&self, write_timeout: Duration) {
        inherit(SockRef::from(&self.listener), write_timeout);
    }

    /// The next connection. Dropping the future loses nothing.
    pub(super) async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => {
                    self.failing = false;
                    return accepted;
                }
                Err(error) if belongs_to_one_client(&error) => {
                    debug!(error = %error, "connection was gone before it was accepted");
                }
                Err(error) => {
                    if !self.failing {
                        warn!(error = %error, "cannot accept connections, trying on");
                    }
                    self.failing = true;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Tells a client that left before it was accepted from trouble of our own.
fn belongs_to_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// Sets the options of the sockets that come from a listener, as far as they come with options.
fn inherit(listener: SockRef<'_>, write_timeout: Duration) {
    if ARE_OPTIONS_INHERITED {
        configure(listener, write_timeout);
    }
}

/// Sets what an accepted socket does not have from its listener.
pub(super) fn configure_accepted(stream: &TcpStream, limits: &ConnectionLimits) {
    if !ARE_OPTIONS_INHERITED {
        configure(SockRef::from(stream), limits.write_timeout);
    }
    // Not the listener's: there it could not be left to the kernel again.
    if let Some(bytes) = limits.send_buffer_bytes {
        let outcome = SockRef::from(stream).set_send_buffer_size(bytes);
        report("SO_SNDBUF", outcome);
    }
}

/// None of the options is worth refusing a client for.
fn configure(socket: SockRef<'_>, write_timeout: Duration) {
    // A frame must leave when it is written, not when the one before was acknowledged.
    report("TCP_NODELAY", socket.set_tcp_nodelay(true));
    // The write timeout for what the kernel has taken over already: a peer that
    // vanished, or stopped reading, would else be noticed only when that buffer is full.
    // Source: RFC 5482; for Linux, tcp(7).
    #[cfg(target_os = "linux")]
    report(
        "TCP_USER_TIMEOUT",
        socket.set_tcp_user_timeout(Some(write_timeout)),
    );
}

fn report(option: &str, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        debug!(socket.option = option, error = %error, "cannot set a socket option");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Takes the next client, whose socket must be set up as far as a listener does it.
    async fn assert_accepts(acceptor: &mut Acceptor, write_timeout: Duration) {
        let (accepted, _) = acceptor.accept().await;
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().expect("a TCP socket"));
        let timeout = socket.tcp_user_timeout().expect("a TCP socket");
        assert_eq!(timeout, Some(write_timeout));
    }

    #[tokio::test]
    async fn whoever_connects_has_the_options_of_the_listener_as_they_are_then() {
        let [first, second] = [30, 7].map(Duration::from_secs);
        let listener = bind(([127, 0, 0, 1], 0).into(), first).expect("a free port");
        let address = listener.local_addr().expect("it listens");
        // Before anybody accepts: a server that recovers its jobs is connected to already.
        let early = TcpStream::connect(address).await.expect("it listens");
        let mut acceptor = Acceptor::new(listener);
        acceptor.configure(second);
        assert_accepts(&mut acceptor, first).await;
        let late = TcpStream::connect(address).await.expect("it listens");
        assert_accepts(&mut acceptor, second).await;
        drop((early, late));
    }
}
