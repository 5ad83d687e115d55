//! A port that can be switched off: behind it stands a server, or nobody.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use super::nginx::free_address;

/// Passes connections on while it is on; when off, nobody listens, as when a server is down.
#[derive(Debug)]
pub(crate) struct Switch {
    pub(crate) address: SocketAddr,
    upstream: SocketAddr,
    serving: Option<JoinHandle<()>>,
}

impl Switch {
    /// A switch in front of `upstream`, off.
    pub(crate) fn before(upstream: SocketAddr) -> Self {
        Self {
            address: free_address(),
            upstream,
            serving: None,
        }
    }

    /// Listens and passes connections on.
    pub(crate) async fn on(&mut self) {
        let listener = TcpListener::bind(self.address).await;
        let listener = listener.expect("the port is still free");
        let upstream = self.upstream;
        self.serving = Some(tokio::spawn(async move {
            // Dropped with the task, and the connections with it.
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut server = TcpStream::connect(upstream).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        }));
    }

    /// Cuts every connection and stops listening.
    pub(crate) async fn off(&mut self) {
        let serving = self.serving.take().expect("the switch is on");
        serving.abort();
        // Waits until the listener is gone.
        let _ = serving.await;
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}
