//! HTTP/1.0 and HTTP/1.1 byte by byte.

use super::support::{TestServer, app, in_time, limits};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const GET_STREAM: &str = "GET /stream HTTP/1.1\r\nHost: test\r\n\r\n";

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let (app, _streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.send(GET).await;
        let answer = client.read_until("hello").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (app, _streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut client = server.connect().await;
    let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nsecond";
    client
        .send(format!("{GET}{}{GET}", &post[..post.len() - 1]))
        .await;
    client.read_until("hello").await;
    client.read_until("secon").await;
    client.read_until("hello").await;
}

#[tokio::test]
async fn a_stream_says_keep_alive_and_closes_after_its_last_block() {
    let (app, mut streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut client = server.connect().await;
    client.send(GET_STREAM).await;
    let stream = in_time(streams.recv()).await.expect("the handler ran");
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.contains("connection: keep-alive\r\n"), "{head}");
    assert!(!head.contains("close"), "{head}");
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    stream.blocks.send("one".into()).expect("the body is there");
    assert_eq!(client.read_until("one\r\n").await, "3\r\none\r\n");
    stream.blocks.send("two".into()).expect("the body is there");
    drop(stream.blocks);
    assert_eq!(client.read_to_end().await, "3\r\ntwo\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_body_that_is_complete_at_once_still_says_keep_alive_and_closes() {
    let (app, mut streams) = app();
    let server = TestServer::start(app, limits()).await;
    tokio::spawn(async move {
        while let Some(stream) = streams.recv().await {
            // Dropped at once: the end may come before or after the head was written.
            drop(stream);
        }
    });
    for _ in 0..50 {
        let mut client = server.connect().await;
        client.send(GET_STREAM).await;
        let answer = client.read_to_end().await;
        assert!(answer.contains("connection: keep-alive\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n0\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_guard_dropped_before_the_answer_closes_after_it() {
    let (app, _streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut client = server.connect().await;
    client
        .send("GET /ended-early HTTP/1.1\r\nHost: test\r\n\r\n")
        .await;
    let answer = client.read_to_end().await;
    assert!(answer.contains("connection: keep-alive\r\n"), "{answer}");
    assert!(!answer.contains("close"), "{answer}");
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn a_request_behind_a_stream_that_closes_gets_no_answer_and_no_reset() {
    let (app, mut streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut client = server.connect().await;
    client.send(format!("{GET_STREAM}{GET}")).await;
    let stream = in_time(streams.recv()).await.expect("the handler ran");
    client.read_until("\r\n\r\n").await;
    client.send(GET.repeat(1000)).await;
    drop(stream.blocks);
    assert_eq!(client.read_to_end().await, "0\r\n\r\n");
}

#[tokio::test]
async fn http_1_0_gets_the_bare_bytes_and_the_end() {
    let (app, mut streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut client = server.connect().await;
    client.send("GET /stream HTTP/1.0\r\n\r\n").await;
    let stream = in_time(streams.recv()).await.expect("the handler ran");
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    stream.blocks.send("one".into()).expect("the body is there");
    stream.blocks.send("two".into()).expect("the body is there");
    drop(stream.blocks);
    assert_eq!(client.read_to_end().await, "onetwo");
}

#[tokio::test]
async fn http_1_0_with_keep_alive_is_kept_only_when_the_length_is_known() {
    let (app, mut streams) = app();
    let server = TestServer::start(app.route("/plain", plain_stream()), limits()).await;
    let mut client = server.connect().await;
    client
        .send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let answer = client.read_until("hello").await;
    assert!(answer.contains("connection: keep-alive\r\n"), "{answer}");
    client
        .send("GET /plain HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let answer = client.read_to_end().await;
    assert!(!answer.contains("keep-alive"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nplain"), "{answer}");
    assert!(streams.try_recv().is_err());
}

#[tokio::test]
async fn the_end_of_the_client_ends_its_stream() {
    let (app, mut streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut client = server.connect().await;
    client.send(GET_STREAM).await;
    let mut stream = in_time(streams.recv()).await.expect("the handler ran");
    client.read_until("\r\n\r\n").await;
    drop(client);
    assert_eq!(in_time(stream.gone.recv()).await, None);
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_only() {
    let (app, _streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut neighbour = server.connect().await;
    neighbour.send(GET).await;
    neighbour.read_until("hello").await;
    let mut client = server.connect().await;
    client
        .send("GET /panic HTTP/1.1\r\nHost: test\r\n\r\n")
        .await;
    assert_eq!(client.read_to_end().await, "");
    neighbour.send(GET).await;
    neighbour.read_until("hello").await;
    let mut newcomer = server.connect().await;
    newcomer.send(GET).await;
    newcomer.read_until("hello").await;
}

/// A body of unknown length with nothing about the connection.
fn plain_stream() -> axum::routing::MethodRouter {
    axum::routing::get(|| async {
        let block = http_body_util::Full::new(axum::body::Bytes::from("plain"));
        axum::body::Body::new(http_body_util::BodyExt::boxed_unsync(UnknownLength(block)))
    })
}

/// Hides how long a body is.
struct UnknownLength(http_body_util::Full<axum::body::Bytes>);

impl http_body::Body for UnknownLength {
    type Data = axum::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(context)
    }
}
