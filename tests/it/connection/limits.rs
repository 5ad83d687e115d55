//! What a client cannot do: be slow, send too much, stop reading, come in too great numbers.

use std::time::Duration;

use axum::body::Bytes;
use progressd::http::connection::ConnectionLimits;
use socket2::SockRef;

use super::support::{TestServer, app, in_time, limits};
use crate::support::until;

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const GET_STREAM: &str = "GET /stream HTTP/1.1\r\nHost: test\r\n\r\n";

/// Short enough for a test; nothing but the cut can end the waiting.
const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_cut() {
    let (app, _streams) = app();
    let limits = ConnectionLimits {
        header_timeout: SHORT,
        ..limits()
    };
    let server = TestServer::start(app, limits).await;
    for begin in [
        "",
        "G",
        "GET / HTTP/1.1\r\nHost: te",
        "PRI * HTTP/2.0\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        client.send(begin).await;
        assert_eq!(client.read_to_end().await, "", "after {begin:?}");
    }
}

#[tokio::test]
async fn a_client_that_dribbles_its_head_is_cut() {
    let (app, _streams) = app();
    let limits = ConnectionLimits {
        header_timeout: SHORT,
        ..limits()
    };
    let server = TestServer::start(app, limits).await;
    let client = server.connect().await;
    let (mut reader, mut writer) = client.into_socket().into_split();
    let dribble = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        loop {
            if writer.write_all(b"X").await.is_err() {
                return;
            }
            // The time between two bytes is what the test is about: each alone is in time.
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    let mut answer = Vec::new();
    // The cut may come as an end or, for the byte under way, as a reset.
    let _ = in_time(tokio::io::AsyncReadExt::read_to_end(
        &mut reader,
        &mut answer,
    ))
    .await;
    assert_eq!(answer, b"");
    in_time(dribble).await.expect("writing ends with an error");
}

#[tokio::test]
async fn an_idle_kept_connection_is_closed() {
    let (app, _streams) = app();
    let limits = ConnectionLimits {
        header_timeout: SHORT,
        ..limits()
    };
    let server = TestServer::start(app, limits).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    client.read_until("hello").await;
    assert_eq!(client.read_to_end().await, "");
}

#[tokio::test]
async fn a_head_of_16_kib_passes_and_a_longer_one_gets_431() {
    let (app, _streams) = app();
    let server = TestServer::start(app, limits()).await;
    let head_of = |length: usize| {
        let (begin, end) = ("GET /?", " HTTP/1.1\r\nHost: test\r\n\r\n");
        format!(
            "{begin}{}{end}",
            "q".repeat(length - begin.len() - end.len())
        )
    };
    let header_of = |length: usize| {
        let (begin, end) = ("GET / HTTP/1.1\r\nHost: test\r\nX-Long: ", "\r\n\r\n");
        format!(
            "{begin}{}{end}",
            "v".repeat(length - begin.len() - end.len())
        )
    };
    for fitting in [head_of(16 * 1024), header_of(16 * 1024)] {
        let mut client = server.connect().await;
        client.send(fitting).await;
        client.read_until("hello").await;
        // The buffer is free again for the next one.
        client.send(GET).await;
        client.read_until("hello").await;
    }
    for length in [16 * 1024 + 1, 20_000, 400_000] {
        for excessive in [head_of(length), header_of(length)] {
            let mut client = server.connect().await;
            client.send(excessive).await;
            let answer = client.read_to_end().await;
            assert!(answer.starts_with("HTTP/1.1 431 "), "{length}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut() {
    let (app, mut streams) = app();
    let limits = ConnectionLimits {
        write_timeout: SHORT,
        send_buffer_bytes: Some(8 * 1024),
        ..limits()
    };
    let server = TestServer::start(app, limits).await;
    let mut client = server.connect().await;
    SockRef::from(client.socket())
        .set_recv_buffer_size(8 * 1024)
        .expect("a socket has a receive buffer");
    client.send(GET_STREAM).await;
    let mut stream = in_time(streams.recv()).await.expect("the handler ran");
    client.read_until("\r\n\r\n").await;
    let megabyte = Bytes::from(vec![b'x'; 1024 * 1024]);
    for _ in 0..16 {
        stream
            .blocks
            .send(megabyte.clone())
            .expect("the body is there");
    }
    // The client is alive and its socket open; only the timeout can end the body.
    assert_eq!(in_time(stream.gone.recv()).await, None);
    assert_eq!(server.counted("progressd_connections_cut_total"), 1.0);
    drop(client);
}

#[tokio::test]
async fn a_connection_beyond_the_cap_waits_until_another_ends() {
    let (app, mut streams) = app();
    let limits = ConnectionLimits {
        max_connections: 1,
        ..limits()
    };
    let server = TestServer::start(app, limits).await;
    let mut first = server.connect().await;
    first.send(GET_STREAM).await;
    let stream = in_time(streams.recv()).await.expect("the handler ran");
    first.read_until("\r\n\r\n").await;
    let mut second = server.connect().await;
    second.send(GET).await;
    // That something does not happen can only be seen by waiting for it.
    let early = tokio::time::timeout(SHORT, second.read_until("hello")).await;
    assert!(early.is_err(), "answered beyond the cap: {early:?}");
    drop(stream.blocks);
    first.read_to_end().await;
    drop(first);
    second.read_until("hello").await;
}

#[tokio::test]
async fn connections_beyond_those_of_an_address_are_closed_at_once() {
    let (app, _streams) = app();
    let limits = ConnectionLimits {
        max_connections_per_address: 3,
        ..limits()
    };
    let server = TestServer::start(app, limits).await;
    let mut served = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect().await;
        client.send(GET).await;
        client.read_until("hello").await;
        served.push(client);
    }
    for _ in 0..50 {
        assert_eq!(server.connect().await.read_to_end().await, "");
    }
    for client in &mut served {
        client.send(GET).await;
        client.read_until("hello").await;
    }
    drop(served.pop());
    // Its place is free once the server has noticed.
    let comes_in = async || {
        let socket = server.connect().await.into_socket();
        let (mut reader, mut writer) = socket.into_split();
        let _ = tokio::io::AsyncWriteExt::write_all(&mut writer, GET.as_bytes()).await;
        let mut byte = [0];
        let read = tokio::io::AsyncReadExt::read(&mut reader, &mut byte).await;
        read.is_ok_and(|read| read == 1)
    };
    until("a free place", comes_in).await;
}

#[tokio::test]
async fn a_trusted_proxy_has_as_many_connections_as_it_likes() {
    let (app, _streams) = app();
    let proxies = vec!["127.0.0.0/8".to_owned()];
    let limits = ConnectionLimits {
        max_connections_per_address: 1,
        trusted_proxies: proxies.try_into().expect("a network"),
        ..limits()
    };
    let server = TestServer::start(app, limits).await;
    let mut served = Vec::new();
    for _ in 0..10 {
        let mut client = server.connect().await;
        client.send(GET).await;
        client.read_until("hello").await;
        served.push(client);
    }
}
