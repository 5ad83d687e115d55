//! What a connection goes through before, during and after its stream.

use std::time::Duration;

use serde_json::json;
use socket2::SockRef;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{Delivery, expect_end, joined, on_both_deliveries, stream_of_j, watched_by};
use crate::support::{in_time, raw_client::RawClient, scrape::Scrape, server::TestServer, until};

on_both_deliveries! {
    a_connection_that_served_requests_before_carries_a_stream,
    a_stream_behind_large_answers_comes_after_them,
    requests_behind_a_stream_are_read_away_and_never_answered,
    a_body_that_nobody_reads_harms_no_stream,
    a_client_that_closes_its_sending_side_has_left,
    a_client_that_resets_its_connection_has_left,
    a_reader_that_stalls_is_cut_and_counted,
    connections_that_carry_streams_count_until_they_are_closed,
    streams_count_against_the_connections_of_an_address,
    thousands_that_join_and_leave_leave_nothing_behind,
    a_drain_that_is_over_cuts_who_does_not_read,
}

async fn a_connection_that_served_requests_before_carries_a_stream(delivery: Delivery) {
    let server = delivery.server("").await;
    let mut client = RawClient::connect(&server.url).await;
    for _ in 0..3 {
        client
            .send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        client.read_until("\r\n\r\n{\"status\":\"ok\"}").await;
    }
    client.send(stream_of_j("HTTP/1.1", "")).await;
    let first = client.read_until("\n\n\r\n").await;
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
    expect_end(&server, &mut client).await;
}

async fn a_stream_behind_large_answers_comes_after_them(delivery: Delivery) {
    const ANSWERS: usize = 40;
    let server = delivery.server("").await;
    for _ in 0..20 {
        server
            .create(json!({"data": {"text": "t".repeat(4_000)}}))
            .await;
    }
    let mut client = RawClient::connect_with_little_room(&server.url).await;
    // All in one write: the server has the request for the stream before it can write what stands before.
    let list = "GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(ANSWERS);
    client
        .send(format!("{list}{}", stream_of_j("HTTP/1.1", "")))
        .await;
    let finishing = async {
        watched_by(&server, 1).await;
        server.report("j", json!({"status": "completed"})).await;
    };
    let (all, ()) = tokio::join!(client.read_to_end(), finishing);
    let heads: Vec<_> = all.match_indices("HTTP/1.1 200 OK\r\n").collect();
    assert_eq!(heads.len(), ANSWERS + 1);
    let (last, _) = heads[ANSWERS];
    assert!(!all[..last].contains("text/event-stream"));
    assert!(all[last..].contains("content-type: text/event-stream\r\n"));
    assert!(all.ends_with("0\r\n\r\n"));
}

async fn requests_behind_a_stream_are_read_away_and_never_answered(delivery: Delivery) {
    let server = delivery.server("").await;
    let mut client = RawClient::connect(&server.url).await;
    let health = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client
        .send(format!("{}{health}", stream_of_j("HTTP/1.1", "")))
        .await;
    client.read_until("\n\n\r\n").await;
    client.send(health.repeat(100)).await;
    expect_end(&server, &mut client).await;
    assert_eq!(client.transcript().matches("HTTP/1.1").count(), 1);
}

async fn a_body_that_nobody_reads_harms_no_stream(delivery: Delivery) {
    // hyper does not see a client leave behind what it has not read, before it writes to it in vain.
    let server = delivery.server("stream.heartbeat_seconds = 1").await;
    let whole = "x".repeat(40_000);
    let chunk = format!("9c40\r\n{whole}\r\n0\r\n\r\n");
    let bodies = [
        ("Content-Length: 40000\r\n", &*whole),
        ("Transfer-Encoding: chunked\r\n", &chunk),
        // The rest never comes.
        ("Content-Length: 40000\r\n", "only this"),
        ("Transfer-Encoding: chunked\r\n", "9c40\r\nonly this"),
    ];
    for (number, (headers, body)) in bodies.into_iter().enumerate() {
        let mut client = RawClient::connect(&server.url).await;
        client
            .send(format!("{}{body}", stream_of_j("HTTP/1.1", headers)))
            .await;
        client.read_until("\n\n\r\n").await;
        let message = format!("further {number}");
        server.report("j", json!({"message": message})).await;
        client.read_until(&message).await;
        drop(client);
        watched_by(&server, 0).await;
    }
}

