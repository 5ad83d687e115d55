//! A client that speaks bytes, for requests that no well-behaved client sends.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{in_time, server::TestServer};

/// Sends `request` on a connection of its own and reads until the server closes it: the request
/// says `Connection: close`, or is one after which the server does so itself.
pub(crate) async fn exchange(server: &TestServer, request: &[u8]) -> String {
    let address = server.url.trim_start_matches("http://");
    let mut stream = in_time("a connection", TcpStream::connect(address))
        .await
        .expect("a listener");
    let mut received = Vec::new();
    let talk = async {
        // A server that has refused already need not read the rest.
        let _ = stream.write_all(request).await;
        stream.read_to_end(&mut received).await
    };
    in_time("the end of the connection", talk)
        .await
        .expect("a connection that is closed, not reset");
    String::from_utf8(received).expect("the answer is text")
}
