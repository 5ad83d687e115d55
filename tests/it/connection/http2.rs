//! HTTP/2 with prior knowledge.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use progressd::http::connection::ConnectionLimits;
use tokio::net::TcpStream;

use super::support::{TestServer, app, in_time, limits};

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn requests_on_one_connection_are_answered() {
    let (app, _streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut client = connect(&server, &mut Builder::new()).await;
    for _ in 0..3 {
        let (status, body) = get(&mut client, "/").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(text(body).await.as_deref(), Ok("hello"));
    }
}

#[tokio::test]
async fn a_preface_in_two_parts_is_recognised() {
    let (app, _streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut client = server.connect().await;
    client.send("PRI * HTTP/2.0\r\n").await;
    client.socket().set_nodelay(true).expect("a TCP socket");
    tokio::task::yield_now().await;
    // The rest of the preface, then an empty SETTINGS frame; the server's own begins
    // with the three bytes of its length and the type 4.
    client.send(b"\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let mut socket = client.into_socket();
    let mut frame = [0; 4];
    let read = tokio::io::AsyncReadExt::read_exact(&mut socket, &mut frame);
    in_time(read).await.expect("the server speaks HTTP/2");
    assert_eq!(frame[3], 4);
}

#[tokio::test]
async fn a_stream_that_ends_leaves_the_connection_open() {
    let (app, mut streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut client = connect(&server, &mut Builder::new()).await;
    let (status, body) = get(&mut client, "/stream").await;
    assert_eq!(status, StatusCode::OK);
    let stream = in_time(streams.recv()).await.expect("the handler ran");
    stream.blocks.send("one".into()).expect("the body is there");
    drop(stream.blocks);
    assert_eq!(text(body).await.as_deref(), Ok("one"));
    let (_, body) = get(&mut client, "/").await;
    assert_eq!(text(body).await.as_deref(), Ok("hello"));
}

#[tokio::test]
async fn a_large_frame_arrives_whole() {
    let (app, mut streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut client = connect(&server, &mut Builder::new()).await;
    let (_, body) = get(&mut client, "/stream").await;
    let stream = in_time(streams.recv()).await.expect("the handler ran");
    let large: String = (0..100_000).map(|number| format!("{number} ")).collect();
    stream
        .blocks
        .send(large.clone().into())
        .expect("the body is there");
    stream.blocks.send("end".into()).expect("the body is there");
    drop(stream.blocks);
    assert!(text(body).await == Ok(large + "end"));
}

#[tokio::test]
async fn a_header_list_over_16_kib_gets_431() {
    let (app, _streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut client = connect(&server, &mut Builder::new()).await;
    let (status, _) = get(&mut client, &format!("/?{}", "q".repeat(15 * 1024))).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = get(&mut client, &format!("/?{}", "q".repeat(16 * 1024))).await;
    assert_eq!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[tokio::test]
async fn a_panic_ends_its_own_stream_only() {
    let (app, mut streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut client = connect(&server, &mut Builder::new()).await;
    let (_, body) = get(&mut client, "/stream").await;
    let stream = in_time(streams.recv()).await.expect("the handler ran");
    let (response, _) = client
        .send_request(request("/panic"), true)
        .expect("the connection is open");
    in_time(response)
        .await
        .expect_err("the stream of a panic is reset");
    stream.blocks.send("on".into()).expect("the body is there");
    drop(stream.blocks);
    assert_eq!(text(body).await.as_deref(), Ok("on"));
    let (_, body) = get(&mut client, "/").await;
    assert_eq!(text(body).await.as_deref(), Ok("hello"));
}

#[tokio::test]
async fn a_client_that_stops_reading_one_stream_loses_that_stream_only() {
    let (app, mut streams) = app();
    let limits = ConnectionLimits {
        write_timeout: SHORT,
        ..limits()
    };
    let server = TestServer::start(app, limits).await;
    let mut client = connect(&server, Builder::new().initial_window_size(1024)).await;
    let (_, unread) = get(&mut client, "/stream").await;
    let mut stalled = in_time(streams.recv()).await.expect("the handler ran");
    let (_, mut quiet) = get(&mut client, "/stream").await;
    let idle = in_time(streams.recv()).await.expect("the handler ran");
    // More than the window: this stream has to wait as well, but is then read.
    for _ in 0..2 {
        idle.blocks
            .send(Bytes::from(vec![b'x'; 2048]))
            .expect("the body is there");
    }
    read_some(&mut quiet, 2 * 2048).await;
    for _ in 0..64 {
        let block = Bytes::from(vec![b'x'; 1024]);
        stalled.blocks.send(block).expect("the body is there");
    }
    assert_eq!(in_time(stalled.gone.recv()).await, None);
    drop(unread);
    // The other stream had nothing to say for as long, and is still there.
    idle.blocks.send("on".into()).expect("the body is there");
    drop(idle.blocks);
    assert_eq!(text(quiet).await.as_deref(), Ok("on"));
}

#[tokio::test]
async fn a_client_that_stops_reading_its_socket_is_cut() {
    let (app, mut streams) = app();
    let limits = ConnectionLimits {
        write_timeout: SHORT,
        send_buffer_bytes: Some(8 * 1024),
        ..limits()
    };
    let server = TestServer::start(app, limits).await;
    let socket = TcpStream::connect(server.address)
        .await
        .expect("a listener");
    socket2::SockRef::from(&socket)
        .set_recv_buffer_size(8 * 1024)
        .expect("a socket has a receive buffer");
    let (mut client, mut connection) = in_time(
        Builder::new()
            .initial_window_size(64 << 20)
            .initial_connection_window_size(64 << 20)
            .handshake::<_, Bytes>(socket),
    )
    .await
    .expect("the server speaks HTTP/2");
    let (response, _) = client
        .send_request(request("/stream"), true)
        .expect("the connection is open");
    let response = async {
        tokio::select! {
            response = response => response.expect("an answer"),
            _ = &mut connection => panic!("the connection is open"),
        }
    };
    let response = in_time(response).await;
    let mut stream = in_time(streams.recv()).await.expect("the handler ran");
    let megabyte = Bytes::from(vec![b'x'; 1024 * 1024]);
    for _ in 0..32 {
        stream
            .blocks
            .send(megabyte.clone())
            .expect("the body is there");
    }
    // Nobody polls the client's connection any more, so nothing is read.
    assert_eq!(in_time(stream.gone.recv()).await, None);
    drop((response, connection));
}

#[tokio::test]
async fn a_connection_without_streams_is_closed() {
    let (app, mut streams) = app();
    let limits = ConnectionLimits {
        header_timeout: SHORT,
        ..limits()
    };
    let server = TestServer::start(app, limits).await;
    let socket = TcpStream::connect(server.address)
        .await
        .expect("a listener");
    let (mut client, connection) = in_time(Builder::new().handshake::<_, Bytes>(socket))
        .await
        .expect("the server speaks HTTP/2");
    let connection = tokio::spawn(connection);
    let (_, body) = get(&mut client, "/stream").await;
    let stream = in_time(streams.recv()).await.expect("the handler ran");
    // A stream keeps the connection open for longer than the time without one. That nothing is
    // closed meanwhile is no event that could be waited for.
    tokio::time::sleep(SHORT * 2).await;
    stream.blocks.send("on".into()).expect("the body is there");
    drop(stream.blocks);
    assert_eq!(text(body).await.as_deref(), Ok("on"));
    in_time(connection)
        .await
        .expect("the client does not panic")
        .expect("a connection that is closed in order");
}

#[tokio::test]
async fn a_client_that_says_nothing_after_the_preface_is_cut() {
    let (app, _streams) = app();
    let limits = ConnectionLimits {
        header_timeout: SHORT,
        ..limits()
    };
    let server = TestServer::start(app, limits).await;
    let mut client = server.connect().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // Its SETTINGS frame is no text.
    let mut socket = client.into_socket();
    let mut answer = Vec::new();
    in_time(tokio::io::AsyncReadExt::read_to_end(
        &mut socket,
        &mut answer,
    ))
    .await
    .expect("closed, not reset");
}

#[tokio::test]
async fn a_drain_lets_open_streams_end_and_takes_no_new_ones() {
    let (app, mut streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut client = connect(&server, &mut Builder::new()).await;
    let (_, body) = get(&mut client, "/stream").await;
    let stream = in_time(streams.recv()).await.expect("the handler ran");
    server.start_drain();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.blocks.send("bye".into()).expect("the body is there");
    drop(stream.blocks);
    assert_eq!(text(body).await.as_deref(), Ok("bye"));
    assert_eq!(server.drained().await.cut, 0);
    in_time(std::future::poll_fn(|context| client.poll_ready(context)))
        .await
        .expect_err("the connection is closed");
}

/// A frame's head (RFC 9113, section 4.1) and what follows it.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn a_flood_of_streams_that_are_reset_at_once_ends_that_connection_only() {
    let (app, _streams) = app();
    let server = TestServer::start(app, limits()).await;
    let mut other = connect(&server, &mut Builder::new()).await;
    let (_, body) = get(&mut other, "/").await;
    assert_eq!(text(body).await.as_deref(), Ok("hello"));

    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    flood.extend(frame(4, 0, 0, &[]));
    // GET, http and / by their numbers, and the authority (RFC 7541, appendix A).
    let head = b"\x82\x86\x84\x41\x04test";
    for stream in (1..20_000).step_by(2) {
        // HEADERS, of which nothing more follows, and RST_STREAM with CANCEL.
        flood.extend(frame(1, 0x4 | 0x1, stream, head));
        flood.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
    }
    let socket = TcpStream::connect(server.address)
        .await
        .expect("a listener");
    let (mut reader, mut writer) = socket.into_split();
    let writing = tokio::spawn(async move {
        // The server closes before it has read all of it.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut writer, &flood).await;
        writer
    });
    let mut answer = Vec::new();
    // The end may come as a reset, since there is more to read than the server wants to.
    let _ = in_time(tokio::io::AsyncReadExt::read_to_end(
        &mut reader,
        &mut answer,
    ))
    .await;
    drop(in_time(writing).await.expect("the client does not panic"));

    let (_, body) = get(&mut other, "/").await;
    assert_eq!(text(body).await.as_deref(), Ok("hello"));
}

async fn connect(server: &TestServer, builder: &mut Builder) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(server.address)
        .await
        .expect("a listener");
    let (client, connection) = in_time(builder.handshake(socket))
        .await
        .expect("the server speaks HTTP/2");
    tokio::spawn(async move {
        // Its end shows in the requests.
        let _ = connection.await;
    });
    client
}

async fn get(client: &mut SendRequest<Bytes>, path: &str) -> (StatusCode, RecvStream) {
    in_time(std::future::poll_fn(|context| client.poll_ready(context)))
        .await
        .expect("the connection is open");
    let (response, _) = client
        .send_request(request(path), true)
        .expect("the connection is open");
    let response = in_time(response).await.expect("an answer");
    (response.status(), response.into_body())
}

/// Reads `length` bytes of the body.
async fn read_some(body: &mut RecvStream, length: usize) {
    let mut read = 0;
    while read < length {
        let data = in_time(body.data()).await.expect("more is to come");
        let data = data.expect("the stream is open");
        body.flow_control()
            .release_capacity(data.len())
            .expect("no more than was received");
        read += data.len();
    }
}

/// The whole body as text; the error is that of the stream.
async fn text(mut body: RecvStream) -> Result<String, String> {
    let mut bytes = Vec::new();
    while let Some(data) = in_time(body.data()).await {
        let data = data.map_err(|error| error.to_string())?;
        body.flow_control()
            .release_capacity(data.len())
            .expect("no more than was received");
        bytes.extend_from_slice(&data);
    }
    Ok(String::from_utf8(bytes).expect("the tests send text"))
}

fn request(path: &str) -> Request<()> {
    Request::get(format!("http://test{path}"))
        .body(())
        .expect("a valid request")
}
