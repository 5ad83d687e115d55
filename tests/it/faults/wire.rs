//! A watcher's own connection, with no pool and nobody else on it: what becomes of it is the server's doing.

use std::{error::Error, net::SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Response, body::Incoming, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// An answer whose body comes piece by piece; dropping it closes the connection.
pub(super) struct Answer {
    response: Response<Incoming>,
    _connection: AbortOnDropHandle<()>,
}

impl Answer {
    /// Connects, asks for a path, and waits for the head of the answer.
    pub(super) async fn to(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, String)],
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let socket = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        // What it ends with, the body is told too.
        let connection = AbortOnDropHandle::new(tokio::spawn(async {
            let _ = connection.await;
        }));
        let mut request = Request::get(path).header(HOST, address.to_string());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?);
        Ok(Self {
            response: response.await?,
            _connection: connection,
        })
    }

    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The next piece of the body; `None` at its end, an error when there is none.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        while let Some(frame) = self.response.frame().await {
            if let Ok(piece) = frame?.into_data() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}
