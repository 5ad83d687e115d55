//! The accept loop over real sockets.

mod drain;
mod http1;
mod http2;
mod limits;
mod support;
mod tls;
