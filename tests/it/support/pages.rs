//! Web pages of other origins than the server's.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

/// Serves one empty page at every path, on a port of its own; ends when dropped.
pub(crate) struct Pages {
    port: u16,
    serving: JoinHandle<()>,
}

impl Pages {
    pub(crate) async fn start() -> Self {
        const PAGE: &str =
            "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<!doctype html><title>page</title>";
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let serving = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut head = [0; 4096];
                    // The whole of a browser's head fits into one read; what it says does not matter.
                    let _ = socket.read(&mut head).await;
                    let _ = socket.write_all(PAGE.as_bytes()).await;
                });
            }
        });
        Self { port, serving }
    }

    pub(crate) fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/", self.port)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
