//! The end of the server, seen from connections in every state.

use std::time::Duration;

use progressd::http::connection::{ConnectionLimits, Drained};
use tokio::net::TcpStream;

use super::support::{TestServer, app, in_time, limits};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const GET_STREAM: &str = "GET /stream HTTP/1.1\r\nHost: test\r\n\r\n";

#[tokio::test]
async fn a_drain_closes_the_listener_and_idle_connections_at_once() {
    let (app, _streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut silent = server.connect().await;
    let mut kept = server.connect().await;
    kept.send(GET).await;
    kept.read_until("hello").await;
    server.start_drain();
    assert_eq!(kept.read_to_end().await, "");
    assert_eq!(silent.read_to_end().await, "");
    drop((kept, silent));
    let address = server.address;
    let drained = server.drained().await;
    assert_eq!(drained.cut, 0);
    TcpStream::connect(address)
        .await
        .expect_err("nobody listens any more");
}

#[tokio::test]
async fn a_stream_that_ends_within_the_drain_ends_whole() {
    let (app, mut streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut client = server.connect().await;
    client.send(GET_STREAM).await;
    let stream = in_time(streams.recv()).await.expect("the handler ran");
    client.read_until("\r\n\r\n").await;
    server.start_drain();
    // The listener closes before the connections are told, so its end is the signal.
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.blocks.send("bye".into()).expect("the body is there");
    drop(stream.blocks);
    assert_eq!(client.read_to_end().await, "3\r\nbye\r\n0\r\n\r\n");
    drop(client);
    assert_eq!(server.drained().await.cut, 0);
}

#[tokio::test]
async fn a_stream_that_does_not_end_is_cut_when_the_drain_is_over() {
    let (app, mut streams) = app();
    let limits = ConnectionLimits {
        drain: Duration::from_millis(200),
        ..limits()
    };
    let server = TestServer::start(app, limits).await;
    let mut client = server.connect().await;
    client.send(GET_STREAM).await;
    let mut stream = in_time(streams.recv()).await.expect("the handler ran");
    client.read_until("\r\n\r\n").await;
    server.start_drain();
    assert_eq!(client.read_to_end().await, "");
    assert_eq!(in_time(stream.gone.recv()).await, None);
    assert_eq!(server.drained().await, Drained { ended: 0, cut: 1 });
}

#[tokio::test]
async fn a_response_made_during_the_drain_announces_the_close() {
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let (entered, mut has_entered) = tokio::sync::mpsc::unbounded_channel();
    let released = std::sync::Mutex::new(Some(released));
    let released = std::sync::Arc::new(released);
    let app = axum::Router::new().route(
        "/",
        axum::routing::get(move || async move {
            let released = released.lock().expect("taken once").take();
            entered.send(()).expect("the test waits");
            released.expect("asked once").await.expect("released");
            ([("connection", "keep-alive")], "done")
        }),
    );
    let server = TestServer::start(app, limits()).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    in_time(has_entered.recv()).await.expect("the handler ran");
    server.start_drain();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    release.send(()).expect("the handler waits");
    let answer = client.read_to_end().await;
    assert!(!answer.contains("keep-alive"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.ends_with("done"), "{answer}");
    drop(client);
    assert_eq!(server.drained().await.cut, 0);
}