async fn a_client_that_closes_its_sending_side_has_left(delivery: Delivery) {
    let server = delivery.server("").await;
    let client = joined(&server).await;
    watched_by(&server, 1).await;
    let mut socket = client.into_socket();
    socket.shutdown().await.expect("a connection");
    watched_by(&server, 0).await;
}

async fn a_client_that_resets_its_connection_has_left(delivery: Delivery) {
    let server = delivery.server("").await;
    let client = joined(&server).await;
    watched_by(&server, 1).await;
    let socket = client.into_socket();
    // Closing it sends a reset then.
    SockRef::from(&socket)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket option");
    drop(socket);
    watched_by(&server, 0).await;
}

async fn a_reader_that_stalls_is_cut_and_counted(delivery: Delivery) {
    let server = delivery.server("limits.write_timeout_seconds = 1").await;
    let mut client = RawClient::connect_with_little_room(&server.url).await;
    client.send(stream_of_j("HTTP/1.1", "")).await;
    client.read_until("\n\n\r\n").await;
    server.flood("j").await;
    until("the cut", async || {
        let scrape = Scrape::of(&server).await;
        scrape.value("progressd_connections_cut_total", &[]) == 1.0
    })
    .await;
    watched_by(&server, 0).await;
}

async fn connections_that_carry_streams_count_until_they_are_closed(delivery: Delivery) {
    let server = delivery.server("limits.max_connections = 3").await;
    let mut clients = Vec::new();
    for watchers in 1..=3 {
        clients.push(joined(&server).await);
        watched_by(&server, watchers).await;
    }
    // Connected by the kernel, and not let in.
    let mut waiting = RawClient::connect(&server.url).await;
    waiting.send(stream_of_j("HTTP/1.1", "")).await;
    assert_eq!(server.watchers("j").await, 3);
    drop(clients.pop());
    waiting.read_until("\n\n\r\n").await;
    watched_by(&server, 3).await;
    drop((clients, waiting));
    until("closed connections", async || {
        let scrape = Scrape::of(&server).await;
        scrape.value("progressd_connections_open", &[]) == 1.0
    })
    .await;
}

async fn streams_count_against_the_connections_of_an_address(delivery: Delivery) {
    let server = delivery
        .server("limits.max_connections_per_address = 2")
        .await;
    let (first, second) = (let_in(&server).await, let_in(&server).await);
    let mut refused = RawClient::connect(&server.url).await;
    assert_eq!(refused.read_to_end().await, "");
    drop(first);
    let third = let_in(&server).await;
    drop((second, third));
}

/// A watcher of `j`, as soon as there is room for its connection: one without is closed, or reset, without a word.
async fn let_in(server: &TestServer) -> TcpStream {
    let joining = async {
        loop {
            let mut client = RawClient::connect(&server.url).await;
            client.send(stream_of_j("HTTP/1.1", "")).await;
            let socket = client.into_socket();
            if matches!(socket.peek(&mut [0]).await, Ok(1)) {
                return socket;
            }
        }
    };
    in_time("room for another", joining).await
}

async fn thousands_that_join_and_leave_leave_nothing_behind(delivery: Delivery) {
    let server = delivery.server("").await;
    let joining = (0..20).map(|_| {
        let server = server.guest();
        tokio::spawn(async move {
            for number in 0..100 {
                let mut client = RawClient::connect(&server.url).await;
                client.send(stream_of_j("HTTP/1.1", "")).await;
                // Some leave before they have heard anything.
                if number % 3 > 0 {
                    client.read_until("\n\n\r\n").await;
                }
            }
        })
    });
    for client in joining.collect::<Vec<_>>() {
        in_time("the end of a crowd", client)
            .await
            .expect("no panic");
    }
    watched_by(&server, 0).await;
    until("closed connections", async || {
        let scrape = Scrape::of(&server).await;
        scrape.value("progressd_connections_open", &[]) == 1.0
    })
    .await;
    let mut client = joined(&server).await;
    expect_end(&server, &mut client).await;
}

async fn a_drain_that_is_over_cuts_who_does_not_read(delivery: Delivery) {
    let server = delivery.server("stream.drain_seconds = 4").await;
    let mut stalled = RawClient::connect_with_little_room(&server.url).await;
    stalled.send(stream_of_j("HTTP/1.1", "")).await;
    server.flood("j").await;
    // Reads, and so has closed its connection before the time is over.
    let mut reader = joined(&server).await;
    let drained = in_time("the end of the drain", server.drain());
    let (drained, rest) = tokio::join!(drained, reader.read_to_end());
    assert!(rest.contains("\"code\":\"DRAINING\""), "{rest}");
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
    assert_eq!(drained.cut, 1);
}
