//! Addresses for servers that are told where to listen, and that come back to the same place.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
};

/// Below the ports that the system gives to outgoing connections and to whoever asks for any (Linux: ip(7),
/// `ip_local_port_range`): there a server that is away for a moment would find its place taken.
const FIRST: u16 = 10_000;

/// How many there are.
const COUNT: u16 = 22_000;

/// An address on which nobody listens just now, and that nobody else in this process is given.
pub(crate) fn free_address() -> SocketAddr {
    // Other processes begin elsewhere.
    static NEXT: LazyLock<AtomicU16> =
        LazyLock::new(|| AtomicU16::new(rand::random_range(0..COUNT)));
    let addresses = std::iter::repeat_with(|| {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        SocketAddr::from(([127, 0, 0, 1], port))
    });
    let is_free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    let mut addresses = addresses.take(COUNT.into());
    addresses.find(is_free).expect("a free port")
}
