//! Connections behind a handshake: which protocol they speak, and that every limit holds.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use progressd::http::connection::{ConnectionLimits, Drained, Tls};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::support::{TestServer, app, in_time, limits};
use crate::support::certificate::Certificate;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const GET_STREAM: &[u8] = b"GET /stream HTTP/1.1\r\nHost: test\r\n\r\n";

/// Short enough for a test; nothing but the cut can end the waiting.
const SHORT: Duration = Duration::from_millis(200);

fn load(certificate: &Certificate) -> Tls {
    Tls::load(&certificate.cert(), &certificate.key()).expect("a pair that fits")
}

async fn connect(
    server: &TestServer,
    certificate: &Certificate,
    protocols: &[&[u8]],
) -> TlsStream<TcpStream> {
    let socket = TcpStream::connect(server.address)
        .await
        .expect("a listener");
    let secured = certificate.secure(socket, protocols).await;
    secured.expect("a handshake")
}

async fn send(client: &mut TlsStream<TcpStream>, bytes: &[u8]) {
    in_time(client.write_all(bytes)).await.expect("room");
    in_time(client.flush()).await.expect("room");
}

async fn read_until(client: &mut TlsStream<TcpStream>, end: &str) -> String {
    let mut received = Vec::new();
    while !received.ends_with(end.as_bytes()) {
        let read = in_time(client.read_buf(&mut received)).await;
        assert_ne!(read.expect("an unbroken session"), 0, "{received:?}");
    }
    String::from_utf8(received).expect("text")
}

#[tokio::test]
async fn the_handshake_decides_the_protocol_and_without_it_the_first_bytes_do() {
    let certificate = Certificate::new();
    let (app, _streams) = app();
    let server = TestServer::secured(Some(load(&certificate)), app, limits()).await;
    let protocols: [&[&[u8]]; 3] = [&[b"http/1.1"], &[], &[b"http/1.1", b"h2"]];
    for offered in protocols {
        let mut client = connect(&server, &certificate, offered).await;
        let agreed = client.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        if agreed.as_deref() == Some(b"h2") {
            assert_eq!(offered.len(), 2, "the server's preference decides");
            continue;
        }
        assert_eq!(agreed.as_deref(), offered.first().copied());
        send(&mut client, GET).await;
        read_until(&mut client, "hello").await;
    }
    for offered in [&[&b"h2"[..]][..], &[]] {
        let client = connect(&server, &certificate, offered).await;
        let handshake = h2::client::handshake(client);
        let (mut requests, connection) = in_time(handshake).await.expect("HTTP/2");
        let driver = tokio::spawn(connection);
        let request = Request::get("https://localhost/").body(()).expect("valid");
        let (response, _) = requests.send_request(request, true).expect("open");
        let response = in_time(response).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        driver.abort();
    }
}

#[tokio::test]
async fn a_client_that_offers_only_an_unknown_protocol_is_refused_in_the_handshake() {
    let certificate = Certificate::new();
    let (app, _streams) = app();
    let server = TestServer::secured(Some(load(&certificate)), app, limits()).await;
    let socket = TcpStream::connect(server.address)
        .await
        .expect("a listener");
    let outcome = certificate.secure(socket, &[b"spdy/3"]).await;
    outcome.expect_err("nothing in common");
}

#[tokio::test]
async fn what_is_no_tls_is_closed_and_others_are_served() {
    let certificate = Certificate::new();
    let (app, _streams) = app();
    let server = TestServer::secured(Some(load(&certificate)), app, limits()).await;
    let mut other = connect(&server, &certificate, &[]).await;
    for bytes in [GET, b"\x16\x03\x01\xff\xff", &[0; 4_096]] {
        let mut client = TcpStream::connect(server.address)
            .await
            .expect("a listener");
        in_time(client.write_all(bytes)).await.expect("room");
        let mut answer = Vec::new();
        // Closed or, with bytes left unread, reset; a word of refusal at most comes before.
        let _ = in_time(client.read_to_end(&mut answer)).await;
        assert!(answer.len() < 16, "{answer:?}");
        send(&mut other, GET).await;
        read_until(&mut other, "hello").await;
    }
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_cut() {
    let certificate = Certificate::new();
    let (app, _streams) = app();
    let limits = ConnectionLimits {
        header_timeout: SHORT,
        ..limits()
    };
    let server = TestServer::secured(Some(load(&certificate)), app, limits).await;
    for begin in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut client = TcpStream::connect(server.address)
            .await
            .expect("a listener");
        in_time(client.write_all(begin)).await.expect("room");
        let mut answer = Vec::new();
        let _ = in_time(client.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"");
    }
    // Nor does a client live on that is silent after it.
    for protocols in [&[&b"h2"[..]][..], &[]] {
        let mut silent = connect(&server, &certificate, protocols).await;
        let mut rest = Vec::new();
        let _ = in_time(silent.read_to_end(&mut rest)).await;
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_under_tls_too() {
    let certificate = Certificate::new();
    let (app, mut streams) = app();
    let limits = ConnectionLimits {
        write_timeout: SHORT,
        send_buffer_bytes: Some(8 * 1024),
        ..limits()
    };
    let server = TestServer::secured(Some(load(&certificate)), app, limits).await;
    let mut client = connect(&server, &certificate, &[]).await;
    SockRef::from(client.get_ref().0)
        .set_recv_buffer_size(8 * 1024)
        .expect("a socket has a receive buffer");
    send(&mut client, GET_STREAM).await;
    let mut stream = in_time(streams.recv()).await.expect("the handler ran");
    read_until(&mut client, "\r\n\r\n").await;
    let megabyte = Bytes::from(vec![b'x'; 1024 * 1024]);
    for _ in 0..16 {
        let sent = stream.blocks.send(megabyte.clone());
        sent.expect("the body is there");
    }
    // The client is alive and its socket open; only the timeout can end the body.
    assert_eq!(in_time(stream.gone.recv()).await, None);
    assert_eq!(server.counted("progressd_connections_cut_total"), 1.0);
    drop(client);
}

#[tokio::test]
async fn a_drain_ends_handshakes_at_once_and_streams_whole() {
    let certificate = Certificate::new();
    let (app, mut streams) = app();
    let server = TestServer::secured(Some(load(&certificate)), app, limits()).await;
    let mut silent = TcpStream::connect(server.address)
        .await
        .expect("a listener");
    let mut idle = connect(&server, &certificate, &[]).await;
    let mut client = connect(&server, &certificate, &[b"http/1.1"]).await;
    send(&mut client, GET_STREAM).await;
    let stream = in_time(streams.recv()).await.expect("the handler ran");
    read_until(&mut client, "\r\n\r\n").await;
    server.start_drain();
    let mut nothing = Vec::new();
    let _ = in_time(silent.read_to_end(&mut nothing)).await;
    let _ = in_time(idle.read_to_end(&mut nothing)).await;
    assert_eq!(nothing, b"");
    stream.blocks.send("bye".into()).expect("the body is there");
    drop(stream.blocks);
    let mut rest = Vec::new();
    // Without the session's own goodbye this would be an error: the end might be a forgery.
    let read = in_time(client.read_to_end(&mut rest)).await;
    read.expect("a session that ends well");
    assert_eq!(rest, b"3\r\nbye\r\n0\r\n\r\n");
    drop((client, silent, idle));
    let drained = server.drained().await;
    assert_eq!(drained, Drained { ended: 3, cut: 0 });
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_alone() {
    let certificate = Certificate::new();
    let (app, _streams) = app();
    let server = TestServer::secured(Some(load(&certificate)), app, limits()).await;
    let mut other = connect(&server, &certificate, &[]).await;
    let mut client = connect(&server, &certificate, &[]).await;
    send(&mut client, b"GET /panic HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = in_time(client.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"");
    send(&mut other, GET).await;
    read_until(&mut other, "hello").await;
}
